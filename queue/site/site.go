/*
Package site decides what is tried next: which destination may use a slot, whose message there goes first, and
when a message that failed is tried again. It does no I/O, starts nothing and reads no clock: the caller says
what time it is, so a test can run a week in a second.

	item      one message for one site: the unit that is started and given back
	site      a destination: a set of MX hosts, a smarthost, a transport
	flow      whose mail it is: an account, a list, a sender's domain
	bank      the ready items of a site, fresh (never tried) or backlog, by class and flow
	slot      one item running

Three questions are asked at every free slot.

Which site? The one that has had least of the slots, counted in seconds of slot and not in messages: a site that
takes a minute for a message gets as much time as one that takes a tenth of a second. An item that runs longer than
a second is slow: it no longer counts against the slots, only against three times their number, so that sites that
swallow packets hold up nobody but themselves. A quarter of the slots is kept for items never tried, a twentieth for
reports.

Whose message there? By class (8:4:1:2) and then by flow, each flow getting the same share of recipients: a letter beside
a list of 100,000 waits for one transaction.

May the site have another? Its window says: 1 until it has answered once, then it grows with success and is
halved when the site says it is too much. A site that cannot be reached is down: one item is its probe, after 15 s, 30 s,
… 30 min; all its others are parked, which costs them no timer and no attempt.

All times are durations since the caller's start.
*/
package site

import (
	"math/rand/v2"
	"time"
)

// Time is a moment: how long after the caller's start.
type Time = time.Duration

// Class is the priority of a message (class: of its envelope).
type Class uint8

const (
	Normal Class = iota
	Urgent
	Bulk
	DSN
	classes
)

// weights are the shares of the classes of one site.
var weights = [classes]float64{Normal: 4, Urgent: 8, Bulk: 1, DSN: 2}

// ParseClass reads class: of an envelope; what it does not know is normal.
func ParseClass(s string) Class {
	switch s {
	case "urgent":
		return Urgent
	case "bulk":
		return Bulk
	case "dsn":
		return DSN
	}
	return Normal
}

// Item is one message for one site. The caller makes it and fills the exported fields; it belongs to the
// scheduler from Add until Next gives it out or Remove takes it away.
type Item struct {
	Owner    any
	Flow     string
	Attempts uint16 // 0: never tried
	Class    Class
	Forced   bool // Kick or Hasten made it ready before its time
	state    state
	slow     bool
	bank     int8
	Cost     float32 // recipients and size/64 KiB
	MiB      float32 // size, at least 1: what slot time is divided by
	site     *Site
	next     *Item // in its flow
	due      Time  // waiting; when running: since when
	pos      int32 // in the site's waiting heap
	start    uint32
}

type state uint8

const (
	idle state = iota
	waiting
	ready
	running
	removed
)

// Site is the site the item was last added to.
func (it *Item) Site() *Site { return it.site }

// Running reports whether Next gave the item out and Done did not take it back.
func (it *Item) Running() bool { return it.state == running }

// Idle reports whether the scheduler does not have the item.
func (it *Item) Idle() bool { return it.state == idle }

// Config is what a scheduler is told once.
type Config struct {
	Slots   int              // items running at once, not counting slow ones
	PerSite int              // at most at one site
	Fixed   bool             // no windows and no probes: for local delivery
	Rand    func() float64   // 0 ≤ x < 1; nil is math/rand
	Limit   func(string) Max // limits of mail.toml for a site; nil is none
}

// Max is a limit of one site; zero fields do not limit.
type Max struct {
	Conns int
	Rate  int // items in Per
	Per   time.Duration
}

const (
	slowAfter   = time.Second
	slowFactor  = 3
	firstProbe  = 15 * time.Second
	lastProbe   = 30 * time.Minute
	ceilingKept = time.Hour
	freshOf     = 4 // three starts of four are for fresh items where there are both
)

// Scheduler holds the items of a pool of slots.
type Scheduler struct {
	conf    Config
	sites   map[string]*Site
	heaps   [3]heap[*Site] // sites that may start something, by share: fresh, backlog, reports
	timers  heap[*Site]    // sites where time alone will change something
	running []started      // in order of start
	active  int            // running and not slow
	slow    int
	backlog int     // active and tried before
	reports int     // active, of class DSN
	clock   float64 // the share of the site started last
	paused  bool
	changed []*Site // since the last Changed
}

type started struct {
	item *Item
	seq  uint32
	at   Time
}

// New makes an empty scheduler.
func New(conf Config) *Scheduler {
	if conf.Rand == nil {
		conf.Rand = rand.Float64
	}
	if conf.Limit == nil {
		conf.Limit = func(string) Max { return Max{} }
	}
	s := &Scheduler{conf: conf, sites: make(map[string]*Site)}
	for i := range s.heaps {
		s.heaps[i] = heap[*Site]{less: func(a, b *Site) bool { return a.share < b.share }, pos: func(x *Site) *int32 { return &x.pos[i] }}
	}
	s.timers = heap[*Site]{less: func(a, b *Site) bool { return a.wake < b.wake }, pos: func(x *Site) *int32 { return &x.pos[timer] }}
	return s
}

// Get is the site named key, made if need be.
func (s *Scheduler) Get(key string) *Site {
	x := s.sites[key]
	if x == nil {
		x = &Site{Key: key, window: 1, fast: true, pos: [4]int32{-1, -1, -1, -1}}
		x.limit = s.conf.Limit(key)
		s.sites[key] = x
	}
	return x
}

// Lookup is the site named key, or nil.
func (s *Scheduler) Lookup(key string) *Site { return s.sites[key] }

// Each calls f for every site.
func (s *Scheduler) Each(f func(*Site)) {
	for _, x := range s.sites {
		f(x)
	}
}

// Add puts the item in line at the site named key, not to be started before due.
func (s *Scheduler) Add(it *Item, key string, due, now Time) {
	x := it.site
	if x == nil || x.Key != key {
		x = s.Get(key)
	}
	it.site = x
	x.items++
	if due > now {
		it.state, it.due = waiting, due
		x.waiting.push(it)
	} else {
		x.enqueue(it)
	}
	s.refresh(x, now)
}

// Remove takes an item out, whatever it is doing. A running one is given back with Done all the same.
func (s *Scheduler) Remove(it *Item, now Time) {
	switch it.state {
	case waiting:
		it.site.waiting.remove(it)
		it.state = idle
	case ready:
		it.state, it.Owner = removed, nil // its flow drops it when it comes up
	default:
		return
	}
	it.site.items--
	s.refresh(it.site, now)
}

// Next gives out the item that is to be started now, or nil. Every item given out comes back with Done.
func (s *Scheduler) Next(now Time) *Item {
	s.advance(now)
	for !s.paused && s.active < s.conf.Slots && s.active+s.slow < slowFactor*s.conf.Slots {
		x, only := s.pick()
		if x == nil {
			return nil
		}
		bank := fresh
		if x.banks[fresh].emptyOf(only) || x.pos[old] >= 0 && s.backlogFree() && !x.banks[old].emptyOf(only) && x.turn%freshOf == freshOf-1 {
			bank = old
		}
		x.turn++
		it := x.banks[bank].pop(only)
		if it == nil {
			s.refresh(x, now)
			continue
		}
		s.begin(x, it, bank, now)
		return it
	}
	return nil
}

// pick is the site with the smallest share among those that may start something. When all but the twentieth for reports is in use it may
// start only one of these.
func (s *Scheduler) pick() (x *Site, only Class) {
	if !s.conf.Fixed && s.active-s.reports >= max(1, s.conf.Slots-s.conf.Slots/20) {
		return s.heaps[reports].top(), DSN
	}
	x = s.heaps[fresh].top()
	if s.backlogFree() {
		if b := s.heaps[old].top(); x == nil || b != nil && b.share < x.share {
			x = b
		}
	}
	return x, classes
}

// backlogFree reports whether an item tried before may be started: a quarter of the slots is not for them.
func (s *Scheduler) backlogFree() bool {
	return s.conf.Fixed || s.backlog < max(1, s.conf.Slots-s.conf.Slots/4)
}

func (s *Scheduler) begin(x *Site, it *Item, bank int, now Time) {
	s.clock = max(s.clock, x.share)
	x.share += x.cost(it, x.typical)
	x.starts++
	it.state, it.due, it.start, it.slow, it.bank = running, now, x.starts, false, int8(bank)
	x.used++
	s.count(it, 1)
	s.running = append(s.running, started{it, it.start, now})
	if x.state == Down {
		x.probe = it
	}
	x.spend(now)
	s.refresh(x, now)
}

// count adds or takes away an active item.
func (s *Scheduler) count(it *Item, n int) {
	s.active += n
	if int(it.bank) == old {
		s.backlog += n
	}
	if it.Class == DSN {
		s.reports += n
	}
}

// advance does what time has done since the last call.
func (s *Scheduler) advance(now Time) {
	for len(s.running) > 0 {
		r := s.running[0]
		live := r.item.state == running && r.item.start == r.seq && !r.item.slow
		if live && now-r.at < slowAfter {
			break
		}
		if live {
			r.item.slow = true
			s.slow++
			s.count(r.item, -1)
		}
		s.running[0] = started{}
		s.running = s.running[1:]
	}
	for x := s.timers.top(); x != nil && x.wake <= now; x = s.timers.top() {
		x.arrive(now)
		s.refresh(x, now)
	}
}

// Wake is when Next may have something new to say, if nothing else happens before. ok is false for never.
func (s *Scheduler) Wake(now Time) (at Time, ok bool) {
	if x := s.timers.top(); x != nil {
		at, ok = x.wake, true
	}
	if len(s.running) > 0 && (s.heaps[fresh].top() != nil || s.heaps[old].top() != nil) {
		for _, r := range s.running {
			if r.item.state == running && r.item.start == r.seq && !r.item.slow {
				if t := r.at + slowAfter; !ok || t < at {
					at, ok = t, true
				}
				break
			}
		}
	}
	return at, ok
}

// Active is how many items run.
func (s *Scheduler) Active() int { return s.active + s.slow }

// Pause stops or resumes everything.
func (s *Scheduler) Pause(on bool) { s.paused = on }

// Changed gives the sites whose published state changed since the last call.
func (s *Scheduler) Changed() []*Site {
	c := s.changed
	s.changed = nil
	for _, x := range c {
		x.marked = false
	}
	return c
}

func (s *Scheduler) mark(x *Site) {
	if !x.marked {
		x.marked = true
		s.changed = append(s.changed, x)
	}
}

// has reports whether there is something for a heap.
func (x *Site) has(heap int) bool {
	if heap == reports {
		return !x.banks[fresh].emptyOf(DSN) || !x.banks[old].emptyOf(DSN)
	}
	return !x.banks[heap].empty()
}

// refresh puts the site where it belongs in the heaps.
func (s *Scheduler) refresh(x *Site, now Time) {
	can := x.may(now, s.conf)
	for b := range s.heaps {
		h := &s.heaps[b]
		switch in, want := x.pos[b] >= 0, can && x.has(b); {
		case want && !in:
			if x.pos[fresh] < 0 && x.pos[old] < 0 {
				x.share = max(x.share, s.clock) // idle time is not saved up
			}
			h.push(x)
		case in && !want:
			h.remove(x)
		case in:
			h.fix(x)
		}
	}
	wake, ok := x.next(now, s.conf)
	switch in := x.pos[timer] >= 0; {
	case ok && in:
		x.wake = wake
		s.timers.fix(x)
	case ok:
		x.wake = wake
		s.timers.push(x)
	case in:
		s.timers.remove(x)
	}
}
