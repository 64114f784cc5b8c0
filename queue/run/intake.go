package run

import (
	"strings"
	"time"

	"pennypost/queue"
	"pennypost/queue/site"
)

// hinted takes a batch of hints; a nil batch says that some were lost.
func (r *Runner) hinted(batch []queue.Found) {
	if batch == nil {
		select {
		case r.onlyNew <- struct{}{}:
		default:
		}
		return
	}
	now := time.Now()
	for i := range batch {
		if !strings.HasPrefix(batch[i].Name, "in/bounce/") { // our own reports are not what others wait for
			r.batchCame = now
			break
		}
	}
	if r.pending = append(r.pending, batch...); len(r.pending) == len(batch) {
		r.batchAt = now
	}
}

// scan takes a piece of a scan; a nil piece is its end.
func (r *Runner) scan(batch []queue.Found) {
	if batch == nil {
		r.endScan()
		return
	}
	for _, f := range batch {
		if m := r.messages[f.ID]; m != nil {
			m.flags &^= seenFlag
			r.moved(m, f.Name)
			continue
		}
		r.found = append(r.found, f)
	}
}

// moved notes that a known message is somewhere else now: a person released it, or an earlier runner's Take.
func (r *Runner) moved(m *message, name string) {
	if m.live == nil && m.path() != name && strings.HasPrefix(name, "q/") {
		if m.name = name; name == queue.QPath(m.id)+"/"+m.id {
			m.name = ""
		}
	}
}

// endScan is the end of the first scan: what the checkpoint knew and nobody saw has gone.
func (r *Runner) endScan() {
	if r.scanned {
		return
	}
	r.scanned = true
	r.scanDone.Store(true)
	for _, m := range append([]*message(nil), r.all...) {
		if m.flags&seenFlag != 0 && m.live == nil {
			r.forget(m)
		}
	}
}

const (
	hintsAtLeast = 32
	stuck        = 100 * time.Millisecond // local delivery in which nothing has ended for so long
	foundPerTurn = 64                     // each may cost a cold read
	gentle       = 2                      // of them beside mail that comes in: it feels no more than a tenth of a millisecond of each
	lately       = 100 * time.Millisecond
)

// intake looks at what hints and scans brought: hints first.
func (r *Runner) intake() {
	n := min(len(r.pending), r.room())
	for _, f := range r.pending[:n] {
		r.admit(f, true)
	}
	if r.pending = r.pending[n:]; len(r.pending) == 0 {
		r.pending = nil
	}
	most := foundPerTurn
	if r.busy() {
		most = gentle
	}
	n = 0
	for n < min(len(r.found), most) && len(r.hints)+len(r.events) == 0 {
		r.admit(r.found[n], false)
		n++
	}
	if r.found = r.found[n:]; len(r.found) == 0 {
		r.found = nil
	}
}

// room is how many hints to look at now: as many as local delivery has slots for, as what waits in line would have to be opened again. When
// it is stuck mail for others must not wait behind it.
func (r *Runner) room() int {
	n := r.Conf.LocalSlots - r.local.Active()
	if n < hintsAtLeast && r.now()-r.localAt > stuck {
		n = hintsAtLeast
	}
	return max(0, n)
}

// busy reports whether new mail has come just now: what a scan found gives way to it.
func (r *Runner) busy() bool { return time.Since(r.batchCame) < lately }

// admit makes a message of what was found and puts it in line.
func (r *Runner) admit(f queue.Found, hint bool) {
	if m := r.messages[f.ID]; m != nil { // the checkpoint told of it after the scan had found it
		m.flags &^= seenFlag
		r.moved(m, f.Name)
		return
	}
	if r.ended[f.ID] { // the power went between journal and unlink
		delete(r.ended, f.ID)
		r.made[f.ID] = true
		if err := r.Spool.Remove(f.Name); err != nil {
			r.log.Warn("remove "+f.ID, err)
		}
		return
	}
	m := &message{id: f.ID, name: f.Name}
	if f.Name[0] == 'q' && f.Name == queue.QPath(f.ID)+"/"+f.ID {
		m.name = ""
	}
	m.item.Owner = m
	if !hint || strings.HasPrefix(f.Name, "in/adopt/") { // what comes back has a past, and is looked at closely
		m.flags |= scannedFlag
	}
	m.born = r.bornOf(f.ID, hint)
	r.enrol(m)
	r.consider(m)
}

// enrol puts m into memory.
func (r *Runner) enrol(m *message) {
	m.index = int32(len(r.all))
	r.all = append(r.all, m)
	r.messages[m.id] = m
	if strings.HasPrefix(m.name, "in/") {
		r.fresh = append(r.fresh, m)
	}
}

// bornOf is when a message's age was 0. The id's time is believed as far as it makes sense: a message just announced
// is new whatever the clock says, and the time we did not run does not count (S140).
func (r *Runner) bornOf(id string, hint bool) int32 {
	now := r.now()
	age := time.Since(queue.TimeOf(id))
	if age < 0 || hint && age > time.Hour {
		age = 0
	}
	if !hint {
		age -= min(age, r.downtime)
	}
	return int32((now - age) / time.Second)
}

// consider opens m, routes it and puts it in line.
func (r *Runner) consider(m *message) {
	l, err := r.open(m)
	if err == nil && l.st.Ended {
		r.end(m)
		return
	}
	if err == nil {
		if r.overdrawn(m) {
			return
		}
		if r.waitsForRelease(m) {
			return
		}
		if hold, why := r.pausedRule(m); hold {
			r.postpone(m, why)
			return
		}
		err = r.plan(m)
	}
	if err != nil {
		r.notPlanned(m, err)
		return
	}
	r.line(m)
	r.settle(m)
}

// retryOpen puts a message that the disk did not let us read in line again.
func (r *Runner) retryOpen(m *message) {
	if !r.has(m) || !m.item.Idle() {
		return
	}
	now := r.now()
	m.item = site.Item{Owner: m, Attempts: 1, Cost: 1, MiB: 1}
	r.local.Add(&m.item, lookSite, now+site.Time(time.Minute), now)
}

// lookSite is the site of messages that have to be looked at again before they go anywhere.
const lookSite = "look"

// waitsForRelease puts a message with a time of its own (RFC 4865) in line for it.
func (r *Runner) waitsForRelease(m *message) bool {
	at := m.live.m.Env.HoldUntil
	if at.IsZero() || !at.After(time.Now()) {
		return false
	}
	r.postponeUntil(m, at)
	return true
}

func (r *Runner) postponeUntil(m *message, at time.Time) {
	if err := r.take(m); gone(err) {
		r.vanished(m)
		return
	}
	m.born = int32(r.moment(at) / time.Second) // its age begins when it is released
	r.postponeFor(m, min(time.Until(at), longest))
}

// postpone waits for pause/ to change.
func (r *Runner) postpone(m *message, why string) { r.postponeFor(m, longest) }

func (r *Runner) postponeFor(m *message, d time.Duration) {
	now := r.now()
	if !m.item.Idle() {
		return
	}
	m.item = site.Item{Owner: m, Attempts: 1, Cost: 1, MiB: 1, Flow: "wait"}
	r.local.Add(&m.item, lookSite, now+d, now)
}
