package pop3d

import (
	"context"
	"errors"
	"net"
	"os"
	"os/signal"
	"slices"
	"strings"

	"pennypost/internal/certs"
	"pennypost/internal/config"
	"pennypost/internal/domains"
	"pennypost/internal/listen"
	"pennypost/internal/maillog"
	"pennypost/login"
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
	if len(conf.TLS.Certificates) == 0 {
		return srv, nil, nil
	}
	var pairs []certs.Pair
	for i, cert := range conf.TLS.Certificates {
		pairs = append(pairs, certs.Pair{Cert: cert, Key: conf.TLS.Keys[i]})
	}
	store, err := certs.Load(pairs, func(err error) { log.Warn("certificate", err) })
	if err != nil {
		return nil, nil, err
	}
	srv.TLS = login.ClientTLS(store.Config("pop3"), conf.Login.Certificates)
	return srv, store, nil
}

// Listeners are the sockets to serve, by service: those handed to us, else those of the flags ("pop3=127.0.0.1:110"),
// else those of mail.toml.
func Listeners(conf *config.POP3D, flags []string) (map[string][]net.Listener, error) {
	open, err := listen.Passed()
	if err != nil {
		return nil, err
	}
	for name := range open {
		if !slices.Contains(Services, name) {
			return nil, errors.New("socket " + name + ": no such service, LISTEN_FDNAMES has pop3 pop3s")
		}
	}
	if len(open) > 0 {
		return open, nil
	}
	want := map[string][]string{"pop3": conf.POP3, "pop3s": conf.POP3S}
	if len(flags) > 0 {
		clear(want)
	}
	for _, f := range flags {
		name, address, ok := strings.Cut(f, "=")
		if !ok || !slices.Contains(Services, name) {
			return nil, errors.New("--listen wants SERVICE=ADDRESS, with a service of pop3 pop3s")
		}
		want[name] = append(want[name], address)
	}
	open = map[string][]net.Listener{}
	for name, addresses := range want {
		if len(addresses) == 0 {
			continue
		}
		if open[name], err = listen.Open(addresses); err != nil {
			return nil, err
		}
	}
	if len(open) == 0 {
		return nil, errors.New("nothing to listen on: see pop3d.pop3 in mail.toml(5), or --listen")
	}
	return open, nil
}

// Listen serves what Listeners gives.
func (srv *Server) Listen(ctx context.Context, conf *config.POP3D, flags []string) error {
	listeners, err := Listeners(conf, flags)
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
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	errs := make(chan error, len(listeners))
	for name, on := range listeners {
		for _, l := range on {
			srv.Log.Start(name, l.Addr().String())
		}
		go func() {
			defer cancel() // one that cannot go on ends all: a supervisor starts us again
			errs <- listen.Serve(ctx, on, srv.Limits, func(c net.Conn) { srv.Handle(ctx, c, name == "pop3s") }, Refuse)
		}()
	}
	var err error
	for range listeners {
		err = errors.Join(err, <-errs)
	}
	return err
}

// ReloadOn looks at the certificates when the signal comes; it never returns.
func ReloadOn(sig os.Signal, store *certs.Store) {
	c := make(chan os.Signal, 1)
	signal.Notify(c, sig)
	for range c {
		if store != nil {
			store.Reload()
		}
	}
}
