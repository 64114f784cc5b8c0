package queue

import (
	"errors"
	"io/fs"
	"slices"
	"syscall"
	"time"
)

// abandoned is how old a file is that nobody is still writing: queue-run of another spool time zone,
// a stopped process, a slow client all stay below it.
const abandoned = 36 * time.Hour

// Sweep removes files in tmp/ directories that are older than 36 hours, lone side files, and empty minute directories.
// What is in in/*/new under a name no message has goes to bad/. It does what it can and returns the first error.
func (s *Spool) Sweep(now time.Time) error {
	var first error
	keep := func(err error) {
		if err != nil && !gone(err) && first == nil {
			first = err
		}
	}
	for _, p := range Producers {
		keep(s.sweepTmp("in/"+p+"/tmp", now))
		keep(s.sweepNew("in/"+p+"/new", now))
	}
	keep(s.sweepSides("hold", now))
	keep(s.sweepQueue(now))
	return first
}

// age is how long ago the file was written last.
func (s *Spool) age(name string, now time.Time) (time.Duration, error) {
	st, err := s.Disk.Stat(name)
	return now.Sub(st.ModTime), err
}

func (s *Spool) sweepTmp(dir string, now time.Time) error {
	names, err := s.Disk.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, base := range names {
		if old, err := s.age(dir+"/"+base, now); err != nil || old < abandoned {
			continue
		}
		if err := s.Disk.Remove(dir + "/" + base); err != nil && !gone(err) {
			return err
		}
	}
	return nil
}

// SweepDrop is Sweep for drop/tmp, which queue-pickup owns.
func (s *Spool) SweepDrop(now time.Time) error { return s.sweepTmp("drop/tmp", now) }

// sweepNew puts aside what is no message, once it has been there for some minutes.
func (s *Spool) sweepNew(dir string, now time.Time) error {
	names, err := s.Disk.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, base := range names {
		name := dir + "/" + base
		if _, ok := idOf(name); ok {
			continue
		}
		if _, _, ok := sideOf(base); ok {
			continue
		}
		if old, err := s.age(name, now); err != nil || old < 10*time.Minute {
			continue
		}
		if err := s.Bad(name, "not the name of a message"); err != nil && !gone(err) {
			return err
		}
	}
	return s.sweepSides(dir, now)
}

// sweepSides removes side files whose message is nowhere.
func (s *Spool) sweepSides(dir string, now time.Time) error {
	names, err := s.Disk.ReadDir(dir)
	if err != nil {
		return err
	}
	here := map[string]bool{}
	for _, base := range names {
		if id, ok := idOf(base); ok {
			here[id] = true
		}
	}
	for _, base := range names {
		id, _, ok := sideOf(base)
		if !ok || here[id] {
			continue
		}
		if old, err := s.age(dir+"/"+base, now); err != nil || old < abandoned {
			continue
		}
		if name, err := s.Find(id); err != nil || name != "" {
			continue // in the middle of a move that a crash cut
		}
		if err := s.Disk.Remove(dir + "/" + base); err != nil && !gone(err) {
			return err
		}
	}
	return nil
}

// sweepQueue removes minutes and days that are over and empty.
func (s *Spool) sweepQueue(now time.Time) error {
	days, err := s.Disk.ReadDir("q")
	if err != nil {
		return err
	}
	current := now.Add(-10 * time.Minute).UTC().Format("q/20060102/1504")
	slices.Sort(days)
	for _, day := range days {
		dir := "q/" + day
		if !isNumber(day) || dir > current {
			continue
		}
		minutes, err := s.Disk.ReadDir(dir)
		if err != nil && !gone(err) {
			return err
		}
		for _, m := range minutes {
			if !isNumber(m) || dir+"/"+m >= current {
				continue
			}
			if err := s.sweepSides(dir+"/"+m, now); err != nil && !gone(err) {
				return err
			}
			if err := s.removeEmpty(dir + "/" + m); err != nil {
				return err
			}
		}
		if dir < current[:len(dir)] {
			if err := s.removeEmpty(dir); err != nil {
				return err
			}
		}
	}
	return nil
}

// removeEmpty removes a directory, unless something is in it.
func (s *Spool) removeEmpty(dir string) error {
	s.mkdir.Lock()
	defer s.mkdir.Unlock()
	err := s.Disk.RemoveDir(dir)
	if err == nil && s.made == dir {
		s.made = ""
	}
	if errors.Is(err, syscall.ENOTEMPTY) || errors.Is(err, fs.ErrExist) || gone(err) {
		return nil
	}
	return err
}
