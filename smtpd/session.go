package smtpd

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"runtime/debug"
	"sync/atomic"
	"time"

	"pennypost/internal/address"
	"pennypost/internal/config"
	"pennypost/internal/domains"
	"pennypost/internal/header"
	"pennypost/internal/line"
	"pennypost/internal/listen"
	"pennypost/login"
	"pennypost/msgauth"
	"pennypost/msgauth/aggregate"
	"pennypost/queue"
)

// bufferSize is that of the buffer commands and messages are read through.
const bufferSize = 16 << 10

// session is one connection.
type session struct {
	service
	srv  *Server
	set  *config.SMTPD   // settings do not change under a session
	raw  net.Conn        // the socket
	conn net.Conn        // raw, or TLS on it
	in   *line.Reader    // reads through session.Read
	out  []byte          // replies that wait for the input to be drained
	sent []taken         // messages that are ours, to be told of once their reply is out
	rows []aggregate.Row // of messages that were judged, likewise

	peer     netip.Addr
	sources  *listen.Table
	ip       string
	protocol secured
	helo     string
	esmtp    bool // EHLO or LHLO
	user     *login.Identity
	unwatch  func() // ends the watching of user's credential
	state    state
	tx       transaction
	filter   header.Filter
	strip    msgauth.Stripper
	text     []byte // what is put before a message

	errors, junk, messages int
	closing                bool  // after the reply
	broken                 error // the connection is
	clock                  clock
	known                  atomic.Bool // a user, a machine of ours, or one that has sent mail
	squeezed               atomic.Bool // the deadline is not the clock's
	idle                   atomic.Bool // between transactions, waiting for the client
}

// secured is what TLS made of the connection; zero without it.
type secured struct{ version, cipher string }

// transaction is MAIL up to the end of the data. It is one value, replaced whole: nothing of one
// is left in the next (threats.md, rule 4).
type transaction struct {
	from    address.Path
	mail    string // ESMTP parameters that stay with the message
	utf8    bool
	hold    time.Time // FUTURERELEASE
	bare    bool      // nothing was asked for that a Maildir cannot keep: the link-ready form is possible
	rcpts   []queue.Rcpt
	local   bool             // the first recipient is ours
	account *domains.Account // the mailbox of the first recipient, if it is that and takes mail as it comes

	id      string
	ready   bool
	w       Writer
	env     queue.Envelope
	verdict line.Verdict // of the BDAT chunks so far
	bad     reply        // why the message is refused already
	judging *judging     // nil: it is not judged
	checks  string       // what came of that, in one line
	why     string       // what is wrong with it, in words
}

// reset ends a transaction, whatever became of it.
func (s *session) reset() {
	if s.tx.judging != nil {
		s.tx.judging.cancel()
	}
	if s.tx.w != nil {
		s.tx.w.Abort() // nothing, after Commit
	}
	clear(s.tx.rcpts)
	s.tx = transaction{rcpts: s.tx.rcpts[:0]}
	s.in.EndChunks()
	if s.state != fresh && s.state != quitting {
		s.state = greeted
	}
}

// serve is the life of a connection.
func (srv *Server) serve(svc service, c net.Conn) {
	s := &session{service: svc, srv: srv, set: srv.settings.Load(), raw: c, conn: c, state: fresh}
	s.in = line.NewReader(s, bufferSize)
	s.peer, s.sources = listen.Remote(c), srv.Sources.Of(svc.name)
	s.known.Store(!s.counted())
	s.ip = "local"
	if s.peer.IsValid() {
		s.ip = s.peer.String()
	}
	srv.enter(s)
	defer srv.leave(s)
	defer s.rescue()
	defer s.end()
	if svc.implicit && !s.handshake() {
		return
	}
	s.banner()
	s.commands()
}

// rescue keeps a mistake of ours to the connection it happened on (threats.md, rule 8).
func (s *session) rescue() {
	if r := recover(); r != nil {
		s.srv.Log.Warn("panic", fmt.Errorf("%v: %s", r, debug.Stack()))
		s.raw.Close()
		if s.tx.w != nil {
			s.tx.w.Abort()
		}
	}
}

func (srv *Server) enter(s *session) {
	srv.open.Add(1)
	srv.mu.Lock()
	srv.sessions[s] = struct{}{}
	srv.mu.Unlock()
}

func (srv *Server) leave(s *session) {
	srv.open.Add(-1)
	srv.mu.Lock()
	delete(srv.sessions, s)
	srv.mu.Unlock()
}

// commands reads commands and answers until one of both wants no more.
func (s *session) commands() {
	for !s.closing {
		text, err := s.in.Line(longestAuth)
		switch {
		case err == nil:
			s.say(s.command(text))
		case errors.Is(err, line.ErrTooLong):
			s.say(reply{500, "5.5.2", "line too long"})
		case errors.Is(err, line.ErrBare):
			s.say(reply{500, "5.5.2", "lines end with CR LF"})
		case errors.Is(err, line.ErrNUL):
			s.say(reply{500, "5.5.2", "NUL in a command"})
		default:
			s.lost(err)
		}
	}
}

// lost says goodbye when reading failed.
func (s *session) lost(err error) {
	s.closing = true
	switch {
	case errors.Is(err, errStopping):
		s.say(reply{421, "4.3.2", s.srv.Hostname + " is shutting down"})
	case errors.Is(err, os.ErrDeadlineExceeded) && s.srv.stopping.Load():
		s.say(reply{421, "4.3.2", s.srv.Hostname + " is shutting down"})
	case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, errSlow):
		s.say(reply{421, "4.4.2", s.srv.Hostname + " waited long enough"})
	case errors.Is(err, errForeign):
		s.out, s.broken = nil, err // not even a banner: nothing is reflected
	case errors.Is(err, line.ErrEndless):
		s.say(reply{421, "4.7.0", "line too long"})
	default:
		s.broken = err
	}
}

// end closes the connection, with its last words on the way.
func (s *session) end() {
	if s.unwatch != nil {
		s.unwatch()
	}
	s.reset()
	if s.state != quitting && len(s.out) > 0 {
		s.raw.SetWriteDeadline(time.Now().Add(5 * time.Second)) // the one that has passed was for both directions
	}
	s.flush()
	if s.broken != nil && !errors.Is(s.broken, io.EOF) {
		s.srv.Log.Disconnect(s.name, s.ip, s.messages, s.broken)
	}
	if s.broken == nil && s.in.Buffered() == 0 && s.state == quitting {
		s.conn.Close()
	} else {
		s.linger()
	}
	s.in.Release()
}

// linger closes a connection on which the client may still be sending: a close with unread input makes a reset of it, and that
// can overtake our last reply.
func (s *session) linger() {
	if c, ok := s.raw.(interface{ CloseWrite() error }); ok && s.broken == nil {
		s.raw.SetDeadline(time.Now().Add(time.Second))
		if t, ok := s.conn.(*tls.Conn); ok {
			t.CloseWrite()
		}
		c.CloseWrite()
		io.CopyN(io.Discard, s.raw, 256<<10)
	}
	s.raw.Close()
}

// flush sends the replies that wait.
func (s *session) flush() {
	if len(s.out) > 0 && s.broken == nil {
		if _, err := s.conn.Write(s.out); err != nil {
			s.broken, s.closing = err, true
		}
	}
	s.out = s.out[:0]
	for i := range s.sent {
		s.sent[i].tell(s)
		s.sent[i] = taken{}
	}
	s.sent = s.sent[:0]
	for i := range s.rows {
		s.srv.reported(aggregate.Append(s.srv.Reports, time.Now(), s.rows[i]))
		s.rows[i] = aggregate.Row{}
	}
	s.rows = s.rows[:0]
}

// Read is the connection as the line reader sees it: replies go out before we wait for more.
func (s *session) Read(p []byte) (int, error) {
	if err := s.wait(); err != nil {
		return 0, err
	}
	s.flush()
	if s.broken != nil {
		return 0, s.broken
	}
	between := !s.clock.content && s.state&(fresh|greeted) != 0
	if between {
		s.idle.Store(true)
		if s.srv.stopping.Load() {
			return 0, errStopping
		}
	}
	n, err := s.conn.Read(p)
	if between {
		s.idle.Store(false)
	}
	s.clock.octets += int64(n)
	if n > 0 && s.state == fresh && s.protocol == (secured{}) && p[0] == 0x16 {
		return 0, errForeign // a TLS ClientHello where we speak plain text (S018)
	}
	return n, err
}
