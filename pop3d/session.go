package pop3d

import (
	"context"
	"errors"
	"net"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"pennypost/internal/line"
	"pennypost/login"
	"pennypost/pop3d/front"
)

const (
	bufferSize  = 4 << 10
	mostPending = 32 << 10        // octets of replies that wait
	longestLine = 255             // RFC 2449 section 4, with CRLF
	mostErrors  = 20              // commands that made no sense
	writeTime   = 2 * time.Minute // one write may take
)

var errTooMany = errors.New("too many errors")

// session is one connection.
type session struct {
	srv   *Server
	conn  net.Conn
	in    *line.Reader
	out   []byte // replies that wait for the input to be drained
	early []byte // came after the login, and is read first
	sasl  string // what CAPA tells of it
	ip    string
	ctx   context.Context

	identity  *login.Identity
	unwatch   func() // ends the watching of its credential
	drop      *maildrop
	errors    int
	ended     bool
	broken    error // why the session ended if not by QUIT
	stopping  atomic.Bool
	fetched   int
	deleted   int
	deletedSz int64
}

func newSession(srv *Server, conn net.Conn, id *login.Identity, drop *maildrop, h hello) *session {
	s := &session{srv: srv, conn: conn, identity: id, drop: drop, early: h.early, sasl: h.sasl}
	s.in = line.NewReader(reader{s}, bufferSize)
	if h.remote.IsValid() {
		s.ip = h.remote.String()
	}
	return s
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
	if r.s.in.Buffered() == 0 { // else it is the middle of a line, whose time runs (S076)
		r.s.conn.SetReadDeadline(time.Now().Add(r.s.srv.idle()))
	}
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
	s.conn.SetReadDeadline(time.Unix(1, 0))
}

func (s *session) close() {
	if s.unwatch != nil {
		s.unwatch()
	}
	user := s.identity.Account.Path().String()
	s.srv.Log.Logout("pop3", s.ip, user, s.fetched, s.deleted, s.deletedSz, s.broken)
	s.drop.close()
	s.in.Release()
	s.conn.Close()
}

func (s *session) serve(ctx context.Context) {
	s.ctx = ctx
	s.ok("logged in")
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
	if v.in&transaction == 0 {
		return s.wrong(v.suggested)
	}
	args, ok := front.Words(rest, v.max)
	if !ok || len(args) < v.min {
		return s.wrong("wrong number of arguments for " + v.name)
	}
	reply := v.answer(s, args)
	if reply != "" {
		s.out = append(append(s.out, reply...), "\r\n"...)
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
