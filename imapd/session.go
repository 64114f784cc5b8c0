package imapd

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"sync"
	"time"

	"pennypost/imapd/wire"
	"pennypost/internal/sequence"
	"pennypost/login"
)

// session is one connection.
type session struct {
	srv    *Server
	conn   net.Conn
	reader *wire.Reader
	out    []byte // what is to be sent, flushed when it is long or nothing more is there to be done
	long   int    // what is long of it
	broken error  // the connection cannot be written to
	sends  uint64 // how often something was sent
	ctx    context.Context

	state    state
	remote   netip.Addr
	id       *login.Identity
	unwatch  func() // ends the watching of its credential
	account  *shared
	others   map[string]*shared // accounts of other users that share mailboxes, by root
	enabled  extension          // by ENABLE, or by a command that implies it
	box      *selected          // in the selected state
	saved    sequence.Set       // "$" (RFC 5182): UIDs
	byUID    bool               // the command under way is a UID command: what is told of messages has their UID
	mistakes int                // BAD in a row
	text     []byte             // of the command
	alarm    alarm              // rung when there is news
	news     *notification      // what NOTIFY asked for
	ended    string             // why the session ends, "" while it goes on
}

// state is RFC 9051 section 3.
type state uint8

const (
	fresh state = 1 << iota // not authenticated: package front
	authenticated
	selectedState
	anyState = fresh | authenticated | selectedState
	loggedIn = authenticated | selectedState
)

// extension is what a client has switched on.
type extension uint8

const (
	condstore extension = 1 << iota
	qresync
	rev2
	utf8Accept
	uidOnly
	utf8Only // UTF8=ACCEPT by its own name, whose rules for SEARCH go beyond those of IMAP4rev2
)

const (
	flushAt     = 32 << 10 // octets of output that are sent without waiting for more
	mostMistake = 20
	readBuffer  = 8 << 10
)

var (
	inBuffers  = sync.Pool{New: func() any { return make([]byte, 0, readBuffer) }}
	outBuffers = sync.Pool{New: func() any { return make([]byte, 0, 2*flushAt) }}
)

func newSession(srv *Server, conn net.Conn) *session {
	s := &session{srv: srv, conn: conn, state: authenticated, ctx: context.Background(), long: flushAt}
	if _, local := conn.(*net.UnixConn); local { // whoever copies it to the client is woken less often
		s.long = 4 * flushAt
	}
	s.newReader(conn)
	return s
}

// newReader starts reading from a connection: the bare one, TLS, or an inflater.
func (s *session) newReader(r io.Reader) {
	s.reader = wire.NewReader(r, afterLimits, func() []byte { return inBuffers.Get().([]byte) }, func(b []byte) { inBuffers.Put(b[:0]) }) //nolint
	s.reader.Continue = func() error { return s.goOn("") }
}

// goOn says "+" and waits for what the client has held back.
func (s *session) goOn(text string) error {
	s.out = append(append(append(s.out, "+ "...), text...), "\r\n"...)
	return s.flush()
}

// spill sends output that has become long.
func (s *session) spill() {
	if len(s.out) >= s.long {
		s.flush()
	}
}

func (s *session) flush() error {
	if len(s.out) == 0 || s.broken != nil {
		s.out = s.out[:0]
		return s.broken
	}
	s.sends++
	s.conn.SetWriteDeadline(time.Now().Add(5 * time.Minute))
	if _, err := s.conn.Write(s.out); err != nil {
		s.broken = err
	}
	s.out = s.out[:0]
	return s.broken
}

// rest gives the buffers back before the session waits.
func (s *session) rest() {
	s.reader.Rest()
	if cap(s.out) > 0 && len(s.out) == 0 {
		outBuffers.Put(s.out[:0]) //nolint
		s.out = nil
	}
}

func (s *session) need() {
	if s.out == nil {
		s.out = outBuffers.Get().([]byte)
	}
}

// interrupt ends a session that waits, because the server stops.
func (s *session) interrupt() { s.conn.SetReadDeadline(time.Now()) }

func (s *session) close() {
	if s.unwatch != nil {
		s.unwatch()
	}
	s.endNotify()
	s.deselect()
	if s.account != nil {
		s.srv.leave(s.account)
		s.leaveOthers()
	}
	s.need()
	s.flush()
	s.conn.Close()
}

// serve runs the session: greeting, or the answer to the login; commands; goodbye.
func (s *session) serve(ctx context.Context, tag string) {
	s.ctx = ctx
	s.need()
	if tag == "" {
		s.greet()
	} else {
		s.tagged(tag, okCode("CAPABILITY "+s.capabilityList(), "logged in"))
	}
	s.flush()
	for s.ended == "" && s.broken == nil {
		if s.reader.Buffered() == 0 {
			s.flush()
			s.rest()
			if s.news != nil {
				s.awaitCommand() // an error will come again
				if s.ended != "" {
					break
				}
			}
		}
		s.deadline()
		c, err := s.reader.Next(s.text, s.streams)
		s.need()
		s.text = c.Text
		if cap(s.text) > 64<<10 { // a rare long command's room is not kept
			s.text = nil
		}
		if err != nil {
			if !s.unreadable(c, err) {
				break
			}
			continue
		}
		s.run(c)
	}
	if ctx.Err() != nil {
		s.ended = "the server stops"
	}
	if s.ended != "" && s.state != 0 {
		s.untagged(reply{"BYE", "", s.ended})
	}
	s.flush()
}

// deadline is how long we wait for the next command.
func (s *session) deadline() {
	s.conn.SetReadDeadline(time.Now().Add(s.srv.IdleTime))
	if s.ctx.Err() != nil {
		s.interrupt()
	}
}

// unreadable answers what was no command, and says whether the session goes on.
func (s *session) unreadable(c wire.Command, err error) bool {
	var timeout net.Error
	switch {
	case errors.Is(err, wire.ErrTooBig), errors.Is(err, wire.ErrBareLine):
		tag := wire.NewDecoder(c.Text, 1).Tag()
		if tag == "" {
			tag = "*"
		}
		s.tagged(tag, syntax(err))
		return s.mistake()
	case errors.Is(err, wire.ErrDesync):
		s.ended = "that is more than we take"
	case errors.As(err, &timeout) && timeout.Timeout():
		s.ended = "you were silent for too long"
	}
	return false
}

// mistake counts a BAD and says whether the session goes on.
func (s *session) mistake() bool {
	if s.mistakes++; s.mistakes >= mostMistake {
		s.ended = "too many mistakes"
	}
	return s.ended == ""
}

// command is one command under way.
type command struct {
	*wire.Decoder
	tag     string
	name    string // in capitals, "UID FETCH" with its prefix
	uid     bool   // UIDs instead of message numbers
	pending wire.Command
	into    place // where COPY and MOVE put messages
}

// run dispatches one command by the table.
func (s *session) run(c wire.Command) {
	d := wire.NewDecoder(c.Text, s.reader.Limits.Depth)
	cmd := &command{Decoder: d, pending: c}
	cmd.tag = d.Tag()
	d.SP()
	cmd.name = d.Keyword("a command")
	if cmd.name == "UID" {
		d.SP()
		cmd.name = "UID " + d.Keyword("a command")
		cmd.uid = true
	}
	s.byUID = cmd.uid
	if d.Err() != nil {
		tag := cmd.tag
		if tag == "" {
			tag = "*"
		}
		s.tagged(tag, bad("a tag, a space and a command, please"))
		s.mistake()
		return
	}
	v := verbOf(cmd.name)
	r := reply{}
	switch {
	case v == nil:
		r = bad("there is no command " + printable(cmd.name))
	case v.states&s.state == 0:
		r = bad(wrongState(v.states))
	case v.numbers && s.enabled&uidOnly != 0:
		r = badCode("UIDREQUIRED", "only UIDs are used in this session (RFC 9586)")
	case v.states == selectedState && !s.stillShared() && v.name != "CLOSE" && v.name != "UNSELECT":
		r = no("NOPERM", "its owner does not share the mailbox any more")
	default:
		r = v.run(s, cmd)
	}
	if c.Pending >= 0 && cmd.pending.Pending >= 0 { // a literal nobody took
		s.dropPending(cmd.pending)
	}
	if r.status == "" { // it was said on the way
		return
	}
	if r.status == "BAD" {
		if s.tagged(cmd.tag, r); !s.mistake() {
			return
		}
		return
	}
	s.mistakes = 0
	if v.tell != nothing && s.box != nil && s.ended == "" && s.stillShared() {
		s.tell(v.tell == expunges || v.tell == expungesIfUID && (cmd.uid || s.enabled&uidOnly != 0))
	}
	s.tagged(cmd.tag, r)
}

// dropPending gets rid of a literal of a command that was refused before it was read.
func (s *session) dropPending(c wire.Command) {
	if c.Sync {
		return // the client reads NO and does not send it
	}
	if c.Pending > 64<<20 {
		s.ended = "that is more than we take"
		return
	}
	s.reader.Literal(io.Discard, c.Pending)
	for i := 0; i < 100; i++ {
		more, err := s.reader.More(nil, func([]byte) bool { return true })
		if err != nil {
			s.ended = "cannot find the end of the command"
			return
		}
		if more.Pending < 0 {
			return
		}
		if more.Sync {
			return
		}
		s.reader.Literal(io.Discard, more.Pending)
	}
}

func printable(name string) string {
	if len(name) > 40 {
		return name[:40]
	}
	return name
}

func wrongState(want state) string {
	switch {
	case want == fresh:
		return "you are logged in already"
	case want == selectedState:
		return "select a mailbox first"
	}
	return "not now"
}
