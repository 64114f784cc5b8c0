package maillog

import (
	"time"

	"pennypost/internal/address"
	"pennypost/internal/status"
)

// Open is a connection that deliver-remote has opened to a host of a site; tls is "" without TLS.
func (l *Log) Open(site, host, tls string, took time.Duration) {
	l.event("open", "").where(site, host).str("tls", tls).span("took", took).end()
}

// OpenFail is one that it could not open.
func (l *Log) OpenFail(site, host string, err error) {
	l.event("open-fail", "").where(site, host).err(err)
}

// Attempt is one recipient's answer as a delivery program gives it; queue-run logs what
// follows from it. event is deliver, defer or bounce.
func (l *Log) Attempt(id string, to address.Path, host string, r status.Result) {
	l.event("attempt", id).path("to", to).str("outcome", r.Outcome.String()).str("host", host).result(r).end()
}

// File is a message put into a Maildir; how is link, copy or repeat.
func (l *Log) File(id string, to address.Path, folder, how string, size int64) {
	l.event("file", id).path("to", to).str("folder", folder).str("how", how).num("size", size).end()
}

// Ran is a program line of a forward file that has run.
func (l *Log) Ran(id string, to address.Path, program string, err error) {
	l.event("program", id).path("to", to).str("program", program).err(err)
}

// Forward is one recipient whose forward file sends it on.
func (l *Log) Forward(id string, to, target address.Path) {
	l.event("forward", id).path("to", to).path("target", target).end()
}

// Quota is an account that went over its quota, or came back.
func (l *Log) Quota(user, state string, used, limit, messages, most int64) {
	e := l.event("quota", "").str("user", user).str("state", state)
	if limit > 0 {
		e = e.num("used", used).num("limit", limit)
	}
	if most > 0 {
		e = e.num("messages", messages).num("most", most)
	}
	e.end()
}
