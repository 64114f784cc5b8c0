package local

import (
	"container/list"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"pennypost/maildir"
)

// trusted is how long a Maildir held open is believed to be the one its path names.
const trusted = time.Second

// mostOpen is how many Maildirs are held open. Each is three descriptors; some hundred are for orders.
var mostOpen = func() int {
	var limit unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &limit) != nil {
		return 64
	}
	return int(max(64, min(2000, (int64(min(limit.Cur, 1<<20))-512)/4)))
}()

// boxes are the Maildirs held open, so that a delivery walks no path and cannot be led astray by a
// directory that is swapped under it (S125).
type boxes struct {
	store *maildir.Store
	mu    sync.Mutex
	open  map[string]*box
	byAge list.List // most recently used first
}

// box is one Maildir held open. It stays open while a copy is on its way into it.
type box struct {
	*maildir.Maildir
	inode   uint64
	checked time.Time
	users   int
	gone    bool // out of the cache: closed with its last user
	at      *list.Element

	// Of an account's own Maildir, where it has a quota:
	quota    *maildir.Quota
	user     string
	reserved int64 // octets on their way in
	coming   int64 // messages
	marked   bool  // in state/over
}

// get gives the Maildir root; it is made where it is missing. Every get is followed by a put.
func (s *boxes) get(root string, now time.Time) (*box, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if b := s.open[root]; b != nil {
		if now.Sub(b.checked) < trusted || s.same(b) {
			if now.Sub(b.checked) >= trusted {
				b.checked = now
			}
			b.users++
			s.byAge.MoveToFront(b.at)
			return b, nil
		}
		s.drop(b)
	}
	m, err := s.store.Get(root)
	if err != nil {
		return nil, err
	}
	m.Tidy(now)
	b := &box{Maildir: m, inode: inode(m), checked: now, users: 1}
	b.at = s.byAge.PushFront(b)
	s.open[root] = b
	for e := s.byAge.Back(); e != nil && s.byAge.Len() > mostOpen; {
		old := e.Value.(*box)
		e = e.Prev()
		if old.users == 0 {
			s.drop(old)
		}
	}
	return b, nil
}

// put ends a use of b.
func (s *boxes) put(b *box) {
	s.mu.Lock()
	defer s.mu.Unlock()
	b.users--
	if b.gone && b.users == 0 {
		b.Close()
	}
}

// forget makes the next get open the path anew: what we hold is not there any more.
func (s *boxes) forget(b *box) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !b.gone {
		s.drop(b)
	}
}

func (s *boxes) drop(b *box) {
	s.byAge.Remove(b.at)
	delete(s.open, b.Root)
	b.gone = true
	if b.users == 0 {
		b.Close()
	}
}

// same reports whether the path still leads to what is held open, and it is complete.
func (s *boxes) same(b *box) bool {
	m, err := s.store.Existing(b.Root)
	if err != nil {
		return false
	}
	defer m.Close()
	i := inode(m)
	return i != 0 && i == b.inode
}

// inode names the directory new/ itself: that is where a message would be lost.
func inode(m *maildir.Maildir) uint64 {
	info, err := m.Disk.Stat("new")
	if err != nil {
		return 0
	}
	return info.Inode
}

// closeAll lets go of every Maildir nobody uses.
func (s *boxes) closeAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for e := s.byAge.Front(); e != nil; {
		b := e.Value.(*box)
		e = e.Next()
		s.drop(b)
	}
}
