package pop3d

import (
	"context"
	"net"
	"net/netip"

	"pennypost/internal/listen"
	"pennypost/login"
	"pennypost/pop3d/front"
)

// Handle serves one connection to its end: POP3, or POP3S where implicit is set.
func (srv *Server) Handle(ctx context.Context, conn net.Conn, implicit bool) {
	var drop *maildrop
	f := &front.Server{Hostname: srv.Hostname, Checker: srv.Checker, TLS: srv.TLS, Clear: srv.Clear, IdleTime: srv.idle(), Sources: srv.Limits.Tables, Log: srv.Log}
	f.Enter = func(ctx context.Context, l *front.Login) (err error) {
		drop, err = srv.open(ctx, l.Identity)
		return err
	}
	if l := f.Serve(ctx, conn, implicit); l != nil {
		srv.serve(ctx, l.Conn, l.Identity, drop, hello{l.Remote, l.Early, l.SASL})
	}
}

// One serves the connection we were started for, and counts it with those of other processes.
func (srv *Server) One(ctx context.Context, conn net.Conn, service string) {
	listen.One(conn, srv.Limits.Of(service), func(c net.Conn) { srv.Handle(ctx, c, service == "pop3s") }, front.Refuse)
}

// open opens the maildrop of somebody who has logged in.
func (srv *Server) open(ctx context.Context, id *login.Identity) (*maildrop, error) {
	drop, err := openDrop(ctx, srv, id.Account)
	if err != nil {
		srv.Log.Warn("mailbox of "+id.Account.Path().String(), err)
	}
	return drop, err
}

// hello is how a session begins.
type hello struct {
	remote netip.Addr
	early  []byte // came after the login
	sasl   string // mechanisms that CAPA tells
}

// serve serves a session whose maildrop is open, to its end.
func (srv *Server) serve(ctx context.Context, conn net.Conn, id *login.Identity, drop *maildrop, h hello) {
	s := newSession(srv, conn, id, drop, h)
	defer s.close()
	s.unwatch = login.Watch(srv.Checker, id, func() {
		srv.Log.Refuse("pop3", s.ip, login.ErrRevoked.Error())
		conn.Close()
	})
	stop := context.AfterFunc(ctx, s.interrupt)
	defer stop()
	srv.Log.Login("pop3", s.ip, id.Account.Path().String(), len(drop.messages), 0)
	s.serve(ctx)
}

// capa answers CAPA (RFC 2449) after login.
func (s *session) capa([]string) string { return front.Capa(s.sasl) }

// lang answers LANG (RFC 6856 section 3).
func (s *session) lang(args []string) string { return front.Lang(args) }
