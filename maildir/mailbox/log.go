package mailbox

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"

	"pennypost/internal/durable"
)

// The form of mb-log.GEN, mb-index(5): a head, then records: length, crc, body, length again, so that the last one can be read
// from the end. A record is written with one write(2); what follows a bad or short one does not count.
const logMagic = "mblog2\n\x00"

const logHead = len(logMagic) + 8 + 12 // magic, generation, boot id

const logPrefix = "mb-log."

func logName(gen uint64) string { return fmt.Sprintf("%s%d", logPrefix, gen) }

// kinds of records.
const (
	recAdd    = 'A' // messages at the end
	recFlags  = 'F' // messages whose flags, place or name changed
	recGone   = 'X' // messages that went
	recState  = 'D' // only the totals changed
	recRotate = 'R' // go on with the next generation
)

// record is one change to a folder.
type record struct {
	kind   byte
	added  []entry
	flags  []entry // uid, flags, modseq, state, info; wire and received when they were learnt; key when it changed
	gone   []uint32
	modseq uint64 // of recGone
	totals totals
}

// encode writes the record in its frame.
func (r *record) encode(b []byte) []byte {
	at := len(b)
	b = append(b, make([]byte, 8)...)
	b = append(b, r.kind)
	le := binary.LittleEndian
	switch r.kind {
	case recAdd, recFlags:
		list := r.added
		if r.kind == recFlags {
			list = r.flags
		}
		b = binary.AppendUvarint(b, uint64(len(list)))
		for i := range list {
			b = appendEntry(b, &list[i])
		}
	case recGone:
		b = le.AppendUint64(b, r.modseq)
		b = binary.AppendUvarint(b, uint64(len(r.gone)))
		for _, uid := range r.gone {
			b = le.AppendUint32(b, uid)
		}
	}
	b = r.totals.append(b)
	length := uint32(len(b) - at - 8)
	le.PutUint32(b[at:], length)
	le.PutUint32(b[at+4:], crc32.Checksum(b[at+8:], castagnoli))
	return le.AppendUint32(b, length)
}

func appendEntry(b []byte, e *entry) []byte {
	le := binary.LittleEndian
	b = le.AppendUint32(b, e.uid)
	b = le.AppendUint64(b, uint64(e.flags))
	b = le.AppendUint64(b, e.modseq)
	for _, v := range []int64{e.wire, e.received, e.saved, e.cache} {
		b = le.AppendUint64(b, uint64(v))
	}
	b = le.AppendUint32(append(b, byte(e.state)), e.inode)
	b = appendText(appendText(b, e.key), e.info)
	if e.over == nil {
		return append(b, 0)
	}
	return appendText(appendText(append(b, 1), e.over.guid), e.over.uidl)
}

func (d *decoder) entry() (e entry) {
	e.uid, e.flags, e.modseq = d.u32(), Flags(d.u64()), d.u64()
	e.wire, e.received, e.saved, e.cache = int64(d.u64()), int64(d.u64()), int64(d.u64()), int64(d.u64())
	e.state, e.inode = state(d.byte()), d.u32()
	e.key, e.info = d.text(), d.text()
	if d.byte() == 1 {
		e.over = &override{d.text(), d.text()}
	}
	return e
}

// decodeRecord reads the record at the beginning of b and its length in the file; nil when there is no whole one.
func decodeRecord(b []byte) (*record, int) {
	if len(b) < 12 {
		return nil, 0
	}
	length := int(binary.LittleEndian.Uint32(b))
	if length < 1+totalsLen || length > len(b)-12 || crc32.Checksum(b[8:8+length], castagnoli) != binary.LittleEndian.Uint32(b[4:]) {
		return nil, 0
	}
	d := decoder{b: b[8 : 8+length]}
	r := &record{kind: d.byte()}
	switch r.kind {
	case recAdd, recFlags:
		for k := d.count(length); k > 0 && !d.bad; k-- {
			e := d.entry()
			if r.kind == recAdd {
				r.added = append(r.added, e)
			} else {
				r.flags = append(r.flags, e)
			}
		}
	case recGone:
		r.modseq = d.u64()
		for k := d.count(length); k > 0 && !d.bad; k-- {
			r.gone = append(r.gone, d.u32())
		}
	case recState, recRotate:
	default:
		return nil, 0
	}
	r.totals = d.totals()
	if d.bad || len(d.b) > 0 {
		return nil, 0
	}
	return r, length + 12
}

// newLog is the head of a generation.
func newLog(gen uint64) []byte {
	b := append([]byte(logMagic), make([]byte, 8)...)
	binary.LittleEndian.PutUint64(b[len(logMagic):], gen)
	return append(b, fmt.Sprintf("%-12.12s", bootID())...)
}

// checkLog reads the head of an open log and the boot id of who began it.
func checkLog(file durable.File, gen uint64) (boot string, ok bool) {
	b := make([]byte, logHead)
	if n, _ := file.ReadAt(b, 0); n < logHead || string(b[:len(logMagic)]) != logMagic || binary.LittleEndian.Uint64(b[len(logMagic):]) != gen {
		return "", false
	}
	return string(b[len(logMagic)+8:]), true
}

// lastTotals reads the totals of the last record of a log of the given size, ok when it can be had so.
func lastTotals(file durable.File, size int64) (t totals, rotated, ok bool) {
	if size < int64(logHead)+12 {
		return t, false, false
	}
	tail := make([]byte, 4)
	if n, _ := file.ReadAt(tail, size-4); n < 4 {
		return t, false, false
	}
	length := int64(binary.LittleEndian.Uint32(tail))
	if length < 1+totalsLen || length > size-int64(logHead)-12 || length > 1<<20 {
		return t, false, false
	}
	b := make([]byte, length+12)
	if n, _ := file.ReadAt(b, size-int64(len(b))); n < len(b) {
		return t, false, false
	}
	r, n := decodeRecord(b)
	if r == nil || n != len(b) {
		return t, false, false
	}
	return r.totals, r.kind == recRotate, true
}
