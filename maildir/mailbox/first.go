package mailbox

import (
	"bytes"
	"cmp"
	"math"
	"slices"
	"time"

	"pennypost/maildir"
)

// firstPiece is how many UIDs are written down at a time when a folder gets its first.
const firstPiece = 16 * chunkLen

// arrival is what a file name of a first listing says of the order of UIDs.
type arrival struct {
	sec, usec, seq uint32
	at             uint32 // in new/, then in cur/
}

// clip is a number of a name, or the greatest there is room for: then the names themselves decide.
func clip(n int64) uint32 { return uint32(min(uint64(n), math.MaxUint32)) }

// syncFirst takes in a folder of which nothing is known: no message of it is held as an entry, so that a million take little more memory
// than their names and columns. done is false where two files have one key: that is for others to find out.
func (f *Folder) syncFirst(found *findings) (done bool, err error) {
	names := func(i uint32) (l *listing, at int) {
		if n := len(found.new.end); int(i) >= n {
			return found.cur, int(i) - n
		}
		return found.new, int(i)
	}
	key := func(i uint32) (key, info []byte) {
		l, at := names(i)
		name := l.name(at)
		if k := bytes.IndexByte(name, ':'); k >= 0 {
			return name[:k], name[k:]
		}
		return name, nil
	}
	order := make([]arrival, len(found.new.end)+len(found.cur.end))
	for i := range order {
		k, _ := key(uint32(i))
		sec, usec, seq := stampOf(k)
		order[i] = arrival{clip(sec), clip(usec), clip(seq), uint32(i)}
	}
	twice := false
	slices.SortFunc(order, func(a, b arrival) int {
		if n := cmp.Or(cmp.Compare(a.sec, b.sec), cmp.Compare(a.usec, b.usec), cmp.Compare(a.seq, b.seq)); n != 0 {
			return n
		}
		x, _ := key(a.at)
		y, _ := key(b.at)
		n := bytes.Compare(x, y)
		twice = twice || n == 0 && a.at != b.at
		return n
	})
	t := &f.totals
	if twice || uint64(t.uidNext)+uint64(len(order)) > lastUID {
		return false, nil
	}
	if err := f.reserve(t.uidNext+uint32(len(order)), f.nextModSeq()+2); err != nil {
		return true, err
	}
	found.new.hash, found.cur.hash = nil, nil // of a million messages they are 8 MB
	modseq, now := f.nextModSeq()+2, wall().Unix()
	t.new, t.cur = found.new.state, found.cur.state
	f.suspects, f.emptied = nil, time.Time{}
	infos := map[string]string{}
	var slots []*slot
	var b batch
	for len(order) > 0 {
		n := min(len(order), chunkLen)
		octets := 0
		for _, a := range order[:n] {
			l, at := names(a.at)
			octets += len(l.name(at))
		}
		c := roomForN(n, octets)
		for _, a := range order[:n] {
			k, info := key(a.at)
			l, at := names(a.at)
			e := entry{uid: t.uidNext, modseq: modseq, wire: -1, saved: now, inode: l.inode[at], letters: f.letters}
			if l.isNew {
				e.state = recent
			}
			known, ok := infos[string(info)]
			if !ok {
				known = string(info)
				if len(infos) < 1000 {
					infos[known] = known
				}
			}
			e.setName(l.isNew, known)
			if bytes.IndexByte(k, ',') >= 0 {
				if _, wire := maildir.Sizes(string(k)); wire >= 0 {
					e.wire = wire
				}
			}
			b.given(e.uid, now, k)
			c.addKeyed(&e, k)
			t.count(&e, 1)
			t.uidNext++
		}
		if slots, order = append(slots, newSlot(c)), order[n:]; len(b.text) > 0 && (len(slots)%(firstPiece/chunkLen) == 0 || len(order) == 0) {
			if err := f.appendUIDs(&b, false); err != nil {
				f.opened = false
				return true, err
			}
			b.text = b.text[:0]
		}
	}
	t.modseq = max(t.modseq, modseq)
	f.blank, f.table, f.ring = false, nil, nil
	f.losses++
	f.changeNo++
	found.new, found.cur = nil, nil
	f.show(slots)
	return true, f.startOver()
}
