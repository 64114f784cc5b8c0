package imapd

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"time"

	"pennypost/internal/sequence"
	"pennypost/maildir/mailbox"
)

var searchVerbs = []verb{
	{"SEARCH", selectedState, (*session).search, holdExpunges, true},
	{"UID SEARCH", selectedState, (*session).search, expunges, false},
	{"SORT", selectedState, (*session).sort, holdExpunges, true},
	{"UID SORT", selectedState, (*session).sort, expunges, false},
	{"THREAD", selectedState, (*session).thread, holdExpunges, true},
	{"UID THREAD", selectedState, (*session).thread, expunges, false},
	{"ESEARCH", loggedIn, (*session).esearch, expunges, false},
	{"UIDBATCHES", selectedState, (*session).uidBatches, expunges, false},
}

// searching is a search under way in one mailbox.
type searching struct {
	s      *session
	ctx    context.Context
	tag    string
	folder *mailbox.Folder
	view   *mailbox.View
	held   []uint32     // UIDs without a message that still have a number
	recent sequence.Set // UIDs

	records *mailbox.Reader
	feed    *mailbox.Feed // nil: nobody waits for text
	m       candidate
	scores  bool // of FUZZY are wanted
	last    time.Time
	began   time.Time
	polled  time.Time
	steps   int
}

// hit is a message found.
type hit struct {
	uid    uint32
	number uint32
	modseq uint64
	score  uint8 // RELEVANCY (RFC 6203 section 4), 1 to 100
}

// candidate is the message that is looked at.
type candidate struct {
	i      int
	hit    hit
	flags  mailbox.Flags
	record *mailbox.Record
	keys   *mailbox.Record // of its sort keys only
	file   *mailbox.Message
	parts  []mailbox.Part
	header []byte
	headed bool  // header was read
	err    error // the message cannot be read: it does not match, or the search fails
}

// errAbandoned ends a search for which nobody waits any more.
var errAbandoned = errors.New("the client is gone")

// newSearch is a search of the selected mailbox.
func (s *session) newSearch(c *command) *searching {
	b := s.box
	return &searching{s: s, ctx: s.ctx, tag: c.tag, folder: b.folder, view: b.view, held: b.held, recent: b.recent}
}

func (r *searching) close() {
	r.m.reset()
	if r.records != nil {
		r.records.Close()
	}
	if r.feed != nil {
		r.feed.Close()
	}
}

// run gives every message that matches to found, in order, until that says no. backward begins at the end.
func (r *searching) run(p *program, backward bool, found func(hit) bool) error {
	if err := p.root.prepare(r); err != nil {
		return err
	}
	slow := p.root.cost() > 0
	r.began = time.Now()
	r.last, r.polled = r.began, r.began
	var failed error
	n, held := r.view.Len(), 0
	visit := func(i int, uid uint32, flags mailbox.Flags, modseq uint64) bool {
		for held < len(r.held) && r.held[held] < uid {
			held++
		}
		m := &r.m
		m.i, m.flags, m.hit = i, flags, hit{uid, uint32(i + 1 + held), modseq, 100}
		if slow {
			if failed = r.pause(i, n, backward); failed != nil {
				return false
			}
		}
		ok := r.match(p.root)
		if m.err != nil {
			ok = false
			if !errors.Is(m.err, mailbox.ErrExpunged) {
				failed = m.err
			}
		}
		h := m.hit
		if slow {
			m.reset()
		}
		return failed == nil && (!ok || found(h))
	}
	if !backward {
		r.view.Each(0, n, visit)
		return failed
	}
	on := true
	for i := n - 1; i >= 0 && on; i-- {
		held = 0
		r.view.Each(i, i+1, func(i int, uid uint32, flags mailbox.Flags, modseq uint64) bool {
			on = visit(i, uid, flags, modseq)
			return on
		})
	}
	return failed
}

// reset lets go of what was read of the message before.
func (m *candidate) reset() {
	if m.file != nil {
		m.file.Close()
	}
	*m = candidate{header: m.header[:0]}
}

// match reports whether the message at hand is what the key asks for.
func (r *searching) match(k *key) bool {
	m := &r.m
	switch k.op {
	case opAll:
		return true
	case opNone:
		return false
	case opFlag, opKeyword:
		return m.flags&k.flags != 0
	case opNotFlag:
		return m.flags&k.flags == 0
	case opNumbers:
		return k.at.Has(m.hit.number)
	case opUIDs:
		return k.at.Has(m.hit.uid)
	case opRecent:
		return r.recent.Has(m.hit.uid)
	case opModSeq:
		return m.hit.modseq >= k.value
	case opAnd:
		for _, kid := range k.kids {
			if !r.match(kid) {
				return false
			}
		}
		return true
	case opOr:
		for _, kid := range k.kids {
			if r.match(kid) {
				return true
			}
		}
		return false
	case opNot:
		return !r.match(k.kids[0])
	case opFuzzy:
		return r.matchFuzzy(k)
	}
	return r.matchSlow(k)
}

// matchSlow asks the keys that take more than the columns.
func (r *searching) matchSlow(k *key) bool {
	m := &r.m
	switch k.op {
	case opEmailID:
		return r.view.EmailID(m.i) == k.name
	case opLarger, opSmaller:
		size, err := r.view.Size(m.i)
		m.fail(err)
		return err == nil && (k.op == opLarger && size > k.n || k.op == opSmaller && size < k.n)
	case opBefore, opSince, opOn, opOlder, opYounger, opSavedBefore, opSavedSince, opSavedOn:
		return r.matchTime(k)
	case opSentBefore, opSentSince, opSentOn:
		record := r.sortKeysOf()
		if record == nil || record.Sent == mailbox.NoDate {
			return false
		}
		return compareDay(k.op-opSentBefore, day(record.Sent+int64(record.SentZone)), k.n)
	case opKept:
		return r.matchKept(k)
	case opField:
		record := r.recordOf()
		return record != nil && k.text.InField(record.Header, k.name)
	case opHeader:
		header := r.headerOf()
		return m.err == nil && k.text.InField(header, k.name)
	case opBody, opText:
		return r.matchText(k)
	}
	return false
}

// matchTime compares INTERNALDATE or SAVEDATE. A message whose save date is not known has its internal date instead.
func (r *searching) matchTime(k *key) bool {
	var t time.Time
	if k.op >= opSavedBefore {
		t = r.view.Saved(r.m.i)
	}
	if t.IsZero() {
		var err error
		if t, err = r.view.Received(r.m.i); err != nil {
			r.m.fail(err)
			return false
		}
	}
	switch k.op {
	case opOlder:
		return t.Unix() <= k.n
	case opYounger:
		return t.Unix() >= k.n
	case opBefore, opSince, opOn:
		return compareDay(k.op-opBefore, day(t.Unix()), k.n)
	}
	return compareDay(k.op-opSavedBefore, day(t.Unix()), k.n)
}

// compareDay is BEFORE, SINCE and ON in this order.
func compareDay(how op, have, want int64) bool {
	switch how {
	case 0:
		return have < want
	case 1:
		return have >= want
	}
	return have == want
}

func (m *candidate) fail(err error) {
	if m.err == nil {
		m.err = err
	}
}

// recordOf is the message's record with its header fields; nil when it cannot be had.
func (r *searching) recordOf() *mailbox.Record {
	m := &r.m
	if m.record == nil && m.err == nil {
		if r.records == nil {
			r.records = r.view.Reader()
		}
		m.record, m.err = r.records.Head(m.i)
		if m.err != nil {
			m.record = nil
		}
	}
	return m.record
}

// sortKeysOf is the message's record as far as SORT and THREAD look at it.
func (r *searching) sortKeysOf() *mailbox.Record {
	m := &r.m
	if r.records == nil {
		r.records = r.view.Reader()
	}
	if m.keys == nil && m.err == nil {
		if m.keys, m.err = r.records.SortKeys(m.i); m.err != nil {
			m.keys = nil
		}
	}
	return m.keys
}

// matchKept looks for a text in a field of all messages of a block at once, and in a record where there is no block.
func (r *searching) matchKept(k *key) bool {
	if r.records == nil {
		r.records = r.view.Reader()
	}
	block := r.records.Keys(r.m.i)
	if block == nil {
		record := r.recordOf()
		return record != nil && k.text.InField(record.Header, k.name)
	}
	if k.keys != block {
		k.keys, k.hits = block, block.Find(k.text, k.field)
	}
	return k.hits.Has(r.m.hit.uid)
}

// open opens the message's file, once.
func (r *searching) open() bool {
	m := &r.m
	if m.file == nil && m.err == nil {
		m.file, m.err = r.view.Open(m.i)
		if m.err != nil {
			m.file = nil
		}
	}
	return m.err == nil
}

func (r *searching) headerOf() []byte {
	m := &r.m
	if !m.headed && r.open() {
		header, err := headerOf(m.file, m.file.Size, m.header)
		m.fail(err)
		m.header, m.headed = header, true
	}
	return m.header
}

// matchText looks into the message, unless the filter knows that it need not.
func (r *searching) matchText(k *key) bool {
	m := &r.m
	if k.text.Empty() {
		return true
	}
	if k.known && !k.maybe.Has(m.hit.uid) {
		return false
	}
	if m.parts == nil {
		if r.records == nil {
			r.records = r.view.Reader()
		}
		record, err := r.records.Get(m.i)
		if err != nil {
			m.fail(err)
			return false
		}
		m.record, m.parts = record, record.Parts()
	}
	if !r.open() {
		return false
	}
	found, err := m.file.ContainsFeeding(m.parts, k.op == opText, k.text, r.feed, m.i)
	m.fail(err)
	return found
}

// matchFuzzy wants every word; the words as they stand are worth more.
func (r *searching) matchFuzzy(k *key) bool {
	words, whole := k.kids[:len(k.kids)-1], k.kids[len(k.kids)-1]
	for _, w := range words {
		if !r.match(w) {
			return false
		}
	}
	if r.scores && !r.match(whole) {
		r.m.hit.score = min(r.m.hit.score, 50)
	}
	return true
}

const (
	pollEvery = 500 * time.Millisecond // the connection is asked whether it is still there
	burst     = 10 * time.Second       // S097: after so long a search leaves every second moment to others
)

// progressEvery is how often a long search says how far it is (RFC 9585 section 3).
var progressEvery = 10 * time.Second

// pause is called between messages: it finds out that nobody waits any more, says how far the search is, and gives way.
func (r *searching) pause(i, n int, backward bool) error {
	if r.steps++; r.steps&15 != 0 {
		return nil
	}
	now := time.Now()
	if r.s.ctx.Err() != nil {
		return errAbandoned
	}
	if now.Sub(r.polled) >= pollEvery {
		if r.s.abandoned() {
			return errAbandoned
		}
		if spent := now.Sub(r.polled); now.Sub(r.began) > burst {
			time.Sleep(min(spent, time.Second))
		}
		r.polled = time.Now()
	}
	if now.Sub(r.last) >= progressEvery {
		r.last = now
		done := i
		if backward {
			done = n - i
		}
		return r.s.inProgress(r.tag, done, n)
	}
	return nil
}

// inProgress says how far a command is (RFC 9585).
func (s *session) inProgress(tag string, done, of int) error {
	s.untagged(okCode(fmt.Sprintf(`INPROGRESS ("%s" %d %d)`, tag, done, of), "still searching"))
	if s.flush() != nil {
		return errAbandoned
	}
	return nil
}

// abandoned asks the connection whether the client is still there. What it has sent meanwhile is kept.
func (s *session) abandoned() bool {
	if s.broken != nil {
		return true
	}
	s.conn.SetReadDeadline(time.Now().Add(time.Millisecond))
	defer s.deadline()
	err := s.reader.Peek()
	var timeout net.Error
	return err != nil && !(errors.As(err, &timeout) && timeout.Timeout())
}

// search answers SEARCH and UID SEARCH (RFC 9051 section 6.4.4).
func (s *session) search(c *command) reply {
	c.SP()
	want, extended := s.parseReturn(c)
	if c.Err() == nil && extended {
		c.SP()
	}
	p := s.parseProgram(c)
	if r := s.checkProgram(c, p, want); r != nil {
		return *r
	}
	r := s.newSearch(c)
	defer r.close()
	r.scores = want.has(wantRelevancy)
	hits, err := r.collect(p, want)
	if err != nil {
		return s.searchFailed(err, want)
	}
	if !extended && s.enabled&rev2 == 0 {
		s.listHits("SEARCH", hits, c.uid, p.modseq)
		return ok("searched")
	}
	if want.has(wantSave) {
		s.saved = want.saves(hits)
	}
	s.sendESearch(c, want, hits, p.modseq)
	return ok("searched")
}

// checkProgram is the answer to a program that cannot be run, nil when it can.
func (s *session) checkProgram(c *command, p *program, want *returns) *reply {
	r := reply{}
	switch {
	case c.Err() != nil:
		r = syntax(c.Err())
	case p.refuse != nil:
		r = *p.refuse
	case want.has(wantRelevancy) && !p.fuzzy:
		r = bad("RELEVANCY goes with FUZZY (RFC 6203 section 4)")
	default:
		if p.modseq {
			s.enabled |= condstore // RFC 7162 section 3.1
		}
		return nil
	}
	if r.status == "NO" && want.has(wantSave) {
		s.saved = nil // RFC 5182 section 2.1
	}
	return &r
}

// searchFailed is the answer to a search that could not be ended. "$" is empty then (RFC 5182 section 2.1).
func (s *session) searchFailed(err error, want *returns) reply {
	if want != nil && want.has(wantSave) {
		s.saved = nil
	}
	if errors.Is(err, errAbandoned) {
		s.broken = errAbandoned
		return no("", "abandoned")
	}
	return s.failed(err)
}

// collect runs the program as far as the answer needs it, and gives what was found in order.
func (r *searching) collect(p *program, want *returns) (hits []hit, err error) {
	add := func(h hit) bool {
		hits = append(hits, h)
		return true
	}
	one := func(h hit) bool {
		hits = append(hits, h)
		return false
	}
	if want.has(wantAll|wantCount|wantPartial|wantRelevancy) || !want.has(wantMin|wantMax) {
		return hits, r.run(p, false, add)
	}
	if want.has(wantMin) {
		if err := r.run(p, false, one); err != nil || len(hits) == 0 {
			return nil, err
		}
	}
	if want.has(wantMax) {
		if err := r.run(p, true, one); err != nil {
			return nil, err
		}
		if n := len(hits); n == 2 && hits[0] == hits[1] {
			hits = hits[:1]
		}
	}
	return hits, nil
}

// listHits writes the untagged response of RFC 3501: all the numbers on one line.
func (s *session) listHits(name string, hits []hit, byUID, modseq bool) {
	s.out = append(append(s.out, "* "...), name...)
	highest := uint64(0)
	for i := range hits {
		n := hits[i].number
		if byUID {
			n = hits[i].uid
		}
		highest = max(highest, hits[i].modseq)
		s.out = strconv.AppendUint(append(s.out, ' '), uint64(n), 10)
		s.spill()
	}
	if modseq && len(hits) > 0 {
		s.out = append(strconv.AppendUint(append(s.out, " (MODSEQ "...), highest, 10), ')')
	}
	s.out = append(s.out, "\r\n"...)
	s.spill()
}

// uidsOf is the UIDs of hits.
func uidsOf(hits []hit) (set sequence.Set) {
	if !slices.IsSortedFunc(hits, func(a, b hit) int { return int(int64(a.uid) - int64(b.uid)) }) {
		list := make([]uint32, len(hits))
		for i := range hits {
			list[i] = hits[i].uid
		}
		slices.Sort(list)
		for _, uid := range list {
			set.Add(uid)
		}
		return set
	}
	for i := range hits {
		set.Add(hits[i].uid)
	}
	return set
}
