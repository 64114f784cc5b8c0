package pop3d

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"pennypost/internal/certs"
	"pennypost/internal/line"
	"pennypost/login"
)

const (
	bufferSize  = 4 << 10
	mostPending = 32 << 10        // octets of replies that wait
	longestLine = 255             // RFC 2449 section 4, with CRLF
	longestSASL = 12288           // RFC 5034 section 4
	mostErrors  = 20              // commands that made no sense
	mostLogins  = 3               // wrong passwords
	writeTime   = 2 * time.Minute // one write may take
)

var (
	errTooMany = errors.New("too many errors")
	errLogins  = errors.New("too many wrong logins")
	errEarly   = errors.New("octets after STLS and before TLS")
)

// session is one connection.
type session struct {
	srv      *Server
	raw      net.Conn // the socket
	conn     net.Conn // raw, or TLS on it
	in       *line.Reader
	out      []byte // replies that wait for the input to be drained
	implicit bool
	secure   bool // TLS is there
	ip       string
	remote   netip.Addr
	ctx      context.Context

	state     state
	name      string // of USER
	identity  *login.Identity
	unwatch   func() // ends the watching of its credential
	drop      *maildrop
	errors    int
	logins    int
	ended     bool
	broken    error // why the session ended if not by QUIT
	stopping  atomic.Bool
	fetched   int
	deleted   int
	deletedSz int64
}

func newSession(srv *Server, conn net.Conn, implicit bool) *session {
	s := &session{srv: srv, raw: conn, conn: conn, implicit: implicit, state: authorization}
	s.in = line.NewReader(reader{s}, bufferSize)
	if addr := conn.RemoteAddr(); addr != nil {
		if ap, err := netip.ParseAddrPort(addr.String()); err == nil {
			s.remote = ap.Addr().Unmap()
			s.ip = s.remote.String()
		}
	}
	return s
}

// reader reads from the connection of the moment. Whoever waits for the client has said all he has to say.
type reader struct{ s *session }

func (r reader) Read(p []byte) (int, error) {
	if err := r.s.flush(); err != nil {
		return 0, err
	}
	r.s.conn.SetReadDeadline(time.Now().Add(r.s.srv.idle()))
	if r.s.stopping.Load() {
		return 0, os.ErrDeadlineExceeded
	}
	return r.s.conn.Read(p)
}

func (srv *Server) idle() time.Duration {
	if srv.IdleTime > 0 {
		return srv.IdleTime
	}
	return 10 * time.Minute
}

// interrupt ends the wait for the next command: the server is going down. Nothing is removed.
func (s *session) interrupt() {
	s.stopping.Store(true)
	s.raw.SetReadDeadline(time.Unix(1, 0))
}

func (s *session) close() {
	if s.unwatch != nil {
		s.unwatch()
	}
	if s.drop != nil {
		user := s.identity.Account.Path().String()
		s.srv.Log.Logout("pop3", s.ip, user, s.fetched, s.deleted, s.deletedSz, s.broken)
		s.drop.close()
	}
	s.in.Release()
	s.conn.Close()
	if s.conn != s.raw {
		s.raw.Close()
	}
}

func (s *session) serve(ctx context.Context) {
	s.ctx = ctx
	if s.implicit {
		if err := s.handshake(); err != nil {
			return
		}
	}
	s.ok("POP3 server ready at " + s.srv.Hostname)
	for !s.ended {
		if err := s.command(); err != nil {
			s.broken = err
			if s.stopping.Load() {
				s.out = append(s.out, "-ERR [SYS/TEMP] server is going down, nothing was deleted\r\n"...)
			}
			break
		}
	}
	s.flush()
}

// command reads one command and answers it.
func (s *session) command() error {
	text, err := s.in.Line(longestLine)
	switch {
	case errors.Is(err, line.ErrTooLong):
		return s.wrong("line too long")
	case errors.Is(err, line.ErrBare), errors.Is(err, line.ErrNUL):
		return s.wrong("bare CR, LF or NUL in a command")
	case err != nil:
		return err
	}
	name, rest, _ := strings.Cut(string(text), " ")
	v, ok := verbs[strings.ToUpper(name)]
	if !ok {
		return s.wrong("unknown command")
	}
	if v.in&s.state == 0 {
		return s.wrong(v.suggested)
	}
	args, ok := words(rest, v.max)
	if !ok || len(args) < v.min {
		return s.wrong("wrong number of arguments for " + v.name)
	}
	reply := v.answer(s, args)
	if reply != "" {
		s.out = append(append(s.out, reply...), "\r\n"...)
		if strings.HasPrefix(reply, "-ERR") && s.state == authorization {
			s.errors++
		}
	}
	if s.broken != nil {
		return s.broken
	}
	if s.errors >= mostErrors {
		return errTooMany
	}
	if len(s.out) > mostPending {
		return s.flush()
	}
	return nil
}

// words splits at single spaces into at most max words, the last of which may have spaces: a
// password has them. ok is false when there is more than there may be.
func words(rest string, max int) (args []string, ok bool) {
	if max == 0 {
		return nil, strings.Trim(rest, " ") == ""
	}
	if rest == "" {
		return nil, true
	}
	return strings.SplitN(rest, " ", max), true
}

// wrong answers what is no command here; too much of it ends the session.
func (s *session) wrong(why string) error {
	s.err(why)
	if s.errors++; s.errors >= mostErrors {
		return errTooMany
	}
	return nil
}

func (s *session) ok(text string) {
	s.out = append(append(append(s.out, "+OK "...), text...), "\r\n"...)
}

func (s *session) err(text string) {
	s.out = append(append(append(s.out, "-ERR "...), text...), "\r\n"...)
}

// flush sends what waits.
func (s *session) flush() error {
	if len(s.out) == 0 {
		return nil
	}
	s.conn.SetWriteDeadline(time.Now().Add(writeTime))
	_, err := s.conn.Write(s.out)
	s.out = s.out[:0]
	if cap(s.out) > 2*mostPending {
		s.out = nil
	}
	return err
}

// handshake turns the connection into a TLS one. What was said before is forgotten (RFC 2595 section 4).
func (s *session) handshake() error {
	conn := tls.Server(certs.Watch(s.raw), s.srv.TLS)
	s.raw.SetDeadline(time.Now().Add(handshakeTime))
	ctx, cancel := context.WithTimeout(s.ctx, handshakeTime)
	defer cancel()
	if err := conn.HandshakeContext(ctx); err != nil {
		s.srv.Log.TLSFail(s.ip, err)
		s.broken = err
		return err
	}
	s.raw.SetDeadline(time.Time{})
	if s.stopping.Load() {
		return io.EOF
	}
	s.in.Release()
	s.conn, s.secure, s.name = conn, true, ""
	s.in = line.NewReader(reader{s}, bufferSize)
	return nil
}
