package clients

import (
	"bytes"
	"crypto/tls"
	"io"
	"net"
	"regexp"
	"sync"
	"testing"
)

// proxy stands between clients and whichever server has the mail at the time; it has heard everything. Clients see one address and one
// certificate all the time.
type proxy struct {
	port string

	mu       sync.Mutex
	upstream func() (net.Conn, error)
	said     *talkBuffer // by clients
	answered *talkBuffer // by the server
}

// talkBuffer is what went one way.
type talkBuffer struct {
	mu sync.Mutex
	bytes.Buffer
}

func (b *talkBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.Buffer.Write(p)
}

func (b *talkBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.Buffer.String()
}

// newProxy listens with the certificate base.pem.
func newProxy(t *testing.T, base string) *proxy {
	t.Helper()
	cert, err := tls.LoadX509KeyPair(base+".pem", base+".key")
	if err != nil {
		t.Fatal(err)
	}
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{cert}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	p := &proxy{said: &talkBuffer{}, answered: &talkBuffer{}}
	_, p.port = split(t, l.Addr().String())
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go p.serve(c)
		}
	}()
	return p
}

func (p *proxy) serve(c net.Conn) {
	defer c.Close()
	p.mu.Lock()
	dial, said, answered := p.upstream, p.said, p.answered
	p.mu.Unlock()
	s, err := dial()
	if err != nil {
		return
	}
	defer s.Close()
	go func() {
		io.Copy(io.MultiWriter(s, said), c)
		s.Close()
	}()
	io.Copy(io.MultiWriter(c, answered), s)
}

// to sends the connections of from now on to another server, and begins a new page.
func (p *proxy) to(dial func() (net.Conn, error)) {
	p.mu.Lock()
	p.upstream = dial
	p.mu.Unlock()
	p.page()
}

// page forgets what was said.
func (p *proxy) page() {
	p.mu.Lock()
	p.said, p.answered = &talkBuffer{}, &talkBuffer{}
	p.mu.Unlock()
}

var bodies = regexp.MustCompile(`(?i)\bFETCH \(?[^\r\n]*?(BODY\[\]|RFC822 |BODY\[TEXT\]|BODY\[HEADER)[^\r\n]*\{\d+\}\r\n`)

// bodies is the answers of servers that carried text of a message.
func (p *proxy) bodies() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return bodies.FindAllString(p.answered.String(), -1)
}

// transcript is for the reader of a failure.
func (p *proxy) transcript() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return "clients:\n" + last(p.said.String(), 4000) + "\nserver:\n" + last(p.answered.String(), 6000)
}
