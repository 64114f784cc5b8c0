package maillogin

import (
	"context"
	"crypto/tls"
	"net"
	"os"
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// pipe copies between a client's TLS and who serves it, to the end of both. While nothing comes it holds no buffer but a small one.
type pipe struct {
	client *tls.Conn
	server *net.UnixConn
}

const (
	writeTime = 5 * time.Minute // a client may take to read
	small     = 512             // what a client says while it waits: commands
)

var (
	upBuffers   = sync.Pool{New: func() any { return new([16 << 10]byte) }}  // a TLS record
	downBuffers = sync.Pool{New: func() any { return new([256 << 10]byte) }} // a long answer, in few calls
)

// newPipe is a pipe, and the descriptor of its far end.
func newPipe(client *tls.Conn) (*pipe, *os.File, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, os.NewSyscallError("socketpair", err)
	}
	unix.SetsockoptInt(fds[1], unix.SOL_SOCKET, unix.SO_SNDBUF, 1<<20) // imapd need not wait for us at every turn; the kernel takes less if it must
	ours, theirs := os.NewFile(uintptr(fds[0]), "session"), os.NewFile(uintptr(fds[1]), "session")
	server, err := net.FileConn(ours)
	ours.Close()
	if err != nil {
		theirs.Close()
		return nil, nil, err
	}
	return &pipe{client, server.(*net.UnixConn)}, theirs, nil
}

// arrivals counts sessions that have begun. A handshake leaves much garbage, and a server whose sessions all wait would never collect it.
var arrivals atomic.Int64

// tidy collects it when many have come and the rush is over, until ctx ends.
func tidy(ctx context.Context) {
	const many = 100
	tick := time.NewTicker(2 * time.Second)
	defer tick.Stop()
	var tidied, seen int64
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		now := arrivals.Load()
		if now == seen && now-tidied >= many {
			for range 3 { // a stack that a handshake has made large is halved each time
				runtime.GC()
			}
			debug.FreeOSMemory()
			tidied = now
		}
		seen = now
	}
}

// run copies. Whichever end goes first, the other is told: the server by the end of what it reads, the client by the end of TLS.
func (p *pipe) run(ctx context.Context) {
	arrivals.Add(1)
	stop := context.AfterFunc(ctx, func() { p.client.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	done := make(chan struct{})
	go func() {
		defer close(done)
		p.down()
	}()
	p.up()
	p.server.CloseWrite()
	<-done
	p.server.Close()
}

// up copies from the client. A buffer for more than a few octets is held while there are more.
func (p *pipe) up() {
	few := make([]byte, small)
	for {
		n, err := p.client.Read(few)
		if n > 0 && !p.give(few[:n]) || err != nil {
			return
		}
		if n < len(few) {
			continue
		}
		many := upBuffers.Get().(*[16 << 10]byte)
		for more := true; more && err == nil; {
			n, err = p.client.Read(many[:])
			more = n == len(many)
			if n > 0 && !p.give(many[:n]) {
				err = net.ErrClosed
			}
		}
		upBuffers.Put(many)
		if err != nil {
			return
		}
	}
}

func (p *pipe) give(b []byte) bool {
	_, err := p.server.Write(b)
	return err == nil
}

// down copies to the client. The buffer is there only when there is something to put into it.
func (p *pipe) down() {
	defer p.client.Close()
	raw, err := p.server.SyscallConn()
	if err != nil {
		return
	}
	for {
		var n int
		var buf *[256 << 10]byte
		err := raw.Read(func(fd uintptr) bool {
			if buf == nil {
				buf = downBuffers.Get().(*[256 << 10]byte)
			}
			for {
				var err error
				if n, err = unix.Read(int(fd), buf[:]); err != syscall.EINTR {
					if err != syscall.EAGAIN {
						return true
					}
					downBuffers.Put(buf)
					buf = nil
					return false
				}
			}
		})
		if err == nil && n > 0 {
			p.client.SetWriteDeadline(time.Now().Add(writeTime))
			_, err = p.client.Write(buf[:n])
		}
		if buf != nil {
			downBuffers.Put(buf)
		}
		if err != nil || n <= 0 {
			return
		}
	}
}
