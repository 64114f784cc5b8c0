package mailuser

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"pennypost/internal/address"
	"pennypost/internal/domains"
	"pennypost/internal/durable"
)

// Domain is what list and show say of a domain.
type Domain struct {
	Name    string   `json:"name"`
	AliasOf string   `json:"alias_of,omitempty"`
	System  bool     `json:"system,omitempty"` // the users of this host have mail there
	Dir     string   `json:"directory"`
	Users   []string `json:"users"`
	Aliases []Alias  `json:"aliases"`
}

// directory is the name a domain's directory has: U-labels in lower case.
func directory(domain string) (string, error) {
	p, err := address.Parse("x@" + domain)
	if err != nil {
		return "", fmt.Errorf("%s: %w", domain, err)
	}
	name := p.DomainUnicode()
	if err := domains.CheckDomain(name); err != nil {
		return "", fmt.Errorf("%s: %w", domain, err)
	}
	return name, nil
}

// AddDomain makes a domain, for the users of this host with system, or with aliasOf another name for one. It returns its directory name.
func (s *Store) AddDomain(domain, aliasOf string, system bool) (string, error) {
	name, err := directory(domain)
	if err != nil {
		return "", err
	}
	if aliasOf != "" {
		target, err := s.home(aliasOf)
		if err != nil {
			return "", err
		}
		if target == name {
			return "", fmt.Errorf("%s: cannot be an alias of itself", name)
		}
		links, ok := s.disk.(durable.Symlinker)
		if !ok {
			return "", errors.New("no symlinks on this disk")
		}
		err = links.Symlink(target, name)
		if err == nil {
			err = s.disk.SyncDir(".")
		}
		return name, s.there(name, err)
	}
	temp := hidden(name)
	if err := s.disk.Mkdir(temp, 0o755); err != nil {
		return "", s.wrap(err)
	}
	err = s.disk.Mkdir(temp+"/users", 0o755)
	if err == nil && system {
		err = s.fill(temp+"/system", "", 0o644)
	}
	if err == nil {
		err = s.publish(temp, name)
	}
	if err != nil {
		s.clear(temp)
	}
	return name, s.there(name, err)
}

// there explains fs.ErrExist.
func (s *Store) there(name string, err error) error {
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%s: is there already", filepath.Join(s.Dir, name))
	}
	return s.wrap(err)
}

// Domains lists them.
func (s *Store) Domains() (list []Domain, err error) {
	list = []Domain{}
	names, err := s.domains.List()
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		d, err := s.Domain(name)
		if err != nil {
			return list, err
		}
		list = append(list, d)
	}
	return list, nil
}

// Domain shows one.
func (s *Store) Domain(domain string) (d Domain, err error) {
	if d.Name, err = directory(domain); err != nil {
		return d, err
	}
	real, err := s.home(d.Name)
	if err != nil {
		return d, err
	}
	d.Dir = filepath.Join(s.Dir, real)
	if real != d.Name {
		d.AliasOf = real
		return d, nil
	}
	if d.System, err = s.domains.System(real); err != nil {
		return d, err
	}
	if d.Users, err = s.domains.Users(real); err != nil {
		return d, err
	}
	d.Aliases, err = s.Aliases(real)
	return d, err
}

// RemoveDomain removes a domain that has no accounts, or with force one that has. Mail is not touched.
func (s *Store) RemoveDomain(domain string, force bool) error {
	name, err := directory(domain)
	if err != nil {
		return err
	}
	info, err := s.disk.Stat(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%s: no such domain here", name)
	case err != nil:
		return s.wrap(err)
	case info.Mode.Type() == fs.ModeSymlink:
		if err := s.disk.Remove(name); err != nil {
			return s.wrap(err)
		}
		return s.wrap(s.disk.SyncDir("."))
	}
	users, err := s.domains.Users(name)
	if err != nil {
		return err
	}
	if len(users) > 0 && !force {
		return fmt.Errorf("%s: still has accounts: %s; remove them, or say --force", name, strings.Join(users[:min(5, len(users))], " "))
	}
	aliases, err := s.aliasesOf(name)
	if err != nil {
		return err
	}
	if len(aliases) > 0 && !force {
		return fmt.Errorf("%s: is what %s is an alias of; remove that first, or say --force", name, aliases[0])
	}
	if err := s.removeTree(name); err != nil {
		return err
	}
	for _, user := range users {
		err = errors.Join(err, s.state.Forget(&domains.Account{User: user, Domain: name}, ""))
	}
	return err
}

// aliasesOf lists the alias domains of a domain.
func (s *Store) aliasesOf(domain string) (list []string, err error) {
	names, err := s.domains.List()
	for _, name := range names {
		if to, err := os.Readlink(filepath.Join(s.Dir, name)); err == nil && filepath.Base(to) == domain {
			list = append(list, name)
		}
	}
	return list, err
}
