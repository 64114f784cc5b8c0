package run

import (
	"errors"
	"io/fs"
	"time"

	"pennypost/internal/address"
	"pennypost/internal/status"
	"pennypost/queue"
	"pennypost/queue/route"
	"pennypost/queue/site"
)

// finish is the end of a flight: what was said becomes events, then the site, the message and the journal go on.
func (r *Runner) finish(f *flight, now site.Time) {
	delete(r.flights, f.seq)
	f.worker.landed(now)
	m := f.m
	s := r.schedulerOf(f.item.Site().Key)
	key := f.item.Site().Key
	if route.Local(key) {
		r.localAt = now
	}
	if f.siteDown {
		r.siteError(key, f.siteText)
	}
	due, parked := s.Done(f.item, f.outcome(key), now)
	l := m.live
	if l == nil { // held or removed meanwhile
		return
	}
	l.flights--
	r.opened = append(r.opened, m)
	var events []queue.Event
	var room [1]queue.Event
	events = room[:0]
	for i, c := range f.rcpts {
		c.flight, c.planned = nil, false
		ev := r.outcomeOf(m, c, &f.got[i], f, key, due, parked, now)
		if ev.Kind != "" {
			events = append(events, ev)
		}
		if len(f.got[i].forwards) > 0 && f.got[i].result.Outcome == status.Delivered && c.failed == nil {
			if err := r.forward(m, c, &f.got[i]); err != nil {
				r.log.Warn("forward "+m.id, err)
			}
		}
	}
	if !r.has(m) {
		return // it went away under us
	}
	for i := range events {
		r.add(m, &events[i])
		l.st.Add(&events[i])
	}
	if len(events) > 0 && r.owes(l) {
		if err := r.remember(m, false, events); errors.Is(err, fs.ErrNotExist) {
			r.vanished(m)
			return
		}
	}
	if r.owes(l) {
		if err := r.plan(m); err != nil {
			r.notPlanned(m, err)
			return
		}
		r.line(m)
	}
	r.settle(m)
}

// owes reports whether anything of the message is left to do.
func (r *Runner) owes(l *live) bool {
	for i := range l.st.Rcpts {
		if l.owed(i) {
			return true
		}
	}
	return false
}

// outcome is what the flight says about its site.
func (f *flight) outcome(key string) site.Outcome {
	if route.Local(key) {
		return site.Answered
	}
	tooMuch := false
	said := false
	for i := range f.got {
		g := &f.got[i]
		said = said || g.said
		tooMuch = tooMuch || g.said && site.Overload(g.result)
	}
	switch {
	case f.siteDown && site.Overload(status.Result{Outcome: status.Deferred, Code: leadingCode(f.siteText), Text: f.siteText}):
		return site.TooMuch
	case f.siteDown:
		return site.Silent
	case tooMuch:
		return site.TooMuch
	case !said:
		return site.Unused
	}
	return site.Answered
}

// leadingCode is the reply code a text about a site begins with, or 0.
func leadingCode(text string) (code int) {
	for i := range min(3, len(text)) {
		if text[i] < '0' || text[i] > '9' {
			return 0
		}
		code = 10*code + int(text[i]-'0')
	}
	return code
}

// outcomeOf makes the event of one recipient; a failure has none yet: it is written when its report is out.
func (r *Runner) outcomeOf(m *message, c *rcpt, g *got, f *flight, key string, due site.Time, parked bool, now site.Time) (ev queue.Event) {
	l := m.live
	i := l.find(c)
	if i < 0 || !l.owed(i) {
		return ev
	}
	if !g.said {
		g.result = status.Result{Outcome: status.Deferred, Code: 451, Enhanced: "4.3.0", Text: "the delivery program said nothing of this recipient"}
		if f.siteText != "" {
			g.result.Enhanced, g.result.Text = "4.4.1", f.siteText
		}
	}
	s := &l.st.Rcpts[i]
	attempt := s.Attempts + 1
	switch g.result.Outcome {
	case status.Delivered:
		if circles(l.st, c.num, g) {
			c.failed = &failure{result: status.Result{Outcome: status.Failed, Code: 554, Enhanced: "5.4.6",
				Text: "forwards lead in a circle, and nobody keeps a copy"}, site: key}
			r.owe(m)
			return ev
		}
		delay := max(0, time.Since(l.m.Env.Time))
		ev = queue.Event{Time: time.Now(), ID: m.id, Kind: queue.Deliver, Num: c.num, To: c.to, Site: key, Host: g.host, TLS: g.tls,
			Status: g.result, Attempt: attempt, Delay: delay}
		if len(g.forwards) > 0 && !g.kept {
			ev.Why = forwardedOnly
		}
		r.log.Deliver(m.id, c.to, key, g.host, g.tls, g.result, attempt, delay)
		r.hasRoom(c.to)
		r.became(l.m.Env, false)
		r.delivered(m, c, s, key, g)
	case status.Failed:
		r.hasRoom(c.to)
		r.became(l.m.Env, true)
		c.failed = &failure{result: g.result, host: g.host, site: key}
		r.owe(m)
	default:
		cause := site.Classify(g.result, route.Local(key), attempt)
		next := now + site.After(cause, attempt, g.result, chance())
		if cause == site.Quota && !f.siteDown {
			next = r.isFull(c.to, key, g, attempt, f.started, now)
		}
		if f.siteDown {
			cause, next = site.Reach, due
		} else if !route.Local(key) && due > next {
			next = due
		}
		ev = r.deferral(m, c, s, key, g.host, g.result, string(cause), next, now)
		if c.due = next; f.siteDown && parked {
			c.due = now // the site's clock decides
		}
	}
	return ev
}

func (l *live) find(c *rcpt) int {
	for i := range l.rcpts {
		if l.rcpts[i] == c {
			return i
		}
	}
	return -1
}

// deferral is the event of a recipient to be tried again, and its log line.
func (r *Runner) deferral(m *message, c *rcpt, s *queue.RcptState, key, host string, result status.Result, cause string, next, now site.Time) queue.Event {
	to := c.to
	if to.IsNull() {
		to = s.To
	}
	attempt := s.Attempts + 1
	r.log.Defer(m.id, to, key, host, result, attempt, next-now, cause)
	return queue.Event{Time: time.Now(), ID: m.id, Kind: queue.Defer, Num: c.num, To: to, Site: key, Host: host,
		Status: result, Why: cause, Next: time.Now().Add(next - now), Attempt: attempt}
}

// deferRcpt defers recipient i without an order.
func (r *Runner) deferRcpt(m *message, i int, key, host string, result status.Result) error {
	l, now := m.live, r.now()
	c, s := l.rcpts[i], &l.st.Rcpts[i]
	cause := site.Classify(result, true, s.Attempts+1)
	next := now + site.After(cause, s.Attempts+1, result, chance())
	ev := r.deferral(m, c, s, key, host, result, string(cause), next, now)
	c.planned, c.due, c.sites = true, next, []string{lookSite}
	r.add(m, &ev)
	l.st.Add(&ev)
	return r.remember(m, false, []queue.Event{ev})
}

// thrownAway is recipient i whose mail an alias throws away.
func (r *Runner) thrownAway(m *message, i int, result status.Result) error {
	c, s := m.live.rcpts[i], &m.live.st.Rcpts[i]
	attempt, delay := s.Attempts+1, max(0, time.Since(m.live.m.Env.Time))
	ev := queue.Event{Time: time.Now(), ID: m.id, Kind: queue.Deliver, Num: c.num, To: c.to, Site: route.LocalSite, Status: result, Attempt: attempt, Delay: delay}
	r.log.Deliver(m.id, c.to, route.LocalSite, "", "", result, attempt, delay)
	r.add(m, &ev)
	m.live.st.Add(&ev)
	if r.owes(m.live) {
		return r.remember(m, false, []queue.Event{ev})
	}
	return nil
}

// deferAt defers what m has for a site that could not be asked.
func (r *Runner) deferAt(m *message, f *flight, result status.Result, key string, due site.Time, parked bool, now site.Time) {
	l, err := r.open(m)
	if err == nil {
		err = r.plan(m)
	}
	if err != nil {
		r.notPlanned(m, err)
		return
	}
	var events []queue.Event
	for i, c := range l.rcpts {
		if !l.owed(i) || c.flight != nil || c.failed != nil || c.due > now || r.siteOf(c) != key {
			continue
		}
		ev := r.deferral(m, c, &l.st.Rcpts[i], key, "", result, string(site.Reach), due, now)
		if c.due = due; parked {
			c.due = now
		}
		r.add(m, &ev)
		l.st.Add(&ev)
		events = append(events, ev)
	}
	m.flags |= triedFlag
	if len(events) > 0 {
		if err := r.remember(m, false, events); errors.Is(err, fs.ErrNotExist) {
			r.vanished(m)
			return
		}
	}
	r.line(m)
	r.settle(m)
}

// forward replaces a recipient that was delivered by what its forward file names.
func (r *Runner) forward(m *message, c *rcpt, g *got) error {
	i := m.live.find(c)
	if i < 0 {
		return nil
	}
	targets := make([]address.Path, 0, len(g.forwards))
	for i := range g.forwards {
		targets = append(targets, g.forwards[i].Target)
	}
	return r.expand(m, i, targets)
}

// forwardedOnly is why nobody has the copy of a recipient that counts as delivered.
const forwardedOnly = "forwarded"

// circles reports whether a recipient is only sent on to addresses that have all been reached on the way to it, while nobody else the
// same envelope recipient became has the message or may still get it: then it would end with nobody (S070).
func circles(st *queue.State, num queue.Num, g *got) bool {
	if len(g.forwards) == 0 || g.kept {
		return false
	}
	met := make(map[address.Path]bool)
	for i := range st.Rcpts {
		s := &st.Rcpts[i]
		if s.Num.N != num.N {
			continue
		}
		met[s.To] = true
		if s.Num != num && (s.Done && s.Why != forwardedOnly || !s.Done && !s.Expanded) {
			return false
		}
	}
	for i := range g.forwards {
		if !met[g.forwards[i].Target] {
			return false
		}
	}
	return true
}

// settle decides what is to be done with a message after something has happened to it.
func (r *Runner) settle(m *message) {
	l := m.live
	if l == nil || !r.has(m) {
		return
	}
	open := 0
	for i := range l.rcpts {
		if l.owed(i) && l.rcpts[i].failed == nil {
			open++
		}
	}
	if open > 0 {
		r.expireOrWarn(m)
		open = 0
		for i := range l.rcpts {
			if l.owed(i) && l.rcpts[i].failed == nil {
				open++
			}
		}
	}
	if l.failed > 0 && l.flights == 0 && (open == 0 || !r.soon(l)) {
		r.report(m)
		if !r.has(m) {
			return
		}
	}
	if open == 0 && l.flights == 0 && l.failed == 0 {
		r.end(m)
	}
}

// together is how long failures wait for others, to be told in one report.
const together = time.Minute

// soon reports whether the fate of more recipients will be known soon.
func (r *Runner) soon(l *live) bool {
	now := r.now()
	if now-l.failedAt >= together {
		return false
	}
	for i, c := range l.rcpts {
		if !l.owed(i) || c.failed != nil {
			continue
		}
		key := r.siteOf(c)
		if x := r.schedulerOf(key).Lookup(key); c.due < now+together && (x == nil || !x.Down() && !x.Paused()) {
			return true
		}
	}
	return false
}

// end is a message that nothing is owed for.
func (r *Runner) end(m *message) {
	now := time.Now()
	attempts, delay := 0, time.Duration(0)
	plain := m.flags&(stateFlag|scannedFlag) == 0 // nothing lies beside it
	if l := m.live; l != nil {
		attempts, delay = l.st.Attempts, max(0, now.Sub(l.m.Env.Time))
		plain = plain && l.m.Env.RcptFile.Count == 0
		if l.st.Ended {
			plain = false
		} else {
			r.add(m, &queue.Event{Time: now, ID: m.id, Kind: queue.End, Attempt: attempts, Delay: delay})
		}
	}
	r.log.End(m.id, attempts, delay)
	r.leave(m, plain)
}
