package mailuser

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"

	"pennypost/internal/address"
	"pennypost/internal/domains"
)

// Alias is what list says of one.
type Alias struct {
	Name    string   `json:"name"` // with domain; *@DOMAIN is the catch-all
	Targets []string `json:"targets"`
}

// Aliases lists those of a domain.
func (s *Store) Aliases(domain string) (list []Alias, err error) {
	list = []Alias{}
	name, err := s.home(domain)
	if err != nil {
		return nil, err
	}
	aliases, err := s.domains.Aliases(name)
	for _, e := range aliases.Entries {
		a := Alias{Name: e.Name + "@" + name}
		if p, err := address.Make(e.Name, name); err == nil && e.Name != "*" {
			a.Name = p.String()
		}
		for _, t := range e.Targets {
			a.Targets = append(a.Targets, t.String())
		}
		list = append(list, a)
	}
	return list, err
}

// AddAlias makes an alias, or adds targets to one that is there; with replace it has these targets alone.
// Comments and the other lines of the file stay as they are. The result is the line of the file.
func (s *Store) AddAlias(alias string, targets []string, replace bool) (line string, err error) {
	name, domain, err := s.aliasName(alias)
	if err != nil {
		return "", err
	}
	if err := domains.CheckUser(name); err == nil {
		if _, err := s.domains.Login(name + "@" + domain); err == nil {
			return "", fmt.Errorf("%s@%s: is an account, and an account goes before an alias; a file %s/users/%s/forward sends its mail on", name, domain, filepath.Join(s.Dir, domain), name)
		}
	}
	err = s.editAliases(domain, func(a *domains.Aliases, lines []string) ([]string, error) {
		old := find(a, name)
		var all []string
		if old != nil && !replace {
			for _, t := range old.Targets {
				all = append(all, spell(t))
			}
		}
		for _, t := range targets {
			p, err := address.Parse(t)
			switch {
			case err != nil:
				return nil, fmt.Errorf("%s: %w", t, err)
			case p.IsNull():
				return nil, errors.New("an empty target")
			case p.Domain == "":
				p.Domain = domain
			}
			if !slices.Contains(all, spell(p)) {
				all = append(all, spell(p))
			}
		}
		written := name
		if p, err := address.Make(name, ""); err == nil && name != "*" {
			written = spell(p)
		}
		line = written + ": " + strings.Join(all, ", ")
		if old == nil {
			return append(lines, line), nil
		}
		return slices.Replace(lines, old.First-1, old.Last, line), nil
	})
	return line, err
}

// RemoveAlias removes an alias.
func (s *Store) RemoveAlias(alias string) error {
	name, domain, err := s.aliasName(alias)
	if err != nil {
		return err
	}
	return s.editAliases(domain, func(a *domains.Aliases, lines []string) ([]string, error) {
		old := find(a, name)
		if old == nil {
			return nil, fmt.Errorf("%s@%s: no such alias", name, domain)
		}
		return slices.Delete(lines, old.First-1, old.Last), nil
	})
}

// spell writes an address so that the file does not take it for a comment.
func spell(p address.Path) string {
	if strings.HasPrefix(p.Local, "#") {
		p.Local = `"` + p.Local + `"`
	}
	return p.String()
}

func find(a *domains.Aliases, name string) *domains.AliasEntry {
	for i := range a.Entries {
		if a.Entries[i].Name == name {
			return &a.Entries[i]
		}
	}
	return nil
}

// aliasName takes NAME@DOMAIN apart. A name may hold what an account's may not; it is no file.
func (s *Store) aliasName(alias string) (name, domain string, err error) {
	if rest, ok := strings.CutPrefix(alias, "*@"); ok {
		domain, err = s.home(rest)
		return "*", domain, err
	}
	p, err := address.Parse(alias)
	if err != nil {
		return "", "", fmt.Errorf("%q: %w", alias, err)
	}
	if p.Domain == "" {
		return "", "", fmt.Errorf("%q: write NAME@DOMAIN", alias)
	}
	domain, err = s.home(p.Domain)
	return domains.Normalise(p.Unquoted()), domain, err
}

// editAliases changes a domain's aliases file. A file with mistakes is not touched: its author is asked first.
func (s *Store) editAliases(domain string, edit func(*domains.Aliases, []string) ([]string, error)) error {
	unlock, err := s.lock(domain)
	if err != nil {
		return err
	}
	defer unlock()
	file := filepath.Join(s.Dir, domain, "aliases")
	text, err := domains.ReadFile(file, domains.MaxAliases)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	a, err := domains.ParseAliases(file, text, domain)
	if err != nil {
		return fmt.Errorf("%w\n(nothing was changed; mend the file first)", err)
	}
	var lines []string
	for line := range strings.Lines(text) {
		lines = append(lines, strings.TrimSuffix(line, "\n"))
	}
	if lines, err = edit(a, lines); err != nil {
		return err
	}
	text = ""
	if len(lines) > 0 {
		text = strings.Join(lines, "\n") + "\n"
	}
	if _, err := domains.ParseAliases(file, text, domain); err != nil {
		return err
	}
	return s.write(domain+"/aliases", text, 0o644, true)
}
