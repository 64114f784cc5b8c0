package mailbox

import (
	"context"
	"encoding/binary"
	"hash/crc32"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// keysName holds blocks of keys, mb-index(5): a head with UIDVALIDITY, then frames: length, crc, number of the block, highest UID that
// was looked at, the block. Of one block the last frame counts. It is a cache: whoever finds it damaged removes it.
const (
	keysName  = "mb-keys"
	keysMagic = "mbkeys01"
	keysFrame = 16

	keysLongest = keyBlock * (rowSize + longestKeys + 1<<10) // of a block
	keysLeast   = 64                                         // messages worth a frame
	keysUnknown = 8                                          // of a block that are parsed for it; more wait for somebody who wants their records
)

// keysMost bounds what all folders of the process keep in memory; what is over is let go of, the folder first that was used longest ago.
var keysMost = int64(64 << 20)

// keysIdle is how long keys are kept in memory that nobody looks at.
const keysIdle = 5 * time.Minute

// ordersMost is how many orders of SORT are remembered of a folder.
const ordersMost = 6

// keyRoom is the keys of a folder as far as they are in memory, shared by its sessions.
type keyRoom struct {
	mu       sync.Mutex
	validity uint32
	blocks   map[uint32]*Keys
	frames   map[uint32]frame // where mb-keys has them; nil: nobody has looked
	orders   []order
	octets   int64
	used     atomic.Int64 // evenly
	idle     *time.Timer  // nil: nothing is kept
}

// frame is a block in mb-keys.
type frame struct {
	at     int64
	length int
	seen   uint32
}

// order is all messages of a folder as a SORT had them.
type order struct {
	criteria string
	uidNext  uint32 // with messages: no others have come or gone since
	messages int
	list     []int32 // indexes in the view
}

// rooms is every keyRoom that keeps something.
var rooms struct {
	sync.Mutex
	list   []*keyRoom
	octets int64
}

// Keys is the block of keys that message i is in; nil where it is not known, or where the message is not in it: then its record has to
// be asked.
func (r *Reader) Keys(i int) *Keys {
	c, j := r.v.at(i)
	uid := c.uid[j]
	if k := r.keys; !r.looked || r.block != uid/keyBlock {
		r.looked, r.block = true, uid/keyBlock
		r.keys = r.v.keysOf(r, uid/keyBlock)
	} else if k == nil {
		return nil
	}
	if r.keys == nil || r.keys.row(uid) < 0 {
		return nil
	}
	return r.keys
}

// SortKeys is the message's record with nothing filled in for certain but what SORT and THREAD compare. It is valid until the next call.
func (r *Reader) SortKeys(i int) (*Record, error) {
	if k := r.Keys(i); k != nil {
		k.record(k.row(r.v.UID(i)), &r.sorted)
		return &r.sorted, nil
	}
	record, err := r.Head(i)
	if err != nil {
		return nil, err
	}
	r.sorted = Record{}
	r.sorted.sortKeys(record.fields())
	return &r.sorted, nil
}

// keysOf is a block: from memory, from mb-keys, or made of the records.
func (v *View) keysOf(r *Reader, block uint32) *Keys {
	from, _ := v.Find(max(block*keyBlock, 1))
	to := v.Len()
	if block < 1<<24-1 {
		to, _ = v.Find((block + 1) * keyBlock)
	}
	last := v.UID(to - 1)
	room := &v.folder.keys
	k, known := room.get(v, block)
	if k == nil && known.length > 0 {
		if k = v.readKeys(r, block, known); k != nil {
			room.put(v, k)
		}
	}
	if k != nil && k.seen >= last {
		return k
	}
	if k == nil {
		k = &Keys{block: block}
	}
	g := v.makeKeys(k, from, to)
	if g == nil {
		return nil
	}
	room.put(v, g)
	r.made, r.fresh = append(r.made, g), r.fresh+len(g.rows)-len(k.rows)
	return g
}

// makeKeys is the block with the messages that have come since it was made; nil where too much would have to be parsed for it.
func (v *View) makeKeys(k *Keys, from, to int) *Keys {
	for from < to && v.UID(from) <= k.seen {
		from++
	}
	unknown := 0
	for i := from; i < to; i++ {
		if c, j := v.at(i); atomic.LoadInt64(&c.cache[j]) <= 0 {
			if unknown++; unknown > keysUnknown {
				return nil
			}
		}
	}
	g := k.grown()
	records := v.Reader()
	defer records.Close()
	for i := from; i < to; i++ {
		record, err := records.Head(i)
		if err != nil { // gone, or it cannot be read: those who ask for its record are told
			g.seen = v.UID(i)
			continue
		}
		record.sortKeys(record.fields())
		g.add(v.UID(i), record)
	}
	return g
}

// get is the block in memory, and where mb-keys has it.
func (room *keyRoom) get(v *View, block uint32) (*Keys, frame) {
	room.mu.Lock()
	defer room.mu.Unlock()
	room.fit(v)
	room.used.Store(evenly())
	if room.frames == nil {
		room.frames, _ = v.folder.keyFrames(room.validity)
	}
	return room.blocks[block], room.frames[block]
}

// fit begins anew after UIDVALIDITY has changed. room.mu is held.
func (room *keyRoom) fit(v *View) {
	if room.validity != v.counts.UIDValidity {
		room.validity, room.blocks, room.frames, room.orders = v.counts.UIDValidity, nil, nil, nil
	}
}

func (room *keyRoom) put(v *View, k *Keys) {
	room.mu.Lock()
	defer room.mu.Unlock()
	room.fit(v)
	have := room.blocks[k.block]
	if have != nil && have.seen >= k.seen {
		return
	}
	if room.blocks == nil {
		room.blocks = map[uint32]*Keys{}
	}
	room.blocks[k.block] = k
	n := int64(k.size())
	if have != nil {
		n -= int64(have.size())
	}
	room.grow(n)
}

// grow counts what the room keeps, and lets go of what is too much. room.mu is held.
func (room *keyRoom) grow(n int64) {
	room.octets += n
	if room.idle == nil {
		room.idle = time.AfterFunc(keysIdle, room.rest)
	}
	rooms.Lock()
	defer rooms.Unlock()
	if !slices.Contains(rooms.list, room) {
		rooms.list = append(rooms.list, room)
	}
	for rooms.octets += n; rooms.octets > keysMost; {
		oldest := rooms.list[0]
		for _, other := range rooms.list {
			if other.used.Load() < oldest.used.Load() {
				oldest = other
			}
		}
		if oldest != room && !oldest.mu.TryLock() { // in use this moment
			oldest = room
		}
		oldest.drop()
		if oldest == room {
			return
		}
		oldest.mu.Unlock()
	}
}

// drop lets go of what is kept in memory. The locks of the room and of rooms are held.
func (room *keyRoom) drop() {
	rooms.octets -= room.octets
	rooms.list = slices.DeleteFunc(rooms.list, func(other *keyRoom) bool { return other == room })
	room.octets, room.blocks, room.orders = 0, nil, nil
	if room.idle != nil {
		room.idle.Stop()
		room.idle = nil
	}
}

// rest drops what nobody has looked at for long.
func (room *keyRoom) rest() {
	room.mu.Lock()
	defer room.mu.Unlock()
	if room.idle == nil {
		return
	}
	if left := keysIdle - time.Duration(evenly()-room.used.Load()); left > 0 {
		room.idle.Reset(left)
		return
	}
	rooms.Lock()
	defer rooms.Unlock()
	room.drop()
}

// Order is all messages of the view, by index, in the order that was kept under these criteria; nil when there is none. It is not to be
// changed.
func (v *View) Order(criteria string) []int32 {
	room := &v.folder.keys
	room.mu.Lock()
	defer room.mu.Unlock()
	room.fit(v)
	room.used.Store(evenly())
	for _, o := range room.orders {
		if o.criteria == criteria && o.uidNext == v.counts.UIDNext && o.messages == v.Len() {
			return o.list
		}
	}
	return nil
}

// KeepOrder remembers an order for as long as messages neither come nor go.
func (v *View) KeepOrder(criteria string, list []int32) {
	room := &v.folder.keys
	room.mu.Lock()
	defer room.mu.Unlock()
	room.fit(v)
	n := int64(4 * len(list))
	room.orders = slices.DeleteFunc(room.orders, func(o order) bool {
		gone := o.criteria == criteria || len(room.orders) >= ordersMost && o.criteria == room.orders[0].criteria
		if gone {
			n -= int64(4 * len(o.list))
		}
		return gone
	})
	room.orders = append(room.orders, order{criteria, v.counts.UIDNext, v.Len(), list})
	room.grow(n)
}

func keysHead(validity uint32) []byte {
	b := binary.LittleEndian.AppendUint32([]byte(keysMagic), validity)
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

// keyFrames finds the blocks of mb-keys; end is where the last frame ends, 0 when the file is none of this folder.
func (f *Folder) keyFrames(validity uint32) (frames map[uint32]frame, end int64) {
	frames = map[uint32]frame{}
	file, err := f.disk.Open(keysName)
	if err != nil {
		return frames, 0
	}
	defer file.Close()
	info, err := file.Stat()
	head := keysHead(validity)
	b := make([]byte, max(len(head), keysFrame))
	if n, _ := file.ReadAt(b[:len(head)], 0); err != nil || n < len(head) || string(b[:n]) != string(head) {
		return frames, 0
	}
	end = int64(len(head))
	for end+keysFrame <= info.Size {
		b := b[:keysFrame]
		if n, _ := file.ReadAt(b, end); n < keysFrame {
			break
		}
		le := binary.LittleEndian
		fr := frame{end, int(le.Uint32(b)), le.Uint32(b[12:])}
		if fr.length == 0 || fr.length > keysLongest || end+keysFrame+int64(fr.length) > info.Size {
			break
		}
		frames[le.Uint32(b[8:])] = fr
		end += keysFrame + int64(fr.length)
	}
	return frames, end
}

// readKeys reads a block of mb-keys.
func (v *View) readKeys(r *Reader, block uint32, at frame) *Keys {
	if r.keysFile == nil {
		file, err := v.folder.disk.Open(keysName)
		if err != nil {
			return nil
		}
		r.keysFile = file
	}
	b := make([]byte, keysFrame+at.length)
	n, _ := r.keysFile.ReadAt(b, at.at)
	le := binary.LittleEndian
	if n < len(b) || int(le.Uint32(b)) != at.length || le.Uint32(b[8:]) != block || crc32.Checksum(b[8:], castagnoli) != le.Uint32(b[4:]) {
		return nil // replaced, or damaged: it is made again, and written behind
	}
	k := &Keys{block: block, seen: le.Uint32(b[12:])}
	if k.seen != at.seen || !k.decode(b[keysFrame:]) {
		return nil
	}
	return k
}

// keepKeys writes the blocks that were made to mb-keys.
func (r *Reader) keepKeys() {
	v, f := r.v, r.v.folder
	room := &f.keys
	var b []byte
	le := binary.LittleEndian
	ends := make([]frame, len(r.made))
	for i, k := range r.made {
		at := len(b)
		b = append(b, make([]byte, 8)...)
		b = le.AppendUint32(le.AppendUint32(b, k.block), k.seen)
		b = k.encode(b)
		ends[i] = frame{int64(at), len(b) - at - keysFrame, k.seen}
		le.PutUint32(b[at:], uint32(ends[i].length))
		le.PutUint32(b[at+4:], crc32.Checksum(b[at+8:], castagnoli))
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	unlock, err := f.lock(context.Background())
	if err != nil {
		return
	}
	defer unlock()
	room.mu.Lock()
	defer room.mu.Unlock()
	if room.fit(v); room.validity != f.validity {
		return
	}
	frames, end := f.keyFrames(room.validity)
	info, err := f.disk.Stat(keysName)
	whole := 0
	for _, fr := range frames {
		whole += keysFrame + fr.length
	}
	if err == nil && (info.Size != end || end > int64(2*(whole+len(b)))+1<<20) { // torn, another folder's, or most of it is old
		f.disk.Remove(keysName)
		frames, end = map[uint32]frame{}, 0
	}
	if end == 0 {
		head := keysHead(room.validity)
		b = append(head, b...)
		for i := range ends {
			ends[i].at += int64(len(head))
		}
	}
	w, err := f.disk.Append(keysName, 0o600)
	if err != nil {
		return
	}
	defer w.Close()
	if n, err := w.Write(b); err != nil || n != len(b) {
		room.frames = nil
		return
	}
	for i, k := range r.made {
		ends[i].at += end
		frames[k.block] = ends[i]
	}
	room.frames = frames
}

// closeKeys ends what the reader did with keys.
func (r *Reader) closeKeys() {
	if r.fresh >= keysLeast {
		r.keepKeys()
	}
	r.made, r.fresh, r.keys, r.looked = nil, 0, nil, false
	if r.keysFile != nil {
		r.keysFile.Close()
		r.keysFile = nil
	}
}
