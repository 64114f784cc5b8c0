package control

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"pennypost/internal/escape"
	"pennypost/queue"
)

// Kick is one file in kick/: something to be done once.
type Kick struct {
	Verb string // try hold release bounce remove: Name is an id; site: a site; all: ""
	Name string
	Text string // what the file says: the reason of a hold
}

// verbs are those that want an id.
var verbs = []string{"try", "hold", "release", "bounce", "remove"}

// Obey calls do for every kick and then removes those that do says are obeyed: a crash between the two has one obeyed
// twice, and never forgotten. Of the others Done removes those whose effect is on disk later. What is no kick is removed.
func Obey(s *queue.Spool, do func(Kick) (obeyed bool)) error {
	names, err := s.Disk.ReadDir("kick")
	if err != nil || len(names) == 0 {
		return err
	}
	slices.Sort(names)
	for _, base := range names {
		if strings.HasPrefix(base, ".") { // being written
			continue
		}
		if k, known := parseKick(base); known {
			k.Text, _, err = read(s, "kick/"+base)
			if errors.Is(err, fs.ErrNotExist) {
				continue // taken back
			}
			if !obey(s, k, base, do) {
				continue
			}
		}
		if err := s.Disk.Remove("kick/" + base); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err // the rest would stay as well, and be obeyed over and over
		}
	}
	return nil
}

// obey calls do. A kick that makes it panic is not there when the program is started again.
func obey(s *queue.Spool, k Kick, base string, do func(Kick) bool) (obeyed bool) {
	back := false
	defer func() {
		if !back {
			s.Disk.Remove("kick/" + base)
		}
	}()
	obeyed = do(k)
	back = true
	return obeyed
}

// Done removes a kick whose effect is on disk.
func Done(s *queue.Spool, k Kick) error {
	base := k.Verb
	if base != "all" {
		base = file(k.Verb, k.Name)
	}
	if err := s.Disk.Remove("kick/" + base); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

func parseKick(base string) (Kick, bool) {
	verb, word, ok := strings.Cut(base, ":")
	if verb == "id" { // an older word for try
		verb = "try"
	}
	switch {
	case base == "all":
		return Kick{Verb: "all"}, true
	case !ok:
		return Kick{}, false
	case slices.Contains(verbs, verb):
		return Kick{Verb: verb, Name: word}, queue.ValidID(word)
	case verb == "site":
		name, err := escape.Parse(word)
		return Kick{Verb: verb, Name: name}, err == nil && name != ""
	}
	return Kick{}, false
}

// Ask puts a kick into kick/.
func Ask(s *queue.Spool, k Kick) error {
	if slices.Contains(verbs, k.Verb) && !queue.ValidID(k.Name) {
		return fmt.Errorf("%.60q is not an id", k.Name)
	}
	base := file(k.Verb, k.Name)
	if _, ok := parseKick(base); !ok {
		return fmt.Errorf("%.60q is no kick", base)
	}
	return write(s, "kick/", base, k.Text)
}

// SetPause makes the file of a pause, or another in its place.
func SetPause(s *queue.Spool, p Pause) error {
	if _, _, err := parseName(file(p.Kind, p.Name)); err != nil {
		return err
	}
	text := strings.ReplaceAll(p.Reason, "\n", " ")
	if !p.Until.IsZero() {
		if text != "" {
			text += ", "
		}
		text += "until=" + p.Until.UTC().Format("2006-01-02T15:04:05Z")
	}
	return write(s, "pause/", file(p.Kind, p.Name), text)
}

// Resume ends a pause; fs.ErrNotExist if there is none.
func Resume(s *queue.Spool, kind, name string) error {
	return s.Disk.Remove("pause/" + file(kind, name))
}

// SetLimit makes the file of a limit from its text, "conns=2 rate=10/m".
func SetLimit(s *queue.Spool, kind, name, text string) error {
	if _, err := parseLimit(text); err != nil {
		return err
	}
	if _, _, err := parseName(file(kind, name)); err != nil {
		return err
	}
	return write(s, "limit/", file(kind, name), text)
}

// RemoveLimit ends a limit; fs.ErrNotExist if there is none.
func RemoveLimit(s *queue.Spool, kind, name string) error {
	return s.Disk.Remove("limit/" + file(kind, name))
}

// write puts a whole file in its place: nobody reads half of it. It is not synced: a control file is
// a wish, and who made it sees whether it is there.
func write(s *queue.Spool, dir, base, text string) error {
	tmp := dir + "." + s.NewID()
	f, err := s.Disk.Create(tmp, 0o664)
	if err != nil {
		return err
	}
	if text != "" {
		_, err = f.Write(append([]byte(text), '\n'))
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = s.Disk.Rename(tmp, dir+base)
	}
	if err != nil {
		s.Disk.Remove(tmp)
	}
	return err
}
