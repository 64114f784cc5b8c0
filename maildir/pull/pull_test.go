package pull

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"pennypost/imapd"
	"pennypost/internal/domains"
	"pennypost/internal/maillog"
	"pennypost/internal/sequence"
	"pennypost/login"
	"pennypost/maildir/mailbox"
)

var ctx = context.Background()

// there is an account on another host: our own imapd before a Maildir.
type there struct {
	root, address string
	trust         *tls.Config
	cut           atomic.Int64 // octets after which the connection breaks, 0 never
}

func (h *there) Check(_ context.Context, r login.Request) (*login.Identity, error) {
	if r.Authcid != "alice" || r.Password != `pass "word\` {
		return nil, login.ErrCredentials
	}
	return &login.Identity{Account: &domains.Account{User: "alice", Domain: "example.org", Maildir: h.root}, Authcid: "alice"}, nil
}

// frail breaks after some octets.
type frail struct {
	net.Conn
	h *there
}

func (f frail) Write(p []byte) (int, error) {
	if left := f.h.cut.Load(); left > 0 {
		if left -= int64(len(p)); left <= 0 {
			f.h.cut.Store(0)
			f.Conn.Close()
			return 0, io.ErrClosedPipe
		}
		f.h.cut.Store(left)
	}
	return f.Conn.Write(p)
}

func newThere(t *testing.T, implicit bool) *there {
	t.Helper()
	key, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"localhost"}, NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	cert, _ := x509.ParseCertificate(der)
	pool.AddCert(cert)
	h := &there{root: filepath.Join(t.TempDir(), "Maildir"), trust: &tls.Config{RootCAs: pool, ServerName: "localhost"}}
	srv := &imapd.Server{Hostname: "mx.example.org", Checker: h, IdleTime: time.Minute, LoginTime: time.Minute, Log: &maillog.Log{Out: io.Discard, Program: "imapd"},
		TLS: &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}},
		Account: func(*login.Identity) (string, mailbox.Options) {
			return h.root, mailbox.Options{ExpungedDays: 14, Host: "test"}
		}}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	h.address = l.Addr().String()
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go srv.Handle(ctx, frail{conn, h}, implicit)
		}
	}()
	return h
}

func account(t *testing.T, root string) *mailbox.Account {
	t.Helper()
	a, err := mailbox.OpenAccount(root, mailbox.Options{Host: "here"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Close() })
	return a
}

func put(t *testing.T, root, path, text string) {
	t.Helper()
	name := filepath.Join(root, path)
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	when := time.Unix(1_000_000_000, 0)
	os.Chtimes(name, when, when)
}

// seen is what a client sees of a mailbox, but UIDs.
func seen(t *testing.T, a *mailbox.Account, name string) string {
	t.Helper()
	f, err := a.Folder(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	v, err := f.Look(ctx)
	if err != nil {
		t.Fatal(err)
	}
	out := ""
	for i := range v.Len() {
		m, err := v.Open(i)
		if err != nil {
			t.Fatal(err)
		}
		text := make([]byte, m.Size)
		m.ReadAt(text, 0)
		m.Close()
		at, _ := v.Received(i)
		line, _, _ := strings.Cut(string(text), "\n")
		out += fmt.Sprintf("%s %x %d", line, uint64(v.Flags(i)&(1<<6-1)), at.Unix())
		for n, word := range f.Keywords() {
			if v.Flags(i)&mailbox.Keyword(n) != 0 {
				out += " " + word
			}
		}
		out += "\n"
	}
	return out
}

func furnish(t *testing.T, h *there, n int) *mailbox.Account {
	a := account(t, h.root)
	for i := range n {
		put(t, h.root, fmt.Sprintf("cur/%04d.m:2,%s", i, []string{"", "S", "FRS", "DT"}[i%4]), fmt.Sprintf("Subject: %d\n\n%s\n", i, strings.Repeat("text\n", i%50)))
	}
	for _, box := range []struct{ name, use string }{{"Sent Items", `\Sent`}, {"Lists/go", ""}, {"Entwürfe & mehr", ""}} {
		if err := a.Create(box.name, box.use); err != nil {
			t.Fatal(err)
		}
	}
	put(t, h.root, ".Sent Items/cur/1.s:2,PS", "Subject: sent\n\nx\n")
	put(t, h.root, ".Lists.go/new/1.l", "Subject: list\n\nno end")
	f, _ := a.Folder("INBOX")
	defer f.Close()
	work, _ := f.KeywordNumber("$Work", true)
	f.Store(ctx, sequence.Set{{Lo: 1, Hi: 1}}, mailbox.Add, mailbox.Keyword(work), mailbox.Unconditional)
	a.Subscribe("Lists/go", true)
	return a
}

func TestPull(t *testing.T) {
	for _, implicit := range []bool{true, false} {
		h := newThere(t, implicit)
		theirs := furnish(t, h, 120)
		here := account(t, filepath.Join(t.TempDir(), "Maildir"))
		if err := here.Create("Sent", `\Sent`); err != nil {
			t.Fatal(err)
		}
		said := ""
		s := &Source{URL: map[bool]string{true: "imaps", false: "imap"}[implicit] + "://alice@" + h.address, Password: `pass "word\`, TLS: h.trust,
			Progress: func(p Progress) { said += fmt.Sprintf("%s>%s %d/%d\n", p.Mailbox, p.To, p.Done, p.Of) }}
		if err := Pull(ctx, s, here); err != nil {
			t.Fatal(err)
		}
		for theirName, name := range map[string]string{"INBOX": "INBOX", "Sent Items": "Sent", "Lists/go": "Lists/go", "Entwürfe & mehr": "Entwürfe & mehr"} {
			if got, want := seen(t, here, name), seen(t, theirs, theirName); got != want {
				t.Errorf("%s: got\n%swant\n%s", name, got, want)
			}
		}
		if !strings.Contains(said, "Sent Items>Sent 1/1\n") || !strings.Contains(said, "INBOX>INBOX 100/120\n") {
			t.Error(said)
		}
		list, _ := here.List()
		for _, info := range list {
			if info.Name == "Lists/go" && !info.Subscribed || info.Name == "Entwürfe & mehr" && info.Subscribed {
				t.Errorf("%+v", info)
			}
		}
		put(t, h.root, "new/9999.m", "Subject: later\n\nx\n")
		before := seen(t, here, "INBOX")
		if err := Pull(ctx, s, here); err != nil {
			t.Fatal(err)
		}
		if got, want := seen(t, here, "INBOX"), before+"Subject: later 0 1000000000\n"; got != want {
			t.Errorf("a second run: got\n%s", got)
		}
	}
}

// Whenever the connection breaks, the next run goes on, and in the end everything is there once.
func TestPullBroken(t *testing.T) {
	h := newThere(t, true)
	theirs := furnish(t, h, 300)
	here := account(t, filepath.Join(t.TempDir(), "Maildir"))
	s := &Source{URL: "imaps://alice@" + h.address, Password: `pass "word\`, TLS: h.trust}
	broken := 0
	for cut := int64(9000); ; cut = cut * 3 / 2 {
		h.cut.Store(cut)
		if err := Pull(ctx, s, here); err == nil {
			break
		}
		broken++
	}
	if got, want := seen(t, here, "INBOX"), seen(t, theirs, "INBOX"); got != want || broken < 2 {
		t.Errorf("after %d breaks there are %d of %d messages", broken, strings.Count(got, "\n"), strings.Count(want, "\n"))
	}
}

// A batch that was made visible before its line in the journal.
func TestPullKilledBeforeTheJournal(t *testing.T) {
	h := newThere(t, true)
	theirs := furnish(t, h, 20)
	root := filepath.Join(t.TempDir(), "Maildir")
	here := account(t, root)
	s := &Source{URL: "imaps://alice@" + h.address, Password: `pass "word\`, TLS: h.trust}
	if err := Pull(ctx, s, here); err != nil {
		t.Fatal(err)
	}
	text, _ := os.ReadFile(root + "/mb-pull")
	var kept []string
	for row := range strings.Lines(string(text)) {
		if strings.HasPrefix(row, "?") {
			kept = append(kept, row)
		}
	}
	os.WriteFile(root+"/mb-pull", []byte(strings.Join(kept, "")), 0o600)
	if err := Pull(ctx, s, here); err != nil {
		t.Fatal(err)
	}
	if got, want := seen(t, here, "INBOX"), seen(t, theirs, "INBOX"); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}

// A server that numbers its mail anew: nothing is doubled, the others are fetched.
func TestPullRenumbered(t *testing.T) {
	h := newThere(t, true)
	furnish(t, h, 20)
	here := account(t, filepath.Join(t.TempDir(), "Maildir"))
	s := &Source{URL: "imaps://alice@" + h.address, Password: `pass "word\`, TLS: h.trust}
	if err := Pull(ctx, s, here); err != nil {
		t.Fatal(err)
	}
	before := seen(t, here, "INBOX")
	for _, file := range []string{"mb-uids", "mb-uids.old", "mb-index"} {
		os.Remove(filepath.Join(h.root, file))
	}
	put(t, h.root, ".Lists.go/new/2.l", "Subject: another\n\nx\n")
	err := Pull(ctx, s, here)
	if err == nil || !strings.Contains(err.Error(), "INBOX: EXAMINE") || seen(t, here, "INBOX") != before || !strings.Contains(seen(t, here, "Lists/go"), "another") {
		t.Errorf("%v\n%s", err, seen(t, here, "INBOX"))
	}
}

func TestPullRefuses(t *testing.T) {
	h := newThere(t, false)
	here := account(t, filepath.Join(t.TempDir(), "Maildir"))
	for _, row := range []struct {
		s    Source
		want string
	}{
		{Source{URL: "imap://alice@" + h.address, Password: "wrong", TLS: h.trust}, "logging in"},
		{Source{URL: "imap://alice:secret@" + h.address, TLS: h.trust}, "a password in a URL"},
		{Source{URL: "http://alice@" + h.address}, "want imaps://"},
		{Source{URL: "imap://" + h.address}, "want imaps://"},
		{Source{URL: "imap://alice@" + h.address, Password: `pass "word\`}, "certificate"},
		{Source{URL: "imap://alice@mx.example.org", Clear: true}, "with TLS only"},
	} {
		err := Pull(ctx, &row.s, here)
		if err == nil || !strings.Contains(err.Error(), row.want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v", row.s.URL, err)
		}
	}
}

// Whatever a server says, the client ends.
func FuzzAnswers(f *testing.F) {
	f.Add("* 1 FETCH (UID 7 FLAGS (\\Seen a) INTERNALDATE \"17-Jul-1996 02:44:25 -0700\" BODY[] {3}\r\nabc)\r\np1 OK\r\n")
	f.Add("* LIST (\\Sent) \"/\" \"a \\\"b\"\r\n* OK [UIDVALIDITY 1] x\r\np1 NO [X] no\r\n")
	f.Add("* ((((((((((((\r\n")
	f.Fuzz(func(t *testing.T, text string) {
		ours, theirs := net.Pipe()
		go func() {
			io.WriteString(theirs, text)
			theirs.Close()
		}()
		c := &client{conn: ours, in: bufio.NewReader(ours), tag: 1}
		err := c.finish("X", func(a *answer) error {
			parseFetch(a)
			return nil
		})
		var r *Refused
		if err != nil && errors.As(err, &r) && r.Error() == "" {
			t.Fatal("an error that says nothing")
		}
		ours.Close()
	})
}
