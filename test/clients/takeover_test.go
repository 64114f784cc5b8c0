package clients

import (
	"crypto/tls"
	"encoding/json"
	"fmt"
	"maps"
	"net"
	"net/textproto"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"pennypost/test/lab"
	"pennypost/test/peers"
)

// takeover is one Maildir and, in turn, two servers over it. The clients keep what they know and are told of nothing.
type takeover struct {
	*testing.T
	dovecot *peers.Dovecot
	lab     *lab.Lab
	host    *lab.Host
	proxy   *proxy
	readers []reader
}

// A reader is a client that keeps a copy of all mailboxes.
type reader struct {
	name string
	sync func() view
}

// view is what a reader sees of each mailbox; what a client does not show is left away.
type view map[string]boxView

type boxView struct {
	Validity string              `json:"validity"`
	Next     uint32              `json:"next"`
	Flags    map[string][]string `json:"flags"` // by UID
}

func (v view) String() string {
	var rows []string
	for _, name := range slices.Sorted(maps.Keys(v)) {
		rows = append(rows, fmt.Sprintf("%s: %+v", name, v[name]))
	}
	return strings.Join(rows, "\n")
}

// newTakeover starts Dovecot over an empty Maildir of olga's and prepares a host of ours that will have the same.
func newTakeover(t *testing.T) *takeover {
	t.Helper()
	h := host(t) // for its authority
	if err := peers.Available("dovecot-core"); err != nil {
		t.Skip(err)
	}
	o := &takeover{T: t}
	base := lab.FreeBase()
	var err error
	dir := t.TempDir()
	if o.dovecot, err = peers.StartDovecot(peers.Options{Dir: dir, Domain: "demo.test", IP: "127.0.0.14", Port: base + 143, Users: []string{"olga"}}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(o.dovecot.Stop)
	if o.lab, err = lab.New(filepath.Join(dir, "lab"), h.Lab().Bin, base); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(o.lab.Down)
	if o.host, err = o.lab.AddHost("demo.test", "127.0.0.1", "olga"); err != nil {
		t.Fatal(err)
	}
	o.host.Keys["mail.path"] = fmt.Sprintf("%q", strings.ReplaceAll(o.dovecot.Maildir("%n"), "%%n", "%n"))
	o.host.Keys["mail.delimiter"] = `"."` // as Dovecot has it unless told otherwise: names of mailboxes are the clients' keys
	o.proxy = newProxy(t, filepath.Join(h.Dir, "etc/tls"))
	o.proxy.to(o.atDovecot)
	return o
}

func (o *takeover) atDovecot() (net.Conn, error) { return net.Dial("tcp", o.dovecot.At(143)) }

func (o *takeover) atOurs() (net.Conn, error) {
	return tls.Dial("tcp", o.host.Addr("IMAPS"), &tls.Config{ServerName: "mx.demo.test", RootCAs: o.lab.CA.Pool()})
}

// client logs in where the proxy leads.
func (o *takeover) client(dial func() (net.Conn, error)) *lab.IMAP {
	o.Helper()
	conn, err := dial()
	if err != nil {
		o.Fatal(err)
	}
	c, err := lab.LoginIMAP(conn, "olga@demo.test")
	if err != nil {
		o.Fatal(err)
	}
	o.Cleanup(func() { c.Close() })
	return c
}

// fill is what years of mail look like.
func (o *takeover) fill() {
	c := o.client(o.atDovecot)
	for _, name := range []string{"Sent", `"Deleted&AOk- Items"`, "Lists", "Lists.go.nuts", "R&-D", "&ZeVnLIqe-", `"with blank"`} {
		do(o.T, c, "CREATE %s", name)
	}
	for _, name := range []string{"INBOX", "Sent", "Lists.go.nuts", "&ZeVnLIqe-", `"with blank"`} {
		do(o.T, c, "SUBSCRIBE %s", name)
	}
	flags := []string{"", `\Seen`, `\Seen \Answered`, `\Flagged $Forwarded`, `\Draft`, `$Label1 NonJunk`, `\Seen project-x $MDNSent`}
	for _, name := range []string{"INBOX", "Sent", "Lists.go.nuts", "R&-D", "&ZeVnLIqe-", `"with blank"`} {
		for i := range 9 {
			put(o.T, c, name, flags[i%len(flags)], fmt.Sprintf(plain, fmt.Sprintf("letter-%d", i)))
		}
		do(o.T, c, "SELECT %s", name)
		do(o.T, c, `UID STORE 3,9 +FLAGS (\Deleted)`)
		do(o.T, c, "EXPUNGE") // a gap, and a UIDNEXT that the list of UIDs alone does not tell
	}
	// mail that came before anybody looked
	arrived := filepath.Join(o.dovecot.Maildir("olga"), "new/1743508800.M1P2.reader.test")
	if err := os.WriteFile(arrived, fmt.Appendf(nil, plain, "fresh"), 0o600); err != nil {
		o.Fatal(err)
	}
	os.Chown(arrived, peers.Owner, peers.Owner)
}

// isync is mbsync with a copy below home. Nobody here compresses, so that the proxy can read.
func (o *takeover) isync() reader {
	c := newClient(o.T)
	for _, dir := range []string{"mail", "state"} {
		os.MkdirAll(filepath.Join(c.home, dir), 0o700)
	}
	conf := c.isync(o.proxy.port, "olga@demo.test", "SSLType IMAPS\nDisableExtension COMPRESS=DEFLATE\nCertificateFile "+ca())
	return reader{"mbsync", func() view {
		c.must("", "mbsync", "-c", conf, "c")
		v := view{}
		states, _ := filepath.Glob(filepath.Join(c.home, "state/*"))
		for _, file := range states {
			text := readFile(o.T, file)
			box := boxView{Flags: map[string][]string{}}
			for _, m := range regexp.MustCompile(`(?m)^FarUidValidity (\d+)$`).FindAllStringSubmatch(text, -1) {
				box.Validity = m[1]
			}
			for _, m := range regexp.MustCompile(`(?m)^([1-9]\d*) \d+ (\S*)$`).FindAllStringSubmatch(text, -1) {
				box.Flags[m[1]] = []string{m[2]}
			}
			v[filepath.Base(file)] = box
		}
		return v
	}}
}

// imapflow keeps its state in a file.
func (o *takeover) imapflow() reader {
	c := newClient(o.T)
	state := filepath.Join(c.home, "state")
	return reader{"imapflow", func() view {
		out := c.flow("sync", o.proxy.port, "olga@demo.test", lab.Password, ca(), state)
		var said struct {
			Boxes      view
			Subscribed []string
		}
		if err := json.Unmarshal([]byte(out), &said); err != nil {
			o.Fatalf("%v: %s", err, out)
		}
		for _, name := range []string{"INBOX", "Sent", "Lists.go.nuts", "日本語", "with blank"} { // others may join them
			if !slices.Contains(said.Subscribed, name) {
				o.Errorf("%s is not subscribed to any more: %q", name, said.Subscribed)
			}
		}
		return said.Boxes
	}}
}

// thunderbird says what Thunderbird says when it opens each folder: SELECT with CONDSTORE, then what has changed since, or all flags.
func (o *takeover) thunderbird() reader {
	type known struct {
		boxView
		modseq string
	}
	memory := map[string]*known{}
	number := func(text, key string) string {
		if m := regexp.MustCompile(key + ` (\d+)`).FindStringSubmatch(text); m != nil {
			return m[1]
		}
		return ""
	}
	return reader{"thunderbird", func() view {
		c := o.client(func() (net.Conn, error) {
			return tls.Dial("tcp", "127.0.0.1:"+o.proxy.port, &tls.Config{ServerName: "localhost", RootCAs: house.lab.CA.Pool()})
		})
		defer c.Close()
		v := view{}
		list, err := c.Do(`LIST "" "*"`)
		if err != nil {
			o.Fatal(err)
		}
		for _, row := range list {
			name := regexp.MustCompile(`^\* LIST \(([^)]*)\) "?\.?"? (.*)$`).FindStringSubmatch(row)
			if name == nil || strings.Contains(name[1], `\No`) {
				continue
			}
			name[2] = `"` + strings.Trim(name[2], `"`) + `"`
			opened := do(o.T, c, "SELECT %s (CONDSTORE)", name[2])
			box := memory[name[2]]
			if box == nil || box.Validity != number(opened, "UIDVALIDITY") {
				box = &known{boxView: boxView{Validity: number(opened, "UIDVALIDITY"), Flags: map[string][]string{}}}
				memory[name[2]] = box
			}
			since := ""
			if box.modseq != "" {
				since = " (CHANGEDSINCE " + box.modseq + ")"
			}
			box.modseq = number(opened, "HIGHESTMODSEQ")
			fmt.Sscan(number(opened, "UIDNEXT"), &box.Next)
			var missing []string
			for _, m := range regexp.MustCompile(`FETCH \(([^\r\n]*)\)`).FindAllStringSubmatch(do(o.T, c, "UID FETCH 1:* (FLAGS)%s", since), -1) {
				uid := number(m[1], "UID")
				words := strings.Fields(regexp.MustCompile(`FLAGS \(([^)]*)\)`).FindStringSubmatch(m[1])[1])
				words = slices.DeleteFunc(words, func(w string) bool { return w == `\Recent` })
				slices.Sort(words)
				if _, have := box.Flags[uid]; !have {
					missing = append(missing, uid)
				}
				box.Flags[uid] = words
			}
			if len(missing) > 0 {
				do(o.T, c, "UID FETCH %s (UID BODY.PEEK[])", strings.Join(missing, ","))
			}
			if exists := number(do(o.T, c, "STATUS %s (MESSAGES)", name[2]), "MESSAGES"); exists != fmt.Sprint(len(box.Flags)) { // something is gone
				there := strings.Fields(regexp.MustCompile(`SEARCH([ 0-9]*)`).FindStringSubmatch(do(o.T, c, "UID SEARCH ALL"))[1])
				maps.DeleteFunc(box.Flags, func(uid string, _ []string) bool { return !slices.Contains(there, uid) })
			}
			v[name[2]] = boxView{box.Validity, box.Next, maps.Clone(box.Flags)}
		}
		return v
	}}
}

// TestTakeover is the story of issue 3: yesterday Dovecot, today imapd, and no client fetches a message again; and back.
func TestTakeover(t *testing.T) {
	o := newTakeover(t)
	o.fill()
	if _, err := exec.LookPath("mbsync"); err == nil {
		o.readers = append(o.readers, o.isync())
	}
	if flowModules() != "" {
		o.readers = append(o.readers, o.imapflow())
	}
	o.readers = append(o.readers, o.thunderbird())
	before := o.look("Dovecot", -1)
	o.same("Dovecot again", before, o.look("Dovecot again", 0))

	o.dovecot.Stop()
	if err := o.lab.Up(); err != nil {
		t.Fatal(err)
	}
	o.proxy.to(o.atOurs)
	o.same("imapd", before, o.look("imapd", 0))
	o.same("imapd again", before, o.look("imapd again", 0))

	// Life goes on: two letters, a flag, a keyword that was never there, a deletion.
	for range 2 {
		text := lab.Letter("sender@elsewhere.test", "olga@demo.test", "news", "good news")
		if err := lab.Send(o.host.Addr("SMTP"), "sender@elsewhere.test", "olga@demo.test", text); err != nil {
			t.Fatal(err)
		}
	}
	if _, _, err := lab.Find(10*time.Second, o.dovecot.Maildir("olga"), "good news", 2); err != nil {
		t.Fatal(err)
	}
	c := o.client(o.atOurs)
	do(t, c, "SELECT R&-D")
	do(t, c, `UID STORE 1 +FLAGS (\Flagged New-Word $Forwarded)`)
	do(t, c, `UID STORE 2 +FLAGS (\Deleted)`)
	do(t, c, "EXPUNGE")
	do(t, c, "LOGOUT")
	changed := o.look("imapd with new mail", 2*len(o.readers))
	for _, r := range o.readers {
		box := changed[r.name]["R&D"]
		switch r.name {
		case "thunderbird":
			box = changed[r.name][`"R&-D"`]
		case "mbsync":
			box = changed[r.name]["R&-D"]
		}
		if _, there := box.Flags["2"]; there || len(box.Flags) != 6 {
			t.Errorf("%s has %v of R&D", r.name, box)
		}
	}

	// And back.
	o.host.Stop()
	o.handBack()
	o.proxy.to(o.atDovecot)
	o.same("Dovecot, back", changed, o.look("Dovecot, back", 0))
}

// look lets every reader look; together they must fetch n messages, unless n is negative.
func (o *takeover) look(where string, n int) map[string]view {
	o.Helper()
	o.proxy.page()
	seen := map[string]view{}
	for _, r := range o.readers {
		seen[r.name] = r.sync()
	}
	if got := o.proxy.bodies(); n >= 0 && len(got) != n {
		o.Errorf("%s: %d messages were fetched, not %d: %.300q\n%s", where, len(got), n, got, o.proxy.transcript())
	} else if n < 0 && len(got) == 0 {
		o.Errorf("%s: nothing was fetched at all: the count is wrong\n%s", where, o.proxy.transcript())
	}
	return seen
}

// same: what was there is there, under its UID, with its flags. Mailboxes may have been added, UIDs must not.
func (o *takeover) same(where string, before, now map[string]view) {
	o.Helper()
	for _, r := range o.readers {
		for name, box := range before[r.name] {
			got, there := now[r.name][name]
			if !there || box.Validity != got.Validity || box.Next != got.Next || fmt.Sprint(box.Flags) != fmt.Sprint(got.Flags) {
				o.Errorf("%s: %s sees in %s\n%+v, before it was\n%+v", where, r.name, name, got, box)
			}
		}
	}
}

// handBack gives the Maildir to Dovecot with maildirimport(1).
func (o *takeover) handBack() {
	o.Helper()
	maildir := o.dovecot.Maildir("olga")
	out, err := exec.Command(filepath.Join(o.lab.Bin, "maildirimport"), "--to-dovecot", maildir).CombinedOutput()
	if err != nil {
		o.Fatalf("%v\n%s", err, out)
	}
	if err := chownAll(maildir, peers.Owner); err != nil {
		o.Fatal(err)
	}
	if err := o.dovecot.Restart(); err != nil {
		o.Fatal(err)
	}
}

// POP3 clients that leave mail on the server do not fetch it again either, when the takeover is told how Dovecot made its unique-ids.
func TestTakeoverPOP3(t *testing.T) {
	o := newTakeover(t)
	c := o.client(o.atDovecot)
	for i := range 5 {
		put(t, c, "INBOX", "", fmt.Sprintf(plain, fmt.Sprintf("letter-%d", i)))
	}
	do(t, c, "SELECT INBOX")
	do(t, c, `STORE 2 +FLAGS (\Deleted)`)
	do(t, c, "EXPUNGE")
	do(t, c, "LOGOUT")
	before := o.uidl(net.Dial("tcp", o.dovecot.At(110)))
	o.dovecot.Stop()
	out, err := exec.Command(filepath.Join(o.lab.Bin, "maildirimport"), "--uidl", "%08Xu%08Xv", o.dovecot.Maildir("olga")).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if err := o.lab.Up(); err != nil {
		t.Fatal(err)
	}
	tlsConfig := &tls.Config{ServerName: "mx.demo.test", RootCAs: o.lab.CA.Pool()}
	if now := o.uidl(tls.Dial("tcp", o.host.Addr("POP3S"), tlsConfig)); !slices.Equal(now, before) {
		t.Errorf("Dovecot said %q, and we say %q", before, now)
	}
	o.host.Stop()
	o.handBack()
	if now := o.uidl(net.Dial("tcp", o.dovecot.At(110))); !slices.Equal(now, before) {
		t.Errorf("Dovecot said %q, and now it says %q", before, now)
	}
}

// uidl is the answer to UIDL on the connection.
func (o *takeover) uidl(conn net.Conn, err error) []string {
	o.Helper()
	if err != nil {
		o.Fatal(err)
	}
	p := textproto.NewConn(conn)
	defer p.Close()
	conn.SetDeadline(time.Now().Add(20 * time.Second))
	for _, say := range []string{"", "USER olga@demo.test", "PASS " + lab.Password, "UIDL"} {
		if say != "" {
			p.PrintfLine("%s", say)
		}
		if line, err := p.ReadLine(); err != nil || !strings.HasPrefix(line, "+OK") {
			o.Fatalf("%s: %s %v", say, line, err)
		}
	}
	lines, err := p.ReadDotLines()
	if err != nil || len(lines) != 4 {
		o.Fatalf("%q %v", lines, err)
	}
	p.PrintfLine("QUIT")
	return lines
}

// The same with mutt on the Maildir all the while: one process, started under Dovecot, that goes on under imapd. What it changes is seen by the
// others under either server, and nobody fetches anything again.
func TestTakeoverMutt(t *testing.T) {
	for _, program := range []string{"mutt", "script"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skip(err)
		}
	}
	o := newTakeover(t)
	o.fill()
	if _, err := exec.LookPath("mbsync"); err == nil {
		o.readers = append(o.readers, o.isync())
	}
	o.readers = append(o.readers, o.thunderbird())
	o.look("Dovecot", -1)

	c := newClient(t)
	rc := c.file("muttrc", fmt.Sprintf("set folder=%s record=\"\" mbox_type=Maildir mark_old=no delete=yes quit=yes move=no wait_key=no resolve=no wrap_search=yes mail_check=1 timeout=1\n", c.home))
	mutt := exec.Command("script", "-qec", "TERM=xterm exec mutt -F "+rc+" -f "+o.dovecot.Maildir("olga"), "/dev/null")
	mutt.Env = append(os.Environ(), "HOME="+c.home, "LC_ALL=C.UTF-8")
	keys, err := mutt.StdinPipe()
	if err == nil {
		err = mutt.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- mutt.Wait() }()
	t.Cleanup(func() {
		mutt.Process.Kill()
		keys.Close()
	})
	// flag has mutt flag a message. It drops keys when it is told that others were at the Maildir: then it is asked again.
	flag := func(name string) {
		t.Helper()
		for range 15 {
			fmt.Fprintf(keys, "\x07/~s %s$\nw!$", name)
			for range 20 {
				if files, _, _ := lab.Find(0, o.dovecot.Maildir("olga"), "body of "+name+"\n", 1); len(files) == 1 && strings.Contains(files[0][strings.LastIndexByte(files[0], ':')+1:], "F") {
					return
				}
				time.Sleep(100 * time.Millisecond)
			}
			select {
			case err := <-ended:
				t.Fatalf("mutt is over: %v", err)
			default:
			}
		}
		t.Fatalf("mutt does not flag %s", name)
	}
	uids := map[string]string{"letter-1": "2", "letter-4": "5", "letter-5": "6"}
	flagged := func(where string, seen map[string]view, names ...string) {
		t.Helper()
		for reader, what := range map[string][2]string{"thunderbird": {`"INBOX"`, `\Flagged`}, "mbsync": {"INBOX", "F"}} { // as it has it
			for _, name := range names {
				if boxes, there := seen[reader]; there && !strings.Contains(strings.Join(boxes[what[0]].Flags[uids[name]], " "), what[1]) {
					t.Errorf("%s: %s sees no flag of %s: %v", where, reader, name, boxes)
				}
			}
		}
	}
	flag("letter-1")
	before := o.look("Dovecot and mutt", 0)
	flagged("Dovecot and mutt", before, "letter-1")

	o.dovecot.Stop()
	flag("letter-4") // nobody serves
	if err := o.lab.Up(); err != nil {
		t.Fatal(err)
	}
	o.proxy.to(o.atOurs)
	now := o.look("imapd and mutt", 0)
	flagged("imapd and mutt", now, "letter-1", "letter-4")
	flag("letter-5")
	flagged("imapd and mutt, later", o.look("imapd and mutt, later", 0), "letter-1", "letter-4", "letter-5")
	for _, r := range o.readers {
		for name, box := range before[r.name] {
			if got := now[r.name][name]; got.Validity != box.Validity || got.Next != box.Next || len(got.Flags) != len(box.Flags) {
				t.Errorf("%s sees in %s\n%+v, before it was\n%+v", r.name, name, got, box)
			}
		}
	}
	fmt.Fprint(keys, "\x07x")
	select {
	case <-ended:
	case <-time.After(20 * time.Second):
		t.Error("mutt does not end")
	}
}
