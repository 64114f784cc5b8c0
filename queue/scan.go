package queue

import (
	"slices"
	"strings"
)

// Found is a message file a scan came upon.
type Found struct {
	Name string // below the spool
	ID   string
	Hint bool // learnt from a FIFO: durable already
}

// Scan calls each for every message file under dirs (in/mx/new, q, …), names only, no file is opened.
// Directories that vanish meanwhile are no error.
func (s *Spool) Scan(each func(Found) error, dirs ...string) error {
	for _, dir := range dirs {
		var err error
		if dir == "q" || strings.HasPrefix(dir, "q/") {
			err = s.scanTree(dir, each)
		} else {
			err = s.scanDir(dir, each)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// scanDir is Scan of one directory without directories in it.
func (s *Spool) scanDir(dir string, each func(Found) error) error {
	names, err := s.Disk.ReadDir(dir)
	if gone(err) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, base := range names {
		if id, _, _, _, _, ok := ParseName(base); ok {
			if err := each(Found{Name: dir + "/" + base, ID: id}); err != nil {
				return err
			}
		}
	}
	return nil
}

// scanTree is Scan of q, of a day or of a minute.
func (s *Spool) scanTree(dir string, each func(Found) error) error {
	if strings.Count(dir, "/") == 2 {
		return s.scanDir(dir, each)
	}
	names, err := s.Disk.ReadDir(dir)
	if gone(err) {
		return nil
	}
	if err != nil {
		return err
	}
	slices.Sort(names) // oldest first
	for _, base := range names {
		if isNumber(base) {
			if err := s.scanTree(dir+"/"+base, each); err != nil {
				return err
			}
		}
	}
	return nil
}

// isNumber tells days and minutes from what else somebody may have put there.
func isNumber(name string) bool {
	_, err := decimal(strings.TrimRight(name, "bcdefgh"))
	return err == nil
}

// NewDirs are the directories new mail appears in.
func NewDirs() []string {
	dirs := make([]string, len(Producers))
	for i, p := range Producers {
		dirs[i] = "in/" + p + "/new"
	}
	return dirs
}
