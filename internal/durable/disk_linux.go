package durable

import (
	"errors"
	"io/fs"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// disk is a directory of this host.
type disk struct {
	fd          int
	syncsRename bool
	own         bool     // a user's, in whose process we are: symlinks to directories are followed
	share       uint32   // group bits of what is made
	held        sync.Map // string → *atomic.Int64: the descriptor of a held directory
	mu          sync.Mutex
	retired     []int // held once, removed since; others may still be using the number
}

const (
	openFlags = unix.O_CLOEXEC | unix.O_NOFOLLOW | unix.O_NONBLOCK
	dirFlags  = unix.O_CLOEXEC | unix.O_NOFOLLOW | unix.O_DIRECTORY
)

// Open holds root open and works below it. A root that may be entered but not listed will do.
func Open(root string) (Disk, error) {
	fd, err := openRoot(root)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: root, Err: err}
	}
	d := &disk{fd: fd}
	var st unix.Statfs_t
	if err := unix.Fstatfs(fd, &st); err != nil {
		unix.Close(fd)
		return nil, &fs.PathError{Op: "statfs", Path: root, Err: err}
	}
	d.syncsRename = carriesRename(int64(st.Type))
	return d, nil
}

// OpenOwn is Open for the files of the Unix user we run as. A symlink to a directory counts as the directory, since that user could
// have named it as well; symlinks to files are followed by nobody. What is made below a directory that is shared with a group is shared with it too.
func OpenOwn(root string) (Disk, error) {
	opened, err := Open(root)
	if err != nil {
		return nil, err
	}
	d := opened.(*disk)
	var st unix.Stat_t
	if err := unix.Fstat(d.fd, &st); err != nil {
		d.Close()
		return nil, &fs.PathError{Op: "stat", Path: root, Err: err}
	}
	d.own, d.share = true, st.Mode&0o070
	return d, nil
}

// stat is fstatat(2) of a name in a directory.
func (d *disk) stat(fd int, base string, st *unix.Stat_t) error {
	err := unix.Fstatat(fd, base, st, unix.AT_SYMLINK_NOFOLLOW)
	if err == nil && d.own && st.Mode&unix.S_IFMT == unix.S_IFLNK {
		var behind unix.Stat_t
		if unix.Fstatat(fd, base, &behind, 0) == nil && behind.Mode&unix.S_IFMT == unix.S_IFDIR {
			*st = behind
		}
	}
	return err
}

func openRoot(root string) (fd int, err error) {
	for _, flags := range []int{unix.O_RDONLY, unix.O_PATH} {
		fd, err = again(func() (int, error) {
			return unix.Open(root, flags|unix.O_CLOEXEC|unix.O_DIRECTORY, 0)
		})
		if err != unix.EACCES {
			break
		}
	}
	return fd, err
}

// carriesRename reports whether fsync of a file writes the rename before it, too. ext4 does with a
// journal and without (ext4_sync_parent); a memory file system forgets everything or nothing.
func carriesRename(fsType int64) bool {
	switch fsType {
	case unix.EXT4_SUPER_MAGIC, unix.XFS_SUPER_MAGIC, unix.BTRFS_SUPER_MAGIC, unix.TMPFS_MAGIC, unix.RAMFS_MAGIC:
		return true
	}
	return false
}

func (d *disk) SyncsRename() bool { return d.syncsRename }

func (d *disk) Close() error {
	d.held.Range(func(dir, fd any) bool {
		d.held.Delete(dir)
		unix.Close(int(fd.(*atomic.Int64).Load()))
		return true
	})
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, fd := range d.retired {
		unix.Close(fd)
	}
	d.retired = nil
	return unix.Close(d.fd)
}

func (d *disk) Hold(dirs ...string) error {
	for _, dir := range dirs {
		if _, ok := d.held.Load(dir); ok {
			continue
		}
		if err := valid("open", dir); err != nil {
			return err
		}
		fd, err := d.openDir(dir)
		if err != nil {
			return &fs.PathError{Op: "open", Path: dir, Err: err}
		}
		n := new(atomic.Int64)
		n.Store(int64(fd))
		if _, raced := d.held.LoadOrStore(dir, n); raced {
			unix.Close(fd)
		}
	}
	return nil
}

// openDir opens a directory for work in it: readable where we may list it, so that it can be synced.
func (d *disk) openDir(dir string) (fd int, err error) {
	fd, err = d.resolve(dir, unix.O_RDONLY|dirFlags, 0)
	if err == unix.EACCES {
		fd, err = d.resolve(dir, unix.O_PATH|dirFlags, 0)
	}
	return fd, err
}

// renew looks a held directory up again, and reports whether it is another one by now.
func (d *disk) renew(dir string) bool {
	v, ok := d.held.Load(dir)
	if !ok {
		return false
	}
	n := v.(*atomic.Int64)
	d.mu.Lock()
	defer d.mu.Unlock()
	old := int(n.Load())
	fd, err := d.openDir(dir)
	if err != nil {
		return false
	}
	var was, is unix.Stat_t
	if unix.Fstat(old, &was) != nil || unix.Fstat(fd, &is) != nil || was.Ino == is.Ino && was.Dev == is.Dev {
		unix.Close(fd)
		return false
	}
	n.Store(int64(fd))
	d.retired = append(d.retired, old)
	return true
}

// place is where a name is: a directory's descriptor and a name directly in it.
type place struct {
	fd   int
	base string
	temp bool // fd was opened for this
}

func (p place) leave() {
	if p.temp {
		unix.Close(p.fd)
	}
}

// at finds the place of a name. It is the caller's to leave.
func (d *disk) at(name string) (place, error) {
	dir, base := split(name)
	if dir == "" {
		return place{fd: d.fd, base: base}, nil
	}
	if fd, ok := d.held.Load(dir); ok {
		return place{fd: int(fd.(*atomic.Int64).Load()), base: base}, nil
	}
	fd, err := d.resolve(dir, unix.O_PATH|dirFlags, 0)
	return place{fd, base, true}, err
}

// in calls do with the place of name, once more if the directory was held and is gone.
func (d *disk) in(op, name string, do func(p place) error) error {
	if err := valid(op, name); err != nil {
		return err
	}
	for tried := false; ; tried = true {
		p, err := d.at(name)
		if err == nil {
			err = do(p)
			p.leave()
		}
		if err == unix.ENOENT && !tried {
			if dir, _ := split(name); d.renew(dir) {
				continue
			}
		}
		if err != nil {
			return &fs.PathError{Op: op, Path: name, Err: err}
		}
		return nil
	}
}

// between is in with two names.
func (d *disk) between(op, from, to string, do func(from, to place) error) error {
	for _, name := range []string{from, to} {
		if err := valid(op, name); err != nil {
			return err
		}
	}
	for tried := false; ; tried = true {
		f, err := d.at(from)
		if err == nil {
			var t place
			if t, err = d.at(to); err == nil {
				err = do(f, t)
				t.leave()
			}
			f.leave()
		}
		if err == unix.ENOENT && !tried {
			fd, _ := split(from)
			td, _ := split(to)
			a, b := d.renew(fd), d.renew(td)
			if a || b {
				continue
			}
		}
		if err != nil {
			return &os.LinkError{Op: op, Old: from, New: to, Err: err}
		}
		return nil
	}
}

func split(name string) (dir, base string) {
	i := strings.LastIndexByte(name, '/')
	if i < 0 {
		return "", name
	}
	return name[:i], name[i+1:]
}

// valid refuses what is no path below a directory, before the kernel sees it.
func valid(op, name string) error {
	bad := name == "" || strings.IndexByte(name, 0) >= 0
	if !bad && (strings.IndexByte(name, '.') >= 0 || strings.IndexByte(name, '/') >= 0) {
		for rest := name; ; {
			elem, after, more := strings.Cut(rest, "/")
			if elem == "" || elem == ".." || elem == "." && name != "." {
				bad = true
			}
			if !more {
				break
			}
			rest = after
		}
	}
	if bad {
		return &fs.PathError{Op: op, Path: name, Err: fs.ErrInvalid}
	}
	return nil
}

// noOpenat2 is set where the kernel is older than 5.6, or a sandbox does not know the call.
var noOpenat2 atomic.Bool

const resolveFlags = unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS

// resolve opens a name of several components below d.fd.
func (d *disk) resolve(name string, flags int, perm uint32) (int, error) {
	if d.own {
		if flags&unix.O_DIRECTORY != 0 {
			flags &^= unix.O_NOFOLLOW
		}
		return again(func() (int, error) { return unix.Openat(d.fd, name, flags, perm) })
	}
	if !noOpenat2.Load() {
		how := unix.OpenHow{Flags: uint64(flags), Mode: uint64(perm), Resolve: resolveFlags}
		for tries := 0; ; tries++ {
			fd, err := unix.Openat2(d.fd, name, &how)
			switch {
			case err == unix.EINTR:
				continue
			case err == unix.EAGAIN && tries < 128: // somebody renamed a directory meanwhile
				continue
			case err == unix.ENOSYS || err == unix.EPERM && tries == 0 && !openat2Works(d.fd):
				noOpenat2.Store(true)
			default:
				return fd, err
			}
			break
		}
	}
	return d.walk(name, flags, perm)
}

// openat2Works tells a sandbox's EPERM from the file's.
func openat2Works(fd int) bool {
	fd, err := unix.Openat2(fd, ".", &unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: resolveFlags})
	if err == nil {
		unix.Close(fd)
	}
	return err == nil
}

// walk is resolve by one openat for every component.
func (d *disk) walk(name string, flags int, perm uint32) (int, error) {
	at := d.fd
	for {
		elem, rest, more := strings.Cut(name, "/")
		f, p := flags, perm
		if more {
			f, p = unix.O_PATH|dirFlags, 0
		}
		fd, err := again(func() (int, error) { return unix.Openat(at, elem, f, p) })
		if at != d.fd {
			unix.Close(at)
		}
		if err != nil || !more {
			return fd, err
		}
		at, name = fd, rest
	}
}

// open opens a name, cheaply where its directory is held.
func (d *disk) open(name string, flags int, perm uint32) (int, error) {
	dir, base := split(name)
	if dir == "" {
		return again(func() (int, error) { return unix.Openat(d.fd, base, flags, perm) })
	}
	n, ok := d.held.Load(dir)
	if !ok {
		return d.resolve(name, flags, perm)
	}
	fd, err := again(func() (int, error) {
		return unix.Openat(int(n.(*atomic.Int64).Load()), base, flags, perm)
	})
	if err == unix.ENOENT && flags&unix.O_CREAT != 0 && d.renew(dir) {
		return again(func() (int, error) {
			return unix.Openat(int(n.(*atomic.Int64).Load()), base, flags, perm)
		})
	}
	return fd, err
}

// again repeats a call a signal interrupted.
func again(call func() (int, error)) (int, error) {
	for {
		if n, err := call(); err != unix.EINTR {
			return n, err
		}
	}
}

// umask is what open(2) and mkdir(2) take from the mode we ask for. We ask again when it matters (S129).
var umask = func() uint32 {
	mask := unix.Umask(0)
	unix.Umask(mask)
	return uint32(mask)
}()

// ClearUmask lets the modes given to Create and Mkdir stand as they are, without a second call for
// each. It is for programs that make files only here.
func ClearUmask() {
	unix.Umask(0)
	umask = 0
}

func (d *disk) Create(name string, perm fs.FileMode) (File, error) {
	if err := valid("create", name); err != nil {
		return nil, err
	}
	mode := uint32(perm.Perm()) | d.share&0o060
	fd, err := d.open(name, unix.O_RDWR|unix.O_CREAT|unix.O_EXCL|openFlags, mode)
	if err == nil && mode&umask != 0 {
		if err = unix.Fchmod(fd, mode); err != nil {
			unix.Close(fd)
			d.Remove(name)
		}
	}
	if err != nil {
		return nil, &fs.PathError{Op: "create", Path: name, Err: err}
	}
	return &file{fd: fd, name: name}, nil
}

func (d *disk) Open(name string) (File, error) {
	if err := valid("open", name); err != nil {
		return nil, err
	}
	fd, err := d.open(name, unix.O_RDONLY|openFlags, 0)
	return regular(fd, name, err)
}

func (d *disk) Append(name string, perm fs.FileMode) (File, error) {
	if err := valid("open", name); err != nil {
		return nil, err
	}
	const flags = unix.O_RDWR | unix.O_APPEND | openFlags
	fd, err := d.open(name, flags, 0)
	if err == unix.ENOENT {
		mode := uint32(perm.Perm()) | d.share&0o060
		fd, err = d.open(name, flags|unix.O_CREAT, mode)
		if err == nil && mode&umask != 0 {
			if err = unix.Fchmod(fd, mode); err != nil {
				unix.Close(fd)
			}
		}
	}
	return regular(fd, name, err)
}

func (d *disk) Rename(from, to string) error {
	return d.between("rename", from, to, func(f, t place) error {
		return unix.Renameat(f.fd, f.base, t.fd, t.base)
	})
}

func (d *disk) RenameNew(from, to string) error {
	return d.between("rename", from, to, func(f, t place) error {
		err := unix.Renameat2(f.fd, f.base, t.fd, t.base, unix.RENAME_NOREPLACE)
		if err != unix.EINVAL && err != unix.ENOSYS {
			return err
		}
		// NFS and old kernels: a link refuses an existing name as well (S146).
		if err = unix.Linkat(f.fd, f.base, t.fd, t.base, 0); err != nil {
			return err
		}
		return unix.Unlinkat(f.fd, f.base, 0)
	})
}

func (d *disk) Link(from, to string) error {
	return d.between("link", from, to, func(f, t place) error {
		return unix.Linkat(f.fd, f.base, t.fd, t.base, 0)
	})
}

// byProc is set once AT_EMPTY_PATH was refused where /proc/self/fd was not: it wants a capability
// or, since Linux 6.10, a descriptor this process opened itself.
var byProc atomic.Bool

func (d *disk) LinkFile(f File, to string) error {
	fd := int(f.Fd())
	return d.in("link", to, func(t place) error {
		if !byProc.Load() {
			err := unix.Linkat(fd, "", t.fd, t.base, unix.AT_EMPTY_PATH)
			if err != unix.ENOENT && err != unix.EPERM && err != unix.EINVAL {
				return err
			}
		}
		err := unix.Linkat(unix.AT_FDCWD, "/proc/self/fd/"+itoa(fd), t.fd, t.base, unix.AT_SYMLINK_FOLLOW)
		if err == nil {
			byProc.Store(true)
		}
		return err
	})
}

func (d *disk) Remove(name string) error {
	return d.in("remove", name, func(p place) error { return unix.Unlinkat(p.fd, p.base, 0) })
}

func (d *disk) RemoveDir(name string) error {
	return d.in("remove", name, func(p place) error { return unix.Unlinkat(p.fd, p.base, unix.AT_REMOVEDIR) })
}

func (d *disk) Mkdir(name string, perm fs.FileMode) error {
	mode := uint32(perm.Perm()) | d.share
	return d.in("mkdir", name, func(p place) error {
		err := unix.Mkdirat(p.fd, p.base, mode)
		if err == nil && mode&umask != 0 {
			// The group bit of a setgid parent stays.
			var st unix.Stat_t
			if unix.Fstatat(p.fd, p.base, &st, unix.AT_SYMLINK_NOFOLLOW) == nil {
				mode |= st.Mode & unix.S_ISGID
			}
			err = unix.Fchmodat(p.fd, p.base, mode, 0)
		}
		return err
	})
}

// Chmod sets the mode of a file or directory of ours.
func (d *disk) Chmod(name string, mode fs.FileMode) error {
	return d.in("chmod", name, func(p place) error {
		fd, err := unix.Openat(p.fd, p.base, unix.O_PATH|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		return unix.Chmod("/proc/self/fd/"+itoa(fd), unixMode(mode))
	})
}

func unixMode(m fs.FileMode) uint32 {
	bits := uint32(m.Perm())
	if m&fs.ModeSetuid != 0 {
		bits |= unix.S_ISUID
	}
	if m&fs.ModeSetgid != 0 {
		bits |= unix.S_ISGID
	}
	if m&fs.ModeSticky != 0 {
		bits |= unix.S_ISVTX
	}
	return bits
}

func (d *disk) SyncDir(name string) error {
	if err := valid("sync", name); err != nil {
		return err
	}
	fd, temp := d.fd, false
	if n, ok := d.held.Load(name); ok {
		fd = int(n.(*atomic.Int64).Load())
	} else if name != "." {
		var err error
		if fd, err = d.resolve(name, unix.O_RDONLY|dirFlags, 0); err != nil {
			return &fs.PathError{Op: "sync", Path: name, Err: err}
		}
		temp = true
	}
	err := fsync(fd)
	if temp {
		unix.Close(fd)
	}
	if err != nil {
		return &fs.PathError{Op: "sync", Path: name, Err: err}
	}
	return nil
}

// dents is room for the entries of a directory of common size in one call.
var dents = sync.Pool{New: func() any { b := make([]byte, 256<<10); return &b }}

func (d *disk) ReadDir(name string) ([]string, error) {
	if err := valid("open", name); err != nil {
		return nil, err
	}
	// A held directory's descriptor is shared and so is its position: it is opened again.
	at, path := d.fd, name
	if n, ok := d.held.Load(name); ok {
		at, path = int(n.(*atomic.Int64).Load()), "."
	}
	var fd int
	var err error
	if path == "." {
		fd, err = again(func() (int, error) { return unix.Openat(at, ".", unix.O_RDONLY|dirFlags, 0) })
	} else {
		fd, err = d.resolve(path, unix.O_RDONLY|dirFlags, 0)
	}
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: name, Err: err}
	}
	defer unix.Close(fd)
	buf := dents.Get().(*[]byte)
	defer dents.Put(buf)
	var names []string
	for {
		n, err := again(func() (int, error) { return unix.ReadDirent(fd, *buf) })
		if err != nil {
			return names, &fs.PathError{Op: "readdir", Path: name, Err: err}
		}
		if n <= 0 {
			return names, nil
		}
		_, _, names = unix.ParseDirent((*buf)[:n], -1, names)
	}
}

func (d *disk) Stat(name string) (Info, error) {
	var st unix.Stat_t
	err := d.in("stat", name, func(p place) error { return d.stat(p.fd, p.base, &st) })
	return info(&st), err
}

func (d *disk) Glance(dir string, names []string, infos []Info) error {
	for _, name := range names {
		if err := valid("stat", name); err != nil {
			return err
		}
		if strings.IndexByte(name, '/') >= 0 {
			return &fs.PathError{Op: "stat", Path: name, Err: fs.ErrInvalid}
		}
	}
	path := names[0]
	if dir != "." {
		path = dir + "/" + path
	}
	return d.in("stat", path, func(p place) error {
		for i, name := range names {
			var st unix.Stat_t
			if err := d.stat(p.fd, name, &st); err != nil {
				return err
			}
			infos[i] = info(&st)
		}
		return nil
	})
}

func (d *disk) Born(name string) (born time.Time, err error) {
	var st unix.Statx_t
	err = d.in("stat", name, func(p place) error { return unix.Statx(p.fd, p.base, unix.AT_SYMLINK_NOFOLLOW, unix.STATX_BTIME, &st) })
	if err == nil && st.Mask&unix.STATX_BTIME == 0 {
		err = &fs.PathError{Op: "stat", Path: name, Err: errors.ErrUnsupported}
	}
	return time.Unix(st.Btime.Sec, int64(st.Btime.Nsec)), err
}

func (d *disk) Free() (bytes, inodes uint64, err error) {
	var st unix.Statfs_t
	if err := unix.Fstatfs(d.fd, &st); err != nil {
		return 0, 0, &fs.PathError{Op: "statfs", Path: ".", Err: err}
	}
	inodes = st.Ffree
	if st.Files == 0 { // btrfs has as many as it has room
		inodes = ^uint64(0)
	}
	return st.Bavail * uint64(st.Bsize), inodes, nil
}

// Refused reports whether err says that the disk has no room: full, out of inodes or over quota.
func Refused(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}
