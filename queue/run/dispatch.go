package run

import (
	"errors"
	"io/fs"
	"os/exec"
	"strings"
	"time"

	"pennypost/internal/durable"
	"pennypost/internal/order"
	"pennypost/internal/passwd"
	"pennypost/internal/status"
	"pennypost/queue"
	"pennypost/queue/route"
	"pennypost/queue/site"
)

// flight is an order that somebody works on.
type flight struct {
	seq      uint64
	m        *message // nil: resolve
	item     *site.Item
	worker   *worker // nil: a command
	domain   string  // resolve
	started  site.Time
	rcpts    []*rcpt
	got      []got // one for each of rcpts
	siteText string
	siteDown bool
	one      [1]*rcpt
	oneGot   [1]got
}

// got is what was said of one recipient.
type got struct {
	said     bool
	result   status.Result
	host     string
	tls      string // of the session with the host
	passed   bool   // the next hop reports itself
	kept     bool   // a mailbox or program has it, whatever is forwarded
	forwards []order.Answer
}

// resolved is what DNS said of a domain.
type resolved struct {
	key   string
	until site.Time
	never *status.Result // no such domain, or it takes no mail
}

const (
	rcptsPerOrder = 50
	localPerOrder = 100
)

// longTurn is how long one turn may take: on a slow disk others want their turn, too.
const longTurn = 20 * time.Millisecond

// dispatch starts what a scheduler lets start. It is false when there may be more.
func (r *Runner) dispatch(s *site.Scheduler, now site.Time) bool {
	for n := 0; ; n++ {
		if n%16 == 15 && r.now()-now > longTurn {
			return false
		}
		it := s.Next(now)
		if it == nil {
			return true
		}
		m, ok := it.Owner.(*message)
		if !ok {
			s.Done(it, site.Unused, now)
			continue
		}
		key := it.Site().Key
		switch {
		case key == lookSite:
			s.Done(it, site.Unused, now)
			r.consider(m)
		case strings.HasPrefix(key, "mx:") && r.resolveNext(s, it, m, key[len("mx:"):], now):
		default:
			r.attempt(s, it, m, key, now)
		}
	}
}

// resolveNext asks DNS for the domain of a site that is not known yet. It is false when DNS has said already.
func (r *Runner) resolveNext(s *site.Scheduler, it *site.Item, m *message, domain string, now site.Time) bool {
	if d, ok := r.domains[domain]; ok && now < d.until {
		return false
	}
	w := r.workers[1]
	if w == nil || !w.up {
		s.Done(it, site.Unused, now)
		s.Add(it, "mx:"+domain, now+time.Second, now)
		return true
	}
	r.seq++
	f := &flight{seq: r.seq, m: m, item: it, worker: w, domain: domain, started: now}
	r.flights[f.seq] = f
	w.send(order.Order{Verb: "resolve", Seq: f.seq, Domain: domain}, nil)
	return true
}

// attempt orders what m has for a site.
func (r *Runner) attempt(s *site.Scheduler, it *site.Item, m *message, key string, now site.Time) {
	l, err := r.open(m)
	if err == nil {
		if l.st.Ended {
			s.Done(it, site.Unused, now)
			r.end(m)
			return
		}
		err = r.plan(m)
	}
	if err != nil {
		s.Done(it, site.Unused, now)
		switch {
		case errors.Is(err, passwd.ErrWait):
			s.Add(it, key, now+whoIsThat, now)
		case !errors.Is(err, errGone):
			r.log.Warn("message "+m.id, err)
			s.Add(it, key, now+time.Minute, now)
		}
		return
	}
	if r.DryRun != nil {
		r.describe(m, key)
		s.Done(it, site.Unused, now)
		return
	}
	f := r.collect(m, it, key, now)
	if f == nil {
		s.Done(it, site.Unused, now)
		r.line(m)
		r.settle(m)
		return
	}
	if command, ok := strings.CutPrefix(key, "command:"); ok {
		err = r.commands.start(f, command)
	} else {
		err = r.send(f, key, l, now)
	}
	if err != nil {
		delete(r.flights, f.seq)
		for _, c := range f.rcpts {
			c.flight = nil
		}
		s.Done(it, site.Unused, now)
		if errors.Is(err, fs.ErrNotExist) {
			r.vanished(m)
			return
		}
		if !errors.Is(err, errNoWorker) {
			r.log.Warn("order "+m.id, err)
		}
		wait := time.Second
		if route.Local(key) && key != route.LocalSite {
			wait = noProcess
		}
		s.Add(it, key, now+wait, now)
		return
	}
	l.flights++
	m.flags |= triedFlag
	r.line(m) // recipients that did not fit
}

// collect makes the flight of what m has for a site now; nil if there is nothing.
func (r *Runner) collect(m *message, it *site.Item, key string, now site.Time) *flight {
	l := m.live
	most := rcptsPerOrder
	if route.Local(key) {
		most = localPerOrder
	}
	f := &flight{m: m, item: it, started: now}
	f.rcpts, f.got = f.one[:0], f.oneGot[:0]
	var first *rcpt
	var waiting []queue.Event
	asks := false
	for i, c := range l.rcpts {
		if !l.owed(i) || c.flight != nil || c.failed != nil || !c.planned || c.due > now && !it.Forced {
			continue
		}
		if at := r.siteOf(c); at != key {
			if it.Forced && strings.HasPrefix(at, "mx:") { // a kick forgot what DNS had said: it is asked again, at once
				c.due, c.forced = now, true
			}
			continue
		}
		if d, ok := r.domains[strings.TrimPrefix(key, "mx:")]; ok && d.never != nil && strings.HasPrefix(key, "mx:") {
			r.fail(m, i, &failure{result: *d.never})
			continue
		}
		if len(r.full) > 0 {
			if x, at := r.mayAsk(c.to, it.Forced, now); at > 0 {
				if ev := r.waitsFor(m, i, key, x, at, now); ev.Kind != "" {
					waiting = append(waiting, ev)
				}
				continue
			} else if x != nil {
				asks = true
			}
		}
		if first == nil {
			first = c
		} else if (first.sender == nil) != (c.sender == nil) {
			continue // another reverse-path: another order
		}
		if len(f.rcpts) == most {
			break
		}
		f.rcpts, f.got = append(f.rcpts, c), append(f.got, got{})
	}
	r.noteWaiting(m, waiting)
	if len(f.rcpts) == 0 {
		return nil
	}
	r.seq++
	f.seq = r.seq
	for _, c := range f.rcpts {
		c.flight = f
		if x := r.full[c.to]; asks && x != nil {
			x.asking = f.seq
		}
	}
	r.flights[f.seq] = f
	return f
}

var errNoWorker = errors.New("no worker")

// send gives the flight to its worker.
func (r *Runner) send(f *flight, key string, l *live, now site.Time) error {
	w := r.workers[1]
	switch {
	case key == route.LocalSite:
		w = r.workers[0]
	case route.Local(key):
		w = r.person(key, f.rcpts[0].unix, now)
	}
	if w == nil || !w.up {
		return errNoWorker
	}
	file, err := r.descriptor(f.m)
	if err != nil {
		return err
	}
	f.worker = w
	qm := l.m
	o := order.Order{Verb: "deliver", Seq: f.seq, ID: f.m.id, Site: key, Ready: qm.Ready, Header: qm.Header, Size: qm.Size, Wire: qm.Wire,
		Sender: f.rcpts[0].sender, Rcpts: make([]order.Rcpt, len(f.rcpts))}
	for i, c := range f.rcpts {
		o.Rcpts[i] = order.Rcpt{Num: c.num, To: c.to}
		o.Attempt = max(o.Attempt, r.attempts(l, c)+1)
	}
	o.Junk = w != r.workers[1] && qm.Env.Marked()
	o.Repeat = o.Attempt > 1 || f.m.crashes > 0 || f.m.flags&scannedFlag != 0
	w.send(o, file)
	w.flights++
	return nil
}

// attempts is how often recipient c was tried.
func (r *Runner) attempts(l *live, c *rcpt) int {
	if s := l.st.Find(c.num); s != nil {
		return s.Attempts
	}
	return 0
}

// descriptor is a freshly opened descriptor of m, which is the order's from now on.
func (r *Runner) descriptor(m *message) (durable.File, error) {
	l := m.live
	if f := l.file; f != nil {
		l.file = nil
		return f, nil
	}
	return r.Spool.Disk.Open(m.path())
}

// event is what a goroutine that carries orders or runs a command has to say.
type event struct {
	worker  *worker
	life    int // of the worker's process
	answers []order.Answer
	err     error // the worker has gone
	started bool  // it is there
	conn    *order.Conn
	cmd     *exec.Cmd
	flight  *flight
}

// event takes answers and news of workers.
func (r *Runner) event(e event) {
	now := r.now()
	for i := range e.answers {
		r.answer(e.worker, &e.answers[i], now)
	}
	if e.flight != nil {
		r.commands.done(e.flight)
		r.finish(e.flight, now)
	}
	if e.worker != nil && (e.err != nil || e.started) {
		r.workerNews(e, now)
	}
}

// answer takes one answer. What fits no flight of that worker is dropped: a worker can lie about its own orders only.
func (r *Runner) answer(w *worker, a *order.Answer, now site.Time) {
	f := r.flights[a.Seq]
	if f == nil || f.worker != w {
		return
	}
	switch a.Kind {
	case 'R':
		if f.domain != "" {
			r.resolvedAs(f, a, now)
		}
	case 'K', 'Z', 'D':
		if f.domain != "" {
			r.unresolved(f, a, now)
			return
		}
		f.take(a)
	case 'F':
		for i, c := range f.rcpts {
			if c.num == a.Num && len(f.got[i].forwards) <= max(1, r.Conf.MaxExpansion) { // one more is too many, and says so
				f.got[i].forwards = append(f.got[i].forwards, *a)
			}
		}
	case 'S':
		f.siteText, f.siteDown = a.Result.Text, true
	case 'E':
		r.finish(f, now)
	}
}

// take notes what was said of a recipient; NUM 0 speaks of all that nothing was said of.
func (f *flight) take(a *order.Answer) {
	for i, c := range f.rcpts {
		if c.num == a.Num || a.Num == (queue.Num{}) && !f.got[i].said {
			f.got[i].said, f.got[i].result, f.got[i].host, f.got[i].tls, f.got[i].passed, f.got[i].kept = true, a.Result, a.Host, a.TLS, a.DSN, a.Kept
		}
	}
}

// resolvedAs moves everything that waits for a domain to its site.
func (r *Runner) resolvedAs(f *flight, a *order.Answer, now site.Time) {
	delete(r.flights, f.seq)
	ttl := max(time.Minute, min(a.TTL, 24*time.Hour))
	r.domains[f.domain] = resolved{key: a.Site, until: now + ttl}
	r.remote.Done(f.item, site.Answered, now)
	move := func(it *site.Item) { r.remote.Add(it, a.Site, 0, now) }
	if r.has(f.m) {
		move(f.item)
	}
	r.moveAll("mx:"+f.domain, move, now)
}

// moveAll gives everything in line at a site to move.
func (r *Runner) moveAll(key string, move func(*site.Item), now site.Time) {
	if x := r.remote.Lookup(key); x != nil {
		r.remote.Move(x, now, move)
		r.remote.Forget(x)
	}
}

// unresolved is DNS saying never, or not now.
func (r *Runner) unresolved(f *flight, a *order.Answer, now site.Time) {
	delete(r.flights, f.seq)
	key := "mx:" + f.domain
	if a.Kind == 'D' {
		result := a.Result
		r.domains[f.domain] = resolved{until: now + 5*time.Minute, never: &result}
		r.remote.Done(f.item, site.Answered, now)
		if r.has(f.m) {
			r.remote.Add(f.item, key, 0, now)
		}
		return
	}
	m := f.m
	r.siteError(key, a.Result.Text)
	due, parked := r.remote.Done(f.item, site.Silent, now)
	if !r.has(m) {
		return
	}
	r.deferAt(m, f, a.Result, key, due, parked, now)
}
