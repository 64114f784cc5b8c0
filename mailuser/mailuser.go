/*
Package mailuser makes, shows and removes domains, accounts, credentials and aliases: the directories of domains(5).

	mailuser domain add example.org            mkdir DIR/example.org DIR/example.org/users
	mailuser user add alice@example.org        mkdir DIR/example.org/users/alice …/credentials
	mailuser credential add alice@… phone      write …/credentials/phone
	mailuser device add alice@… phone          the same, with settings to type; its last use is in state/auth
	mailuser totp add alice@…                  a line in …/credentials/main
	mailuser alias add sales@… alice           edit DIR/example.org/aliases

Nothing here is more than mkdir and an editor do; it is only done in one step each: a directory is filled under a name that
starts with a dot, and a file is written under one, before it gets its own name. What a crash leaves behind is such a name,
which nobody reads. No program need run, and none need be told.
*/
package mailuser

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
	"syscall"

	"pennypost/internal/address"
	"pennypost/internal/config"
	"pennypost/internal/domains"
	"pennypost/internal/durable"
	"pennypost/login"
)

// Store is a directory of domains that may be changed.
type Store struct {
	Dir    string
	Params login.Params // of new credentials; zero is login.DefaultParams

	disk    durable.Disk
	domains *domains.Domains
	state   *login.State
	readers int // gid that reads credentials; -1 is our own
}

// Sections of mail.toml that Open needs.
var Sections = []string{"mail"}

// Open opens what mail.toml says.
func Open(c *config.Config) (*Store, error) {
	disk, err := durable.Open(c.Domains)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w; make it first: mkdir -m 755 %s", err, c.Domains)
	}
	if err != nil {
		return nil, err
	}
	return &Store{Dir: c.Domains, Params: login.DefaultParams, disk: disk, domains: domains.FromConfig(c), state: login.NewState(filepath.Join(c.State, "auth")), readers: readers()}, nil
}

// readers is the group mailauth where we may give files to it.
func readers() int {
	if os.Geteuid() != 0 {
		return -1
	}
	g, err := user.LookupGroup("mailauth")
	if err != nil {
		return -1
	}
	gid, err := strconv.Atoi(g.Gid)
	if err != nil {
		return -1
	}
	return gid
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

// hidden is the name under which name is made ready or taken apart.
func hidden(name string) string {
	dir, base := "", name
	if i := strings.LastIndexByte(name, '/'); i >= 0 {
		dir, base = name[:i+1], name[i+1:]
	}
	return dir + "." + base + "." + rand.Text()[:10]
}

// write puts text into a file in one step: under another name, synced, renamed. replace says whether the file may be there.
func (s *Store) write(name, text string, perm fs.FileMode, replace bool) error {
	temp := hidden(name)
	err := s.fill(temp, text, perm)
	if err == nil {
		if replace {
			err = s.keepOwner(name, temp)
		}
		if err == nil && replace {
			err = s.disk.Rename(temp, name)
		} else if err == nil {
			err = s.disk.RenameNew(temp, name)
		}
	}
	if err != nil {
		s.disk.Remove(temp)
		return s.wrap(err)
	}
	return s.wrap(s.disk.SyncDir(parent(name)))
}

func (s *Store) fill(name, text string, perm fs.FileMode) error {
	f, err := s.disk.Create(name, perm)
	if err != nil {
		return err
	}
	_, err = f.Write([]byte(text))
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// keepOwner gives the new file the owner, group and mode that the old one has.
func (s *Store) keepOwner(name, temp string) error {
	old, err := s.disk.Stat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	mine, err := s.disk.Stat(temp)
	if err != nil {
		return err
	}
	if old.UID != mine.UID || old.GID != mine.GID {
		if err := os.Lchown(filepath.Join(s.Dir, temp), int(old.UID), int(old.GID)); err != nil {
			return err
		}
	}
	return s.chmod(temp, old.Mode.Perm()&^0o002)
}

func (s *Store) chmod(name string, mode fs.FileMode) error {
	if c, ok := s.disk.(durable.Chmoder); ok {
		return c.Chmod(name, mode)
	}
	return nil
}

func parent(name string) string {
	if dir := filepath.Dir(name); dir != "" {
		return dir
	}
	return "."
}

// publish gives a directory that is ready its name.
func (s *Store) publish(temp, name string) error {
	err := s.disk.SyncDir(temp)
	if err == nil {
		err = s.disk.RenameNew(temp, name)
	}
	if err != nil {
		return err
	}
	return s.disk.SyncDir(parent(name))
}

// removeTree removes a directory: first from sight, then in fact.
func (s *Store) removeTree(name string) error {
	temp := hidden(name)
	if err := s.disk.RenameNew(name, temp); err != nil {
		return s.wrap(err)
	}
	if err := s.disk.SyncDir(parent(name)); err != nil {
		return s.wrap(err)
	}
	return s.wrap(s.clear(temp))
}

func (s *Store) clear(name string) error {
	info, err := s.disk.Stat(name)
	if err != nil {
		return err
	}
	if !info.Mode.IsDir() {
		return s.disk.Remove(name)
	}
	names, err := s.disk.ReadDir(name)
	if err != nil {
		return err
	}
	for _, n := range names {
		if err := s.clear(name + "/" + n); err != nil {
			return err
		}
	}
	return s.disk.RemoveDir(name)
}

// lock keeps another mailuser out of a directory until the process or the returned function ends it.
func (s *Store) lock(name string) (unlock func(), err error) {
	f, err := os.Open(filepath.Join(s.Dir, name))
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		f.Close()
		return nil, &fs.PathError{Op: "lock", Path: f.Name(), Err: err}
	}
	return func() { f.Close() }, nil
}

// home is the domain directory of a name that must be ours.
func (s *Store) home(domain string) (string, error) {
	p, err := address.Parse("x@" + domain)
	if err != nil {
		return "", fmt.Errorf("%s: %w", domain, err)
	}
	s.domains.Forget() // what we did ourselves a moment ago counts
	name, err := s.domains.Name(p.DomainUnicode())
	switch {
	case err != nil:
		return "", err
	case name == "":
		return "", fmt.Errorf("%s: no such domain here; mailuser domain add %s makes it", p.DomainUnicode(), p.DomainUnicode())
	}
	return name, nil
}

// split takes USER@DOMAIN apart: the name an account would have, and the domain's directory.
func (s *Store) split(who string) (name, domain string, err error) {
	i := strings.LastIndexByte(who, '@')
	if i <= 0 || i == len(who)-1 {
		return "", "", fmt.Errorf("%q: write USER@DOMAIN", who)
	}
	if domain, err = s.home(who[i+1:]); err != nil {
		return "", "", err
	}
	name = domains.Normalise(who[:i])
	if err := domains.CheckUser(name); err != nil {
		return "", "", fmt.Errorf("%q: the name %w", who, err)
	}
	if _, err := address.Make(name, domain); err != nil {
		return "", "", fmt.Errorf("%q: %w", who, err)
	}
	return name, domain, nil
}
