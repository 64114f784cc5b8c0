package mailbox

import (
	"encoding/binary"
	"hash/crc32"
	"runtime"
	"sync/atomic"

	"pennypost/internal/durable"
)

// The form of mb-index, mb-index(5): a head, a directory of blocks, the blocks.
const (
	indexName  = "mb-index"
	indexMagic = "mbindex3"
)

// head is what mb-index says before its blocks.
type head struct {
	validity uint32
	id       string
	gen      uint64 // of the log that goes on from here
	boot     string // of the writer
	totals   totals
	letters  string     // the K lines of mb-uids
	lost     []interval // of mod-sequences whose changes may be forgotten
	blocks   []blockRef
}

// interval is mod-sequences above from and below to.
type interval struct{ from, to uint64 }

// blockRef is one chunk in the file.
type blockRef struct {
	n      int
	unseen int
	first  uint32
	offset int64
	length int
	crc    uint32
}

// snapshot is an open mb-index. The file is never written again, so that readers need no lock. It is closed with the folder; one that was
// replaced is closed when no view refers to it any more, but at the latest then.
type snapshot struct {
	head
	meaning *letterMap
	file    durable.File
	bad     atomic.Bool
	cleanup runtime.Cleanup
}

// close closes the file. Nobody may read a view of the folder afterwards.
func (s *snapshot) close() {
	s.cleanup.Stop()
	s.file.Close()
}

// longestRef is the most a block takes in the head.
const longestRef = 3*binary.MaxVarintLen32 + binary.MaxVarintLen64 + 4 + 4

// shortestRef is the least: no head has more of them than this leaves room for.
const shortestRef = 4 + 4 + 4

// writeIndex writes the file: blocks as they are encoded, and in front of them the head, with zeros behind it up to where the blocks begin.
func writeIndex(w durable.File, h *head, chunks []*chunk) error {
	h.blocks = make([]blockRef, 0, len(chunks))
	room := len(h.encode()) + binary.MaxVarintLen64 + len(chunks)*longestRef
	size := room
	for _, c := range chunks[:min(len(chunks), 8)] {
		size += c.len()*perMessage + len(c.keys) + 64
	}
	b := make([]byte, room, max(size, 256<<10))
	written := 0
	for _, c := range chunks {
		at := len(b)
		b = c.encode(b)
		h.blocks = append(h.blocks, blockRef{c.len(), c.unseen(), c.uid[0], int64(written + at - room), len(b) - at, crc32.Checksum(b[at:], castagnoli)})
		if len(b) > 1<<20 {
			if _, err := w.Write(b); err != nil {
				return err
			}
			written, b = written+len(b), b[:0]
		}
	}
	top := h.encode()
	top = append(top, make([]byte, room-len(top))...)
	le := binary.LittleEndian
	le.PutUint32(top[8:], uint32(len(top)))
	le.PutUint32(top[12:], crc32.Checksum(top[16:], castagnoli))
	if written == 0 {
		copy(b, top)
		_, err := w.Write(b)
		return err
	}
	_, err := w.Write(b)
	if err == nil {
		_, err = w.WriteAt(top, 0)
	}
	return err
}

// encode is the head; its length and crc are filled in later.
func (h *head) encode() []byte {
	b := append([]byte(indexMagic), make([]byte, 8)...)
	le := binary.LittleEndian
	b = le.AppendUint32(b, h.validity)
	b = appendText(b, h.id)
	b = le.AppendUint64(b, h.gen)
	b = appendText(b, h.boot)
	b = appendText(b, h.letters)
	b = h.totals.append(b)
	b = binary.AppendUvarint(b, uint64(len(h.lost)))
	for _, l := range h.lost {
		b = le.AppendUint64(le.AppendUint64(b, l.from), l.to)
	}
	b = binary.AppendUvarint(b, uint64(len(h.blocks)))
	for _, r := range h.blocks {
		b = binary.AppendUvarint(binary.AppendUvarint(b, uint64(r.n)), uint64(r.unseen))
		b = le.AppendUint32(b, r.first)
		b = binary.AppendUvarint(b, uint64(r.offset))
		b = binary.AppendUvarint(b, uint64(r.length))
		b = le.AppendUint32(b, r.crc)
	}
	return b
}

// openSnapshot reads the head of an open mb-index; nil when it is not one, and the file is closed then.
func openSnapshot(file durable.File) *snapshot {
	s := readSnapshot(file)
	if s == nil {
		file.Close()
		return nil
	}
	s.cleanup = runtime.AddCleanup(s, func(f durable.File) { f.Close() }, file)
	return s
}

func readSnapshot(file durable.File) *snapshot {
	first := make([]byte, 4096)
	n, _ := file.ReadAt(first, 0)
	first = first[:n]
	if n < 16 || string(first[:8]) != indexMagic {
		return nil
	}
	length := int(binary.LittleEndian.Uint32(first[8:]))
	if length < 16 || length > 64<<20 {
		return nil
	}
	if length > n {
		first = append(first[:0], make([]byte, length)...)
		if n, _ := file.ReadAt(first, 0); n < length {
			return nil
		}
	}
	first = first[:length]
	if crc32.Checksum(first[16:], castagnoli) != binary.LittleEndian.Uint32(first[12:16]) {
		return nil
	}
	d := decoder{b: first[16:]}
	s := &snapshot{file: file}
	s.validity, s.id, s.gen, s.boot, s.head.letters, s.totals = d.u32(), d.text(), d.u64(), d.text(), d.text(), d.totals()
	for k := d.count(1000); k > 0; k-- {
		s.lost = append(s.lost, interval{d.u64(), d.u64()})
	}
	k := d.count(len(d.b) / shortestRef)
	s.blocks = make([]blockRef, 0, k) // grown by append they take three times the memory, and a young process collects its garbage within SELECT
	for range k {
		r := blockRef{n: d.count(1 << 20), unseen: d.count(1 << 20), first: d.u32(), offset: int64(length) + int64(d.count(1<<50)), length: d.count(1 << 30), crc: d.u32()}
		s.blocks = append(s.blocks, r)
	}
	if d.bad {
		return nil
	}
	return s
}

// slots are the chunks of the snapshot, none of them read yet.
func (s *snapshot) slots() []*slot {
	out := make([]*slot, len(s.blocks))
	slots, due := make([]slot, len(s.blocks)), make([]owed, len(s.blocks)) // a piece of memory each would be most of the work of SELECT
	for i := range s.blocks {
		due[i] = owed{from: s, block: i}
		out[i] = &slots[i]
		out[i].n, out[i].first = s.blocks[i].n, s.blocks[i].first
		out[i].owed.Store(&due[i])
	}
	return out
}

// chunk reads block i. Where the cache is damaged it gives a chunk of n messages that are in no file, which the next look will
// replace after marking the snapshot bad.
func (s *snapshot) chunk(i, n int) *chunk {
	r := s.blocks[i]
	b := make([]byte, r.length)
	if got, _ := s.file.ReadAt(b, r.offset); got == r.length && crc32.Checksum(b, castagnoli) == r.crc {
		if c := decodeChunk(b, n); c != nil {
			c.letters = s.meaning
			return c
		}
	}
	s.bad.Store(true)
	return blanks(r.first, n)
}

// blanks is a chunk of messages that are in no file.
func blanks(first uint32, n int) *chunk {
	c := &chunk{}
	for k := range n {
		c.add(&entry{uid: first + uint32(k)})
	}
	return c
}
