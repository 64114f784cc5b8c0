package mailbox

import (
	"context"
	"path/filepath"

	"pennypost/internal/durable"
)

// standing is what a folder was like when its figures were last asked for: as long as three stat(2) say that nothing has happened, STATUS of it
// need not open it.
type standing struct {
	counts    Counts
	uncounted uint32 // messages whose size is not in the counts
	new, cur  int64  // times of the directories
	log       uint64 // inode: who replaces mb-index ends the log, and begins another
	logName   string
	logSize   int64
}

// Counts is the figures of a mailbox, as Folder.Counts and, if weighed, Folder.Weighed give them.
func (a *Account) Counts(ctx context.Context, name string, weighed bool) (Counts, error) {
	dir, err := a.dirOf(name)
	if err != nil {
		return Counts{}, err
	}
	a.mu.Lock()
	s := a.standing[dir]
	a.mu.Unlock()
	if s != nil && (s.uncounted == 0 || !weighed) && a.stands(dir, s) {
		return s.counts, nil
	}
	f, err := a.Folder(name)
	if err != nil {
		a.mu.Lock()
		delete(a.standing, dir)
		a.mu.Unlock()
		return Counts{}, err
	}
	defer f.Close()
	n, err := f.Counts(ctx)
	if err != nil {
		return n, err
	}
	f.mu.Lock()
	s = f.stand()
	f.mu.Unlock()
	a.mu.Lock()
	if s != nil {
		a.standing[dir] = s
	} else {
		delete(a.standing, dir)
	}
	a.mu.Unlock()
	if weighed {
		return f.Weighed(ctx)
	}
	return n, nil
}

// stands reports whether a folder is as it was.
func (a *Account) stands(dir string, s *standing) bool {
	names := [...]string{"new", "cur", s.logName}
	var is [len(names)]durable.Info
	if g, ok := a.disk.(durable.Glancer); ok {
		if g.Glance(dir, names[:], is[:]) != nil {
			return false
		}
	} else {
		for i, name := range names {
			var err error
			if is[i], err = a.disk.Stat(filepath.Join(dir, name)); err != nil {
				return false
			}
		}
	}
	return is[0].ModTime.UnixNano() == s.new && is[1].ModTime.UnixNano() == s.cur && is[2].Inode == s.log && is[2].Size == s.logSize
}

// stand is what the folder is like now; nil when a look could find more though nothing happens in the meantime. f.mu is held.
func (f *Folder) stand() *standing {
	t := &f.totals
	if !f.opened || f.snap == nil || f.snap.bad.Load() || !t.new.verified || !t.cur.verified || len(f.suspects) > 0 || !f.emptied.IsZero() {
		return nil
	}
	return &standing{counts: f.counts(), uncounted: t.uncounted, new: t.new.mtime, cur: t.cur.mtime, log: f.logInode, logName: logName(f.gen), logSize: f.pos}
}
