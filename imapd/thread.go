package imapd

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"slices"
	"strconv"
)

// threading is THREAD under way (RFC 5256 section 3). Messages and the ids that only references name are nodes, by number.
type threading struct {
	nodes []node
	ids   map[uint64]int32 // of message-ids, by their hash
	texts []byte           // base subjects
	most  int              // of nodes: beyond it references to messages that are not here are not followed
}

// node is a message, or a dummy in its place.
type node struct {
	message              int32 // index of the hit, -1 in a dummy
	parent, first, next  int32 // -1: none; first child, next sibling
	sent                 int64
	subjectFrom, subject uint32 // of texts: from, length
	reply                bool
	gone                 bool
}

// deepest bounds the search for a loop among the parents of a message; beyond it references are not believed.
const deepest = 10000

// thread answers THREAD and UID THREAD.
func (s *session) thread(c *command) reply {
	c.SP()
	how := c.Keyword("a threading algorithm")
	switch how {
	case "ORDEREDSUBJECT", "REFERENCES", "REFS":
	default:
		c.Fail("ORDEREDSUBJECT, REFERENCES or REFS")
	}
	c.SP()
	p := s.parseSet(c)
	if r := s.checkProgram(c, p, &returns{}); r != nil {
		return *r
	}
	r := s.newSearch(c)
	defer r.close()
	hits := r.roomForAll()
	err := r.run(p, false, func(h hit) bool {
		hits = append(hits, h)
		return true
	})
	t := &threading{}
	if err == nil {
		hits, err = t.read(r, hits, how)
	}
	if err != nil {
		return s.searchFailed(err, nil)
	}
	var roots []int32
	switch how {
	case "ORDEREDSUBJECT":
		roots = t.bySubject()
	case "REFERENCES":
		roots = t.bySubjects(t.prune())
		t.sortAll(roots)
	case "REFS":
		roots = t.prune()
		t.sortAll(roots)
		t.byLatest(roots)
	}
	s.sendThreads(t, roots, hits, c.uid)
	return ok("threaded")
}

// read makes a node of every hit; for the algorithms of references it joins them by their ids, in the same pass (steps 1 and 2).
func (t *threading) read(r *searching, hits []hit, how string) ([]hit, error) {
	if how != "ORDEREDSUBJECT" {
		t.ids = make(map[uint64]int32, len(hits))
	}
	t.most = 4*len(hits) + 1000
	t.nodes = make([]node, 0, len(hits)+len(hits)/4)
	longest := keyRoom(len(hits))
	kept := hits[:0]
	for n := range hits {
		i, ok := r.view.Find(hits[n].uid)
		if !ok {
			continue
		}
		r.m.i, r.m.hit = i, hits[n]
		if err := r.pause(n, len(hits), false); err != nil {
			return nil, err
		}
		if record := r.sortKeysOf(); record != nil {
			at := t.message(int32(len(kept)), record.MessageID)
			m := &t.nodes[at]
			m.sent, m.reply = r.sent(record), record.Reply
			subject := record.Subject[:min(len(record.Subject), longest)]
			m.subjectFrom, m.subject = uint32(len(t.texts)), uint32(len(subject))
			t.texts = append(t.texts, subject...)
			t.refer(at, record.References)
			kept = append(kept, hits[n])
		}
		r.m.reset()
	}
	return kept, nil
}

func (t *threading) add(message int32) int32 {
	t.nodes = append(t.nodes, node{message: message, parent: -1, first: -1, next: -1})
	return int32(len(t.nodes) - 1)
}

// message is the node of a message: that of its id, unless another message has it already.
func (t *threading) message(n int32, id uint64) int32 {
	if t.ids == nil || id == 0 {
		return t.add(n)
	}
	at, known := t.ids[id]
	switch {
	case !known:
		at = t.add(n)
		t.ids[id] = at
	case t.nodes[at].message < 0:
		t.nodes[at].message = n
	default:
		at = t.add(n)
	}
	return at
}

// refer links the references of a message, oldest first, and the message to the last of them (step 1).
func (t *threading) refer(message int32, references []byte) {
	if t.ids == nil {
		return
	}
	last := int32(-1)
	for ; len(references) >= 8; references = references[8:] {
		id := binary.LittleEndian.Uint64(references)
		at, known := t.ids[id]
		if !known {
			if len(t.nodes) >= t.most {
				continue
			}
			at = t.add(-1)
			t.ids[id] = at
		}
		if last >= 0 && t.nodes[at].parent < 0 && !t.above(at, last) {
			t.link(last, at)
		}
		last = at
	}
	t.cut(message) // a parent it got from the references of another does not count, even where it has none of its own
	if last >= 0 && !t.above(message, last) {
		t.link(last, message)
	}
}

// above reports whether a is b or an ancestor of b: b must not become its parent.
func (t *threading) above(a, b int32) bool {
	if a == b {
		return true
	}
	if t.nodes[a].first < 0 {
		return false
	}
	for n := 0; b >= 0; b = t.nodes[b].parent {
		if n++; a == b || n > deepest {
			return true
		}
	}
	return false
}

func (t *threading) link(parent, child int32) {
	c := &t.nodes[child]
	c.parent, c.next = parent, t.nodes[parent].first
	t.nodes[parent].first = child
}

// cut takes a node from its parent.
func (t *threading) cut(child int32) {
	c := &t.nodes[child]
	if c.parent < 0 {
		return
	}
	at := &t.nodes[c.parent].first
	for *at != child {
		at = &t.nodes[*at].next
	}
	*at = c.next
	c.parent, c.next = -1, -1
}

// children is a list of the children of a node.
func (t *threading) children(at int32) (out []int32) {
	for c := t.nodes[at].first; c >= 0; c = t.nodes[c].next {
		out = append(out, c)
	}
	return out
}

// adopt makes nodes the children of parent, in this order.
func (t *threading) adopt(parent int32, list []int32) {
	t.nodes[parent].first = -1
	for i := len(list) - 1; i >= 0; i-- {
		t.link(parent, list[i])
	}
}

// prune takes out the dummies that hold nothing together (step 3) and gives the roots: a dummy stays only there, over several children.
func (t *threading) prune() (roots []int32) {
	// Bottom up without recursion: a node comes after its parent in this order.
	order := make([]int32, 0, len(t.nodes))
	for i := range t.nodes {
		if t.nodes[i].parent < 0 {
			order = append(order, int32(i))
		}
	}
	for k := 0; k < len(order); k++ {
		for c := t.nodes[order[k]].first; c >= 0; c = t.nodes[c].next {
			order = append(order, c)
		}
	}
	for k := len(order) - 1; k >= 0; k-- {
		at := order[k]
		if t.nodes[at].message >= 0 {
			continue
		}
		kids := t.children(at)
		parent := t.nodes[at].parent
		switch {
		case len(kids) == 0:
			t.cut(at)
			t.nodes[at].gone = true
		case parent >= 0: // the children go up
			t.cut(at)
			t.nodes[at].gone, t.nodes[at].first = true, -1
			for _, c := range kids {
				t.link(parent, c)
			}
		case len(kids) == 1:
			t.nodes[at].gone, t.nodes[at].first = true, -1
			t.nodes[kids[0]].parent, t.nodes[kids[0]].next = -1, -1
		}
	}
	for i := range t.nodes {
		if n := &t.nodes[i]; n.parent < 0 && !n.gone {
			roots = append(roots, int32(i))
		}
	}
	return roots
}

// base is a node's base subject, that of its first child where it is a dummy; head is the node it was taken from.
func (t *threading) base(at int32) (subject []byte, head *node) {
	n := &t.nodes[at]
	if n.message < 0 && n.first >= 0 {
		n = &t.nodes[n.first]
	}
	return t.texts[n.subjectFrom : n.subjectFrom+n.subject], n
}

// bySubjects brings threads of one base subject together (steps 4 and 5).
func (t *threading) bySubjects(roots []int32) []int32 {
	t.sortAll(roots)
	table := map[string]int32{}
	for _, at := range roots {
		subject, head := t.base(at)
		if len(subject) == 0 {
			continue
		}
		have, known := table[string(subject)]
		if known {
			_, other := t.base(have)
			dummy, otherDummy := t.nodes[at].message < 0, t.nodes[have].message < 0
			if !(dummy && !otherDummy || dummy == otherDummy && other.reply && !head.reply) {
				continue
			}
		}
		table[string(subject)] = at
	}
	for _, at := range roots {
		subject, head := t.base(at)
		have, known := table[string(subject)]
		if !known || have == at || len(subject) == 0 {
			continue
		}
		_, other := t.base(have)
		dummy, otherDummy := t.nodes[at].message < 0, t.nodes[have].message < 0
		switch {
		case dummy && otherDummy:
			kids := append(t.children(have), t.children(at)...)
			t.nodes[at].gone, t.nodes[at].first = true, -1
			t.adopt(have, kids)
		case otherDummy, !dummy && head.reply && !other.reply:
			t.adopt(have, append(t.children(have), at))
		default:
			top := t.add(-1)
			t.adopt(top, []int32{have, at})
			table[string(subject)] = top
			roots = append(roots, top)
		}
	}
	return slices.DeleteFunc(roots, func(at int32) bool { return t.nodes[at].gone || t.nodes[at].parent >= 0 })
}

// when is a node's date, that of its first child where it is a dummy.
func (t *threading) when(at int32) (int64, int32) {
	n := &t.nodes[at]
	for n.message < 0 && n.first >= 0 {
		n = &t.nodes[n.first]
	}
	return n.sent, n.message
}

func (t *threading) compare(a, b int32) int {
	x, m := t.when(a)
	y, n := t.when(b)
	return cmp.Or(cmp.Compare(x, y), cmp.Compare(m, n))
}

// sortAll sorts siblings by date: below messages, then below dummies, whose date is that of their first child, then the roots (step 6).
func (t *threading) sortAll(roots []int32) {
	for _, dummies := range []bool{false, true} {
		for i := range t.nodes {
			n := &t.nodes[i]
			if n.gone || (n.message < 0) != dummies || n.first < 0 || t.nodes[n.first].next < 0 {
				continue
			}
			kids := t.children(int32(i))
			slices.SortFunc(kids, t.compare)
			t.adopt(int32(i), kids)
		}
	}
	slices.SortFunc(roots, t.compare)
}

// byLatest sorts threads by their latest message (THREAD=REFS of draft-ietf-morg-inthread).
func (t *threading) byLatest(roots []int32) {
	latest := make(map[int32]int64, len(roots))
	for _, root := range roots {
		last := int64(-1 << 63)
		for at := root; at >= 0; at = t.following(at, root) {
			if t.nodes[at].message >= 0 {
				last = max(last, t.nodes[at].sent)
			}
		}
		latest[root] = last
	}
	slices.SortStableFunc(roots, func(a, b int32) int { return cmp.Compare(latest[a], latest[b]) })
}

// following is the node after at, depth first below root; -1 at the end.
func (t *threading) following(at, root int32) int32 {
	if c := t.nodes[at].first; c >= 0 {
		return c
	}
	for at != root {
		if n := t.nodes[at].next; n >= 0 {
			return n
		}
		at = t.nodes[at].parent
	}
	return -1
}

// bySubject is ORDEREDSUBJECT: the messages of a base subject, by date, hang below the first of them.
func (t *threading) bySubject() (roots []int32) {
	order := make([]int32, len(t.nodes))
	for i := range order {
		order[i] = int32(i)
	}
	slices.SortFunc(order, func(a, b int32) int {
		x, _ := t.base(a)
		y, _ := t.base(b)
		return cmp.Or(bytes.Compare(x, y), t.compare(a, b))
	})
	var kids []int32
	end := func() {
		if len(kids) > 0 {
			t.adopt(roots[len(roots)-1], kids)
			kids = kids[:0]
		}
	}
	for i, at := range order {
		x, _ := t.base(at)
		if i > 0 {
			if y, _ := t.base(order[i-1]); bytes.Equal(x, y) {
				kids = append(kids, at)
				continue
			}
		}
		end()
		roots = append(roots, at)
	}
	end()
	slices.SortFunc(roots, t.compare)
	return roots
}

// sendThreads writes the THREAD response: (1 2 (3)(4 5)). A thread may be as deep as it is long, so that nothing here calls itself.
func (s *session) sendThreads(t *threading, roots []int32, hits []hit, byUID bool) {
	s.out = append(s.out, "* THREAD"...)
	if len(roots) > 0 {
		s.out = append(s.out, ' ')
	}
	for _, root := range roots {
		s.out = append(s.out, '(')
		at := root
		for open := 1; open > 0; {
			if m := t.nodes[at].message; m >= 0 {
				if last := s.lastOut(); last != '(' && last != ' ' {
					s.out = append(s.out, ' ')
				}
				n := hits[m].number
				if byUID {
					n = hits[m].uid
				}
				s.out = strconv.AppendUint(s.out, uint64(n), 10)
			}
			if c := t.nodes[at].first; c >= 0 { // several children stand in parentheses each
				if t.nodes[c].next >= 0 {
					if s.lastOut() != '(' {
						s.out = append(s.out, ' ')
					}
					s.out = append(s.out, '(')
					open++
				}
				at = c
				continue
			}
			for {
				parent := t.nodes[at].parent
				several := at != root && t.nodes[parent].first >= 0 && t.nodes[t.nodes[parent].first].next >= 0
				if at == root || several {
					s.out = append(s.out, ')')
					open--
				}
				if at == root {
					break
				}
				if n := t.nodes[at].next; n >= 0 {
					s.out = append(s.out, '(')
					open++
					at = n
					break
				}
				at = parent
			}
		}
		s.spill()
	}
	s.out = append(s.out, "\r\n"...)
	s.spill()
}

// lastOut is the octet written last; a thread is not sent before it is whole.
func (s *session) lastOut() byte { return s.out[len(s.out)-1] }
