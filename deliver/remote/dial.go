package remote

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"syscall"
	"time"
)

// stagger is how much of a lead an address has before the next one is tried as well (RFC 8305 section 5).
const stagger = 250 * time.Millisecond

// dial connects to the first address of a host that answers. Two addresses of a host may race, two hosts never do.
func (c *Client) dial(ctx context.Context, h *host) (net.Conn, netip.AddrPort, *trouble) {
	if h.unix != "" {
		conn, err := (&net.Dialer{Timeout: c.conf.Remote.ConnectTime}).DialContext(ctx, "unix", h.unix)
		if err != nil {
			return nil, netip.AddrPort{}, noConnection(h.unix, err)
		}
		return conn, netip.AddrPort{}, nil
	}
	addrs := c.worthTrying(h.addrs)
	if len(addrs) == 0 {
		label := h.label(h.addrs[0])
		return nil, netip.AddrPort{}, &trouble{Result: later(451, "4.4.1", "did not answer a moment ago"), host: label, site: true, other: true}
	}
	conn, at, err := c.race(ctx, addrs)
	if err != nil {
		return nil, at, noConnection(h.label(at), err)
	}
	c.memory.answered(at)
	if len(addrs) > 1 {
		c.memory.won(at, addrs)
	}
	return conn, at, nil
}

// worthTrying leaves out the addresses that timed out just now.
func (c *Client) worthTrying(addrs []netip.AddrPort) []netip.AddrPort {
	now := time.Now()
	for i, a := range addrs {
		if c.memory.fresh(a, now) {
			kept := append([]netip.AddrPort(nil), addrs[:i]...)
			for _, b := range addrs[i+1:] {
				if !c.memory.fresh(b, now) {
					kept = append(kept, b)
				}
			}
			return kept
		}
	}
	return addrs
}

// attempt is one address tried.
type attempt struct {
	conn net.Conn
	at   netip.AddrPort
	err  error
}

// race starts with the first address, and with the next when one failed or stagger is over. Losers are closed before they
// have said a word.
func (c *Client) race(ctx context.Context, addrs []netip.AddrPort) (net.Conn, netip.AddrPort, error) {
	if len(addrs) == 1 {
		got := c.try(ctx, addrs[0])
		return got.conn, got.at, got.err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	results := make(chan attempt, len(addrs))
	next, pending := 0, 0
	start := func() {
		at := addrs[next]
		next++
		pending++
		go func() { results <- c.try(ctx, at) }()
	}
	start()
	timer := time.NewTimer(stagger)
	defer timer.Stop()
	var failed attempt
	for {
		select {
		case <-timer.C:
			if next < len(addrs) {
				start()
				timer.Reset(stagger)
			}
		case got := <-results:
			pending--
			if got.err == nil {
				go closeLosers(results, pending)
				return got.conn, got.at, nil
			}
			if failed.err == nil || !errors.Is(got.err, context.Canceled) {
				failed = got
			}
			if next < len(addrs) {
				start()
				timer.Reset(stagger)
			} else if pending == 0 {
				return nil, failed.at, failed.err
			}
		}
	}
}

func closeLosers(results <-chan attempt, pending int) {
	for range pending {
		if loser := <-results; loser.conn != nil {
			loser.conn.Close()
		}
	}
}

func (c *Client) try(ctx context.Context, at netip.AddrPort) attempt {
	d := net.Dialer{Timeout: c.conf.Remote.ConnectTime, LocalAddr: c.sources[family(at.Addr())], KeepAlive: -1}
	conn, err := d.DialContext(ctx, "tcp", at.String())
	var timeout net.Error
	if err != nil && ctx.Err() == nil && errors.As(err, &timeout) && timeout.Timeout() {
		c.memory.timedOut(at, time.Now())
	}
	return attempt{conn, at, err}
}

// noConnection says why there is none, in few words.
func noConnection(label string, err error) *trouble {
	return &trouble{Result: later(451, "4.4.1", cause(err)), host: label, site: true, other: true}
}

// cause is an error of the network without the addresses around it.
func cause(err error) string {
	var timeout net.Error
	var number syscall.Errno
	switch {
	case errors.As(err, &timeout) && timeout.Timeout() || errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, context.DeadlineExceeded):
		return "timed out"
	case errors.As(err, &number):
		return number.Error()
	}
	return err.Error()
}
