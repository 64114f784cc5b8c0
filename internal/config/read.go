package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/BurntSushi/toml"
)

// Load reads file ("" is DefaultFile) and checks the named sections and the top of the file.
//
// Names are those of mail.toml: "smtpd", "tls", "route", …; "queue" includes "queue.workers".
// The error lists what is wrong line by line, each line "FILE:LINE: …".
func Load(file string, used ...string) (*Config, error) {
	if file == "" {
		file = DefaultFile
	}
	text, err := os.ReadFile(file)
	if err != nil && !(file == DefaultFile && errors.Is(err, fs.ErrNotExist)) {
		return nil, err
	}
	return parse(file, string(text), used...)
}

// Parse is Load for a file that is not there yet: its text is given.
func Parse(file, text string, used ...string) (*Config, error) { return parse(file, text, used...) }

// Sections are the names Load takes.
func Sections() (names []string) {
	for _, s := range sections {
		if s.name != "" && !strings.Contains(s.name, ".") {
			names = append(names, s.name)
		}
	}
	for _, f := range families {
		names = append(names, f.name)
	}
	return names
}

func parse(file, text string, used ...string) (*Config, error) {
	for _, name := range used {
		if !slices.Contains(Sections(), name) {
			panic("config: no section " + name) // a mistake in a program of ours
		}
	}
	c := Default()
	c.File = file
	tables := map[string]toml.Primitive{}
	meta, err := toml.Decode(text, &tables)
	if err != nil {
		return nil, syntax(file, err)
	}
	r := &reader{file: file, meta: &meta}
	if slices.Contains(used, "mail") {
		used = append(slices.Clone(used), "unix", "become") // whose mail is whose, some of them Unix users
	}
	r.top(c, tables, used)
	for _, name := range used {
		if table, ok := tables[name]; ok {
			r.section(c, name, table)
		}
	}
	if len(r.mistakes) > 0 {
		return nil, r.err()
	}
	if err := c.agree(used); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	c.complete()
	return c, nil
}

// agree checks what two keys say together.
func (c *Config) agree(used []string) error {
	switch t := &c.TLS; {
	case slices.Contains(used, "tls") && len(t.Certificates) != len(t.Keys):
		return fmt.Errorf("tls.certificates names %d files and tls.keys %d; each certificate needs its key", len(t.Certificates), len(t.Keys))
	case slices.Contains(used, "srs") && c.SRS.Domain != "" && c.SRS.Secrets == "":
		return errors.New("srs.domain needs srs.secrets, a file")
	case slices.Contains(used, "archive") && c.Archive.Required && !c.Archive.Enabled:
		return errors.New("archive.required needs archive.enabled")
	}
	return nil
}

func syntax(file string, err error) error {
	var p toml.ParseError
	if errors.As(err, &p) {
		return fmt.Errorf("%s:%d: %s", file, p.Position.Line, p.Message)
	}
	return fmt.Errorf("%s: %w", file, err)
}

// A reader walks the tables of one file and collects what is wrong.
type reader struct {
	file     string
	meta     *toml.MetaData
	mistakes []mistake
}

type mistake struct {
	line int
	text string
}

// A taker is a value of the file that we convert ourselves: the toml package then knows the line of what we refuse.
type taker func(any) error

func (t taker) UnmarshalTOML(value any) error { return t(value) }

func (r *reader) take(name string, value toml.Primitive, set func(any) error) {
	err := r.meta.PrimitiveDecode(value, taker(set))
	if err == nil {
		return
	}
	var p toml.ParseError
	if !errors.As(err, &p) {
		r.mistakes = append(r.mistakes, mistake{0, name + ": " + err.Error()})
		return
	}
	r.mistakes = append(r.mistakes, mistake{p.Position.Line, name + " " + p.Message})
}

// refuse notes a mistake at value's line.
func (r *reader) refuse(value toml.Primitive, format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	err := r.meta.PrimitiveDecode(value, taker(func(any) error { return errors.New(text) }))
	var p toml.ParseError
	errors.As(err, &p)
	r.mistakes = append(r.mistakes, mistake{p.Position.Line, text})
}

// top reads the keys before the first section. A table nobody knows may be a later program's; only one
// that looks like a section of ours, misspelt, is ours to complain of.
func (r *reader) top(c *Config, tables map[string]toml.Primitive, used []string) {
	keys := sections[0].keys(c)
	for name, value := range tables {
		if k := find(keys, name); k != nil {
			r.take(name, value, k.set)
			continue
		}
		if slices.Contains(Sections(), name) {
			continue
		}
		if r.table(value) {
			if near := nearest(name, used); near != "" && distance(name, near) <= 1 {
				r.refuse(value, "unknown section [%s], did you mean [%s]? See mail.toml(5)", name, near)
			}
			continue
		}
		r.unknown("", name, value, keys)
	}
}

func (r *reader) table(value toml.Primitive) (is bool) {
	r.inspect(value, func(v any) {
		switch v.(type) {
		case map[string]any, []map[string]any:
			is = true
		}
	})
	return is
}

func (r *reader) inspect(value toml.Primitive, look func(any)) {
	_ = r.meta.PrimitiveDecode(value, taker(func(v any) error { look(v); return nil }))
}

// members are the keys of a table; ok is false if it is something else.
func (r *reader) members(table toml.Primitive) (members map[string]toml.Primitive, ok bool) {
	r.inspect(table, func(v any) { _, ok = v.(map[string]any) })
	if !ok { // the toml package would say nothing
		return nil, false
	}
	return members, r.meta.PrimitiveDecode(table, &members) == nil
}

// section reads [name], of fixed keys or of chosen names.
func (r *reader) section(c *Config, name string, table toml.Primitive) {
	members, ok := r.members(table)
	if !ok {
		r.refuse(table, "%s is a section: write [%s]", name, name)
		return
	}
	for _, f := range families {
		if f.name == name {
			r.family(c, f, members)
			return
		}
	}
	for _, s := range sections {
		if s.name == name {
			r.keys(c, s, members)
			return
		}
	}
}

func (r *reader) keys(c *Config, s section, members map[string]toml.Primitive) {
	keys := s.keys(c)
	for name, value := range members {
		k := find(keys, name)
		switch {
		case k != nil:
			r.take(s.name+"."+name, value, k.set)
		case slices.ContainsFunc(sections, func(sub section) bool { return sub.name == s.name+"."+name }):
			r.section(c, s.name+"."+name, value)
		default:
			r.unknown(s.name+".", name, value, keys)
		}
	}
}

func (r *reader) family(c *Config, f family, members map[string]toml.Primitive) {
	for name, table := range members {
		where := fmt.Sprintf("%s.%q", f.name, name)
		title, err := f.title(name)
		if err != nil {
			r.refuse(table, "%s %s", where, err)
			continue
		}
		values, ok := r.members(table)
		if !ok {
			r.refuse(table, "%s is a section: write [%s]", where, where)
			continue
		}
		before := len(r.mistakes)
		keys, put := f.entry(c, title)
		for name, value := range values {
			if k := find(keys, name); k != nil {
				r.take(where+"."+name, value, k.set)
			} else {
				r.unknown(where+".", name, value, keys)
			}
		}
		if len(r.mistakes) > before {
			continue
		}
		if err := put(); err != nil {
			r.refuse(table, "%s %s", where, err)
		}
	}
}

func (r *reader) unknown(prefix, name string, value toml.Primitive, keys []key) {
	var names []string
	for _, k := range keys {
		names = append(names, k.name)
	}
	if near := nearest(name, names); near != "" {
		r.refuse(value, "unknown key %s%s, did you mean %s? See mail.toml(5)", prefix, quote(name), near)
		return
	}
	r.refuse(value, "unknown key %s%s, see mail.toml(5)", prefix, quote(name))
}

// err is every mistake, in the order of the file.
func (r *reader) err() error {
	slices.SortFunc(r.mistakes, func(a, b mistake) int {
		if a.line != b.line {
			return a.line - b.line
		}
		return strings.Compare(a.text, b.text)
	})
	var all []error
	for _, m := range r.mistakes {
		all = append(all, fmt.Errorf("%s:%d: %s", r.file, m.line, m.text))
	}
	return errors.Join(all...)
}

func find(keys []key, name string) *key {
	for i := range keys {
		if keys[i].name == name {
			return &keys[i]
		}
	}
	return nil
}

// resolve makes a file name of mail.toml absolute: relative to the directory of mail.toml.
func (c *Config) resolve(name string) string {
	if name == "" || filepath.IsAbs(name) {
		return name
	}
	dir, err := filepath.Abs(filepath.Dir(c.File))
	if err != nil {
		return name
	}
	return filepath.Join(dir, name)
}
