package mailbox

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"sort"
	"strconv"
	"strings"
	"time"

	"pennypost/internal/durable"
	"pennypost/internal/sequence"
)

// restoredGap is how far UIDNEXT jumps when mb-uids turns out to be a copy: what the lost newer one gave out stays unused.
const restoredGap = 1000000

// lastUID is the UID at which a mailbox gets a new UIDVALIDITY and new UIDs: 2^32-1 is none, and numbers must not run over.
const lastUID = 1<<32 - 1 - 4*restoredGap

// rebuild makes snapshot and log from mb-uids and the directories, keeping of old caches what still holds. The lock is held.
func (f *Folder) rebuild(ctx context.Context) error {
	u, err := f.readUIDs()
	if err != nil {
		return err
	}
	old := f.salvage(u)
	now := wall()
	fresh := max(u.modBound, u.modseq+1, uint64(now.Unix())<<20)
	f.validity, f.id, f.taken = u.validity, u.id, u.taken
	f.k = u.letters
	if f.letters, err = newLetterMap(f.k, f.keywordOf); err != nil {
		return err
	}
	next := u.next
	if old != nil {
		next = max(next, old.uidNext)
	}
	if u.boot != bootID() || old == nil || u.torn {
		next = max(next, u.bound)
	}
	info, err := f.disk.Stat(uidsName)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if f.restored || u.inode != info.Inode && u.inode != 0 {
		f.restored = false
		if next = max(next, u.bound); next < lastUID {
			next += restoredGap
		}
		if f.account.hasID(u.id, f) { // a copied folder is another folder
			f.validity, f.id = f.account.newValidity(), newID()
			u.validity, u.id = f.validity, f.id
		}
	}
	if f.spent || next > lastUID { // RFC 9051 section 2.3.1.1: then all begins anew
		f.validity, f.spent, next = f.account.newValidity(), false, 1
		u.validity, u.next, u.bound, u.live, u.dead, u.vow, old = f.validity, 1, 1, map[uint32]*line{}, nil, nil, nil
	}
	f.totals = totals{uidNext: next, modseq: fresh, uidBound: u.bound, modBound: u.modBound}
	if u.vow != nil {
		f.totals.promise = u.vow.modseq
	}
	if next > u.next { // clients may have been told of messages under these, which have other UIDs now
		u.dead = append(u.dead, tombstone{sequence.Set{{Lo: u.next, Hi: next - 1}}, fresh, now.Unix()})
	}
	u.bound, u.modBound = max(next+256, u.bound), max(fresh+1<<16, u.modBound)
	u.forget(now.Unix() - int64(60*24*time.Hour/time.Second))
	if err := f.replaceUIDs(u); err != nil {
		return err
	}
	f.totals.uidBound, f.totals.modBound = u.bound, u.modBound
	f.blank = old == nil
	var slots []*slot
	slots = f.entriesOf(u, old, fresh)
	f.gen = f.lastGeneration()
	f.lost = nil
	if old != nil {
		f.lost = append(old.lost, interval{old.modseq, fresh})
		f.totals.modseq = fresh
	}
	f.view = newView(f, slots)
	f.table, f.ring = nil, nil
	f.losses++
	chunks := make([]*chunk, len(slots))
	for i, s := range slots {
		chunks[i] = s.get()
		for j := range chunks[i].uid {
			e := chunks[i].entry(j)
			f.totals.count(&e, 1)
		}
	}
	f.stamp()
	f.opened, f.logInode = false, 0
	if !f.blank { // else sync will write the snapshot, of the folder with its flags
		if err := f.writeSnapshot(chunks); err != nil {
			return err
		}
	}
	if err := f.sync(ctx); err != nil {
		if f.blank {
			f.view = nil // its flags are not known
		}
		return err
	}
	f.opened = true
	return nil
}

// readUIDs reads mb-uids, or what stands in for it: the generation before, another server's list, a new one.
func (f *Folder) readUIDs() (*uids, error) {
	for _, name := range []string{uidsName, uidsName + ".old"} {
		text, err := f.readFile(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		u, err := parseUIDs(text)
		if err != nil {
			f.disk.Rename(name, name+".bad")
			continue
		}
		if u.torn && name == uidsName {
			f.keepTorn(text[u.size:])
		}
		if name != uidsName { // messages after it get new UIDs beyond all that were promised
			u.next = max(u.next, u.bound)
			u.boot, u.vow = "", nil
		}
		return u, nil
	}
	if u, err := f.importUIDs(); u != nil || err != nil {
		return u, err
	}
	return &uids{validity: f.account.newValidity(), id: newID(), next: 1, bound: 1, boot: bootID(), live: map[uint32]*line{}}, nil
}

// keepTorn puts the end of mb-uids that does not count aside, for a person.
func (f *Folder) keepTorn(tail []byte) {
	if w, err := f.disk.Append(uidsName+".bad", 0o600); err == nil {
		w.Write(tail)
		w.Close()
	}
}

func (f *Folder) readFile(name string) ([]byte, error) {
	file, err := f.disk.Open(name)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	return io.ReadAll(file)
}

// uidsNow is what mb-uids says now.
func (f *Folder) uidsNow() (*uids, error) {
	text, err := f.readFile(uidsName)
	if err != nil {
		return nil, err
	}
	return parseUIDs(text)
}

// replaceUIDs writes the whole of mb-uids anew; the one before stays as mb-uids.old.
func (f *Folder) replaceUIDs(u *uids) error {
	temp := uidsName + ".tmp"
	f.disk.Remove(temp)
	w, err := f.disk.Create(temp, 0o600)
	if err != nil {
		return err
	}
	defer w.Close()
	info, err := f.disk.Stat(temp)
	if err != nil {
		return err
	}
	text := u.rewrite(info.Inode, wall())
	if _, err = w.Write(text); err == nil {
		f.disk.Remove(uidsName + ".old")
		if err := f.disk.Link(uidsName, uidsName+".old"); err != nil && !errors.Is(err, fs.ErrNotExist) {
			f.disk.Remove(uidsName + ".old")
		}
		err = durable.Replace(f.disk, w, temp, uidsName)
	}
	if err != nil {
		f.disk.Remove(temp)
		return err
	}
	f.totals.uidsSize, f.uidsInode = int64(len(text)), info.Inode
	return nil
}

// thinAbove is the size of an mb-uids that may be worth writing anew.
var thinAbove int64 = 1 << 20

// thin writes mb-uids without the messages that went, when those are most of it. The lock is held, and a snapshot must follow that knows
// its new size.
func (f *Folder) thin() error {
	if f.totals.uidsSize < thinAbove || f.totals.uidsSize < 300*int64(f.totals.messages) {
		return nil
	}
	u, err := f.uidsNow()
	if err != nil {
		return err
	}
	if u.torn || u.size != f.totals.uidsSize { // not what we know: the next look sees to it
		return nil
	}
	u.next = max(u.next, f.totals.uidNext)
	u.forget(wall().Unix() - int64(60*24*time.Hour/time.Second))
	return f.replaceUIDs(u)
}

// salvaged is what old caches still know: they may be of another run of the machine, or lag behind mb-uids.
type salvaged struct {
	view    *View
	uidNext uint32
	modseq  uint64
	lost    []interval
	logged  bool // the log was there: of what it had, mod-sequences are not older than clients have seen them
}

// salvage reads mb-index and its log though they are not trusted as they are; nil when they are of no use.
func (f *Folder) salvage(u *uids) *salvaged {
	file, err := f.disk.Open(indexName)
	if err != nil {
		return nil
	}
	snap := openSnapshot(file)
	if snap == nil {
		return nil
	}
	defer snap.close()
	if snap.id != u.id || snap.validity != u.validity {
		return nil
	}
	s := &Folder{account: f.account, disk: f.disk}
	if snap.meaning, err = newLetterMap(parseLetters(snap.head.letters), f.keywordOf); err != nil {
		return nil
	}
	s.letters = snap.meaning
	s.view = newView(s, snap.slots())
	s.totals = snap.totals
	logged := false
	if text, err := f.readFile(logName(snap.gen)); err == nil && len(text) >= logHead && string(text[:len(logMagic)]) == logMagic {
		logged = true
		for text = text[logHead:]; ; {
			r, n := decodeRecord(text)
			if r == nil || r.kind == recRotate {
				break
			}
			for i := range r.added {
				r.added[i].letters = s.letters
			}
			for i := range r.flags {
				r.flags[i].letters = s.letters
			}
			s.apply(r)
			text = text[n:]
		}
	}
	for _, slot := range s.view.slots {
		slot.get()
	}
	if snap.bad.Load() {
		return nil
	}
	return &salvaged{s.view, s.totals.uidNext, s.totals.modseq, snap.lost, logged}
}

// entriesOf makes the chunks of the messages mb-uids has, with what the old caches know of them.
func (f *Folder) entriesOf(u *uids, old *salvaged, fresh uint64) []*slot {
	order := make([]uint32, 0, len(u.live))
	for uid := range u.live {
		order = append(order, uid)
	}
	sort.Slice(order, func(i, j int) bool { return order[i] < order[j] })
	list := make([]entry, 0, len(order))
	for _, uid := range order {
		l := u.live[uid]
		e := entry{uid: uid, key: l.key, modseq: fresh, wire: l.wire, saved: l.saved, over: l.over, letters: f.letters}
		if wire := wireOf(l.key); e.wire < 0 && wire >= 0 {
			e.wire = wire
		}
		for name := range splitWords(l.more) {
			if n, err := f.account.keyword(name, true); err == nil {
				e.flags |= Keyword(n)
			}
		}
		if old != nil {
			if i, ok := old.view.Find(uid); ok {
				c, j := old.view.at(i)
				if was := c.entry(j); was.key == e.key {
					was.over, was.letters = e.over, f.letters
					was.cache = 0
					if !old.logged {
						was.modseq = fresh
					}
					e = was
				}
			}
		}
		list = append(list, e)
	}
	return addTo(nil, list)
}

// lastGeneration is the newest log there is, though its index is gone: those who follow it must be told to go on.
func (f *Folder) lastGeneration() (gen uint64) {
	names, err := f.disk.ReadDir(".")
	if err != nil {
		return 0
	}
	for _, name := range names {
		if number, ok := strings.CutPrefix(name, logPrefix); ok {
			if n, err := strconv.ParseUint(number, 10, 63); err == nil {
				gen = max(gen, n)
			}
		}
	}
	return gen
}

// tombstones is the UIDs with a tombstone above modseq and not above upTo; exact when none of them may have been forgotten. The file may
// have more of them than the caller's view.
func (f *Folder) tombstones(modseq, upTo uint64) (sequence.Set, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.deadSize != f.totals.uidsSize {
		u, err := f.uidsNow()
		if err != nil {
			return nil, false
		}
		f.dead, f.floor, f.deadSize = u.dead, u.floor, u.size
	}
	for _, l := range f.lost {
		if modseq > l.from && modseq < l.to {
			return nil, false
		}
	}
	if modseq < f.floor {
		return nil, false
	}
	var out sequence.Set
	for _, t := range f.dead {
		if t.modseq > modseq && t.modseq <= upTo {
			out = append(out, t.uids...)
		}
	}
	return out.Resolve(0), true
}
