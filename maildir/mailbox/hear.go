package mailbox

import (
	"context"
	"maps"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/fsnotify/fsnotify"

	"pennypost/maildir"
)

/*
A folder that is watched hears the names that others touch, and a look then need not read the whole directory to know what a rename
or a delivery did: it looks at those names. What a name shows is true, since the file is looked at under the lock; what it does not show, and
an event may still be on its way, is found by the next event or by a scan that verifies, soon after. A message whose file is under none of
the names heard is never taken for gone: that, like two files of one key, is for a scan to find.
*/

// heardMost is how many names are worth looking at one by one.
const heardMost = 64

// heard is what a watched folder has heard of new/ and cur/.
type heard struct {
	mu     sync.Mutex
	on     bool            // somebody listens
	whole  bool            // the states of both directories were true while we listened already, so nothing was missed since
	names  map[string]bool // paths
	missed bool            // there were too many, or the queue ran over
}

// listen begins or ends to listen.
func (h *heard) listen(on bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.on, h.whole, h.names, h.missed = on, false, nil, false
}

// note takes in an event.
func (h *heard) note(e fsnotify.Event) {
	dir, name := filepath.Split(e.Name)
	dir = filepath.Base(dir)
	if dir != "new" && dir != "cur" || name == "" || name[0] == '.' || e.Op == fsnotify.Chmod || e.Op == fsnotify.Write {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.on || h.missed {
		return
	}
	if h.names == nil {
		h.names = map[string]bool{}
	}
	if h.names[dir+"/"+name] = true; len(h.names) > heardMost {
		h.names, h.missed = nil, true
	}
}

// miss says that events were lost.
func (h *heard) miss() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.names, h.missed = nil, true
}

// take gives what was heard and forgets it; ok is false where it may not be all.
func (h *heard) take() (names map[string]bool, ok bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	names, ok = h.names, h.on && h.whole && !h.missed
	h.names, h.missed = nil, false
	return names, ok
}

// some reports whether there are names that nobody has looked at.
func (h *heard) some() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.on && h.whole && len(h.names) > 0
}

// settled says that the directories are as recorded, at a moment at which we have been listening since before.
func (h *heard) settled(listening bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.whole = h.whole || listening && h.on
}

func (h *heard) listening() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.on
}

// news reports whether one of the names heard says something that the view does not: without the lock, so that what we renamed ourselves costs
// a look at each name and no more.
func (f *Folder) news() bool {
	if f.view == nil || f.table == nil || !f.heard.some() { // without a table nothing has been recorded by names alone
		return false
	}
	f.heard.mu.Lock()
	names := slices.Collect(maps.Keys(f.heard.names))
	f.heard.mu.Unlock()
	for _, path := range names {
		at, ours := f.known(maildir.Key(path[4:]))
		if ours {
			c, j := f.view.at(at)
			e := c.entry(j)
			ours = path == e.path()
		}
		if _, err := f.disk.Stat(path); (err == nil) != ours { // of a rename, the old name by itself is not to be forgotten
			return true
		}
	}
	f.heard.mu.Lock()
	defer f.heard.mu.Unlock()
	for _, path := range names {
		delete(f.heard.names, path)
	}
	return false
}

// known is the index of the message with this key. The table is there.
func (f *Folder) known(key string) (int, bool) {
	h := hashName(key)
	for p := f.table.first(h); f.table.cells[p].uid != 0; p = f.table.next(p) {
		if c := &f.table.cells[p]; c.hash == h {
			if i, ok := f.place(c); ok {
				if c, j := f.view.at(i); string(c.key(j)) == key {
					return i, true
				}
			}
		}
	}
	return 0, false
}

// scanHeard is a scan of the names heard; nil where the directories have to be read. The lock is held.
func (f *Folder) scanHeard() *findings {
	names, ok := f.heard.take()
	if !ok || len(names) == 0 || f.view == nil || f.table == nil || f.blank || len(f.suspects) > 0 || !f.emptied.IsZero() || f.verifyDue() {
		return nil
	}
	found := &findings{heard: true}
	for _, d := range []struct {
		name string
		to   *int64
	}{{"new", &found.newTime}, {"cur", &found.curTime}} {
		info, err := f.disk.Stat(d.name)
		if err != nil {
			return nil
		}
		*d.to = info.ModTime.UnixNano()
	}
	f.table.settle()
	byKey := map[string][]string{}
	for path := range names {
		key := maildir.Key(path[4:])
		byKey[key] = append(byKey[key], path)
	}
	for key, paths := range byKey {
		at, known := f.known(key)
		var e entry
		if known {
			c, j := f.view.at(at)
			e = c.entry(j)
			if !names[e.path()] {
				paths = append(paths, e.path())
			}
		}
		there, inode := "", uint32(0)
		for _, path := range paths {
			info, err := f.disk.Stat(path)
			if err != nil {
				continue
			}
			if there != "" || !info.Mode.IsRegular() {
				return nil
			}
			there, inode = path, inodeOf(info.Inode)
		}
		switch {
		case there == "" && known:
			return nil // gone, or renamed again just now
		case there == "":
		case !known:
			found.added = append(found.added, f.newEntry(key, there[:4] == "new/", there[4+len(key):], inode))
		case there != e.path():
			before := e
			e.setName(there[:4] == "new/", there[4+len(key):])
			e.inode = inode
			found.changed, found.was = append(found.changed, e), append(found.was, before)
			found.reflag = append(found.reflag, e.flags != before.flags)
		}
	}
	return found
}

// record puts what the names showed into the states of the directories.
func (found *findings) record(t *totals) {
	sum := func(e *entry, by uint64) {
		d := &t.cur
		if e.state&inNew != 0 {
			d = &t.new
		}
		h := hashName(e.key + e.ending())
		d.sum += h * by
		d.count += uint32(by)
	}
	for i := range found.changed {
		sum(&found.was[i], ^uint64(0))
		sum(&found.changed[i], 1)
	}
	for i := range found.added {
		sum(&found.added[i], 1)
	}
	for _, d := range []struct {
		state *dirState
		time  int64
	}{{&t.new, found.newTime}, {&t.cur, found.curTime}} {
		if d.state.mtime != d.time {
			d.state.mtime, d.state.verified = d.time, false
		}
	}
}

// verifyWait is how long after a change the directories are read to verify it: reading them takes a hundredth of the time at most.
func (f *Folder) verifyWait() time.Duration {
	return max(time.Second, 100*scanCost*time.Duration(f.totals.cur.count+f.totals.new.count))
}

// verifyDue reports whether what names showed has not been verified for that long.
func (f *Folder) verifyDue() bool {
	return !f.unverified.IsZero() && time.Since(f.unverified) > f.verifyWait()
}

// verifyLater has the directories read when that is due, before somebody has to wait for it.
func (f *Folder) verifyLater() {
	if !f.unverified.IsZero() {
		return
	}
	f.unverified = time.Now()
	time.AfterFunc(f.verifyWait()+10*time.Millisecond, func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		if f.opened && f.verifyDue() {
			f.look(context.Background(), true) // what fails now fails for the next who looks, and he is told
		}
	})
}

// prick has the folder listen while nobody waits for it; f.mu is held.
func (f *Folder) prick() {
	if f.ear == nil && f.opened && f.table != nil {
		f.ear = f.OnChange(func() {})
		if changed, err := f.dirsChanged(); err == nil && !changed {
			f.heard.settled(f.heard.listening())
		}
	}
}

// deafen ends that: who changes much himself would hear himself. f.mu is held.
func (f *Folder) deafen() {
	if f.ear != nil {
		f.ear()
		f.ear = nil
	}
}
