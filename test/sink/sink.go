/*
Package sink is the other side of the tests: SMTP servers that take everything, or behave badly on purpose.

It is written apart from smtpd and shares no line with it, so that a mistake cannot hide in both.
*/
package sink

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Message is one the server has taken.
type Message struct {
	Helo, From string
	To         []string
	TLS        bool
	Text       string // with LF
}

// Server is an SMTP server with a behaviour. Set the fields before Start.
type Server struct {
	TLS       *tls.Config                  // STARTTLS is offered
	Keep      bool                         // remember messages for Messages
	Greylist  time.Duration                // 451 for a sender and recipient until this long after their first visit
	Limit     int                          // 421 to connections beyond
	Slow      time.Duration                // before every reply
	Reject    func(rcpt string) string     // a reply to RCPT in place of 250
	Extension []string                     // more EHLO lines
	OnMessage func(m Message, text []byte) // called for every message, on the connection's goroutine

	Count atomic.Int64 // messages taken
	Conns atomic.Int64 // connections accepted
	Open  atomic.Int64 // connections open

	listener net.Listener
	mu       sync.Mutex
	messages []Message
	seen     map[string]time.Time
	open     map[net.Conn]bool
}

// Start listens on addr.
func (s *Server) Start(addr string) error {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	s.listener, s.seen, s.open = l, map[string]time.Time{}, map[net.Conn]bool{}
	go s.accept()
	return nil
}

// Addr is where it listens.
func (s *Server) Addr() string { return s.listener.Addr().String() }

// Close stops listening and cuts the connections.
func (s *Server) Close() {
	s.listener.Close()
	s.mu.Lock()
	defer s.mu.Unlock()
	for conn := range s.open {
		conn.Close()
	}
}

// Messages are those taken so far.
func (s *Server) Messages() []Message {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]Message(nil), s.messages...)
}

func (s *Server) accept() {
	for {
		conn, err := s.listener.Accept()
		if err != nil {
			return
		}
		s.Conns.Add(1)
		if n := s.Open.Add(1); s.Limit > 0 && n > int64(s.Limit) {
			fmt.Fprintf(conn, "421 4.7.0 enough connections from you\r\n")
			conn.Close()
			s.Open.Add(-1)
			continue
		}
		s.mu.Lock()
		s.open[conn] = true
		s.mu.Unlock()
		go func() {
			(&session{srv: s, conn: conn}).serve()
			conn.Close()
			s.Open.Add(-1)
			s.mu.Lock()
			delete(s.open, conn)
			s.mu.Unlock()
		}()
	}
}

type session struct {
	srv  *Server
	conn net.Conn
	r    *bufio.Reader
	w    *bufio.Writer
	m    Message
	buf  bytes.Buffer
}

// reply writes a line; it is sent once the client waits, so that pipelining is answered as it came.
func (c *session) reply(format string, args ...any) {
	if c.srv.Slow > 0 {
		time.Sleep(c.srv.Slow)
	}
	fmt.Fprintf(c.w, format+"\r\n", args...)
}

func (c *session) serve() {
	c.r, c.w = bufio.NewReaderSize(c.conn, 64<<10), bufio.NewWriter(c.conn)
	c.reply("220 sink.test ESMTP")
	for {
		if c.r.Buffered() == 0 {
			if c.w.Flush() != nil {
				return
			}
		}
		line, err := c.r.ReadSlice('\n')
		if err != nil {
			return
		}
		text := strings.TrimRight(string(line), "\r\n")
		verb, arg, _ := strings.Cut(text, " ")
		if !c.command(strings.ToUpper(verb), arg) {
			c.w.Flush()
			return
		}
	}
}

// command answers one command; false ends the session.
func (c *session) command(verb, arg string) bool {
	switch verb {
	case "EHLO", "HELO":
		c.m.Helo = arg
		lines := append([]string{"sink.test", "PIPELINING", "8BITMIME", "SMTPUTF8", "SIZE 0", "ENHANCEDSTATUSCODES"}, c.srv.Extension...)
		if c.srv.TLS != nil && !c.m.TLS {
			lines = append(lines, "STARTTLS")
		}
		if verb == "HELO" {
			lines = lines[:1]
		}
		for i, line := range lines {
			sep := "-"
			if i == len(lines)-1 {
				sep = " "
			}
			c.reply("250%s%s", sep, line)
		}
	case "STARTTLS":
		if c.srv.TLS == nil || c.m.TLS {
			c.reply("502 5.5.1 no")
			return true
		}
		c.reply("220 2.0.0 go ahead")
		c.w.Flush()
		conn := tls.Server(c.conn, c.srv.TLS)
		if conn.Handshake() != nil {
			return false
		}
		c.conn, c.r, c.w = conn, bufio.NewReader(conn), bufio.NewWriter(conn)
		c.m = Message{TLS: true}
	case "MAIL":
		c.m.From, c.m.To = path(arg), nil
		c.reply("250 2.1.0 ok")
	case "RCPT":
		c.rcpt(path(arg))
	case "DATA":
		if len(c.m.To) == 0 {
			c.reply("554 5.5.1 nobody to send it to")
			return true
		}
		c.reply("354 go on")
		c.w.Flush()
		return c.data()
	case "RSET":
		c.m.From, c.m.To = "", nil
		c.reply("250 2.0.0 ok")
	case "NOOP":
		c.reply("250 2.0.0 ok")
	case "QUIT":
		c.reply("221 2.0.0 bye")
		return false
	default:
		c.reply("502 5.5.1 unknown")
	}
	return true
}

func (c *session) rcpt(to string) {
	if c.srv.Reject != nil {
		if refusal := c.srv.Reject(to); refusal != "" {
			c.reply("%s", refusal)
			return
		}
	}
	if c.srv.Greylist > 0 && !c.srv.known(c.m.From+" "+to) {
		c.reply("451 4.7.1 greylisted, come again later")
		return
	}
	c.m.To = append(c.m.To, to)
	c.reply("250 2.1.5 ok")
}

// known reports whether the pair has waited long enough.
func (s *Server) known(pair string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	first, ok := s.seen[pair]
	if !ok {
		s.seen[pair] = time.Now()
	}
	return ok && time.Since(first) >= s.Greylist
}

// data reads up to the dot.
func (c *session) data() bool {
	c.buf.Reset()
	keep := c.srv.Keep || c.srv.OnMessage != nil
	begin := true // of a line
	for {
		line, err := c.r.ReadSlice('\n')
		if err != nil && err != bufio.ErrBufferFull {
			return false
		}
		if begin && string(line) == ".\r\n" {
			break
		}
		if begin && line[0] == '.' {
			line = line[1:]
		}
		begin = err == nil
		if keep {
			c.buf.Write(bytes.TrimSuffix(line, []byte("\r\n")))
			if begin {
				c.buf.WriteByte('\n')
			}
		}
	}
	if c.srv.OnMessage != nil {
		c.srv.OnMessage(c.m, c.buf.Bytes())
	}
	if c.srv.Keep {
		m := c.m
		m.Text = c.buf.String()
		c.srv.mu.Lock()
		c.srv.messages = append(c.srv.messages, m)
		c.srv.mu.Unlock()
	}
	c.srv.Count.Add(1)
	c.m.From, c.m.To = "", nil
	c.reply("250 2.0.0 taken")
	return true
}

// path is what stands between < and >.
func path(arg string) string {
	_, rest, _ := strings.Cut(arg, "<")
	inside, _, _ := strings.Cut(rest, ">")
	return inside
}

// BlackHole accepts connections and never says a word.
func BlackHole(addr string) (net.Listener, error) {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, err
	}
	go func() {
		var conns []net.Conn // held, or the collector would close them
		for {
			conn, err := l.Accept()
			if err != nil {
				for _, conn := range conns {
					conn.Close()
				}
				return
			}
			conns = append(conns, conn)
		}
	}()
	return l, nil
}
