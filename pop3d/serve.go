package pop3d

import (
	"context"
	"errors"
	"net"

	"pennypost/internal/certs"
	"pennypost/internal/config"
	"pennypost/internal/domains"
	"pennypost/internal/listen"
	"pennypost/internal/maillog"
	"pennypost/login"
	"pennypost/pop3d/front"
)

// Sections are the sections of mail.toml that pop3d reads.
var Sections = []string{"mail", "login", "tls", "log", "pop3d", "imapd"}

// Services are the names of what can be served: keys of [pop3d], arguments of --service, names of passed sockets.
var Services = []string{"pop3", "pop3s"}

// FromConfig is the server mail.toml describes, and its certificates; nil where there are none.
func FromConfig(conf *config.Config, log *maillog.Log) (*Server, *certs.Store, error) {
	srv := &Server{
		Hostname:     conf.Hostname,
		Checker:      login.FromConfig(conf, domains.FromConfig(conf), log.Warn),
		Stamp:        conf.Mail.Stamp,
		ExpungedDays: conf.IMAPD.ExpungedDays,
		State:        conf.State,
		IdleTime:     conf.POP3D.IdleTime,
		Limits:       listen.Limits{Total: conf.POP3D.MaxConnections, PerIPv4: conf.POP3D.PerIPv4, PerIPv6: conf.POP3D.PerIPv6},
		Log:          log,
	}
	store, err := certs.FromFiles(conf.TLS.Certificates, conf.TLS.Keys, func(err error) { log.Warn("certificate", err) })
	if store == nil || err != nil {
		return srv, nil, err
	}
	srv.TLS = login.ClientTLS(store.Config("pop3"), conf.Login.Certificates)
	return srv, store, nil
}

// Listen serves the sockets handed to us, else those of the flags ("pop3=127.0.0.1:110"), else those of mail.toml.
func (srv *Server) Listen(ctx context.Context, conf *config.POP3D, flags []string) error {
	listeners, err := listen.Services(map[string][]string{"pop3": conf.POP3, "pop3s": conf.POP3S}, flags, "pop3d.pop3")
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
		func(service string, c net.Conn) { srv.Handle(ctx, c, service == "pop3s") }, func(_ string, c net.Conn) { front.Refuse(c) })
}
