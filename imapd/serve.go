package imapd

import (
	"context"
	"errors"
	"net"

	"pennypost/imapd/front"
	"pennypost/internal/certs"
	"pennypost/internal/config"
	"pennypost/internal/domains"
	"pennypost/internal/listen"
	"pennypost/internal/maillog"
	"pennypost/login"
	"pennypost/maildir/mailbox"
)

// Sections are the sections of mail.toml that imapd reads.
var Sections = []string{"mail", "login", "tls", "log", "imapd"}

// Services are the names of what can be served: keys of [imapd], arguments of --service, names of passed sockets.
var Services = []string{"imap", "imaps"}

// FromConfig is the server mail.toml describes, and its certificates; nil where there are none.
func FromConfig(conf *config.Config, log *maillog.Log) (*Server, *certs.Store, error) {
	all := domains.FromConfig(conf)
	srv := &Server{
		Hostname: conf.Hostname,
		Checker:  login.FromConfig(conf, all, log.Warn),
		Domains:  all,
		Account: func(id *login.Identity) (string, mailbox.Options) {
			return id.Account.Maildir, options(conf, id.Account)
		},
		MaxSize:   conf.IMAPD.MaxAppend,
		IdleTime:  conf.IMAPD.IdleTime,
		LoginTime: conf.IMAPD.LoginTime,
		Limits:    listen.Limits{Total: conf.IMAPD.MaxConnections, PerIPv4: conf.IMAPD.PerIPv4, PerIPv6: conf.IMAPD.PerIPv6},
		Log:       log,
	}
	store, err := certs.FromFiles(conf.TLS.Certificates, conf.TLS.Keys, func(err error) { log.Warn("certificate", err) })
	if store == nil || err != nil {
		return srv, nil, err
	}
	srv.TLS = login.ClientTLS(store.Config("imap"), conf.Login.Certificates)
	return srv, store, nil
}

// options is how an account's mail is laid out and shown.
func options(conf *config.Config, a *domains.Account) mailbox.Options {
	return mailbox.Options{
		Layout:       a.Layout,
		Delimiter:    a.Delimiter[0],
		Prefix:       a.Prefix,
		ExpungedDays: conf.IMAPD.ExpungedDays,
		Quota:        a.Quota,
		LeaveNew:     conf.IMAPD.LeaveNew,
		Stamp:        conf.Mail.Stamp,
		Host:         conf.Hostname,
	}
}

// Listen serves the sockets handed to us, else those of the flags ("imap=127.0.0.1:143"), else those of mail.toml.
func (srv *Server) Listen(ctx context.Context, conf *config.IMAPD, flags []string) error {
	listeners, err := listen.Services(map[string][]string{"imap": conf.IMAP, "imaps": conf.IMAPS}, flags, "imapd.imap")
	if err != nil {
		return err
	}
	return srv.Serve(ctx, listeners)
}

// Serve answers connections of the listeners, named by service, until ctx ends.
func (srv *Server) Serve(ctx context.Context, listeners map[string][]net.Listener) error {
	if srv.TLS == nil && len(listeners["imaps"]) > 0 {
		return errors.New("imaps needs a certificate, see tls.certificates in mail.toml(5)")
	}
	for name, on := range listeners {
		for _, l := range on {
			srv.Log.Start(name, l.Addr().String())
		}
	}
	return listen.ServeAll(ctx, listeners, srv.Limits,
		func(service string, c net.Conn) { srv.Handle(ctx, c, service == "imaps") }, func(_ string, c net.Conn) { front.Refuse(c) })
}
