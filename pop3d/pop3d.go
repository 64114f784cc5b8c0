/*
Package pop3d serves Maildirs by POP3: RFC 1939 with CAPA (2449), STLS (2595), AUTH (5034) and
its response codes (2449, 3206), UTF8 and LANG (6856). pop3d(8) is its manual.

	pop3d.go          Server: connections in, sessions out
	serve.go          from mail.toml and sockets to a Server at work
	session.go        one connection: reads commands, batches replies
	commands.go       the table: which command in which state
	login.go          from the AUTHORIZATION state (package front) to a session
	handover.go       sessions that have logged in elsewhere
	transaction.go    the TRANSACTION state: STAT LIST UIDL RETR TOP DELE RSET
	update.go         the UPDATE state: what DELE marked is removed at QUIT, and only then
	maildrop.go       the messages of a session, as they were at login
	send.go           LF to CRLF, dots stuffed, a block at a time

A session is a view of INBOX (package mailbox) taken at login. RFC 1939 wants the maildrop locked; here it is
not: other sessions, imapd, mutt and deliver-local work on at the same time, and a message somebody else
has removed is -ERR for that message alone. Nothing is moved, renamed or marked by reading it.
A connection that ends without QUIT removes nothing; what QUIT removes can be brought back for some days.
*/
package pop3d

import (
	"context"
	"crypto/tls"
	"net/netip"
	"time"

	"pennypost/internal/domains"
	"pennypost/internal/listen"
	"pennypost/internal/maillog"
	"pennypost/login"
)

// Checker says who is there; *login.Checker is one.
type Checker interface {
	Check(ctx context.Context, r login.Request) (*login.Identity, error)
}

// Server serves connections. Its fields are not changed while it does.
type Server struct {
	Hostname     string
	Checker      Checker
	Domains      *domains.Domains // of those who have logged in elsewhere
	TLS          *tls.Config      // nil: there is no TLS
	Clear        []netip.Prefix   // from there clients may log in without it
	Stamp        string           // of a mounted store, as in package maildir
	ExpungedDays int              // how long what was removed can be brought back; 0 not at all
	State        string           // state/over is below it
	IdleTime     time.Duration    // RFC 1939 section 3: at least ten minutes
	Limits       listen.Limits
	Log          *maillog.Log
}
