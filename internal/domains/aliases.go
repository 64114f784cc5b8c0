package domains

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"pennypost/internal/address"
)

// Aliases is an aliases file, aliases(5).
type Aliases struct {
	Names    map[string][]address.Path // by normalised local part
	CatchAll []address.Path            // *:
	Entries  []AliasEntry              // in the order of the file
}

// AliasEntry is where an alias stands.
type AliasEntry struct {
	Name        string // normalised local part, or *
	First, Last int    // lines of the file, from 1
	Targets     []address.Path
}

// MaxAliases is the largest aliases file.
const MaxAliases = 64 << 20

// readAliases reads the aliases of a domain. What stands on good lines is there even if others are bad.
func readAliases(dir, domain string, seen snapshot) (*Aliases, error) {
	path := dir + "/aliases"
	switch {
	case seen.err != nil:
		return &Aliases{}, seen.err
	case !seen.has("aliases"):
		return &Aliases{}, nil
	}
	text, err := ReadFile(path, MaxAliases)
	if errors.Is(err, fs.ErrNotExist) {
		return &Aliases{}, nil
	}
	switch {
	case err != nil:
		return &Aliases{}, err
	case text == "" && !seen.settled("aliases"):
		return &Aliases{}, fmt.Errorf("%s: empty at this moment; somebody is writing it", path)
	}
	return ParseAliases(path, text, domain)
}

// ParseAliases reads the text of an aliases file:
//
//	# a comment
//	sales: alice, bob@example.net    # and one here
//	team: carol,
//	   dave                          a line that starts with a space goes on
//	*: alice                         whoever is not known
//
// Targets are addresses and nothing else: no program, no file, no :include:. The error names every bad line,
// "FILE:LINE: …"; the good ones are returned in any case.
func ParseAliases(file, text, domain string) (*Aliases, error) {
	a := &Aliases{Names: map[string][]address.Path{}}
	var errs []error
	wrong := func(line int, err error) {
		if len(errs) < 20 { // who has more has the wrong file
			errs = append(errs, fmt.Errorf("%s:%d: %w", file, line, err))
		}
	}
	aliasLines(text, func(first, last int, entry string, err error) {
		if err == nil {
			err = a.add(entry, domain, first, last)
		}
		if err != nil {
			wrong(first, err)
		}
	})
	return a, errors.Join(errs...)
}

// aliasLines gives each entry of an aliases file with its lines, joined to one; err is set for a line that belongs to none.
func aliasLines(text string, each func(first, last int, entry string, err error)) {
	first, last, entry := 0, 0, []string(nil)
	finish := func() {
		if len(entry) > 0 {
			each(first, last, strings.Join(entry, " "), nil)
		}
	}
	n := 0
	for line := range strings.Lines(text) {
		n++
		goesOn := line[0] == ' ' || line[0] == '\t'
		line = strings.TrimSpace(uncomment(line))
		switch {
		case line == "":
		case goesOn && len(entry) > 0:
			entry, last = append(entry, line), n
		case goesOn:
			each(n, n, "", errors.New("starts with a space, but there is no line to go on with"))
		default:
			finish()
			first, last, entry = n, n, []string{line}
		}
	}
	finish()
}

// uncomment removes a comment: a # at the start or after a space, outside quotes. Some addresses have one inside.
func uncomment(line string) string {
	quoted := false
	for i := 0; i < len(line); i++ {
		switch c := line[i]; {
		case c == '\\' && quoted:
			i++
		case c == '"':
			quoted = !quoted
		case c == '#' && !quoted && (i == 0 || line[i-1] == ' ' || line[i-1] == '\t'):
			return line[:i]
		}
	}
	return line
}

func (a *Aliases) add(entry, domain string, first, last int) error {
	name, rest, ok := cut(entry, ':')
	if !ok {
		return errors.New("write NAME: ADDRESS, ADDRESS")
	}
	name = strings.TrimSpace(name)
	list, err := targets(rest, domain)
	switch {
	case err != nil:
		return err
	case len(list) == 0:
		return errors.New("no address after the colon")
	case name == "*":
		if a.CatchAll != nil {
			return errors.New("* is there twice")
		}
		a.CatchAll = list
		a.Entries = append(a.Entries, AliasEntry{name, first, last, list})
		return nil
	}
	p, err := address.Parse(name)
	switch {
	case err != nil:
		return fmt.Errorf("name: %w", err)
	case p.Domain != "":
		return errors.New("a name here is what stands before the @")
	case p.IsNull():
		return errors.New("no name before the colon")
	}
	name = normalise(p.Unquoted())
	if a.Names[name] != nil {
		return errors.New("the name is there twice")
	}
	a.Names[name] = list
	a.Entries = append(a.Entries, AliasEntry{name, first, last, list})
	return nil
}

// targets reads addresses with commas between them.
func targets(list, domain string) (paths []address.Path, err error) {
	for list != "" {
		var word string
		word, list, _ = cut(list, ',')
		if word = strings.TrimSpace(word); word == "" {
			continue
		}
		if strings.HasPrefix(word, "|") || strings.HasPrefix(word, "/") || strings.HasPrefix(word, `"|`) ||
			strings.HasPrefix(word, `"/`) || strings.HasPrefix(word, ":include:") {
			return nil, errors.New("programs and files are not addresses")
		}
		p, err := address.Parse(word)
		if err != nil {
			return nil, err
		}
		paths = append(paths, complete(p, domain))
	}
	return paths, nil
}

// cut is strings.Cut at the first sep outside quotes and address literals.
func cut(s string, sep byte) (before, after string, found bool) {
	quoted, literal := false, false
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '\\' && quoted:
			i++
		case c == '"':
			quoted = !quoted
		case c == '[' && !quoted:
			literal = true
		case c == ']' && !quoted:
			literal = false
		case c == sep && !quoted && !literal:
			return s[:i], s[i+1:], true
		}
	}
	return s, "", false
}
