package local

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pennypost/internal/address"
	"pennypost/internal/domains"
	"pennypost/internal/durable"
	"pennypost/internal/maillog"
	"pennypost/internal/order"
	"pennypost/maildir"
	"pennypost/queue"
)

// people is a Directory of accounts at example.org.
type people map[string]*domains.Account

func (p people) Lookup(to address.Path) (domains.Answer, error) {
	user, detail, _ := strings.Cut(strings.ToLower(to.Local), "+")
	if a := p[user]; a != nil && to.Domain == "example.org" {
		return domains.Answer{Kind: domains.Mailbox, Account: a, Detail: detail}, nil
	}
	return domains.Answer{Kind: domains.Unknown}, nil
}

func (p people) Mailbox(to address.Path) (*domains.Account, string, error) {
	a, err := p.Lookup(to)
	return a.Account, a.Detail, err
}

func (p people) Login(name string) (*domains.Account, error) {
	if a := p[strings.TrimSuffix(name, "@example.org")]; a != nil {
		return a, nil
	}
	return nil, domains.ErrNoAccount
}

const testID = "0fk2v9qk3x7m2c000-a"

// bench is a store with bob in it, and an agent.
type bench struct {
	*testing.T
	dir   string
	agent *Agent
	bob   *domains.Account
}

func newBench(t *testing.T) *bench {
	b := &bench{T: t, dir: t.TempDir()}
	os.Mkdir(filepath.Join(b.dir, "mail"), 0o700)
	os.Mkdir(filepath.Join(b.dir, "state"), 0o700)
	b.fill()
	return b
}

func (b *bench) fill() {
	b.bob = &domains.Account{User: "bob", Domain: "example.org", Maildir: filepath.Join(b.dir, "mail/example.org/bob/Maildir"), Layout: maildir.PlusPlus}
	b.agent = &Agent{
		Directory: people{"bob": b.bob},
		Hostname:  "mx.example.org",
		State:     filepath.Join(b.dir, "state"),
		Link:      true,
		Programs:  Programs{Time: 5 * time.Second, Output: 1000},
		Log:       &maillog.Log{Program: "deliver-local", Out: io.Discard},
	}
}

func addr(s string) address.Path {
	p, err := address.Parse(s)
	if err != nil {
		panic(err)
	}
	return p
}

func plain(text string) string {
	env := queue.Envelope{ID: testID, Time: queue.TimeOf(testID), Via: "mx", From: addr("alice@example.net"),
		Rcpts: []queue.Rcpt{{N: 1, To: addr("bob@example.org")}}, Body: queue.Body{Length: int64(len(text)), Hash: strings.Repeat("0", 32)}}
	return string(env.Append(nil)) + text
}

// file makes an open spool file.
func (b *bench) file(text string) *os.File {
	f, err := os.CreateTemp(b.dir, "spool")
	if err != nil {
		b.Fatal(err)
	}
	f.WriteString(text)
	return f
}

// order is one order for one recipient.
func (b *bench) order(to string) order.Order {
	return order.Order{Verb: "deliver", Seq: 7, ID: testID, Attempt: 1, Rcpts: []order.Rcpt{{Num: queue.Num{N: 1}, To: addr(to)}}}
}

// deliver obeys one order and gives its answers.
func (b *bench) deliver(o order.Order, text string) (answers []order.Answer) {
	b.Helper()
	f := b.file(text)
	defer f.Close()
	return b.deliverFile(o, f)
}

func (b *bench) deliverFile(o order.Order, f *os.File) (answers []order.Answer) {
	b.Helper()
	name := f.Name()
	again, err := os.Open(name)
	if err != nil {
		b.Fatal(err)
	}
	defer again.Close()
	disk, err := durable.Open(filepath.Dir(name))
	if err != nil {
		b.Fatal(err)
	}
	defer disk.Close()
	file, err := disk.Open(filepath.Base(name))
	if err != nil {
		b.Fatal(err)
	}
	r := newRound(b.agent, func(a []order.Answer) error {
		answers = append(answers, a...)
		return nil
	})
	r.batch([]order.Order{o})
	b.agent.take(r, o, file)
	r.commit(r.group())
	r.wait()
	r.flush()
	return answers
}

// one wants exactly one recipient's answer, and E after it.
func (b *bench) one(answers []order.Answer, kind byte, enhanced string) {
	b.Helper()
	if len(answers) < 2 || answers[len(answers)-1].Kind != 'E' {
		b.Fatalf("answers %+v", answers)
	}
	a := answers[len(answers)-2]
	if a.Kind != kind || a.Result.Enhanced != enhanced {
		b.Fatalf("answered %c %+v, wanted %c %s", a.Kind, a.Result, kind, enhanced)
	}
}

// mail lists the messages below a Maildir, name to text.
func (b *bench) mail(root string, dirs ...string) map[string]string {
	b.Helper()
	found := map[string]string{}
	if len(dirs) == 0 {
		dirs = []string{"new", "cur"}
	}
	for _, dir := range dirs {
		names, _ := os.ReadDir(filepath.Join(root, dir))
		for _, n := range names {
			text, err := os.ReadFile(filepath.Join(root, dir, n.Name()))
			if err != nil {
				b.Fatal(err)
			}
			found[dir+"/"+n.Name()] = string(text)
		}
	}
	return found
}

const letter = "From: alice@example.net\nSubject: hi\n\nhello\n"

func TestPlain(t *testing.T) {
	b := newBench(t)
	b.one(b.deliver(b.order("bob@example.org"), plain(letter)), 'K', "2.0.0")
	want := "Return-Path: <alice@example.net>\nDelivered-To: bob@example.org\n" + letter
	mail := b.mail(b.bob.Maildir)
	if len(mail) != 1 {
		t.Fatal(mail)
	}
	for name, text := range mail {
		if text != want {
			t.Errorf("%s is\n%s", name, text)
		}
		size, wire := maildir.Sizes(name)
		if size != int64(len(want)) || wire != size+int64(strings.Count(want, "\n")) {
			t.Errorf("%s: sizes %d %d", name, size, wire)
		}
	}
	if litter := b.mail(b.bob.Maildir, "tmp"); len(litter) != 0 {
		t.Error(litter)
	}
	again := b.order("bob@example.org") // without repeat: the name is met
	b.one(b.deliver(again, plain(letter)), 'K', "2.0.0")
	if len(b.mail(b.bob.Maildir)) != 1 {
		t.Error("doubled")
	}
}

func TestOlderReturnPathGoes(t *testing.T) {
	b := newBench(t)
	b.deliver(b.order("bob@example.org"), plain("Return-Path: <x@y>\nA: b\nreturn-path:\n <z>\nC: d\n\nReturn-Path: in the text\n"))
	for _, text := range b.mail(b.bob.Maildir) {
		if text != "Return-Path: <alice@example.net>\nDelivered-To: bob@example.org\nA: b\nC: d\n\nReturn-Path: in the text\n" {
			t.Error(text)
		}
	}
}

func TestLink(t *testing.T) {
	b := newBench(t)
	ready := "Return-Path: <alice@example.net>\nDelivered-To: bob@example.org\n" + letter
	o := b.order("bob@example.org")
	o.Ready, o.Size, o.Wire = true, int64(len(ready)), int64(len(ready)+strings.Count(ready, "\n"))
	f := b.file(ready)
	for _, repeat := range []bool{false, false, true} {
		o.Repeat = repeat
		b.one(b.deliverFile(o, f), 'K', "2.0.0")
		mail := b.mail(b.bob.Maildir)
		if len(mail) != 1 {
			t.Fatal(mail)
		}
		for name := range mail {
			ours, _ := f.Stat()
			there, _ := os.Stat(filepath.Join(b.bob.Maildir, name))
			if !os.SameFile(ours, there) {
				t.Error("not a link")
			}
		}
	}
	for name := range b.mail(b.bob.Maildir) { // read and moved by its reader, then a repeated order
		os.Rename(filepath.Join(b.bob.Maildir, name), filepath.Join(b.bob.Maildir, "cur", filepath.Base(name)+":2,S"))
	}
	b.one(b.deliverFile(o, f), 'K', "2.0.0")
	if n := len(b.mail(b.bob.Maildir)); n != 1 {
		t.Errorf("%d messages", n)
	}
}

func TestStrangers(t *testing.T) {
	b := newBench(t)
	b.one(b.deliver(b.order("nobody@example.org"), plain(letter)), 'D', "5.1.1")
}
