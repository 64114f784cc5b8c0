package imapd

import (
	"strconv"

	"pennypost/internal/sequence"
)

// returns is what RETURN (…) asks for (RFC 9051 section 6.4.4, RFC 9394, RFC 6203).
type returns struct {
	what wanted
	part *window // PARTIAL
}

type wanted uint8

const (
	wantMin wanted = 1 << iota
	wantMax
	wantAll
	wantCount
	wantSave
	wantPartial
	wantRelevancy
)

func (w *returns) has(what wanted) bool { return w.what&what != 0 }

// parseReturn reads RETURN (…), if it comes. Without it everything is asked for.
func (s *session) parseReturn(c *command) (want *returns, extended bool) {
	want = &returns{}
	if !c.Word("RETURN") {
		want.what = wantAll
		return want, false
	}
	c.SP()
	c.List(func() {
		switch c.Keyword("a return option") {
		case "MIN":
			want.what |= wantMin
		case "MAX":
			want.what |= wantMax
		case "ALL":
			want.what |= wantAll
		case "COUNT":
			want.what |= wantCount
		case "SAVE":
			want.what |= wantSave
		case "RELEVANCY":
			want.what |= wantRelevancy
		case "PARTIAL":
			c.SP()
			if want.has(wantPartial) {
				c.Fail("one PARTIAL")
			}
			want.what |= wantPartial
			want.part = parseWindow(c)
		default:
			c.Fail("MIN, MAX, ALL, COUNT, SAVE, PARTIAL or RELEVANCY")
		}
	})
	if want.has(wantPartial) && want.has(wantAll) { // RFC 9394 section 3.1
		c.Fail("either ALL or PARTIAL")
	}
	if want.what == 0 {
		want.what = wantAll
	}
	return want, true
}

// saves is what "$" becomes: everything found, or of MIN, MAX and PARTIAL alone what they name (RFC 5182 section 2.4, RFC 9394
// section 3.2).
func (w *returns) saves(hits []hit) sequence.Set {
	if len(hits) == 0 || w.has(wantAll|wantCount) || !w.has(wantMin|wantMax|wantPartial) {
		return uidsOf(hits)
	}
	var chosen []hit
	if w.has(wantPartial) {
		chosen = append(chosen, w.part.among(hits)...)
	}
	lowest, highest := ends(hits)
	if w.has(wantMin) {
		chosen = append(chosen, lowest)
	}
	if w.has(wantMax) {
		chosen = append(chosen, highest)
	}
	return uidsOf(chosen)
}

// ends are the hits with the smallest and the largest UID.
func ends(hits []hit) (lowest, highest hit) {
	lowest, highest = hits[0], hits[0]
	for _, h := range hits {
		if h.uid < lowest.uid {
			lowest = h
		}
		if h.uid > highest.uid {
			highest = h
		}
	}
	return lowest, highest
}

// among is the part of the hits, in their order, that the window shows.
func (w *window) among(hits []hit) []hit {
	n := int64(len(hits))
	from, to := w.from, w.to
	if from < 0 {
		from, to = n+1+w.to, n+1+w.from
	}
	from, to = max(from, 1), min(to, n)
	if from > to {
		return nil
	}
	return hits[from-1 : to]
}

// label is the window as RFC 9394 writes it.
func (w *window) label(b []byte) []byte {
	b = strconv.AppendInt(b, w.from, 10)
	return strconv.AppendInt(append(b, ':'), w.to, 10)
}

// sendESearch writes the ESEARCH response for the selected mailbox. SAVE alone has none (RFC 5182 section 2.1).
func (s *session) sendESearch(c *command, want *returns, hits []hit, modseq bool) {
	if want.what == wantSave {
		return
	}
	s.out = append(append(append(s.out, `* ESEARCH (TAG "`...), c.tag...), `")`...)
	s.esearchItems(want, hits, c.uid, modseq)
}

// esearchItems writes the results (RFC 4731 section 3.1): what is not there is left out, but for COUNT.
func (s *session) esearchItems(want *returns, hits []hit, byUID, modseq bool) {
	name := func(h hit) uint32 {
		if byUID {
			return h.uid
		}
		return h.number
	}
	number := func(item string, n uint64) {
		s.out = strconv.AppendUint(append(append(append(s.out, ' '), item...), ' '), n, 10)
	}
	if byUID {
		s.out = append(s.out, " UID"...)
	}
	highest := uint64(0)
	if len(hits) > 0 {
		first, last := ends(hits)
		if want.has(wantMin) {
			number("MIN", uint64(name(first)))
			highest = max(highest, first.modseq)
		}
		if want.has(wantMax) {
			number("MAX", uint64(name(last)))
			highest = max(highest, last.modseq)
		}
	}
	if want.has(wantCount) {
		number("COUNT", uint64(len(hits)))
	}
	shown := hits
	if want.has(wantPartial) {
		shown = want.part.among(hits)
		s.out = want.part.label(append(s.out, " PARTIAL ("...))
		s.out = append(s.out, ' ')
		if len(shown) == 0 {
			s.out = append(s.out, "NIL"...)
		} else {
			s.appendHits(shown, name)
		}
		s.out = append(s.out, ')')
	}
	if want.has(wantAll) && len(hits) > 0 {
		s.out = append(s.out, " ALL "...)
		s.appendHits(hits, name)
	}
	if want.has(wantRelevancy) && len(shown) > 0 {
		s.out = append(s.out, " RELEVANCY ("...)
		for i := range shown {
			if i > 0 {
				s.out = append(s.out, ' ')
			}
			s.out = strconv.AppendUint(s.out, uint64(shown[i].score), 10)
			s.spill()
		}
		s.out = append(s.out, ')')
	}
	if modseq && len(hits) > 0 {
		if want.has(wantAll|wantCount|wantPartial) || highest == 0 {
			for i := range hits {
				highest = max(highest, hits[i].modseq)
			}
		}
		number("MODSEQ", highest)
	}
	s.out = append(s.out, "\r\n"...)
	s.spill()
}

// appendHits writes hits in their order as a sequence set.
func (s *session) appendHits(hits []hit, name func(hit) uint32) {
	for i := 0; i < len(hits); {
		j := i
		for j+1 < len(hits) && name(hits[j+1]) == name(hits[j])+1 {
			j++
		}
		if i > 0 {
			s.out = append(s.out, ',')
		}
		s.out = strconv.AppendUint(s.out, uint64(name(hits[i])), 10)
		if j > i {
			s.out = strconv.AppendUint(append(s.out, ':'), uint64(name(hits[j])), 10)
		}
		s.spill()
		i = j + 1
	}
}
