package run

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"pennypost/internal/address"
	"pennypost/internal/status"
	"pennypost/queue"
	"pennypost/queue/dsn"
	"pennypost/queue/route"
	"pennypost/queue/site"
)

// fail gives recipient i up.
func (r *Runner) fail(m *message, i int, f *failure) {
	m.live.rcpts[i].failed = f
	m.live.rcpts[i].planned = false
	if m.live.rcpts[i].to.IsNull() {
		m.live.rcpts[i].to = m.live.st.Rcpts[i].To
	}
	r.owe(m)
}

// owe notes that m has a failure that is not reported.
func (r *Runner) owe(m *message) {
	l := m.live
	if l.failed == 0 {
		l.failedAt = r.now()
		r.owing = append(r.owing, m)
	}
	l.failed++
}

// bounces counts the reports to one address in an hour.
type bounces struct {
	since site.Time
	n     int
}

// report sends the report about the recipients given up, or decides that none goes; then they are done. The report is in the
// spool and synced before the journal says bounce.
func (r *Runner) report(m *message) {
	l := m.live
	list, events := r.failures(m)
	what, why := r.judge(m, list)
	id := ""
	switch what {
	case send:
		sent, err := r.queueReport(m, list, queue.Derived(m.id, 'b', l.st.Bounces+1), l.m)
		if err != nil {
			r.log.Warn("report "+m.id, err)
			l.failedAt = r.now() // try again in a minute
			return
		}
		id = sent
	case double:
		sent, err := r.doubleBounce(m, list)
		if err != nil {
			r.log.Warn("report "+m.id, err)
			l.failedAt = r.now()
			return
		}
		id = sent
	case hold:
		r.log.NoReport(m.id, l.m.Env.From, why)
		if r.onlyFailures(l) {
			for i := range events {
				r.add(m, &events[i])
			}
			r.putAside(m, why)
			return
		}
	default:
		if why != "" {
			r.log.NoReport(m.id, l.m.Env.From, why)
		}
	}
	for i := range events {
		ev := &events[i]
		ev.DSN = id
		if ev.Kind == queue.Expire {
			r.log.Expire(m.id, ev.To, ev.Status, r.age(m), id)
			r.add(m, ev)
			ev.Kind = queue.Bounce
		} else {
			r.log.Bounce(m.id, ev.To, ev.Site, ev.Host, ev.Status, ev.Attempt, id)
		}
		r.add(m, ev)
		l.st.Add(ev)
	}
	for _, c := range l.rcpts {
		c.failed = nil
	}
	l.failed = 0
	if r.owes(l) {
		r.remember(m, true, events)
	}
}

// failures are the blocks of the report and the events that follow it.
func (r *Runner) failures(m *message) (list []dsn.Recipient, events []queue.Event) {
	l := m.live
	now := time.Now()
	for i, c := range l.rcpts {
		f := c.failed
		if f == nil || !l.owed(i) {
			continue
		}
		s := &l.st.Rcpts[i]
		to := c.to
		if to.IsNull() {
			to = s.To
		}
		list = append(list, dsn.Recipient{To: to, Params: s.Params, Action: dsn.Failed, Result: f.result, Host: f.host, LastAttempt: now})
		ev := queue.Event{Time: now, ID: m.id, Kind: queue.Bounce, Num: c.num, To: to, Site: f.site, Host: f.host, Status: f.result, Attempt: s.Attempts}
		if f.expire {
			ev.Kind = queue.Expire
		} else {
			ev.Attempt++
		}
		events = append(events, ev)
	}
	return list, events
}

// What becomes of a report.
type verdict uint8

const (
	none verdict = iota
	send
	hold   // put the message aside instead
	double // tell double_bounce
)

// judge decides whether the sender is told.
func (r *Runner) judge(m *message, list []dsn.Recipient) (verdict, string) {
	env := m.live.m.Env
	if env.From.IsNull() {
		switch {
		case r.tellsPostmaster(m, list):
			return double, ""
		case strings.HasPrefix(env.Via, "bounce"):
			return hold, "a report that cannot be delivered"
		}
		return none, "the null sender is told nothing"
	}
	if len(dsn.Wanted(m.live.m, list)) == 0 {
		return none, ""
	}
	if r.Conf.BounceUnverified != "send" && !r.vouched(env) {
		return hold, "a report to an outside sender nobody vouches for (queue.bounce_unverified)"
	}
	if r.tooManyReports(env.From) {
		return hold, "too many reports an hour to this sender (queue.bounce_rate)"
	}
	return send, ""
}

// tellsPostmaster reports whether queue.double_bounce hears of a report, or other mail of the null sender, that failed. It does not if
// it is what fails itself.
func (r *Runner) tellsPostmaster(m *message, list []dsn.Recipient) bool {
	to, err := address.Parse(r.Conf.DoubleBounce)
	if r.Conf.DoubleBounce == "" || err != nil || strings.Count(m.id, ".") > 1 {
		return false
	}
	for i := range list {
		if list[i].To == to {
			return false
		}
	}
	for _, rc := range m.live.m.Env.Rcpts {
		if rc.To == to {
			return false
		}
	}
	return !r.tooManyReports(to)
}

// vouched reports whether we know that the reverse-path is the sender's: he logged in, is local, or passed SPF or DKIM.
func (r *Runner) vouched(env *queue.Envelope) bool {
	via, _, _ := strings.Cut(env.Via, " ")
	if env.Auth != "" || via != "mx" && via != "adopt" && via != "lmtp" {
		return true
	}
	domain := env.From.DomainUnicode()
	for _, check := range strings.Fields(env.Checks) {
		key, value, _ := strings.Cut(check, "=")
		word, by, _ := strings.Cut(value, ":")
		if word != "pass" {
			continue
		}
		if key == "client" || key == "spf" || key == "dmarc" || key == "dkim" && (by == domain || strings.HasSuffix(domain, "."+by) && by != "") {
			return true
		}
	}
	return false
}

func (r *Runner) tooManyReports(to address.Path) bool {
	limit := r.Conf.BounceRate
	if limit <= 0 {
		return false
	}
	now := r.now()
	b := r.bounced[to.String()]
	if b == nil || now-b.since > time.Hour {
		b = &bounces{since: now}
		r.bounced[to.String()] = b
	}
	b.n++
	return b.n > limit
}

// onlyFailures reports whether nothing but failures is left of the message.
func (r *Runner) onlyFailures(l *live) bool {
	for i, c := range l.rcpts {
		if l.owed(i) && c.failed == nil {
			return false
		}
	}
	return true
}

// queueReport writes a report about m into the spool; "" if the sender wants none of it.
func (r *Runner) queueReport(m *message, list []dsn.Recipient, id string, about *queue.Message) (string, error) {
	list = dsn.Wanted(about, list)
	if len(list) == 0 {
		return "", nil
	}
	if r.made[id] || r.ended[id] {
		return id, nil // made by an earlier runner that did not come to write it down, and perhaps delivered already
	}
	r.clearTorn(id)
	file, err := r.Spool.Disk.Open(m.path())
	if err != nil {
		return "", err
	}
	defer file.Close()
	copied := *about
	copied.File = file
	env, err := dsn.Queue(r.Spool, &dsn.Report{ID: id, Host: r.Host, From: address.Path{Local: "MAILER-DAEMON", Domain: r.Host},
		Message: &copied, Recipients: list, Now: time.Now()})
	if err != nil {
		return "", err
	}
	r.reported = true
	r.pending = append(r.pending, queue.Found{Name: "in/bounce/new/" + env.ID, ID: env.ID, Hint: true})
	return env.ID, nil
}

// clearTorn puts aside a report that the power cut tore and the scan has not come to: it would pass for one that is there.
func (r *Runner) clearTorn(id string) {
	name := "in/bounce/new/" + id
	if r.messages[id] != nil {
		return
	}
	qm, err := r.Spool.Load(name, true)
	if err == nil {
		qm.Close()
	} else if errors.Is(err, queue.ErrBad) {
		r.log.Bad(name, err.Error())
		if err := r.Spool.Bad(name, err.Error()); err != nil {
			r.log.Warn("bad "+name, err)
		}
	}
}

// doubleBounce tells the postmaster of a report that cannot be delivered.
func (r *Runner) doubleBounce(m *message, list []dsn.Recipient) (string, error) {
	to, err := address.Parse(r.Conf.DoubleBounce)
	if err != nil {
		return "", fmt.Errorf("queue.double_bounce: %w", err)
	}
	about := *m.live.m
	env := *about.Env
	env.From = to
	about.Env = &env
	for i := range list {
		list[i].Params = ""
	}
	return r.queueReport(m, list, queue.Derived(m.id, 'b', m.live.st.Bounces+1), &about)
}

// delivered sends the report of success where it was asked for (RFC 3461 section 4.1) and nobody after us will.
func (r *Runner) delivered(m *message, c *rcpt, s *queue.RcptState, key string, g *got) {
	if !strings.Contains(strings.ToUpper(s.Params), "NOTIFY=") || c.num.Sub > 0 || len(g.forwards) > 1 {
		return
	}
	switch {
	case route.Local(key):
		r.reportSuccess(m, c.num, c.to, s.Params, 's', dsn.Delivered, g.host, g.result)
	case !g.passed:
		r.reportSuccess(m, c.num, c.to, s.Params, 's', dsn.Relayed, g.host, g.result)
	}
}

// reportSuccess queues a report that is no failure. It is lost rather than sent twice.
func (r *Runner) reportSuccess(m *message, num queue.Num, to address.Path, params string, kind byte, action dsn.Action, host string, result status.Result) {
	if num.Sub > 0 || !strings.Contains(strings.ToUpper(params), "SUCCESS") || m.live.m.Env.From.IsNull() || !r.vouched(m.live.m.Env) {
		return
	}
	rc := dsn.Recipient{To: to, Params: params, Action: action, Result: result, Host: host, LastAttempt: time.Now()}
	if _, err := r.queueReport(m, []dsn.Recipient{rc}, queue.Derived(m.id, kind, max(1, num.N)), m.live.m); err != nil {
		r.log.Warn("report "+m.id, err)
	}
}

// expiry is how long we try.
func (r *Runner) expiry(m *message) time.Duration {
	switch {
	case m.live != nil && m.live.m.Env.From.IsNull():
		return r.Conf.BounceExpire
	case m.item.Class == site.Bulk || m.live != nil && site.ParseClass(m.live.m.Env.Class) == site.Bulk:
		return r.Conf.BulkExpire
	case m.flags&bounceFlag != 0:
		return min(r.Conf.BounceExpire, r.Conf.BulkExpire)
	}
	return r.Conf.Expire
}

// expireOrWarn gives up what is too old, and tells the sender once of what takes long.
func (r *Runner) expireOrWarn(m *message) {
	l := m.live
	age := r.age(m)
	if limit := r.expiry(m); age > limit && r.triedSinceStart(m) {
		for i, c := range l.rcpts {
			if !l.owed(i) || c.flight != nil || c.failed != nil {
				continue
			}
			last := r.lastWord(m, i)
			text := "not delivered in " + limit.String()
			if last.Text != "" {
				text += ", last: " + last.Text
			}
			r.fail(m, i, &failure{expire: true, host: l.st.Rcpts[i].Host, site: l.st.Rcpts[i].Site,
				result: status.Result{Outcome: status.Failed, Code: last.Code, Enhanced: "4.4.7", Text: text}})
		}
		return
	}
	if d := r.Conf.DelayDSN; d > 0 && age > d && m.flags&delayedFlag == 0 && l.flights == 0 && r.mayWarn() {
		r.warn(m)
	}
}

// mayWarn paces delay notices, each of which syncs twice: a queue that has waited for hours can wait for the next sweep, new mail cannot.
func (r *Runner) mayWarn() bool {
	gap := 20 * time.Millisecond
	if r.busy() {
		gap = 500 * time.Millisecond
	}
	now := r.now()
	if r.warnedAt != 0 && now-r.warnedAt < gap {
		return false
	}
	r.warnedAt = now
	return true
}

// lastWord is why recipient i is still here: what was said of it, or of its site while it was parked there.
func (r *Runner) lastWord(m *message, i int) status.Result {
	c, s := m.live.rcpts[i], &m.live.st.Rcpts[i]
	if s.Attempts > 0 || s.Last.Text != "" || !c.planned {
		return s.Last
	}
	key := r.siteOf(c)
	x, t := r.remote.Lookup(key), r.told[key]
	if x == nil || !x.Down() || t == nil || t.text == "" {
		return s.Last
	}
	return status.Result{Outcome: status.Deferred, Code: leadingCode(t.text), Enhanced: "4.4.1", Text: t.text}
}

// triedSinceStart reports whether a message had a chance since this runner began: its own attempt, or its site's probe. After an outage of
// ours everything is tried once before it expires.
func (r *Runner) triedSinceStart(m *message) bool {
	if m.flags&triedFlag != 0 {
		return true
	}
	tried := false
	m.each(func(it *site.Item) { tried = tried || !it.Idle() && it.Site().Tried() })
	return tried
}

// warn queues the notice of delay (RFC 3461 section 4.1). The journal has it before it goes, so there is at most one.
func (r *Runner) warn(m *message) {
	l := m.live
	m.flags |= delayedFlag
	env := l.m.Env
	if env.From.IsNull() || m.item.Class == site.Bulk || !r.vouched(env) {
		return
	}
	var list []dsn.Recipient
	until := time.Now().Add(r.expiry(m) - r.age(m))
	for i, c := range l.rcpts {
		s := &l.st.Rcpts[i]
		if last := r.lastWord(m, i); l.owed(i) && c.failed == nil && last.Text != "" {
			list = append(list, dsn.Recipient{To: s.To, Params: s.Params, Action: dsn.Delayed, Result: last, Host: s.Host,
				LastAttempt: time.Now(), RetryUntil: until})
		}
	}
	if len(list) == 0 {
		m.flags &^= delayedFlag
		return
	}
	id := queue.Derived(m.id, 'w', 1)
	ev := queue.Event{Time: time.Now(), ID: m.id, Kind: queue.Delay, DSN: id}
	if err := r.remember(m, true, []queue.Event{ev}); err != nil {
		return
	}
	r.add(m, &ev)
	l.st.Add(&ev)
	sent, err := r.queueReport(m, list, id, l.m)
	if err != nil {
		r.log.Warn("report "+m.id, err)
	} else if sent != "" {
		r.log.Delay(m.id, env.From, sent)
	}
}

var errNotOurs = errors.New("no such message here")
