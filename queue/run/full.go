package run

import (
	"time"

	"pennypost/internal/address"
	"pennypost/internal/status"
	"pennypost/queue"
	"pennypost/queue/route"
	"pennypost/queue/site"
)

// full is a mailbox that takes no more for now: one message asks again at its time, all others for it wait, as those of a site that is down do.
// It is not remembered over a restart: then the first message finds out again.
type full struct {
	asking   uint64 // flight that asks now, if it is under way
	asked    site.Time
	until    site.Time
	attempts int
	result   status.Result
	host     string
}

const (
	// mostFull is how many mailboxes wait so. Mail for one more is tried message by message.
	mostFull = 10_000
	// fullKept is how long a mailbox that nobody asks any more is remembered.
	fullKept = time.Hour
	// turnAfter is how long those that wait give to the one that asks.
	turnAfter = time.Minute
)

// isFull notes that a mailbox takes no more, and says when it is asked again.
func (r *Runner) isFull(to address.Path, key string, g *got, attempt int, started, now site.Time) site.Time {
	x := r.full[to]
	if x != nil && started < x.asked {
		return x.until // it was under way when another heard the same
	}
	if x == nil {
		x = &full{attempts: attempt - 1}
		if len(r.full) < mostFull {
			r.full[to] = x
		}
	}
	cause := site.Quota
	if route.Local(key) {
		cause = site.Local // we see at little cost whether there is room again
	}
	x.attempts++
	x.asked, x.host, x.result = now, g.host, g.result
	x.result.Text = x.result.Text[:min(len(x.result.Text), 200)]
	x.until = now + site.After(cause, x.attempts, g.result, chance())
	return x.until
}

// hasRoom forgets that a mailbox was full.
func (r *Runner) hasRoom(to address.Path) {
	if len(r.full) > 0 {
		delete(r.full, to)
	}
}

// mayAsk reports whether a recipient may be tried as far as its mailbox goes, and if not, when the next look at it makes sense. Whatever
// was kicked by hand after the mailbox was asked last may ask, but no two at once.
func (r *Runner) mayAsk(to address.Path, forced bool, now site.Time) (x *full, at site.Time) {
	if x = r.full[to]; x == nil {
		return nil, 0
	}
	_, asking := r.flights[x.asking]
	switch {
	case asking:
		return x, now + turnAfter
	case now < x.until && !(forced && r.kickedAt > x.asked):
		wait := min((x.until-x.asked)/8, 10*time.Minute) // not all of them at once
		return x, x.until + turnAfter + site.Time(float64(wait)*chance())
	}
	return x, 0
}

// waitsFor makes the event that says in ID.s that recipient i waits for another's attempt; it counts for no attempt. An empty event: ID.s
// says so already.
func (r *Runner) waitsFor(m *message, i int, key string, x *full, at, now site.Time) (ev queue.Event) {
	c, s := m.live.rcpts[i], &m.live.st.Rcpts[i]
	if c.due = at; s.Why == string(site.Quota) && time.Until(s.Next) > at-now-2*turnAfter {
		return ev
	}
	result := x.result
	result.Text = "waits for another message to this mailbox, which was told: " + result.Text
	r.log.Defer(m.id, c.to, key, x.host, result, s.Attempts, at-now, string(site.Quota))
	return queue.Event{Time: time.Now(), ID: m.id, Kind: queue.Defer, Num: c.num, To: c.to, Site: key, Host: x.host,
		Status: result, Why: string(site.Quota), Next: time.Now().Add(at - now), Attempt: s.Attempts}
}

// noteWaiting writes down what waitsFor made.
func (r *Runner) noteWaiting(m *message, events []queue.Event) {
	if len(events) == 0 {
		return
	}
	for i := range events {
		m.live.st.Add(&events[i])
	}
	r.remember(m, false, events) // if it is gone, the next attempt sees that
}

// forgetFull drops the mailboxes that nobody asks any more.
func (r *Runner) forgetFull(now site.Time) {
	for to, x := range r.full {
		if now > x.until+fullKept {
			delete(r.full, to)
		}
	}
}
