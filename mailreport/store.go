package mailreport

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"pennypost/internal/durable"
)

// Store is the directory of what was read.
type Store struct {
	Dir  string
	disk durable.Disk
}

// Open opens the directory.
func Open(dir string) (*Store, error) {
	disk, err := durable.Open(dir)
	if err != nil {
		return nil, err
	}
	return &Store{Dir: dir, disk: disk}, nil
}

// Close closes it.
func (s *Store) Close() error { return s.disk.Close() }

// maxFile is how large a file of one day may become: who sends reports without end does not fill the disk.
const maxFile = 64 << 20

// Add writes the reports that are not there yet, and says how many were not.
func (s *Store) Add(list []*Report) (added int, err error) {
	if l, ok := s.disk.(durable.Locker); ok {
		lock, err := l.TryLock("lock")
		if errors.Is(err, durable.ErrLocked) {
			return 0, fmt.Errorf("%s: another mailreport is writing", s.Dir)
		}
		if err != nil {
			return 0, s.wrap(err)
		}
		defer lock.Close()
	}
	files := map[string][]*Report{}
	for _, r := range list {
		name := r.Kind + "/" + r.Day.UTC().Format(time.DateOnly) + ".tsv"
		files[name] = append(files[name], r)
	}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		n, err := s.addTo(name, files[name])
		if added += n; err != nil {
			return added, s.wrap(err)
		}
	}
	return added, nil
}

// addTo writes one day's file anew with the reports it does not have.
func (s *Store) addTo(name string, reports []*Report) (added int, err error) {
	old, err := s.read(name)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return 0, err
	}
	have := map[string]bool{}
	for line := range bytes.Lines(old) {
		id, _, _ := bytes.Cut(line, []byte("\t"))
		have[string(id)] = true
	}
	text := bytes.NewBuffer(old)
	for _, r := range reports {
		if id := *r.rows[0].columns()[0].text; have[id] {
			continue
		} else {
			have[id] = true
		}
		if text.Len() == 0 {
			writeLine(text, r.rows[0].columns(), func(c column) string { return c.name })
		}
		for _, row := range r.rows {
			writeLine(text, row.columns(), column.value)
		}
		added++
	}
	switch {
	case added == 0:
		return 0, nil
	case text.Len() > maxFile:
		return 0, &fs.PathError{Op: "write", Path: name, Err: fmt.Errorf("more than %d octets for one day", maxFile)}
	}
	return added, s.replace(name, text.Bytes())
}

func writeLine(b *bytes.Buffer, columns []column, value func(column) string) {
	for i, c := range columns {
		if i > 0 {
			b.WriteByte('\t')
		}
		b.WriteString(value(c))
	}
	b.WriteByte('\n')
}

func (s *Store) replace(name string, text []byte) error {
	dir, base := filepath.Split(name)
	err := s.disk.Mkdir(filepath.Clean(dir), 0o750)
	switch {
	case err == nil:
		if err = s.disk.SyncDir("."); err != nil {
			return err
		}
	case !errors.Is(err, fs.ErrExist):
		return err
	}
	temp := dir + "." + base + "." + rand.Text()[:10]
	f, err := s.disk.Create(temp, 0o640)
	if err != nil {
		return err
	}
	if _, err = f.Write(text); err == nil {
		err = durable.Replace(s.disk, f, temp, name)
	}
	if err = errors.Join(err, f.Close()); err != nil {
		s.disk.Remove(temp)
	}
	return err
}

func (s *Store) read(name string) ([]byte, error) {
	f, err := s.disk.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(f)
}

// wrap gives an error of the disk, which knows names below Dir, the rest of the path.
func (s *Store) wrap(err error) error {
	var p *fs.PathError
	if errors.As(err, &p) && !filepath.IsAbs(p.Path) {
		return &fs.PathError{Op: p.Op, Path: filepath.Join(s.Dir, p.Path), Err: p.Err}
	}
	return err
}

// Days are the days from and to, both included, that tables are about.
type Days struct{ From, To time.Time }

// Last is the n days up to now.
func Last(n int, now time.Time) Days {
	return Days{now.UTC().AddDate(0, 0, 1-n), now.UTC()}
}

func (d Days) has(day string) bool {
	return day >= d.From.UTC().Format(time.DateOnly) && day <= d.To.UTC().Format(time.DateOnly)
}

// each reads the rows of a kind on the days into r, one after the other, and calls do. Columns go by their names, so a file of
// another version is read as far as it is understood.
func (s *Store) each(kind string, days Days, r row, do func()) error {
	names, err := s.disk.ReadDir(kind)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return s.wrap(err)
	}
	slices.Sort(names)
	for _, name := range names {
		day, ok := strings.CutSuffix(name, ".tsv")
		if !ok || name[0] == '.' || !days.has(day) {
			continue
		}
		text, err := s.read(kind + "/" + name)
		if err != nil {
			return s.wrap(err)
		}
		if err := eachLine(text, r, do); err != nil {
			return fmt.Errorf("%s: %w", filepath.Join(s.Dir, kind, name), err)
		}
	}
	return nil
}

func eachLine(text []byte, r row, do func()) error {
	columns := r.columns()
	var at []*column // where the fields of the file go
	in := bufio.NewScanner(bytes.NewReader(text))
	in.Buffer(nil, 1<<20)
	for n := 1; in.Scan(); n++ {
		fields := strings.Split(in.Text(), "\t")
		if n == 1 {
			for _, name := range fields {
				i := slices.IndexFunc(columns, func(c column) bool { return c.name == name })
				if i < 0 {
					at = append(at, nil)
				} else {
					at = append(at, &columns[i])
				}
			}
			continue
		}
		if len(fields) != len(at) {
			return fmt.Errorf("line %d has %d fields and not %d", n, len(fields), len(at))
		}
		for _, c := range columns {
			if c.text != nil {
				*c.text = ""
			} else {
				*c.num = 0
			}
		}
		for i, c := range at {
			if c == nil {
				continue
			}
			if err := c.set(fields[i]); err != nil {
				return fmt.Errorf("line %d: %s: %w", n, c.name, err)
			}
		}
		do()
	}
	return in.Err()
}
