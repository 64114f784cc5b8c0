package listen

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"strings"
)

// Services are the sockets of a server with services of several names: those a supervisor handed over (LISTEN_FDNAMES), else those of the
// --listen flags ("mx=127.0.0.1:25"), else those of mail.toml. configured has every name the server knows; key is where mail.toml says them.
func Services(configured map[string][]string, flags []string, key string) (map[string][]net.Listener, error) {
	names := strings.Join(slices.Sorted(maps.Keys(configured)), " ")
	open, err := Passed()
	if err != nil {
		return nil, err
	}
	for name := range open {
		if _, ok := configured[name]; !ok {
			return nil, fmt.Errorf("socket %s: no such service, LISTEN_FDNAMES has %s", name, names)
		}
	}
	if len(open) > 0 {
		return open, nil
	}
	want := configured
	if len(flags) > 0 {
		want = map[string][]string{}
	}
	for _, f := range flags {
		name, address, ok := strings.Cut(f, "=")
		if _, known := configured[name]; !ok || !known {
			return nil, errors.New("--listen wants SERVICE=ADDRESS, with a service of " + names)
		}
		want[name] = append(want[name], address)
	}
	open = map[string][]net.Listener{}
	for name, addresses := range want {
		if len(addresses) == 0 {
			continue
		}
		if open[name], err = Open(addresses); err != nil {
			return nil, err
		}
	}
	if len(open) == 0 {
		return nil, fmt.Errorf("nothing to listen on: see %s in mail.toml(5), or --listen", key)
	}
	return open, nil
}

// ServeAll serves every service with Serve, each with its own count of connections, until ctx ends or one cannot go on: a supervisor then
// starts the server again.
func ServeAll(ctx context.Context, services map[string][]net.Listener, limits Limits, handle, refuse func(service string, conn net.Conn)) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	errs := make(chan error, len(services))
	for name, on := range services {
		l := limits
		if !slices.ContainsFunc(on, func(l net.Listener) bool { return l.Addr().Network() == "tcp" }) {
			l.Tables = nil // programs of this host, which have no address
		}
		go func() {
			defer cancel()
			errs <- Serve(ctx, on, l.Of(name), func(c net.Conn) { handle(name, c) }, func(c net.Conn) { refuse(name, c) })
		}()
	}
	var err error
	for range services {
		err = errors.Join(err, <-errs)
	}
	return err
}
