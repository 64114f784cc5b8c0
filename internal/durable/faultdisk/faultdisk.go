/*
Package faultdisk is a durable.Disk in memory that knows what a power cut would leave.

	disk := faultdisk.New().CrashAt(n)     // the power goes at the n-th operation
	err := work(disk)
	found := disk.Reboot()                 // name → text of what is there afterwards

Everything a program does is in two states: done, and on the disk. A name change (create, rename,
link, remove, mkdir) is on the disk after an fsync of its directory, or, on a disk that SyncsRename,
of its file; the octets of a file after an fsync of it. A cut loses the rest, and by Luck keeps
some or all of it, for no program may count on losing either: each name change survives or not
by itself, and a file's unsynced octets are there, missing, or zeros. A rename survives whole or
not at all, and one whose new directory did not survive has not happened.

After a failed Sync the kernel believes the pages clean: another Sync says nil and writes nothing.
*/
package faultdisk

import (
	"errors"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"pennypost/internal/durable"
)

// ErrCrashed is what every operation after the cut gives.
var ErrCrashed = errors.New("the power is off")

// Disk is the disk. The zero Disk is not ready; use New.
type Disk struct {
	mu      sync.Mutex
	names   map[string]*inode // files, as programs see them
	dirs    map[string]bool
	touched map[string]time.Time // when names in a directory last changed; each change has a time of its own
	ticks   int
	changes []*change // since the disk was made, oldest first

	strict  bool // fsync of a file does not carry its names
	luck    uint64
	step    int
	last    string
	crashAt int
	crashed bool // at the step of CrashAt
	off     bool // crashed, or rebooted
	failAt  int
	failure error
	failed  bool
	inodes  uint64
	now     time.Time
}

// inode is a file without its names.
type inode struct {
	number   uint64
	live     []byte
	synced   []byte
	poisoned bool // an fsync failed: what was not written never will be
	mode     fs.FileMode
	mtime    time.Time
	links    int
}

// change is one change of names.
type change struct {
	kind     string // create rename link remove mkdir rmdir
	ino      *inode
	from, to string
	durable  bool
}

// New is an empty disk like ext4, XFS and btrfs: fsync of a file carries its names.
func New() *Disk {
	return &Disk{names: map[string]*inode{}, touched: map[string]time.Time{}, dirs: map[string]bool{".": true}, now: time.Unix(1795321401, 0)}
}

// NewStrict is an empty disk that promises what POSIX does and no more.
func NewStrict() *Disk {
	d := New()
	d.strict = true
	return d
}

// CrashAt lets the power go at the n-th operation from now, which is not done, or, if it is a write, half.
func (d *Disk) CrashAt(n int) *Disk { d.crashAt, d.step = n, 0; return d }

// FailAt lets the n-th operation from now, and no other, fail with err.
func (d *Disk) FailAt(n int, err error) *Disk { d.failAt, d.failure, d.step = n, err, 0; return d }

// Luck chooses what of the unsynced survives: 0 nothing, 1 everything, other seeds some of it.
func (d *Disk) Luck(seed int) *Disk { d.luck = uint64(seed); return d }

// Crashed reports whether the power went at the step of CrashAt; Reboot does not count.
func (d *Disk) Crashed() bool { d.mu.Lock(); defer d.mu.Unlock(); return d.crashed }

// Failed reports whether the operation of FailAt came.
func (d *Disk) Failed() bool { d.mu.Lock(); defer d.mu.Unlock(); return d.failed }

// LastStep is the operation that was cut or failed, else the last one: "rename in/mx/tmp/… in/mx/new/…".
func (d *Disk) LastStep() string { d.mu.Lock(); defer d.mu.Unlock(); return d.last }

// Steps is how many operations there were.
func (d *Disk) Steps() int { d.mu.Lock(); defer d.mu.Unlock(); return d.step }

// Files is what programs see now, without a cut.
func (d *Disk) Files() map[string]string {
	d.mu.Lock()
	defer d.mu.Unlock()
	found := map[string]string{}
	for name, ino := range d.names {
		found[name] = string(ino.live)
	}
	return found
}

// Reboot cuts the power and says which files are there afterwards.
func (d *Disk) Reboot() map[string]string { return d.Restart().Files() }

// Restart cuts the power and gives the disk as it is afterwards, all of it durable.
func (d *Disk) Restart() *Disk {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.off = true
	after := New()
	after.strict, after.inodes, after.now = d.strict, d.inodes, d.now.Add(time.Minute)
	chance := rand.New(rand.NewPCG(d.luck, 7))
	survives := make([]bool, len(d.changes))
	for i, c := range d.changes {
		lucky := d.luck == 1 || d.luck > 1 && chance.IntN(2) == 0
		survives[i] = c.durable || lucky
	}
	later := map[*inode]bool{} // a journal keeps one file's changes in order
	for i := len(d.changes) - 1; i >= 0; i-- {
		if c := d.changes[i]; c.ino != nil && !d.strict {
			survives[i] = survives[i] || later[c.ino]
			later[c.ino] = survives[i]
		}
	}
	for i, c := range d.changes {
		if survives[i] {
			after.apply(c)
		}
	}
	copies := map[*inode]*inode{}
	for name, ino := range after.names {
		if copies[ino] == nil {
			c := *ino
			c.live = survived(ino, d.luck, chance)
			c.synced, c.poisoned = c.live, false
			copies[ino] = &c
		}
		after.names[name] = copies[ino]
	}
	after.settle()
	return after
}

// survived are the octets of a file after the cut.
func survived(ino *inode, luck uint64, chance *rand.Rand) []byte {
	if luck == 1 || slices.Equal(ino.live, ino.synced) {
		return slices.Clone(ino.live)
	}
	if luck == 0 {
		return slices.Clone(ino.synced)
	}
	switch out := slices.Clone(ino.live); chance.IntN(4) {
	case 0:
		return slices.Clone(ino.synced)
	case 1: // cut off somewhere behind what was synced
		if len(out) > len(ino.synced) {
			return out[:len(ino.synced)+chance.IntN(len(out)-len(ino.synced)+1)]
		}
		return out
	case 2: // the length arrived, the octets did not
		for i := len(ino.synced); i < len(out); i++ {
			out[i] = 0
		}
		return out
	default:
		return out
	}
}

// apply does a change that survived, unless its directory did not.
func (d *Disk) apply(c *change) {
	here := func(name string) bool { return d.dirs[path.Dir(name)] }
	switch c.kind {
	case "mkdir":
		if here(c.to) {
			d.dirs[c.to] = true
		}
	case "rmdir":
		if !d.inUse(c.to) {
			delete(d.dirs, c.to)
		}
	case "create", "link":
		if here(c.to) {
			d.names[c.to] = c.ino
		}
	case "rename":
		if here(c.to) {
			if d.names[c.from] == c.ino {
				delete(d.names, c.from)
			}
			d.names[c.to] = c.ino
		}
	case "remove":
		if d.names[c.to] == c.ino {
			delete(d.names, c.to)
		}
	}
}

// inUse reports whether a directory has something in it.
func (d *Disk) inUse(dir string) bool {
	for name := range d.names {
		if strings.HasPrefix(name, dir+"/") {
			return true
		}
	}
	for name := range d.dirs {
		if strings.HasPrefix(name, dir+"/") {
			return true
		}
	}
	return false
}

// settle makes durable changes of everything that is there.
func (d *Disk) settle() {
	links := map[*inode]int{}
	for _, dir := range slices.Sorted(maps.Keys(d.dirs)) {
		if dir != "." {
			d.changes = append(d.changes, &change{kind: "mkdir", to: dir, durable: true})
		}
	}
	for _, name := range slices.Sorted(maps.Keys(d.names)) {
		ino := d.names[name]
		links[ino]++
		d.changes = append(d.changes, &change{kind: "create", ino: ino, to: name, durable: true})
	}
	for ino, n := range links {
		ino.links = n
	}
}

// Put makes a file, durable, with the directories it needs. It is no step.
func (d *Disk) Put(name, text string) *Disk {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.makeDirs(path.Dir(name))
	d.inodes++
	ino := &inode{number: d.inodes, live: []byte(text), synced: []byte(text), mode: 0o660, mtime: d.now, links: 1}
	d.names[name] = ino
	c := &change{kind: "create", ino: ino, to: name, durable: true}
	d.changes = append(d.changes, c)
	d.touch(c)
	return d
}

// Dirs makes directories, durable, with those above. It is no step.
func (d *Disk) Dirs(names ...string) *Disk {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, name := range names {
		d.makeDirs(name)
	}
	return d
}

func (d *Disk) makeDirs(name string) {
	if name == "." || d.dirs[name] {
		return
	}
	d.makeDirs(path.Dir(name))
	d.dirs[name] = true
	d.changes = append(d.changes, &change{kind: "mkdir", to: name, durable: true})
}

// begin counts a step and says whether it fails. d.mu is held.
func (d *Disk) begin(words ...string) error {
	if d.off {
		return ErrCrashed
	}
	if d.failed {
		d.step++
		return nil // LastStep stays the one that failed
	}
	d.step++
	d.last = strings.Join(words, " ")
	if d.step == d.crashAt {
		d.crashed, d.off = true, true
		return ErrCrashed
	}
	if d.step == d.failAt {
		d.failed = true
		return d.failure
	}
	return nil
}

func fail(op, name string, err error) error {
	if err == nil {
		return nil
	}
	return &fs.PathError{Op: op, Path: name, Err: err}
}

func failTwo(op, from, to string, err error) error {
	if err == nil {
		return nil
	}
	return &os.LinkError{Op: op, Old: from, New: to, Err: err}
}

// parent says ENOENT where the directory of a name is not there.
func (d *Disk) parent(name string) error {
	if !fs.ValidPath(name) {
		return fs.ErrInvalid
	}
	if !d.dirs[path.Dir(name)] {
		return syscall.ENOENT
	}
	return nil
}

// free says EEXIST where the name is taken.
func (d *Disk) free(name string) error {
	if err := d.parent(name); err != nil {
		return err
	}
	if d.names[name] != nil || d.dirs[name] {
		return syscall.EEXIST
	}
	return nil
}

// touch gives the directories of a change a new time.
func (d *Disk) touch(c *change) {
	d.ticks++
	for _, name := range []string{c.from, c.to} {
		if name != "" {
			d.touched[path.Dir(name)] = d.now.Add(time.Duration(d.ticks))
		}
	}
}

// note does a change and remembers it.
func (d *Disk) note(c *change) {
	d.changes = append(d.changes, c)
	d.touch(c)
	if old := d.names[c.to]; c.kind == "rename" && old != nil && old != c.ino {
		old.links--
	}
	d.apply(c)
}

var _ durable.Disk = (*Disk)(nil)
