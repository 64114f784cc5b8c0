package durable

import (
	"encoding/binary"
	"errors"
	"io"
	"io/fs"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A Lister reads a directory so that a reader can trust what it does not find in it.
type Lister interface {
	// List calls each for every entry (name is valid during the call only; kind is a DT_ constant, DT_UNKNOWN where the
	// file system does not say). whole: all came from one system call on a file system where that call cannot
	// miss or double a name that is being renamed (ext4, XFS, tmpfs).
	List(dir string, each func(name []byte, inode uint64, kind byte)) (whole bool, err error)
}

// Kinds of directory entries, as List gives them.
const (
	KindUnknown = unix.DT_UNKNOWN
	KindRegular = unix.DT_REG
	KindDir     = unix.DT_DIR
	KindLink    = unix.DT_LNK
)

// ErrLocked is what TryLock gives while another process holds the lock.
var ErrLocked = errors.New("locked")

// A Locker is a Disk whose files can be locked against other processes. A lock ends with its holder.
type Locker interface {
	TryLock(name string) (io.Closer, error) // the file is made if missing
}

// listMost is the largest buffer for one listing; beyond it a directory is read in pieces.
const listMost = 64 << 20

func (d *disk) List(dir string, each func(name []byte, inode uint64, kind byte)) (bool, error) {
	if err := valid("open", dir); err != nil {
		return false, err
	}
	fd, err := d.listFd(dir)
	if err != nil {
		return false, &fs.PathError{Op: "open", Path: dir, Err: err}
	}
	defer unix.Close(fd)
	var at unix.Statfs_t
	onecall := unix.Fstatfs(fd, &at) == nil && (at.Type == unix.EXT4_SUPER_MAGIC || at.Type == unix.XFS_SUPER_MAGIC || at.Type == unix.TMPFS_MAGIC)
	var st unix.Stat_t
	unix.Fstat(fd, &st)
	for size := max(128<<10, int(st.Size)+int(st.Size)/4); ; size *= 4 {
		size = min(size, listMost)
		whole, again, err := listOnce(fd, size, size < listMost, each)
		if !again {
			if err != nil {
				err = &fs.PathError{Op: "readdir", Path: dir, Err: err}
			}
			return whole && onecall, err
		}
		if _, err := unix.Seek(fd, 0, io.SeekStart); err != nil {
			return false, &fs.PathError{Op: "seek", Path: dir, Err: err}
		}
	}
}

func (d *disk) listFd(dir string) (int, error) {
	at, path := d.fd, dir
	if n, ok := d.held.Load(dir); ok {
		at, path = int(n.(*atomic.Int64).Load()), "."
	}
	if path == "." {
		return again(func() (int, error) { return unix.Openat(at, ".", unix.O_RDONLY|dirFlags, 0) })
	}
	return d.resolve(path, unix.O_RDONLY|dirFlags, 0)
}

// listOnce reads with one buffer. With grow it stops and asks for a bigger one if the first call did not get all.
func listOnce(fd, size int, grow bool, each func([]byte, uint64, byte)) (whole, again bool, err error) {
	buf, err := unix.Mmap(-1, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		return false, false, err
	}
	defer unix.Munmap(buf)
	n, err := readDirent(fd, buf)
	if err != nil || n == 0 {
		return true, false, err
	}
	if grow || n < size-4096 { // another call tells whether that was all
		rest := make([]byte, 4096)
		m, err := readDirent(fd, rest)
		if err != nil {
			return false, false, err
		}
		if m == 0 {
			entries(buf[:n], each)
			return true, false, nil
		}
		if grow {
			return false, true, nil
		}
		entries(buf[:n], each)
		entries(rest[:m], each)
	} else {
		entries(buf[:n], each)
	}
	for {
		if n, err = readDirent(fd, buf); err != nil || n == 0 {
			return false, false, err
		}
		entries(buf[:n], each)
	}
}

func readDirent(fd int, buf []byte) (int, error) {
	return again(func() (int, error) { return unix.ReadDirent(fd, buf) })
}

// entries takes the linux_dirent64 records of buf apart: inode, offset, length, kind, name.
func entries(buf []byte, each func([]byte, uint64, byte)) {
	for len(buf) >= 19 {
		length := int(binary.NativeEndian.Uint16(buf[16:]))
		if length < 19 || length > len(buf) {
			return
		}
		name := buf[19:length]
		for i, c := range name {
			if c == 0 {
				name = name[:i]
				break
			}
		}
		if string(name) != "." && string(name) != ".." {
			each(name, binary.NativeEndian.Uint64(buf), buf[18])
		}
		buf = buf[length:]
	}
}

// Replace puts the file, written under the name temp, in the place of name: its data is on disk before the name is.
func Replace(d Disk, w File, temp, name string) error {
	if err := w.Sync(); err != nil {
		return err
	}
	if err := d.Rename(temp, name); err != nil {
		return err
	}
	dir := "."
	for i := len(name) - 1; i >= 0; i-- {
		if name[i] == '/' {
			dir = name[:i]
			break
		}
	}
	return d.SyncDir(dir)
}

// SetModTime gives the file the time, to the second or finer: a message keeps the date it was received.
func SetModTime(f File, t time.Time) error {
	ts := []unix.Timespec{unix.NsecToTimespec(t.UnixNano()), unix.NsecToTimespec(t.UnixNano())}
	if f.Fd() == ^uintptr(0) {
		return nil // a disk in memory
	}
	_, _, errno := unix.Syscall6(unix.SYS_UTIMENSAT, f.Fd(), 0, uintptr(unsafe.Pointer(&ts[0])), 0, 0, 0)
	if errno != 0 {
		return &fs.PathError{Op: "utimensat", Path: "", Err: errno}
	}
	return nil
}

// Sync puts what was written to the file on disk.
func Sync(f File) error { return f.Sync() }
