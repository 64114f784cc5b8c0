package site

import "time"

// SetPaused pauses or resumes one site. It comes back with slow start.
func (s *Scheduler) SetPaused(key string, on bool, now Time) {
	x := s.Get(key)
	if x.paused == on {
		return
	}
	x.paused = on
	if !on && x.state == Up {
		x.window, x.fast = min(x.window, 2), true
	}
	x.arrive(now)
	s.mark(x)
	s.refresh(x, now)
}

// SetLimit sets what limit/site:KEY says; the zero Max takes it back.
func (s *Scheduler) SetLimit(key string, m Max, now Time) {
	x := s.Get(key)
	if x.control == m {
		return
	}
	x.control, x.rateAt = m, 0
	s.mark(x)
	s.refresh(x, now)
}

// Kick asks a site again at once: a down one is probed within spread, waiting items become ready. They go
// through the window like all others. Kicked again, a site is never asked later than it would have been: else who kicks every
// second puts it off for ever.
func (s *Scheduler) Kick(x *Site, spread time.Duration, now Time) {
	if x.state == Down && x.probeAt > now {
		x.probeAt = min(x.probeAt, now+time.Duration(float64(spread)*s.conf.Rand()))
		x.probeWait = firstProbe
	}
	for it := x.waiting.top(); it != nil; it = x.waiting.top() {
		x.waiting.remove(it)
		it.Forced = true
		x.enqueue(it)
	}
	s.refresh(x, now)
}

// Sooner makes a waiting item due at an earlier time. Unlike Hasten it asks nothing of its site.
func (s *Scheduler) Sooner(it *Item, due, now Time) {
	if it.state != waiting || due >= it.due {
		return
	}
	it.site.waiting.remove(it)
	if due <= now {
		it.site.enqueue(it)
	} else {
		it.due = due
		it.site.waiting.push(it)
	}
	s.refresh(it.site, now)
}

// Hasten makes a waiting item ready.
func (s *Scheduler) Hasten(it *Item, now Time) {
	if it.state == waiting {
		it.site.waiting.remove(it)
		it.Forced = true
		it.site.enqueue(it)
	}
	s.Kick(it.site, 0, now)
}

// Move gives every item that is in line at x to f, which may add it elsewhere.
func (s *Scheduler) Move(x *Site, now Time, f func(*Item)) {
	var all []*Item
	for it := x.waiting.top(); it != nil; it = x.waiting.top() {
		x.waiting.remove(it)
		it.state = idle
		all = append(all, it)
	}
	for b := range x.banks {
		for it := x.banks[b].pop(classes); it != nil; it = x.banks[b].pop(classes) {
			it.state = idle
			all = append(all, it)
		}
	}
	x.items -= len(all)
	s.refresh(x, now)
	for _, it := range all {
		f(it)
	}
}

// Learnt restores what an earlier run knew of a site: half its window, or that it was down.
func (s *Scheduler) Learnt(key string, window float64, down bool, wait time.Duration, now Time) {
	x := s.Get(key)
	x.window = max(1, window/2)
	if down {
		x.state = Down
		x.probeWait = max(firstProbe, min(wait, lastProbe))
		x.probeAt = now + time.Duration(float64(min(wait, time.Minute))*s.conf.Rand()) + 1
	}
	s.refresh(x, now)
}

// Forget drops a site that has nothing in line and nothing running, and about which nobody has said anything.
func (s *Scheduler) Forget(x *Site) bool {
	if x.items > 0 || x.used > 0 || x.paused || x.control != (Max{}) {
		return false
	}
	for b := range s.heaps {
		if x.pos[b] >= 0 {
			s.heaps[b].remove(x)
		}
	}
	if x.pos[timer] >= 0 {
		s.timers.remove(x)
	}
	delete(s.sites, x.Key)
	return true
}

// Facts describe a site for site/NAME and mailq.
type Facts struct {
	State   string // new up down paused
	Window  float64
	Max     int
	Used    int
	Queued  int
	Waiting int // of them, with a time of their own
	Probe   Time
	Wait    time.Duration
	Typical time.Duration
	Rate    Max
}

// Facts describes x.
func (s *Scheduler) Facts(x *Site) Facts {
	f := Facts{State: x.state.String(), Window: x.window, Max: x.most(s.conf), Used: x.used, Queued: x.items - x.used,
		Waiting: len(x.waiting.all), Probe: x.probeAt, Wait: x.probeWait, Typical: time.Duration(x.typical * float64(time.Second)), Rate: x.limit}
	if x.control != (Max{}) {
		f.Rate = x.control
	}
	if x.paused {
		f.State = "paused"
	}
	return f
}

// Down reports whether x cannot be reached.
func (x *Site) Down() bool { return x.state == Down }

// ProbeAt is when a site that is down is asked again.
func (x *Site) ProbeAt() Time { return x.probeAt }

// Empty reports whether the site has nothing in line and nothing running.
func (x *Site) Empty() bool { return x.items == 0 && x.used == 0 }

// Paused reports whether the site is paused.
func (x *Site) Paused() bool { return x.paused }

// Tried reports whether the site was asked anything since the scheduler began.
func (x *Site) Tried() bool { return x.starts > 0 }

// Due is when a waiting item is due, and when a running one began.
func (it *Item) Due() Time { return it.due }
