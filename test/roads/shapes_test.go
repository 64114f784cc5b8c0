package roads

import (
	"crypto/tls"
	"fmt"
	"net"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pennypost/test/lab"
)

// inetd starts one imapd for each connection, with the connection as its descriptors 0, 1 and 2, and returns where it listens.
func (r *road) inetd(service string) string {
	r.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		r.Fatal(err)
	}
	r.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			f, err := conn.(*net.TCPConn).File()
			conn.Close()
			if err != nil {
				continue
			}
			cmd := exec.Command(filepath.Join(r.lab.Bin, "imapd"), "-c", r.host.Config(), "--service", service)
			cmd.Stdin, cmd.Stdout, cmd.Stderr = f, f, f
			if err := cmd.Start(); err == nil {
				go cmd.Wait()
			}
			f.Close()
		}
	}()
	return l.Addr().String()
}

// dial logs in as alice where a TLS server listens.
func (r *road) dial(addr string) *lab.IMAP {
	r.Helper()
	conn, err := tls.Dial("tcp", addr, &tls.Config{ServerName: "mx.demo.test", RootCAs: r.lab.CA.Pool()})
	if err != nil {
		r.Fatal(err)
	}
	c, err := lab.LoginIMAP(conn, "alice@demo.test")
	if err != nil {
		r.Fatal(err)
	}
	r.Cleanup(func() { c.Close() })
	return c
}

// known is a session that need not log in, as by ssh.
func (r *road) known(args ...string) *lab.IMAP {
	r.Helper()
	c, err := lab.RunIMAP(append([]string{filepath.Join(r.lab.Bin, "imapd"), "-c", r.host.Config()}, args...)...)
	if err != nil {
		r.Fatal(err)
	}
	r.Cleanup(func() { c.Close() })
	if !strings.HasPrefix(c.Greeting, "* PREAUTH ") {
		r.Fatalf("%v: the greeting is %q", args, c.Greeting)
	}
	return c
}

// The resident imapd, one process for each connection from inetd and from socat, and two sessions as by ssh have one mailbox open: what one
// does all others hear, and all see the same.
func TestShapesTogether(t *testing.T) {
	r := open(t, nil)
	names := []string{"resident", "inetd", "ssh with an account", "ssh with a Maildir"}
	sessions := []*lab.IMAP{r.imap("alice"), r.dial(r.inetd("imaps")), r.known("--user", "alice@demo.test"), r.known("--maildir", r.host.Maildir("alice"))}
	if _, err := exec.LookPath("socat"); err == nil {
		names, sessions = append(names, "socat"), append(sessions, r.dial(r.socat()))
	}
	for _, c := range sessions[1:] {
		r.inbox(c)
	}
	for i, c := range sessions {
		// this one acts, all others wait
		for j, other := range sessions {
			if j != i {
				if err := other.Idle(); err != nil {
					t.Fatalf("%s: %v", names[j], err)
				}
			}
		}
		for _, name := range []string{"a", "b"} {
			r.put(c, "INBOX", fmt.Sprintf("%s-%d", name, i))
		}
		r.do(c, "NOOP")
		r.do(c, `STORE * +FLAGS (\Flagged from-%d)`, i)
		if i > 0 {
			r.do(c, `STORE 1 +FLAGS (\Deleted)`)
			r.do(c, "EXPUNGE")
		}
		for j, other := range sessions {
			if j == i {
				continue
			}
			wants := []string{" EXISTS", fmt.Sprintf("from-%d", i)}
			if i > 0 {
				wants = append(wants, "* 1 EXPUNGE")
			}
			if err := all(other, wants); err != nil {
				t.Fatalf("%s does something, and %s waits: %v", names[i], names[j], err)
			}
			if _, err := other.Done(); err != nil {
				t.Fatal(err)
			}
		}
	}
	want := strings.Join(r.view(r.imap("alice")), "\n")
	for i, c := range sessions {
		r.do(c, "NOOP")
		if got := strings.Join(r.view(c), "\n"); got != want {
			t.Errorf("%s sees\n%s\nwho comes now sees\n%s", names[i], got, want)
		}
		r.do(c, "LOGOUT")
	}
}

// all waits for lines with all the texts, in any order.
func all(c *lab.IMAP, texts []string) error {
	missing := map[string]bool{}
	for _, text := range texts {
		missing[text] = true
	}
	for len(missing) > 0 {
		line, err := c.Await(10*time.Second, "* ")
		if err != nil {
			return fmt.Errorf("still waiting for %v: %w", missing, err)
		}
		for text := range missing {
			if strings.Contains(line, text) {
				delete(missing, text)
			}
		}
	}
	return nil
}

// socat hands each connection to an imapd of its own.
func (r *road) socat() string {
	r.Helper()
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		r.Fatal(err)
	}
	addr := free.Addr().String()
	_, port, _ := net.SplitHostPort(addr)
	free.Close()
	cmd := exec.Command("socat", "TCP-LISTEN:"+port+",bind=127.0.0.1,reuseaddr,fork", "EXEC:"+filepath.Join(r.lab.Bin, "imapd")+" -c "+r.host.Config()+" --service imaps,nofork")
	var said strings.Builder
	cmd.Stderr = &said
	if err := cmd.Start(); err != nil {
		r.Fatal(err)
	}
	r.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
		if r.Failed() {
			r.Logf("socat and its imapd:\n%s", said.String())
		}
	})
	err = lab.Until(5*time.Second, func() error {
		conn, err := net.Dial("tcp", addr)
		if err == nil {
			conn.Close()
		}
		return err
	})
	if err != nil {
		r.Fatal(err)
	}
	return addr
}

// STARTTLS on a connection from inetd, and the process ends with its connection.
func TestInetdSTARTTLS(t *testing.T) {
	r := open(t, nil)
	raw, err := net.Dial("tcp", r.inetd("imap"))
	if err != nil {
		t.Fatal(err)
	}
	c, err := lab.NewIMAP(raw)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Do("LOGIN alice@demo.test demo"); err == nil {
		t.Error("it logs in without TLS")
	}
	r.do(c, "STARTTLS")
	secure := tls.Client(raw, &tls.Config{ServerName: "mx.demo.test", RootCAs: r.lab.CA.Pool()})
	if c, err = lab.TalkIMAP(secure); err != nil {
		t.Fatal(err)
	}
	r.do(c, "LOGIN alice@demo.test demo")
	r.inbox(c)
	r.do(c, "LOGOUT")
	if _, err := c.Await(10*time.Second, "never"); err == nil || !strings.Contains(err.Error(), "EOF") {
		t.Errorf("after LOGOUT: %v", err)
	}
}
