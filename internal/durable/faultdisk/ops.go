package faultdisk

import (
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"
	"syscall"

	"pennypost/internal/durable"
)

// Every operation is: count the step, then do it as the kernel would.

func (d *Disk) Create(name string, perm fs.FileMode) (durable.File, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	err := d.begin("create", name)
	if err == nil {
		err = d.free(name)
	}
	if err != nil {
		return nil, fail("create", name, err)
	}
	return &file{disk: d, name: name, ino: d.create(name, perm), write: true}, nil
}

func (d *Disk) create(name string, perm fs.FileMode) *inode {
	d.inodes++
	ino := &inode{number: d.inodes, mode: perm.Perm(), mtime: d.now, links: 1}
	d.note(&change{kind: "create", ino: ino, to: name})
	return ino
}

func (d *Disk) Open(name string) (durable.File, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	err := d.begin("open", name)
	if err == nil {
		err = d.parent(name)
	}
	if err == nil && d.dirs[name] {
		err = durable.ErrNotRegular
	}
	if err == nil && d.names[name] == nil {
		err = syscall.ENOENT
	}
	if err != nil {
		return nil, fail("open", name, err)
	}
	return &file{disk: d, name: name, ino: d.names[name]}, nil
}

func (d *Disk) Append(name string, perm fs.FileMode) (durable.File, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	err := d.begin("append", name)
	if err == nil {
		err = d.parent(name)
	}
	if err == nil && d.dirs[name] {
		err = durable.ErrNotRegular
	}
	if err != nil {
		return nil, fail("open", name, err)
	}
	ino := d.names[name]
	if ino == nil {
		ino = d.create(name, perm)
	}
	return &file{disk: d, name: name, ino: ino, write: true, end: true}, nil
}

func (d *Disk) Rename(from, to string) error { return d.rename(from, to, true) }

func (d *Disk) RenameNew(from, to string) error { return d.rename(from, to, false) }

func (d *Disk) rename(from, to string, replace bool) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	err := d.begin("rename", from, to)
	if err == nil {
		err = d.parent(from)
	}
	ino := d.names[from]
	if err == nil && ino == nil {
		err = syscall.ENOENT
	}
	if err == nil {
		err = d.free(to)
	}
	if replace && err == syscall.EEXIST && !d.dirs[to] {
		err = nil
	}
	if err != nil {
		return failTwo("rename", from, to, err)
	}
	if d.names[to] != ino { // two names of one file: rename(2) does nothing
		d.note(&change{kind: "rename", ino: ino, from: from, to: to})
	}
	return nil
}

func (d *Disk) Link(from, to string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	err := d.begin("link", from, to)
	if err == nil && d.names[from] == nil {
		err = syscall.ENOENT
	}
	if err == nil {
		err = d.link(d.names[from], to)
	}
	return failTwo("link", from, to, err)
}

func (d *Disk) link(ino *inode, to string) error {
	if err := d.free(to); err != nil {
		return err
	}
	ino.links++
	d.note(&change{kind: "link", ino: ino, to: to})
	return nil
}

// LinkFile wants a file of the same Disk: others are other file systems.
func (d *Disk) LinkFile(f durable.File, to string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	err := d.begin("link", to)
	mine, ok := f.(*file)
	switch {
	case err != nil:
	case !ok || mine.disk != d:
		err = syscall.EXDEV
	case mine.ino.links == 0:
		err = syscall.ENOENT
	default:
		err = d.link(mine.ino, to)
	}
	return fail("link", to, err)
}

func (d *Disk) Remove(name string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	err := d.begin("remove", name)
	ino := d.names[name]
	switch {
	case err != nil:
	case d.dirs[name]:
		err = syscall.EISDIR
	case ino == nil:
		err = syscall.ENOENT
	default:
		ino.links--
		d.note(&change{kind: "remove", ino: ino, to: name})
	}
	return fail("remove", name, err)
}

func (d *Disk) RemoveDir(name string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	err := d.begin("rmdir", name)
	switch {
	case err != nil:
	case !d.dirs[name]:
		err = syscall.ENOENT
	case d.inUse(name):
		err = syscall.ENOTEMPTY
	default:
		d.note(&change{kind: "rmdir", to: name})
	}
	return fail("remove", name, err)
}

func (d *Disk) Mkdir(name string, perm fs.FileMode) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	err := d.begin("mkdir", name)
	if err == nil {
		err = d.free(name)
	}
	if err == nil {
		d.note(&change{kind: "mkdir", to: name})
	}
	return fail("mkdir", name, err)
}

func (d *Disk) SyncDir(name string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	err := d.begin("syncdir", name)
	if err == nil && !d.dirs[name] {
		err = syscall.ENOENT
	}
	if err != nil {
		return fail("sync", name, err)
	}
	for i, c := range d.changes {
		if path.Dir(c.to) != name && (c.from == "" || path.Dir(c.from) != name) {
			continue
		}
		c.durable = true
		if d.strict || c.ino == nil {
			continue
		}
		for _, earlier := range d.changes[:i] { // a journal keeps one file's changes in order
			earlier.durable = earlier.durable || earlier.ino == c.ino
		}
	}
	return nil
}

func (d *Disk) ReadDir(name string) ([]string, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	err := d.begin("readdir", name)
	if err == nil && !d.dirs[name] {
		err = syscall.ENOENT
	}
	if err != nil {
		return nil, fail("open", name, err)
	}
	var names []string
	for full := range d.names {
		if path.Dir(full) == name {
			names = append(names, path.Base(full))
		}
	}
	for full := range d.dirs {
		if full != "." && path.Dir(full) == name {
			names = append(names, path.Base(full))
		}
	}
	slices.Sort(names)
	return names, nil
}

func (d *Disk) Stat(name string) (durable.Info, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	err := d.begin("stat", name)
	ino := d.names[name]
	switch {
	case err != nil:
	case d.dirs[name]:
		at, ok := d.touched[name]
		if !ok {
			at = d.now
		}
		return durable.Info{Mode: fs.ModeDir | 0o755, ModTime: at, Dev: 1, Links: 2}, nil
	case ino == nil:
		err = syscall.ENOENT
	default:
		return ino.info(), nil
	}
	return durable.Info{}, fail("stat", name, err)
}

func (ino *inode) info() durable.Info {
	return durable.Info{
		Mode: ino.mode, Size: int64(len(ino.live)), ModTime: ino.mtime,
		Dev: 1, Inode: ino.number, Links: uint64(ino.links),
	}
}

func (d *Disk) Free() (bytes, inodes uint64, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return 1 << 40, 1 << 30, fail("statfs", ".", d.begin("free"))
}

func (d *Disk) SyncsRename() bool { return !d.strict }

// Hold keeps nothing: names are all there is here.
func (d *Disk) Hold(dirs ...string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, dir := range dirs {
		if !d.dirs[dir] {
			return fail("open", dir, syscall.ENOENT)
		}
	}
	return nil
}

func (d *Disk) Close() error { return nil }

// file is an open file.
type file struct {
	disk  *Disk
	name  string
	ino   *inode
	pos   int64
	write bool
	end   bool // O_APPEND
	done  bool
}

// step begins an operation on the file. f.disk.mu is held.
func (f *file) step(op string) error {
	if f.done {
		return fs.ErrClosed
	}
	return f.disk.begin(op, f.name)
}

func (f *file) Read(p []byte) (int, error) {
	n, err := f.ReadAt(p, f.pos)
	f.pos += int64(n)
	if n > 0 && err == io.EOF {
		err = nil
	}
	return n, err
}

func (f *file) ReadAt(p []byte, off int64) (int, error) {
	f.disk.mu.Lock()
	defer f.disk.mu.Unlock()
	if err := f.step("read"); err != nil {
		return 0, fail("read", f.name, err)
	}
	if off >= int64(len(f.ino.live)) {
		if len(p) == 0 {
			return 0, nil
		}
		return 0, io.EOF
	}
	n := copy(p, f.ino.live[off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (f *file) Write(p []byte) (int, error) {
	f.disk.mu.Lock()
	if f.end {
		f.pos = int64(len(f.ino.live))
	}
	f.disk.mu.Unlock()
	n, err := f.WriteAt(p, f.pos)
	f.pos += int64(n)
	return n, err
}

// WriteAt writes half of p when it fails or is cut, as a full disk does.
func (f *file) WriteAt(p []byte, off int64) (int, error) {
	f.disk.mu.Lock()
	defer f.disk.mu.Unlock()
	if !f.write {
		return 0, fail("write", f.name, syscall.EBADF)
	}
	was := f.disk.off
	err := f.step("write")
	if err != nil {
		if was || f.done {
			return 0, fail("write", f.name, err)
		}
		p = p[:len(p)/2]
	}
	if grow := off + int64(len(p)) - int64(len(f.ino.live)); grow > 0 {
		f.ino.live = append(f.ino.live, make([]byte, grow)...)
	}
	f.ino.live = slices.Clone(f.ino.live) // synced may share it
	copy(f.ino.live[off:], p)
	f.ino.mtime = f.disk.now
	return len(p), fail("write", f.name, err)
}

func (f *file) Sync() error {
	f.disk.mu.Lock()
	defer f.disk.mu.Unlock()
	if err := f.step("sync"); err != nil {
		f.ino.poisoned = f.ino.poisoned || err != ErrCrashed
		return fail("sync", f.name, err)
	}
	if f.ino.poisoned {
		return nil
	}
	f.ino.synced = f.ino.live
	if f.disk.strict {
		return nil
	}
	for _, c := range f.disk.changes {
		if c.ino == f.ino {
			c.durable = true
			f.disk.above(c.to)
		}
	}
	return nil
}

// above makes the directories over a name durable, which the journal wrote before it.
func (d *Disk) above(name string) {
	for _, c := range d.changes {
		if c.kind == "mkdir" && strings.HasPrefix(name, c.to+"/") {
			c.durable = true
		}
	}
}

func (f *file) Stat() (durable.Info, error) {
	f.disk.mu.Lock()
	defer f.disk.mu.Unlock()
	if err := f.step("stat"); err != nil {
		return durable.Info{}, fail("stat", f.name, err)
	}
	return f.ino.info(), nil
}

func (f *file) Close() error {
	f.disk.mu.Lock()
	defer f.disk.mu.Unlock()
	if f.done {
		return fs.ErrClosed
	}
	f.done = true
	return nil
}

func (f *file) Fd() uintptr { return ^uintptr(0) }
