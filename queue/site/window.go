package site

import "time"

// State is what we know of a site.
type State uint8

const (
	Unmet State = iota // has not answered yet
	Up                 // answers
	Down               // cannot be reached; one probe at a time
)

func (s State) String() string { return [...]string{"new", "up", "down"}[s] }

// Site is one destination. Its exported methods describe it for site/NAME.
type Site struct {
	Key     string
	state   State
	fast    bool // slow start: the window grows by a half
	paused  bool
	marked  bool
	limit   Max
	control Max // from limit/, goes before limit

	window    float64
	ceiling   float64 // where it was too much, until ceilingAt
	ceilingAt Time
	cut       uint32 // starts at the last halving: one halving for those under way
	starts    uint32
	used      int
	failures  int
	probe     *Item
	probeAt   Time
	probeWait time.Duration

	share   float64 // slot seconds
	typical float64 // seconds of a transaction, moving mean
	best    float64
	rateAt  Time // next start the rate allows

	banks   [2]bank
	waiting dues
	items   int // waiting and ready
	turn    uint32
	wake    Time
	pos     [4]int32
}

// Outcome is what a run of an item says about its site.
type Outcome uint8

const (
	Answered Outcome = iota // the site took the conversation to an end, whatever it said of the recipients
	TooMuch                 // 421 and the like: it wants fewer of us
	Silent                  // connect, greeting or TLS failed
	Unused                  // the run did not come to the site
)

// Done gives a started item back. The caller then forgets it or adds it again. For a silent site parked
// tells that the item should be added without a time of its own: the site's clock decides. Else due is the earliest time for the
// site's sake.
func (s *Scheduler) Done(it *Item, out Outcome, now Time) (due Time, parked bool) {
	x := it.site
	seconds := (now - it.due).Seconds()
	if it.slow {
		s.slow--
	} else {
		s.count(it, -1)
	}
	x.used--
	x.items--
	it.state = idle
	x.share += x.cost(it, seconds) - x.cost(it, x.typical)
	probe := x.probe == it
	if probe {
		x.probe = nil
	}
	if out == Unused || s.conf.Fixed {
		if out != Unused {
			x.state = Up
		}
		s.refresh(x, now)
		return now, false
	}
	switch out {
	case Answered:
		x.answered(it, seconds, now, s)
	case TooMuch:
		x.tooMuch(it, now, s)
	case Silent:
		x.silent(probe, now, s)
	}
	if out != Answered || probe {
		s.mark(x)
	}
	s.refresh(x, now)
	if x.state == Down {
		return x.probeAt, true
	}
	if out == Silent {
		return now + s.jitter(firstProbe), false
	}
	return now, false
}

func (x *Site) answered(it *Item, seconds float64, now Time, s *Scheduler) {
	x.failures = 0
	if x.state != Up {
		x.state, x.probeWait, x.fast = Up, 0, true
		x.window = max(x.window, 3)
		if x.probeAt > 0 { // it was down
			x.window, x.probeAt = 2, 0
		}
		s.mark(x)
	}
	x.typical += (seconds - x.typical) / 8
	if x.best == 0 || seconds < x.best {
		x.best = seconds
	}
	if now > x.ceilingAt {
		x.ceiling = 0
	}
	switch {
	case float64(x.used+1) < x.window-3: // not used up: nothing learnt
	case x.typical > 2*x.best && x.typical > 0.25 && x.typical-x.best > 0.25 && !x.fast: // it is getting slower
	case x.fast:
		x.window += 0.5
	default:
		x.window += 1 / x.window
	}
	if x.ceiling > 0 && x.window >= x.ceiling {
		x.window, x.fast = x.ceiling, false
	}
	x.window = min(x.window, float64(x.most(s.conf)))
}

func (x *Site) tooMuch(it *Item, now Time, s *Scheduler) {
	if x.state == Down {
		x.silent(true, now, s)
		return
	}
	x.state = Up
	if it.start <= x.cut && x.cut > 0 {
		return // was under way when the window was halved
	}
	if x.window < 2 {
		x.silent(false, now, s) // not even one: it will not have us now
		return
	}
	x.ceiling = max(1, min(x.window, float64(x.used+1))-1)
	x.ceilingAt = now + ceilingKept
	x.window = max(1, x.window/2)
	x.fast = false
	x.cut = x.starts
}

func (x *Site) silent(probe bool, now Time, s *Scheduler) {
	x.failures++
	switch {
	case x.state == Down && !probe: // began before it went down
	case x.state == Down:
		x.probeWait = min(2*x.probeWait, lastProbe)
		x.probeAt = now + s.jitter(x.probeWait)
	case x.state == Unmet || x.failures >= 3:
		x.state, x.probeWait = Down, firstProbe
		x.probeAt = now + s.jitter(firstProbe)
	}
}

func (s *Scheduler) jitter(d time.Duration) time.Duration {
	return time.Duration(float64(d) * (0.88 + 0.24*s.conf.Rand()))
}

// cost is what a transaction of so many seconds adds to the share.
func (x *Site) cost(it *Item, seconds float64) float64 {
	return (seconds + 0.001) / float64(max(1, it.MiB))
}

func (x *Site) enqueue(it *Item) {
	it.state = ready
	if it.Attempts == 0 {
		x.banks[fresh].push(it)
	} else {
		x.banks[old].push(it)
	}
}

// arrive makes waiting items ready whose time has come.
func (x *Site) arrive(now Time) {
	for it := x.waiting.top(); it != nil && it.due <= now; it = x.waiting.top() {
		x.waiting.remove(it)
		x.enqueue(it)
	}
}

// most is how many may run at once by configuration.
func (x *Site) most(conf Config) int {
	n := max(1, min(conf.PerSite, max(1, conf.Slots/4)))
	if conf.Fixed {
		n = conf.Slots
	}
	if x.limit.Conns > 0 {
		n = x.limit.Conns
	}
	if x.control.Conns > 0 {
		n = x.control.Conns
	}
	return n
}

// may reports whether the site may start one more now.
func (x *Site) may(now Time, conf Config) bool {
	switch {
	case x.paused || now < x.rateAt:
		return false
	case conf.Fixed:
		return x.used < x.most(conf)
	case x.state == Down:
		return x.probe == nil && now >= x.probeAt
	}
	return x.used < min(int(x.window), x.most(conf))
}

// next is when time alone may let the site start something.
func (x *Site) next(now Time, conf Config) (at Time, ok bool) {
	is := func(t Time) {
		if !ok || t < at {
			at, ok = t, true
		}
	}
	if x.paused {
		return 0, false
	}
	have := !x.banks[fresh].empty() || !x.banks[old].empty()
	due := x.waiting.top()
	if x.state == Down && !conf.Fixed {
		// Parked items have no timers of their own.
		if x.probe == nil && now < x.probeAt && (have || due != nil) {
			t := x.probeAt
			if !have {
				t = max(t, due.due)
			}
			return t, true
		}
		if x.probe != nil || have {
			return 0, false
		}
	}
	if due != nil {
		is(due.due)
	}
	if have && now < x.rateAt {
		is(x.rateAt)
	}
	return at, ok
}

// spend takes one start from the rate.
func (x *Site) spend(now Time) {
	rate := x.limit
	if x.control.Rate > 0 {
		rate = x.control
	}
	if rate.Rate > 0 {
		x.rateAt = max(now, x.rateAt) + rate.Per/time.Duration(rate.Rate)
	}
}
