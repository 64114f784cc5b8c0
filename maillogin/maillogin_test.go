package maillogin_test

import (
	"bufio"
	"compress/flate"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/xdg-go/scram"

	"pennypost/imapd"
	"pennypost/internal/config"
	"pennypost/internal/listen"
	"pennypost/internal/maillog"
	"pennypost/login"
	"pennypost/maillogin"
	"pennypost/pop3d"
)

// house is mailauthd, imapd, pop3d and maillogin of one mail.toml, each as its program starts it, in this process.
type house struct {
	*testing.T
	dir, file string
	log       *maillog.Log
	conf      *config.Config
	front     *maillogin.Server
}

const password = "looking glass"

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// newHouse has alice with two credentials, and nothing runs yet but maillogin.
func newHouse(t *testing.T) *house {
	dir, err := os.MkdirTemp("/tmp", "maillogin") // short, for the names of sockets
	must(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	h := &house{T: t, dir: dir, file: dir + "/mail.toml", log: &maillog.Log{Program: "test", Out: t.Output()}}
	credentials := dir + "/domains/example.org/users/alice/credentials"
	must(t, os.MkdirAll(credentials, 0o755))
	must(t, os.MkdirAll(dir+"/run", 0o755))
	main, err := login.New("main", "wonderland", login.Params{Memory: 8, Passes: 1, Lanes: 1, Iterations: 4096})
	must(t, err)
	phone, err := login.NewBeside([]login.Credential{main}, "phone", password, login.Params{Memory: 8, Passes: 1, Lanes: 1, Iterations: 4096})
	must(t, err)
	must(t, os.WriteFile(credentials+"/main", []byte(main.String()), 0o600))
	must(t, os.WriteFile(credentials+"/phone", []byte(phone.String()), 0o600))
	certificate(t, dir)
	must(t, os.WriteFile(h.file, []byte(`hostname = "mx.example.org"
default_domain = "example.org"
domains = "domains"
state = "state"
run = "run"
[mail]
path = "`+dir+`/mail/%d/%n/Maildir"
[tls]
certificates = ["tls.pem"]
keys = ["tls.key"]
[login]
socket = "run/login.sock"
clear_networks = ["127.0.0.9/32"]
[imapd]
sessions = "run/imapd.sock"
[pop3d]
sessions = "run/pop3d.sock"
`), 0o644))
	h.conf, err = config.Load(h.file, append(append(append(maillogin.Sections, imapd.Sections...), pop3d.Sections...), login.ServiceSections...)...)
	must(t, err)
	h.front, _, err = maillogin.FromConfig(h.conf, h.log)
	must(t, err)
	return h
}

func certificate(t *testing.T, dir string) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "mx.example.org"}, NotAfter: time.Now().Add(time.Hour)}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	must(t, err)
	der, err := x509.MarshalPKCS8PrivateKey(key)
	must(t, err)
	must(t, os.WriteFile(dir+"/tls.pem", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert}), 0o644))
	must(t, os.WriteFile(dir+"/tls.key", pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600))
}

// run runs a server until the test is over, or stop is called.
func (h *house) run(serve func(ctx context.Context) error) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var group sync.WaitGroup
	group.Go(func() {
		if err := serve(ctx); err != nil {
			h.Error(err)
		}
	})
	stop = sync.OnceFunc(func() { cancel(); group.Wait() })
	h.Cleanup(stop)
	return stop
}

// open starts what stands behind maillogin.
func (h *house) open() *house {
	h.runAuth()
	h.runIMAP()
	srv, _, err := pop3d.FromConfig(h.conf, h.log)
	must(h, err)
	h.run(func(ctx context.Context) error { return srv.Listen(ctx, &h.conf.POP3D, nil) })
	h.await("pop3d.sock")
	return h
}

func (h *house) runAuth() (stop func()) {
	auth, err := login.NewService(h.conf, h.log)
	must(h, err)
	stop = h.run(func(ctx context.Context) error { return auth.Listen(ctx, h.conf, nil) })
	h.await("login.sock")
	return stop
}

func (h *house) runIMAP() {
	srv, _, err := imapd.FromConfig(h.conf, h.log)
	must(h, err)
	h.run(func(ctx context.Context) error { return srv.Listen(ctx, &h.conf.IMAPD, nil) })
	h.await("imapd.sock")
}

func (h *house) await(socket string) {
	for range 500 {
		if _, err := os.Stat(filepath.Join(h.dir, "run", socket)); err == nil {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
	h.Fatal(socket + " does not come")
}

// client is somebody outside.
type client struct {
	*testing.T
	net.Conn
	in   *bufio.Reader
	gone chan struct{} // maillogin has done its part
}

// dial connects from an address of this host.
func (h *house) dial(service, from string) *client {
	h.Helper()
	l, err := listen.Open([]string{"127.0.0.1:0"})
	must(h, err)
	defer l[0].Close()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
	conn, err := d.Dial("tcp", l[0].Addr().String())
	must(h, err)
	theirs, err := l[0].Accept()
	must(h, err)
	c := &client{h.T, conn, bufio.NewReader(conn), make(chan struct{})}
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		defer close(c.gone)
		h.front.Handle(ctx, theirs, service)
	}()
	h.Cleanup(func() { c.Close(); cancel(); <-c.gone })
	c.SetDeadline(time.Now().Add(30 * time.Second))
	if service == "imaps" || service == "pop3s" {
		c.tls()
	}
	return c
}

func (c *client) tls() {
	c.Conn = tls.Client(c.Conn, &tls.Config{InsecureSkipVerify: true})
	c.in = bufio.NewReader(c.Conn)
}

func (c *client) line() string {
	text, err := c.in.ReadString('\n')
	if err != nil && text == "" {
		return "(closed)"
	}
	return strings.TrimSuffix(text, "\r\n")
}

// say sends lines and reads until one begins with what is wanted, which it gives.
func (c *client) say(text, want string) string {
	c.Helper()
	if text != "" {
		if _, err := io.WriteString(c.Conn, text+"\r\n"); err != nil {
			c.Fatalf("%s: %v", text, err)
		}
	}
	for {
		line := c.line()
		if strings.HasPrefix(line, want) {
			return line
		}
		if line == "(closed)" || strings.HasPrefix(line, want[:1]) && want[0] != '*' && want[0] != '+' {
			c.Fatalf("%s: %q, want %q", text, line, want)
		}
	}
}

const in = `a LOGIN alice "` + password + `"`

// TestIMAP: whatever the way in, what follows the login in the same packet is neither lost nor read twice, and the session is imapd's.
func TestIMAP(t *testing.T) {
	h := newHouse(t).open()
	for _, way := range []string{"imaps", "imap", "clear"} {
		t.Run(way, func(t *testing.T) {
			service, from := way, "127.0.0.1"
			if way == "clear" {
				service, from = "imap", "127.0.0.9"
			}
			c := h.dial(service, from)
			c.T = t
			c.say("", "* OK [CAPABILITY IMAP4rev1")
			if way == "imap" {
				c.say("x STARTTLS", "x OK")
				c.tls()
			}
			body := strings.Repeat("x", 7000)
			io.WriteString(c.Conn, in+"\r\nb SELECT INBOX\r\n"+fmt.Sprintf("c APPEND INBOX {%d+}\r\n%s\r\n", len(body), body)+"d NOOP\r\n")
			if line := c.say("", "a OK [CAPABILITY "); !strings.Contains(line, "QRESYNC") || !strings.Contains(line, "APPENDLIMIT") {
				t.Error(line)
			}
			c.say("", "b OK")
			c.say("", "c OK")
			c.say("", "d OK")
			if way == "clear" {
				<-c.gone // maillogin has nothing to do with it any more
			}
			c.say("e IDLE", "+")
			other := h.dial("imaps", "127.0.0.1")
			other.T = t
			other.say("", "* OK")
			other.say(in, "a OK")
			other.say("b SELECT INBOX", "b OK")
			other.say("c STORE 1 +FLAGS (\\Flagged)", "c OK")
			c.say("", "* 1 FETCH")
			c.say("DONE", "e OK")
			c.say("f LOGIN x y", "f BAD you are logged in already")
			big := strings.Repeat("0123456789abcde\r\n", 60_000) // larger than all buffers together
			c.say(fmt.Sprintf("g APPEND INBOX {%d+}\r\n%s", len(big), big), "g OK")
			io.WriteString(c.Conn, "h FETCH * BODY.PEEK[]\r\n")
			c.say("", "* ")
			got := make([]byte, len(big))
			if _, err := io.ReadFull(c.in, got); err != nil || string(got) != big {
				t.Errorf("%v: not what was appended", err)
			}
			c.say("", "h OK")
			c.say("i STORE 1:* +FLAGS.SILENT (\\Deleted)", "i OK")
			c.say("j EXPUNGE", "j OK")
			c.say("k COMPRESS DEFLATE", "k OK")
			w, _ := flate.NewWriter(c.Conn, 1)
			io.WriteString(w, "l LOGOUT\r\n")
			w.Flush()
			answer, _ := io.ReadAll(flate.NewReader(c.in))
			if !strings.Contains(string(answer), "l OK") {
				t.Errorf("%q", answer)
			}
		})
	}
}

func TestPOP3(t *testing.T) {
	h := newHouse(t).open()
	for _, way := range []string{"pop3s", "pop3", "clear"} {
		t.Run(way, func(t *testing.T) {
			service, from := way, "127.0.0.1"
			if way == "clear" {
				service, from = "pop3", "127.0.0.9"
			}
			c := h.dial(service, from)
			c.T = t
			c.say("", "+OK POP3 server ready")
			if way == "pop3" {
				c.say("USER alice", "-ERR not without TLS")
				c.say("STLS", "+OK")
				c.tls()
			}
			io.WriteString(c.Conn, "USER alice\r\nPASS "+password+"\r\nSTAT\r\nCAPA\r\nNOOP\r\n")
			for _, want := range []string{"+OK send PASS", "+OK logged in", "+OK 0 0", "+OK capa"} {
				if got := c.line(); !strings.HasPrefix(got, want) {
					t.Fatalf("%q, want %q", got, want)
				}
			}
			c.say("", "SASL SCRAM-SHA-256")
			c.say("", ".")
			c.say("", "+OK")
			c.say("QUIT", "+OK bye, 0")
			if line := c.line(); line != "(closed)" {
				t.Error(line)
			}
		})
	}
}

// What comes before the handshake ends the connection and is not obeyed; a second STARTTLS is refused.
func TestS025S028BeforeTLS(t *testing.T) {
	h := newHouse(t).open()
	c := h.dial("imap", "127.0.0.1")
	c.say("", "* OK")
	c.say("a STARTTLS\r\nb NOOP", "a BAD")
	if line := c.line(); !strings.HasPrefix(line, "* BYE") {
		t.Error(line)
	}
	c = h.dial("pop3", "127.0.0.1")
	c.say("", "+OK")
	c.say("STLS\r\nQUIT", "-ERR nothing may follow")
	if line := c.line(); line != "(closed)" {
		t.Error(line)
	}
	c = h.dial("imaps", "127.0.0.1")
	c.say("", "* OK")
	c.say("a STARTTLS", "a BAD TLS is on already")
	c = h.dial("pop3s", "127.0.0.1")
	c.say("", "+OK")
	c.say("STLS", "-ERR TLS is there already")
}

// S029: without TLS nothing of a login is read, and none is offered.
func TestS029InClear(t *testing.T) {
	h := newHouse(t).open()
	c := h.dial("imap", "127.0.0.1")
	if line := c.say("", "* OK"); !strings.Contains(line, "LOGINDISABLED") || strings.Contains(line, "AUTH=") {
		t.Error(line)
	}
	c.say(in, "a NO [PRIVACYREQUIRED]")
	c.say("b AUTHENTICATE PLAIN "+base64.StdEncoding.EncodeToString([]byte("\x00alice\x00"+password)), "b NO [PRIVACYREQUIRED]")
	c = h.dial("pop3", "127.0.0.1")
	c.say("", "+OK")
	c.say("USER alice", "-ERR not without TLS")
	c.say("PASS "+password, "-ERR not without TLS")
	c.say("AUTH PLAIN", "-ERR not without TLS")
}

// S035: the channel binding is that of maillogin's TLS, and one that was taken out or changed on the way is noticed.
func TestS035Binding(t *testing.T) {
	h := newHouse(t).open()
	for _, k := range []struct {
		forge func([]byte) []byte
		want  string
	}{{func(b []byte) []byte { return b }, "a OK"}, {func(b []byte) []byte { b[0] ^= 1; return b }, "a NO"}} {
		c := h.dial("imaps", "127.0.0.1")
		if line := c.say("", "* OK"); !strings.Contains(line, "AUTH=SCRAM-SHA-256-PLUS") {
			t.Fatal(line)
		}
		state := c.Conn.(*tls.Conn).ConnectionState()
		key, err := state.ExportKeyingMaterial("EXPORTER-Channel-Binding", nil, 32)
		must(t, err)
		who, err := scram.SHA256.NewClient("alice", "wonderland", "")
		must(t, err)
		talk := who.NewConversationWithChannelBinding(scram.ChannelBinding{Type: "tls-exporter", Data: k.forge(key)})
		said, err := talk.Step("")
		must(t, err)
		line := c.say("a AUTHENTICATE SCRAM-SHA-256-PLUS "+base64.StdEncoding.EncodeToString([]byte(said)), "+ ")
		for strings.HasPrefix(line, "+ ") {
			challenge, err := base64.StdEncoding.DecodeString(line[2:])
			must(t, err)
			if said, err = talk.Step(string(challenge)); err != nil {
				t.Fatal(err)
			}
			io.WriteString(c.Conn, base64.StdEncoding.EncodeToString([]byte(said))+"\r\n")
			line = c.line()
		}
		if !strings.HasPrefix(line, k.want) {
			t.Errorf("%q, want %q", line, k.want)
		}
	}
}

// S118: a device that is removed is out within five seconds, on whichever way it came in; other devices are not.
func TestS118Revoked(t *testing.T) {
	h := newHouse(t).open()
	var all []*client
	for _, way := range []struct{ service, from, greeting string }{
		{"imaps", "127.0.0.1", "* OK"}, {"imap", "127.0.0.9", "* OK"}, {"pop3s", "127.0.0.1", "+OK"},
	} {
		c := h.dial(way.service, way.from)
		c.say("", way.greeting)
		if way.greeting == "+OK" {
			c.say("USER alice", "+OK")
			c.say("PASS "+password, "+OK")
		} else {
			c.say(in, "a OK")
			c.say("b SELECT INBOX", "b OK")
			c.say("c IDLE", "+")
		}
		all = append(all, c)
	}
	other := h.dial("imaps", "127.0.0.1")
	other.say("", "* OK")
	other.say(`a LOGIN alice wonderland`, "a OK")
	must(t, os.Remove(h.dir+"/domains/example.org/users/alice/credentials/phone"))
	for i, c := range all {
		c.SetDeadline(time.Now().Add(5 * time.Second))
		if rest, err := io.ReadAll(c.in); err != nil {
			t.Errorf("%d: %q %v", i, rest, err)
		}
	}
	other.say("b NOOP", "b OK")
}

// Who has nobody to serve him is told to come again, and may try again himself; so is who comes while mailauthd is away.
func TestNotNow(t *testing.T) {
	h := newHouse(t)
	c := h.dial("imaps", "127.0.0.1")
	if line := c.say("", "* OK"); !strings.Contains(line, "AUTH=PLAIN") {
		t.Error(line)
	}
	c.say(in, "a NO [UNAVAILABLE] logins cannot be checked now")
	stop := h.runAuth()
	c.say(in+"\r\nb NOOP", "a NO [UNAVAILABLE] your mail is not to be reached")
	c.say("", "b OK")
	h.runIMAP()
	c.say(in, "a OK")
	stop()
	c.say("b NOOP", "b OK") // mailauthd is away, and the session goes on
	plain := h.dial("imap", "127.0.0.9")
	plain.say("", "* OK")
	plain.say(in, "a NO [UNAVAILABLE] logins")
	h.runAuth()
	plain.say(in, "a OK")
	plain.say("b NOOP", "b OK")
}

// S107: exchanges that are broken off end their connection and leave nothing.
func TestS107BrokenLogins(t *testing.T) {
	h := newHouse(t).open()
	for _, text := range []string{"a AUTHENTICATE SCRAM-SHA-256\r\n", "a AUTHENTICATE PLAIN\r\n*\r\nb LOGOUT\r\n", "a AUTHENTICATE PLAIN !!\r\nb LOGOUT\r\n",
		"a AUTHENTICATE SCRAM-SHA-256 " + base64.StdEncoding.EncodeToString([]byte("n,,n=alice,r=x")) + "\r\n", in[:10]} {
		for range 20 {
			c := h.dial("imaps", "127.0.0.1")
			io.WriteString(c.Conn, text)
			c.Close()
			<-c.gone
		}
	}
	c := h.dial("imaps", "127.0.0.1")
	c.say("", "* OK")
	c.say(in, "a OK")
}

// Whoever stops reading or vanishes takes nobody with him; imapd hears of it.
func TestEnds(t *testing.T) {
	h := newHouse(t).open()
	c := h.dial("imaps", "127.0.0.1")
	c.say("", "* OK")
	c.say(in, "a OK")
	c.Close()
	<-c.gone
	c = h.dial("imaps", "127.0.0.1")
	c.say("", "* OK")
	c.say(in, "a OK")
	c.say("b LOGOUT", "* BYE")
	c.say("", "b OK")
	if line := c.line(); line != "(closed)" {
		t.Error(line)
	}
	<-c.gone
}
