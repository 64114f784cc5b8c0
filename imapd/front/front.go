/*
Package front is IMAP before login: the not authenticated state of RFC 9051 section 3.1, in a process that has mail behind it (imapd) or in
one that has not (maillogin).

	front.go     Server; a connection from its greeting until somebody has logged in
	commands.go  the table and its handlers: CAPABILITY ID NOOP LOGOUT STARTTLS
	login.go     LOGIN, AUTHENTICATE

What comes out is a Login: who it is, and the command that waits for its answer. Whoever takes the session over gives it.
*/
package front

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/netip"
	"sync"
	"time"

	"pennypost/imapd/wire"
	"pennypost/internal/certs"
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
	Hostname  string
	Checker   Checker
	TLS       *tls.Config    // nil: there is no TLS
	Clear     []netip.Prefix // from there clients may log in without it
	LoginTime time.Duration
	Sources   *listen.Tables // who has logged in from where; may be nil
	Log       *maillog.Log
	// Enter has the session taken over. After an error the client hears NO and may try again; it must say what the log is to know.
	Enter func(ctx context.Context, l *Login) error
}

// Login is a session whose user is known, and whose command Tag has no answer yet.
type Login struct {
	Conn      net.Conn // TLS where it is that
	Identity  *login.Identity
	Remote    netip.Addr
	Mechanism string // "LOGIN" for the command of this name
	Tag       string
	Early     []byte // came after the command
}

// ErrLimit is one session too many of an account (S081), which the client may know.
var ErrLimit = login.ErrSessions

// ErrNotNow is a session that cannot be had now, which the client may know.
var ErrNotNow = errors.New("the mail is not to be reached now")

const (
	handshakeTime = 30 * time.Second
	writeTime     = 2 * time.Minute
	mostFailed    = 5 // logins, and BAD in a row
	bufferSize    = 8 << 10
)

var buffers = sync.Pool{New: func() any { return make([]byte, 0, bufferSize) }}

// session is one connection.
type session struct {
	srv    *Server
	ctx    context.Context
	conn   net.Conn
	remote netip.Addr
	secure bool // TLS, or a network that is as good
	reader *wire.Reader
	out    []byte
	text   []byte // of the command

	failures, mistakes int
	ended              string // why it ends, "" while it goes on
	broken             error  // nothing can be written any more
	over               bool   // all is said
	login              *Login // it is over: somebody has taken it
}

// Serve speaks with a client until somebody has taken the session over, which is not nil then. Otherwise the connection has ended and is closed.
func (srv *Server) Serve(ctx context.Context, conn net.Conn, implicit bool) *Login {
	s := &session{srv: srv, ctx: ctx, conn: conn}
	if addr, err := netip.ParseAddrPort(conn.RemoteAddr().String()); err == nil {
		s.remote = addr.Addr().Unmap()
	}
	s.secure = login.InClear(srv.Clear, s.remote)
	s.read(conn)
	stop := context.AfterFunc(ctx, func() { conn.SetReadDeadline(time.Now()) })
	defer stop()
	if !implicit || s.startTLS() {
		s.greet()
		for s.login == nil && s.ended == "" && s.broken == nil && !s.over {
			s.next()
		}
	}
	if s.login != nil {
		return s.login
	}
	if ctx.Err() != nil {
		s.ended = "the server stops"
	}
	if s.ended != "" && !s.over {
		s.say("*", bye(s.ended))
	}
	s.flush()
	s.conn.Close()
	return nil
}

// read reads from a connection from now on. What the old reader has not given out is lost, on purpose: nothing said before STARTTLS counts
// after it (S025).
func (s *session) read(conn net.Conn) {
	s.reader = wire.NewReader(conn, wire.BeforeLogin, func() []byte { return buffers.Get().([]byte) }, func(b []byte) { buffers.Put(b[:0]) }) //nolint
	s.reader.Continue = func() error { return s.goOn("") }
}

// next reads a command and answers it.
func (s *session) next() {
	if s.reader.Buffered() == 0 {
		if s.flush(); s.broken != nil {
			return
		}
		s.reader.Rest()
	}
	s.conn.SetReadDeadline(time.Now().Add(s.srv.Sources.Patience(s.srv.LoginTime)))
	if s.ctx.Err() != nil {
		s.conn.SetReadDeadline(time.Now())
	}
	c, err := s.reader.Next(s.text, nil)
	s.text = c.Text
	if err != nil {
		s.unreadable(c, err)
		return
	}
	s.run(c)
}

// unreadable answers what was no command.
func (s *session) unreadable(c wire.Command, err error) {
	var timeout net.Error
	switch {
	case errors.Is(err, wire.ErrTooBig), errors.Is(err, wire.ErrBareLine):
		s.answer(wire.NewDecoder(c.Text, 1).Tag(), syntax(err))
	case errors.Is(err, wire.ErrDesync):
		s.ended = "that is more than we take"
	case errors.As(err, &timeout) && timeout.Timeout():
		s.ended = "you were silent for too long"
	default:
		s.broken = err
	}
}

func (s *session) flush() {
	if len(s.out) > 0 && s.broken == nil {
		s.conn.SetWriteDeadline(time.Now().Add(writeTime))
		_, s.broken = s.conn.Write(s.out)
	}
	s.out = s.out[:0]
}

// goOn says "+" and waits for what the client has held back.
func (s *session) goOn(text string) error {
	s.out = append(append(append(s.out, "+ "...), text...), "\r\n"...)
	s.flush()
	return s.broken
}

// startTLS does the handshake and goes on inside it.
func (s *session) startTLS() bool {
	s.conn.SetDeadline(time.Now().Add(handshakeTime))
	conn := tls.Server(certs.Watch(s.conn), s.srv.TLS)
	if err := conn.HandshakeContext(s.ctx); err != nil {
		s.srv.Log.Warn("imap TLS handshake "+s.remote.String(), err)
		s.broken = err
		return false
	}
	s.conn.SetDeadline(time.Time{})
	s.conn, s.secure = conn, true
	s.read(conn)
	return true
}

func (s *session) tls() bool {
	_, on := s.conn.(*tls.Conn)
	return on
}

// Refuse answers a connection beyond the limits.
func Refuse(conn net.Conn) {
	conn.SetWriteDeadline(time.Now().Add(time.Second))
	conn.Write([]byte("* BYE [UNAVAILABLE] too many connections, try later\r\n"))
}
