package run

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"

	"pennypost/internal/address"
	"pennypost/internal/durable"
	"pennypost/internal/passwd"
	"pennypost/internal/status"
	"pennypost/queue"
	"pennypost/queue/route"
	"pennypost/queue/site"
)

// message is a file of the spool that we owe something for. There may be a million: what is not needed while it
// waits is in live.
type message struct {
	id      string
	name    string // below the spool; "" is its place in q/
	live    *live
	item    site.Item // most messages go to one site
	more    []*site.Item
	index   int32 // in Runner.all
	born    int32 // seconds of the scheduler's clock when its age was 0
	crashes uint8 // orders that took their worker with them
	flags   flags
}

type flags uint16

const (
	scannedFlag flags = 1 << iota // found and not announced: it may have been delivered before
	triedFlag                     // by this runner
	delayedFlag                   // the delay notice is out, or none is owed
	checkedFlag                   // known from the checkpoint or read by this runner
	bounceFlag                    // null sender or bulk: expires earlier
	seenFlag                      // known from the checkpoint and not seen by the scan yet
	archivedFlag
	stateFlag   // has ID.s by our own doing
	endedFlag   // nothing is owed: gone when the journal says so
	countedFlag // among what its account sends
)

// path is the message's name below the spool.
func (m *message) path() string {
	if m.name != "" {
		return m.name
	}
	return queue.QPath(m.id) + "/" + m.id
}

// each calls f for every item of m.
func (m *message) each(f func(*site.Item)) {
	f(&m.item)
	for _, it := range m.more {
		f(it)
	}
}

// live is what is read of a message while something is being done about it.
type live struct {
	m        *queue.Message
	file     durable.File // the next order's descriptor; nil when it is given away
	st       *queue.State
	rcpts    []*rcpt
	flights  int
	failed   int       // recipients whose report is not out
	failedAt site.Time // since when
	oneRcpt  [1]rcpt
	onePtr   [1]*rcpt
}

// rcpt is one recipient while the message is live.
type rcpt struct {
	num     queue.Num
	to      address.Path // routed
	sites   []string     // best first
	domain  string       // to be resolved
	unix    *passwd.User // the site is one of theirs
	derived bool         // alias or forward: not what the sender wrote
	outside bool
	planned bool
	forced  bool          // in line before its time
	sender  *address.Path // SRS
	flight  *flight
	failed  *failure
	due     site.Time
}

// failure is a recipient given up whose report is not out.
type failure struct {
	result status.Result
	host   string
	site   string
	expire bool
}

// open reads m and its state. A nil live means that the message is gone or put aside.
func (r *Runner) open(m *message) (*live, error) {
	if m.live != nil {
		return m.live, nil
	}
	name := m.path()
	check := m.flags&scannedFlag != 0 && m.flags&checkedFlag == 0 && strings.HasPrefix(name, "in/")
	qm, err := r.Spool.Load(name, check)
	if err != nil {
		return nil, r.unreadable(m, name, err)
	}
	m.flags |= checkedFlag
	if strings.Contains(m.id, ".") {
		r.made[m.id] = true
	}
	if qm.Env.RcptFile.Count > 0 {
		list, err := r.Spool.Recipients(qm, 0, qm.Env.RcptFile.Count)
		if err != nil {
			qm.Close()
			return nil, r.unreadable(m, name, err)
		}
		env := *qm.Env
		env.Rcpts = append(append([]queue.Rcpt(nil), env.Rcpts...), list...)
		qm.Env = &env
	}
	l := &live{m: qm, file: qm.File}
	var past []queue.Event
	if m.flags&(scannedFlag|stateFlag) != 0 {
		if past, err = r.Spool.ReadState(name); err != nil {
			qm.Close()
			return nil, err
		}
	}
	if more, ok := r.replay[m.id]; ok {
		delete(r.replay, m.id)
		past = append(past, more...)
		r.remember(m, false, more)
	}
	l.st = queue.Fold(qm.Env, past)
	m.live = l
	r.opened = append(r.opened, m)
	l.follow(r, m)
	if err := r.archive(m); err != nil {
		r.close(m)
		return nil, err
	}
	if l.st.Delayed || qm.Env.From.IsNull() {
		m.flags |= delayedFlag
	}
	if qm.Env.From.IsNull() || m.item.Class == site.Bulk {
		m.flags |= bounceFlag
	}
	return l, nil
}

// archive gives a message its second name in archive/new before anything is done with it. What has left in/ or was tried has had it. The
// error says that it must not be tried without.
func (r *Runner) archive(m *message) error {
	if !r.Archive.Enabled || m.flags&archivedFlag != 0 {
		return nil
	}
	if m.live.st.Attempts == 0 && strings.HasPrefix(m.path(), "in/") {
		if err := r.Spool.Archive(m.path()); err != nil {
			if r.Archive.Required {
				return fmt.Errorf("archive: %w", err)
			}
			r.log.Warn("archive "+m.id, err)
		}
	}
	m.flags |= archivedFlag
	return nil
}

// errNotArchived keeps a message in in/, where archive still looks at it.
var errNotArchived = errors.New("it is not in the archive")

// errGone says that there is nothing more to do for a message.
var errGone = errors.New("gone")

// unreadable puts a message aside that cannot be loaded. errGone: forget it; another error: try later.
func (r *Runner) unreadable(m *message, name string, err error) error {
	switch {
	case errors.Is(err, queue.ErrCritical):
		r.putAside(m, err.Error())
	case errors.Is(err, queue.ErrBad):
		r.log.Bad(name, err.Error())
		if e := r.Spool.Bad(name, err.Error()); e != nil {
			r.log.Warn("bad "+name, e)
		}
		delete(r.made, m.id)
		r.forget(m)
	case errors.Is(err, fs.ErrNotExist):
		r.vanished(m)
	default:
		return err
	}
	return errGone
}

// vanished is a message that somebody has moved or removed: no bounce, no noise.
func (r *Runner) vanished(m *message) {
	if m.flags&checkedFlag != 0 {
		r.add(m, &queue.Event{Time: time.Now(), ID: m.id, Kind: queue.Remove, Why: queue.Moved})
		r.log.Remove(m.id, queue.Moved)
	}
	r.forget(m)
}

// putAside moves m to hold/.
func (r *Runner) putAside(m *message, reason string) {
	if err := r.Spool.Hold(m.path(), reason); err != nil {
		r.log.Warn("hold "+m.id, err)
	}
	r.add(m, &queue.Event{Time: time.Now(), ID: m.id, Kind: queue.Hold, Why: reason})
	r.log.Hold(m.id, reason)
	r.forget(m)
}

// add puts an event into the turn's part of the journal.
func (r *Runner) add(m *message, ev *queue.Event) { r.lines = append(r.lines, *ev) }

// record writes the turn's part of the journal with one write, and then removes the files of messages it says are at
// their end: never the other way round.
func (r *Runner) record() {
	if len(r.lines) > 0 && r.DryRun == nil {
		r.lineptrs = r.lineptrs[:0]
		for i := range r.lines {
			r.lineptrs = append(r.lineptrs, &r.lines[i])
		}
		if err := r.journal.AddAll(r.lineptrs); err != nil {
			r.log.Warn("results", err)
		}
		clear(r.lines)
		r.lines = r.lines[:0]
	}
	if r.reported && r.DryRun == nil {
		if err := r.journal.Sync(); err != nil {
			r.log.Warn("results", err)
		}
	}
	r.reported = false
	for _, g := range r.going {
		err := error(nil)
		if g.alone {
			err = r.Spool.Disk.Remove(g.name)
		} else {
			err = r.Spool.Remove(g.name)
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			r.log.Warn("remove "+g.name, err)
		}
		r.forget(g.m)
	}
	r.going = r.going[:0]
}

// going is a file to be removed when the journal has its end.
type going struct {
	m     *message
	name  string
	alone bool // nothing lies beside it
}

// remember appends events to the message's ID.s, moving it out of in/ first: what is in in/ is the producer's.
func (r *Runner) remember(m *message, sync bool, events []queue.Event) error {
	if err := r.take(m); err != nil {
		return err
	}
	list := make([]*queue.Event, len(events))
	for i := range events {
		list[i] = &events[i]
	}
	m.flags |= stateFlag
	err := r.Spool.AppendState(m.path(), sync, list...)
	if err != nil {
		r.log.Warn("state "+m.id, err)
	}
	return err
}

// take moves a message from in/ to its place in q/.
func (r *Runner) take(m *message) error {
	if m.name == "" || !strings.HasPrefix(m.name, "in/") {
		return nil
	}
	if r.Archive.Enabled && r.Archive.Required && m.flags&archivedFlag == 0 {
		return errNotArchived
	}
	name, err := r.Spool.Take(m.name)
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			r.log.Warn("take "+m.id, err)
		}
		return err
	}
	if m.name = name; name == queue.QPath(m.id)+"/"+m.id {
		m.name = ""
	}
	if m.live != nil {
		m.live.m.Name = name
	}
	return nil
}

// follow makes l.rcpts of l.st again, keeping what is under way.
func (l *live) follow(r *Runner, m *message) {
	n := len(l.st.Rcpts)
	before := l.rcpts
	if n == 1 && before == nil {
		l.rcpts = l.onePtr[:0]
	} else {
		l.rcpts = make([]*rcpt, 0, n)
	}
	for i := range l.st.Rcpts {
		s := &l.st.Rcpts[i]
		for len(before) > 0 && before[0].num.Compare(s.Num) < 0 {
			before = before[1:]
		}
		var c *rcpt
		switch {
		case len(before) > 0 && before[0].num == s.Num:
			c = before[0]
		case n == 1:
			c = &l.oneRcpt[0]
		default:
			c = new(rcpt)
		}
		if c.num = s.Num; !c.planned && c.flight == nil && !s.Next.IsZero() && s.Why != string(site.Reach) {
			c.due = r.moment(s.Next)
		}
		l.rcpts = append(l.rcpts, c)
	}
}

// longest is the longest a wall-clock time may keep a message waiting before it is looked at again: clocks step.
const longest = 10 * time.Minute

// moment is a wall-clock time as the scheduler has it; the past is now.
func (r *Runner) moment(t time.Time) site.Time {
	now := r.now()
	d := time.Until(t)
	if d <= 0 {
		return now
	}
	return now + min(d, 13*time.Hour)
}

// owed reports whether recipient i still has to be tried or reported.
func (l *live) owed(i int) bool { return !l.st.Rcpts[i].Done && !l.st.Rcpts[i].Expanded }

// plan routes every recipient that is owed and not under way, expanding aliases, and puts m in line where it has to go.
func (r *Runner) plan(m *message) error {
	l := m.live
	for i := 0; i < len(l.rcpts); i++ {
		c := l.rcpts[i]
		if !l.owed(i) || c.flight != nil || c.failed != nil || c.planned {
			continue
		}
		expanded, err := r.routeOne(m, i)
		if err != nil {
			return err
		}
		if expanded {
			i = -1 // the recipients have changed
		}
	}
	return nil
}

// routeOne routes recipient i.
func (r *Runner) routeOne(m *message, i int) (expanded bool, err error) {
	l, c := m.live, m.live.rcpts[i]
	s := &l.st.Rcpts[i]
	targets, err := r.Routes.Route(l.m.Env.From, s.To)
	if errors.Is(err, passwd.ErrWait) {
		return false, err
	}
	if err != nil {
		r.log.Warn("route "+m.id, err)
		res := status.Result{Outcome: status.Deferred, Code: 451, Enhanced: "4.3.0", Text: "cannot look up the address now"}
		return false, r.deferRcpt(m, i, route.LocalSite, "", res)
	}
	t := targets[0]
	if len(targets) > 1 {
		itself := l.itself(s, targets)
		if itself == nil {
			return true, r.expand(m, i, targetPaths(targets))
		}
		t = *itself
	}
	c.planned = true
	c.to, c.sites, c.domain, c.outside, c.unix = t.To, t.Sites, t.Domain, t.Outside, t.Unix
	c.derived = s.Num.Sub > 0 || t.To != s.To
	if t.Result != nil {
		switch t.Result.Outcome {
		case status.Delivered:
			return false, r.thrownAway(m, i, *t.Result)
		case status.Deferred:
			return false, r.deferRcpt(m, i, "", "", *t.Result)
		}
		r.fail(m, i, &failure{result: *t.Result})
		return false, nil
	}
	if c.outside && c.derived {
		sender, changed, err := r.Routes.Sender(l.m.Env.From)
		if err != nil {
			res := status.Result{Outcome: status.Deferred, Code: 451, Enhanced: "4.3.0", Text: "cannot look up the sender now"}
			return false, r.deferRcpt(m, i, route.LocalSite, "", res)
		}
		if changed {
			c.sender = &sender
		}
	}
	return false, nil
}

// itself is the mailbox of a recipient that an alias has led to before, if it is an alias of its own that keeps a copy ("alice: alice,
// bob") and the others have been added already.
func (l *live) itself(s *queue.RcptState, targets []route.Target) (itself *route.Target) {
	if s.Num.Sub == 0 {
		return nil
	}
	for i := range targets {
		t := &targets[i]
		if t.To == s.To && t.Local() {
			itself = t
		} else if !slices.ContainsFunc(l.st.Rcpts, func(r queue.RcptState) bool { return r.Num.N == s.Num.N && r.To == t.To }) {
			return nil
		}
	}
	return itself
}

func targetPaths(targets []route.Target) []address.Path {
	paths := make([]address.Path, len(targets))
	for i := range targets {
		paths[i] = targets[i].To
	}
	return paths
}

// expand replaces recipient i by targets: written down and synced before any of them is tried.
func (r *Runner) expand(m *message, i int, targets []address.Path) error {
	l := m.live
	s := &l.st.Rcpts[i]
	before := len(l.st.Rcpts)
	num, to, params := s.Num, s.To, s.Params
	ev := queue.Event{Time: time.Now(), ID: m.id, Kind: queue.Expand, Num: num, To: to, Targets: targets}
	if err := r.remember(m, true, []queue.Event{ev}); err != nil {
		return err
	}
	r.add(m, &ev)
	r.log.Expand(m.id, to, len(targets))
	l.st.Add(&ev)
	l.follow(r, m)
	if limit := max(1, r.Conf.MaxExpansion); len(l.st.Rcpts)-before > limit || subs(l.st, num.N) > limit {
		for i := range l.st.Rcpts { // forwards that lead to forwards
			if l.st.Rcpts[i].Num.N == num.N && l.owed(i) && l.rcpts[i].flight == nil {
				r.fail(m, i, &failure{result: status.Result{Outcome: status.Failed, Code: 554, Enhanced: "5.4.6", Text: "forwards lead to too many addresses"}})
			}
		}
	}
	if len(targets) > 1 {
		r.reportSuccess(m, num, to, params, 'x', "expanded", "", status.Result{Code: 250, Enhanced: "2.0.0", Text: "expanded to several addresses"})
	}
	return nil
}

func subs(st *queue.State, n int) (most int) {
	for i := range st.Rcpts {
		if st.Rcpts[i].Num.N == n {
			most++
		}
	}
	return most
}

// siteOf is the site key recipient c goes to now: the first that is not down.
func (r *Runner) siteOf(c *rcpt) string {
	for i, key := range c.sites {
		if c.domain != "" && i == 0 || strings.HasPrefix(key, "mx:") {
			if d, ok := r.domains[strings.TrimPrefix(key, "mx:")]; ok && d.key != "" && r.now() < d.until {
				key = d.key
			}
		}
		if x := r.remote.Lookup(key); i == len(c.sites)-1 || x == nil || !x.Down() {
			return key
		}
	}
	return ""
}

// schedulerOf is the pool a site belongs to.
func (r *Runner) schedulerOf(key string) *site.Scheduler {
	if route.Local(key) || key == lookSite {
		return r.local
	}
	return r.remote
}

// line puts m in line at every site it has recipients for.
func (r *Runner) line(m *message) {
	l := m.live
	now := r.now()
	for i, c := range l.rcpts {
		if !l.owed(i) || c.flight != nil || c.failed != nil {
			continue
		}
		if !c.planned {
			continue
		}
		r.lineAt(m, r.siteOf(c), c, int(l.st.Rcpts[i].Attempts), now)
		c.forced = false
	}
}

// lineAt makes sure that m is in line at a site when c is due.
func (r *Runner) lineAt(m *message, key string, c *rcpt, attempts int, now site.Time) {
	var free *site.Item
	have := false
	m.each(func(it *site.Item) {
		switch {
		case it.Idle():
			if free == nil {
				free = it
			}
		case !it.Running() && it.Site().Key == key && !have:
			have = true
			it.Forced = it.Forced || c.forced
			r.schedulerOf(key).Sooner(it, c.due, now)
		}
	})
	if have {
		return
	}
	if free == nil {
		free = new(site.Item)
		m.more = append(m.more, free)
	}
	env := m.live.m.Env
	*free = site.Item{Owner: m, Flow: r.flowOf(env), Class: m.class(env), Attempts: uint16(min(attempts, 1<<15)),
		Cost: float32(1 + float64(m.live.m.Size)/(64<<10)), MiB: float32(max(1, m.live.m.Size>>20))}
	free.Forced = c.forced
	r.schedulerOf(key).Add(free, key, c.due, now)
}

// class is the class of an envelope; only those we know may choose it (RFC 6710 section 5).
func (m *message) class(env *queue.Envelope) site.Class {
	if env.From.IsNull() {
		return site.DSN
	}
	return site.ParseClass(env.Class)
}

// flowOf is whose share of a site a message uses.
func (r *Runner) flowOf(env *queue.Envelope) string {
	switch {
	case env.Flow != "":
		return env.Flow
	case env.Auth != "":
		return env.Auth
	case env.From.Domain != "":
		return env.From.Domain
	}
	return ""
}

// shut closes the messages of this turn that nothing is in flight for.
func (r *Runner) shut() {
	for _, m := range r.opened {
		if m.live != nil && m.live.flights == 0 && m.live.failed == 0 {
			r.close(m)
		}
	}
	clear(r.opened)
	r.opened = r.opened[:0]
}

// close forgets what was read of m.
func (r *Runner) close(m *message) {
	if l := m.live; l != nil {
		if l.file != nil {
			l.file.Close()
		}
		m.live = nil
	}
}

// has reports whether something is still owed for m.
func (r *Runner) has(m *message) bool { return r.messages[m.id] == m && m.flags&endedFlag == 0 }

// leave takes m out of every line; its file goes, and it is forgotten, when the journal has its end.
func (r *Runner) leave(m *message, alone bool) {
	r.going = append(r.going, going{m, m.path(), alone})
	m.flags |= endedFlag
	r.close(m)
	r.unline(m)
}

// unline takes m out of every line.
func (r *Runner) unline(m *message) {
	now := r.now()
	m.each(func(it *site.Item) {
		if !it.Idle() && !it.Running() {
			r.schedulerOf(it.Site().Key).Remove(it, now)
		}
	})
}

// forget drops a message from memory.
func (r *Runner) forget(m *message) {
	r.close(m)
	r.unline(m)
	if r.messages[m.id] != m {
		return
	}
	delete(r.messages, m.id)
	last := len(r.all) - 1
	r.all[m.index] = r.all[last]
	r.all[m.index].index = m.index
	r.all[last] = nil
	r.all = r.all[:last]
}

// age is how long we owe m, not counting time when we did not run or the clock lied.
func (r *Runner) age(m *message) time.Duration {
	return r.now() - time.Duration(m.born)*time.Second
}
