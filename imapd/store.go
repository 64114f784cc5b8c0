package imapd

import (
	"strconv"
	"strings"

	"pennypost/internal/sequence"
	"pennypost/maildir/mailbox"
)

var storeVerbs = []verb{
	{"STORE", selectedState, (*session).store, holdExpunges, true},
	{"UID STORE", selectedState, (*session).store, expunges, false},
	{"EXPUNGE", selectedState, (*session).expunge, expunges, false},
	{"UID EXPUNGE", selectedState, (*session).expunge, expunges, false},
}

// storing is one STORE command.
type storing struct {
	mode        mailbox.Mode
	flags       mailbox.Flags
	silent      bool
	conditional bool   // UNCHANGEDSINCE
	since       uint64 // its value
}

// ownChange is what this session did to flags itself since it last told changes, so that the client knows the outcome. A message
// whose flags are something else afterwards was changed by others, too, and is told.
type ownChange struct {
	uids  sequence.Set
	mode  mailbox.Mode
	flags mailbox.Flags
	tell  sequence.Set // of these something is told, changed or not
	loud  bool         // and that is the flags
}

// makes is what the change makes of flags.
func (o *ownChange) makes(flags mailbox.Flags) mailbox.Flags {
	switch o.mode {
	case mailbox.Add:
		return flags | o.flags
	case mailbox.Remove:
		return flags &^ o.flags
	}
	return o.flags
}

// store answers STORE and UID STORE (RFC 9051 section 6.4.6, RFC 7162 section 3.1.3). Its FETCH responses are those of tell.
func (s *session) store(c *command) reply {
	c.SP()
	uids, missed, refused := s.set(c)
	if refused != nil {
		return *refused
	}
	c.SP()
	st := &storing{since: mailbox.Unconditional}
	if c.Peek() == '(' {
		c.List(func() { st.parseModifier(c) })
		c.SP()
	}
	names := st.parse(c)
	if c.End(); c.Err() != nil {
		return syntax(c.Err())
	}
	b := s.box
	if b.readOnly {
		return no("READ-ONLY", "the mailbox was opened to be read only")
	}
	if st.conditional {
		s.enabled |= condstore // RFC 7162 section 3.1
	}
	uids = s.known(uids)
	var err error
	if st.flags, err = s.flagsOf(names, st.mode != mailbox.Remove && s.may("w")); err != nil {
		return s.failed(err)
	}
	if may := s.mayChange(); b.owner != nil && st.restrict(may) {
		return s.failed(errNotPermitted)
	}
	done, err := s.storeFlags(st, uids)
	if err != nil {
		return s.failed(err)
	}
	b.own = ownChange{uids: uids.Without(done.Modified), mode: st.mode, flags: st.flags}
	if !st.silent {
		b.own.tell, b.own.loud = uids, true
	} else if st.conditional { // MODSEQ is owed even to .SILENT (RFC 7162 section 3.1.3)
		b.own.tell = b.own.uids
	}
	gone := missed || len(done.Gone) > 0
	switch {
	case len(done.Modified) > 0 && gone && !c.uid:
		return reply{"NO", "MODIFIED " + s.inNumbers(done.Modified, c.uid), "some have changed, some are gone"}
	case len(done.Modified) > 0:
		return okCode("MODIFIED "+s.inNumbers(done.Modified, c.uid), "some have changed meanwhile")
	case gone && !c.uid:
		return no("EXPUNGEISSUED", "some of the messages are gone")
	}
	return ok("stored")
}

// restrict leaves the flags that ACL lets the session change (RFC 4314 section 4); refused is set when that is none of them. To put others in
// place of all flags takes the rights to all.
func (st *storing) restrict(may mailbox.Flags) (refused bool) {
	if st.mode == mailbox.Replace {
		return may != ^mailbox.Flags(0)
	}
	had := st.flags
	st.flags &= may
	return had != 0 && st.flags == 0
}

// parseModifier reads UNCHANGEDSINCE.
func (st *storing) parseModifier(c *command) {
	c.Keyword("UNCHANGEDSINCE")
	c.SP()
	st.since, st.conditional = c.Number64(), true
}

// parse reads [+-]FLAGS[.SILENT] and the flags, in parentheses or not.
func (st *storing) parse(c *command) (names []string) {
	switch {
	case c.Take('+'):
		st.mode = mailbox.Add
	case c.Take('-'):
		st.mode = mailbox.Remove
	}
	switch c.Keyword("FLAGS") {
	case "FLAGS":
	case "FLAGS.SILENT":
		st.silent = true
	default:
		c.Fail("FLAGS or FLAGS.SILENT")
	}
	c.SP()
	if c.Peek() == '(' {
		c.List(func() { names = append(names, c.Flag()) })
	} else {
		for names = append(names, c.Flag()); c.Err() == nil && c.Take(' '); {
			names = append(names, c.Flag())
		}
	}
	for _, name := range names {
		if strings.HasPrefix(name, `\`) && systemFlag(name) == 0 && !strings.EqualFold(name, `\Recent`) {
			c.Fail("a system flag of RFC 9051")
		}
	}
	return names
}

// systemFlag is the flag of a name that is no keyword of the account's, 0 for others.
func systemFlag(name string) mailbox.Flags {
	for _, f := range systemNames {
		if strings.EqualFold(f.name, name) {
			return f.flag
		}
	}
	return 0
}

// flagsOf turns names into flags; create gives numbers to new keywords. \Recent is not the client's to set (RFC 3501 section 2.3.2), and
// clients that hand back what FETCH gave them say it anyway.
func (s *session) flagsOf(names []string, create bool) (flags mailbox.Flags, err error) {
	for _, name := range names {
		if f := systemFlag(name); f != 0 {
			flags |= f
			continue
		}
		if strings.HasPrefix(name, `\`) {
			continue
		}
		n, err := s.box.folder.KeywordNumber(name, create)
		if err != nil {
			return 0, err
		}
		if n >= 0 {
			flags |= mailbox.Keyword(n)
		}
	}
	return flags, nil
}

// storeFlags changes the flags. UNCHANGEDSINCE 0 fails where a flag is there already, and system flags always are
// (RFC 7162 section 3.1.3).
func (s *session) storeFlags(st *storing, uids sequence.Set) (done mailbox.Stored, err error) {
	b := s.box
	if len(uids) == 0 {
		return done, nil
	}
	if !st.conditional || st.since > 0 {
		done, err = b.folder.Store(s.ctx, uids, st.mode, st.flags, st.since)
	} else {
		system := mailbox.Keyword(0) - 1
		var has, free sequence.Set
		eachIndex(b.view, uids, func(i int) bool {
			if st.flags&system != 0 || b.view.Flags(i)&st.flags != 0 || st.mode == mailbox.Replace {
				has.Add(b.view.UID(i))
			} else {
				free.Add(b.view.UID(i))
			}
			return true
		})
		if len(free) > 0 {
			done, err = b.folder.Store(s.ctx, free, st.mode, st.flags, b.view.Counts().HighestModSeq)
		}
		for uid := range has.All {
			done.Modified.Add(uid)
		}
	}
	return done, err
}

// known is those of uids that are in the session's view.
func (s *session) known(uids sequence.Set) (out sequence.Set) {
	eachIndex(s.box.view, uids, func(i int) bool {
		out.Add(s.box.view.UID(i))
		return true
	})
	return out
}

// inNumbers writes a set of UIDs as the command speaks of messages.
func (s *session) inNumbers(uids sequence.Set, byUID bool) string {
	if byUID {
		return uids.String()
	}
	var numbers sequence.Set
	for uid := range uids.All {
		if n, ok := s.box.number(uid); ok {
			numbers.Add(n)
		}
	}
	return numbers.String()
}

// expunge answers EXPUNGE (RFC 9051 section 6.4.3) and UID EXPUNGE (RFC 4315 section 2.1), which takes only the messages named.
func (s *session) expunge(c *command) reply {
	var uids sequence.Set
	if c.uid {
		c.SP()
		uids, _, _ = s.set(c)
	}
	if c.End(); c.Err() != nil {
		return syntax(c.Err())
	}
	switch {
	case s.box.readOnly:
		return no("READ-ONLY", "the mailbox was opened to be read only")
	case !s.mayExpunge():
		return no("NOPERM", "you may not expunge here")
	case c.uid && len(uids) == 0:
		return ok("nothing to expunge")
	}
	gone, err := s.box.folder.Expunge(s.ctx, uids)
	if err != nil {
		return s.failed(err)
	}
	return s.withModSeq(ok("expunged"), len(gone) > 0)
}

// withModSeq adds HIGHESTMODSEQ where QRESYNC wants it after messages went (RFC 7162 sections 3.2.7 to 3.2.10).
func (s *session) withModSeq(r reply, gone bool) reply {
	if gone && s.enabled&qresync != 0 {
		if n, err := s.box.folder.Counts(s.ctx); err == nil {
			r.code = "HIGHESTMODSEQ " + strconv.FormatUint(n.HighestModSeq, 10)
		}
	}
	return r
}
