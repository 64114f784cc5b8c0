/*
Package mailkey makes, changes and shows the DKIM keys of our domains, and says which records DNS should have: mailkey(8).

	DIR/example.org/dkim/r202611.key      a key; the name is its selector
	DIR/example.org/mx spf dmarc mta-sts tlsrpt  records that are not to be the usual ones, one small text file each

A key is text and PEM:

	created: 2026-11-25T10:00:00Z
	state: sign
	since: 2026-11-26T10:00:00Z
	-----BEGIN PRIVATE KEY-----

	state     what it means                          what rotate does with it
	publish   in DNS soon; signs nothing yet         to sign, when DNS has had it for a day
	sign      signs; the newest of each algorithm    to retire, when the next one signs
	retire    signs nothing; stays in DNS            removed after 14 days, when no signature is good any more

A file without these lines, of another program, signs. Each change is a file written under a name with a dot in front and then
renamed, so a crash leaves the old state or the new one, and at worst two keys that sign.

Only root writes here, and only the group mailsign reads: the process that signs (mailkey sign), which has neither network nor
spool. What asks it is pennypost/msgauth/signer.
*/
package mailkey

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"pennypost/internal/address"
	"pennypost/internal/domains"
	"pennypost/internal/durable"
)

// Store is the directory of domains.
type Store struct {
	Dir string
	Now func() time.Time // nil is time.Now

	disk    durable.Disk
	domains *domains.Domains
	readers int // gid that reads keys; -1 is our own
}

// Open opens a directory of domains.
func Open(dir string) (*Store, error) {
	disk, err := durable.Open(dir)
	if err != nil {
		return nil, err
	}
	return &Store{Dir: dir, disk: disk, domains: domains.Open(dir, domains.Settings{}), readers: readers()}, nil
}

// readers is the group mailsign where we may give files to it.
func readers() int {
	if os.Geteuid() != 0 {
		return -1
	}
	g, err := user.LookupGroup("mailsign")
	if err != nil {
		return -1
	}
	gid, err := strconv.Atoi(g.Gid)
	if err != nil {
		return -1
	}
	return gid
}

func (s *Store) now() time.Time {
	if s.Now != nil {
		return s.Now().UTC()
	}
	return time.Now().UTC()
}

// Name is a domain of ours: its directory, and its name in DNS. An alias domain has the directory of another and its own name.
type Name struct{ Dir, ASCII string }

// Domain finds a domain that must be ours.
func (s *Store) Domain(name string) (Name, error) {
	p, err := address.Parse("x@" + name)
	if err != nil {
		return Name{}, fmt.Errorf("%s: %w", name, err)
	}
	s.domains.Forget()
	dir, err := s.domains.Name(p.DomainUnicode())
	if err != nil {
		return Name{}, err
	}
	if dir == "" {
		return Name{}, fmt.Errorf("%s: no such domain here; mailuser domain add %s makes it", name, name)
	}
	ascii, err := p.DomainASCII()
	return Name{dir, ascii}, err
}

// Domains lists all of ours, alias domains too.
func (s *Store) Domains() ([]Name, error) {
	list, err := s.domains.List()
	if err != nil {
		return nil, err
	}
	var names []Name
	for _, d := range list {
		n, err := s.Domain(d)
		if err != nil {
			return nil, err
		}
		names = append(names, n)
	}
	return names, nil
}

// wrap gives an error of the disk, which knows names below Dir, the rest of the path.
func (s *Store) wrap(err error) error {
	var p *fs.PathError
	if errors.As(err, &p) && !filepath.IsAbs(p.Path) {
		return &fs.PathError{Op: p.Op, Path: filepath.Join(s.Dir, p.Path), Err: p.Err}
	}
	var l *os.LinkError
	if errors.As(err, &l) && !filepath.IsAbs(l.New) {
		return &os.LinkError{Op: l.Op, Old: filepath.Join(s.Dir, l.Old), New: filepath.Join(s.Dir, l.New), Err: l.Err}
	}
	return err
}

// makeDir makes the directory of a domain's keys.
func (s *Store) makeDir(dir string) error {
	err := s.disk.Mkdir(dir, 0o700)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err != nil {
		return s.wrap(err)
	}
	if s.readers >= 0 {
		if err := os.Lchown(filepath.Join(s.Dir, dir), 0, s.readers); err != nil {
			return err
		}
		if c, ok := s.disk.(durable.Chmoder); ok {
			if err := c.Chmod(dir, 0o750); err != nil {
				return s.wrap(err)
			}
		}
	}
	return s.wrap(s.disk.SyncDir(filepath.Dir(dir)))
}

// write puts a key into its place in one step; fresh says that nothing may be there.
func (s *Store) write(name, text string, fresh bool) error {
	dir, base := filepath.Split(name)
	temp := dir + "." + base + "." + rand.Text()[:10]
	err := s.fill(temp, text)
	if err == nil {
		if fresh {
			err = s.disk.RenameNew(temp, name)
		} else {
			err = s.disk.Rename(temp, name)
		}
	}
	if err != nil {
		s.disk.Remove(temp)
		return s.wrap(err)
	}
	return s.wrap(s.disk.SyncDir(filepath.Clean(dir)))
}

func (s *Store) fill(name, text string) error {
	f, err := s.disk.Create(name, 0o600)
	if err != nil {
		return err
	}
	if _, err = f.Write([]byte(text)); err == nil && s.readers >= 0 {
		if err = os.Lchown(filepath.Join(s.Dir, name), 0, s.readers); err == nil {
			if c, ok := s.disk.(durable.Chmoder); ok {
				err = c.Chmod(name, 0o640)
			}
		}
	}
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// setting is a small text file of a domain, "" where there is none.
func (s *Store) setting(n Name, file string) (string, error) {
	text, err := domains.ReadFile(filepath.Join(s.Dir, n.Dir, file), 64<<10)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	return strings.TrimSpace(text), err
}
