package imapd

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pennypost/internal/domains"
	"pennypost/internal/maillog"
	"pennypost/login"
	"pennypost/maildir/mailbox"
)

// talker is a client that has logged in.
type talker struct {
	t    testing.TB
	conn net.Conn
	in   *bufio.Reader
	n    int
	sess *session
}

// store is an account with an INBOX, by its root.
func newStore(t testing.TB) (root string, srv *Server) {
	t.Helper()
	root = filepath.Join(t.TempDir(), "Maildir")
	srv = &Server{Hostname: "mx.example.org", IdleTime: time.Minute, LoginTime: time.Minute, Log: &maillog.Log{Out: t.Output(), Program: "imapd"},
		Account: func(*login.Identity) (string, mailbox.Options) {
			return root, mailbox.Options{ExpungedDays: 14, Host: "test"}
		}}
	a, err := mailbox.OpenAccount(root, mailbox.Options{})
	if err != nil {
		t.Fatal(err)
	}
	a.Close()
	return root, srv
}

// put writes a message file.
func put(t testing.TB, root, path, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(root, path), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// talk begins a session as alice.
func talk(t testing.TB, srv *Server) *talker {
	t.Helper()
	ours, theirs := net.Pipe()
	s := newSession(srv, theirs)
	id := &login.Identity{Account: &domains.Account{User: "alice", Domain: "example.org"}}
	account, err := srv.open(id)
	if err != nil {
		t.Fatal(err)
	}
	s.id, s.account = id, account
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer s.close()
		s.serve(context.Background(), "")
	}()
	c := &talker{t: t, conn: ours, in: bufio.NewReader(ours), sess: s}
	t.Cleanup(func() { ours.Close(); <-done })
	c.line()
	return c
}

func (c *talker) line() string {
	c.t.Helper()
	c.conn.SetReadDeadline(time.Now().Add(10 * time.Second))
	l, err := c.in.ReadString('\n')
	if err != nil {
		c.t.Fatalf("%q, then %v", l, err)
	}
	return strings.TrimSuffix(l, "\r\n")
}

// say sends a command and gives what comes with it; the tagged response is last, its tag a dot.
func (c *talker) say(format string, args ...any) []string {
	c.t.Helper()
	c.n++
	tag := fmt.Sprintf("t%d", c.n)
	if _, err := fmt.Fprintf(c.conn, "%s %s\r\n", tag, fmt.Sprintf(format, args...)); err != nil {
		c.t.Fatal(err)
	}
	var out []string
	for {
		l := strings.ReplaceAll(c.line(), `"`+tag+`"`, `"."`)
		if rest, ok := strings.CutPrefix(l, tag+" "); ok {
			return append(out, ". "+rest)
		}
		out = append(out, l)
	}
}

// wants says a command and compares the answer: lines, separated by |, in which … stands for anything.
func (c *talker) wants(command, answer string) {
	c.t.Helper()
	got := strings.Join(c.say("%s", command), "|")
	if !like(got, answer) {
		c.t.Errorf("%s\n got %s\nwant %s", command, got, answer)
	}
}

func like(got, want string) bool {
	parts := strings.Split(want, "…")
	if !strings.HasPrefix(got, parts[0]) {
		return false
	}
	got = got[len(parts[0]):]
	for i, p := range parts[1:] {
		k := strings.Index(got, p)
		if i == len(parts)-2 && p == "" {
			return true
		}
		if i == len(parts)-2 {
			return strings.HasSuffix(got, p)
		}
		if k < 0 {
			return false
		}
		got = got[k+len(p):]
	}
	return len(parts) > 1 || got == ""
}
