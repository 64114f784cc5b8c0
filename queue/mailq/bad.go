package mailq

import (
	"errors"
	"io"
	"io/fs"
	"slices"
	"strings"
)

// badFiles calls each for what is in bad/: files that are not what they say they are.
func (t *Tool) badFiles(each func(e *Entry) error) error {
	names, err := t.Spool.Disk.ReadDir("bad")
	if errors.Is(err, fs.ErrPermission) {
		t.note("%v: what is there is not shown", err)
		return nil
	}
	if err != nil {
		return err
	}
	slices.Sort(names)
	for _, name := range names {
		if t.beside(names, name) {
			continue
		}
		e := &Entry{ID: name, State: "bad", File: "bad/" + name, Recipients: []Recipient{}, Reason: t.text("bad/" + name + ".why")}
		info, err := t.Spool.Disk.Stat(e.File)
		if errors.Is(err, fs.ErrNotExist) {
			continue // removed meanwhile
		}
		if err != nil {
			return err
		}
		e.Arrived, e.Size = info.ModTime, info.Size
		if err := each(e); err != nil {
			return err
		}
	}
	return nil
}

// beside reports whether name is the .why .s or .r of another of the names, which are sorted.
func (t *Tool) beside(names []string, name string) bool {
	for _, ending := range []string{".why", ".s", ".r"} {
		if base, ok := strings.CutSuffix(name, ending); ok {
			if _, found := slices.BinarySearch(names, base); found {
				return true
			}
		}
	}
	return false
}

// text is what a small file says, "" if it is not there.
func (t *Tool) text(name string) string {
	f, err := t.Spool.Disk.Open(name)
	if err != nil {
		return ""
	}
	defer f.Close()
	text, _ := io.ReadAll(io.LimitReader(f, 4096))
	return strings.TrimSpace(string(text))
}
