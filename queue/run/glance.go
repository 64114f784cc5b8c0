package run

import (
	"time"

	"pennypost/queue"
)

// Mail whose hint was lost (its producer was killed between 250 and the hint) or never written (a script's mv into new/)
// must not wait for the next scan. Twice a second, with the turn that reads kick/ anyway, the scanner looks at the times of
// the new/ directories: a stat(2) each, and the names of those that have changed. inotify(7) would cost a record in the
// kernel for every message, for the sake of one in a million, has a queue that overflows, and tells nothing of what other
// hosts do on a shared disk. Under load nearly all names are known by their hints or younger than a hint may take.

// glancer remembers what the directories were like.
type glancer struct {
	dirs  []string
	seen  []time.Time // a directory's time when all in it had been looked at; zero: look again
	again time.Time   // not before: a long listing is not to take more than a fiftieth of the time
}

// hintTime is how long after its id was made a message may wait for its hint. One without a hint that is older is ours to find.
const hintTime = 300 * time.Millisecond

func newGlancer() *glancer {
	dirs := queue.NewDirs()
	return &glancer{dirs: dirs, seen: make([]time.Time, len(dirs))}
}

// glance gives the loop the names of directories that have changed.
func (r *Runner) glance(g *glancer, stop chan struct{}) bool {
	start := time.Now()
	if start.Before(g.again) {
		return true
	}
	var batch []queue.Found
	for i, dir := range g.dirs {
		info, err := r.Spool.Disk.Stat(dir)
		if err != nil || info.ModTime.Equal(g.seen[i]) {
			continue
		}
		g.seen[i] = time.Time{}
		if time.Since(info.ModTime).Abs() > hintTime { // else more may come within the same tick of the file system's clock
			g.seen[i] = info.ModTime
		}
		err = r.Spool.Scan(func(f queue.Found) error {
			if age := start.Sub(queue.TimeOf(f.ID)); age >= 0 && age < hintTime {
				g.seen[i] = time.Time{}
				return nil
			}
			batch = append(batch, f)
			return nil
		}, dir)
		if err != nil {
			g.seen[i] = time.Time{}
		}
	}
	if took := time.Since(start); took > 10*time.Millisecond {
		g.again = time.Now().Add(50 * took)
	}
	return len(batch) == 0 || r.give(batch, stop)
}

// wantGlance asks the scanner to glance, unless there is something that we know of and have not looked at.
func (r *Runner) wantGlance() {
	if !r.scanned || len(r.pending)+len(r.found) > 0 {
		return
	}
	select {
	case r.glances <- struct{}{}:
	default:
	}
}
