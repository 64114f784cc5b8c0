package mailbox

import (
	"slices"
	"sort"
	"sync/atomic"
)

// slot is a chunk's place in views: the chunk itself, or what it is made of when it is first wanted. So a folder is opened, and what
// others wrote to its log is taken in, without a look at the messages.
type slot struct {
	n     int
	first uint32 // UID of the first message, or a lower one that went
	at    atomic.Pointer[chunk]
	owed  atomic.Pointer[owed] // nil once the chunk is there
}

// owed is what a chunk is made of: a block of a snapshot, or another slot and the changes after it.
type owed struct {
	from  *snapshot // nil when the messages were never in one
	block int
	base  *slot // one that has no changes of its own; nil: the block
	fixes []fix
}

// fix is one message in a record of the log.
type fix struct {
	kind byte // recAdd, recFlags, recGone
	entry
}

func newSlot(c *chunk) *slot {
	s := &slot{n: c.len(), first: c.uid[0]}
	s.at.Store(c)
	return s
}

// get is the chunk. A block that cannot be read (a byte flipped in the cache) is an empty chunk of the same length, and the snapshot is
// marked bad, so that the next look rebuilds.
func (s *slot) get() *chunk {
	if c := s.at.Load(); c != nil {
		return c
	}
	o := s.owed.Load()
	if o == nil { // somebody was faster
		return s.at.Load()
	}
	var c *chunk
	if o.base == nil {
		c = o.from.chunk(o.block, s.n)
	} else {
		c = o.fixed(s.n, s.first)
	}
	s.at.CompareAndSwap(nil, c)
	s.owed.Store(nil)
	return s.at.Load()
}

// with is the slot after changes. Slots have one history, so that later ones append to the same list.
func (s *slot) with(fixes ...fix) *slot {
	next := &slot{n: s.n, first: s.first}
	for i := range fixes {
		switch fixes[i].kind {
		case recAdd:
			next.n++
		case recGone:
			next.n--
		}
	}
	switch o := s.owed.Load(); {
	case o == nil:
		next.owed.Store(&owed{base: s, fixes: fixes})
	case o.base == nil:
		next.owed.Store(&owed{from: o.from, base: s, fixes: fixes})
	default:
		next.owed.Store(&owed{from: o.from, base: o.base, fixes: append(o.fixes, fixes...)})
	}
	return next
}

// fixed makes the chunk of n messages.
func (o *owed) fixed(n int, first uint32) *chunk {
	c := o.base.get()
	if slices.ContainsFunc(o.fixes, func(f fix) bool { return f.kind == recAdd }) {
		c = c.clone()
	} else {
		c = c.reflagged()
	}
	gone, renamed := map[uint32]bool{}, map[int]*entry{}
	for i := range o.fixes {
		e := &o.fixes[i].entry
		switch o.fixes[i].kind {
		case recAdd:
			c.add(e)
		case recFlags:
			switch j, ok := c.find(e.uid); {
			case !ok:
			case renamed[j] != nil || string(c.key(j)) != e.key:
				renamed[j] = e
			default:
				c.put(j, e)
			}
		case recGone:
			gone[e.uid] = true
		}
	}
	if len(renamed) > 0 {
		c = rekeyed(c, renamed)
	}
	if len(gone) > 0 {
		c = c.without(func(uid uint32) bool { return gone[uid] })
	}
	if c.len() != n { // the log is not of this snapshot
		if o.from != nil {
			o.from.bad.Store(true)
		}
		return blanks(first, n)
	}
	return c
}

// find is the place of a UID in the chunk.
func (c *chunk) find(uid uint32) (int, bool) {
	j := sort.Search(c.len(), func(j int) bool { return c.uid[j] >= uid })
	return j, j < c.len() && c.uid[j] == uid
}

// rekeyed is the chunk with these entries replaced by others, whose keys may be other ones.
func rekeyed(c *chunk, by map[int]*entry) *chunk {
	out := roomForN(c.len(), len(c.keys))
	for i := range c.uid {
		if e := by[i]; e != nil {
			out.add(e)
			continue
		}
		e := c.entry(i)
		out.add(&e)
	}
	return out
}

// slotFor is the index of the slot that a UID is in, if any; below 0 when it is before all.
func slotFor(slots []*slot, uid uint32) int {
	return sort.Search(len(slots), func(k int) bool { return slots[k].first > uid }) - 1
}

// addTo puts messages at the end.
func addTo(slots []*slot, added []entry) []*slot {
	for len(added) > 0 {
		last := len(slots) - 1
		if last >= 0 && slots[last].n < chunkLen {
			n := min(len(added), chunkLen-slots[last].n)
			slots[last] = slots[last].with(fixesOf(recAdd, added[:n])...)
			added = added[n:]
			continue
		}
		c := roomFor(added[:min(len(added), chunkLen)])
		for i := range added[:min(len(added), chunkLen)] {
			c.add(&added[i])
		}
		slots, added = append(slots, newSlot(c)), added[c.len():]
	}
	return slots
}

func fixesOf(kind byte, list []entry) []fix {
	out := make([]fix, len(list))
	for i := range list {
		out[i] = fix{kind, list[i]}
	}
	return out
}

// reflag puts changed entries in place; slots is the caller's own.
func reflag(slots []*slot, list []entry) {
	for len(list) > 0 {
		s := slotFor(slots, list[0].uid)
		n := runOf(slots, s, len(list), func(i int) uint32 { return list[i].uid })
		if s >= 0 {
			slots[s] = slots[s].with(fixesOf(recFlags, list[:n])...)
		}
		list = list[n:]
	}
}

// drop takes messages out. Of a chunk that is not there yet the log is believed; fixed sees whether it was right.
func drop(slots []*slot, gone []uint32) []*slot {
	for len(gone) > 0 {
		s := slotFor(slots, gone[0])
		n := runOf(slots, s, len(gone), func(i int) uint32 { return gone[i] })
		run := gone[:n]
		gone = gone[n:]
		switch {
		case s < 0:
		case slots[s].at.Load() == nil && n < slots[s].n:
			fixes := make([]fix, n)
			for i, uid := range run {
				fixes[i].kind, fixes[i].uid = recGone, uid
			}
			slots[s] = slots[s].with(fixes...)
		default:
			dead := make(map[uint32]bool, n)
			for _, uid := range run {
				dead[uid] = true
			}
			c := slots[s].get().without(func(uid uint32) bool { return dead[uid] })
			next := &slot{n: c.len(), first: slots[s].first}
			next.at.Store(c)
			slots[s] = next
		}
	}
	out := slots[:0]
	for _, s := range slots {
		if s.n > 0 {
			out = append(out, s)
		}
	}
	return out
}

// runOf is how many of the first of n UIDs are of slot s.
func runOf(slots []*slot, s, n int, uid func(i int) uint32) int {
	run := 1
	for run < n {
		next := uid(run)
		if s >= 0 && next < slots[s].first || s+1 < len(slots) && next >= slots[s+1].first {
			break
		}
		run++
	}
	return run
}

// maybeUnseen reports whether one of the messages may be unseen, without reading the chunk.
func (s *slot) maybeUnseen() bool {
	o := s.owed.Load()
	switch {
	case o == nil:
		return true
	case o.base == nil:
		return o.from.blocks[o.block].unseen > 0
	case o.base.maybeUnseen():
		return true
	}
	for i := range o.fixes {
		if o.fixes[i].kind != recGone && o.fixes[i].flags&Seen == 0 {
			return true
		}
	}
	return false
}
