package mailbox

import (
	"crypto/rand"
	"encoding/binary"
)

// chance is 64 random bits.
func chance() uint64 {
	var b [8]byte
	rand.Read(b[:])
	return binary.LittleEndian.Uint64(b[:])
}

// table finds messages by the hash of their key: open addressing. UID 0 is an empty place.
type table struct {
	cells []cell
	used  int
	moved bool // messages went, or have other keys: what the cells say of places and names is to be looked up anew
}

// cell is a message in the table.
type cell struct {
	hash  uint64 // of the key
	name  uint64 // nameHash of the file when it said just what the view says of the message, 0 when that is not known
	uid   uint32
	place uint32 // where the message was in the view when it was last looked for
}

func newTable(n int) *table {
	size := 64
	for size*3 < n*5 {
		size *= 2
	}
	return &table{cells: make([]cell, size)}
}

func (t *table) put(c cell) {
	if t.used*5 >= len(t.cells)*3 {
		bigger := newTable(len(t.cells))
		for _, old := range t.cells {
			if old.uid != 0 {
				bigger.put(old)
			}
		}
		t.cells = bigger.cells
	}
	p := t.first(c.hash)
	for t.cells[p].uid != 0 {
		p = t.next(p)
	}
	t.cells[p] = c
	t.used++
}

// enter puts uid under h. If it is there its flags are others now; if it is there under another key, that one is not to be believed.
func (t *table) enter(h uint64, uid uint32, added bool) {
	for p := t.first(h); t.cells[p].uid != 0; p = t.next(p) {
		if c := &t.cells[p]; c.hash == h && c.uid == uid {
			c.name = 0
			return
		}
	}
	t.moved = t.moved || !added
	t.put(cell{hash: h, uid: uid})
}

// settle forgets the names after messages have moved, and where they were is found out again.
func (t *table) settle() {
	if t.moved {
		t.moved = false
		for p := range t.cells {
			t.cells[p].name = 0
		}
	}
}

// first is where to begin to look for h, and next where to go on, up to an empty place. A message that went may still be there.
func (t *table) first(h uint64) int { return int(h & uint64(len(t.cells)-1)) }
func (t *table) next(p int) int     { return (p + 1) & (len(t.cells) - 1) }
