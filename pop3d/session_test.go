package pop3d

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"flag"
	"io"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"pennypost/internal/domains"
	"pennypost/internal/maillog"
	"pennypost/login"
	"pennypost/maildir"
)

var update = flag.Bool("update", false, "rewrite the S: lines of the transcripts")

// ward lets bob in with the password "secret word".
type ward struct{ bob *domains.Account }

func (w ward) Check(_ context.Context, r login.Request) (*login.Identity, error) {
	if r.Service == "pop3" && (r.Authcid == "bob" || r.Authcid == "bob@example.org") && r.Password == "secret word" && (r.Authzid == "" || r.Authzid == r.Authcid) {
		return &login.Identity{Account: w.bob, Authcid: "bob@example.org", Credential: "main"}, nil
	}
	if r.Authcid == "slow" {
		return nil, login.ErrBusy
	}
	return nil, login.ErrCredentials
}

// letters is what bob's mailbox has: names and texts.
var letters = [...][2]string{
	{"new/1795321401.0fk2v9qk3x7m2c000-a_1.mx,S=33,W=39", "Subject: one\n\nfirst\n.\n..two\nend.\n"},
	{"cur/1795321402.M1P2.foreign:2,S", "Subject: two\r\n\r\nalready CRLF\r\n"},
	{"cur/1795321403.foreign,S=99:2,", "Subject: three\n\nno end of line"},
}

// house is a server with bob's mailbox.
type house struct {
	*testing.T
	srv  *Server
	root string // bob's Maildir
	log  strings.Builder
}

var certificate = sync.OnceValue(func() tls.Certificate {
	key, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"mx.example.org"}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		panic(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
})

func newHouse(t *testing.T) *house {
	t.Helper()
	root := filepath.Join(t.TempDir(), "bob", "Maildir")
	for _, dir := range []string{"new", "cur", "tmp"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	h := &house{T: t, root: root}
	h.srv = &Server{
		Hostname: "mx.example.org",
		Checker:  ward{&domains.Account{User: "bob", Domain: "example.org", Maildir: root, Layout: maildir.PlusPlus}},
		TLS:      &tls.Config{Certificates: []tls.Certificate{certificate()}},
		IdleTime: 10 * time.Second,
		Log:      &maillog.Log{Program: "pop3d", Out: io.Discard},
	}
	return h
}

func (h *house) put(name, text string) {
	h.Helper()
	if err := os.WriteFile(filepath.Join(h.root, name), []byte(text), 0o600); err != nil {
		h.Fatal(err)
	}
}

// client is the other end of a connection.
type client struct {
	*testing.T
	net.Conn
	in *bufio.Reader
}

func (h *house) dial(implicit bool) *client {
	h.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		h.Fatal(err)
	}
	defer l.Close()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		h.Fatal(err)
	}
	s, err := l.Accept()
	if err != nil {
		h.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		h.srv.Handle(context.Background(), s, implicit)
	}()
	h.Cleanup(func() { c.Close(); <-done })
	c.SetDeadline(time.Now().Add(20 * time.Second))
	k := &client{h.T, c, bufio.NewReader(c)}
	if implicit {
		k.tls()
	}
	return k
}

func (c *client) tls() {
	c.Conn = tls.Client(c.Conn, &tls.Config{InsecureSkipVerify: true})
	c.in = bufio.NewReader(c.Conn)
}

func (c *client) line() string {
	text, err := c.in.ReadString('\n')
	if err == io.EOF && text == "" {
		return "(closed)"
	}
	if err != nil && text == "" {
		return "(" + err.Error() + ")"
	}
	if rest, ok := strings.CutSuffix(text, "\r\n"); ok {
		return rest
	}
	return text + "(no CRLF)"
}

// say sends a line and wants an answer that begins so.
func (c *client) say(text, want string) string {
	c.Helper()
	if _, err := io.WriteString(c.Conn, text+"\r\n"); err != nil {
		c.Fatal(err)
	}
	got := c.line()
	if !strings.HasPrefix(got, want) {
		c.Fatalf("%s: got %q, want %q", text, got, want)
	}
	return got
}

// enter is a client that is logged in.
func (h *house) enter() *client {
	h.Helper()
	c := h.dial(true)
	c.line()
	c.say("USER bob", "+OK")
	c.say("PASS secret word", "+OK")
	return c
}

// rest reads a multi-line answer to its dot.
func (c *client) rest() (lines []string) {
	for {
		text := c.line()
		if text == "." || strings.HasPrefix(text, "(") {
			return lines
		}
		lines = append(lines, text)
	}
}

// TestSessions plays the transcripts. "C:" is sent, "C>" is sent together with the next C, "S:" is
// received, "TLS" is a handshake; "IMPLICIT" at the top is POP3S. (closed) is the end of the connection.
func TestSessions(t *testing.T) {
	files, _ := filepath.Glob("testdata/session/*.txt")
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			h := newHouse(t)
			for _, l := range letters {
				h.put(l[0], l[1])
			}
			script := strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")
			implicit := false
			for _, l := range script {
				implicit = implicit || l == "IMPLICIT"
			}
			got := h.dial(implicit).play(script)
			if *update {
				os.WriteFile(file, []byte(strings.Join(got, "\n")+"\n"), 0o644)
			}
			for i := range got {
				if i >= len(script) || got[i] != script[i] {
					t.Fatalf("line %d:\n got %s\nwant %s", i+1, got[i], script[i])
				}
			}
		})
	}
}

func (c *client) play(script []string) (got []string) {
	var send strings.Builder
	for _, l := range script {
		switch {
		case strings.HasPrefix(l, "C> "):
			send.WriteString(l[3:] + "\r\n")
		case strings.HasPrefix(l, "C:"):
			send.WriteString(strings.TrimPrefix(strings.TrimPrefix(l, "C:"), " ") + "\r\n")
			io.WriteString(c.Conn, strings.ReplaceAll(send.String(), `\n`, "\n"))
			send.Reset()
		case l == "TLS":
			c.tls()
		case strings.HasPrefix(l, "S:"):
			l = "S: " + c.line()
		}
		got = append(got, l)
	}
	return got
}
