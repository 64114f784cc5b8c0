/*
Package front is POP3 before login: the AUTHORIZATION state of RFC 1939 section 4, in a process that has maildrops behind it (pop3d) or in
one that has not (maillogin).

	front.go          Server; a connection from its greeting until somebody has logged in
	commands.go       the table; CAPA LANG UTF8 STLS QUIT, and what is said so after the login too
	authorization.go  USER PASS AUTH

What comes out is a Login: who it is, with the answer to the command that logged in still to be given.
*/
package front

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
	"pennypost/internal/listen"
	"pennypost/internal/maillog"
	"pennypost/login"
)

// Checker says who is there; *login.Checker is one.
type Checker interface {
	Check(ctx context.Context, r login.Request) (*login.Identity, error)
}

// Server brings connections to their login.
type Server struct {
	Hostname string
	Checker  Checker
	TLS      *tls.Config    // nil: there is no TLS
	Clear    []netip.Prefix // from there clients may log in without it
	IdleTime time.Duration
	Sources  *listen.Tables // who has logged in from where; may be nil
	Log      *maillog.Log
	// Enter has the session taken over. After an error the client hears -ERR and may try again; it must say what the log is to know.
	Enter func(ctx context.Context, l *Login) error
}

// Login is a session whose user is known, and whose login has no answer yet.
type Login struct {
	Conn      net.Conn // TLS where it is that
	Identity  *login.Identity
	Remote    netip.Addr
	Mechanism string // "USER" for USER and PASS
	Early     []byte // came after the login
	SASL      string // the mechanisms CAPA told, which it goes on telling (RFC 2449 section 6.3)
}

const (
	bufferSize    = 4 << 10
	longestLine   = 255   // RFC 2449 section 4, with CRLF
	longestSASL   = 12288 // RFC 5034 section 4
	mostErrors    = 20    // commands that made no sense
	mostLogins    = 3     // wrong passwords
	writeTime     = 2 * time.Minute
	handshakeTime = 30 * time.Second
)

var (
	errTooMany = errors.New("too many errors")
	errLogins  = errors.New("too many wrong logins")
	errEarly   = errors.New("octets after STLS and before TLS")
)

// session is one connection.
type session struct {
	srv    *Server
	ctx    context.Context
	raw    net.Conn // the socket
	conn   net.Conn // raw, or TLS on it
	in     *line.Reader
	out    []byte // replies that wait for the input to be drained
	early  []byte // is read before what comes
	secure bool   // TLS is there, or a network that is as good
	remote netip.Addr

	name     string // of USER
	errors   int
	logins   int
	ended    bool
	broken   error // why the session ended if not by QUIT
	stopping atomic.Bool
	login    *Login // it is over: somebody has taken it
}

// Serve speaks with a client until somebody has taken the session over, which is not nil then. Otherwise the connection has ended and is closed.
func (srv *Server) Serve(ctx context.Context, conn net.Conn, implicit bool) *Login {
	s := &session{srv: srv, ctx: ctx, raw: conn, conn: conn}
	s.in = line.NewReader(reader{s}, bufferSize)
	if addr := conn.RemoteAddr(); addr != nil {
		if ap, err := netip.ParseAddrPort(addr.String()); err == nil {
			s.remote = ap.Addr().Unmap()
		}
	}
	s.secure = login.InClear(srv.Clear, s.remote)
	stop := context.AfterFunc(ctx, func() {
		s.stopping.Store(true)
		conn.SetReadDeadline(time.Unix(1, 0))
	})
	defer stop()
	s.serve(implicit)
	s.in.Release()
	if s.login != nil {
		return s.login
	}
	s.conn.Close()
	if s.conn != s.raw {
		s.raw.Close()
	}
	return nil
}

func (s *session) serve(implicit bool) {
	if implicit && s.handshake() != nil {
		return
	}
	s.ok("POP3 server ready at " + s.srv.Hostname)
	for !s.ended && s.login == nil {
		if err := s.command(); err != nil {
			if s.stopping.Load() {
				s.out = append(s.out, "-ERR [SYS/TEMP] server is going down\r\n"...)
			}
			break
		}
	}
	if s.login == nil {
		s.flush()
	}
}

// reader reads from the connection of the moment. Whoever waits for the client has said all he has to say.
type reader struct{ s *session }

func (r reader) Read(p []byte) (int, error) {
	if n := copy(p, r.s.early); n > 0 {
		r.s.early = r.s.early[n:]
		return n, nil
	}
	if err := r.s.flush(); err != nil {
		return 0, err
	}
	if r.s.in.Buffered() == 0 { // else it is the middle of a line, whose time runs: an octet now and then gains nothing (S076)
		r.s.conn.SetReadDeadline(time.Now().Add(r.s.srv.Sources.Patience(r.s.srv.IdleTime)))
	}
	if r.s.stopping.Load() {
		return 0, os.ErrDeadlineExceeded
	}
	return r.s.conn.Read(p)
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
	switch {
	case !ok:
		return s.wrong("unknown command")
	case v.answer == nil:
		return s.wrong("log in first")
	}
	args, ok := Words(rest, v.max)
	if !ok || len(args) < v.min {
		return s.wrong("wrong number of arguments for " + strings.ToUpper(name))
	}
	if reply := v.answer(s, args); reply != "" {
		s.out = append(append(s.out, reply...), "\r\n"...)
		if strings.HasPrefix(reply, "-ERR") {
			s.errors++
		}
	}
	if s.broken == nil && s.errors >= mostErrors {
		s.broken = errTooMany
	}
	return s.broken
}

// wrong answers what is no command here; too much of it ends the session.
func (s *session) wrong(why string) error {
	s.out = append(append(append(s.out, "-ERR "...), why...), "\r\n"...)
	if s.errors++; s.errors >= mostErrors {
		return errTooMany
	}
	return nil
}

func (s *session) ok(text string) {
	s.out = append(append(append(s.out, "+OK "...), text...), "\r\n"...)
}

// flush sends what waits.
func (s *session) flush() error {
	if len(s.out) == 0 {
		return nil
	}
	s.conn.SetWriteDeadline(time.Now().Add(writeTime))
	_, err := s.conn.Write(s.out)
	s.out = s.out[:0]
	return err
}

// handshake turns the connection into a TLS one. What was said before is forgotten (RFC 2595 section 4).
func (s *session) handshake() error {
	conn := tls.Server(certs.Watch(s.raw), s.srv.TLS)
	s.raw.SetDeadline(time.Now().Add(handshakeTime))
	ctx, cancel := context.WithTimeout(s.ctx, handshakeTime)
	defer cancel()
	if err := conn.HandshakeContext(ctx); err != nil {
		s.srv.Log.TLSFail(s.ip(), err)
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

// ip is the client's address for the log.
func (s *session) ip() string {
	if !s.remote.IsValid() {
		return ""
	}
	return s.remote.String()
}

// Refuse answers a connection beyond the limits.
func Refuse(conn net.Conn) {
	conn.SetWriteDeadline(time.Now().Add(time.Second))
	conn.Write([]byte("-ERR [SYS/TEMP] too many connections, try later\r\n"))
}
