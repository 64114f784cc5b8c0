package mailbox

import (
	"crypto/sha256"
	"encoding/hex"
	"sort"
	"time"

	"pennypost/internal/sequence"
	"pennypost/maildir"
)

// View is a folder at one moment: it does not change. Messages are in order of UID, numbered from 0.
type View struct {
	folder *Folder
	counts Counts
	lost   []interval // of mod-sequences, see ChangedSince
	slots  []*slot
	start  []int  // of slots: the index of the first message; one more at the end: the length
	change uint64 // number of the last change in it, for Since
	loss   uint64 // snapshots loaded so far: changes of earlier ones are not known
}

func newView(f *Folder, slots []*slot) *View {
	v := &View{folder: f, slots: slots, start: make([]int, len(slots)+1)}
	n := 0
	for i, s := range slots {
		v.start[i] = n
		n += s.n
	}
	v.start[len(slots)] = n
	return v
}

func (v *View) Counts() Counts { return v.counts }
func (v *View) Len() int       { return v.start[len(v.slots)] }

// at is the chunk of message i and its place there.
func (v *View) at(i int) (*chunk, int) {
	k := v.slotOf(i)
	return v.slots[k].get(), i - v.start[k]
}

func (v *View) slotOf(i int) int {
	lo, hi := 0, len(v.slots)-1
	for lo < hi {
		mid := (lo + hi + 1) / 2
		if v.start[mid] <= i {
			lo = mid
		} else {
			hi = mid - 1
		}
	}
	return lo
}

// Find is the index of the first message whose UID is at least uid, and whether it is that very UID.
func (v *View) Find(uid uint32) (int, bool) {
	k := sort.Search(len(v.slots), func(k int) bool { return v.slots[k].first > uid }) - 1
	if k < 0 {
		return 0, false
	}
	c := v.slots[k].get()
	j := sort.Search(c.len(), func(j int) bool { return c.uid[j] >= uid })
	return v.start[k] + j, j < c.len() && c.uid[j] == uid
}

func (v *View) UID(i int) uint32 {
	c, j := v.at(i)
	return c.uid[j]
}

func (v *View) Flags(i int) Flags {
	c, j := v.at(i)
	return c.flags[j]
}

func (v *View) ModSeq(i int) uint64 {
	c, j := v.at(i)
	return c.modseq[j]
}

// Saved is SAVEDATE (RFC 8514); zero when unknown.
func (v *View) Saved(i int) time.Time {
	c, j := v.at(i)
	if c.saved[j] == 0 {
		return time.Time{}
	}
	return time.Unix(c.saved[j], 0)
}

// Recent reports whether no session has claimed the message yet.
func (v *View) Recent(i int) bool {
	c, j := v.at(i)
	return c.state[j]&recent != 0
}

// EmailID is RFC 8474's; copies of a message share it.
func (v *View) EmailID(i int) string {
	c, j := v.at(i)
	if o := c.over[j]; o != nil && o.guid != "" {
		return "E" + o.guid
	}
	return "E" + guidOf(c.key(j))
}

// guidOf is what a copy of the message with this key inherits.
func guidOf(key []byte) string {
	sum := sha256.Sum256([]byte(maildir.Base(string(key))))
	return hex.EncodeToString(sum[:16])
}

// UIDL is POP3's unique-id, pinned where another server gave one before us.
func (v *View) UIDL(i int) string {
	c, j := v.at(i)
	if o := c.over[j]; o != nil && o.uidl != "" {
		return o.uidl
	}
	return maildir.UIDL(string(c.key(j)))
}

// ChangedSince is the UIDs with a mod-sequence above modseq (RFC 7162). It is all of them when a crash may have taken changes away that a
// client has seen under the modseq it names.
func (v *View) ChangedSince(modseq uint64) sequence.Set {
	var out sequence.Set
	if modseq >= v.counts.HighestModSeq {
		return nil
	}
	for _, l := range v.lost {
		if modseq > l.from && modseq < l.to {
			modseq = 0
		}
	}
	for _, s := range v.slots {
		c := s.get()
		for j, m := range c.modseq {
			if m > modseq {
				out.Add(c.uid[j])
			}
		}
	}
	return out
}

// VanishedSince is the UIDs gone since modseq, of those in known (nil: all below UIDNEXT). It may name more than
// what has gone since, never less (RFC 7162 section 3.2.6).
func (v *View) VanishedSince(modseq uint64, known sequence.Set) sequence.Set {
	if known == nil {
		if v.counts.UIDNext <= 1 {
			return nil
		}
		known = sequence.Set{{Lo: 1, Hi: v.counts.UIDNext - 1}}
	}
	if modseq >= v.counts.HighestModSeq {
		return nil
	}
	if gone, exact := v.folder.tombstones(modseq, v.counts.HighestModSeq); exact {
		return gone.Intersect(known)
	}
	return known.Without(v.uids())
}

// uids is every UID in the view.
func (v *View) uids() sequence.Set {
	var out sequence.Set
	for _, s := range v.slots {
		for _, uid := range s.get().uid {
			out.Add(uid)
		}
	}
	return out
}

// Delta is what happened between two views of a folder.
type Delta struct {
	Vanished sequence.Set // UIDs that are gone
	Changed  []uint32     // UIDs whose flags or mod-sequence changed, ascending, of those that were there before
	Added    int          // messages at the end of the later view
}

// Since is what happened from the earlier view to this one.
func (v *View) Since(earlier *View) Delta {
	if v == earlier {
		return Delta{}
	}
	if d, ok := v.folder.changes(earlier, v); ok {
		return d
	}
	return v.compare(earlier)
}

// compare finds the delta by walking both views side by side.
func (v *View) compare(earlier *View) (d Delta) {
	i, n := 0, v.Len()
	last := uint32(0)
	for k := range earlier.slots {
		c := earlier.slots[k].get()
		for j, uid := range c.uid {
			last = uid
			for i < n && v.UID(i) < uid { // appeared among old ones: cannot be, but harmless
				i++
			}
			switch {
			case i == n || v.UID(i) != uid:
				d.Vanished.Add(uid)
			case v.ModSeq(i) != c.modseq[j] || v.Flags(i) != c.flags[j]:
				d.Changed = append(d.Changed, uid)
				i++
			default:
				i++
			}
		}
	}
	next, _ := v.Find(last + 1)
	d.Added = n - next
	return d
}

// UIDsFrom is a range of UIDs with those of the messages from index i on, and of no others.
func (v *View) UIDsFrom(i int) sequence.Set {
	if i >= v.Len() {
		return nil
	}
	lo := v.slots[0].first
	if i > 0 {
		lo = v.UID(i)
	}
	return sequence.Set{{Lo: lo, Hi: v.counts.UIDNext - 1}}
}

// FirstUnseen is the index of the first message without \Seen, the length of the view when there is none. Chunks of which the snapshot says
// that they have none are not read.
func (v *View) FirstUnseen() int {
	for k, s := range v.slots {
		if s.maybeUnseen() {
			for j, flags := range s.get().flags {
				if flags&Seen == 0 {
					return v.start[k] + j
				}
			}
		}
	}
	return v.Len()
}

// Each calls visit for messages from ≤ i < to, in order, with what their columns say, until it says no: a scan at the speed of memory.
func (v *View) Each(from, to int, visit func(i int, uid uint32, flags Flags, modseq uint64) bool) {
	to = min(to, v.Len())
	for i := max(from, 0); i < to; {
		k := v.slotOf(i)
		c := v.slots[k].get()
		end := min(to, v.start[k+1])
		for j := i - v.start[k]; i < end; i, j = i+1, j+1 {
			if !visit(i, c.uid[j], c.flags[j], c.modseq[j]) {
				return
			}
		}
	}
}
