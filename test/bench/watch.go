package main

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// arrivals counts the names that appear in the new/ of Maildirs, by inotify: a count in the kernel's order costs the measured
// machine less than looking.
type arrivals struct {
	fd    *os.File
	count atomic.Int64
	mu    sync.Mutex
	at    map[string]time.Time // when each name appeared; nil: not asked for
}

// watchNew watches DIR/new of every Maildir.
func watchNew(maildirs []string, times bool) (*arrivals, error) {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, err
	}
	a := &arrivals{fd: os.NewFile(uintptr(fd), "inotify")}
	if times {
		a.at = map[string]time.Time{}
	}
	for _, dir := range maildirs {
		if _, err := unix.InotifyAddWatch(fd, filepath.Join(dir, "new"), unix.IN_MOVED_TO|unix.IN_CREATE); err != nil {
			a.fd.Close()
			return nil, fmt.Errorf("%s: %w", dir, err)
		}
	}
	go a.read()
	return a, nil
}

func (a *arrivals) close() { a.fd.Close() }

func (a *arrivals) read() {
	buf := make([]byte, 256<<10)
	for {
		n, err := a.fd.Read(buf)
		if err != nil {
			return
		}
		now := time.Now()
		for b := buf[:n]; len(b) >= unix.SizeofInotifyEvent; {
			length := binary.NativeEndian.Uint32(b[12:])
			if a.at != nil {
				name := string(trimNUL(b[16 : 16+length]))
				a.mu.Lock()
				a.at[name] = now
				a.mu.Unlock()
			}
			a.count.Add(1)
			b = b[16+length:]
		}
	}
}

func trimNUL(b []byte) []byte {
	for len(b) > 0 && b[len(b)-1] == 0 {
		b = b[:len(b)-1]
	}
	return b
}

// wait returns when n names have appeared.
func (a *arrivals) wait(n int64, limit time.Duration) error {
	return waitCount(&a.count, n, limit)
}

func waitCount(count *atomic.Int64, n int64, limit time.Duration) error {
	for deadline := time.Now().Add(limit); count.Load() < n; time.Sleep(500 * time.Microsecond) {
		if time.Now().After(deadline) {
			return fmt.Errorf("%d of %d after %v", count.Load(), n, limit)
		}
	}
	return nil
}
