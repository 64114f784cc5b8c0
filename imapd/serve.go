package imapd

import (
	"context"
	"errors"
	"net"
	"path/filepath"

	"pennypost/imapd/front"
	"pennypost/internal/certs"
	"pennypost/internal/config"
	"pennypost/internal/domains"
	"pennypost/internal/listen"
	"pennypost/internal/maillog"
	"pennypost/internal/packet"
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
		Clear:     conf.Login.Clear,
		LoginTime: conf.IMAPD.LoginTime,
		Limits:    limits(conf, log),
		PerUser:   conf.IMAPD.PerUser,
		Log:       log,
	}
	store, err := certs.FromFiles(conf.TLS.Certificates, conf.TLS.Keys, func(err error) { log.Warn("certificate", err) })
	if err != nil && (packet.OnZero() || conf.IMAPD.Sessions != "" && len(conf.IMAPD.IMAP)+len(conf.IMAPD.IMAPS) == 0) {
		err = nil // what is handed over has its TLS elsewhere, and we may not read the keys
	}
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
		QuotaMost:    a.QuotaMessages,
		LeaveNew:     conf.IMAPD.LeaveNew,
		Rest:         restTime,
		Stamp:        conf.Mail.Stamp,
		Host:         conf.Hostname,
		Own:          a.Unix != nil,
	}
}

// limits is who is let in.
func limits(conf *config.Config, log *maillog.Log) listen.Limits {
	c := &conf.IMAPD
	return listen.Limits{Total: c.MaxConnections, PerIPv4: c.PerIPv4, PerIPv6: c.PerIPv6, PerSite: c.PerSite,
		Connects: listen.Rate(c.ConnectRate), Proxies: c.ProxyNetworks,
		Tables: &listen.Tables{Dir: filepath.Join(conf.Run, "sources", "imapd"), Warn: log.Warn}}.Logged(log)
}

// Listen serves the sockets handed to us, else those of the flags ("imap=127.0.0.1:143"), else those of mail.toml.
func (srv *Server) Listen(ctx context.Context, conf *config.IMAPD, flags []string) error {
	listeners, err := listen.Services(map[string][]string{"imap": conf.IMAP, "imaps": conf.IMAPS, "sessions": listen.Packet(conf.Sessions)}, flags, "imapd.imap")
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
	paceCollector()
	for name, on := range listeners {
		for _, l := range on {
			srv.Log.Start(name, l.Addr().String())
		}
	}
	return listen.ServeAll(ctx, listeners, srv.Limits,
		func(service string, c net.Conn) {
			if service == "sessions" {
				srv.takeOver(ctx, c)
			} else {
				srv.Handle(ctx, c, service == "imaps")
			}
		}, func(_ string, c net.Conn) { front.Refuse(c) })
}
