package durable

import (
	"io"
	"io/fs"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// file is an open regular file without the weight of os.File: no poller, no finalizer. It must be closed.
type file struct {
	fd    int
	name  string
	mu    sync.Mutex // of known
	seen  unix.Stat_t
	known bool // seen is what the file was when it was opened, and nobody asked yet
}

// syncs bounds the system calls that wait for a disk: each holds a thread, and more than some
// dozen at once gain nothing.
var syncs = make(chan struct{}, 32)

func fsync(fd int) error {
	syncs <- struct{}{}
	err := unix.Fsync(fd)
	for err == unix.EINTR {
		err = unix.Fsync(fd)
	}
	<-syncs
	return err
}

// regular makes a File of what an open gave.
func regular(fd int, name string, err error) (File, error) {
	f := &file{fd: fd, name: name, known: true}
	if err == nil {
		if err = unix.Fstat(fd, &f.seen); err == nil && f.seen.Mode&unix.S_IFMT != unix.S_IFREG {
			err = ErrNotRegular
		}
		if err != nil {
			unix.Close(fd)
		}
	}
	switch err {
	case nil:
		return f, nil
	case unix.ELOOP, unix.ENXIO, unix.EISDIR: // symlink; socket or FIFO nobody reads; directory
		err = ErrNotRegular
	}
	return nil, &fs.PathError{Op: "open", Path: name, Err: err}
}

// FromFd is an open descriptor (inherited, or received with an order) as a File; regular files only.
// On an error the descriptor is closed.
func FromFd(fd uintptr, name string) (File, error) { return regular(int(fd), name, nil) }

func (f *file) fail(op string, err error) error {
	if err == nil {
		return nil
	}
	return &fs.PathError{Op: op, Path: f.name, Err: err}
}

func (f *file) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	n, err := again(func() (int, error) { return unix.Read(f.fd, p) })
	if err != nil {
		return 0, f.fail("read", err)
	}
	if n == 0 {
		return 0, io.EOF
	}
	return n, nil
}

func (f *file) ReadAt(p []byte, off int64) (n int, err error) {
	for n < len(p) {
		m, err := again(func() (int, error) { return unix.Pread(f.fd, p[n:], off+int64(n)) })
		if err != nil {
			return n, f.fail("read", err)
		}
		if m == 0 {
			return n, io.EOF
		}
		n += m
	}
	return n, nil
}

func (f *file) Write(p []byte) (n int, err error) {
	for n < len(p) {
		m, err := again(func() (int, error) { return unix.Write(f.fd, p[n:]) })
		if err != nil {
			return n, f.fail("write", err)
		}
		n += m
	}
	return n, nil
}

func (f *file) WriteAt(p []byte, off int64) (n int, err error) {
	for n < len(p) {
		m, err := again(func() (int, error) { return unix.Pwrite(f.fd, p[n:], off+int64(n)) })
		if err != nil {
			return n, f.fail("write", err)
		}
		n += m
	}
	return n, nil
}

func (f *file) Sync() error { return f.fail("sync", fsync(f.fd)) }

func (f *file) Close() error {
	if f.fd < 0 {
		return fs.ErrClosed
	}
	err := unix.Close(f.fd)
	f.fd = -1
	if err == unix.EINTR { // closed all the same
		err = nil
	}
	return f.fail("close", err)
}

func (f *file) Fd() uintptr { return uintptr(f.fd) }

func (f *file) Stat() (Info, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.known {
		if err := unix.Fstat(f.fd, &f.seen); err != nil {
			return Info{}, f.fail("stat", err)
		}
	}
	f.known = false
	return info(&f.seen), nil
}

func info(st *unix.Stat_t) Info {
	mode := fs.FileMode(st.Mode & 0o777)
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFDIR:
		mode |= fs.ModeDir
	case unix.S_IFLNK:
		mode |= fs.ModeSymlink
	case unix.S_IFIFO:
		mode |= fs.ModeNamedPipe
	case unix.S_IFSOCK:
		mode |= fs.ModeSocket
	case unix.S_IFBLK:
		mode |= fs.ModeDevice
	case unix.S_IFCHR:
		mode |= fs.ModeDevice | fs.ModeCharDevice
	}
	if st.Mode&unix.S_ISUID != 0 {
		mode |= fs.ModeSetuid
	}
	if st.Mode&unix.S_ISGID != 0 {
		mode |= fs.ModeSetgid
	}
	if st.Mode&unix.S_ISVTX != 0 {
		mode |= fs.ModeSticky
	}
	return Info{
		Mode: mode, Size: st.Size, ModTime: time.Unix(st.Mtim.Unix()),
		Dev: uint64(st.Dev), Inode: st.Ino, Links: uint64(st.Nlink), UID: st.Uid, GID: st.Gid,
	}
}

func itoa(n int) string { return strconv.Itoa(n) }
