package listen

import (
	"net"
	"net/netip"
	"sync"
)

// Limits is how many connections may be open.
type Limits struct {
	Total   int
	PerIPv4 int // per address
	PerIPv6 int // per /64
	Exempt  []netip.Prefix
}

// Source is what a client is counted as: its IPv4 address, or the /64 of its IPv6 address (S075). The zero
// Addr, which a unix socket has, stays itself.
func Source(a netip.Addr) netip.Addr {
	a = a.Unmap()
	if !a.Is6() {
		return a
	}
	p, _ := a.WithZone("").Prefix(64)
	return p.Addr()
}

// Remote is the address of a connection's other end; the zero Addr for a unix socket.
func Remote(c net.Conn) netip.Addr {
	if a, ok := c.RemoteAddr().(*net.TCPAddr); ok {
		return a.AddrPort().Addr().Unmap()
	}
	return netip.Addr{}
}

// counter counts open connections.
type counter struct {
	limits Limits
	mu     sync.Mutex
	total  int
	per    map[netip.Addr]int
}

// add counts one more connection from a, unless there are too many.
func (c *counter) add(a netip.Addr) bool {
	for _, p := range c.limits.Exempt {
		if p.Contains(a) {
			a = netip.Addr{}
			break
		}
	}
	source := Source(a)
	most := c.limits.PerIPv4
	if source.Is6() {
		most = c.limits.PerIPv6
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.limits.Total > 0 && c.total >= c.limits.Total && source.IsValid() {
		return false
	}
	if most > 0 && source.IsValid() && c.per[source] >= most {
		return false
	}
	c.total++
	if source.IsValid() {
		c.per[source]++
	}
	return true
}

// done takes a connection that add counted off again.
func (c *counter) done(a netip.Addr) {
	source := Source(a)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.total--
	if n := c.per[source]; n > 1 {
		c.per[source] = n - 1
	} else {
		delete(c.per, source)
	}
}
