package imapd

import (
	"context"
	"errors"
	"net"
	"net/netip"

	"pennypost/imapd/front"
	"pennypost/login"
	"pennypost/maildir/mailbox"
)

// loginVerbs are what package front answers, before login.
var loginVerbs = []verb{
	{"STARTTLS", fresh, nil, nothing, false},
	{"LOGIN", fresh, nil, nothing, false},
	{"AUTHENTICATE", fresh, nil, nothing, false},
}

// Handle serves one connection to its end: IMAP, or IMAPS where implicit is set.
func (srv *Server) Handle(ctx context.Context, conn net.Conn, implicit bool) {
	var account *shared
	f := &front.Server{Hostname: srv.Hostname, Checker: srv.Checker, TLS: srv.TLS, Clear: srv.Clear, LoginTime: srv.LoginTime, Sources: srv.Limits.Tables, Log: srv.Log}
	f.Enter = func(_ context.Context, l *front.Login) (err error) {
		account, err = srv.admit(l.Identity)
		return err
	}
	if l := f.Serve(ctx, conn, implicit); l != nil {
		srv.serve(ctx, l.Conn, l.Identity, account, hello{l.Tag, l.Remote, l.Early})
	}
}

// admit opens the account of somebody who has logged in.
func (srv *Server) admit(id *login.Identity) (*shared, error) {
	account, err := srv.open(id)
	if errors.Is(err, front.ErrLimit) {
		return nil, err // the client knows why
	}
	if err != nil {
		srv.Log.Warn("mailbox of "+id.Account.Path().String(), err)
	}
	if errors.Is(err, mailbox.ErrUnavailable) {
		err = front.ErrNotNow
	}
	return account, err
}

// hello is how a session begins.
type hello struct {
	tag    string // of the command that logged in; "": the server greets
	remote netip.Addr
	early  []byte // came after that command
}

// serve serves a session whose account is open, to its end.
func (srv *Server) serve(ctx context.Context, conn net.Conn, id *login.Identity, account *shared, h hello) {
	s := newSession(srv, conn)
	defer s.close()
	s.remote = h.remote
	s.reader.Untake(h.early)
	s.enter(id, account)
	s.unwatch = login.Watch(srv.Checker, id, func() {
		srv.Log.Refuse("imap", s.remote.String(), login.ErrRevoked.Error())
		conn.Close()
	})
	stop := context.AfterFunc(ctx, s.interrupt)
	defer stop()
	s.serve(ctx, h.tag)
}

// enter makes the session that of somebody who has logged in.
func (s *session) enter(id *login.Identity, account *shared) {
	s.id, s.account = id, account
	s.firstLogin()
}
