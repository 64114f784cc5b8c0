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

// table finds messages by the hash of their key: open addressing, 16 octets a place. UID 0 is an empty place.
type table struct {
	hash  []uint64
	uid   []uint32
	place []uint32 // where the message was in the view when it was last looked for
	used  int
}

func newTable(n int) *table {
	size := 64
	for size*3 < n*5 {
		size *= 2
	}
	return &table{hash: make([]uint64, size), uid: make([]uint32, size), place: make([]uint32, size)}
}

func (t *table) put(h uint64, uid uint32, place int) {
	if t.used*5 >= len(t.uid)*3 {
		bigger := newTable(len(t.uid))
		for i, u := range t.uid {
			if u != 0 {
				bigger.put(t.hash[i], u, int(t.place[i]))
			}
		}
		*t = *bigger
	}
	p := t.first(h)
	for t.uid[p] != 0 {
		p = t.next(p)
	}
	t.hash[p], t.uid[p], t.place[p] = h, uid, uint32(place)
	t.used++
}

// enter puts uid under h unless it is there.
func (t *table) enter(h uint64, uid uint32) {
	p := t.first(h)
	for t.uid[p] != 0 {
		if t.hash[p] == h && t.uid[p] == uid {
			return
		}
		p = t.next(p)
	}
	t.put(h, uid, 0)
}

// first is where to begin to look for h, and next where to go on, up to an empty place. A message that went may still be there.
func (t *table) first(h uint64) int { return int(h & uint64(len(t.uid)-1)) }
func (t *table) next(p int) int     { return (p + 1) & (len(t.uid) - 1) }
