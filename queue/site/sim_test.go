package site

import (
	queue "container/heap"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"pennypost/internal/status"
)

// sim runs a scheduler under a virtual clock against sites that behave as a test says.
type sim struct {
	t       *testing.T
	s       *Scheduler
	now     Time
	wake    Time // the earliest start planned
	rnd     *rand.Rand
	events  happenings
	serve   func(key string, used int, now Time) (time.Duration, Outcome)
	mails   []*mail
	starts  map[Time]int // by second
	bySite  map[string]int
	peak    map[string]int
	used    map[string]int
	onStart func(*mail)
	refuse  func(*mail, Time) *status.Result // what the site says of the recipient, nil: it takes it
}

// mail is one message of the simulation.
type mail struct {
	Item
	key     string
	arrived Time
	first   Time // first attempt; -1 none yet
	done    Time // -1
	tries   int
	cause   Cause
}

type happening struct {
	at Time
	n  int
	do func()
}

type happenings []happening

func (h happenings) Len() int { return len(h) }
func (h happenings) Less(i, j int) bool {
	return h[i].at < h[j].at || h[i].at == h[j].at && h[i].n < h[j].n
}
func (h happenings) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h *happenings) Push(x any)   { *h = append(*h, x.(happening)) }
func (h *happenings) Pop() any {
	old := *h
	x := old[len(old)-1]
	*h = old[:len(old)-1]
	return x
}

func newSim(t *testing.T, slots, perSite int) *sim {
	rnd := rand.New(rand.NewPCG(1, 2))
	return &sim{t: t, rnd: rnd, s: New(Config{Slots: slots, PerSite: perSite, Rand: rnd.Float64}),
		starts: map[Time]int{}, bySite: map[string]int{}, peak: map[string]int{}, used: map[string]int{}}
}

func (m *sim) at(t Time, do func()) {
	queue.Push(&m.events, happening{t, len(m.events) + m.rnd.IntN(2), do})
}

// mail makes a message arrive.
func (m *sim) mail(at Time, key, flow string, class Class) *mail {
	x := &mail{key: key, arrived: at, first: -1, done: -1, cause: Other}
	x.Item = Item{Owner: x, Flow: flow, Class: class, Cost: 1, MiB: 1}
	m.mails = append(m.mails, x)
	m.at(at, func() { m.s.Add(&x.Item, key, 0, m.now); m.start() })
	return x
}

// start starts what may start.
func (m *sim) start() {
	for it := m.s.Next(m.now); it != nil; it = m.s.Next(m.now) {
		x := it.Owner.(*mail)
		if x.first < 0 {
			x.first = m.now
		}
		x.tries++
		m.starts[m.now/time.Second]++
		m.bySite[x.key]++
		m.used[x.key]++
		m.peak[x.key] = max(m.peak[x.key], m.used[x.key])
		took, out := m.serve(x.key, m.used[x.key], m.now)
		if m.onStart != nil {
			m.onStart(x)
		}
		m.at(m.now+took, func() { m.finish(x, out) })
	}
	if at, ok := m.s.Wake(m.now); ok && (m.wake <= m.now || at < m.wake) {
		m.wake = max(at, m.now+1)
		m.at(m.wake, m.start)
	}
}

func (m *sim) finish(x *mail, out Outcome) {
	m.used[x.key]--
	due, parked := m.s.Done(&x.Item, out, m.now)
	var said *status.Result
	if m.refuse != nil && out == Answered {
		said = m.refuse(x, m.now)
	}
	if out == Answered && said == nil {
		x.done = m.now
	} else if out == Answered {
		x.Attempts++
		x.cause = Classify(*said, false, int(x.Attempts))
		m.s.Add(&x.Item, x.key, m.now+After(x.cause, int(x.Attempts), *said, m.rnd.Float64()), m.now)
	} else {
		if x.Attempts++; parked {
			due = 0
		} else if out == TooMuch {
			due = m.now + 5*time.Minute
		}
		m.s.Add(&x.Item, x.key, due, m.now)
	}
	m.start()
}

// run lets time pass.
func (m *sim) run(until Time) {
	for len(m.events) > 0 && m.events[0].at <= until {
		e := queue.Pop(&m.events).(happening)
		m.now = max(m.now, e.at)
		e.do()
	}
	m.now = until
}

func percentile(d []time.Duration, p float64) time.Duration {
	if len(d) == 0 {
		return 0
	}
	slices.Sort(d)
	return d[min(len(d)-1, int(float64(len(d))*p))]
}

func (m *sim) delays(ok func(*mail) bool) (d []time.Duration) {
	for _, x := range m.mails {
		if ok(x) {
			if x.first < 0 {
				d = append(d, m.now-x.arrived)
			} else {
				d = append(d, x.first-x.arrived)
			}
		}
	}
	return d
}

func black(key string) bool { return key[0] == 'b' }

// TestBlackHoles: 30 % of destinations swallow packets for 30 s. Mail for the others starts within 2 s (p99), also in the first minute.
func TestBlackHoles(t *testing.T) {
	m := newSim(t, 200, 20)
	m.serve = func(key string, used int, now Time) (time.Duration, Outcome) {
		if black(key) {
			return 30 * time.Second, Silent
		}
		return 200*time.Millisecond + time.Duration(m.rnd.IntN(600))*time.Millisecond, Answered
	}
	for i := range 60 * 200 { // 200 messages a second to 1000 destinations
		n := m.rnd.IntN(1000)
		key := fmt.Sprintf("live%d", n)
		if n < 300 {
			key = fmt.Sprintf("b%d", n)
		}
		m.mail(Time(i)*5*time.Millisecond, key, fmt.Sprint("flow", i%50), Normal)
	}
	m.run(2 * time.Minute)
	live := m.delays(func(x *mail) bool { return !black(x.key) })
	if p := percentile(live, 0.99); p > 2*time.Second {
		t.Errorf("p99 of the first attempt of live mail: %v", p)
	}
	n := 0
	for _, x := range m.mails {
		if black(x.key) {
			n += x.tries
		}
	}
	if n > 300*6 {
		t.Errorf("%d attempts at 300 black holes in two minutes", n)
	}
}

// TestS084DeadSite: one destination is down with 100,000 messages; the others' delays stay what they were.
func TestS084DeadSite(t *testing.T) {
	p95 := func(dead int) time.Duration {
		m := newSim(t, 50, 20)
		m.serve = func(key string, used int, now Time) (time.Duration, Outcome) {
			if black(key) {
				return 10 * time.Second, Silent
			}
			return 300 * time.Millisecond, Answered
		}
		for i := range dead {
			m.mail(0, "b", fmt.Sprint(i%100), Normal)
		}
		for i := range 5000 {
			m.mail(Time(i)*10*time.Millisecond, fmt.Sprint("live", i%200), fmt.Sprint(i%10), Normal)
		}
		m.run(time.Minute)
		return percentile(m.delays(func(x *mail) bool { return !black(x.key) }), 0.95)
	}
	without, with := p95(0), p95(100_000)
	if with > without+without/10+10*time.Millisecond {
		t.Errorf("p95 %v beside a dead site, %v without", with, without)
	}
}

// TestLetterBesideList: a letter to a site that 100,000 list messages wait for starts after one transaction at most.
func TestLetterBesideList(t *testing.T) {
	m := newSim(t, 50, 5)
	m.serve = func(string, int, Time) (time.Duration, Outcome) { return 500 * time.Millisecond, Answered }
	for range 100_000 {
		m.mail(0, "big", "list", Normal)
	}
	letter := m.mail(30*time.Second, "big", "alice", Normal)
	m.run(40 * time.Second)
	if wait := letter.first - letter.arrived; letter.first < 0 || wait > 500*time.Millisecond {
		t.Errorf("the letter waited %v", wait)
	}
}

// TestClasses: where all wait, urgent mail gets eight of fifteen starts, bulk one.
func TestClasses(t *testing.T) {
	m := newSim(t, 1, 1)
	m.serve = func(string, int, Time) (time.Duration, Outcome) { return time.Second, Answered }
	for range 1000 {
		for _, c := range []Class{Normal, Urgent, Bulk, DSN} {
			m.mail(0, "site", "flow", c)
		}
	}
	m.run(150 * time.Second)
	got := map[Class]int{}
	for _, x := range m.mails {
		if x.first >= 0 {
			got[x.Class]++
		}
	}
	for c, want := range map[Class]int{Urgent: 80, Normal: 40, DSN: 20, Bulk: 10} {
		if n := got[c]; n < want-4 || n > want+4 {
			t.Errorf("class %d: %d of 150 starts, want about %d", c, n, want)
		}
	}
}

// TestWindowConverges: a site takes four connections and answers 421 to more. The window settles there: few 421 after the start.
func TestWindowConverges(t *testing.T) {
	m := newSim(t, 200, 20)
	refused := []Time{}
	m.serve = func(key string, used int, now Time) (time.Duration, Outcome) {
		if used > 4 {
			refused = append(refused, now)
			return 50 * time.Millisecond, TooMuch
		}
		return time.Second, Answered
	}
	for range 20_000 {
		m.mail(0, "limited", "flow", Normal)
	}
	m.run(30 * time.Minute)
	late := 0
	for _, at := range refused {
		if at > time.Minute {
			late++
		}
	}
	done := 0
	for _, x := range m.mails {
		if x.done >= 0 {
			done++
		}
	}
	if late > 10 {
		t.Errorf("%d refusals after the first minute", late)
	}
	if done < 5000 { // 7200 would fit
		t.Errorf("%d of 7200 possible deliveries", done)
	}
}

// TestNoHerd: 100 sites are down for two hours, with 1000 messages each. When they come back, starts at any site rise from one, and never
// exceed its limit; nothing is tried all at once.
func TestNoHerd(t *testing.T) {
	m := newSim(t, 200, 20)
	up := false
	m.serve = func(key string, used int, now Time) (time.Duration, Outcome) {
		if !up {
			return 10 * time.Second, Silent
		}
		return 400 * time.Millisecond, Answered
	}
	for i := range 20_000 {
		m.mail(Time(i)*250*time.Millisecond, fmt.Sprint("site", i%100), fmt.Sprint(i%7), Normal)
	}
	m.run(2 * time.Hour)
	before := 0
	for _, n := range m.starts {
		before += n
	}
	if before > 100*40 {
		t.Errorf("%d attempts while everything was down", before)
	}
	up = true
	clear(m.starts)
	clear(m.peak)
	m.run(6 * time.Hour)
	most := 0
	for _, n := range m.starts {
		most = max(most, n)
	}
	if most > 550 { // 200 slots of 0.4 s would be 500
		t.Errorf("%d starts in one second", most)
	}
	for key, n := range m.peak {
		if n > 20 {
			t.Errorf("%s: %d at once", key, n)
		}
	}
	for _, x := range m.mails {
		if x.done < 0 {
			t.Fatalf("a message is still there: %+v", x.Item)
		}
	}
}

// TestRecoveryFreshFirst: a site comes back with a backlog; new mail gets three of four starts.
func TestRecoveryFreshFirst(t *testing.T) {
	m := newSim(t, 100, 4)
	up := false
	m.serve = func(key string, used int, now Time) (time.Duration, Outcome) {
		if !up {
			return time.Second, Silent
		}
		return time.Second, Answered
	}
	for range 2000 {
		x := m.mail(0, "site", "old", Normal)
		x.Attempts = 1
	}
	m.run(10 * time.Minute)
	up = true
	for range 2000 {
		m.mail(m.now, "site", "new", Normal)
	}
	m.s.Kick(m.s.Lookup("site"), 0, m.now)
	m.run(m.now + 5*time.Minute)
	fresh, old := 0, 0
	for _, x := range m.mails {
		if x.done >= 0 && x.Flow == "new" {
			fresh++
		} else if x.done >= 0 {
			old++
		}
	}
	if fresh < 5*old/2 || old == 0 {
		t.Errorf("%d fresh and %d old messages, want three to one", fresh, old)
	}
}

// TestKickAgain: who kicks everything each second does not put off a site that is down.
func TestKickAgain(t *testing.T) {
	m := newSim(t, 100, 4)
	m.serve = func(string, int, Time) (time.Duration, Outcome) { return time.Second, Silent }
	m.mail(0, "site", "old", Normal)
	m.run(10 * time.Minute)
	x := m.s.Lookup("site")
	if x.state != Down {
		t.Fatalf("the site is %v", x.state)
	}
	for range 100 {
		before := x.probeAt
		m.s.Kick(x, 30*time.Second, m.now)
		if x.probeAt > before || x.probeAt > m.now+30*time.Second {
			t.Fatalf("kicked at %v it is asked at %v, not at %v", m.now, x.probeAt, before)
		}
	}
}

// TestParkedCostsNothing: behind a dead site no message has a timer, and only the probe is tried.
func TestParkedCostsNothing(t *testing.T) {
	m := newSim(t, 200, 20)
	m.serve = func(string, int, Time) (time.Duration, Outcome) { return time.Second, Silent }
	for range 10_000 {
		m.mail(0, "b", "flow", Normal)
	}
	m.run(time.Hour)
	x := m.s.Lookup("b")
	if n := len(x.waiting.all); n > 0 {
		t.Errorf("%d parked messages have a timer", n)
	}
	if n := m.bySite["b"]; n > 12 {
		t.Errorf("%d attempts in an hour", n)
	}
	if f := m.s.Facts(x); f.Queued != 10_000 || f.State != "down" {
		t.Errorf("%+v", f)
	}
}

// TestRate: 60 a minute are one a second.
func TestRate(t *testing.T) {
	m := newSim(t, 200, 20)
	m.serve = func(string, int, Time) (time.Duration, Outcome) { return 10 * time.Millisecond, Answered }
	m.s.SetLimit("site", Max{Rate: 60, Per: time.Minute}, 0)
	for range 1000 {
		m.mail(0, "site", "flow", Normal)
	}
	m.run(100 * time.Second)
	if n := m.bySite["site"]; n < 99 || n > 102 {
		t.Errorf("%d starts in 100 s", n)
	}
	m.s.SetLimit("site", Max{Conns: 1}, m.now)
	m.start()
	clear(m.peak)
	m.run(110 * time.Second)
	if n := m.peak["site"]; n > 1 {
		t.Errorf("%d at once, limited to one", n)
	}
	if n := m.bySite["site"]; n < 900 {
		t.Errorf("%d starts, the rate is gone", n)
	}
}

// TestPause: nothing starts at a paused site, all of it after.
func TestPause(t *testing.T) {
	m := newSim(t, 10, 5)
	m.serve = func(string, int, Time) (time.Duration, Outcome) { return 10 * time.Millisecond, Answered }
	m.s.SetPaused("site", true, 0)
	for range 100 {
		m.mail(0, "site", "flow", Normal)
	}
	m.run(time.Minute)
	if n := m.bySite["site"]; n != 0 {
		t.Errorf("%d starts at a paused site", n)
	}
	m.s.SetPaused("site", false, m.now)
	m.start()
	m.run(2 * time.Minute)
	if n := m.bySite["site"]; n != 100 {
		t.Errorf("%d starts after", n)
	}
}

// TestReserve: retries of slow sites do not take the quarter that is kept for first attempts.
func TestReserve(t *testing.T) {
	m := newSim(t, 20, 20)
	m.serve = func(key string, _ int, _ Time) (time.Duration, Outcome) { return 900 * time.Millisecond, Answered }
	for i := range 2000 {
		m.mail(0, fmt.Sprint("site", i%50), "flow", Normal).Attempts = 3
	}
	for i := range 30 {
		m.mail(Time(5+i)*time.Second, fmt.Sprint("new", i), "flow", Normal)
	}
	m.run(time.Minute)
	if p := percentile(m.delays(func(x *mail) bool { return x.key[0] == 'n' }), 1); p > 50*time.Millisecond {
		t.Errorf("a first attempt waited %v", p)
	}
}

// TestReserveForReports: where letters take every slot they can get, a report starts at once, and reports take no more than their twentieth then.
func TestReserveForReports(t *testing.T) {
	m := newSim(t, 40, 10)
	m.serve = func(key string, _ int, _ Time) (time.Duration, Outcome) { return 990 * time.Millisecond, Answered }
	for i := range 4000 {
		m.mail(0, fmt.Sprint("site", i%100), "flow", Normal)
	}
	for i := range 20 {
		m.mail(10*time.Second+Time(i)*1500*time.Millisecond, fmt.Sprint("back", i), "flow", DSN).Attempts = uint16(i % 2)
	}
	m.run(time.Minute)
	if p := percentile(m.delays(func(x *mail) bool { return x.Class == DSN }), 1); p > 10*time.Millisecond {
		t.Errorf("a report waited %v", p)
	}
	n := 0
	for _, x := range m.mails {
		if x.Class == Normal && x.done >= 0 {
			n++
		}
	}
	if n < 60*36 {
		t.Errorf("%d letters in a minute", n)
	}
}

// TestRandomWalk does everything in any order and looks whether the sums agree.
func TestRandomWalk(t *testing.T) {
	rnd := rand.New(rand.NewPCG(3, 4))
	s := New(Config{Slots: 8, PerSite: 4, Rand: rnd.Float64})
	now := Time(0)
	var running []*Item
	all := map[*Item]bool{}
	for range 50_000 {
		now += Time(rnd.IntN(int(2 * time.Second)))
		key := fmt.Sprint(rnd.IntN(10))
		switch rnd.IntN(7) {
		case 0, 1:
			it := &Item{Owner: key, Flow: fmt.Sprint(rnd.IntN(20)), Class: Class(rnd.IntN(4)), Attempts: uint16(rnd.IntN(2)), Cost: 1, MiB: 1}
			all[it] = true
			s.Add(it, key, now+Time(rnd.IntN(3)-1)*time.Minute, now)
		case 2, 3:
			if it := s.Next(now); it != nil {
				if it.Owner == nil {
					t.Fatal("a removed item was started")
				}
				running = append(running, it)
			}
		case 4:
			if len(running) > 0 {
				i := rnd.IntN(len(running))
				it := running[i]
				running = slices.Delete(running, i, i+1)
				due, parked := s.Done(it, Outcome(rnd.IntN(4)), now)
				if rnd.IntN(2) == 0 {
					delete(all, it)
				} else if parked {
					s.Add(it, it.Site().Key, 0, now)
				} else {
					s.Add(it, it.Site().Key, due, now)
				}
			}
		case 5:
			for it := range all {
				if !it.Running() {
					s.Remove(it, now)
					delete(all, it)
				}
				break
			}
		case 6:
			switch x := s.Get(key); rnd.IntN(4) {
			case 0:
				s.SetPaused(key, rnd.IntN(2) == 0, now)
			case 1:
				s.Kick(x, time.Minute, now)
			case 2:
				s.Move(x, now, func(it *Item) { s.Add(it, fmt.Sprint(rnd.IntN(10)), 0, now) })
			case 3:
				s.Forget(x)
			}
		}
		if s.Active() != len(running) {
			t.Fatalf("%d active, %d running", s.Active(), len(running))
		}
	}
	queued := 0
	s.Each(func(x *Site) { queued += x.items; s.Kick(x, 0, now); s.SetPaused(x.Key, false, now) })
	if queued != len(all) {
		t.Errorf("%d items in line or running, %d known", queued, len(all))
	}
	for n := 0; len(all) > 0; n++ { // and everything comes out
		if n > 1_000_000 {
			t.Fatalf("%d items never come out", len(all))
		}
		for it := s.Next(now); it != nil; it = s.Next(now) {
			running = append(running, it)
		}
		for _, it := range running {
			s.Done(it, Answered, now)
			delete(all, it)
		}
		running = running[:0]
		now += time.Minute
	}
}

// BenchmarkParked: scheduling beside a million parked messages.
func BenchmarkParked(b *testing.B) {
	s := New(Config{Slots: 200, PerSite: 20})
	for i := range 1_000_000 {
		s.Add(&Item{Owner: s, Flow: "f", Attempts: 1, Cost: 1, MiB: 1}, fmt.Sprint("dead", i%1000), 0, 0)
	}
	for it := s.Next(0); it != nil; it = s.Next(0) {
		s.Done(it, Silent, 0)
		s.Add(it, it.Site().Key, 0, 0)
	}
	b.ReportAllocs()
	b.ResetTimer()
	for b.Loop() {
		it := &Item{Owner: s, Flow: "f", Cost: 1, MiB: 1}
		s.Add(it, "live", 0, 1)
		if got := s.Next(1); got != it {
			b.Fatal("not the live one")
		}
		s.Done(it, Answered, 1)
	}
}
