/*
Package imapd serves Maildirs by IMAP: RFC 9051 and RFC 3501, and the extensions STANDARDS.md lists. imapd(8) is its manual.

	imapd.go       Server: connections in, sessions out
	serve.go       from mail.toml and sockets to a Server at work
	session.go     one connection: reads commands, dispatches, flushes
	commands.go    the table: which command in which state, and what may be said with its answer
	reply.go       tagged and untagged responses
	sync.go        what has happened to the selected mailbox since it was last told
	capability.go  CAPABILITY, ENABLE, ID, NOOP, LOGOUT
	login.go       from login (package front) to a session
	handover.go    sessions that have logged in elsewhere
	select.go      SELECT, EXAMINE, CLOSE, UNSELECT, with CONDSTORE and QRESYNC
	mailboxes.go   CREATE, DELETE, RENAME, SUBSCRIBE, LIST, LSUB, STATUS, NAMESPACE
	…              one file for each family after that; the table names them

A session sees the selected mailbox through a view (package mailbox) that holds still while a command runs. What other
programs do in the meantime is told where RFC 9051 section 7.5.1 lets it be told; a message that is gone but not announced keeps its
number until then (selected.held).
*/
package imapd

import (
	"context"
	"crypto/tls"
	"net/netip"
	"sync"
	"time"

	"pennypost/imapd/front"
	"pennypost/internal/domains"
	"pennypost/internal/listen"
	"pennypost/internal/maillog"
	"pennypost/login"
	"pennypost/maildir/mailbox"
)

// Checker says who is there; *login.Checker is one.
type Checker interface {
	Check(ctx context.Context, r login.Request) (*login.Identity, error)
}

// Server serves connections. Its fields are not changed while it does.
type Server struct {
	Hostname string
	Checker  Checker
	Domains  *domains.Domains // nil: nobody shares mailboxes
	TLS      *tls.Config      // nil: there is no TLS
	Clear    []netip.Prefix   // from there clients may log in without it
	// Account opens the mail of somebody who has logged in; sessions of one account share what it gives.
	Account   func(id *login.Identity) (root string, o mailbox.Options)
	MaxSize   int64         // of a message appended: APPENDLIMIT
	IdleTime  time.Duration // autologout, at least 30 minutes (RFC 9051 section 5.4)
	LoginTime time.Duration // until login
	Limits    listen.Limits
	PerUser   int // sessions of one account at once; 0 any number
	Log       *maillog.Log

	mu       sync.Mutex
	accounts map[string]*shared
	sharers  map[string]sharers // by domain
	resting  int                // accounts that nobody uses
}

// shared is an account that sessions have open.
type shared struct {
	*mailbox.Account
	root  string
	users int
	kept  time.Duration // how long without users
	rest  *time.Timer   // until it is closed, because nobody uses it
}

// restTime is how long an account and its folders are kept open after its last session: clients that look once for new mail come back. restMost is how many
// are at most.
const (
	restTime = time.Minute
	restMost = 32
)

// open gives the account of somebody who logged in.
func (srv *Server) open(id *login.Identity) (*shared, error) {
	root, o := srv.Account(id)
	srv.mu.Lock()
	defer srv.mu.Unlock()
	a := srv.accounts[root]
	if a != nil && a.users == 0 && !a.Still() { // it was kept, and another has its place
		srv.retire(a)
		a = nil
	}
	if a != nil {
		if srv.PerUser > 0 && a.users >= srv.PerUser {
			return nil, front.ErrLimit
		}
		srv.rouse(a)
		a.users++
		return a, nil
	}
	account, err := mailbox.OpenAccount(root, o)
	if err != nil {
		return nil, err
	}
	if srv.accounts == nil {
		srv.accounts = map[string]*shared{}
	}
	a = &shared{Account: account, root: root, users: 1, kept: o.Rest}
	srv.accounts[root] = a
	return a, nil
}

// leave gives an account back.
func (srv *Server) leave(a *shared) {
	srv.mu.Lock()
	defer srv.mu.Unlock()
	if a.users--; a.users > 0 {
		return
	}
	if a.kept <= 0 || srv.resting >= restMost {
		delete(srv.accounts, a.root)
		a.Account.Close()
		return
	}
	srv.resting++
	var t *time.Timer
	t = time.AfterFunc(a.kept, func() {
		srv.mu.Lock()
		defer srv.mu.Unlock()
		if a.rest == t {
			srv.retire(a)
		}
	})
	a.rest = t
}

// rouse ends the rest of an account. srv.mu is held.
func (srv *Server) rouse(a *shared) {
	if a.rest != nil {
		a.rest.Stop()
		a.rest = nil
		srv.resting--
	}
}

// retire closes an account that rests. srv.mu is held.
func (srv *Server) retire(a *shared) {
	srv.rouse(a)
	delete(srv.accounts, a.root)
	a.Account.Close()
}
