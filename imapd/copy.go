package imapd

import (
	"errors"
	"strconv"

	"pennypost/internal/sequence"
	"pennypost/maildir/mailbox"
)

var copyVerbs = []verb{
	{"COPY", selectedState, (*session).copy, expunges, true},
	{"UID COPY", selectedState, (*session).copy, expunges, false},
	{"MOVE", selectedState, (*session).move, expunges, true},
	{"UID MOVE", selectedState, (*session).move, expunges, false},
}

// target reads the arguments of COPY and MOVE and opens the other mailbox. r is set when the command is to be refused.
func (s *session) target(c *command) (uids sequence.Set, dst *mailbox.Folder, r *reply) {
	c.SP()
	uids, missed, refused := s.set(c)
	if refused != nil {
		return nil, nil, refused
	}
	c.SP()
	name := c.Mailbox(s.enabled&utf8Accept != 0)
	if c.End(); c.Err() != nil {
		r := syntax(c.Err())
		return nil, nil, &r
	}
	if missed { // RFC 2180 section 4.4.1: all or nothing
		r := no("EXPUNGEISSUED", "some of the messages are gone")
		return nil, nil, &r
	}
	at, err := s.locate(name)
	if err == nil {
		dst, err = s.openAt(at, "i")
		c.into = at
	}
	if err != nil {
		r := s.failed(err)
		if errors.Is(err, mailbox.ErrNoMailbox) {
			r.code = "TRYCREATE"
		}
		return nil, nil, &r
	}
	return s.known(uids), dst, nil
}

// copy answers COPY and UID COPY (RFC 9051 section 6.4.7): all the messages or none.
func (s *session) copy(c *command) reply {
	uids, dst, refused := s.target(c)
	if refused != nil {
		return *refused
	}
	defer dst.Close()
	if len(uids) == 0 {
		return ok("nothing to copy")
	}
	from, to, err := s.box.folder.CopyWith(s.ctx, uids, dst, s.mayPut(c.into))
	if err != nil {
		return s.failed(err)
	}
	return reply{"OK", s.copyUID(dst, from, to), "copied"}
}

// move answers MOVE and UID MOVE (RFC 6851): where the messages are now is told before that they are gone here.
func (s *session) move(c *command) reply {
	if s.box.readOnly {
		return no("READ-ONLY", "the mailbox was opened to be read only")
	}
	if !s.mayExpunge() {
		return no("NOPERM", "you may not take mail from here")
	}
	uids, dst, refused := s.target(c)
	if refused != nil {
		return *refused
	}
	defer dst.Close()
	if len(uids) == 0 {
		return ok("nothing to move")
	}
	from, to, err := s.box.folder.MoveWith(s.ctx, uids, dst, s.mayPut(c.into))
	if code := s.copyUID(dst, from, to); code != "" {
		s.untagged(okCode(code, "moved"))
	}
	if err != nil {
		return s.failed(err)
	}
	return s.withModSeq(ok("moved"), len(from) > 0)
}

// copyUID is the response code that says which UID became which (RFC 4315 section 3): two sets whose numbers pair in order.
func (s *session) copyUID(dst *mailbox.Folder, from, to []uint32) string {
	if len(from) == 0 {
		return ""
	}
	n, err := dst.Counts(s.ctx)
	if err != nil {
		return ""
	}
	code := strconv.AppendUint([]byte("COPYUID "), uint64(n.UIDValidity), 10)
	code = appendList(append(code, ' '), from)
	return string(appendList(append(code, ' '), to))
}

// appendList writes numbers in their order, runs that ascend by one as ranges.
func appendList(b []byte, list []uint32) []byte {
	for i := 0; i < len(list); {
		j := i
		for j+1 < len(list) && list[j+1] == list[j]+1 {
			j++
		}
		if i > 0 {
			b = append(b, ',')
		}
		b = strconv.AppendUint(b, uint64(list[i]), 10)
		if j > i {
			b = strconv.AppendUint(append(b, ':'), uint64(list[j]), 10)
		}
		i = j + 1
	}
	return b
}
