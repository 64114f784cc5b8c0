package imapd

import (
	"slices"
	"sort"
	"strconv"

	"pennypost/internal/sequence"
	"pennypost/maildir/mailbox"
)

// selected is the selected mailbox of a session.
type selected struct {
	place
	folder   *mailbox.Folder
	view     *mailbox.View
	readOnly bool
	held     []uint32     // UIDs that are gone and still have a number, because the client was not told; ascending
	recent   sequence.Set // UIDs that are \Recent in this session (RFC 3501 section 2.3.2)
	keywords []string     // as FLAGS told them last
	own      ownChange    // flags this session changed itself, until they are told or not
}

// count is how many messages the client numbers.
func (b *selected) count() int { return b.view.Len() + len(b.held) }

// number is the message number of a UID; ok is false when it has none.
func (b *selected) number(uid uint32) (n uint32, ok bool) {
	i, found := b.view.Find(uid)
	h := sort.Search(len(b.held), func(h int) bool { return b.held[h] >= uid })
	return uint32(i + h + 1), found || h < len(b.held) && b.held[h] == uid
}

// uidAt is the UID of message number n, 1 ≤ n ≤ count; held is set when the message is gone.
func (b *selected) uidAt(n uint32) (uid uint32, held bool) {
	if len(b.held) == 0 {
		return b.view.UID(int(n - 1)), false
	}
	// the largest h such that the held UID before it has a smaller number
	h := sort.Search(len(b.held), func(h int) bool {
		at, _ := b.number(b.held[h])
		return at >= n
	})
	if h < len(b.held) {
		if at, _ := b.number(b.held[h]); at == n {
			return b.held[h], true
		}
	}
	return b.view.UID(int(n-1) - h), false
}

// uids turns the set of a command into UIDs that exist in the session's view. Numbers beyond the mailbox are an error (RFC 9051 section
// 6.4.9 has no such thing for UIDs, which are silently ignored). missed is set when a number stands for a message that is gone.
func (s *session) uids(set sequence.Set, byUID bool) (uids sequence.Set, missed, ok bool) {
	b := s.box
	if byUID {
		largest := uint32(0)
		if n := b.view.Len(); n > 0 {
			largest = b.view.UID(n - 1)
		}
		return set.Resolve(largest), false, true
	}
	count := uint32(b.count())
	if count == 0 && len(set) > 0 && set.Dynamic() {
		return nil, false, true
	}
	for _, r := range set.Resolve(count) {
		if r.Hi > count {
			return nil, false, false
		}
		for n := r.Lo; n <= r.Hi; n++ {
			uid, held := b.uidAt(n)
			if held {
				missed = true
				continue
			}
			uids.Add(uid)
		}
	}
	return uids, missed, true
}

// set reads the set of a command: numbers, UIDs, or "$". The answer is UIDs; r is set when the command is to be refused.
func (s *session) set(c *command) (uids sequence.Set, missed bool, r *reply) {
	set, saved := c.Set()
	if c.Err() != nil {
		return nil, false, nil
	}
	if saved {
		return s.saved, false, nil
	}
	uids, missed, ok := s.uids(set, c.uid)
	if !ok {
		r := bad("there is no message of that number")
		return nil, false, &r
	}
	return uids, missed, nil
}

// tell brings the client up to what is in the mailbox now: messages that went (when expunges may be told, RFC 9051 section
// 7.5.1), came, or changed.
func (s *session) tell(expungesToo bool) {
	b := s.box
	view, err := b.folder.Look(s.ctx)
	if err != nil {
		s.lost(err)
		return
	}
	before := b.view
	d := view.Since(before)
	was := before.Len()
	if expungesToo {
		s.tellGone(d.Vanished)
	} else {
		for uid := range d.Vanished.All {
			b.held = append(b.held, uid)
		}
		slices.Sort(b.held)
	}
	b.view = view
	changed := d.Changed
	if d.Added > 0 || was == 0 && view.Len() > 0 {
		if more := s.claim(view.Len() - d.Added); len(more) > 0 {
			changed = append(changed, more...)
			slices.Sort(changed)
			changed = slices.Compact(changed)
		}
		s.number(uint64(b.count()), "EXISTS")
		if s.enabled&rev2 == 0 {
			s.number(b.recent.Count(), "RECENT")
		}
	}
	s.tellFlags(before, changed)
}

// tellGone announces expunged messages: those of the delta and those held back.
func (s *session) tellGone(gone sequence.Set) {
	b := s.box
	if len(b.held) == 0 && len(gone) == 0 {
		return
	}
	all := slices.Clone(b.held)
	for uid := range gone.All {
		all = append(all, uid)
	}
	slices.Sort(all)
	if s.enabled&(qresync|uidOnly) != 0 {
		var set sequence.Set
		for _, uid := range all {
			set.Add(uid)
		}
		s.out = append(set.Append(append(s.out, "* VANISHED "...)), "\r\n"...)
		s.spill()
	} else { // highest first: no number changes before it is named
		for i := len(all) - 1; i >= 0; i-- {
			n, _ := b.number(all[i])
			s.number(uint64(n), "EXPUNGE")
		}
	}
	b.held = nil
	var gonest sequence.Set
	for _, uid := range all {
		gonest.Add(uid)
	}
	b.recent = b.recent.Without(gonest)
	s.saved = s.saved.Without(gonest)
}

// tellFlags announces flags: those that others changed since the view before was taken, and those a STORE of this session asks for. Of
// the outcome of its own silent changes a client wants to know only the mod-sequence (RFC 7162 section 3.1.3).
func (s *session) tellFlags(before *mailbox.View, changed []uint32) {
	b := s.box
	s.tellKeywords()
	own := b.own
	b.own = ownChange{}
	one := func(uid uint32) {
		i, ok := b.view.Find(uid)
		if !ok {
			return
		}
		silent := false
		if own.uids.Has(uid) && !(own.tell.Has(uid) && own.loud) {
			at, ok := before.Find(uid)
			silent = ok && own.makes(before.Flags(at)) == b.view.Flags(i)
		}
		if !silent {
			s.fetchFlags(i)
		} else if s.enabled&condstore != 0 {
			s.fetchModSeq(i)
		}
	}
	for at := range own.tell.All { // what was asked for and what changed, in one ascending pass
		for len(changed) > 0 && changed[0] <= at {
			if changed[0] < at {
				one(changed[0])
			}
			changed = changed[1:]
		}
		one(at)
	}
	for _, uid := range changed {
		one(uid)
	}
}

// fetchFlags writes the FETCH response that says a message's flags, with what RFC 7162 wants beside them.
func (s *session) fetchFlags(i int) {
	s.fetchBegin(i)
	s.out = s.flagList(append(s.out, "FLAGS "...), s.box.view.Flags(i), s.box.view.UID(i))
	if s.enabled&condstore != 0 {
		s.out = append(s.out, ' ')
		s.modSeqItem(i)
	}
	s.out = append(s.out, ")\r\n"...)
	s.spill()
}

// fetchModSeq writes the FETCH response that says only that a mod-sequence is another.
func (s *session) fetchModSeq(i int) {
	s.fetchBegin(i)
	s.modSeqItem(i)
	s.out = append(s.out, ")\r\n"...)
	s.spill()
}

// fetchBegin writes what an unsolicited FETCH begins with, and the UID where QRESYNC wants it (RFC 7162 section 3.2.4) or a UID command asked
// for the flags (RFC 9051 section 6.4.9).
func (s *session) fetchBegin(i int) {
	b := s.box
	uid := b.view.UID(i)
	s.out = append(s.out, "* "...)
	if s.enabled&uidOnly != 0 {
		s.out = strconv.AppendUint(s.out, uint64(uid), 10)
		s.out = append(s.out, " UIDFETCH ("...)
		return
	}
	n, _ := b.number(uid)
	s.out = strconv.AppendUint(s.out, uint64(n), 10)
	s.out = append(s.out, " FETCH ("...)
	if s.enabled&qresync != 0 || s.byUID {
		s.out = strconv.AppendUint(append(s.out, "UID "...), uint64(uid), 10)
		s.out = append(s.out, ' ')
	}
}

func (s *session) modSeqItem(i int) {
	s.out = strconv.AppendUint(append(s.out, "MODSEQ ("...), s.box.view.ModSeq(i), 10)
	s.out = append(s.out, ')')
}

// systemNames are the flags as IMAP spells them, in our order.
var systemNames = []struct {
	flag mailbox.Flags
	name string
}{
	{mailbox.Answered, `\Answered`}, {mailbox.Flagged, `\Flagged`}, {mailbox.Deleted, `\Deleted`},
	{mailbox.Seen, `\Seen`}, {mailbox.Draft, `\Draft`}, {mailbox.Forwarded, `$Forwarded`},
}

// flagList appends the flags of a message in parentheses.
func (s *session) flagList(b []byte, flags mailbox.Flags, uid uint32) []byte {
	b = append(b, '(')
	at := len(b)
	word := func(w string) {
		if len(b) > at {
			b = append(b, ' ')
		}
		b = append(b, w...)
	}
	for _, f := range systemNames {
		if flags&f.flag != 0 {
			word(f.name)
		}
	}
	if rest := flags >> 6; rest != 0 {
		for n, name := range s.box.keywords {
			if name != "" && flags&mailbox.Keyword(n) != 0 {
				word(name)
			}
		}
	}
	if s.enabled&rev2 == 0 && len(s.box.recent) > 0 && s.box.recent.Has(uid) {
		word(`\Recent`)
	}
	return append(b, ')')
}

// claim makes the messages from index from on \Recent in this session, unless another has claimed them or it may not. changed is the others
// that somebody changed meanwhile.
func (s *session) claim(from int) (changed []uint32) {
	b := s.box
	if b.readOnly {
		for i := from; i < b.view.Len(); i++ {
			if b.view.Recent(i) {
				b.recent.Add(b.view.UID(i))
			}
		}
		return nil
	}
	claimed, err := b.folder.Claim(s.ctx, b.view.UIDsFrom(from))
	if err != nil {
		s.srv.Log.Warn("imap claim", err)
		return nil
	}
	for uid := range claimed.All {
		b.recent.Add(uid)
	}
	view, err := b.folder.Look(s.ctx)
	if err != nil {
		return nil
	}
	d := view.Since(b.view)
	if len(d.Vanished) > 0 || d.Added > 0 {
		return nil // told the next time, all together
	}
	b.view = view
	return slices.DeleteFunc(d.Changed, claimed.Has)
}

// tellKeywords says FLAGS again when keywords have been added.
func (s *session) tellKeywords() {
	if names := s.box.folder.Keywords(); len(names) != len(s.box.keywords) {
		s.box.keywords = names
		s.flagsLines()
	}
}

// lost ends the use of a mailbox that cannot be looked at any more.
func (s *session) lost(err error) {
	if s.box.folder.Gone() {
		s.ended = "the mailbox is gone"
		return
	}
	s.srv.Log.Warn("imap look", err)
	s.untagged(reply{"NO", "UNAVAILABLE", "the mailbox is not to be reached now"})
}
