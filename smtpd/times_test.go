package smtpd

import (
	"bufio"
	"context"
	"crypto/tls"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"pennypost/internal/config"
)

// all reads until the server closes.
func all(t *testing.T, c net.Conn) string {
	t.Helper()
	b, err := io.ReadAll(c)
	if err != nil && !strings.Contains(err.Error(), "reset") {
		t.Fatalf("%q, then %v", b, err)
	}
	return string(b)
}

// drip sends an octet now and then until it cannot.
func drip(c net.Conn, octet string) {
	for {
		if _, err := c.Write([]byte(octet)); err != nil {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// A line that never ends has the time of one line, however often an octet comes (S021).
func TestS021LineDeadline(t *testing.T) {
	srv, _, _ := newServer(t)
	srv.Settings.CommandTime = 200 * time.Millisecond
	c := connect(t, srv, "mx")
	go drip(c, "x")
	if got := all(t, c); codes(got) != "220 421" {
		t.Errorf("%q", got)
	}
}

// Silence within a message, and data that trickle, end the session; of the message nothing is left (S076).
func TestS076SlowData(t *testing.T) {
	was := slowAfter
	t.Cleanup(func() { slowAfter = was })
	for _, c := range []struct {
		name   string
		silent bool
	}{{"silence", true}, {"trickle", false}} {
		srv, spool, _ := newServer(t)
		slowAfter = time.Hour
		srv.Settings.DataTime = 200 * time.Millisecond
		if !c.silent {
			slowAfter = 200 * time.Millisecond
			srv.Settings.DataTime = time.Minute
		}
		conn := connect(t, srv, "mx")
		conn.Write([]byte(letter))
		in := bufio.NewReader(conn)
		for {
			l, err := in.ReadString('\n')
			if err != nil {
				t.Fatal(err)
			}
			if strings.HasPrefix(l, "354") {
				break
			}
		}
		conn.Write([]byte("x"))
		if !c.silent {
			go drip(conn, "x")
		}
		l, err := in.ReadString('\n')
		if err != nil || !strings.HasPrefix(l, "421 4.4.2") {
			t.Errorf("%s: %q %v", c.name, l, err)
		}
		io.Copy(io.Discard, in)
		if spool.open != 0 || len(spool.files) != 0 {
			t.Errorf("%s: something is left", c.name)
		}
	}
}

// Under stress a command of a stranger has seconds and not minutes; who has sent mail that was taken keeps his time and gets in.
func TestS076Stress(t *testing.T) {
	was := stressTime
	t.Cleanup(func() { stressTime = was })
	stressTime = 500 * time.Millisecond
	srv, _, log := newServer(t)
	srv.Settings.MaxConnections, srv.Settings.PerIPv4 = 40, 100
	dial := serving(t, srv, "mx")
	friend := dial("127.0.0.9")
	io.WriteString(friend, "HELO x\r\nMAIL FROM:<a@example.com>\r\nRCPT TO:<bob@example.org>\r\nDATA\r\n")
	for heard := ""; !strings.Contains(heard, "354"); heard += greeting(friend) {
	}
	io.WriteString(friend, "\r\n.\r\nQUIT\r\n")
	if got, _ := io.ReadAll(friend); codes(string(got)) != "250 221" {
		t.Fatalf("%q", got)
	}
	var strangers []net.Conn
	for range 36 {
		strangers = append(strangers, dial("127.0.0.8"))
	}
	for _, c := range strangers {
		c.SetDeadline(time.Now().Add(10 * time.Second))
	}
	refused := dial("127.0.0.8")
	if got, _ := io.ReadAll(refused); codes(string(got)) != "421" {
		t.Errorf("one stranger more: %q", got)
	}
	friend = dial("127.0.0.9")
	if got := greeting(friend); !strings.HasPrefix(got, "220") {
		t.Errorf("the friend: %q", got)
	}
	for _, c := range strangers { // those who came after it became scarce, and those who were there
		if got, _ := io.ReadAll(c); codes(string(got)) != "220 421" {
			t.Fatalf("a stranger: %q", got)
		}
	}
	io.WriteString(friend, "QUIT\r\n")
	if got, _ := io.ReadAll(friend); codes(string(got)) != "221" {
		t.Errorf("the friend later: %q", got)
	}
	if text := log.String(); strings.Count(text, "stress service=mx state=on") != 1 {
		t.Errorf("log %s", text)
	}
}

// serving serves on loopback until the test ends, and dials from where it is told.
func serving(t testing.TB, srv *Server, service string) (dial func(from string) net.Conn) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- srv.Serve(ctx, map[string][]net.Listener{service: {l}}) }()
	var open []net.Conn
	t.Cleanup(func() {
		for _, c := range open {
			c.Close()
		}
		cancel()
		<-done
	})
	return func(from string) net.Conn {
		d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
		c, err := d.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		c.SetDeadline(time.Now().Add(20 * time.Second))
		open = append(open, c)
		return c
	}
}

func greeting(c net.Conn) string {
	b := make([]byte, 512)
	n, _ := c.Read(b)
	return string(b[:n])
}

// The rates of a source hold for all its connections, and for no other source (N2).
func TestRates(t *testing.T) {
	hour := func(n int) config.Rate { return config.Rate{N: n, Per: time.Hour} }
	for _, c := range []struct {
		name string
		set  func(*config.SMTPD)
		say  []string // of a connection each
		want []string
	}{
		{"messages", func(s *config.SMTPD) { s.MessageRate = hour(2) },
			[]string{"MAIL FROM:<a@b.example>\r\nRSET\r\nMAIL FROM:<a@b.example>\r\nRSET\r\n", "MAIL FROM:<a@b.example>\r\n"},
			[]string{"220 250 250 250 250 250 221", "220 250 450 221"}},
		{"recipients", func(s *config.SMTPD) { s.RecipientRate = hour(1) },
			[]string{"MAIL FROM:<a@b.example>\r\nRCPT TO:<bob@example.org>\r\n", "MAIL FROM:<a@b.example>\r\nRCPT TO:<bob@example.org>\r\n"},
			[]string{"220 250 250 250 221", "220 250 250 450 221"}},
		{"errors", func(s *config.SMTPD) { s.ErrorRate = hour(2) },
			[]string{"WHAT\r\nWHAT\r\nWHAT\r\n", ""}, []string{"220 250 500 500 500 221", "421"}},
		{"connections", func(s *config.SMTPD) { s.ConnectRate = hour(1) }, []string{"", ""}, []string{"220 250 221", "421"}},
		{"unknown recipients", func(s *config.SMTPD) { s.UnknownLimit = 2 },
			[]string{"MAIL FROM:<a@b.example>\r\nRCPT TO:<n1@example.org>\r\nRCPT TO:<n2@example.org>\r\nRCPT TO:<n3@example.org>\r\n", ""},
			[]string{"220 250 250 550 550 421", "421"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			srv, _, _ := newServer(t)
			c.set(srv.Settings)
			dial := serving(t, srv, "mx")
			talk := func(from, say string) string {
				conn := dial(from)
				first := greeting(conn)
				io.WriteString(conn, "HELO x\r\n"+say+"QUIT\r\n")
				rest, _ := io.ReadAll(conn)
				return codes(first + string(rest))
			}
			for i, say := range c.say {
				if got := talk("127.0.0.8", say); got != c.want[i] {
					t.Errorf("connection %d: %q, want %q", i+1, got, c.want[i])
				}
			}
			if got := talk("127.0.0.9", ""); got != "220 250 221" {
				t.Errorf("somebody else: %q", got)
			}
		})
	}
}

// A handshake that does not come on has its time, too (S031).
func TestS031Handshake(t *testing.T) {
	was := handshakeTime
	t.Cleanup(func() { handshakeTime = was })
	handshakeTime = 100 * time.Millisecond
	srv, _, log := newServer(t)
	if got := all(t, connect(t, srv, "submissions")); got != "" {
		t.Errorf("%q", got)
	}
	if !strings.Contains(log.String(), "tls-fail") {
		t.Errorf("log: %s", log)
	}
}

// Another protocol's client at the plaintext port, and another protocol's name under TLS (S018).
func TestS018OtherProtocols(t *testing.T) {
	srv, _, _ := newServer(t)
	c := connect(t, srv, "mx")
	err := tls.Client(c, &tls.Config{InsecureSkipVerify: true}).Handshake()
	if err == nil {
		t.Error("TLS on the plaintext port")
	}
	c = connect(t, srv, "submissions")
	if err := tls.Client(c, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"http/1.1"}}).Handshake(); err == nil {
		t.Error("http/1.1 on the submissions port")
	}
	c = connect(t, srv, "submissions")
	if err := tls.Client(c, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"smtp"}}).Handshake(); err != nil {
		t.Error(err)
	}
}

// A client that speaks before it is spoken to has made an error (S017).
func TestS017EarlyTalker(t *testing.T) {
	srv, _, log := newServer(t)
	srv.Settings.MaxErrors = 2
	srv.prepare()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	server, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	c.Write([]byte("EHLO c\r\nFOO\r\n"))
	time.Sleep(20 * time.Millisecond)
	svc, _ := serviceNamed("mx")
	go srv.serve(svc, server)
	c.SetDeadline(time.Now().Add(10 * time.Second))
	if got := codes(all(t, c)); got != "220 250 500 421" {
		t.Error(got)
	}
	if !strings.Contains(log.String(), "before the banner") {
		t.Error(log)
	}
}

// SIGTERM: who waits is told, who sends may finish.
func TestShutdown(t *testing.T) {
	srv, spool, _ := newServer(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- srv.Serve(ctx, map[string][]net.Listener{"mx": {l}}) }()
	dial := func() (net.Conn, *bufio.Reader) {
		c, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		c.SetDeadline(time.Now().Add(10 * time.Second))
		r := bufio.NewReader(c)
		r.ReadString('\n')
		return c, r
	}
	_, idle := dial()
	busy, replies := dial()
	busy.Write([]byte(letter))
	for {
		if l, err := replies.ReadString('\n'); err != nil || strings.HasPrefix(l, "354") {
			break
		}
	}
	cancel()
	if l, err := idle.ReadString('\n'); err != nil || !strings.HasPrefix(l, "421 4.3.2") {
		t.Errorf("idle: %q %v", l, err)
	}
	busy.Write([]byte(body))
	if l, err := replies.ReadString('\n'); err != nil || !strings.HasPrefix(l, "250 2.0.0") {
		t.Errorf("busy: %q %v", l, err)
	}
	if l, err := replies.ReadString('\n'); err != nil || !strings.HasPrefix(l, "421 4.3.2") {
		t.Errorf("busy, after its message: %q %v", l, err)
	}
	busy.Close()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if len(spool.files) != 1 || spool.hints != 1 {
		t.Errorf("%d messages, %d hints", len(spool.files), spool.hints)
	}
}

// Beyond the limit a connection is told so and closed, and others go on (S074).
func TestS074TooMany(t *testing.T) {
	srv, _, _ := newServer(t)
	srv.Settings.PerIPv4 = 2
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- srv.Serve(ctx, map[string][]net.Listener{"mx": {l}}) }()
	var first []byte
	for i, want := range []string{"220", "220", "421"} {
		c, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		c.SetDeadline(time.Now().Add(10 * time.Second))
		first = make([]byte, 3)
		if _, err := io.ReadFull(c, first); err != nil || string(first) != want {
			t.Errorf("connection %d: %q %v", i, first, err)
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// One connection on a descriptor, as inetd gives it.
func TestServeConn(t *testing.T) {
	srv, _, _ := newServer(t)
	c := &script{say: []string{"QUIT\r\n"}}
	if err := srv.ServeConn(context.Background(), "lmtp", c); err != nil || codes(c.heard.String()) != "220 221" {
		t.Errorf("%q %v", c.heard.String(), err)
	}
	if err := srv.ServeConn(context.Background(), "pop3", c); err == nil {
		t.Error("pop3 is no service of ours")
	}
}
