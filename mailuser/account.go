package mailuser

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"pennypost/internal/config"
	"pennypost/internal/domains"
	"pennypost/login"
)

// Account is what list and show say of an account.
type Account struct {
	Address       string       `json:"address"`
	Dir           string       `json:"directory"`
	Maildir       string       `json:"maildir"`
	Layout        string       `json:"layout"`
	Quota         int64        `json:"quota"`
	QuotaMessages int64        `json:"quota_messages"`
	DetailFolders []string     `json:"detail_folders,omitempty"`
	Forward       []string     `json:"forward,omitempty"`
	Credentials   []Credential `json:"credentials"`
	Aliases       []string     `json:"aliases,omitempty"` // that lead to it
}

// AddUser makes an account. With credential != nil it has one from the start.
func (s *Store) AddUser(who, quota string, credential *login.Credential) (*Account, error) {
	name, domain, err := s.split(who)
	if err != nil {
		return nil, err
	}
	if quota != "" {
		if _, err := config.ParseQuota(quota); err != nil {
			return nil, fmt.Errorf("quota %w", err)
		}
	}
	users := domain + "/users"
	if err := s.disk.Mkdir(users, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, s.wrap(err)
	}
	temp := hidden(users + "/" + name)
	if err := s.disk.Mkdir(temp, 0o755); err != nil {
		return nil, s.wrap(err)
	}
	err = s.furnish(temp, quota, credential)
	if err == nil {
		err = s.publish(temp, users+"/"+name)
	}
	if err != nil {
		s.clear(temp)
		return nil, s.there(users+"/"+name, err)
	}
	a, err := s.User(name + "@" + domain)
	return &a, err
}

func (s *Store) furnish(dir, quota string, credential *login.Credential) error {
	if err := s.makeCredentials(dir); err != nil {
		return err
	}
	if quota != "" {
		if err := s.fill(dir+"/quota", quota+"\n", 0o644); err != nil {
			return err
		}
	}
	if credential == nil {
		return nil
	}
	if err := s.fill(dir+"/credentials/"+credential.Name, credential.String(), 0o640); err != nil {
		return err
	}
	return s.disk.SyncDir(dir + "/credentials")
}

// makeCredentials makes the directory that only root and the group mailauth may enter; files in it get its group.
func (s *Store) makeCredentials(dir string) error {
	name := dir + "/credentials"
	if err := s.disk.Mkdir(name, 0o750); err != nil {
		return err
	}
	if s.readers < 0 {
		return nil
	}
	if err := os.Lchown(filepath.Join(s.Dir, name), 0, s.readers); err != nil {
		return err
	}
	return s.chmod(name, fs.ModeSetgid|0o750)
}

// Users lists the accounts of a domain, of all if it is "".
func (s *Store) Users(domain string) (list []Account, err error) {
	list = []Account{}
	all := []string{domain}
	if domain == "" {
		if all, err = s.domains.List(); err != nil {
			return nil, err
		}
	}
	for _, d := range all {
		real, err := s.home(d)
		if err != nil {
			return nil, err
		}
		if domain == "" && real != d {
			continue
		}
		names, err := s.domains.Users(real)
		if err != nil {
			return nil, err
		}
		for _, name := range names {
			a, err := s.User(name + "@" + real)
			if err != nil {
				return list, err
			}
			list = append(list, a)
		}
	}
	return list, nil
}

// User shows one account.
func (s *Store) User(who string) (a Account, err error) {
	name, domain, err := s.split(who)
	if err != nil {
		return a, err
	}
	found, err := s.domains.Login(name + "@" + domain)
	if err != nil {
		return a, fmt.Errorf("%s@%s: %w", name, domain, err)
	}
	a = Account{
		Address:       found.Path().String(),
		Dir:           found.Dir,
		Maildir:       found.Maildir,
		Layout:        found.Layout,
		Quota:         found.Quota,
		QuotaMessages: found.QuotaMessages,
		DetailFolders: found.DetailFolders,
	}
	for _, f := range found.Forward {
		a.Forward = append(a.Forward, string(f.Kind)+f.Target.String()+f.Arg)
	}
	if a.Credentials, err = s.Credentials(a.Address); err != nil {
		return a, err
	}
	aliases, err := s.Aliases(domain)
	for _, alias := range aliases {
		for _, target := range alias.Targets {
			if target == a.Address {
				a.Aliases = append(a.Aliases, alias.Name)
			}
		}
	}
	return a, err
}

// RemoveUser removes an account and its credentials; its mail stays. It returns what it was.
func (s *Store) RemoveUser(who string) (*Account, error) {
	name, domain, err := s.split(who)
	if err != nil {
		return nil, err
	}
	a, err := s.User(who)
	if a.Dir == "" {
		return nil, err
	}
	if err := s.removeTree(domain + "/users/" + name); err != nil {
		return &a, err
	}
	return &a, s.state.Forget(&domains.Account{User: name, Domain: domain}, "") // who gets the name next has another past
}
