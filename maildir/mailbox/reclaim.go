package mailbox

import (
	"cmp"
	"context"
	"encoding/binary"
	"hash/crc32"
	"slices"
	"sync/atomic"

	"pennypost/internal/durable"
)

// deadMost is how many octets of mb-cache may be of no use to anybody before it is worth writing anew.
var deadMost int64 = 4 << 20

// reclaim writes mb-cache anew when more than half of it is dead: records of messages that went, of which more was wanted later, or whose place was
// forgotten. Whoever has the old file open reads on in it; an offset into the wrong one of the two finds no record of its message, and the message
// is parsed again. A crash leaves mb-cache.tmp, which the next one replaces, or the new file and an index with offsets into the old one.
func (f *Folder) reclaim() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.opened || f.view == nil || f.cacheSize <= max(f.cacheFine, deadMost+int64(f.totals.messages)<<10) {
		return
	}
	f.cacheFine = f.cacheSize + f.cacheSize/4 // the next time that it is worth a look
	unlock, err := f.lock(context.Background())
	if err != nil {
		return
	}
	defer unlock()
	if f.catchUp() != nil || f.load() != nil {
		f.opened = false
		return
	}
	old, err := f.disk.Open(cacheName)
	if err != nil {
		return
	}
	defer old.Close()
	info, err := old.Stat()
	if err != nil {
		return
	}
	live := f.cached()
	dead := info.Size - octetsOf(old, live)
	if dead <= max(deadMost, info.Size/2) {
		return
	}
	size, err := f.rewriteCache(old, live)
	if err != nil {
		f.disk.Remove(cacheName + ".tmp")
		return
	}
	f.cacheSize, f.cacheFine = size, 0
	if f.startOver() != nil {
		f.opened = false
	}
}

// spot is a message whose record is in mb-cache.
type spot struct {
	at *int64
	is int64 // the offset
	to int64 // in the new file; 0: it has none
	id uint32
}

// cached is the messages with a record, in the order of the file.
func (f *Folder) cached() []spot {
	var live []spot
	for _, s := range f.view.slots {
		c := s.get()
		for j := range c.cache {
			if is := atomic.LoadInt64(&c.cache[j]); is > 0 {
				live = append(live, spot{at: &c.cache[j], is: is, id: c.uid[j]})
			}
		}
	}
	slices.SortFunc(live, func(a, b spot) int { return cmp.Compare(a.is, b.is) })
	return live
}

// octetsOf is what the records take, judged by some of them.
func octetsOf(file durable.File, live []spot) int64 {
	const looked = 256
	sum, n := int64(0), int64(0)
	head := make([]byte, 12)
	for i := 0; i < len(live); i += len(live)/looked + 1 {
		n++
		if got, _ := file.ReadAt(head, live[i].is); got == len(head) && binary.LittleEndian.Uint32(head[8:]) == live[i].id {
			sum += 12 + int64(min(binary.LittleEndian.Uint32(head), longestRecord))
		}
	}
	if n == 0 {
		return 0
	}
	return sum / n * int64(len(live))
}

// rewriteCache makes mb-cache of the records that are still the messages', and says where they are then.
func (f *Folder) rewriteCache(old durable.File, live []spot) (size int64, err error) {
	temp := cacheName + ".tmp"
	f.disk.Remove(temp)
	w, err := f.disk.Create(temp, 0o600)
	if err != nil {
		return 0, err
	}
	defer w.Close()
	buf := binary.LittleEndian.AppendUint64([]byte(cacheMagic), chance())
	for i := range live {
		s := &live[i]
		at := len(buf)
		buf = append(buf, make([]byte, 12)...)
		if n, _ := old.ReadAt(buf[at:], s.is); n < 12 {
			buf = buf[:at]
			continue
		}
		length := int(binary.LittleEndian.Uint32(buf[at:]))
		if length > longestRecord || binary.LittleEndian.Uint32(buf[at+8:]) != s.id {
			buf = buf[:at]
			continue
		}
		sum := binary.LittleEndian.Uint32(buf[at+4:])
		buf = append(buf, make([]byte, length)...)
		if n, _ := old.ReadAt(buf[at+12:], s.is+12); n < length || crc32.Checksum(buf[at+8:], castagnoli) != sum {
			buf = buf[:at]
			continue
		}
		s.to = size + int64(at)
		if len(buf) > 1<<20 {
			if _, err := w.Write(buf); err != nil {
				return 0, err
			}
			size, buf = size+int64(len(buf)), buf[:0]
		}
	}
	if _, err := w.Write(buf); err != nil {
		return 0, err
	}
	if err := f.disk.Rename(temp, cacheName); err != nil { // a cache: after a power cut it is made again
		return 0, err
	}
	for _, s := range live {
		atomic.StoreInt64(s.at, s.to)
	}
	return size + int64(len(buf)), nil
}
