package durable

import (
	"crypto/rand"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

/*
A lock is flock(2) of a file that is never renamed or removed; the kernel lets go of it when its holder dies. Where the mount has no such
locks, or has them in name only (two descriptors of one process can both hold one), a lock is a file beside it, made by link(2), which works
on every NFS:

	mb-lock         empty
	mb-lock.l       held: "HOST PID BOOT", its time put forward by the holder every ten seconds
	mb-lock.RANDOM  somebody is at it; removed at once

A file mb-lock.l whose time is two minutes behind that of a file made now, both by the clock of the file server, is of a holder that died. Who
holds such a lock and is stopped for two minutes has lost it.
*/
const (
	lockRefresh = 10 * time.Second
	lockStale   = 2 * time.Minute
)

// flock is a variable for tests.
var flock = unix.Flock

// kernelLock is a file held with flock(2).
type kernelLock struct{ fd int }

func (l kernelLock) Close() error { return unix.Close(l.fd) }

func (d *disk) TryLock(name string) (io.Closer, error) {
	fd, err := d.open(name, unix.O_RDWR|unix.O_CREAT, 0o600|d.share&0o060)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: name, Err: err}
	}
	err = flock(fd, unix.LOCK_EX|unix.LOCK_NB)
	switch {
	case err == unix.EWOULDBLOCK:
		unix.Close(fd)
		return nil, ErrLocked
	case err == unix.ENOLCK, err == unix.EOPNOTSUPP, err == unix.ENOSYS, err == unix.EINVAL, err == nil && !d.excludes(name, fd):
		unix.Close(fd)
		return d.dotLock(name)
	case err != nil:
		unix.Close(fd)
		return nil, &fs.PathError{Op: "flock", Path: name, Err: err}
	}
	return kernelLock{fd}, nil
}

// locking says of each device whether its locks exclude; it is found out once.
var locking sync.Map // uint64: bool

// excludes reports whether the lock that fd holds keeps another descriptor out. File systems of this machine are believed.
func (d *disk) excludes(name string, fd int) bool {
	var st unix.Stat_t
	if unix.Fstat(fd, &st) != nil {
		return true
	}
	if known, ok := locking.Load(st.Dev); ok {
		return known.(bool)
	}
	yes := true
	if !local(fd) {
		if other, err := d.open(name, unix.O_RDWR, 0); err == nil {
			yes = flock(other, unix.LOCK_EX|unix.LOCK_NB) != nil
			unix.Close(other)
		}
	}
	locking.Store(st.Dev, yes)
	return yes
}

// local reports whether the file is on a file system of this machine's own, whose locks and times are this kernel's. It is a variable for tests.
var local = func(fd int) bool {
	var at unix.Statfs_t
	if unix.Fstatfs(fd, &at) != nil {
		return false
	}
	switch at.Type {
	case unix.EXT4_SUPER_MAGIC, unix.XFS_SUPER_MAGIC, unix.BTRFS_SUPER_MAGIC, unix.TMPFS_MAGIC, unix.OVERLAYFS_SUPER_MAGIC:
		return true
	}
	return false
}

// dotLock is a lock where the kernel has none.
type dotLock struct {
	d     *disk
	name  string
	file  File // open, so that its inode is no other's
	inode uint64
	stop  chan struct{}
	ended chan struct{}
}

func (d *disk) dotLock(name string) (io.Closer, error) {
	held, mine := name+".l", name+"."+strings.ToLower(rand.Text())
	host, _ := os.Hostname()
	boot, _ := os.ReadFile("/proc/sys/kernel/random/boot_id")
	f, err := d.Create(mine, 0o600|fs.FileMode(d.share&0o060))
	if err != nil {
		return nil, err
	}
	defer d.Remove(mine)
	if _, err = fmt.Fprintf(f, "%s %d %s", host, os.Getpid(), boot); err != nil {
		f.Close()
		return nil, err
	}
	d.Link(mine, held) // an answer that was lost on the way says nothing: the number of names does
	info, err := d.Stat(mine)
	if err == nil && info.Links != 2 {
		err = d.breakStale(held, mine, info.ModTime)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	l := &dotLock{d: d, name: held, file: f, inode: info.Inode, stop: make(chan struct{}), ended: make(chan struct{})}
	go l.refresh()
	return l, nil
}

// breakStale takes a lock away whose holder died; it is then for whoever comes next. now is the time of the file server. It gives ErrLocked.
func (d *disk) breakStale(held, mine string, now time.Time) error {
	was, err := d.Stat(held)
	if err != nil || now.Sub(was.ModTime) < lockStale {
		return ErrLocked
	}
	away := mine + ".stale"
	if d.Rename(held, away) != nil {
		return ErrLocked
	}
	if is, err := d.Stat(away); err == nil && (is.Inode != was.Inode || !is.ModTime.Equal(was.ModTime)) { // another broke it, and somebody has it now
		d.Link(away, held)
	}
	d.Remove(away)
	return ErrLocked
}

func (l *dotLock) refresh() {
	defer close(l.ended)
	tick := time.NewTicker(lockRefresh)
	defer tick.Stop()
	for {
		select {
		case <-l.stop:
			return
		case <-tick.C:
			unix.Futimes(int(l.file.Fd()), nil) // the time of the file server
		}
	}
}

// Close gives the lock back, if it was not taken away.
func (l *dotLock) Close() error {
	close(l.stop)
	<-l.ended
	defer l.file.Close()
	if is, err := l.d.Stat(l.name); err != nil || is.Inode != l.inode {
		return nil
	}
	return l.d.Remove(l.name)
}

// Remote reports whether the disk is a file server's, as far as it can be told: its times are of another clock, and may be coarse.
func Remote(d Disk) bool {
	r, ok := d.(interface{ remote() bool })
	return ok && r.remote()
}

func (d *disk) remote() bool { return !local(d.fd) }
