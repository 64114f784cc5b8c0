/*
Package maillogin is what strangers speak with: TLS, and IMAP and POP3 before login; maillogin(8) is its manual.

	client ── maillogin ── name, password or SASL ──▶ mailauthd ── after success: the session ──▶ imapd, pop3d
	             └───────────────── the client's connection, or what is inside its TLS ────────────┘

It can open no mail and no credential. What it has is the key of the certificate, and what passes while it passes: of sessions in clear the
descriptor itself goes to who serves the mail, and we are out of it; of TLS sessions we keep copying octets, see pipe.

	maillogin.go  Server: from mail.toml and sockets to connections that have logged in
	pipe.go       both ways between the client's TLS and who serves

Nothing lies on disk. When maillogin dies, its TLS sessions end, and clients log in again.
*/
package maillogin

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/netip"
	"path/filepath"
	"syscall"
	"time"

	imap "pennypost/imapd/front"
	"pennypost/internal/certs"
	"pennypost/internal/config"
	"pennypost/internal/listen"
	"pennypost/internal/maillog"
	"pennypost/login"
	pop3 "pennypost/pop3d/front"
)

// Sections are the sections of mail.toml that maillogin reads.
var Sections = []string{"login", "tls", "log", "maillogin"}

// Services are the names of what can be served: keys of [maillogin], arguments of --service, names of passed sockets.
var Services = []string{"imap", "imaps", "pop3", "pop3s"}

// Server serves connections until somebody else does.
type Server struct {
	Hostname  string
	Auth      *login.Client
	IMAP      *tls.Config // nil: there is no TLS
	POP3      *tls.Config
	Clear     []netip.Prefix // from there clients may log in without
	LoginTime time.Duration
	Limits    listen.Limits
	Log       *maillog.Log
}

// FromConfig is the server mail.toml describes, and its certificates; nil where there are none.
func FromConfig(conf *config.Config, log *maillog.Log) (*Server, *certs.Store, error) {
	if conf.Login.Socket == "" {
		return nil, nil, errors.New(conf.File + ": maillogin asks mailauthd, see login.socket in mail.toml(5)")
	}
	m := &conf.Maillogin
	srv := &Server{
		Hostname:  conf.Hostname,
		Auth:      &login.Client{Socket: conf.Login.Socket, Sessions: true},
		Clear:     conf.Login.Clear,
		LoginTime: m.LoginTime,
		Limits:    limits(conf, log),
		Log:       log,
	}
	store, err := certs.FromFiles(conf.TLS.Certificates, conf.TLS.Keys, func(err error) { log.Warn("certificate", err) })
	if store == nil || err != nil {
		return srv, nil, err
	}
	srv.IMAP = login.ClientTLS(store.Config("imap"), conf.Login.Certificates)
	srv.POP3 = login.ClientTLS(store.Config("pop3"), conf.Login.Certificates)
	return srv, store, nil
}

// limits is who is let in.
func limits(conf *config.Config, log *maillog.Log) listen.Limits {
	m := &conf.Maillogin
	return listen.Limits{Total: m.MaxConnections, PerIPv4: m.PerIPv4, PerIPv6: m.PerIPv6, PerSite: m.PerSite,
		Connects: listen.Rate(m.ConnectRate), Proxies: m.ProxyNetworks,
		Tables: &listen.Tables{Dir: filepath.Join(conf.Run, "sources", "maillogin"), Warn: log.Warn}}.Logged(log)
}

// Listen serves the sockets handed to us, else those of the flags ("imaps=127.0.0.1:993"), else those of mail.toml.
func (srv *Server) Listen(ctx context.Context, m *config.Maillogin, flags []string) error {
	listeners, err := listen.Services(map[string][]string{"imap": m.IMAP, "imaps": m.IMAPS, "pop3": m.POP3, "pop3s": m.POP3S}, flags, "maillogin.imaps")
	if err != nil {
		return err
	}
	if srv.IMAP == nil && len(listeners["imaps"])+len(listeners["pop3s"]) > 0 {
		return errors.New("imaps and pop3s need a certificate, see tls.certificates in mail.toml(5)")
	}
	for name, on := range listeners {
		for _, l := range on {
			srv.Log.Start(name, l.Addr().String())
		}
	}
	go tidy(ctx)
	return listen.ServeAll(ctx, listeners, srv.Limits, func(service string, c net.Conn) { srv.Handle(ctx, c, service) }, refuse)
}

// One serves the connection we were started for, and counts it with those of other processes.
func (srv *Server) One(ctx context.Context, conn net.Conn, service string) {
	listen.One(conn, srv.Limits.Of(service), func(c net.Conn) { srv.Handle(ctx, c, service) }, func(c net.Conn) { refuse(service, c) })
}

func refuse(service string, c net.Conn) {
	if service == "imap" || service == "imaps" {
		imap.Refuse(c)
	} else {
		pop3.Refuse(c)
	}
}

// Handle serves one connection to its end, or until it is somebody else's.
func (srv *Server) Handle(ctx context.Context, conn net.Conn, service string) {
	var p *pipe
	var client net.Conn
	if service == "imap" || service == "imaps" {
		f := &imap.Server{Hostname: srv.Hostname, Checker: srv.Auth, TLS: srv.IMAP, Clear: srv.Clear, LoginTime: srv.LoginTime, Sources: srv.Limits.Tables, Log: srv.Log}
		f.Enter = func(ctx context.Context, l *imap.Login) (err error) {
			client = l.Conn
			p, err = srv.hand(ctx, l.Conn, l.Identity, login.Opening{Mechanism: l.Mechanism, Tag: l.Tag, Early: l.Early})
			if err != nil && !errors.Is(err, imap.ErrLimit) {
				err = imap.ErrNotNow
			}
			return err
		}
		if f.Serve(ctx, conn, service == "imaps") == nil {
			return
		}
	} else {
		f := &pop3.Server{Hostname: srv.Hostname, Checker: srv.Auth, TLS: srv.POP3, Clear: srv.Clear, IdleTime: srv.LoginTime, Sources: srv.Limits.Tables, Log: srv.Log}
		f.Enter = func(ctx context.Context, l *pop3.Login) (err error) {
			client = l.Conn
			p, err = srv.hand(ctx, l.Conn, l.Identity, login.Opening{Mechanism: l.Mechanism, SASL: l.SASL, Early: l.Early})
			return err
		}
		if f.Serve(ctx, conn, service == "pop3s") == nil {
			return
		}
	}
	if p == nil {
		client.Close() // our descriptor; the connection goes on at the other
		return
	}
	p.run(ctx)
}

// hand has mailauthd give the session to who serves it. A pipe is for us to run; without one the client's connection itself was given.
func (srv *Server) hand(ctx context.Context, conn net.Conn, id *login.Identity, o login.Opening) (p *pipe, err error) {
	defer func() {
		if err != nil {
			srv.Log.Warn("session of "+id.Account.Path().String(), err)
		}
	}()
	t, ok := conn.(*tls.Conn)
	if !ok {
		return nil, srv.Auth.Session(ctx, id, o, conn.(syscall.Conn))
	}
	o.TLS = tls.VersionName(t.ConnectionState().Version)
	p, theirs, err := newPipe(t)
	if err != nil {
		srv.Auth.Leave(id)
		return nil, err
	}
	defer theirs.Close()
	if err := srv.Auth.Session(ctx, id, o, theirs); err != nil {
		p.server.Close()
		return nil, err
	}
	return p, nil
}
