package queue

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"sync"
	"time"

	"pennypost/internal/durable"
)

// Producers are the directories under in/. The first word of via: equals the producer's name.
var Producers = []string{"mx", "submit", "lmtp", "pickup", "list", "bounce", "local", "adopt"}

// producer reports whether name is one of Producers.
func producer(name string) bool {
	for _, p := range Producers {
		if p == name {
			return true
		}
	}
	return false
}

// Spool is an open spool.
type Spool struct {
	Disk      durable.Disk  // rooted at the spool directory
	Node      string        // node letters, the part of an id after the dash
	SyncEvery time.Duration // of a Journal; 20 ms if zero

	ids   clock
	hints sync.Map // producer → *trigger
	sides sync.Map // id → struct{}: has ID.s although it is still in in/
	mkdir sync.Mutex
	made  string // the minute directory made last
}

// layout is every directory and FIFO of a spool, with the mode it has where each program has its
// own uid: the installer sets the owners.
var layout = []struct {
	name string
	mode fs.FileMode
}{
	{"drop", 0o755},
	{"drop/tmp", fs.ModeSetgid | fs.ModeSticky | 0o733}, // anybody adds, nobody lists
	{"drop/new", fs.ModeSetgid | fs.ModeSticky | 0o733},
	{"in", 0o755},
	{"q", fs.ModeSetgid | 0o750}, {"hold", fs.ModeSetgid | 0o770}, {"bad", fs.ModeSetgid | 0o770},
	{"pause", fs.ModeSetgid | 0o775}, {"limit", fs.ModeSetgid | 0o775}, {"kick", fs.ModeSetgid | 0o775},
	{"outbound", fs.ModeSetgid | 0o770}, {"site", 0o755}, {"results", fs.ModeSetgid | 0o750}, {"index", 0o700}, {"run", 0o755},
	{"archive", 0o755}, {"archive/new", fs.ModeSetgid | 0o770},
}

// Make creates an empty spool: directories, FIFOs and FORMAT. It may be repeated.
func Make(root, node string) error {
	if !validNode(node) {
		return fmt.Errorf("node %q: want 1 to 8 letters a-z and digits", node)
	}
	if err := os.Mkdir(root, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	disk, err := durable.Open(root)
	if err != nil {
		return err
	}
	defer disk.Close()
	return MakeOn(disk, node)
}

// MakeOn is Make on a disk that is open already.
func MakeOn(disk durable.Disk, node string) error {
	dir := func(name string, mode fs.FileMode) error {
		err := disk.Mkdir(name, mode.Perm())
		if errors.Is(err, fs.ErrExist) {
			return nil // and its mode is the admin's
		}
		if c, ok := disk.(durable.Chmoder); ok && err == nil {
			err = c.Chmod(name, mode)
		}
		return err
	}
	pipe := func(name string, mode fs.FileMode) error {
		p, ok := disk.(durable.Piper)
		if !ok {
			return nil
		}
		if err := p.MakePipe(name, mode); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
		return nil
	}
	for _, l := range layout {
		if err := dir(l.name, l.mode); err != nil {
			return err
		}
	}
	if err := durable.Probe(disk, "run"); err != nil {
		return err
	}
	if err := pipe("drop/trigger", 0o622); err != nil {
		return err
	}
	for _, p := range Producers {
		for _, sub := range []string{"", "/tmp", "/new"} {
			mode := fs.FileMode(0o755)
			if sub != "" {
				mode = fs.ModeSetgid | 0o770
			}
			if err := dir("in/"+p+sub, mode); err != nil {
				return err
			}
		}
		if err := pipe("in/"+p+"/trigger", 0o620); err != nil {
			return err
		}
	}
	return makeFormat(disk, node)
}

// makeFormat writes FORMAT, last, so that a spool that has it has everything.
func makeFormat(disk durable.Disk, node string) error {
	if _, err := disk.Stat("FORMAT"); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	var uuid [16]byte
	rand.Read(uuid[:])
	f, err := disk.Create("FORMAT.new", 0o644)
	if errors.Is(err, fs.ErrExist) { // a crash of an earlier Make
		disk.Remove("FORMAT.new")
		f, err = disk.Create("FORMAT.new", 0o644)
	}
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err = fmt.Fprintf(f, "spool: 1\nuuid: %s\nnode: %s\n", hex.EncodeToString(uuid[:]), node); err == nil {
		err = f.Sync()
	}
	if err == nil {
		err = disk.Rename("FORMAT.new", "FORMAT")
	}
	if err == nil {
		err = disk.SyncDir(".")
	}
	return err
}

// Open opens an existing spool and refuses one of a newer FORMAT.
func Open(root string) (*Spool, error) {
	disk, err := durable.Open(root)
	if err != nil {
		return nil, err
	}
	s, err := OpenOn(disk)
	if err != nil {
		disk.Close()
		return nil, fmt.Errorf("%s: %w", root, err)
	}
	return s, nil
}

// OpenOn is Open on a disk that is open already.
func OpenOn(disk durable.Disk) (*Spool, error) {
	f, err := disk.Open("FORMAT")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, 4096))
	if err != nil {
		return nil, err
	}
	s := &Spool{Disk: disk}
	version := ""
	for line := range strings.Lines(string(text)) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), ": ")
		switch key {
		case "spool":
			version = value
		case "node":
			s.Node = value
		}
	}
	if version != "1" {
		return nil, fmt.Errorf("FORMAT: spool version %q is not one this program knows", version)
	}
	if !validNode(s.Node) {
		return nil, fmt.Errorf("FORMAT: node %q: want 1 to 8 letters a-z and digits", s.Node)
	}
	return s, nil
}

// Close closes the spool's disk and FIFOs.
func (s *Spool) Close() error {
	s.hints.Range(func(_, t any) bool { t.(*trigger).close(); return true })
	return s.Disk.Close()
}
