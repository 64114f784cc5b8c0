package imapd

import (
	"bytes"
	"errors"
	"io"
	"strconv"
	"strings"
	"sync"
	"time"

	"pennypost/imapd/wire"
	"pennypost/internal/sequence"
	"pennypost/maildir/mailbox"
)

var appendVerbs = []verb{
	{"APPEND", loggedIn, (*session).appendMessages, expunges, false},
	{"REPLACE", selectedState, (*session).replace, expunges, true},
	{"UID REPLACE", selectedState, (*session).replace, expunges, false},
}

// streams says of a command whose literal comes now whether the literal may stay on the connection: that of a message. A literal that
// is the name of the mailbox is an ordinary one.
func (s *session) streams(text []byte) bool {
	if s.state&loggedIn == 0 {
		return false
	}
	d := wire.NewDecoder(text, s.reader.Limits.Depth)
	d.Tag()
	d.SP()
	if d.Word("UID") {
		d.SP()
	}
	switch {
	case d.Word("APPEND"):
	case d.Word("REPLACE"):
		d.SP()
		d.Set()
	default:
		return false
	}
	d.SP()
	d.AString()
	return d.Err() == nil && d.More()
}

// mostAppended bounds the messages of one MULTIAPPEND: each is an open file until all are there.
const mostAppended = 1000

// upload is an APPEND or REPLACE under way.
type upload struct {
	s        *session
	c        *command
	folder   *mailbox.Folder
	flags    mailbox.Flags // that the session may set there
	room     mailbox.Room  // what may still come, net of what is replaced
	messages []*mailbox.Appender
}

// appendMessages answers APPEND (RFC 9051 section 6.3.12), also of several messages, of which all or none come in (RFC 3502).
func (s *session) appendMessages(c *command) reply {
	c.SP()
	name := c.Mailbox(s.enabled&utf8Accept != 0)
	if c.Err() != nil {
		return syntax(c.Err())
	}
	u, err := s.upload(c, name, 0)
	if err != nil {
		r := s.failed(err)
		if errors.Is(err, mailbox.ErrNoMailbox) {
			if p, err := s.locate(name); err == nil && s.makeable(p) {
				r.code = "TRYCREATE"
			}
		}
		return r
	}
	defer u.close()
	if r := u.receive(true); r != nil {
		return *r
	}
	uids, validity, err := u.commit()
	if err != nil {
		return s.failed(err)
	}
	return okCode("APPENDUID "+strconv.FormatUint(uint64(validity), 10)+" "+uids.String(), "it is safe")
}

// makeable reports whether CREATE could make the mailbox: else TRYCREATE would mislead (RFC 9051 section 6.3.12).
func (s *session) makeable(p place) bool {
	if p.owner == nil {
		return true
	}
	above, has := p.above()
	return has && s.allowed(above, "k") == nil
}

// replace answers REPLACE (RFC 8508): the new message is there, and its UID told, before the old one goes.
func (s *session) replace(c *command) reply {
	c.SP()
	uids, missed, refused := s.set(c)
	if refused != nil {
		return *refused
	}
	c.SP()
	name := c.Mailbox(s.enabled&utf8Accept != 0)
	switch {
	case c.Err() != nil:
		return syntax(c.Err())
	case missed:
		return no("EXPUNGEISSUED", "the message is gone")
	case uids.Count() > 1:
		return bad("one message is replaced by one")
	case s.box.readOnly:
		return no("READ-ONLY", "the mailbox was opened to be read only")
	case !s.may("t") || !s.may("e"):
		return s.failed(errNotPermitted)
	}
	i, found := -1, false
	if len(uids) > 0 {
		i, found = s.box.view.Find(uids[0].Lo)
	}
	if !found {
		return no("NONEXISTENT", "there is no such message")
	}
	old, _, _ := s.box.view.Stat(i) // the room it takes is that of its file
	u, err := s.upload(c, name, old.Size)
	if err != nil {
		r := s.failed(err)
		if errors.Is(err, mailbox.ErrNoMailbox) {
			r.code = "TRYCREATE"
		}
		return r
	}
	defer u.close()
	if r := u.receive(false); r != nil {
		return *r
	}
	added, validity, err := u.commit()
	if err != nil {
		return s.failed(err)
	}
	s.untagged(okCode("APPENDUID "+strconv.FormatUint(uint64(validity), 10)+" "+added.String(), "it is safe"))
	if _, err := s.box.folder.Delete(s.ctx, uids); err != nil {
		return s.failed(err)
	}
	return ok("replaced")
}

// upload opens the mailbox and sees what may go into it; instead is the size of a message that will go.
func (s *session) upload(c *command, name string, instead int64) (*upload, error) {
	p, err := s.locate(name)
	if err != nil {
		return nil, err
	}
	folder, err := s.openAt(p, "i")
	if err != nil {
		return nil, err
	}
	u := &upload{s: s, c: c, folder: folder, flags: s.mayPut(p)}
	if instead > 0 && p.shared != s.box.shared {
		instead = 0 // the room that is freed is somebody else's
	}
	if u.room, err = p.Room(); err != nil {
		folder.Close()
		return nil, err
	}
	if instead > 0 && u.room.Octets >= 0 {
		u.room.Octets += instead
	}
	if instead > 0 && u.room.Messages >= 0 {
		u.room.Messages++
	}
	return u, nil
}

// close forgets what was not committed.
func (u *upload) close() {
	for _, m := range u.messages {
		m.Abort()
	}
	u.folder.Close()
}

func (u *upload) commit() (uids sequence.Set, validity uint32, err error) {
	if uids, err = u.folder.CommitAll(u.s.ctx, u.messages); err != nil {
		return nil, 0, err
	}
	n, err := u.folder.Counts(u.s.ctx)
	return uids, n.UIDValidity, err
}

// receive takes the messages off the connection. The answer is nil when they are all there. A client that waits for "+" hears before it
// sends what we would not keep.
func (u *upload) receive(several bool) *reply {
	s, d := u.s, u.c.Decoder
	for {
		m, head, r := u.head(d)
		if r != nil {
			return r
		}
		u.messages = append(u.messages, m)
		pending := u.c.pending
		in := newIncoming(m, pending.Binary)
		if pending.Sync {
			if err := s.goOn(""); err != nil {
				return &reply{"NO", "", "gone"}
			}
		}
		u.c.pending.Pending = -1
		if err := u.read(in, pending.Pending); err != nil {
			s.ended = "the message broke off"
			return &reply{"BAD", "", "the message broke off"}
		}
		werr := in.finish()
		more, err := s.reader.More(nil, func([]byte) bool { return true })
		if err != nil {
			s.ended = "cannot find the end of the command"
			return &reply{"BAD", "", "cannot find the end of the command"}
		}
		u.c.pending = more
		d = wire.NewDecoder(more.Text, s.reader.Limits.Depth)
		if head.utf8 {
			d.Expect(')')
		}
		switch {
		case werr != nil:
			r := s.failed(werr)
			return &r
		case pending.Pending == 0:
			return &reply{"NO", "", "nothing is put nowhere"} // how a client gives up (RFC 3502 section 3)
		case in.nul:
			return &reply{"BAD", "", "NUL, and that not in a literal8"}
		case in.eightBit && s.enabled&utf8Accept != 0 && s.enabled&rev2 == 0 && !head.utf8:
			return &reply{"NO", "CANNOT", "a header beyond ASCII wants UTF8 (~{…}) (RFC 6855 section 4)"}
		}
		if !d.More() && d.Err() == nil {
			return nil
		}
		if !several || len(u.messages) == mostAppended {
			d.Fail("the end of the command")
		}
	}
}

// read copies the literal, with patience for a slow line but not for a dead one (S099).
func (u *upload) read(in *incoming, n int64) error {
	const step = 256 << 10
	for n > 0 {
		k := min(n, step)
		u.s.conn.SetReadDeadline(time.Now().Add(appendSilence))
		if u.s.ctx.Err() != nil {
			u.s.interrupt()
		}
		if _, err := u.s.reader.Literal(in, k); err != nil {
			return err
		}
		n -= k
	}
	return nil
}

// appendSilence is how long 256 KiB of a message may take.
var appendSilence = 5 * time.Minute

// head is what stands before a message's literal.
type head struct {
	utf8 bool // the literal is inside UTF8 ( … )
}

// head reads flags, date and the beginning of the literal, and sees whether the message may come.
func (u *upload) head(d *wire.Decoder) (*mailbox.Appender, head, *reply) {
	var names []string
	var at time.Time
	h := head{}
	d.SP()
	if d.Peek() == '(' {
		d.List(func() { names = append(names, d.Flag()) })
		d.SP()
	}
	if d.Peek() == '"' {
		at = d.DateTime()
		d.SP()
	}
	if d.Word("UTF8") {
		d.SP()
		d.Expect('(')
		h.utf8 = true
	}
	if marker := strings.TrimPrefix(d.Rest(), "~"); u.c.pending.Pending < 0 || !strings.HasPrefix(marker, "{") {
		d.Fail("a message as a literal")
	}
	s := u.s
	refuse := func(r reply) (*mailbox.Appender, head, *reply) { return nil, h, &r }
	switch n := u.c.pending.Pending; {
	case d.Err() != nil:
		return refuse(syntax(d.Err()))
	case h.utf8 && (s.enabled&utf8Accept == 0 || !u.c.pending.Binary):
		return refuse(bad("UTF8 (~{n}) wants ENABLE UTF8=ACCEPT (RFC 6855 section 4)"))
	case s.srv.MaxSize > 0 && n > s.srv.MaxSize:
		return refuse(no("TOOBIG", "we take messages of "+strconv.FormatInt(s.srv.MaxSize, 10)+" octets"))
	case !u.room.Take(n):
		return refuse(s.failed(mailbox.ErrQuota))
	}
	flags, err := flagsIn(u.folder, names, u.flags&mailbox.Keyword(0) != 0)
	if err != nil {
		return refuse(s.failed(err))
	}
	m, err := u.folder.Append()
	if err != nil {
		return refuse(s.failed(err))
	}
	m.Flags, m.Received = flags&u.flags, at
	return m, h, nil
}

// flagsIn turns names into a folder's flags; create gives numbers to new keywords. System flags we do not have, and \Recent, are
// passed over.
func flagsIn(folder *mailbox.Folder, names []string, create bool) (flags mailbox.Flags, err error) {
	for _, name := range names {
		known := false
		for _, f := range systemNames {
			if strings.EqualFold(f.name, name) {
				flags |= f.flag
				known = true
			}
		}
		if known || strings.HasPrefix(name, `\`) {
			continue
		}
		n, err := folder.KeywordNumber(name, create)
		if err != nil {
			return 0, err
		}
		if n >= 0 {
			flags |= mailbox.Keyword(n)
		}
	}
	return flags, nil
}

// incoming turns the line ends of the wire into those of a Maildir: CRLF becomes LF. A CR or LF by itself stays, and so does a CRLF after a CR,
// so that BODY[] gives back the octets that came.
type incoming struct {
	to       io.Writer
	buf      []byte
	cr       bool // the octet before was a CR, not written yet
	crcr     bool // and the one before it too
	binary   bool
	nul      bool // in what is not binary
	eightBit bool // in the header
	body     bool // the header is over
	blank    bool // the line so far is empty
	err      error
}

var incomingBuffers = sync.Pool{New: func() any { return make([]byte, 0, 64<<10) }}

func newIncoming(to io.Writer, binary bool) *incoming {
	return &incoming{to: to, binary: binary, blank: true, buf: incomingBuffers.Get().([]byte)[:0]}
}

func (in *incoming) Write(p []byte) (int, error) {
	n := len(p)
	if in.err != nil {
		return n, nil // it is told at the end: the literal is read in any case
	}
	if !in.binary && bytes.IndexByte(p, 0) >= 0 {
		in.nul = true
	}
	if !in.body {
		in.look(p)
	}
	for len(p) > 0 {
		if in.cr {
			in.cr = false
			switch {
			case p[0] == '\n' && !in.crcr:
				in.put("\n")
				p = p[1:]
			case p[0] == '\n':
				in.crcr = false
				in.put("\r\n")
				p = p[1:]
			default:
				in.crcr = p[0] == '\r'
				in.put("\r")
			}
			continue
		}
		i := bytes.IndexByte(p, '\r')
		if i < 0 {
			in.add(p)
			break
		}
		if i > 0 {
			in.crcr = false
		}
		in.add(p[:i])
		in.cr = true
		p = p[i+1:]
	}
	return n, nil
}

// look notes octets beyond ASCII in the header.
func (in *incoming) look(p []byte) {
	for _, c := range p {
		switch {
		case c == '\n' && in.blank:
			in.body = true
			return
		case c == '\n':
			in.blank = true
		case c != '\r':
			in.blank = false
			in.eightBit = in.eightBit || c >= 0x80
		}
	}
}

func (in *incoming) put(s string) {
	in.buf = append(in.buf, s...)
	in.spill()
}

func (in *incoming) add(p []byte) {
	for len(p) > 0 {
		k := min(cap(in.buf)-len(in.buf), len(p))
		in.buf = append(in.buf, p[:k]...)
		p = p[k:]
		in.spill()
	}
}

func (in *incoming) spill() {
	if cap(in.buf)-len(in.buf) < 2 {
		in.flush()
	}
}

func (in *incoming) flush() {
	if in.err == nil && len(in.buf) > 0 {
		_, in.err = in.to.Write(in.buf)
	}
	in.buf = in.buf[:0]
}

// finish writes what is left.
func (in *incoming) finish() error {
	if in.cr {
		in.put("\r")
	}
	in.flush()
	incomingBuffers.Put(in.buf[:0]) //nolint
	in.buf = nil
	return in.err
}
