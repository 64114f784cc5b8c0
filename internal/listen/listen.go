/*
Package listen gets a server its connections: one on fd 0 (inetd, systemd Accept=yes), listening sockets passed to it (LISTEN_FDS,
LISTEN_FDNAMES), or sockets it opens itself; and it counts them per source.
*/
package listen

import (
	"context"
	"net"
	"net/netip"
)

// Inherited is the connection on fd 0 if fd 0 is a connected socket, and whether fd 2 is the same socket (then log to /dev/log).
func Inherited() (conn net.Conn, logIsPeer bool, ok bool) { panic("unwritten") }

// Passed are the listening sockets systemd handed over, by name.
func Passed() (map[string][]net.Listener, error) { panic("unwritten") }

// Open listens on addresses: HOST:PORT, or unix:PATH. Keep-alive and MPTCP are off.
func Open(addresses []string) ([]net.Listener, error) { panic("unwritten") }

// Limits is how many connections may be open.
type Limits struct {
	Total   int
	PerIPv4 int // per address
	PerIPv6 int // per /64
	Exempt  []netip.Prefix
}

// Serve accepts from all listeners until ctx ends, and gives each connection to handle in a goroutine of its own. Beyond
// Limits it calls refuse (which writes one line and must not block) and closes. It waits for handlers to end, at most 30 s, and survives EMFILE.
func Serve(ctx context.Context, listeners []net.Listener, limits Limits, handle, refuse func(net.Conn)) error {
	panic("unwritten")
}
