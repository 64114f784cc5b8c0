package mailbox

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"io/fs"
	"slices"
	"strings"
	"time"

	"pennypost/internal/durable"
	"pennypost/maildir"
)

const (
	// suspectWait is how long a message must be missing before scans that are not whole prove that it went, and suspectLists how many
	// listings in a row must then miss it: where names are renamed all the time, one in some hundred is missed by each.
	suspectWait  = time.Second
	suspectLists = 6
	// emptiedWait is how long most of a folder must be missing.
	emptiedWait = 5 * time.Second
)

// listing is one directory as a scan found it.
type listing struct {
	isNew bool
	whole bool
	text  []byte // the names, one behind the other
	all   string // text again where most names are to be kept, else ""
	end   []int
	hash  []uint64 // of the names
	state dirState
}

// nameHash is the hash of a name and of the directory it is in.
func (l *listing) nameHash(i int) uint64 {
	if l.isNew {
		return ^l.hash[i]
	}
	return l.hash[i]
}

func (l *listing) from(i int) int {
	if i == 0 {
		return 0
	}
	return l.end[i-1]
}

func (l *listing) name(i int) []byte { return l.text[l.from(i):l.end[i]] }

// kept is the first n octets of name i, to be kept.
func (l *listing) kept(i, n int) string {
	from := l.from(i)
	if l.all != "" {
		return l.all[from : from+n]
	}
	return string(l.text[from : from+n])
}

// list reads a directory of the folder. What is no regular file, and what begins with a dot, is not mail.
func (f *Folder) list(dir string) (*listing, error) {
	l := &listing{isNew: dir == "new"}
	last := &f.listed[dir[0]&1]
	l.text, l.end, l.hash = make([]byte, 0, last.octets), make([]int, 0, last.names), make([]uint64, 0, last.names)
	start := wall()
	info, err := f.disk.Stat(dir)
	if err != nil {
		return nil, err
	}
	if last.names == 0 && info.Size > 64<<10 { // what the file systems that have a size for directories need for a name
		l.text, l.end, l.hash = make([]byte, 0, info.Size*11/16), make([]int, 0, info.Size/56), make([]uint64, 0, info.Size/56)
	}
	var bad error
	regular := func(name []byte, kind byte) bool {
		if kind == durable.KindUnknown {
			is, err := f.regular(dir, name)
			bad = cmp.Or(bad, err)
			return is
		}
		return kind == durable.KindRegular
	}
	add := func(name []byte, _ uint64, kind byte) {
		if name[0] == '.' {
			return
		}
		if !regular(name, kind) {
			if len(f.skipped) < mostSkipped {
				f.skipped = append(f.skipped, dir+"/"+string(name))
			}
			return
		}
		l.text = append(l.text, name...)
		l.end = append(l.end, len(l.text))
		h := hashName(name)
		l.hash = append(l.hash, h)
		l.state.sum += h
		l.state.count++
	}
	if lister, ok := f.disk.(durable.Lister); ok {
		l.whole, err = lister.List(dir, add)
	} else {
		var names []string
		if names, err = f.disk.ReadDir(dir); err == nil {
			for _, name := range names {
				add([]byte(name), 0, durable.KindUnknown)
			}
			l.whole = true
		}
	}
	if err = cmp.Or(err, bad); err != nil {
		return nil, err
	}
	last.octets, last.names = len(l.text)+len(l.text)/64, len(l.end)+len(l.end)/64
	after, err := f.disk.Stat(dir)
	if err != nil {
		return nil, err
	}
	l.state.mtime = info.ModTime.UnixNano()
	l.state.verified = start.Sub(info.ModTime) > f.grain() // else what comes next may have this time, too
	if l.state.verified && after.ModTime.Equal(info.ModTime) {
		l.whole = true // nothing happened while we read
	}
	return l, nil
}

// mostSkipped bounds what Skipped says.
const mostSkipped = 20

// Skipped is what scans of this process have found in new/ and cur/ that is no regular file, since the last call: for the log.
func (f *Folder) Skipped() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	names := f.skipped
	f.skipped = nil
	return names
}

// regular looks at a file of which the directory does not say what it is. One that has gone is none; where that cannot be told, nothing can be
// said of the directory.
func (f *Folder) regular(dir string, name []byte) (bool, error) {
	info, err := f.disk.Stat(dir + "/" + string(name))
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return err == nil && info.Mode.IsRegular(), err
}

// findings is what a scan says about the folder.
type findings struct {
	changed  []entry  // as they are now; flags may be the same and only the place be new
	reflag   []bool   // of changed: the flags are not what they were
	added    []entry  // without UID
	missing  []uint32 // UIDs no file was found for
	double   []string // paths whose key was found before
	crossed  bool     // a message is in the other directory than before
	new, cur *listing // nil: not read, because nothing happened in it

	first bool // new and cur are all that is known: it is for syncFirst

	heard            bool    // it is of scanHeard
	was              []entry // of changed: as they were before
	newTime, curTime int64   // of the directories
}

// whole reports whether what was read can prove that a message is gone.
func (found *findings) whole() bool {
	return (found.new == nil || found.new.whole) && (found.cur == nil || found.cur.whole)
}

// sync brings the folder to what is in its directories. The lock is held and the log has been taken in.
//
// What was found counts when it is written down, and the times of the directories are written with the last of it: a look that is killed or
// fails half way is made again, by whoever comes next.
func (f *Folder) sync(ctx context.Context) error {
	view, totals, blank := f.view, f.totals, f.blank
	err := f.takeIn(ctx)
	if err != nil {
		f.view, f.totals, f.blank, f.table = view, totals, blank, nil
		f.opened = false // what is on the disk may be more, and is what is true
		f.heard.miss()
	}
	return err
}

func (f *Folder) takeIn(ctx context.Context) error {
	listening := f.heard.listening()
	var err error
	found := f.scanHeard()
	if found == nil {
		if found, err = f.scan(); err != nil {
			return err
		}
	}
	if err := f.note(ctx, found); err != nil {
		return err
	}
	if !found.heard {
		f.unverified = time.Time{}
		f.heard.settled(listening)
	}
	return nil
}

// note writes down what was found.
func (f *Folder) note(ctx context.Context, found *findings) error {
	if found.first {
		if done, err := f.syncFirst(found); done || err != nil {
			return err
		}
		f.match(found)
	}
	if len(found.double) > 0 {
		f.separate(found.double)
		is, err := f.scan()
		if err != nil {
			return err
		}
		if *found = *is; found.first {
			f.match(found)
		}
	}
	if uint64(f.totals.uidNext)+uint64(len(found.added)) > lastUID+restoredGap {
		f.spent = true
		return f.rebuild(ctx)
	}
	gone, err := f.proven(found)
	if err != nil {
		return err
	}
	if err := f.reserve(f.totals.uidNext+uint32(len(found.added)), f.nextModSeq()+2); err != nil {
		return err
	}
	modseq := f.nextModSeq() // each record has its own: somebody may read the log when it has the first of them
	for i := range found.changed {
		if found.reflag[i] && !f.blank {
			found.changed[i].modseq = modseq + 1
		}
	}
	if err := f.pair(found, &gone, modseq+1); err != nil {
		return err
	}
	great := f.blank || len(found.added)+len(found.changed) > 4*chunkLen
	if great {
		f.table = nil // the next scan makes it, in the right size
	}
	left := len(gone) + len(found.changed) + len(found.added)
	if len(gone) > 0 {
		if left -= len(gone); left == 0 && !great {
			f.looked(found)
		}
		if err := f.bury(gone, modseq); err != nil {
			return err
		}
	}
	if great {
		return f.noteWhole(found, modseq)
	}
	if len(found.changed) > 0 {
		if left -= len(found.changed); left == 0 {
			f.looked(found)
		}
		if err := f.write(&record{kind: recFlags, flags: found.changed}); err != nil {
			return err
		}
	}
	if len(found.added) > 0 {
		if found.added, err = f.number(found.added, modseq+2); err != nil {
			return err
		}
		f.looked(found)
		if err := f.write(&record{kind: recAdd, added: found.added}); err != nil {
			return err
		}
	}
	if len(gone)+len(found.changed)+len(found.added) == 0 {
		f.looked(found)
		return f.write(&record{kind: recState})
	}
	f.rotateIfLong(false)
	return nil
}

// noteWhole writes down a great change: in memory first, then as a snapshot.
func (f *Folder) noteWhole(found *findings, modseq uint64) (err error) {
	if found.added, err = f.number(found.added, modseq+2); err != nil {
		return err
	}
	f.looked(found)
	f.blank = false
	for _, r := range []*record{{kind: recFlags, flags: found.changed}, {kind: recAdd, added: found.added}} {
		r.totals = f.totals
		f.recount(r)
		f.apply(r)
	}
	return f.startOver()
}

// looked puts what the directories were like into the figures, to be written with the last record of what was found.
func (f *Folder) looked(found *findings) {
	if found.heard {
		found.record(&f.totals)
		f.verifyLater()
	}
	for _, at := range []struct {
		l     *listing
		state *dirState
	}{{found.new, &f.totals.new}, {found.cur, &f.totals.cur}} {
		if at.l != nil {
			*at.state = at.l.state
		}
		if len(f.suspects) > 0 || !f.emptied.IsZero() { // whoever comes next, and be it another process, looks again
			at.state.verified = false
		}
	}
}

// scan reads new/ before cur/: what moves goes from new to cur, and is seen at least once. A directory in which nothing has happened
// is not read, unless the other one misses a message that may have gone there.
func (f *Folder) scan() (*findings, error) {
	newToo, err := f.dirChanged("new", &f.totals.new)
	if err != nil {
		return nil, err
	}
	curToo, err := f.dirChanged("cur", &f.totals.cur)
	if err != nil {
		return nil, err
	}
	if f.blank || newToo == curToo || f.waiting() {
		return f.scanOf(true, true)
	}
	found, err := f.scanOf(newToo, curToo)
	if err == nil && (found.crossed || len(found.missing)+len(found.double) > 0) {
		return f.scanOf(true, true)
	}
	return found, err
}

func (f *Folder) scanOf(newToo, curToo bool) (found *findings, err error) {
	found = &findings{}
	if newToo {
		found.new, err = f.list("new")
	}
	if curToo && err == nil {
		found.cur, err = f.list("cur")
	}
	if err != nil {
		if f.present() == ErrUnavailable {
			return nil, ErrUnavailable
		}
		return nil, err
	}
	if newToo && curToo && f.view.Len() == 0 && len(found.new.end)+len(found.cur.end) > 4*chunkLen {
		found.first = true
		return found, nil
	}
	f.match(found)
	return found, nil
}

// match compares the listings with the view.
func (f *Folder) match(found *findings) {
	newToo, curToo := found.new != nil, found.cur != nil
	if f.table == nil {
		f.table = newTable(f.view.Len())
		for k, s := range f.view.slots {
			c := s.get()
			for j := range c.uid {
				f.table.put(cell{hash: hashName(c.key(j)), uid: c.uid[j], place: uint32(f.view.start[k] + j)})
			}
		}
	}
	f.table.settle()
	hit := make([]uint64, (f.view.Len()+63)/64)
	room := 0
	for _, l := range []*listing{found.new, found.cur} {
		if l != nil {
			room += len(l.end)
		}
	}
	room = max(room-f.view.Len(), 0) // the first look has much to add
	fresh := newTable(room)
	found.added = make([]entry, 0, room)
	for _, l := range []*listing{found.new, found.cur} {
		if l != nil {
			if room > 4*chunkLen {
				l.all = string(l.text)
			}
			for i := range l.end {
				f.classify(found, l, i, hit, fresh)
			}
		}
	}
	i := 0
	for _, s := range f.view.slots {
		c := s.get()
		for j, state := range c.state {
			read := curToo
			if state&inNew != 0 {
				read = newToo
			}
			if read && hit[i/64]&(1<<(i%64)) == 0 {
				found.missing = append(found.missing, c.uid[j])
			}
			i++
		}
	}
}

// classify says what one file is: a message as it was, a changed one, a new one, or a second file with a key.
func (f *Folder) classify(found *findings, l *listing, n int, hit []uint64, fresh *table) {
	name := l.name(n)
	key, info := name, []byte(nil)
	if k := bytes.IndexByte(name, ':'); k >= 0 {
		key, info = name[:k], name[k:]
	}
	at := -1
	var is *cell
	h, whole := hashName(key), l.nameHash(n)
	for p := f.table.first(h); f.table.cells[p].uid != 0; p = f.table.next(p) {
		c := &f.table.cells[p]
		if c.hash != h {
			continue
		}
		if c.name == whole && whole != 0 && int(c.place) < f.view.Len() { // nothing has happened to it
			bit := uint64(1) << (c.place % 64)
			if hit[c.place/64]&bit != 0 {
				found.double = append(found.double, l.path(name))
			}
			hit[c.place/64] |= bit
			return
		}
		if i, ok := f.place(c); ok {
			if c, j := f.view.at(i); bytes.Equal(c.key(j), key) {
				at, is = i, &f.table.cells[p]
				break
			}
		}
	}
	if at < 0 {
		for p := fresh.first(h); fresh.cells[p].uid != 0; p = fresh.next(p) {
			if c := &fresh.cells[p]; c.hash == h && found.added[c.uid-1].key == string(key) {
				found.double = append(found.double, l.path(name))
				return
			}
		}
		fresh.put(cell{hash: h, uid: uint32(len(found.added) + 1)})
		e := entry{key: l.kept(n, len(key)), wire: -1, letters: f.letters}
		if l.isNew { // what lies in cur/ has been looked at by some program: it is not recent
			e.state = recent
		}
		e.setName(l.isNew, string(info))
		if _, wire := maildir.Sizes(e.key); wire >= 0 {
			e.wire = wire
		}
		found.added = append(found.added, e)
		return
	}
	if hit[at/64]&(1<<(at%64)) != 0 {
		found.double = append(found.double, l.path(name))
		return
	}
	hit[at/64] |= 1 << (at % 64)
	c, j := f.view.at(at)
	if l.isNew == (c.state[j]&inNew != 0) && sameEnding(c, j, info) {
		is.name = whole
		return
	}
	e := c.entry(j)
	found.crossed = found.crossed || l.isNew != (e.state&inNew != 0)
	before := e.flags
	e.setName(l.isNew, string(info))
	found.changed = append(found.changed, e)
	found.reflag = append(found.reflag, e.flags != before)
}

// place is the index of the message of a cell. Mostly it is where it was last time.
func (f *Folder) place(c *cell) (int, bool) {
	if i := int(c.place); i < f.view.Len() && f.view.UID(i) == c.uid {
		return i, true
	}
	i, ok := f.view.Find(c.uid)
	c.place = uint32(i)
	return i, ok
}

func (l *listing) path(name []byte) string {
	if l.isNew {
		return "new/" + string(name)
	}
	return "cur/" + string(name)
}

// sameEnding compares the end of a file name with what the chunk has, without allocating.
func sameEnding(c *chunk, j int, info []byte) bool {
	switch {
	case c.state[j]&irregular != 0:
		return c.info[j] == string(info)
	case c.state[j]&inNew != 0:
		return len(info) == 0
	}
	var room [64]byte
	return bytes.Equal(letters(append(room[:0], ":2,"...), c.flags[j], c.letters), info)
}

// proven is the missing messages that have gone. A scan that could have missed a name proves nothing by itself, and a
// folder does not lose most of its mail in an instant: a volume may be going away.
func (f *Folder) proven(found *findings) ([]uint32, error) {
	now := time.Now()
	if len(found.missing) == 0 {
		f.suspects, f.emptied = nil, time.Time{}
		return nil, nil
	}
	if n := len(found.missing); n > 100 && n > f.view.Len()/2 && len(found.added) < n/2 {
		if f.emptied.IsZero() {
			f.emptied = now
		}
		if now.Sub(f.emptied) < emptiedWait || !found.whole() {
			return nil, nil
		}
	} else {
		f.emptied = time.Time{}
	}
	missing, gone := found.missing, []uint32(nil)
	if found.whole() && found.new != nil {
		var proof bool
		var err error
		if missing, proof, err = f.nowhere(missing, found.new); err != nil {
			return nil, err
		}
		if proof {
			f.suspects = nil
			return missing, nil
		}
	}
	suspects := make(map[uint32]time.Time, len(missing))
	for _, uid := range missing {
		since, ok := f.suspects[uid]
		if !ok {
			since = now
		}
		if now.Sub(since) >= f.suspectWait() {
			gone = append(gone, uid)
			continue
		}
		suspects[uid] = since
	}
	gone = f.confirmed(gone)
	f.suspects = suspects
	slices.Sort(gone)
	return gone, nil
}

// nowhere is those of the messages that were in neither directory, though some move from cur to new and back while we read: it proves that they
// are gone if nothing happened in new from before cur was read until after. was is new before cur was read.
func (f *Folder) nowhere(missing []uint32, was *listing) (left []uint32, proof bool, err error) {
	for try := 0; ; try++ {
		again, err := f.list("new")
		if err != nil {
			return nil, false, err
		}
		if was.state.verified && again.state.mtime == was.state.mtime && again.state.sum == was.state.sum {
			return missing, true, nil
		}
		if _, missing = f.split(missing, again); len(missing) == 0 || try == 3 || !again.whole {
			return missing, len(missing) == 0, nil
		}
		cur, err := f.list("cur")
		if err != nil {
			return nil, false, err
		}
		if _, missing = f.split(missing, cur); len(missing) == 0 || !cur.whole {
			return missing, len(missing) == 0, nil
		}
		was = again
	}
}

// confirmed is those of the missing messages that further listings do not find either.
func (f *Folder) confirmed(missing []uint32) []uint32 {
	for n := 0; n < suspectLists && len(missing) > 0; n++ {
		whole := true
		for _, dir := range []string{"new", "cur", "new"} {
			l, err := f.list(dir)
			if err != nil {
				return nil
			}
			_, missing = f.split(missing, l)
			whole = whole && l.whole
		}
		if whole {
			break
		}
	}
	return missing
}

// split tells the missing messages that another listing has from those that are gone.
func (f *Folder) split(missing []uint32, l *listing) (there, gone []uint32) {
	keys := make(map[string]bool, len(l.end))
	for i := range l.end {
		keys[maildir.Key(string(l.name(i)))] = true
	}
	for _, uid := range missing {
		i, _ := f.view.Find(uid)
		if c, j := f.view.at(i); keys[string(c.key(j))] {
			there = append(there, uid)
		} else {
			gone = append(gone, uid)
		}
	}
	return there, gone
}

// pair keeps the UID of a message whose name got sizes appended later (",S=" and the like): a missing and a new message
// with the same base, each the only one.
func (f *Folder) pair(found *findings, gone *[]uint32, modseq uint64) error {
	if len(*gone) == 0 || len(found.added) == 0 {
		return nil
	}
	bases := map[string]uint32{}
	for _, uid := range *gone {
		i, _ := f.view.Find(uid)
		c, j := f.view.at(i)
		base := maildir.Base(string(c.key(j)))
		if _, twice := bases[base]; twice {
			bases[base] = 0
		} else {
			bases[base] = uid
		}
	}
	added := found.added[:0]
	for _, e := range found.added {
		uid := bases[maildir.Base(e.key)]
		if uid == 0 {
			added = append(added, e)
			continue
		}
		bases[maildir.Base(e.key)] = 0
		i, _ := f.view.Find(uid)
		c, j := f.view.at(i)
		old := c.entry(j)
		changed := e
		changed.uid, changed.modseq, changed.saved, changed.received, changed.over = uid, old.modseq, old.saved, old.received, old.over
		if changed.flags != old.flags {
			changed.modseq = modseq
		}
		found.changed, found.reflag = append(found.changed, changed), append(found.reflag, changed.flags != old.flags)
		left := (*gone)[:0]
		for _, u := range *gone {
			if u != uid {
				left = append(left, u)
			}
		}
		*gone = left
		var b batch
		b.message(uid, &line{key: e.key, saved: old.saved, size: -1, wire: -1, over: old.over})
		if err := f.appendUIDs(&b, false); err != nil {
			return err
		}
	}
	found.added = added
	return nil
}

// number gives UIDs to new messages in the order in which they were delivered, and writes them down.
func (f *Folder) number(added []entry, modseq uint64) (sorted []entry, err error) {
	if len(added) == 0 {
		return nil, nil
	}
	sorted, b := f.arrange(added, modseq)
	return sorted, f.appendUIDs(b, false)
}

// arrange is number, without what goes to the disk.
func (f *Folder) arrange(added []entry, modseq uint64) (sorted []entry, b *batch) {
	type stamp struct {
		sec, usec, seq int64
		i              int
	}
	order := make([]stamp, len(added))
	room := 128
	for i := range added {
		at := &order[i]
		at.sec, at.usec, at.seq = stampOf(added[i].key)
		at.i = i
		room += len(added[i].key) + len(" D1234567890 :1234567\n")
	}
	slices.SortFunc(order, func(a, b stamp) int {
		if n := cmp.Or(cmp.Compare(a.sec, b.sec), cmp.Compare(a.usec, b.usec), cmp.Compare(a.seq, b.seq)); n != 0 {
			return n
		}
		return strings.Compare(added[a.i].key, added[b.i].key)
	})
	b = &batch{text: make([]byte, 0, room)}
	now := wall().Unix()
	sorted = make([]entry, len(added))
	for n := range order {
		e := &sorted[n]
		*e = added[order[n].i]
		e.uid, e.modseq, e.saved = f.totals.uidNext+uint32(n), modseq, now
		b.message(e.uid, &line{key: e.key, saved: e.saved, size: -1, wire: -1, over: e.over})
	}
	return sorted, b
}

// bury writes tombstones for messages whose files are gone, and takes them out of the folder.
func (f *Folder) bury(gone []uint32, modseq uint64) error {
	t := tombstone{modseq: modseq, time: wall().Unix()}
	for _, uid := range gone {
		t.uids.Add(uid)
	}
	var b batch
	b.gone(t)
	if err := f.appendUIDs(&b, false); err != nil {
		return err
	}
	return f.write(&record{kind: recGone, gone: gone, modseq: modseq})
}

// separate gives files with the key of another file a key of their own; a second name of the same file goes. A file that moved while we
// read has two names too, for a moment: only those that are still there together count.
func (f *Folder) separate(paths []string) {
	doubled := map[string][]string{}
	for _, path := range paths {
		doubled[maildir.Key(path[4:])] = nil
	}
	for _, dir := range []string{"cur/", "new/"} {
		names, err := f.disk.ReadDir(dir[:3])
		if err != nil {
			return
		}
		for _, name := range names {
			if key := maildir.Key(name); name[0] != '.' {
				if at, ok := doubled[key]; ok {
					doubled[key] = append(at, dir+name)
				}
			}
		}
	}
	for key, at := range doubled {
		var kept []durable.Info
		for _, path := range at {
			info, err := f.disk.Stat(path)
			if err != nil || !info.Mode.IsRegular() {
				continue
			}
			if slices.ContainsFunc(kept, func(k durable.Info) bool { return k.Inode == info.Inode && k.Dev == info.Dev }) {
				if info.Links > 1 {
					f.disk.Remove(path)
				}
				continue
			}
			if kept = append(kept, info); len(kept) == 1 {
				continue
			}
			if wire, err := f.countWire(path); err == nil {
				f.disk.RenameNew(path, path[:4]+newKey(wall(), f.account.host, info.Size, wire)+path[4+len(key):])
			}
		}
	}
}
