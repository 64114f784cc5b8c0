package imapd

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"slices"

	"pennypost/maildir/mailbox"
)

// criterion is one of SORT's (RFC 5256 section 3, RFC 5957).
type criterion struct {
	by      string
	reverse bool
}

// mostCriteria bounds one SORT: there are eight, and each counts once.
const mostCriteria = 16

// sort answers SORT and UID SORT (RFC 5256), with RETURN (RFC 5267 section 3).
func (s *session) sort(c *command) reply {
	c.SP()
	want, extended := s.parseReturn(c)
	if extended {
		c.SP()
	}
	criteria := parseCriteria(c)
	c.SP()
	p := s.parseSet(c)
	if r := s.checkProgram(c, p, want); r != nil {
		return *r
	}
	if !p.fuzzy && slices.ContainsFunc(criteria, func(k criterion) bool { return k.by == "RELEVANCY" }) {
		return bad("RELEVANCY goes with FUZZY (RFC 6203 section 6)")
	}
	r := s.newSearch(c)
	defer r.close()
	r.scores = p.fuzzy
	hits := r.roomForAll()
	err := r.run(p, false, func(h hit) bool {
		hits = append(hits, h)
		return true
	})
	if err == nil {
		hits, err = r.sorted(hits, criteria)
	}
	if err != nil {
		return s.searchFailed(err, want)
	}
	if !extended {
		s.listHits("SORT", hits, c.uid, p.modseq)
		return ok("sorted")
	}
	if want.has(wantSave) {
		s.saved = want.saves(hits)
	}
	s.sendESearch(c, want, hits, p.modseq)
	return ok("sorted")
}

// roomForAll is room for what a search of all messages finds, if they are not very many.
func (r *searching) roomForAll() []hit { return make([]hit, 0, min(r.view.Len(), 1<<15)) }

// parseSet reads the character set that SORT and THREAD have in front of their keys, and the keys.
func (s *session) parseSet(c *command) *program {
	p := &program{uids: s.enabled&uidOnly != 0}
	p.charset(c.AString())
	c.SP()
	p.root = p.and(c, func() bool { return !c.More() })
	return p
}

func parseCriteria(c *command) (out []criterion) {
	c.List(func() {
		k := criterion{by: c.Keyword("a sort criterion")}
		if k.by == "REVERSE" {
			c.SP()
			k.reverse, k.by = true, c.Keyword("a sort criterion")
		}
		switch k.by {
		case "ARRIVAL", "CC", "DATE", "FROM", "SIZE", "SUBJECT", "TO", "DISPLAYFROM", "DISPLAYTO", "RELEVANCY":
		default:
			c.Fail("a sort criterion")
		}
		if out = append(out, k); len(out) > mostCriteria {
			c.Fail("fewer sort criteria")
		}
	})
	if len(out) == 0 {
		c.Fail("a sort criterion")
	}
	return out
}

// column is what messages are compared by under one criterion: numbers, or texts in one buffer.
type column struct {
	reverse bool
	numbers []int64
	texts   []text
	buf     []byte
}

// text is a text of a column. Its first octets, as a number, decide most comparisons.
type text struct {
	first    uint64
	from, to uint32
}

func (k *column) add(s []byte) {
	var first [8]byte
	copy(first[:], s)
	from := uint32(len(k.buf))
	k.buf = append(k.buf, s...)
	k.texts = append(k.texts, text{binary.BigEndian.Uint64(first[:]), from, uint32(len(k.buf))})
}

func (k *column) compare(a, b int32) (c int) {
	if k.numbers != nil {
		c = cmp.Compare(k.numbers[a], k.numbers[b])
	} else if x, y := &k.texts[a], &k.texts[b]; x.first != y.first {
		c = cmp.Compare(x.first, y.first)
	} else {
		c = bytes.Compare(k.buf[x.from:x.to], k.buf[y.from:y.to])
	}
	if k.reverse {
		return -c
	}
	return c
}

// keyRoom is how much of one text is kept to be compared, where n messages are.
func keyRoom(n int) int { return min(256, max(16, 32<<20/max(n, 1))) }

// sorted puts hits in order; those that compare equal stay in the order of their numbers (RFC 5256 section 3).
func (r *searching) sorted(hits []hit, criteria []criterion) ([]hit, error) {
	columns := make([]column, len(criteria))
	needRecords := false
	for i, k := range criteria {
		columns[i].reverse = k.reverse
		needRecords = needRecords || k.by != "ARRIVAL" && k.by != "SIZE" && k.by != "RELEVANCY"
	}
	all := len(hits) == r.view.Len()
	name := nameOf(criteria)
	if slices.ContainsFunc(criteria, func(k criterion) bool { return k.by == "RELEVANCY" }) {
		all = false // each search has its own
	} else if order := r.view.Order(name); order != nil && len(hits) > r.view.Len()/16 {
		return r.among(hits, order), nil
	}
	longest := keyRoom(len(hits))
	kept := hits[:0]
	for n := range hits {
		h := hits[n]
		i, ok := r.view.Find(h.uid)
		if !ok {
			all = false
			continue
		}
		r.m.i, r.m.hit = i, h
		if err := r.pause(n, len(hits), false); err != nil {
			return nil, err
		}
		if needRecords {
			r.sortKeysOf()
		}
		for k := range criteria {
			r.sortKey(&columns[k], criteria[k].by, longest)
		}
		all = all && r.m.err == nil
		r.m.reset() // errors too: what cannot be read sorts as empty
		kept = append(kept, h)
	}
	order := make([]int32, len(kept))
	for i := range order {
		order[i] = int32(i)
	}
	slices.SortFunc(order, func(a, b int32) int {
		for k := range columns {
			if c := columns[k].compare(a, b); c != 0 {
				return c
			}
		}
		return cmp.Compare(a, b)
	})
	if all {
		r.view.KeepOrder(name, order)
	}
	return reordered(kept, order), nil
}

// among is hits in an order of all messages.
func (r *searching) among(hits []hit, order []int32) []hit {
	if len(hits) == len(order) {
		return reordered(hits, order)
	}
	at := make([]int32, len(order)) // of a message by its index: the hit, from 1
	for n := range hits {
		if i, ok := r.view.Find(hits[n].uid); ok {
			at[i] = int32(n + 1)
		}
	}
	out := make([]hit, 0, len(hits))
	for _, i := range order {
		if n := at[i]; n > 0 {
			out = append(out, hits[n-1])
		}
	}
	return out
}

func reordered(hits []hit, order []int32) []hit {
	out := make([]hit, len(order))
	for i, at := range order {
		out[i] = hits[at]
	}
	return out
}

// nameOf is what an order is remembered by.
func nameOf(criteria []criterion) string {
	var b []byte
	for _, k := range criteria {
		if k.reverse {
			b = append(b, '-')
		}
		b = append(append(b, k.by...), ' ')
	}
	return string(b)
}

// sortKey adds the message at hand to a column.
func (r *searching) sortKey(k *column, by string, longest int) {
	none := mailbox.Record{Sent: mailbox.NoDate}
	record := r.m.keys
	if record == nil {
		record = &none
	}
	short := func(s []byte) { k.add(s[:min(len(s), longest)]) }
	switch by {
	case "ARRIVAL":
		t, _ := r.view.Received(r.m.i)
		k.numbers = append(k.numbers, t.Unix())
	case "SIZE":
		size, _ := r.view.Size(r.m.i)
		k.numbers = append(k.numbers, size)
	case "DATE":
		k.numbers = append(k.numbers, r.sent(record))
	case "RELEVANCY": // the most relevant first (RFC 6203 section 6)
		k.numbers = append(k.numbers, -int64(r.m.hit.score))
	case "SUBJECT":
		short(record.Subject)
	case "FROM":
		short(record.From)
	case "TO":
		short(record.To)
	case "CC":
		short(record.Cc)
	case "DISPLAYFROM":
		short(record.DisplayFrom)
	case "DISPLAYTO":
		short(record.DisplayTo)
	}
}

// sent is the sent date in UTC, or else the internal date (RFC 5256 section 2.2).
func (r *searching) sent(record *mailbox.Record) int64 {
	if record.Sent != mailbox.NoDate {
		return record.Sent
	}
	t, _ := r.view.Received(r.m.i)
	return t.Unix()
}
