package run

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"pennypost/queue"
	"pennypost/queue/route"
	"pennypost/queue/site"
)

// everySecond is what time brings, and no message asks for.
func (r *Runner) everySecond(n int) {
	r.moveOld()
	r.tellOld()
	r.sweep()
	r.publish()
	if n%int(checkpointEvery/time.Second) == 0 {
		r.record()
		if err := r.checkpoint(); err != nil {
			r.log.Warn("checkpoint", err)
		}
		r.tidy()
	}
}

// moveOld moves to q/ what is still in in/ after a second.
func (r *Runner) moveOld() {
	keep := r.fresh[:0]
	now := r.now()
	for _, m := range r.fresh {
		if !r.has(m) || !strings.HasPrefix(m.name, "in/") {
			continue
		}
		if now-time.Duration(m.born)*time.Second < 2*time.Second && m.flags&scannedFlag == 0 {
			keep = append(keep, m)
			continue
		}
		if err := r.take(m); gone(err) && m.live == nil {
			r.vanished(m)
		}
	}
	clear(r.fresh[len(keep):])
	r.fresh = keep
}

// tellOld sends the reports that have waited for more failures long enough.
func (r *Runner) tellOld() {
	keep := r.owing[:0]
	for _, m := range r.owing {
		if !r.has(m) || m.live == nil || m.live.failed == 0 {
			continue
		}
		r.settle(m)
		if !r.has(m) || m.live == nil || m.live.failed == 0 {
			if m.live != nil && m.live.flights == 0 {
				r.opened = append(r.opened, m)
			}
			continue
		}
		keep = append(keep, m)
	}
	clear(r.owing[len(keep):])
	r.owing = keep
}

// sweep looks at a part of all messages: parked ones have no timer that would tell that their time is over. Only those
// whose time has come are opened.
func (r *Runner) sweep() {
	n := max(200, len(r.all)/300) // everything in five minutes
	opened := 0
	for range min(n, len(r.all)) {
		if r.swept >= len(r.all) {
			r.swept = 0
		}
		m := r.all[r.swept]
		r.swept++
		age := r.age(m)
		late := r.Conf.DelayDSN > 0 && m.flags&delayedFlag == 0 && age > r.Conf.DelayDSN
		if m.live != nil || !late && age <= r.expiry(m) || !r.triedSinceStart(m) {
			continue
		}
		if opened++; opened > 100 {
			return
		}
		if _, err := r.open(m); err != nil {
			continue
		}
		if late && age <= r.expiry(m) && m.live.st.Attempts == 0 && !r.siteDownFor(m) && !m.live.waits() {
			continue // its turn comes
		}
		if r.plan(m) == nil {
			r.settle(m)
		}
	}
}

// waits reports whether a recipient waits for its mailbox.
func (l *live) waits() bool {
	return slices.ContainsFunc(l.st.Rcpts, func(s queue.RcptState) bool { return s.Why != "" })
}

func (r *Runner) siteDownFor(m *message) (down bool) {
	m.each(func(it *site.Item) { down = down || !it.Idle() && it.Site().Down() })
	return down
}

// tidy forgets what is not needed any more.
func (r *Runner) tidy() {
	now := r.now()
	for domain, d := range r.domains {
		if now > d.until {
			delete(r.domains, domain)
		}
	}
	for to, b := range r.bounced {
		if now-b.since > time.Hour {
			delete(r.bounced, to)
		}
	}
	r.forgetFull(now)
	if len(r.made) > 100_000 { // what an earlier runner left half done was done long ago
		clear(r.made)
	}
	var idle []*site.Site
	r.remote.Each(func(x *site.Site) {
		if x.Empty() && !x.Down() {
			idle = append(idle, x)
		}
	})
	if len(idle) > 1000 {
		for _, x := range idle {
			delete(r.told, x.Key)
			r.remote.Forget(x)
		}
	}
}

// describe is --dry-run: what would be done.
func (r *Runner) describe(m *message, key string) {
	l := m.live
	for i, c := range l.rcpts {
		if !l.owed(i) || !c.planned || r.siteOf(c) != key {
			continue
		}
		fmt.Fprintf(r.DryRun, "%s %s <%s> %s\n", m.id, c.num, c.to, key)
		c.failed = &failure{}
	}
	if key == route.LocalSite {
		return
	}
}
