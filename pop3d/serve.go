package pop3d

import (
	"context"
	"errors"
	"net"
	"path/filepath"

	"pennypost/internal/certs"
	"pennypost/internal/config"
	"pennypost/internal/domains"
	"pennypost/internal/listen"
	"pennypost/internal/maillog"
	"pennypost/internal/packet"
	"pennypost/login"
	"pennypost/pop3d/front"
)

// Sections are the sections of mail.toml that pop3d reads.
var Sections = []string{"mail", "login", "tls", "log", "pop3d", "imapd"}

// Services are the names of what can be served: keys of [pop3d], arguments of --service, names of passed sockets.
var Services = []string{"pop3", "pop3s"}

// FromConfig is the server mail.toml describes, and its certificates; nil where there are none.
func FromConfig(conf *config.Config, log *maillog.Log) (*Server, *certs.Store, error) {
	all := domains.FromConfig(conf)
	srv := &Server{
		Domains:      all,
		Hostname:     conf.Hostname,
		Checker:      login.FromConfig(conf, all, log.Warn),
		Stamp:        conf.Mail.Stamp,
		ExpungedDays: conf.IMAPD.ExpungedDays,
		State:        conf.State,
		Clear:        conf.Login.Clear,
		IdleTime:     conf.POP3D.IdleTime,
		Limits:       limits(conf, log),
		Log:          log,
	}
	store, err := certs.FromFiles(conf.TLS.Certificates, conf.TLS.Keys, func(err error) { log.Warn("certificate", err) })
	if err != nil && (packet.OnZero() || conf.POP3D.Sessions != "" && len(conf.POP3D.POP3)+len(conf.POP3D.POP3S) == 0) {
		err = nil // what is handed over has its TLS elsewhere, and we may not read the keys
	}
	if store == nil || err != nil {
		return srv, nil, err
	}
	srv.TLS = login.ClientTLS(store.Config("pop3"), conf.Login.Certificates)
	return srv, store, nil
}

// limits is who is let in.
func limits(conf *config.Config, log *maillog.Log) listen.Limits {
	c := &conf.POP3D
	return listen.Limits{Total: c.MaxConnections, PerIPv4: c.PerIPv4, PerIPv6: c.PerIPv6, PerSite: c.PerSite,
		Connects: listen.Rate(c.ConnectRate), Proxies: c.ProxyNetworks,
		Tables: &listen.Tables{Dir: filepath.Join(conf.Run, "sources", "pop3d"), Warn: log.Warn}}.Logged(log)
}

// Listen serves a session that mailauthd hands over on descriptor 0, as from become; or the sockets handed to us, else those of the flags ("pop3=127.0.0.1:110"), else those of mail.toml.
func (srv *Server) Listen(ctx context.Context, conf *config.POP3D, flags []string) error {
	if c, ok := packet.Inherited(); ok {
		return srv.TakeOver(ctx, c)
	}
	listeners, err := listen.Services(map[string][]string{"pop3": conf.POP3, "pop3s": conf.POP3S, "sessions": listen.Packet(conf.Sessions)}, flags, "pop3d.pop3")
	if err != nil {
		return err
	}
	return srv.Serve(ctx, listeners)
}

// Serve answers connections of the listeners, named by service, until ctx ends.
func (srv *Server) Serve(ctx context.Context, listeners map[string][]net.Listener) error {
	if srv.TLS == nil && len(listeners["pop3s"]) > 0 {
		return errors.New("pop3s needs a certificate, see tls.certificates in mail.toml(5)")
	}
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
				srv.Handle(ctx, c, service == "pop3s")
			}
		}, func(_ string, c net.Conn) { front.Refuse(c) })
}
