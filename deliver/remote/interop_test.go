package remote

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-smtp"
	"golang.org/x/sys/unix"

	"pennypost/internal/config"
	"pennypost/internal/order"
)

func mustAddrPort(s string) netip.AddrPort { return netip.MustParseAddrPort(s) }

// backend is go-smtp's server: an implementation that is not ours.
type backend struct {
	mu       sync.Mutex
	messages []string
}

type conversation struct {
	b     *backend
	rcpts []string
}

func (b *backend) NewSession(*smtp.Conn) (smtp.Session, error) { return &conversation{b: b}, nil }
func (s *conversation) Reset()                                 { s.rcpts = nil }
func (s *conversation) Logout() error                          { return nil }
func (s *conversation) Mail(string, *smtp.MailOptions) error   { return nil }
func (s *conversation) Rcpt(to string, _ *smtp.RcptOptions) error {
	if strings.HasPrefix(to, "no") {
		return &smtp.SMTPError{Code: 550, EnhancedCode: smtp.EnhancedCode{5, 1, 1}, Message: "no such user"}
	}
	s.rcpts = append(s.rcpts, to)
	return nil
}
func (s *conversation) Data(r io.Reader) error {
	text, err := io.ReadAll(r)
	s.b.mu.Lock()
	s.b.messages = append(s.b.messages, string(text))
	s.b.mu.Unlock()
	return err
}
func (s *conversation) LMTPData(r io.Reader, status smtp.StatusCollector) error {
	text, err := io.ReadAll(r)
	s.b.mu.Lock()
	s.b.messages = append(s.b.messages, string(text))
	s.b.mu.Unlock()
	for _, to := range s.rcpts {
		if strings.HasPrefix(to, "full") {
			status.SetStatus(to, &smtp.SMTPError{Code: 452, EnhancedCode: smtp.EnhancedCode{4, 2, 2}, Message: "mailbox full"})
		} else {
			status.SetStatus(to, nil)
		}
	}
	return err
}

func serve(t *testing.T, l net.Listener, lmtp bool) (*backend, *smtp.Server) {
	b := &backend{}
	s := smtp.NewServer(b)
	s.Domain, s.LMTP, s.EnableSMTPUTF8, s.EnableDSN = "mx.example.test", lmtp, true, true
	s.ErrorLog = quiet2{}
	s.MaxMessageBytes = 10 << 20
	go s.Serve(l)
	t.Cleanup(func() { s.Close() })
	return b, s
}

type quiet2 struct{}

func (quiet2) Printf(string, ...any) {}
func (quiet2) Println(...any)        {}

func TestAgainstGoSMTP(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b, _ := serve(t, l, false)
	c, _ := newClient(t, zone, l.Addr().(*net.TCPAddr).Port, nil)
	texts := []string{
		"Subject: dots\n\n.\n..\n.a\n",
		"Subject: long\n\n" + strings.Repeat("0123456789 0123456789 0123456789\n", 20000),
		"Subject: short\n\nhi\n",
		"Subject: " + strings.Repeat("x", 900) + "\n\n" + strings.Repeat("y", 900) + "\n",
	}
	for _, text := range texts {
		got := deliver(t, c, site, letter{text: text, rcpts: []string{"bob@example.test", "no@example.test"}})
		if !strings.HasPrefix(got, "K 1 250 2.0.0 ") || !strings.Contains(got, "\nD 2 550 5.1.1 no such user\n") {
			t.Error(got)
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.messages) != len(texts) {
		t.Fatalf("%d messages arrived, %d were sent", len(b.messages), len(texts))
	}
	for i, got := range b.messages {
		if want := strings.ReplaceAll(texts[i], "\n", "\r\n"); got != want {
			t.Errorf("message %d: %d octets arrived of %d", i, len(got), len(want))
		}
	}
}

func TestLMTP(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "lmtp")
	local, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	for site, l := range map[string]net.Listener{"lmtp:" + socket: local, "lmtp:" + tcp.Addr().String(): tcp} {
		b, _ := serve(t, l, true)
		c, _ := newClient(t, "", 25, nil)
		got := deliver(t, c, site, letter{rcpts: []string{"bob@example.test", "full@example.test", "no@example.test", "carol@other.test"}})
		want := []string{"K 1 250 2.0.0 ", "Z 2 452 4.2.2 ", "D 3 550 5.1.1 no such user", "K 4 250 2.0.0 "}
		lines := strings.Split(got, "\n")
		for i, w := range want {
			if i >= len(lines) || !strings.HasPrefix(lines[i], w) {
				t.Errorf("%s: %s", site, got)
				break
			}
		}
		if len(b.messages) != 1 || b.messages[0] != "Subject: hi\r\n\r\nhi\r\n" {
			t.Errorf("%s: %q", site, b.messages)
		}
	}
	c, _ := newClient(t, "", 25, nil)
	if got := deliver(t, c, "lmtp:/nowhere/socket", letter{rcpts: []string{"bob@example.test"}}); !strings.HasPrefix(got, "S /nowhere/socket: no such file") {
		t.Error(got)
	}
}

// The worker form: orders and descriptors in, answers out, several at a time.
func TestWorker(t *testing.T) {
	p := newPeer(t, "tcp", "127.0.0.1:0", func(d *dialogue) { d.smtp(modern, nil) })
	c, _ := newClient(t, zone, p.port, nil)
	ours, theirs, err := order.Pair()
	if err != nil {
		t.Fatal(err)
	}
	fd, err := unix.Dup(int(theirs.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	theirs.Close()
	conn, err := order.NewConn(fd)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- (&Worker{Client: c, Conn: conn}).Serve(context.Background()) }()
	const many = 40
	var orders []order.Order
	var fds []int
	for i := range many {
		o, f := letter{from: "alice@we.test", text: "Subject: hi\n\nhi\n", rcpts: []string{"bob@example.test"}}.file(t, site)
		o.Seq = uint64(i + 1)
		orders, fds = append(orders, *o), append(fds, int(f.Fd()))
	}
	orders, fds = append(orders, order.Order{Verb: "resolve", Seq: 99, Domain: "example.test"}, order.Order{Verb: "next", Seq: 100}), append(fds, -1, -1)
	if err := ours.SendOrders(orders, fds); err != nil {
		t.Fatal(err)
	}
	kinds := map[byte]int{}
	for kinds['E'] < many+1 || kinds['R'] < 1 {
		answers, err := ours.ReceiveAnswers()
		if err != nil {
			t.Fatal(err)
		}
		for _, a := range answers {
			kinds[a.Kind]++
			if a.Kind == 'K' && a.Host != "mx.example.test[127.0.0.1]" {
				t.Errorf("host %q", a.Host)
			}
		}
	}
	if kinds['K'] != many || kinds['Z']+kinds['D']+kinds['S'] != 0 {
		t.Errorf("%v", kinds)
	}
	ours.Close()
	select {
	case err := <-done:
		if err != nil && !errors.Is(err, io.EOF) {
			t.Error(err)
		}
	case <-time.After(5 * time.Second):
		t.Error("the worker does not end with queue-run")
	}
}

func TestOneShot(t *testing.T) {
	p := newPeer(t, "tcp", "127.0.0.1:0", func(d *dialogue) { d.smtp(modern, map[string]string{"RCPT TO:<no": "550 5.1.1 \x1b[31mno"}) })
	file := filepath.Join(t.TempDir(), "m")
	os.WriteFile(file, []byte("skipped\nSubject: hi\n\nhi\n"), 0600)
	relay := fmt.Sprintf("smtp://127.0.0.1:%d", p.port)
	run := func(in *os.File, args ...string) (string, int) {
		c, _ := newClient(t, zone, p.port, func(conf *config.Config) {})
		var out bytes.Buffer
		code := c.OneShot(context.Background(), args, in, nil, &out, &out)
		return out.String(), code
	}
	open := func() *os.File {
		f, err := os.Open(file)
		if err != nil {
			t.Fatal(err)
		}
		f.Seek(8, io.SeekStart)
		return f
	}
	if got, code := run(open(), relay, "<alice@we.test>", "<bob@x.test>", "no@x.test"); code != 0 ||
		got != "K 1 2.6.0 250 host=[127.0.0.1] tls=none chunk taken (in clear)\nD 2 5.1.1 550 host=[127.0.0.1] tls=none \\x1b[31mno\n" {
		t.Errorf("%d %q", code, got)
	}
	if got, code := run(open(), relay, "", "no@x.test"); code != 100 {
		t.Errorf("%d %q", code, got)
	}
	if got, code := run(open(), "mx", "", "bob@example.test"); code != 0 {
		t.Errorf("%d %q", code, got)
	}
	r, w, _ := os.Pipe()
	go func() { io.WriteString(w, "Subject: piped\n\n"); w.Close() }()
	if got, code := run(r, "smtp://127.0.0.1:1", "", "bob@x.test"); code != 75 || !strings.HasPrefix(got, "S ") {
		t.Errorf("%d %q", code, got)
	}
	if got, code := run(open(), relay, "", "a b@x.test"); code != 75 || !strings.HasPrefix(got, "deliver-remote: recipient 1: ") {
		t.Errorf("%d %q", code, got)
	}
}

// A worker of its own uid is found at a socket, and serves one queue-run after the other.
func TestListen(t *testing.T) {
	p := newPeer(t, "tcp", "127.0.0.1:0", func(d *dialogue) { d.smtp(modern, nil) })
	c, _ := newClient(t, zone, p.port, nil)
	path := filepath.Join(t.TempDir(), "sock")
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- Listen(ctx, c, path) }()
	for range 2 {
		conn, err := order.Dial(path)
		for range 100 {
			if err == nil {
				break
			}
			time.Sleep(10 * time.Millisecond)
			conn, err = order.Dial(path)
		}
		if err != nil {
			t.Fatal(err)
		}
		o, f := letter{from: "alice@we.test", text: "Subject: hi\n\n", rcpts: []string{"bob@example.test"}}.file(t, site)
		if err := conn.SendOrders([]order.Order{*o}, []int{int(f.Fd())}); err != nil {
			t.Fatal(err)
		}
		answers, err := conn.ReceiveAnswers()
		if err != nil || answers[0].Kind != 'K' {
			t.Errorf("%s %v", show(answers), err)
		}
		conn.Close()
	}
	stop()
	if err := <-done; err != nil || p.connections() != 1 {
		t.Errorf("%v, %d connections", err, p.connections())
	}
}
