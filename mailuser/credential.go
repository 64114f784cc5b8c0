package mailuser

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"

	"pennypost/internal/config"
	"pennypost/internal/domains"
	"pennypost/login"
)

// Credential is what list says of one; the verifiers are nobody's business.
type Credential struct {
	Name     string   `json:"name"`
	Scope    []string `json:"scope,omitempty"`
	Expires  string   `json:"expires,omitempty"`
	Expired  bool     `json:"expired,omitempty"`
	Networks []string `json:"networks,omitempty"`
	Note     string   `json:"note,omitempty"`
	Weak     string   `json:"weak,omitempty"`     // what is wrong with the hash it was imported with
	Imported bool     `json:"imported,omitempty"` // and not used since
	TOTP     bool     `json:"totp,omitempty"`
	ActsFor  []string `json:"acts_for,omitempty"`
	Approval string   `json:"approval,omitempty"`

	LastUse *login.Login     `json:"last_use,omitempty"`
	Waiting []login.Approval `json:"waiting,omitempty"` // for approval
}

// Limits say where a credential may be used.
type Limits struct {
	Scope    string // "smtp pop3"
	Expires  string // a day, a time of RFC 3339, or how long from now: 30d
	Networks string
	Note     string
	ActsFor  string
	Approval string // yes, no
}

// NewCredential makes a credential of the password with the limits, for an account that may not be there yet.
func (s *Store) NewCredential(who, name, password string, l Limits) (*login.Credential, error) {
	if err := domains.CheckUser(name); err != nil { // a file name from outside, like an account's
		return nil, fmt.Errorf("credential %q: the name %w", name, err)
	}
	var others []login.Credential
	if dir, err := s.account(who); err == nil {
		others, _ = login.ReadCredentials(s.Dir + "/" + dir) // what cannot be read has no salt for us
	}
	k, err := login.NewBeside(others, name, password, s.Params)
	if err != nil {
		return nil, err
	}
	return limit(k, l)
}

// ImportCredential makes a credential of what another program has made of a password: {SCHEME}HASH as in Dovecot's passwd-file.
func (s *Store) ImportCredential(name, hash string, l Limits) (*login.Credential, error) {
	if err := domains.CheckUser(name); err != nil {
		return nil, fmt.Errorf("credential %q: the name %w", name, err)
	}
	k, err := login.Import(name, strings.TrimSpace(hash))
	if err != nil {
		return nil, err
	}
	return limit(k, l)
}

// limit says where a new credential may be used.
func limit(k login.Credential, l Limits) (_ *login.Credential, err error) {
	if k.Scope, err = login.ParseScope(l.Scope); err != nil {
		return nil, err
	}
	if k.Networks, err = login.ParseNetworks(l.Networks); err != nil {
		return nil, err
	}
	if l.Expires != "" {
		if k.Expires, err = expires(l.Expires); err != nil {
			return nil, err
		}
	}
	if strings.ContainsAny(l.Note, "\r\n\x00") {
		return nil, errors.New("note: one line")
	}
	k.Note = strings.TrimSpace(l.Note)
	if k.ActsFor, err = login.ParseActsFor(l.ActsFor); err != nil {
		return nil, err
	}
	if k.Approval = l.Approval; k.Approval != "" && k.Approval != "yes" && k.Approval != "no" {
		return nil, errors.New("approval: yes or no")
	}
	return &k, nil
}

// AddCredential writes a credential of an account; replace says whether one of that name may be there.
func (s *Store) AddCredential(who string, k *login.Credential, replace bool) error {
	a, err := s.account(who)
	if err != nil {
		return err
	}
	for _, dir := range []string{parent(a), a} { // a Unix user needs none before this
		if err := s.disk.Mkdir(dir, 0o755); err == nil {
			err = s.disk.SyncDir(parent(dir))
		} else if !errors.Is(err, fs.ErrExist) {
			return s.wrap(err)
		}
	}
	if err := s.makeCredentials(a); err != nil && !errors.Is(err, fs.ErrExist) {
		return s.wrap(err)
	}
	file := a + "/credentials/" + k.Name
	err = s.write(file, k.String(), 0o640, replace)
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%s/%s: is there already; --replace gives it a new password", s.Dir, file)
	}
	return err
}

// account is the directory of an account that is there, below Dir.
func (s *Store) account(who string) (string, error) {
	name, domain, err := s.split(who)
	if err != nil {
		return "", err
	}
	if _, err := s.domains.Login(name + "@" + domain); err != nil {
		return "", fmt.Errorf("%s@%s: %w", name, domain, err)
	}
	return domain + "/users/" + name, nil
}

// Credentials lists those of an account.
func (s *Store) Credentials(who string) (list []Credential, err error) {
	list = []Credential{}
	dir, err := s.account(who)
	if err != nil {
		return nil, err
	}
	a, err := s.domains.Login(who)
	if err != nil {
		return nil, err
	}
	waiting, err := s.state.Approvals(a, false)
	if err != nil {
		return nil, err
	}
	all, err := login.ReadCredentials(s.Dir + "/" + dir)
	for _, k := range all {
		c := Credential{Name: k.Name, Scope: k.Scope, Note: k.Note, TOTP: k.TOTP != "", ActsFor: k.ActsFor, Approval: k.Approval}
		c.Imported = k.Imported != "" && !s.state.Rehashed(a, k)
		c.Weak = k.Weak()
		if used, err := s.state.LastUse(a, k.Name); err == nil && !used.Time.IsZero() {
			c.LastUse = &used
		}
		for _, w := range waiting {
			if w.Credential == k.Name {
				c.Waiting = append(c.Waiting, w)
			}
		}
		if !k.Expires.IsZero() {
			c.Expires = k.Expires.UTC().Format(time.RFC3339)
			c.Expired = !time.Now().Before(k.Expires)
		}
		for _, n := range k.Networks {
			c.Networks = append(c.Networks, n.String())
		}
		list = append(list, c)
	}
	return list, err
}

// RemoveCredential revokes one.
func (s *Store) RemoveCredential(who, name string) error {
	dir, err := s.account(who)
	if err != nil {
		return err
	}
	if err := domains.CheckUser(name); err != nil {
		return fmt.Errorf("credential %q: the name %w", name, err)
	}
	err = s.disk.Remove(dir + "/credentials/" + name)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s has no credential %s", who, name)
	}
	if err == nil {
		err = s.disk.SyncDir(dir + "/credentials")
	}
	if err != nil {
		return s.wrap(err)
	}
	a, err := s.domains.Login(who)
	if err != nil {
		return err
	}
	return s.state.Forget(a, name)
}

// expires reads a day, a time, or how long from now.
func expires(text string) (time.Time, error) {
	if d, err := config.Duration(text); err == nil {
		return time.Now().Add(d).Truncate(time.Second), nil
	}
	t, err := login.ParseExpires(text)
	if err != nil {
		return t, errors.New("expires: write 30d, 2027-01-31 or 2027-01-31T12:00:00Z")
	}
	return t, nil
}

// letters of generated passwords: none that looks like another.
const letters = "abcdefghijkmnpqrstuvwxyz23456789"

// Password makes one with 140 bits of chance, in groups of four letters.
func Password() string {
	var random [28]byte
	rand.Read(random[:])
	var b strings.Builder
	for i, c := range random {
		if i > 0 && i%4 == 0 {
			b.WriteByte('-')
		}
		b.WriteByte(letters[int(c)%len(letters)])
	}
	return b.String()
}
