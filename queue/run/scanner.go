package run

import (
	"runtime"
	"time"

	"pennypost/queue"
)

// piece is how many names of a scan the loop is given at a time.
const piece = 512

// scanner looks through the spool in the background: everything at the start, then what is new every scan_every
// and when hints were lost, then q/ once an hour for what people put there. In between it glances at new/.
func (r *Runner) scanner(stop chan struct{}) {
	everything := append(queue.NewDirs(), "q")
	if !r.look(stop, queue.NewDirs(), false) { // new mail first
		return
	}
	r.recallAll(stop)
	if !r.look(stop, everything, true) {
		return
	}
	every := r.Conf.ScanEvery
	if every <= 0 {
		every = time.Minute
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	g := newGlancer()
	for n := 0; ; {
		dirs := queue.NewDirs()
		select {
		case <-stop:
			return
		case <-r.glances:
			if !r.glance(g, stop) {
				return
			}
			continue
		case <-r.onlyNew:
		case <-tick.C:
			if n++; time.Duration(n)*every >= time.Hour {
				dirs, n = everything, 0
				if err := r.Spool.Sweep(time.Now()); err != nil {
					r.log.Warn("sweep", err)
				}
				if err := r.Spool.SweepResults(time.Now(), r.Conf.ResultsKeep); err != nil {
					r.log.Warn("results", err)
				}
			}
		}
		if !r.look(stop, dirs, true) {
			return
		}
	}
}

// look scans dirs and gives the loop what is there, in pieces; with last, a nil piece at the end.
func (r *Runner) look(stop chan struct{}, dirs []string, last bool) bool {
	batch := make([]queue.Found, 0, piece)
	give := func() bool { return r.give(batch, stop) }
	for _, dir := range dirs {
		err := r.Spool.Scan(func(f queue.Found) error {
			batch = append(batch, f)
			if len(batch) == piece {
				if !give() {
					return errGone
				}
				batch = make([]queue.Found, 0, piece)
			}
			return nil
		}, dir)
		if err == errGone {
			return false
		}
		if err != nil {
			r.log.Warn("scan "+dir, err)
		}
	}
	if len(batch) > 0 && !give() {
		return false
	}
	batch = nil
	return !last || give()
}

// give hands the loop a piece of a scan.
func (r *Runner) give(batch []queue.Found, stop chan struct{}) bool {
	select {
	case r.scans <- batch:
		runtime.Gosched() // the loop and we could go on with each other and let nobody else run
		return true
	case <-stop:
		return false
	}
}

// scannedNow reports whether the first scan is over, to others than the loop.
func (r *Runner) scannedNow() bool { return r.scanDone.Load() }
