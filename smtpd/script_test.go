package smtpd

import (
	"bufio"
	"crypto/tls"
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

// script is a connection whose client says what it has to say in given pieces, and listens.
type script struct {
	say   []string // one piece a Read
	heard strings.Builder
	mute  bool // do not keep what is heard
}

func (c *script) Read(p []byte) (int, error) {
	for len(c.say) > 0 && c.say[0] == "" {
		c.say = c.say[1:]
	}
	if len(c.say) == 0 {
		return 0, io.EOF
	}
	n := copy(p, c.say[0])
	c.say[0] = c.say[0][n:]
	return n, nil
}

func (c *script) Write(p []byte) (int, error) {
	if !c.mute {
		c.heard.Write(p)
	}
	return len(p), nil
}

func (c *script) Close() error                     { return nil }
func (c *script) LocalAddr() net.Addr              { return &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 25} }
func (c *script) RemoteAddr() net.Addr             { return &net.TCPAddr{IP: net.IPv4(192, 0, 2, 7), Port: 4182} }
func (c *script) SetDeadline(time.Time) error      { return nil }
func (c *script) SetReadDeadline(time.Time) error  { return nil }
func (c *script) SetWriteDeadline(time.Time) error { return nil }

// play runs a session and returns what the client heard.
func play(t testing.TB, srv *Server, service string, say ...string) string {
	t.Helper()
	srv.prepare()
	svc, _ := serviceNamed(service)
	c := &script{say: say}
	srv.serve(svc, c)
	return c.heard.String()
}

// codes are the reply codes in what was heard, the last line of each reply.
func codes(heard string) string {
	var all []string
	for l := range strings.SplitSeq(strings.TrimSuffix(heard, "\r\n"), "\r\n") {
		if len(l) > 3 && l[3] == ' ' {
			all = append(all, l[:3])
		}
	}
	return strings.Join(all, " ")
}

// tlsPlay is play on submissions, each line sent once the one before it was answered.
func tlsPlay(t testing.TB, srv *Server, say ...string) string {
	t.Helper()
	c := tls.Client(connect(t, srv, "submissions"), &tls.Config{InsecureSkipVerify: true})
	in := bufio.NewReader(c)
	var heard strings.Builder
	reply := func() {
		for {
			l, err := in.ReadString('\n')
			heard.WriteString(l)
			if err != nil || len(l) > 3 && l[3] == ' ' {
				return
			}
		}
	}
	reply()
	for _, l := range say {
		if _, err := c.Write([]byte(l)); err != nil {
			t.Fatal(err)
		}
		reply()
	}
	return heard.String()
}
