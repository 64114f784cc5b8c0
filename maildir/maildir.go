/*
Package maildir is the store of one mailbox: a Maildir, which other programs change at any time
without telling us.

	~/Maildir/                     0700
	    tmp/NAME.CHANCE            being written; nobody looks; older than 36 hours: removed
	    new/NAME                   delivered, not yet looked at                  0600
	    cur/NAME:2,FLAGS           seen by some program                          0600
	    .Lists.go/{tmp,new,cur}    the folder Lists/go (layout maildir++)
	    maildirsize                what all of it weighs: a cache, safe to delete

	NAME = SEC.ID_N.HOST,S=octets,W=octets with CRLF

NAME is made from the spool's id and the number of the recipient, so that a delivery repeated after
a crash finds what it did before. Names of other programs are taken as they come: a message is
a regular file in new/ or cur/ whose name does not begin with a dot, whoever owns it and however
many links it has. Its key is the name up to the first ':'.

Nothing here is written in place and nothing needs a lock: a message appears by rename or link, and a
reader who finds a name gone looks for its key once more before he calls it removed.
*/
package maildir

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"pennypost/internal/durable"
)

// ErrNotMounted is what making a Maildir gives where the store's stamp is not found: a missing
// volume is not an empty mailbox.
var ErrNotMounted = errors.New("the mail store is not mounted (its stamp file is missing)")

// ErrWorldWritable is a Maildir in which anybody could put anything (S129).
var ErrWorldWritable = errors.New("anybody may write into this Maildir; take that right away")

// Opener opens a directory; it is durable.Open but in tests.
type Opener func(root string) (durable.Disk, error)

// Store is where Maildirs are.
type Store struct {
	Stamp string // name of the file that marks a mounted store, looked for above the Maildir; "" looks for nothing
	Open  Opener // nil is durable.Open
	Now   func() time.Time
}

// Maildir is one open Maildir.
type Maildir struct {
	Root string
	Disk durable.Disk
}

// staleAfter is how long a file in tmp/ may be at work.
const staleAfter = 36 * time.Hour

var subdirs = [...]string{"tmp", "new", "cur"}

func (s *Store) disk(root string) (durable.Disk, error) {
	if s.Open != nil {
		return s.Open(root)
	}
	return durable.Open(root)
}

// Get opens the Maildir root and makes what is missing of it.
func (s *Store) Get(root string) (*Maildir, error) {
	made := 0 // levels, from the Maildir upwards
	disk, err := s.disk(root)
	if errors.Is(err, fs.ErrNotExist) {
		if made, err = s.mkdirs(root); err == nil {
			disk, err = s.disk(root)
		}
	}
	if err != nil {
		return nil, err
	}
	m := &Maildir{root, disk}
	var complete bool
	info, err := disk.Stat(".")
	if err == nil && info.Mode.Perm()&0o002 != 0 {
		err = fmt.Errorf("%s: %w", root, ErrWorldWritable)
	}
	if err == nil {
		complete, err = m.complete()
	}
	if err == nil {
		if !complete {
			made = max(made, 1) // its own directory changed; what is above those that were made is not ours, and perhaps not to be read
			err = m.mark()
		}
	}
	if err == nil {
		err = s.settle(root, made)
	}
	if err == nil {
		err = disk.Hold("tmp", "new")
	}
	if err != nil {
		disk.Close()
		return nil, err
	}
	return m, nil
}

// Existing opens the Maildir root; fs.ErrNotExist where there is none.
func (s *Store) Existing(root string) (*Maildir, error) {
	disk, err := s.disk(root)
	if err != nil {
		return nil, err
	}
	return &Maildir{root, disk}, nil
}

// mkdirs makes root and what is missing above it, and says how many directories that were.
func (s *Store) mkdirs(root string) (made int, err error) {
	var missing []string
	at := filepath.Clean(root)
	for {
		missing = append(missing, filepath.Base(at))
		at = filepath.Dir(at)
		disk, err := s.disk(at)
		if errors.Is(err, fs.ErrNotExist) && at != "/" {
			continue
		}
		if err != nil {
			return 0, err
		}
		defer disk.Close()
		if err := s.mounted(at); err != nil {
			return 0, err
		}
		name := "."
		for i := len(missing) - 1; i >= 0; i-- {
			name = filepath.Join(name, missing[i])
			if err := disk.Mkdir(name, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
				return 0, err
			}
		}
		return len(missing), nil
	}
}

// young is an age at which a directory may not be on disk yet.
const young = 5 * time.Minute

// settle puts on disk what was made at and above root: by us just now, made levels of it, or by
// somebody who died before he came to it. Mail in a directory that a power cut takes away is lost
// all the same.
func (s *Store) settle(root string, made int) error {
	now := time.Now
	if s.Now != nil {
		now = s.Now
	}
	for level, at := 0, filepath.Clean(root); ; level, at = level+1, filepath.Dir(at) {
		disk, err := s.disk(at)
		if err != nil {
			return err
		}
		info, err := disk.Stat(".")
		fresh := level < made || err == nil && now().Sub(info.ModTime) < young
		if fresh && err == nil {
			err = disk.SyncDir(".")
		}
		disk.Close()
		if level > 0 && level > made && err != nil { // not ours to read, or to sync
			return nil
		}
		if err != nil || !fresh || at == "/" || at == "." {
			return err
		}
	}
}

// mounted looks for the stamp in dir and everything above it.
func (s *Store) mounted(dir string) error {
	if s.Stamp == "" {
		return nil
	}
	if filepath.IsAbs(s.Stamp) {
		disk, err := s.disk(filepath.Dir(s.Stamp))
		if err == nil {
			_, err = disk.Stat(filepath.Base(s.Stamp))
			disk.Close()
		}
		if err != nil {
			return fmt.Errorf("%s: %w", s.Stamp, ErrNotMounted)
		}
		return nil
	}
	for at := dir; ; at = filepath.Dir(at) {
		disk, err := s.disk(at)
		if err == nil {
			_, err = disk.Stat(s.Stamp)
			disk.Close()
		}
		if err == nil {
			return nil
		}
		if at == "/" || at == "." {
			return fmt.Errorf("%s: %w", dir, ErrNotMounted)
		}
	}
}

// complete makes tmp/, new/ and cur/ where they are missing, and reports whether none was.
func (m *Maildir) complete() (was bool, err error) {
	was = true
	for _, dir := range subdirs {
		_, err := m.Disk.Stat(dir)
		if errors.Is(err, fs.ErrNotExist) {
			err = m.Disk.Mkdir(dir, 0o700)
			was = false
		}
		if err != nil && !errors.Is(err, fs.ErrExist) {
			return was, err
		}
	}
	return was, nil
}

// mark tells other programs that a new folder of Maildir++ is no mailbox of its own.
func (m *Maildir) mark() error {
	if !strings.HasPrefix(filepath.Base(m.Root), ".") {
		return nil
	}
	f, err := m.Disk.Create("maildirfolder", 0o600)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return f.Close()
}

// Close lets go of the directory.
func (m *Maildir) Close() error { return m.Disk.Close() }

// Tidy removes what writers who died left in tmp/.
func (m *Maildir) Tidy(now time.Time) {
	names, err := m.Disk.ReadDir("tmp")
	if err != nil {
		return
	}
	for _, name := range names {
		info, err := m.Disk.Stat("tmp/" + name)
		if err == nil && info.Mode.IsRegular() && now.Sub(info.ModTime) > staleAfter {
			m.Disk.Remove("tmp/" + name)
		}
	}
}

// Since finds the messages in new/ and cur/ that were accepted at sec or later, by their names up to
// the first comma: those an order could be a repeat of.
func (m *Maildir) Since(sec int64) (map[string]string, error) {
	found := make(map[string]string)
	for _, dir := range []string{"new", "cur"} {
		names, err := m.Disk.ReadDir(dir)
		if err != nil {
			return nil, err
		}
		for _, name := range names {
			if at, _, ok := strings.Cut(name, "."); ok {
				if n, err := strconv.ParseInt(at, 10, 64); err == nil && n >= sec {
					found[Base(name)] = dir + "/" + name
				}
			}
		}
	}
	return found, nil
}
