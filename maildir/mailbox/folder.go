package mailbox

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"sync"
	"time"
	"weak"

	"pennypost/internal/durable"
	"pennypost/internal/sequence"
)

// Folder is one open mailbox, shared by the sessions of a process.
type Folder struct {
	account *Account
	name    string // as the account lists it
	dir     string // below the account's root, "." for INBOX
	disk    durable.Disk
	users   int // sessions, counted by the account
	// pause closes the folder that nobody uses, when its time is over; nil when somebody does. Both are the account's, too
	pause *time.Timer
	over  time.Time
	// filtering is set while mb-fts is made; like users it is the account's
	filtering bool
	digesting chan struct{} // closed when a feed whose search is over has been taken in; nil: there is none
	keys      keyRoom       // has a lock of its own, taken inside mu

	mu         sync.Mutex // over everything below; the folder's lock against other processes is taken inside it
	opened     bool
	validity   uint32
	id         string
	gen        uint64
	log        durable.File // for reading
	logInode   uint64
	uidsInode  uint64 // of mb-uids as it was when it was read or written whole
	pos        int64  // octets of the log taken in
	totals     totals
	lost       []interval
	k          map[byte]string // the K lines of mb-uids
	letters    *letterMap
	snap       *snapshot
	before     []weak.Pointer[snapshot]       // those it replaced that views may still read
	view       *View                          // nil until somebody needs messages
	table      *table                         // nil until a scan needs it
	listed     [2]struct{ names, octets int } // how large the listings of new/ and cur/ were
	ring       []change
	changeNo   uint64 // of the last change
	losses     uint64 // how often the view was read anew
	heard      heard
	ear        func()                  // ends listening for nobody in particular; nil: there is none
	unverified time.Time               // since when names alone have shown what happened, see hear.go
	suspects   map[uint32]time.Time    // missing in a scan that proves nothing, since when
	emptied    time.Time               // since when most of the folder seems gone
	stirred    struct{ new, cur bool } // names of ours were changed there, and touched has not seen to it yet
	promise    *promise                // given here and not kept yet
	dead       []tombstone             // of mb-uids up to deadSize, for VanishedSince
	deadSize   int64
	floor      uint64
	learnt     int      // sizes, dates and places in the cache found out since the last snapshot
	cacheSize  int64    // octets of mb-cache when we last wrote to it
	cacheFine  int64    // of it that need no reclaim
	blank      bool     // flags are not known yet: the first scan after a rebuild fills them in
	spent      bool     // UIDs have run out
	skipped    []string // see Skipped
	taken      string   // see sole
	restored   bool     // somebody says so
}

// change is one record as sessions need it to know what happened between two views.
type change struct {
	no   uint64
	kind byte
	uids []uint32
}

// ringMost is how many changes are remembered; what is older is found by comparing views.
const ringMost = 4096

func (f *Folder) open(ctx context.Context) error {
	if f.opened {
		return nil
	}
	if err := f.present(); err != nil {
		return err
	}
	if f.attach() {
		if err := f.sole(); err != nil {
			return err
		}
		f.opened = true
		return nil
	}
	unlock, err := f.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	if !f.attach() { // nobody else has rebuilt it meanwhile
		if err := f.rebuild(ctx); err != nil {
			return err
		}
	}
	if err := f.sole(); err != nil {
		return err
	}
	f.opened = true
	return nil
}

// present reports a volume that is not there.
func (f *Folder) present() error {
	if _, err := f.disk.Stat("cur"); err != nil {
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrInvalid) {
			return ErrUnavailable
		}
		return err
	}
	return nil
}

// attach opens snapshot and log, if they are there, whole, of this run of the machine, and agree with mb-uids.
func (f *Folder) attach() bool {
	file, err := f.disk.Open(indexName)
	if err != nil {
		return false
	}
	snap := openSnapshot(file)
	if snap == nil {
		return false
	}
	log, t, pos := f.logOf(snap)
	if log == nil {
		snap.close()
		return false
	}
	f.use(snap, log, pos, t)
	return true
}

// logOf opens the log of a snapshot and gives the totals at its end; nil when they are not of each other and of mb-uids.
func (f *Folder) logOf(snap *snapshot) (log durable.File, t totals, pos int64) {
	log, err := f.disk.Open(logName(snap.gen))
	if err != nil {
		return nil, t, 0
	}
	boot, ok := checkLog(log, snap.gen)
	info, err := f.disk.Stat(uidsName)
	logInfo, err2 := log.Stat()
	ok = ok && boot == bootID() && err == nil && err2 == nil && info.Inode == f.ownInode(snap.id, snap.validity)
	if ok {
		snap.meaning, err = newLetterMap(parseLetters(snap.head.letters), f.keywordOf)
		ok = err == nil
	}
	t, pos = snap.totals, int64(logHead)
	if ok && logInfo.Size > int64(logHead) {
		last, rotated, whole := lastTotals(log, logInfo.Size)
		if whole {
			t, pos = last, logInfo.Size
		}
		ok = !rotated // else between our two opens; look again
	}
	if !ok || info.Size != t.uidsSize {
		log.Close()
		return nil, t, 0
	}
	f.logInode, f.uidsInode = logInfo.Inode, info.Inode
	return log, t, pos
}

// ownInode is the inode that mb-uids says it had when it was written, 0 when it does not belong to the snapshot.
func (f *Folder) ownInode(id string, validity uint32) uint64 {
	file, err := f.disk.Open(uidsName)
	if err != nil {
		return 0
	}
	defer file.Close()
	b := make([]byte, 256)
	n, _ := file.ReadAt(b, 0)
	row, _, _ := cutLine(b[:n])
	do, err := parseHeader(string(row))
	if err != nil {
		return 0
	}
	u := &uids{}
	do(u)
	if u.id != id || u.validity != validity {
		return 0
	}
	f.taken = u.taken
	return u.inode
}

func cutLine(b []byte) (row, rest []byte, ok bool) {
	for i, c := range b {
		if c == '\n' {
			return b[:i], b[i+1:], true
		}
	}
	return b, nil, false
}

// use makes a snapshot and its log the state of the folder. pos is where the log was read to for the totals; messages are not loaded.
func (f *Folder) use(snap *snapshot, log durable.File, pos int64, t totals) {
	if f.log != nil {
		f.log.Close()
	}
	if f.snap != nil && f.snap != snap {
		f.before = append(slices.DeleteFunc(f.before, func(p weak.Pointer[snapshot]) bool { return p.Value() == nil }), weak.Make(f.snap))
	}
	f.snap, f.log, f.pos, f.totals = snap, log, pos, t
	f.k, f.letters = parseLetters(snap.head.letters), snap.meaning
	f.gen, f.validity, f.id, f.lost = snap.gen, snap.validity, snap.id, snap.lost
	f.view, f.table, f.ring = nil, nil, nil
	f.losses++
}

// load makes the view, from the snapshot and all of its log.
func (f *Folder) load() error {
	if f.view != nil {
		return nil
	}
	f.view = newView(f, f.snap.slots())
	f.totals, f.pos = f.snap.totals, int64(logHead)
	f.stamp()
	return f.catchUp()
}

// stamp puts the folder's figures into the view it shows from now on.
func (f *Folder) stamp() {
	f.view.counts, f.view.lost = f.counts(), f.lost
	f.view.change, f.view.loss = f.changeNo, f.losses
}

func (f *Folder) counts() Counts {
	t := &f.totals
	return Counts{
		Messages: t.messages, Unseen: t.unseen, Deleted: t.deleted, Recent: t.recent, Size: t.size, DeletedSize: t.deletedSize,
		UIDNext: t.uidNext, UIDValidity: f.validity, HighestModSeq: t.modseq, MailboxID: f.id,
	}
}

var errReload = errors.New("the index was replaced")

// catchUp takes in what others have written to the log.
func (f *Folder) catchUp() error {
	for {
		err := f.readLog()
		if err != errReload {
			return err
		}
		had := f.view != nil
		if !f.attach() {
			f.opened = false
			return errReload
		}
		if had {
			if err := f.load(); err != nil {
				return err
			}
		}
	}
}

func (f *Folder) readLog() error {
	info, err := f.disk.Stat(logName(f.gen))
	if errors.Is(err, fs.ErrNotExist) {
		return errReload
	}
	if err != nil {
		return err
	}
	if info.Inode != f.logInode || info.Size < f.pos { // somebody deleted it, and somebody made it again
		return errReload
	}
	if info.Size == f.pos {
		return nil
	}
	b := make([]byte, info.Size-f.pos)
	n, _ := f.log.ReadAt(b, f.pos)
	return f.replay(b[:n])
}

// replay takes in records of the log: one view comes of all of them.
func (f *Folder) replay(b []byte) error {
	var slots []*slot
	if f.view != nil {
		slots = slices.Clone(f.view.slots)
		defer func() { f.show(slots) }()
	}
	for len(b) > 0 {
		r, length := decodeRecord(b)
		if r == nil {
			return nil // being written, or torn: the writer that comes next will see
		}
		if r.kind == recRotate {
			return errReload
		}
		for i := range r.added {
			r.added[i].letters = f.letters
		}
		for i := range r.flags {
			r.flags[i].letters = f.letters
		}
		slots = f.step(slots, r)
		f.pos += int64(length)
		b = b[length:]
	}
	return nil
}

// apply makes the state what it is after the record.
func (f *Folder) apply(r *record) {
	if f.view == nil {
		f.totals = r.totals
		return
	}
	f.show(f.step(slices.Clone(f.view.slots), r))
}

// show makes slots the view, with the folder's figures.
func (f *Folder) show(slots []*slot) {
	f.view = newView(f, slots)
	f.stamp()
}

// step is the slots after one record; they are the caller's own. The figures follow.
func (f *Folder) step(slots []*slot, r *record) []*slot {
	f.totals = r.totals
	if f.view == nil {
		return nil
	}
	ch := change{kind: r.kind}
	switch r.kind {
	case recAdd:
		for i := range r.added {
			ch.uids = append(ch.uids, r.added[i].uid)
		}
		slots = addTo(slots, r.added)
		f.index(r.added, true)
	case recFlags:
		for i := range r.flags {
			ch.uids = append(ch.uids, r.flags[i].uid)
		}
		reflag(slots, r.flags)
		f.index(r.flags, false)
	case recGone:
		ch.uids = r.gone
		slots = drop(slots, r.gone)
		if f.table != nil {
			f.table.moved = true
		}
	}
	f.changeNo++
	ch.no = f.changeNo
	if f.ring = append(f.ring, ch); len(f.ring) > ringMost {
		f.ring = slices.Clone(f.ring[ringMost/2:])
	}
	return slots
}

// index enters messages into the table, added or changed.
func (f *Folder) index(list []entry, added bool) {
	if f.table != nil {
		for i := range list {
			f.table.enter(hashName(list[i].key), list[i].uid, added)
		}
	}
}

// write appends a record to the log and applies it. The folder's lock is held and the log has been taken in. When it fails, what memory has
// is more than what the disk has, and is read anew.
func (f *Folder) write(r *record) (err error) {
	defer func() {
		if err != nil {
			f.opened = false
		}
	}()
	r.totals = f.totals
	f.recount(r)
	b := r.encode(nil)
	w, err := f.disk.Append(logName(f.gen), 0o600)
	if err != nil {
		return err
	}
	defer w.Close()
	if info, err := w.Stat(); err != nil {
		return err
	} else if info.Inode != f.logInode || info.Size != f.pos { // it was deleted, or ends with a torn record that nothing can follow
		f.apply(r)
		return f.startOver()
	}
	if n, err := w.Write(b); err != nil || n != len(b) {
		return fmt.Errorf("%s: %w", logName(f.gen), err)
	}
	f.apply(r)
	f.pos += int64(len(b))
	return nil
}

// recount moves the totals by what the record does to the messages of the view.
func (f *Folder) recount(r *record) {
	t := &r.totals
	for i := range r.added {
		t.count(&r.added[i], 1)
		t.modseq = max(t.modseq, r.added[i].modseq)
		t.uidNext = max(t.uidNext, r.added[i].uid+1)
	}
	for i := range r.flags {
		e := &r.flags[i]
		if at, ok := f.view.Find(e.uid); ok {
			c, j := f.view.at(at)
			old := c.entry(j)
			t.count(&old, -1)
			t.count(e, 1)
			t.modseq = max(t.modseq, e.modseq)
		}
	}
	for _, uid := range r.gone {
		if at, ok := f.view.Find(uid); ok {
			c, j := f.view.at(at)
			old := c.entry(j)
			t.count(&old, -1)
		}
	}
	t.modseq = max(t.modseq, r.modseq)
}

// changes is the delta of two views of this process, if all that lies between is remembered.
func (f *Folder) changes(from, to *View) (d Delta, ok bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if from.loss != to.loss || from.change > to.change {
		return d, false
	}
	if n := len(f.ring); from.change < to.change && (n == 0 || f.ring[0].no > from.change+1) {
		return d, false
	}
	flagged := map[uint32]bool{}
	var gone sequence.Set
	for _, ch := range f.ring {
		if ch.no <= from.change || ch.no > to.change {
			continue
		}
		for _, uid := range ch.uids {
			if uid >= from.counts.UIDNext {
				continue // came after the earlier view
			}
			if ch.kind == recGone {
				gone.Add(uid)
				delete(flagged, uid)
			} else if ch.kind == recFlags {
				flagged[uid] = true
			}
		}
	}
	d.Vanished = gone
	for uid := range flagged {
		if a, ok := from.Find(uid); ok {
			if b, ok := to.Find(uid); ok && (from.ModSeq(a) != to.ModSeq(b) || from.Flags(a) != to.Flags(b)) {
				d.Changed = append(d.Changed, uid)
			}
		}
	}
	slices.Sort(d.Changed)
	at, _ := to.Find(from.counts.UIDNext)
	d.Added = to.Len() - at
	return d, true
}

// keywordOf is the account's number of a keyword name, given if it has none.
func (f *Folder) keywordOf(name string) (int, error) { return f.account.keyword(name, true) }
