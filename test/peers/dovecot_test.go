package peers

import (
	"crypto/tls"
	"fmt"
	"net"
	"net/textproto"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pennypost/test/lab"
)

// readers are the servers that people read their mail with.
var readers = []struct {
	name, pkg, ip string
	imapOnly      bool // and no TLS
	start         func(Options) (*Peer, error)
}{
	{"Courier", "courier-imap", "127.0.0.15", true, func(o Options) (*Peer, error) {
		p, err := StartCourier(o)
		if err != nil {
			return nil, err
		}
		return p.Peer, nil
	}},
	{"Dovecot", "dovecot-core", "127.0.0.14", false, func(o Options) (*Peer, error) {
		p, err := StartDovecot(o)
		if err != nil {
			return nil, err
		}
		return p.Peer, nil
	}},
}

// TestReaders starts each of them over a Maildir that is there, and reads it by IMAP and POP3, with TLS and without.
func TestReaders(t *testing.T) {
	if testing.Short() {
		t.Skip("not with -short")
	}
	for _, kind := range readers {
		t.Run(kind.name, func(t *testing.T) {
			if err := Available(kind.pkg); err != nil {
				t.Skip(err)
			}
			dir := t.TempDir()
			ca, err := lab.OpenCA(filepath.Join(dir, "ca"))
			if err != nil {
				t.Fatal(err)
			}
			cert := filepath.Join(dir, "tls")
			if err := ca.IssueRSA(cert, "mx.reader.test", kind.ip); err != nil {
				t.Fatal(err)
			}
			p, err := kind.start(Options{Dir: dir, Domain: "reader.test", IP: kind.ip, Port: lab.FreeBase() + 143, Users: []string{"alice", "bob"}, Cert: cert + ".pem", Key: cert + ".key"})
			if err != nil {
				t.Fatal(err)
			}
			defer p.Stop()
			fill(t, p.Maildir("alice"))
			config := &tls.Config{RootCAs: ca.Pool(), ServerName: kind.ip}
			imap := []step{{"", "* OK"}, {"a login alice demo", "a OK"}, {"b select inbox", "* 1 EXISTS"}, {"c fetch 1 (uid rfc822.size)", "* 1 FETCH"}, {"d logout", "d OK"}}
			pop := []step{{"", "+OK"}, {"user alice", "+OK"}, {"pass demo", "+OK"}, {"stat", "+OK 1 "}, {"quit", "+OK"}}
			for _, s := range []struct {
				port  int
				tls   *tls.Config
				steps []step
			}{{143, nil, imap}, {993, config, imap}, {110, nil, pop}, {995, config, pop}} {
				if kind.imapOnly && s.port != 143 {
					continue
				}
				if err := talk(p.At(s.port), s.tls, s.steps); err != nil {
					t.Errorf("port %d: %v\n%s", s.port, err, p.Log())
				}
			}
		})
	}
}

// fill makes a Maildir with one message, as the peer's user.
func fill(t *testing.T, maildir string) {
	t.Helper()
	for _, dir := range []string{"", "cur", "new", "tmp"} {
		if err := os.MkdirAll(filepath.Join(maildir, dir), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.Chown(filepath.Join(maildir, dir), Owner, Owner); err != nil {
			t.Fatal(err)
		}
	}
	name := filepath.Join(maildir, "cur", "1700000000.1.reader:2,S")
	if err := os.WriteFile(name, []byte("Subject: one\n\none\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(name, Owner, Owner); err != nil {
		t.Fatal(err)
	}
}

// step is what is said, and how a line begins that then must come.
type step struct{ say, want string }

func talk(addr string, config *tls.Config, steps []step) error {
	raw, err := net.DialTimeout("tcp", addr, 5*time.Second)
	if err != nil {
		return err
	}
	raw.SetDeadline(time.Now().Add(20 * time.Second))
	if config != nil {
		raw = tls.Client(raw, config)
	}
	c := textproto.NewConn(raw)
	defer c.Close()
	for _, s := range steps {
		if s.say != "" {
			if err := c.PrintfLine("%s", s.say); err != nil {
				return err
			}
		}
		for line := ""; !strings.HasPrefix(line, s.want); {
			if line, err = c.ReadLine(); err != nil {
				return fmt.Errorf("after %q: %w", s.say, err)
			}
			if strings.Contains(line, " NO ") || strings.Contains(line, " BAD ") || strings.HasPrefix(line, "-ERR") {
				return fmt.Errorf("after %q: %s", s.say, line)
			}
		}
	}
	return nil
}
