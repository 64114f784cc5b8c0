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

// table finds messages by the hash of their key: open addressing, 12 octets a place. UID 0 is an empty place.
type table struct {
	hash []uint64
	uid  []uint32
	used int
}

func newTable(n int) *table {
	size := 64
	for size*3 < n*5 {
		size *= 2
	}
	return &table{hash: make([]uint64, size), uid: make([]uint32, size)}
}

func (t *table) put(h uint64, uid uint32) {
	if t.used*5 >= len(t.uid)*3 {
		bigger := newTable(len(t.uid))
		for i, u := range t.uid {
			if u != 0 {
				bigger.put(t.hash[i], u)
			}
		}
		*t = *bigger
	}
	mask := uint64(len(t.uid) - 1)
	i := h & mask
	for t.uid[i] != 0 {
		i = (i + 1) & mask
	}
	t.hash[i], t.uid[i] = h, uid
	t.used++
}

// enter puts uid under h unless it is there.
func (t *table) enter(h uint64, uid uint32) {
	for at := range t.all(h) {
		if at == uid {
			return
		}
	}
	t.put(h, uid)
}

// all yields the UIDs put under h; a message that went may still be among them.
func (t *table) all(h uint64) func(yield func(uid uint32) bool) {
	return func(yield func(uint32) bool) {
		mask := uint64(len(t.uid) - 1)
		for i := h & mask; t.uid[i] != 0; i = (i + 1) & mask {
			if t.hash[i] == h && !yield(t.uid[i]) {
				return
			}
		}
	}
}
