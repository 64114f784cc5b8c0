package listen

import (
	"context"
	"errors"
	"net"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// grace is how long handlers may go on after the end.
const grace = 30 * time.Second

// Serve accepts from all listeners until ctx ends, and gives each connection to handle in a goroutine of its own, which closes it. Beyond
// Limits it calls refuse (which writes one line and must not block) and closes. It waits for handlers to end, at most 30 s, and survives EMFILE.
// A connection from a proxy is given on when its header has been read, with the addresses the header says.
func Serve(ctx context.Context, listeners []net.Listener, limits Limits, handle, refuse func(net.Conn)) error {
	a := newAcceptor(limits, handle, refuse)
	a.spare, _ = os.Open(os.DevNull)
	stop := context.AfterFunc(ctx, func() {
		for _, l := range listeners {
			l.Close()
		}
	})
	defer stop()
	errs := make(chan error, len(listeners))
	for _, l := range listeners {
		go func() { errs <- a.accept(ctx, l) }()
	}
	var first error
	for range listeners {
		if err := <-errs; err != nil && first == nil {
			first = err
			for _, l := range listeners {
				l.Close()
			}
		}
	}
	a.wait()
	return first
}

// acceptor is what the accept loops of a server share.
type acceptor struct {
	*Table
	limits         Limits
	handle, refuse func(net.Conn)
	telling        sync.Mutex
	told           refusals
	running        sync.WaitGroup
	fd             sync.Mutex
	spare          *os.File // a descriptor to let go when there are none left
}

func (a *acceptor) accept(ctx context.Context, l net.Listener) error {
	for {
		c, err := l.Accept()
		switch {
		case err == nil:
			a.start(c)
		case ctx.Err() != nil || errors.Is(err, net.ErrClosed):
			return nil
		case errors.Is(err, unix.EMFILE) || errors.Is(err, unix.ENFILE):
			a.full(l)
		case errors.Is(err, unix.ENOBUFS) || errors.Is(err, unix.ENOMEM):
			time.Sleep(50 * time.Millisecond)
		case temporary(err):
			// the client was gone again
		default:
			return err
		}
	}
}

// temporary are the errors of accept(2) that belong to the connection and not to the socket.
func temporary(err error) bool {
	for _, errno := range []error{unix.ECONNABORTED, unix.EINTR, unix.EAGAIN, unix.EPROTO, unix.EPERM, unix.ETIMEDOUT,
		unix.ENETDOWN, unix.ENETUNREACH, unix.EHOSTDOWN, unix.EHOSTUNREACH} {
		if errors.Is(err, errno) {
			return true
		}
	}
	return false
}

// start hands a connection over, or turns it away.
func (a *acceptor) start(c net.Conn) {
	if contains(a.now().Proxies, Remote(c)) {
		a.running.Add(1)
		go func() {
			defer a.running.Done()
			a.proxied(c)
		}()
		return
	}
	if place, ok := a.admit(c); ok {
		a.running.Add(1)
		go func() {
			defer a.running.Done()
			defer place.done()
			a.handle(c)
		}()
	}
}

// now is what holds now.
func (a *acceptor) now() *Limits {
	if a.limits.Now != nil {
		return a.limits.Now()
	}
	return &a.limits
}

// admit counts a connection; one too many is closed.
func (a *acceptor) admit(c net.Conn) (ticket, bool) {
	from := Remote(c)
	l := a.now()
	place, why := a.add(from, l)
	if a.strained(l.Total) && a.limits.Stress != nil {
		a.limits.Stress(a.limits.service, a.Scarce(), a.Open(), l.Total)
	}
	if why == "" {
		return place, true
	}
	a.telling.Lock()
	tell := a.told.mayTell(time.Now())
	a.telling.Unlock()
	if tell && a.limits.Refused != nil {
		a.limits.Refused(a.limits.service, from, why)
	}
	a.refuse(c)
	c.Close()
	return ticket{}, false
}

// proxied serves a connection that a proxy hands on. While its header is awaited it is one of the proxy's, and these have a limit too.
func (a *acceptor) proxied(c net.Conn) {
	most := *a.now()
	most.PerIPv4, most.PerIPv6, most.PerSite, most.Connects, most.Errors, most.Unknown = most.Total, most.Total, 0, Rate{}, Rate{}, Rate{}
	waiting, why := a.add(Remote(c), &most)
	if why != "" {
		c.Close()
		return
	}
	client, err := ReadProxy(c)
	waiting.done()
	if err != nil {
		if a.limits.Refused != nil {
			a.limits.Refused(a.limits.service, Remote(c), err.Error())
		}
		c.Close()
		return
	}
	if place, ok := a.admit(client); ok {
		defer place.done()
		a.handle(client)
	}
}

func newAcceptor(limits Limits, handle, refuse func(net.Conn)) *acceptor {
	a := &acceptor{Table: limits.table, limits: limits, handle: handle, refuse: refuse}
	if a.Table == nil {
		a.Table = NewTable()
	}
	return a
}

// One serves the connection we were started for (inetd, systemd's Accept=yes) as Serve serves those it accepts: it is counted with those of
// all other processes of the service.
func One(c net.Conn, limits Limits, handle, refuse func(net.Conn)) {
	a := newAcceptor(limits, handle, refuse)
	a.start(c)
	a.running.Wait()
}

// full turns one waiting client away with the spare descriptor, so that it learns why, and waits a little, so that
// there is no spin (S082).
func (a *acceptor) full(l net.Listener) {
	a.fd.Lock()
	defer a.fd.Unlock()
	if a.spare != nil {
		a.spare.Close()
		if d, ok := l.(interface{ SetDeadline(time.Time) error }); ok {
			d.SetDeadline(time.Now().Add(10 * time.Millisecond))
			if c, err := l.Accept(); err == nil {
				a.refuse(c)
				c.Close()
			}
			d.SetDeadline(time.Time{})
		}
	}
	a.spare, _ = os.Open(os.DevNull)
	time.Sleep(20 * time.Millisecond)
}

// wait is for the handlers.
func (a *acceptor) wait() {
	done := make(chan struct{})
	go func() {
		a.running.Wait()
		close(done)
	}()
	select {
	case <-done:
	case <-time.After(grace):
	}
}
