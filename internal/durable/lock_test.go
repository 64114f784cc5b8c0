package durable

import (
	"errors"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Two kinds of mount without locks: one says so, one gives the lock to everybody.
func TestLockWithoutKernel(t *testing.T) {
	defer func(f func(int, int) error, l func(int) bool) { flock, local = f, l }(flock, local)
	for name, answer := range map[string]error{"there are none": unix.ENOLCK, "in name only": nil} {
		flock = func(int, int) error { return answer }
		local = func(int) bool { return false }
		locking.Clear()
		t.Run(name, dotLocks)
	}
	locking.Clear()
}

func dotLocks(t *testing.T) {
	dir := t.TempDir()
	open := func() Locker {
		d, err := Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { d.Close() })
		return d.(Locker)
	}
	one, other := open(), open()
	lock, err := one.TryLock("mb-lock")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := other.TryLock("mb-lock"); !errors.Is(err, ErrLocked) {
		t.Fatal(err)
	}
	old := time.Now().Add(-lockStale - time.Second) // its holder died
	os.Chtimes(filepath.Join(dir, "mb-lock.l"), old, old)
	if _, err := other.TryLock("mb-lock"); !errors.Is(err, ErrLocked) {
		t.Fatal(err)
	}
	second, err := other.TryLock("mb-lock")
	if err != nil {
		t.Fatal(err)
	}
	lock.Close() // who comes back has lost it, and takes nothing away
	if _, err := one.TryLock("mb-lock"); !errors.Is(err, ErrLocked) {
		t.Fatal(err)
	}
	second.Close()

	var holders, turns atomic.Int32
	var all sync.WaitGroup
	for range 8 {
		d := open()
		all.Go(func() {
			for range 25 {
				lock, err := d.TryLock("mb-lock")
				for errors.Is(err, ErrLocked) {
					time.Sleep(100 * time.Microsecond)
					lock, err = d.TryLock("mb-lock")
				}
				if err != nil {
					t.Error(err)
					return
				}
				if n := holders.Add(1); n != 1 {
					t.Errorf("%d hold the lock", n)
				}
				turns.Add(1)
				holders.Add(-1)
				lock.Close()
			}
		})
	}
	all.Wait()
	left, _ := os.ReadDir(dir)
	if turns.Load() != 200 || len(left) != 1 || left[0].Name() != "mb-lock" {
		t.Errorf("%d turns, left %v", turns.Load(), left)
	}
}
