package queue

import (
	"errors"
	"io/fs"
	"strconv"
	"strings"
)

// Take moves a message and its side files from in/ (or wherever it is) to its place in q/. The new name is returned.
// Nothing is synced: after a crash a scan finds it in one place or the other.
func (s *Spool) Take(name string) (string, error) {
	_, base := split(name)
	id, ok := idOf(name)
	if !ok {
		return "", bad("%.100q is not the name of a message", base)
	}
	dir := QPath(id)
	to := dir + "/" + base
	if to == name {
		return name, nil
	}
	if err := s.minute(dir, false); err != nil {
		return "", err
	}
	err := s.move(name, dir, id)
	if gone(err) { // the minute was empty and swept, or the message is gone
		if err = s.minute(dir, true); err == nil {
			err = s.move(name, dir, id)
		}
	}
	if err != nil {
		return "", err
	}
	s.sides.Delete(id)
	return to, nil
}

// minute makes q/DAY/MINUTE, if it was not the last one made.
func (s *Spool) minute(dir string, again bool) error {
	s.mkdir.Lock()
	defer s.mkdir.Unlock()
	if s.made == dir && !again {
		return nil
	}
	day, _ := split(dir)
	err := s.Disk.Mkdir(dir, 0o750)
	if gone(err) {
		if err = s.Disk.Mkdir(day, 0o750); err == nil || errors.Is(err, fs.ErrExist) {
			err = s.Disk.Mkdir(dir, 0o750)
		}
	}
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	s.made = dir
	return nil
}

// move renames the side files of id to dir, and then the message: a message is never without them
// longer than a reader can look for them where they were.
func (s *Spool) move(name, dir, id string) error {
	from, base := split(name)
	for _, ending := range side {
		// Fresh mail has none, and to ask is cheaper than to try.
		if _, err := s.Disk.Stat(from + "/" + id + ending); gone(err) {
			continue
		}
		if err := s.Disk.Rename(from+"/"+id+ending, dir+"/"+id+ending); err != nil && !gone(err) {
			return err
		}
	}
	return s.Disk.Rename(name, dir+"/"+base)
}

// Hold moves a message and its side files to hold/, with the reason in ID.why.
func (s *Spool) Hold(name, reason string) error {
	id, ok := idOf(name)
	if !ok {
		return bad("%.100q is not the name of a message", name)
	}
	if err := s.why("hold/"+id+".why", reason); err != nil {
		return err
	}
	if err := s.move(name, "hold", id); err != nil {
		s.Disk.Remove("hold/" + id + ".why")
		return err
	}
	s.sides.Delete(id)
	return nil
}

// Bad moves a file that is no message to bad/, with the reason in NAME.why.
func (s *Spool) Bad(name, reason string) error {
	_, base := split(name)
	to := "bad/" + base
	for n := 2; n < 1000; n++ { // never over another
		if _, err := s.Disk.Stat(to); gone(err) {
			break
		}
		to = "bad/" + base + "~" + strconv.Itoa(n)
	}
	if err := s.why(to+".why", name+": "+reason); err != nil {
		return err
	}
	err := s.Disk.RenameNew(name, to)
	if err != nil {
		s.Disk.Remove(to + ".why")
		return err
	}
	if id, ok := idOf(name); ok {
		dir, _ := split(name)
		s.Disk.Rename(dir+"/"+id+".s", to+".s")
		s.Disk.Rename(dir+"/"+id+".r", to+".r")
		s.sides.Delete(id)
	}
	return nil
}

// why writes a reason beside a file.
func (s *Spool) why(name, reason string) error {
	s.Disk.Remove(name) // of an earlier time
	f, err := s.Disk.Create(name, 0o640)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = f.Write(append(appendValue(nil, reason), '\n'))
	if err != nil {
		s.Disk.Remove(name)
	}
	return err
}

// Release moves hold/ID* to in/adopt/new and hints.
func (s *Spool) Release(id string) error {
	name, err := s.findIn("hold", id)
	if err != nil {
		return err
	}
	if name == "" {
		return &fs.PathError{Op: "release", Path: "hold/" + id, Err: fs.ErrNotExist}
	}
	s.Disk.Remove("hold/" + id + ".why")
	if err := s.move(name, "in/adopt/new", id); err != nil {
		return err
	}
	s.sides.Store(id, struct{}{})
	// A release is a person's word and is kept like one.
	if err := s.Disk.SyncDir("in/adopt/new"); err != nil {
		return err
	}
	_, base := split(name)
	s.hint("in/adopt/trigger", base)
	return nil
}

// findIn is the name of the message id in dir, or "".
func (s *Spool) findIn(dir, id string) (string, error) {
	switch _, err := s.Disk.Stat(dir + "/" + id); {
	case err == nil:
		return dir + "/" + id, nil
	case !gone(err):
		return "", err
	}
	names, err := s.Disk.ReadDir(dir)
	if err != nil && !gone(err) {
		return "", err
	}
	for _, base := range names {
		if strings.HasPrefix(base, id+".m,") {
			if found, _, _, _, _, ok := ParseName(base); ok && found == id {
				return dir + "/" + base, nil
			}
		}
	}
	return "", nil
}

// Find is the name of the message id, wherever in the spool it is; "" when it is nowhere.
func (s *Spool) Find(id string) (string, error) {
	if !ValidID(id) {
		return "", bad("%.60q is not an id", id)
	}
	for _, dir := range append([]string{QPath(id), "hold"}, NewDirs()...) {
		if name, err := s.findIn(dir, id); name != "" || err != nil && !errors.Is(err, fs.ErrPermission) {
			return name, err
		}
	}
	return "", nil
}

// Remove removes a message and then its side files. Fresh mail in in/ has none, and costs one call.
func (s *Spool) Remove(name string) error {
	err := s.Disk.Remove(name)
	if err != nil {
		return err
	}
	id, ok := idOf(name)
	if !ok {
		return nil
	}
	if p := from(name); p != "" && p != "list" && p != "adopt" {
		if _, had := s.sides.LoadAndDelete(id); !had {
			return nil
		}
	}
	dir, _ := split(name)
	for _, ending := range side {
		if err := s.Disk.Remove(dir + "/" + id + ending); err != nil && !gone(err) {
			return err
		}
	}
	s.sides.Delete(id)
	return nil
}

// Archive makes the second name of the message in archive/new; done before the first attempt.
func (s *Spool) Archive(name string) error {
	_, base := split(name)
	if err := s.Disk.Link(name, "archive/new/"+base); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return nil
}
