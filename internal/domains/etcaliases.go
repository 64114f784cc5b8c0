package domains

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"pennypost/internal/address"
)

// etcAliases is /etc/aliases, which sendmail, Postfix and Exim read as well. It has what we do not do, programs and files: mail
// for such a name waits, and the log says at which line why, until somebody has written an address there.
type etcAliases struct {
	mu      sync.Mutex
	checked time.Duration
	read    bool
	files   []seenFile // it and what it includes
	names   map[string]etcEntry
	err     error // a line without a name, or the file
}

type etcEntry struct {
	targets []address.Path // bare names without a domain; none: /dev/null
	err     error
}

type seenFile struct {
	path string
	err  bool
	stamp
}

const (
	maxIncluded = 1 << 20 // octets of a file that is included
	maxIncludes = 100
)

// look finds a name's targets, completed with domain.
func (e *etcAliases) look(d *Domains, name, domain string) (targets []address.Path, ok bool, err error) {
	entry, ok := e.current(d)[name]
	if !ok || entry.err != nil {
		return nil, false, entry.err
	}
	targets = slices.Clone(entry.targets)
	for i := range targets {
		targets[i] = complete(targets[i], domain)
	}
	return targets, true, nil
}

// broken is why a name that is not there may be there all the same.
func (e *etcAliases) broken(d *Domains) error {
	e.current(d)
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.err
}

// current is the file as it was at most a second ago. The map is not changed any more.
func (e *etcAliases) current(d *Domains) map[string]etcEntry {
	if d.defaults.Aliases == "" {
		return nil
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	now := d.now()
	if e.read && now-e.checked < fresh {
		return e.names
	}
	if !e.read || e.changed() {
		e.load(d.defaults.Aliases)
	}
	e.read, e.checked = true, now
	return e.names
}

func (e *etcAliases) changed() bool {
	return slices.ContainsFunc(e.files, func(f seenFile) bool {
		now, err := stat(f.path)
		return (err != nil) != f.err || err == nil && (!f.settled || !f.same(now))
	})
}

// open reads a file and remembers what it looked like before.
func (e *etcAliases) open(path string, limit int64) (string, error) {
	st, err := stat(path)
	e.files = append(e.files, seenFile{path, err != nil, st})
	if err != nil {
		return "", err
	}
	return ReadFile(path, limit)
}

func (e *etcAliases) load(path string) {
	e.files, e.names, e.err = nil, map[string]etcEntry{}, nil
	text, err := e.open(path, MaxAliases)
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	if err != nil {
		e.err = err
		return
	}
	var lost []error
	aliasLines(text, func(line, _ int, entry string, err error) {
		name, targets := "", []address.Path(nil)
		if err == nil {
			name, targets, err = e.entry(entry)
		}
		if err != nil {
			err = fmt.Errorf("%s:%d: %w", path, line, err)
		}
		switch _, there := e.names[name]; {
		case name == "" && len(lost) < 20:
			lost = append(lost, err)
		case name == "" || there: // as with others, the first one counts
		default:
			e.names[name] = etcEntry{targets, err}
		}
	})
	e.err = errors.Join(lost...)
}

// entry reads "name: target, target". A name comes back with an error where only the targets are wrong.
func (e *etcAliases) entry(entry string) (name string, list []address.Path, err error) {
	name, rest, ok := cut(entry, ':')
	if !ok {
		return "", nil, errors.New("write NAME: ADDRESS, ADDRESS")
	}
	p, err := address.Parse(strings.TrimSpace(name))
	if err != nil || p.Domain != "" || p.IsNull() {
		return "", nil, errors.New("no name before the colon")
	}
	name = normalise(p.Unquoted())
	nothing := false
	for rest != "" {
		var word string
		if word, rest, _ = cut(rest, ','); strings.TrimSpace(word) == "" {
			continue
		}
		if strings.Trim(strings.TrimSpace(word), `"`) == "/dev/null" {
			nothing = true
			continue
		}
		more, err := e.target(strings.TrimSpace(word))
		if err != nil {
			return name, nil, err
		}
		list = append(list, more...)
	}
	if len(list) == 0 && !nothing {
		return name, nil, errors.New("no address after the colon")
	}
	return name, list, nil
}

var errNoProgram = errors.New("a program or a file is not an address: give it to a user whose ~/.forward names it, or to a [transport] of mail.toml(5)")

func (e *etcAliases) target(word string) ([]address.Path, error) {
	if path, ok := strings.CutPrefix(strings.Trim(word, `"`), ":include:"); ok {
		return e.include(strings.TrimSpace(path))
	}
	if w := strings.TrimLeft(word, `"`); strings.HasPrefix(w, "|") || strings.HasPrefix(w, "/") {
		return nil, errNoProgram
	}
	p, err := address.Parse(strings.TrimPrefix(word, `\`))
	if err == nil && p.IsNull() {
		err = errors.New("<> is no recipient")
	}
	return []address.Path{p}, err
}

// include reads a file of addresses, one or more a line.
func (e *etcAliases) include(path string) (list []address.Path, err error) {
	if !filepath.IsAbs(path) || len(e.files) > maxIncludes {
		return nil, fmt.Errorf(":include:%s: wants a full path, and there may be %d of them", path, maxIncludes)
	}
	text, err := e.open(path, maxIncluded)
	if err != nil {
		return nil, err
	}
	n := 0
	for line := range strings.Lines(text) {
		n++
		if line = strings.TrimSpace(uncomment(line)); line == "" {
			continue
		}
		if strings.Contains(line, ":include:") {
			return nil, fmt.Errorf("%s:%d: :include: in what is included", path, n)
		}
		more, err := targets(line, "")
		if err != nil {
			return nil, fmt.Errorf("%s:%d: %w", path, n, err)
		}
		list = append(list, more...)
	}
	return list, nil
}
