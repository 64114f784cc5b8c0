package listen

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// The PROXY protocol, version 1 and 2 (HAProxy's proxy-protocol.txt): the first octets of a connection say whose it is. Not an octet more than
// the header is read, so that the descriptor itself can still be handed on, and nothing sits in a buffer when TLS begins.

const (
	proxyTime = 5 * time.Second // for the header; a balancer sends it at once
	proxyLine = 107             // version 1, with CRLF (section 2.1)
	proxyMost = 2048            // what follows the first 16 octets of version 2: addresses, and TLVs that we skip
)

var (
	proxy2    = []byte("\r\n\r\n\x00\r\nQUIT\n") // section 2.2
	errHeader = errors.New("not a PROXY header")
)

// Proxied is a connection through a proxy. It is the proxy's TCP connection with the client's addresses.
type Proxied struct {
	*net.TCPConn
	remote, local net.Addr
}

func (p *Proxied) RemoteAddr() net.Addr { return p.remote }
func (p *Proxied) LocalAddr() net.Addr  { return p.local }

// ReadProxy takes the header off a connection. Where the proxy speaks for itself (LOCAL, UNKNOWN: it looks whether we live) the addresses
// stay as they are.
func ReadProxy(c net.Conn) (net.Conn, error) {
	tcp, ok := c.(*net.TCPConn)
	if !ok {
		return nil, errors.New("PROXY is for TCP")
	}
	tcp.SetReadDeadline(time.Now().Add(proxyTime))
	remote, local, err := readHeader(tcp, func(p []byte) (int, error) { return peek(tcp, p) })
	if err != nil {
		return nil, err
	}
	tcp.SetReadDeadline(time.Time{})
	if !remote.IsValid() {
		return c, nil
	}
	return &Proxied{tcp, net.TCPAddrFromAddrPort(remote), net.TCPAddrFromAddrPort(local)}, nil
}

// peek waits for octets and leaves them where they are.
func peek(c *net.TCPConn, p []byte) (n int, err error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return 0, err
	}
	var failed error
	err = raw.Read(func(fd uintptr) bool {
		n, _, failed = unix.Recvfrom(int(fd), p, unix.MSG_PEEK|unix.MSG_DONTWAIT)
		return !errors.Is(failed, syscall.EAGAIN)
	})
	switch {
	case err != nil:
		return 0, err
	case failed != nil:
		return 0, failed
	case n == 0:
		return 0, io.EOF
	}
	return n, nil
}

// readHeader reads a header of either version, and nothing after it.
func readHeader(r io.Reader, peek func([]byte) (int, error)) (remote, local netip.AddrPort, err error) {
	var first [16]byte // no header of either version is shorter but "PROXY UNKNOWN" CRLF, which has 15
	n, err := io.ReadFull(r, first[:6])
	switch {
	case err != nil:
		return remote, local, fmt.Errorf("%w: %w", errHeader, err)
	case string(first[:n]) == "PROXY ":
		return readLine(r, peek)
	case !bytes.Equal(first[:n], proxy2[:n]):
		return remote, local, errHeader
	}
	if _, err = io.ReadFull(r, first[6:]); err != nil {
		return remote, local, fmt.Errorf("%w: %w", errHeader, err)
	}
	if !bytes.Equal(first[:12], proxy2) || first[12]>>4 != 2 {
		return remote, local, errHeader
	}
	size := int(binary.BigEndian.Uint16(first[14:]))
	if size > proxyMost {
		return remote, local, fmt.Errorf("%w: %d octets", errHeader, size)
	}
	rest := make([]byte, size)
	if _, err = io.ReadFull(r, rest); err != nil {
		return remote, local, fmt.Errorf("%w: %w", errHeader, err)
	}
	return parse2(first[12]&15, first[13], rest)
}

// parse2 reads the addresses of version 2 (section 2.2).
func parse2(command, family byte, b []byte) (remote, local netip.AddrPort, err error) {
	if command == 0 { // LOCAL
		return remote, local, nil
	}
	if command != 1 {
		return remote, local, fmt.Errorf("%w: command %d", errHeader, command)
	}
	var size int
	switch family {
	case 0x11: // TCP over IPv4
		size = 4
	case 0x21: // TCP over IPv6
		size = 16
	default: // UNSPEC is "must be accepted, addresses ignored" only with LOCAL; datagrams and unix sockets are nobody's mail
		return remote, local, fmt.Errorf("%w: family %#x", errHeader, family)
	}
	if len(b) < 2*size+4 {
		return remote, local, fmt.Errorf("%w: short", errHeader)
	}
	at := func(i, port int) netip.AddrPort {
		a, _ := netip.AddrFromSlice(b[i : i+size])
		return netip.AddrPortFrom(a.Unmap(), binary.BigEndian.Uint16(b[port:]))
	}
	return at(0, 2*size), at(size, 2*size+2), nil
}

// readLine reads the rest of a header of version 1, after "PROXY ".
func readLine(r io.Reader, peek func([]byte) (int, error)) (remote, local netip.AddrPort, err error) {
	var b [proxyLine - 6]byte
	n := 0
	for {
		if n == len(b) {
			return remote, local, fmt.Errorf("%w: line too long", errHeader)
		}
		seen, err := peek(b[n:])
		if err != nil {
			return remote, local, fmt.Errorf("%w: %w", errHeader, err)
		}
		end := bytes.IndexByte(b[n:n+seen], '\n')
		if end >= 0 {
			seen = end + 1
		}
		if _, err := io.ReadFull(r, b[n:n+seen]); err != nil {
			return remote, local, fmt.Errorf("%w: %w", errHeader, err)
		}
		if n += seen; end >= 0 {
			return parse1(string(b[:n]))
		}
	}
}

// parse1 reads the words of version 1 after "PROXY " (section 2.1).
func parse1(line string) (remote, local netip.AddrPort, err error) {
	text, ok := strings.CutSuffix(line, "\r\n")
	words := strings.Split(text, " ")
	switch {
	case !ok:
		return remote, local, errHeader
	case words[0] == "UNKNOWN":
		return remote, local, nil
	case len(words) != 5 || words[0] != "TCP4" && words[0] != "TCP6":
		return remote, local, errHeader
	}
	read := func(addr, port string) netip.AddrPort {
		a, err1 := netip.ParseAddr(addr)
		p, err2 := netip.ParseAddrPort("[::]:" + port)
		if err1 != nil || err2 != nil || a.Zone() != "" || a.Is4() != (words[0] == "TCP4") {
			err = errHeader
		}
		return netip.AddrPortFrom(a.Unmap(), p.Port())
	}
	remote, local = read(words[1], words[3]), read(words[2], words[4])
	if err != nil {
		return netip.AddrPort{}, netip.AddrPort{}, err
	}
	return remote, local, nil
}
