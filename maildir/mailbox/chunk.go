package mailbox

import (
	"encoding/binary"
	"slices"
	"sync/atomic"
)

// chunkLen is how many messages a chunk is split at; half of it is what a snapshot writes.
const chunkLen = 1024

// entry is one message as the index knows it.
type entry struct {
	uid      uint32
	flags    Flags
	modseq   uint64
	wire     int64 // octets with CRLF; -1: not counted yet
	received int64 // seconds since 1970; 0: not looked up yet
	saved    int64 // seconds since 1970
	cache    int64 // offset in mb-cache, 0 none
	state    state
	inode    uint32 // of the file, as it was last listed; 0: not known
	key      string // file name up to ':'
	info     string // what stands behind the key when it is not the usual form of flags; with irregular set
	over     *override
	letters  *letterMap
}

// state says where the file is and how its name is written.
type state uint8

const (
	inNew     state = 1 << iota // in new/, else in cur/
	irregular                   // the name's end is not ":2," and sorted letters: info has it
	recent                      // no session has claimed it
)

// override is what mb-uids says of a message beyond the usual.
type override struct {
	guid string // of a copy: EMAILID is made of it and not of the key
	uidl string // POP3's unique-id from a server before us
}

// chunk is up to chunkLen messages in columns. A chunk that a view refers to never changes, but that what is found out of a message (wire,
// received, cache) is filled in, atomically.
type chunk struct {
	uid      []uint32
	flags    []Flags
	modseq   []uint64
	wire     []int64
	received []int64
	saved    []int64
	cache    []int64
	state    []state
	inode    []uint32
	end      []uint32 // of the key in keys
	keys     []byte
	info     map[int]string
	over     map[int]*override
	letters  *letterMap // of the folder
}

func (c *chunk) len() int { return len(c.uid) }

func (c *chunk) key(i int) []byte {
	from := uint32(0)
	if i > 0 {
		from = c.end[i-1]
	}
	return c.keys[from:c.end[i]]
}

// roomFor is an empty chunk with room for messages.
func roomFor(list []entry) *chunk {
	keys := 0
	for i := range list {
		keys += len(list[i].key)
	}
	return roomForN(len(list), keys)
}

func roomForN(n, keys int) *chunk {
	return &chunk{
		uid: make([]uint32, 0, n), flags: make([]Flags, 0, n), modseq: make([]uint64, 0, n), wire: make([]int64, 0, n), received: make([]int64, 0, n),
		saved: make([]int64, 0, n), cache: make([]int64, 0, n), state: make([]state, 0, n), inode: make([]uint32, 0, n), end: make([]uint32, 0, n), keys: make([]byte, 0, keys),
	}
}

func (c *chunk) add(e *entry) { c.addKeyed(e, nil) }

// addKeyed is add of an entry whose key is more.
func (c *chunk) addKeyed(e *entry, more []byte) {
	i := len(c.uid)
	c.letters = e.letters
	c.uid = append(c.uid, e.uid)
	c.flags = append(c.flags, e.flags)
	c.modseq = append(c.modseq, e.modseq)
	c.wire = append(c.wire, e.wire)
	c.received = append(c.received, e.received)
	c.saved = append(c.saved, e.saved)
	c.cache = append(c.cache, e.cache)
	c.state = append(c.state, e.state)
	c.inode = append(c.inode, e.inode)
	c.keys = append(append(c.keys, e.key...), more...)
	c.end = append(c.end, uint32(len(c.keys)))
	if e.state&irregular != 0 {
		c.setInfo(i, e.info)
	}
	if e.over != nil {
		if c.over == nil {
			c.over = map[int]*override{}
		}
		c.over[i] = e.over
	}
}

func (c *chunk) setInfo(i int, info string) {
	if c.info == nil {
		c.info = map[int]string{}
	}
	c.info[i] = info
}

func (c *chunk) entry(i int) entry {
	return entry{c.uid[i], c.flags[i], c.modseq[i], atomic.LoadInt64(&c.wire[i]), atomic.LoadInt64(&c.received[i]), c.saved[i], atomic.LoadInt64(&c.cache[i]), c.state[i],
		c.inode[i], string(c.key(i)), c.info[i], c.over[i], c.letters}
}

// unseen is how many messages have not been seen.
func (c *chunk) unseen() (n int) {
	for _, flags := range c.flags {
		if flags&Seen == 0 {
			n++
		}
	}
	return n
}

// without is the chunk less the messages gone says.
func (c *chunk) without(gone func(uid uint32) bool) *chunk {
	out := &chunk{}
	for i := range c.uid {
		if !gone(c.uid[i]) {
			e := c.entry(i)
			out.add(&e)
		}
	}
	return out
}

// clone is a chunk whose columns can be changed; its keys stay shared until one is appended.
func (c *chunk) clone() *chunk {
	d := *c
	d.uid = append(make([]uint32, 0, len(c.uid)+1), c.uid...)
	d.flags = append(make([]Flags, 0, len(c.uid)+1), c.flags...)
	d.modseq = append(make([]uint64, 0, len(c.uid)+1), c.modseq...)
	d.wire, d.received, d.cache = learning(c.wire), learning(c.received), learning(c.cache)
	d.saved = append(make([]int64, 0, len(c.uid)+1), c.saved...)
	d.state = append(make([]state, 0, len(c.uid)+1), c.state...)
	d.inode = append(make([]uint32, 0, len(c.uid)+1), c.inode...)
	d.end = append(make([]uint32, 0, len(c.uid)+1), c.end...)
	d.keys = c.keys[:len(c.keys):len(c.keys)]
	d.info, d.over = copyMap(c.info), copyMap(c.over)
	return &d
}

// reflagged is a chunk whose flags, mod-sequences and states can be changed; the other columns stay shared.
func (c *chunk) reflagged() *chunk {
	d := *c
	d.flags, d.modseq, d.state = slices.Clone(c.flags), slices.Clone(c.modseq), slices.Clone(c.state)
	d.info = copyMap(c.info)
	return &d
}

// put changes entry j of a chunk that reflagged made: the message has the same key.
func (c *chunk) put(j int, e *entry) {
	c.flags[j], c.modseq[j], c.state[j] = e.flags, e.modseq, e.state
	if c.saved[j] != e.saved {
		c.saved = slices.Clone(c.saved)
		c.saved[j] = e.saved
	}
	if e.inode != 0 && c.inode[j] != e.inode {
		c.inode = slices.Clone(c.inode)
		c.inode[j] = e.inode
	}
	for _, learnt := range []struct{ to, is *int64 }{{&c.wire[j], &e.wire}, {&c.received[j], &e.received}, {&c.cache[j], &e.cache}} {
		if *learnt.is > 0 {
			atomic.StoreInt64(learnt.to, *learnt.is)
		}
	}
	delete(c.info, j)
	if e.state&irregular != 0 {
		c.setInfo(j, e.info)
	}
}

// learning is a copy of a column that others may be filling in.
func learning(column []int64) []int64 {
	out := make([]int64, len(column), len(column)+1)
	for i := range column {
		out[i] = atomic.LoadInt64(&column[i])
	}
	return out
}

func copyMap[V any](m map[int]V) map[int]V {
	if m == nil {
		return nil
	}
	out := make(map[int]V, len(m))
	for k, v := range m {
		out[k] = v
	}
	return out
}

// perMessage is how many octets of a block a message takes, but for its key.
const perMessage = 4 + 8 + 8 + 4*8 + 1 + 4 + 4

// encode writes the chunk as a block of mb-index, mb-index(5).
func (c *chunk) encode(b []byte) []byte {
	le := binary.LittleEndian
	n := c.len()
	at := len(b)
	b = slices.Grow(b, n*perMessage+len(c.keys)+2)[:at+n*perMessage]
	out := b[at:]
	for i, v := range c.uid {
		le.PutUint32(out[4*i:], v)
	}
	out = out[4*n:]
	for i, v := range c.flags {
		le.PutUint64(out[8*i:], uint64(v))
	}
	out = out[8*n:]
	for i, v := range c.modseq {
		le.PutUint64(out[8*i:], v)
	}
	out = out[8*n:]
	for _, column := range [][]int64{c.wire, c.received, c.saved, c.cache} {
		for i := range column {
			le.PutUint64(out[8*i:], uint64(atomic.LoadInt64(&column[i])))
		}
		out = out[8*n:]
	}
	for i, v := range c.state {
		out[i] = byte(v)
	}
	out = out[n:]
	for _, column := range [][]uint32{c.inode, c.end} {
		for i, v := range column {
			le.PutUint32(out[4*i:], v)
		}
		out = out[4*n:]
	}
	b = append(b, c.keys...)
	b = binary.AppendUvarint(b, uint64(len(c.info)))
	for i, s := range c.info {
		b = appendText(binary.AppendUvarint(b, uint64(i)), s)
	}
	b = binary.AppendUvarint(b, uint64(len(c.over)))
	for i, o := range c.over {
		b = appendText(appendText(binary.AppendUvarint(b, uint64(i)), o.guid), o.uidl)
	}
	return b
}

// decodeChunk reads a block of n messages; nil when it is not one.
func decodeChunk(b []byte, n int) *chunk {
	if n < 0 || n > 1<<20 || len(b) < n*perMessage {
		return nil
	}
	le := binary.LittleEndian
	d := decoder{b: b}
	c := &chunk{
		uid: make([]uint32, n), flags: make([]Flags, n), modseq: make([]uint64, n), wire: make([]int64, n), received: make([]int64, n),
		saved: make([]int64, n), cache: make([]int64, n), state: make([]state, n), inode: make([]uint32, n), end: make([]uint32, n),
	}
	in := d.take(4 * n)
	for i := range c.uid {
		c.uid[i] = le.Uint32(in[4*i:])
		if i > 0 && c.uid[i] <= c.uid[i-1] {
			return nil
		}
	}
	in = d.take(8 * n)
	for i := range c.flags {
		c.flags[i] = Flags(le.Uint64(in[8*i:]))
	}
	in = d.take(8 * n)
	for i := range c.modseq {
		c.modseq[i] = le.Uint64(in[8*i:])
	}
	for _, column := range [][]int64{c.wire, c.received, c.saved, c.cache} {
		in = d.take(8 * n)
		for i := range column {
			column[i] = int64(le.Uint64(in[8*i:]))
		}
	}
	for i, v := range d.take(n) {
		c.state[i] = state(v)
	}
	in = d.take(4 * n)
	for i := range c.inode {
		c.inode[i] = le.Uint32(in[4*i:])
	}
	last := uint32(0)
	in = d.take(4 * n)
	for i := range c.end {
		c.end[i] = le.Uint32(in[4*i:])
		if c.end[i] < last {
			return nil
		}
		last = c.end[i]
	}
	c.keys = slices.Clone(d.take(int(last)))
	for k := d.count(n); k > 0; k-- {
		i := d.count(n)
		c.setInfo(i, d.text())
	}
	for k := d.count(n); k > 0; k-- {
		i := d.count(n)
		if c.over == nil {
			c.over = map[int]*override{}
		}
		c.over[i] = &override{d.text(), d.text()}
	}
	if d.bad {
		return nil
	}
	return c
}

// decoder reads binary; after the first thing that is not there everything is zero and bad is set.
type decoder struct {
	b   []byte
	bad bool
}

func (d *decoder) take(n int) []byte {
	if n < 0 || n > len(d.b) {
		d.bad, d.b = true, nil
		return nil
	}
	out := d.b[:n]
	d.b = d.b[n:]
	return out
}

func (d *decoder) byte() byte {
	if b := d.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (d *decoder) u32() uint32 {
	if b := d.take(4); b != nil {
		return binary.LittleEndian.Uint32(b)
	}
	return 0
}

func (d *decoder) u64() uint64 {
	if b := d.take(8); b != nil {
		return binary.LittleEndian.Uint64(b)
	}
	return 0
}

func (d *decoder) uvarint() uint64 {
	v, n := binary.Uvarint(d.b)
	if n <= 0 {
		d.bad, d.b = true, nil
		return 0
	}
	d.b = d.b[n:]
	return v
}

// count is a number of at most max.
func (d *decoder) count(max int) int {
	v := d.uvarint()
	if v > uint64(max) {
		d.bad, d.b = true, nil
		return 0
	}
	return int(v)
}

func (d *decoder) text() string { return string(d.take(d.count(len(d.b)))) }

func appendText(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}
