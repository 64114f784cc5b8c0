package mailbox

import "encoding/binary"

// totals is a folder's figures after a change. They stand in the head of mb-index and at the end of every record of
// mb-log, so that an unchanged folder of any size is opened by reading one of each.
type totals struct {
	messages    uint32
	unseen      uint32
	deleted     uint32
	recent      uint32
	uncounted   uint32 // messages whose wire size is not known yet
	size        int64  // wire octets of the others
	deletedSize int64
	uidNext     uint32
	modseq      uint64 // highest given
	uidBound    uint32 // the reservation of mb-uids
	modBound    uint64
	uidsSize    int64  // octets of mb-uids taken in
	promise     uint64 // see promise.go; 0: none
	new, cur    dirState
}

// dirState is what a directory was like when it was last looked at.
type dirState struct {
	mtime    int64  // nanoseconds
	count    uint32 // of messages in it
	sum      uint64 // of the hashes of their names
	verified bool   // a scan saw it so after our own last change
	listed   int64  // nanoseconds; what happened since it was last read, and had all messages, happened later than this
}

const totalsLen = 4*5 + 8*2 + 4 + 8 + 4 + 8 + 8 + 8 + 2*(8+4+8+1+8)

func (t *totals) append(b []byte) []byte {
	le := binary.LittleEndian
	for _, v := range []uint32{t.messages, t.unseen, t.deleted, t.recent, t.uncounted} {
		b = le.AppendUint32(b, v)
	}
	b = le.AppendUint64(b, uint64(t.size))
	b = le.AppendUint64(b, uint64(t.deletedSize))
	b = le.AppendUint32(b, t.uidNext)
	b = le.AppendUint64(b, t.modseq)
	b = le.AppendUint32(b, t.uidBound)
	b = le.AppendUint64(b, t.modBound)
	b = le.AppendUint64(b, uint64(t.uidsSize))
	b = le.AppendUint64(b, t.promise)
	for _, d := range []dirState{t.new, t.cur} {
		b = le.AppendUint64(b, uint64(d.mtime))
		b = le.AppendUint32(b, d.count)
		b = le.AppendUint64(b, d.sum)
		if d.verified {
			b = append(b, 1)
		} else {
			b = append(b, 0)
		}
		b = le.AppendUint64(b, uint64(d.listed))
	}
	return b
}

func (d *decoder) totals() (t totals) {
	for _, v := range []*uint32{&t.messages, &t.unseen, &t.deleted, &t.recent, &t.uncounted} {
		*v = d.u32()
	}
	t.size, t.deletedSize = int64(d.u64()), int64(d.u64())
	t.uidNext = d.u32()
	t.modseq = d.u64()
	t.uidBound = d.u32()
	t.modBound = d.u64()
	t.uidsSize = int64(d.u64())
	t.promise = d.u64()
	for _, s := range []*dirState{&t.new, &t.cur} {
		*s = dirState{int64(d.u64()), d.u32(), d.u64(), d.byte() == 1, int64(d.u64())}
	}
	return t
}

// count adds a message to the totals (by = 1) or takes it away (by = -1).
func (t *totals) count(e *entry, by int) {
	n := uint32(by)
	t.messages += n
	if e.flags&Seen == 0 {
		t.unseen += n
	}
	if e.state&recent != 0 {
		t.recent += n
	}
	wire := e.wire
	if wire < 0 {
		t.uncounted += n
		wire = 0
	}
	t.size += wire * int64(by)
	if e.flags&Deleted != 0 {
		t.deleted += n
		t.deletedSize += wire * int64(by)
	}
}
