package mailbox

import (
	"slices"
	"time"

	"pennypost/maildir"
)

const (
	// suspectWait is how long a message must be missing before scans that are not whole prove that it went, and suspectLists how many
	// listings in a row must then miss it: where names are renamed all the time, one in some hundred is missed by each.
	suspectWait  = time.Second
	suspectLists = 6
	// emptiedWait is how long most of a folder must be missing.
	emptiedWait = 5 * time.Second
)

// proven is the missing messages that have gone. A scan that could have missed a name proves nothing by itself, and a
// folder does not lose most of its mail in an instant: a volume may be going away.
func (f *Folder) proven(found *findings) ([]uint32, error) {
	now := time.Now()
	if len(found.missing) == 0 {
		f.suspects, f.emptied = nil, time.Time{}
		return nil, nil
	}
	if n := len(found.missing); n > 100 && n > f.view.Len()/2 && len(found.added) < n/2 {
		if f.emptied.IsZero() {
			f.emptied = now
		}
		if now.Sub(f.emptied) < emptiedWait || !found.whole() {
			return nil, nil
		}
	} else {
		f.emptied = time.Time{}
	}
	missing, gone := found.missing, []uint32(nil)
	if found.whole() && found.new != nil {
		var proof bool
		var err error
		if missing, proof, err = f.nowhere(missing, found.new); err != nil {
			return nil, err
		}
		if proof {
			f.suspects = nil
			return missing, nil
		}
	}
	suspects := make(map[uint32]time.Time, len(missing))
	for _, uid := range missing {
		since, ok := f.suspects[uid]
		if !ok {
			since = now
		}
		if now.Sub(since) >= f.suspectWait() {
			gone = append(gone, uid)
			continue
		}
		suspects[uid] = since
	}
	gone = f.confirmed(gone)
	f.suspects = suspects
	slices.Sort(gone)
	return gone, nil
}

// nowhere is those of the messages that were in neither directory, though some move from cur to new and back while we read: it proves that they
// are gone if nothing happened in new from before cur was read until after. was is new before cur was read.
func (f *Folder) nowhere(missing []uint32, was *listing) (left []uint32, proof bool, err error) {
	for try := 0; ; try++ {
		again, err := f.list("new")
		if err != nil {
			return nil, false, err
		}
		if was.state.verified && again.state.mtime == was.state.mtime && again.state.sum == was.state.sum {
			return missing, true, nil
		}
		if _, missing = f.split(missing, again); len(missing) == 0 || try == 3 || !again.whole {
			return missing, len(missing) == 0, nil
		}
		cur, err := f.list("cur")
		if err != nil {
			return nil, false, err
		}
		if _, missing = f.split(missing, cur); len(missing) == 0 || !cur.whole {
			return missing, len(missing) == 0, nil
		}
		was = again
	}
}

// confirmed is those of the missing messages that further listings do not find either.
func (f *Folder) confirmed(missing []uint32) []uint32 {
	for n := 0; n < suspectLists && len(missing) > 0; n++ {
		whole := true
		for _, dir := range []string{"new", "cur", "new"} {
			l, err := f.list(dir)
			if err != nil {
				return nil
			}
			_, missing = f.split(missing, l)
			whole = whole && l.whole
		}
		if whole {
			break
		}
	}
	return missing
}

// split tells the missing messages that another listing has from those that are gone.
func (f *Folder) split(missing []uint32, l *listing) (there, gone []uint32) {
	keys := make(map[string]bool, len(l.end))
	for i := range l.end {
		keys[maildir.Key(string(l.name(i)))] = true
	}
	for _, uid := range missing {
		i, _ := f.view.Find(uid)
		if c, j := f.view.at(i); keys[string(c.key(j))] {
			there = append(there, uid)
		} else {
			gone = append(gone, uid)
		}
	}
	return there, gone
}
