package peers

import (
	"errors"
	"fmt"
	"net/textproto"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pennypost/test/lab"
)

// kinds are the servers we exchange mail with, each at an address of its own.
var kinds = []struct {
	name, pkg, ip string
	start         func(Options) (*Peer, error)
}{
	{"Postfix", "postfix", "127.0.0.11", func(o Options) (*Peer, error) {
		p, err := StartPostfix(o, true)
		if err != nil {
			return nil, err
		}
		return p.Peer, nil
	}},
	{"Exim", "exim4-daemon-light", "127.0.0.12", func(o Options) (*Peer, error) {
		p, err := StartExim(o)
		if err != nil {
			return nil, err
		}
		return p.Peer, nil
	}},
	{"OpenSMTPD", "opensmtpd", "127.0.0.13", func(o Options) (*Peer, error) {
		p, err := StartOpenSMTPD(o)
		if err != nil {
			return nil, err
		}
		return p.Peer, nil
	}},
}

// TestPeers sends mail both ways between us and other people's servers, over STARTTLS.
func TestPeers(t *testing.T) {
	if testing.Short() {
		t.Skip("not with -short")
	}
	bin, err := lab.Bin()
	if err != nil {
		t.Skip(err)
	}
	l, err := lab.New(t.TempDir(), bin, lab.FreeBase())
	if err != nil {
		t.Fatal(err)
	}
	defer l.Down()
	h, err := l.AddHost("demo.test", "127.0.0.1", "alice", "bob")
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Up(); err != nil {
		t.Fatal(err)
	}
	for _, kind := range kinds {
		t.Run(kind.name, func(t *testing.T) {
			if err := Available(kind.pkg); err != nil {
				t.Skip(err)
			}
			domain := strings.ToLower(kind.name) + ".test"
			if err := l.Name(domain, kind.ip); err != nil {
				t.Fatal(err)
			}
			cert := filepath.Join(t.TempDir(), "tls")
			if err := l.CA.IssueRSA(cert, "mx."+domain, kind.ip); err != nil {
				t.Fatal(err)
			}
			p, err := kind.start(Options{Dir: t.TempDir(), Domain: domain, IP: kind.ip, Port: l.Base + 25, Users: []string{"alice", "bob"}, Relay: h.Addr("SMTP"),
				Cert: cert + ".pem", Key: cert + ".key", CA: l.CA.File()})
			if err != nil {
				t.Fatal(err)
			}
			defer p.Stop()
			defer func() {
				if t.Failed() {
					t.Logf("log of %s:\n%s", kind.name, p.Log())
					text, _ := os.ReadFile(filepath.Join(h.Dir, "log")) // for the reader of a failure
					t.Logf("log of ours:\n%s", text[max(0, len(text)-3000):])
				}
			}()
			peer := exchange{h, p, domain}
			t.Run("to them", peer.toThem)
			t.Run("from them", peer.fromThem)
			t.Run("many at once", peer.many)
			t.Run("a letter they refuse comes back", peer.refused)
			t.Run("a letter we refuse goes back", peer.weRefuse)
			t.Run("long lines, dots and 8 bit survive", peer.odd)
		})
	}
}

// exchange is mail between one of our hosts and a peer.
type exchange struct {
	ours   *lab.Host
	peer   *Peer
	domain string
}

func mark() string { return fmt.Sprintf("mark-%d", time.Now().UnixNano()) }

func (x exchange) toThem(t *testing.T) {
	m := mark()
	to := "bob@" + x.domain
	if err := x.ours.Submit("alice", to, lab.Letter("alice@demo.test", to, "to them", m)); err != nil {
		t.Fatal(err)
	}
	_, texts, err := lab.Find(20*time.Second, x.peer.Maildir("bob"), m, 1)
	if err != nil {
		t.Fatal(err)
	}
	// their Received line: Postfix and OpenSMTPD write "TLS…" or "with ESMTPS", Exim "with esmtps"
	if !strings.Contains(strings.ToUpper(texts[0]), "ESMTPS") && !strings.Contains(texts[0], "TLS") {
		t.Errorf("not over TLS:\n%s", texts[0])
	}
}

// send hands the peer a letter for us. Its SMTP must be of the plain sort: net/smtp asks for SMTPUTF8 where it is offered.
func (x exchange) send(from, to, text string) error {
	c, err := textproto.Dial("tcp", x.peer.Addr)
	if err != nil {
		return err
	}
	defer c.Close()
	if _, _, err := c.ReadResponse(220); err != nil {
		return err
	}
	for _, step := range []struct {
		say  string
		want int
	}{{"EHLO client.test", 250}, {"MAIL FROM:<" + from + ">", 250}, {"RCPT TO:<" + to + ">", 250}, {"DATA", 354}} {
		if err := c.PrintfLine("%s", step.say); err != nil {
			return err
		}
		if _, _, err := c.ReadResponse(step.want); err != nil {
			return fmt.Errorf("%s: %w", step.say, err)
		}
	}
	w := c.DotWriter()
	if _, err := w.Write([]byte(text)); err != nil {
		return err
	}
	if err := errors.Join(w.Close()); err != nil {
		return err
	}
	_, _, err = c.ReadResponse(250)
	return err
}

func (x exchange) fromThem(t *testing.T) {
	m := mark()
	if err := x.send("bob@"+x.domain, "alice@demo.test", lab.Letter("bob@"+x.domain, "alice@demo.test", "from them", m)); err != nil {
		t.Fatal(err)
	}
	_, texts, err := lab.Find(30*time.Second, x.ours.Maildir("alice"), m, 1)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(texts[0], "with ESMTPS") {
		t.Errorf("not over TLS:\n%s", texts[0])
	}
}

func (x exchange) many(t *testing.T) {
	m := mark()
	const n = 20
	for range n {
		if err := x.ours.Submit("alice", "alice@"+x.domain, lab.Letter("alice@demo.test", "alice@"+x.domain, "many", m)); err != nil {
			t.Fatal(err)
		}
		if err := x.send("alice@"+x.domain, "bob@demo.test", lab.Letter("alice@"+x.domain, "bob@demo.test", "many", m)); err != nil {
			t.Fatal(err)
		}
	}
	for _, maildir := range []string{x.peer.Maildir("alice"), x.ours.Maildir("bob")} {
		files, _, err := lab.Find(40*time.Second, maildir, m, n)
		if err != nil {
			t.Fatal(err)
		}
		if len(files) != n {
			t.Errorf("%d instead of %d in %s", len(files), n, maildir)
		}
	}
}

func (x exchange) refused(t *testing.T) {
	m := mark()
	to := "nobody@" + x.domain
	if err := x.ours.Submit("alice", to, lab.Letter("alice@demo.test", to, m, m)); err != nil {
		t.Fatal(err)
	}
	_, texts, err := lab.Find(20*time.Second, x.ours.Maildir("alice"), m, 1)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"multipart/report", "Action: failed", "Status: 5.", to} {
		if !strings.Contains(texts[0], want) {
			t.Errorf("the report has no %q:\n%s", want, texts[0])
		}
	}
}

func (x exchange) weRefuse(t *testing.T) {
	m := mark()
	if err := x.send("bob@"+x.domain, "nobody@demo.test", lab.Letter("bob@"+x.domain, "nobody@demo.test", m, m)); err != nil {
		t.Fatal(err)
	}
	if _, _, err := lab.Find(30*time.Second, x.peer.Maildir("bob"), "nobody@demo.test", 1); err != nil {
		t.Fatal(err)
	}
}

// odd: what a relay must not change.
func (x exchange) odd(t *testing.T) {
	m := mark()
	body := m + "\r\n.\r\n..\r\n.dot\r\nGrüße, größte Ähnlichkeit\r\n" + strings.Repeat("x", 990) + "\r\n\r\ntrailing space \r\nend\r\n"
	text := "From: alice@demo.test\r\nSubject: odd\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n" + body
	if err := x.ours.Submit("alice", "bob@"+x.domain, text); err != nil {
		t.Fatal(err)
	}
	if err := x.send("bob@"+x.domain, "alice@demo.test", strings.Replace(text, "alice@demo", "bob@"+x.domain+".not", 1)); err != nil {
		t.Fatal(err)
	}
	want := strings.ReplaceAll(body, "\r\n", "\n")
	for _, maildir := range []string{x.peer.Maildir("bob"), x.ours.Maildir("alice")} {
		_, texts, err := lab.Find(30*time.Second, maildir, m, 1)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.HasSuffix(texts[0], want) {
			t.Errorf("in %s the body is\n%q\nand not\n%q", maildir, texts[0], want)
		}
	}
}
