package listen

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// grace is how long handlers may go on after the end.
const grace = 30 * time.Second

// Serve accepts from all listeners until ctx ends, and gives each connection to handle in a goroutine of its own, which closes it. Beyond
// Limits it calls refuse (which writes one line and must not block) and closes. It waits for handlers to end, at most 30 s, and survives EMFILE.
func Serve(ctx context.Context, listeners []net.Listener, limits Limits, handle, refuse func(net.Conn)) error {
	a := &acceptor{handle: handle, refuse: refuse, counter: counter{limits: limits, per: map[netip.Addr]int{}}}
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
	counter
	handle, refuse func(net.Conn)
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
	from := Remote(c)
	if !a.add(from) {
		a.refuse(c)
		c.Close()
		return
	}
	a.running.Add(1)
	go func() {
		defer a.running.Done()
		defer a.done(from)
		a.handle(c)
	}()
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
