package maillog

import (
	"time"

	"pennypost/internal/address"
	"pennypost/internal/status"
)

// result adds what an attempt gave: the codes and the words.
func (n line) result(r status.Result) line {
	return n.str("status", r.Enhanced).count("code", int64(r.Code)).str("why", r.Text)
}

// where adds the site and the remote host; host is NAME[ADDRESS], "" when we decided ourselves.
func (n line) where(site, host string) line { return n.str("site", site).str("host", host) }

// Route is where a recipient will go.
func (l *Log) Route(id string, to address.Path, site string) {
	l.event("route", id).path("to", to).str("site", site).end()
}

// Expand is a recipient replaced by the targets of its alias, forward or list.
func (l *Log) Expand(id string, to address.Path, targets int) {
	l.event("expand", id).path("to", to).num("targets", int64(targets)).end()
}

// Deliver is one recipient done; tls is what it did on the way to another host, delay is since acceptance.
func (l *Log) Deliver(id string, to address.Path, site, host, tls string, r status.Result, attempt int, delay time.Duration) {
	l.event("deliver", id).path("to", to).where(site, host).str("tls", tls).result(r).num("attempt", int64(attempt)).span("delay", delay).end()
}

// Defer is one recipient to be tried again after next; cause is one word (greylist, quota, dns, tls, site, policy).
func (l *Log) Defer(id string, to address.Path, site, host string, r status.Result, attempt int, next time.Duration, cause string) {
	l.event("defer", id).path("to", to).str("status", r.Enhanced).count("code", int64(r.Code)).span("next", next).
		str("why", r.Text).str("cause", cause).where(site, host).num("attempt", int64(attempt)).end()
}

// Bounce is one recipient given up; report is the id of the DSN, "" when none is owed.
func (l *Log) Bounce(id string, to address.Path, site, host string, r status.Result, attempt int, report string) {
	l.event("bounce", id).path("to", to).where(site, host).result(r).num("attempt", int64(attempt)).str("report", report).end()
}

// Delay is a delay notice queued for the sender.
func (l *Log) Delay(id string, from address.Path, report string) {
	l.event("delay", id).path("from", from).str("report", report).end()
}

// Expire is one recipient given up because its time is over.
func (l *Log) Expire(id string, to address.Path, r status.Result, age time.Duration, report string) {
	l.event("expire", id).path("to", to).result(r).span("age", age).str("report", report).end()
}

// Hold is a message put aside, by a person, a rule or because it cannot be handled.
func (l *Log) Hold(id, why string) { l.event("hold", id).str("why", why).end() }

// Release is a message taken back from hold.
func (l *Log) Release(id string) { l.event("release", id).end() }

// Remove is a message removed without a report: an admin's wish, or a file that went away.
func (l *Log) Remove(id, why string) { l.event("remove", id).str("why", why).end() }

// End is a message that nothing is owed for any more.
func (l *Log) End(id string, attempts int, delay time.Duration) {
	l.event("end", id).num("attempts", int64(attempts)).span("delay", delay).end()
}

// Bad is a file that is no message, put into bad/.
func (l *Log) Bad(file, why string) { l.event("bad", "").str("file", file).str("why", why).end() }

// NoReport is a DSN that is owed to nobody, or kept back: of a bounce, to a sender nobody
// vouches for, above the rate.
func (l *Log) NoReport(id string, from address.Path, why string) {
	l.event("no-report", id).path("from", from).str("why", why).end()
}

// Site is a change in what we think of a destination: ok, slow, parked, paused.
func (l *Log) Site(site, state string, next time.Duration, why string) {
	n := l.event("site", "").str("site", site).str("state", state)
	if next > 0 {
		n = n.span("next", next)
	}
	n.str("why", why).end()
}

// Outbound is an account that has sent too much and is held, or is no longer.
func (l *Log) Outbound(user, state, why string) {
	l.event("outbound", "").str("user", user).str("state", state).str("why", why).end()
}

// Worker is a delivery program started, or gone: err then says how.
func (l *Log) Worker(program string, pid int, err error) {
	l.event("worker", "").str("program", program).count("pid", int64(pid)).err(err)
}

// Scan is the end of a look through the spool: the messages found, how many of them new to us, and the time it took.
func (l *Log) Scan(messages, fresh int, took time.Duration) {
	l.event("scan", "").num("messages", int64(messages)).num("new", int64(fresh)).span("took", took).end()
}
