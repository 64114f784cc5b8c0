package run

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"pennypost/internal/escape"
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
	r.saveSenders(savesAtOnce)
	r.dismissIdle(r.now())
	if n%int(checkpointEvery/time.Second) == 0 {
		r.record()
		if err := r.checkpoint(); err != nil {
			r.log.Warn("checkpoint", err)
		}
		r.tidy()
	}
}

// inLineFor is how long mail that only waits for its turn at local delivery stays in in/: under load a move to q/ would cost as much as
// delivery.
const inLineFor = 20 * time.Second

// moveOld moves to q/ what is still in in/ after a second.
func (r *Runner) moveOld() {
	keep := r.fresh[:0]
	now := r.now()
	for _, m := range r.fresh {
		if !r.has(m) || !strings.HasPrefix(m.name, "in/") {
			continue
		}
		age := now - time.Duration(m.born)*time.Second
		if m.flags&scannedFlag == 0 && (age < 2*time.Second || age < inLineFor && r.waitsForTurn(m)) {
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

// waitsForTurn reports whether m was never tried and waits for local delivery alone.
func (r *Runner) waitsForTurn(m *message) bool {
	return m.flags&triedFlag == 0 && len(m.more) == 0 && !m.item.Idle() && m.item.Site().Key == route.LocalSite && !m.item.Site().Paused() && !r.stopped
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

// What is remembered of others has an end, whoever they are.
const (
	mostDomains = 100_000
	mostBounced = 100_000
	mostIdle    = 1000 // sites with nothing in line
	mostMade    = 100_000
)

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
	cut(r.domains, mostDomains)
	cut(r.bounced, mostBounced)
	r.forgetFull(now)
	r.forgetPast()
	r.forgetSites(now)
}

// cut removes any entries beyond most.
func cut[K comparable, V any](m map[K]V, most int) {
	for k := range m {
		if len(m) <= most {
			return
		}
		delete(m, k)
	}
}

// forgetPast drops what the journal said of messages that the first scan has not found: they are gone. Reports are kept, so
// that none is made again.
func (r *Runner) forgetPast() {
	if r.scanned && !r.past && len(r.found) == 0 {
		r.past = true
		reports := map[string]bool{} // a new map: an emptied one keeps its size
		for id := range r.ended {
			if strings.Contains(id, ".") {
				reports[id] = true
			}
		}
		r.ended = reports
		for id := range r.replay {
			if r.messages[id] == nil {
				delete(r.replay, id)
			}
		}
	}
	if len(r.made)+len(r.ended) > mostMade { // what an earlier runner left half done was done long ago
		clear(r.made)
		clear(r.ended)
	}
}

// forgetSites drops sites that have had nothing in line for long: of those that are up any beyond a number, of those that are down the ones whose
// probe would have been due an hour ago. What we think of a site that has gone goes with it.
func (r *Runner) forgetSites(now site.Time) {
	idle := 0
	r.remote.Each(func(x *site.Site) {
		if !x.Empty() {
			return
		}
		if idle++; x.Down() && now < x.ProbeAt()+time.Hour || !x.Down() && idle <= mostIdle {
			return
		}
		if r.remote.Forget(x) {
			r.Spool.Disk.Remove("site/" + escape.File(x.Key))
		}
	})
	for key := range r.told {
		if r.remote.Lookup(key) == nil {
			delete(r.told, key)
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
