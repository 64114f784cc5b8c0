package maillog

import (
	"pennypost/internal/address"
)

// Connect is a client that connected; name is what DNS calls its address, "" if nothing.
func (l *Log) Connect(service, ip, name string) {
	l.event("connect", "").str("service", service).str("ip", ip).str("name", name).end()
}

// TLS is a handshake that succeeded: the version and the cipher suite, and the name the client asked for.
func (l *Log) TLS(ip, version, cipher, name string) {
	l.event("tls", "").str("ip", ip).str("version", version).str("cipher", cipher).str("name", name).end()
}

// TLSFail is a handshake that did not.
func (l *Log) TLSFail(ip string, err error) {
	l.event("tls-fail", "").str("ip", ip).err(err)
}

// Stress is connections of a service having become scarce, or no longer being so.
func (l *Log) Stress(service string, on bool, open, most int) {
	state := "off"
	if on {
		state = "on"
	}
	l.event("stress", "").str("service", service).str("state", state).num("open", int64(open)).num("of", int64(most)).end()
}

// Refuse is a connection that was turned away, at its start or later (421): too many, too slow, too many errors.
func (l *Log) Refuse(service, ip, why string) {
	l.event("refuse", "").str("service", service).str("ip", ip).str("why", why).end()
}

// AuthFail is a login that failed. The line is stable: programs count it (interfaces.md).
func (l *Log) AuthFail(ip, user string) {
	l.event("auth-fail", "").str("ip", ip).str("user", user).end()
}

// Auth is a login that succeeded; by is whose credential it was, where it was a master user's.
func (l *Log) Auth(ip, user, by, mechanism string) {
	n := l.event("auth", "").str("ip", ip).str("user", user)
	if by != "" {
		n = n.str("by", by)
	}
	n.str("mechanism", mechanism).end()
}

// Accept is a message we answered 250 for. rcpts is how many recipients it has; via is the
// producer and the protocol ("mx esmtps"), user who logged in; checks is what came of SPF, DKIM and DMARC, and why what is wrong
// with the message all the same.
func (l *Log) Accept(id string, from address.Path, rcpts int, size int64, via, ip, user, checks, why string) {
	l.event("accept", id).path("from", from).num("rcpts", int64(rcpts)).num("size", size).
		str("via", via).str("ip", ip).str("user", user).str("checks", checks).str("why", why).end()
}

// Reject is a command of a transaction that was refused. from and to are what is known of it;
// the zero path is not logged as to, there is no such recipient. checks is what came of SPF, DKIM and DMARC, as far as a message was judged.
func (l *Log) Reject(ip string, from, to address.Path, code int, enhanced, text, checks string) {
	n := l.event("reject", "").str("ip", ip).path("from", from)
	if !to.IsNull() {
		n = n.path("to", to)
	}
	n.num("code", int64(code)).str("status", enhanced).str("why", text).str("checks", checks).end()
}

// Disconnect is the end of a connection: how many messages it brought, and what ended it if it was not QUIT.
func (l *Log) Disconnect(service, ip string, messages int, err error) {
	l.event("disconnect", "").str("service", service).str("ip", ip).count("messages", int64(messages)).err(err)
}
