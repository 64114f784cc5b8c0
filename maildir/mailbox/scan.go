package mailbox

import (
	"bytes"
)

// findings is what a scan says about the folder.
type findings struct {
	changed  []entry  // as they are now; flags may be the same and only the place be new
	reflag   []bool   // of changed: the flags are not what they were
	added    []entry  // without UID
	missing  []uint32 // UIDs no file was found for
	double   []string // paths whose key was found before
	doubted  bool     // some of missing are still taken to be there
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
		found.added = append(found.added, f.newEntry(l.kept(n, len(key)), l.isNew, string(info), l.inode[n]))
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
	e.inode = l.inode[n]
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
