package listen

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"os"
	"strings"
	"time"

	"github.com/coreos/go-systemd/v22/activation"
	"golang.org/x/sys/unix"

	"pennypost/internal/packet"
)

// Inherited is the connection on fd 0 if fd 0 is a connected socket, and whether fd 2 is the same socket (then log to /dev/log).
func Inherited() (conn net.Conn, logIsPeer bool, ok bool) {
	if _, err := unix.Getpeername(0); err != nil {
		return nil, false, false
	}
	if kind, err := unix.GetsockoptInt(0, unix.SOL_SOCKET, unix.SO_TYPE); err != nil || kind != unix.SOCK_STREAM {
		return nil, false, false
	}
	var in, out unix.Stat_t
	logIsPeer = unix.Fstat(0, &in) == nil && unix.Fstat(2, &out) == nil && in.Dev == out.Dev && in.Ino == out.Ino
	conn, err := net.FileConn(os.Stdin)
	return conn, logIsPeer, err == nil
}

// Passed are the listening sockets systemd handed over, by name.
func Passed() (map[string][]net.Listener, error) { return activation.ListenersWithNames() }

// Open listens on addresses: HOST:PORT, unix:PATH, or packet:PATH for a SOCK_SEQPACKET socket. Keep-alive and MPTCP are off. Either all are open or none is.
func Open(addresses []string) ([]net.Listener, error) {
	var open []net.Listener
	for _, address := range addresses {
		l, err := open1(address)
		if err != nil {
			for _, l := range open {
				l.Close()
			}
			return nil, err
		}
		open = append(open, l)
	}
	return open, nil
}

// Packet is the address of the packet socket at path; none where there is no path.
func Packet(path string) []string {
	if path == "" {
		return nil
	}
	return []string{"packet:" + path}
}

func open1(address string) (net.Listener, error) {
	conf := net.ListenConfig{KeepAlive: -1}
	conf.SetMultipathTCP(false)
	if path, ok := strings.CutPrefix(address, "packet:"); ok {
		return packet.Listen(path)
	}
	path, ok := strings.CutPrefix(address, "unix:")
	if !ok {
		return conf.Listen(context.Background(), "tcp", address)
	}
	l, err := conf.Listen(context.Background(), "unix", path)
	if errors.Is(err, unix.EADDRINUSE) && abandoned(path) {
		if err = os.Remove(path); err == nil || errors.Is(err, fs.ErrNotExist) {
			l, err = conf.Listen(context.Background(), "unix", path)
		}
	}
	return l, err
}

// abandoned reports whether path is a socket nobody listens on: left by a server that was killed.
func abandoned(path string) bool {
	info, err := os.Lstat(path)
	if err != nil || info.Mode()&fs.ModeSocket == 0 {
		return false
	}
	c, err := net.DialTimeout("unix", path, time.Second)
	if err == nil {
		c.Close()
	}
	return errors.Is(err, unix.ECONNREFUSED)
}
