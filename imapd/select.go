package imapd

import (
	"iter"
	"slices"
	"strconv"
	"strings"

	"pennypost/imapd/wire"
	"pennypost/internal/sequence"
	"pennypost/maildir/mailbox"
)

var selectVerbs = []verb{
	{"SELECT", loggedIn, (*session).selectBox, nothing, false},
	{"EXAMINE", loggedIn, (*session).selectBox, nothing, false},
	{"CLOSE", selectedState, (*session).closeBox, nothing, false},
	{"UNSELECT", selectedState, (*session).unselect, nothing, false},
}

var afterLimits = wire.AfterLogin

// resync is the parameter of SELECT … (QRESYNC (…)) (RFC 7162 section 3.2.5).
type resync struct {
	validity uint32
	modseq   uint64
	known    sequence.Set // UIDs, nil all
	numbers  sequence.Set // the match data: message numbers, and their UIDs
	uids     sequence.Set
}

// selectBox answers SELECT and EXAMINE (RFC 9051 sections 6.3.2 and 6.3.3).
func (s *session) selectBox(c *command) reply {
	c.SP()
	name := c.Mailbox(s.enabled&utf8Accept != 0)
	var q *resync
	if c.Take(' ') {
		c.List(func() {
			switch word := c.Keyword("a parameter"); word {
			case "CONDSTORE":
				s.enabled |= condstore
			case "QRESYNC":
				q = parseResync(c)
			default:
				c.Fail("CONDSTORE or QRESYNC")
			}
		})
	}
	if c.End(); c.Err() != nil {
		return syntax(c.Err())
	}
	switch {
	case q != nil && s.enabled&qresync == 0:
		return bad("ENABLE QRESYNC first (RFC 7162 section 3.2.5)")
	case q != nil && len(q.numbers) > 0 && s.enabled&uidOnly != 0:
		return badCode("UIDREQUIRED", "only UIDs are used in this session (RFC 9586)")
	}
	if s.box != nil { // whatever follows, the old one is closed (RFC 9051 section 6.3.2)
		s.deselect()
		s.untagged(okCode("CLOSED", "the other mailbox is closed"))
	}
	at, err := s.locate(name)
	if err != nil {
		return s.failed(err)
	}
	folder, err := s.openAt(at, "r")
	if err != nil {
		return s.failed(err)
	}
	view, err := folder.Look(s.ctx)
	if err != nil {
		folder.Close()
		return s.failed(err)
	}
	s.box = &selected{place: at, folder: folder, view: view, readOnly: c.name == "EXAMINE" || s.readOnlyAt(at), keywords: folder.Keywords()}
	s.state = selectedState
	s.claim(0)
	s.describe(name)
	if q != nil {
		s.resync(q)
	}
	if s.box.readOnly {
		return okCode("READ-ONLY", "examined")
	}
	return okCode("READ-WRITE", "selected")
}

// describe writes the untagged responses of SELECT.
func (s *session) describe(name string) {
	b := s.box
	n := b.view.Counts()
	s.flagsLines()
	s.number(uint64(n.Messages), "EXISTS")
	if s.enabled&rev2 == 0 {
		s.number(b.recent.Count(), "RECENT")
		if n.Unseen > 0 && s.enabled&uidOnly == 0 { // it is a message number
			if i := b.view.FirstUnseen(); i < b.view.Len() {
				s.untagged(okCode("UNSEEN "+strconv.Itoa(i+1), "first unseen"))
			}
		}
	}
	s.untagged(okCode("UIDVALIDITY "+strconv.FormatUint(uint64(n.UIDValidity), 10), "UIDs are valid"))
	s.untagged(okCode("UIDNEXT "+strconv.FormatUint(uint64(n.UIDNext), 10), "next UID"))
	s.untagged(okCode("HIGHESTMODSEQ "+strconv.FormatUint(n.HighestModSeq, 10), "highest"))
	s.untagged(okCode("MAILBOXID ("+n.MailboxID+")", "the same after a rename"))
	if s.enabled&rev2 != 0 {
		s.listLine(name)
	}
}

// flagsLines writes FLAGS and PERMANENTFLAGS.
func (s *session) flagsLines() {
	var names []string
	for _, f := range systemNames {
		names = append(names, f.name)
	}
	free := mailbox.MaxKeywords
	for _, k := range s.box.keywords {
		if k != "" {
			names = append(names, k)
			free--
		}
	}
	list := strings.Join(names, " ")
	s.line("FLAGS (%s)", list)
	if may := s.mayChange(); may != ^mailbox.Flags(0) { // RFC 4314 section 5.1.1
		for _, f := range systemNames {
			if may&f.flag == 0 {
				names = slices.DeleteFunc(names, func(n string) bool { return n == f.name })
			}
		}
		if may&mailbox.Keyword(0) == 0 {
			names = slices.DeleteFunc(names, func(n string) bool { return n[0] != '\\' })
			free = 0
		}
		list = strings.Join(names, " ")
	}
	switch {
	case s.box.readOnly:
		s.untagged(okCode("PERMANENTFLAGS ()", "read-only"))
	case free > 0:
		s.untagged(okCode("PERMANENTFLAGS ("+list+` \*)`, "and keywords of your own"))
	default:
		s.untagged(okCode("PERMANENTFLAGS ("+list+")", "no more keywords"))
	}
}

func parseResync(c *command) *resync {
	q := &resync{}
	c.SP()
	c.Expect('(')
	q.validity = c.Number()
	c.SP()
	q.modseq = c.Number64()
	if c.Take(' ') && c.Peek() != '(' {
		q.known, _ = c.Set()
		q.known = q.known.Resolve(0)
		c.Take(' ')
	}
	if c.Take('(') {
		q.numbers, _ = c.Set()
		c.SP()
		q.uids, _ = c.Set()
		q.numbers, q.uids = q.numbers.Resolve(0), q.uids.Resolve(0)
		c.Expect(')')
	}
	c.Expect(')')
	return q
}

// resync tells a client that comes back what it has missed (RFC 7162 section 3.2.5).
func (s *session) resync(q *resync) {
	b := s.box
	if q.validity != b.view.Counts().UIDValidity {
		return
	}
	known := q.known
	if len(q.numbers) > 0 { // the match data: what is known to be still in its place need not be named
		known = beyondMatch(b.view, q)
	}
	if len(known) > 0 || len(q.numbers) == 0 { // else all of them are in their places
		if gone := b.view.VanishedSince(q.modseq, known); len(gone) > 0 {
			s.out = append(gone.Append(append(s.out, "* VANISHED (EARLIER) "...)), "\r\n"...)
			s.spill()
		}
	}
	for uid := range b.view.ChangedSince(q.modseq).All {
		if q.known != nil && !q.known.Has(uid) {
			continue
		}
		if i, ok := b.view.Find(uid); ok {
			s.fetchFlags(i)
		}
	}
}

// beyondMatch is the UIDs a client may hold that are not proven present by its match data.
func beyondMatch(v *mailbox.View, q *resync) sequence.Set {
	known := q.known
	if known == nil {
		if v.Counts().UIDNext <= 1 {
			return nil
		}
		known = sequence.Set{{Lo: 1, Hi: v.Counts().UIDNext - 1}}
	}
	proven := uint32(0)
	next, stop := iter.Pull(iter.Seq[uint32](q.uids.All))
	defer stop()
	for n := range q.numbers.All { // as far as they agree, which is no further than the mailbox goes, however long the sets are (S096)
		uid, more := next()
		if i, ok := v.Find(uid); !more || !ok || uint32(i+1) != n {
			break
		}
		proven = uid
	}
	if proven == 0 {
		return known
	}
	return known.Without(sequence.Set{{Lo: 1, Hi: proven}})
}

// deselect leaves the selected mailbox.
func (s *session) deselect() {
	if s.box != nil {
		s.box.folder.Close()
		s.box = nil
		s.saved = nil
	}
	if s.state == selectedState {
		s.state = authenticated
	}
}

// closeBox is CLOSE: it expunges, silently (RFC 9051 section 6.4.1).
func (s *session) closeBox(c *command) reply {
	if c.End(); c.Err() != nil {
		return syntax(c.Err())
	}
	r := ok("closed")
	if !s.box.readOnly && s.mayExpunge() {
		if _, err := s.box.folder.Expunge(s.ctx, nil); err != nil {
			return s.failed(err)
		}
		if s.enabled&qresync != 0 {
			if n, err := s.box.folder.Counts(s.ctx); err == nil {
				r.code = "HIGHESTMODSEQ " + strconv.FormatUint(n.HighestModSeq, 10)
			}
		}
	}
	s.deselect()
	return r
}

func (s *session) unselect(c *command) reply {
	if c.End(); c.Err() != nil {
		return syntax(c.Err())
	}
	s.deselect()
	return ok("left")
}
