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
	indexMagic = "mbindex2"
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

// encodeIndex gives the file in two parts: the head, and the blocks.
func encodeIndex(h *head, chunks []*chunk) (top, blocks []byte) {
	room := 0
	for _, c := range chunks {
		room += c.len()*perMessage + len(c.keys) + 64
	}
	blocks = make([]byte, 0, room)
	h.blocks = h.blocks[:0]
	for _, c := range chunks {
		at := len(blocks)
		blocks = c.encode(blocks)
		h.blocks = append(h.blocks, blockRef{c.len(), c.unseen(), c.uid[0], int64(at), len(blocks) - at, crc32.Checksum(blocks[at:], castagnoli)})
	}
	b := append([]byte(indexMagic), make([]byte, 8)...) // length and crc of the head
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
	le.PutUint32(b[8:], uint32(len(b)))
	le.PutUint32(b[12:], crc32.Checksum(b[16:], castagnoli))
	return b, blocks
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
	for k := d.count(length); k > 0; k-- {
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
	for i := range s.blocks {
		out[i] = stored(s, i)
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
