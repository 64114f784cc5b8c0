package order

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// batch is how many packets one recvmmsg or sendmmsg moves at most.
const batch = 32

// Conn is one end of a worker's connection. It is safe for concurrent use.
type Conn struct {
	file *os.File
	raw  syscall.RawConn

	send sync.Mutex
	out  []byte // packets to send, one after the other
	ends []int  // where each ends in out
	fds  []int  // the descriptor of each, or -1
	to   struct {
		msgs   [batch]mmsghdr
		vecs   [batch]unix.Iovec
		rights [batch]right
	}

	receive sync.Mutex
	in      packets
}

// NewConn takes over a SEQPACKET descriptor; for workers that is fd 0.
func NewConn(fd int) (*Conn, error) {
	kind, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE)
	if err != nil || kind != unix.SOCK_SEQPACKET {
		return nil, fmt.Errorf("descriptor %d: not a SEQPACKET socket", fd)
	}
	if err := unix.SetNonblock(fd, true); err != nil {
		return nil, os.NewSyscallError("fcntl", err)
	}
	unix.CloseOnExec(fd)
	file := os.NewFile(uintptr(fd), "orders")
	raw, err := file.SyscallConn()
	if err != nil {
		return nil, err
	}
	return &Conn{file: file, raw: raw}, nil
}

// Pair makes a connected pair: one end for us, one for a child's fd 0.
func Pair() (*Conn, *os.File, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, os.NewSyscallError("socketpair", err)
	}
	c, err := NewConn(fds[0])
	if err != nil {
		unix.Close(fds[0])
		unix.Close(fds[1])
		return nil, nil, err
	}
	return c, os.NewFile(uintptr(fds[1]), "orders"), nil
}

// Dial connects to a worker that listens at path.
func Dial(path string) (*Conn, error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	if err := unix.Connect(fd, &unix.SockaddrUnix{Name: path}); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("connect %s: %w", path, err)
	}
	return NewConn(fd)
}

// Listener accepts connections of queue-run; workers under their own uid have one.
type Listener struct{ file *os.File }

// Listen makes the socket path. A socket left by a dead worker is replaced.
func Listen(path string) (*Listener, error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	if info, err := os.Lstat(path); err == nil && info.Mode()&os.ModeSocket != 0 {
		os.Remove(path)
	}
	if err = unix.Bind(fd, &unix.SockaddrUnix{Name: path}); err == nil {
		err = os.Chmod(path, 0o666) // whatever the umask; who may give orders is asked of the connection
	}
	if err == nil {
		err = unix.Listen(fd, 16)
	}
	if err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("listen %s: %w", path, err)
	}
	return &Listener{os.NewFile(uintptr(fd), path)}, nil
}

// Accept waits for a connection. Its peer's uid is checked by the caller: see Conn.PeerUID.
func (l *Listener) Accept() (*Conn, error) {
	raw, err := l.file.SyscallConn()
	if err != nil {
		return nil, err
	}
	var fd int
	var failed error
	err = raw.Read(func(s uintptr) bool {
		fd, _, failed = unix.Accept4(int(s), unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK)
		return failed != unix.EAGAIN && failed != unix.EINTR
	})
	if err == nil {
		err = failed
	}
	if err != nil {
		return nil, err
	}
	return NewConn(fd)
}

// Close ends listening.
func (l *Listener) Close() error { return l.file.Close() }

// PeerUID is the uid of the process that made the other end (SO_PEERCRED).
func (c *Conn) PeerUID() (uid uint32, err error) {
	err2 := c.raw.Control(func(fd uintptr) {
		var cred *unix.Ucred
		if cred, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED); err == nil {
			uid = cred.Uid
		}
	})
	return uid, errors.Join(err, err2)
}

// Close ends the connection; the other end sees io.EOF.
func (c *Conn) Close() error { return c.file.Close() }

// SendOrders sends several orders, each with its descriptor (or -1), in as few system calls as possible.
// The descriptors stay the caller's.
func (c *Conn) SendOrders(orders []Order, fds []int) error {
	c.send.Lock()
	defer c.send.Unlock()
	c.out, c.ends, c.fds = c.out[:0], c.ends[:0], c.fds[:0]
	for i := range orders {
		c.out = orders[i].Append(c.out)
		fd := -1
		if i < len(fds) {
			fd = fds[i]
		}
		c.ends, c.fds = append(c.ends, len(c.out)), append(c.fds, fd)
	}
	return c.flush()
}

// SendAnswers says several answers; as many as fit share a packet.
func (c *Conn) SendAnswers(answers []Answer) error {
	const full = 16 << 10
	c.send.Lock()
	defer c.send.Unlock()
	c.out, c.ends, c.fds = c.out[:0], c.ends[:0], c.fds[:0]
	start := 0
	for i := range answers {
		if len(c.out) > start {
			c.out = append(c.out, '\n')
		}
		c.out = answers[i].Append(c.out)
		if len(c.out)-start > full || i == len(answers)-1 {
			c.ends, c.fds, start = append(c.ends, len(c.out)), append(c.fds, -1), len(c.out)
		}
	}
	return c.flush()
}

// flush sends the packets in c.out.
func (c *Conn) flush() error {
	for done, start := 0, 0; done < len(c.ends); {
		n, err := c.sendmmsg(start, c.ends[done:], c.fds[done:])
		if err != nil {
			return err
		}
		done += n
		start = c.ends[done-1]
	}
	return nil
}

// mmsghdr is struct mmsghdr of recvmmsg(2).
type mmsghdr struct {
	hdr unix.Msghdr
	len uint32
	_   [4]byte
}

// right is one control message with one descriptor.
type right struct {
	hdr unix.Cmsghdr
	fd  int32
	_   int32
}

// sendmmsg sends some of the packets that begin at start in c.out and end at ends.
func (c *Conn) sendmmsg(start int, ends, fds []int) (sent int, err error) {
	msgs, vecs, rights := &c.to.msgs, &c.to.vecs, &c.to.rights
	n := min(batch, len(ends))
	for i := range n {
		if ends[i]-start > MaxPacket || ends[i] == start {
			return 0, fmt.Errorf("%w: packet of %d octets", ErrProtocol, ends[i]-start)
		}
		vecs[i].Base = &c.out[start]
		vecs[i].SetLen(ends[i] - start)
		start = ends[i]
		msgs[i] = mmsghdr{}
		m := &msgs[i].hdr
		m.Iov = &vecs[i]
		m.SetIovlen(1)
		if fds[i] >= 0 {
			rights[i].hdr.Level, rights[i].hdr.Type = unix.SOL_SOCKET, unix.SCM_RIGHTS
			rights[i].hdr.SetLen(unix.CmsgLen(4))
			rights[i].fd = int32(fds[i])
			m.Control = (*byte)(unsafe.Pointer(&rights[i]))
			m.SetControllen(unix.CmsgSpace(4))
		}
	}
	var errno syscall.Errno
	err = c.raw.Write(func(fd uintptr) bool {
		for {
			r, _, e := syscall.Syscall6(unix.SYS_SENDMMSG, fd, uintptr(unsafe.Pointer(&msgs[0])), uintptr(n),
				unix.MSG_NOSIGNAL|unix.MSG_DONTWAIT, 0, 0)
			if e == unix.EINTR {
				continue
			}
			sent, errno = int(r), e
			return e != unix.EAGAIN
		}
	})
	if err == nil && errno != 0 {
		err = os.NewSyscallError("sendmmsg", errno)
	}
	return sent, err
}

// packets is what one recvmmsg brought.
type packets struct {
	msgs   [batch]mmsghdr
	vecs   [batch]unix.Iovec
	rights [batch]right
	buf    []byte // batch times MaxPacket; what is never filled is never in memory
	n      int
	next   int
}

// fill waits until at least one packet is there.
func (c *Conn) fill() error {
	p := &c.in
	if p.buf == nil {
		p.buf = make([]byte, batch*MaxPacket)
	}
	for i := range batch {
		p.vecs[i].Base = &p.buf[i*MaxPacket]
		p.vecs[i].SetLen(MaxPacket)
		p.rights[i] = right{}
		m := &p.msgs[i].hdr
		*m = unix.Msghdr{Iov: &p.vecs[i], Control: (*byte)(unsafe.Pointer(&p.rights[i]))}
		m.SetIovlen(1)
		m.SetControllen(unix.CmsgLen(4)) // one descriptor and not, as CmsgSpace would allow, two
		p.msgs[i].len = 0
	}
	var errno syscall.Errno
	p.n, p.next = 0, 0
	err := c.raw.Read(func(fd uintptr) bool {
		for {
			r, _, e := syscall.Syscall6(unix.SYS_RECVMMSG, fd, uintptr(unsafe.Pointer(&p.msgs[0])), batch,
				unix.MSG_DONTWAIT|unix.MSG_CMSG_CLOEXEC, 0, 0)
			if e == unix.EINTR {
				continue
			}
			if errno = e; e == 0 {
				p.n = int(r)
			}
			return e != unix.EAGAIN
		}
	})
	switch {
	case err != nil:
		return err
	case errno == unix.ECONNRESET:
		return io.EOF
	case errno != 0:
		return os.NewSyscallError("recvmmsg", errno)
	case p.n == 0:
		return io.EOF
	}
	return nil
}

// take gives the next packet, its octets valid until the next fill. An empty packet is the end of the connection.
func (p *packets) take() (packet []byte, fd int, err error) {
	m, r := &p.msgs[p.next], &p.rights[p.next]
	packet = p.buf[p.next*MaxPacket:][:m.len]
	fd = -1
	p.next++
	if m.hdr.Controllen >= uint64(unix.CmsgLen(4)) && r.hdr.Level == unix.SOL_SOCKET && r.hdr.Type == unix.SCM_RIGHTS {
		fd = int(r.fd)
	}
	switch {
	case len(packet) == 0:
		err = io.EOF
	case m.hdr.Flags&(unix.MSG_TRUNC|unix.MSG_CTRUNC) != 0:
		err = fmt.Errorf("%w: packet too long or too many descriptors", ErrProtocol)
	}
	return packet, fd, err
}

// drop closes the descriptors of packets that nobody will look at.
func (p *packets) drop() {
	for p.next < p.n {
		if _, fd, _ := p.take(); fd >= 0 {
			unix.Close(fd)
		}
	}
}

// ReceiveOrders waits for orders and returns those that are there, at most max. The descriptors (or -1) are the caller's to close.
// io.EOF when queue-run has gone.
func (c *Conn) ReceiveOrders(max int) ([]Order, []int, error) {
	c.receive.Lock()
	defer c.receive.Unlock()
	if c.in.next >= c.in.n {
		if err := c.fill(); err != nil {
			return nil, nil, err
		}
	}
	var orders []Order
	var fds []int
	for c.in.next < c.in.n && (max <= 0 || len(orders) < max) {
		packet, fd, err := c.in.take()
		if err == nil {
			var o Order
			if o, err = ParseOrder(packet); err == nil {
				orders, fds = append(orders, o), append(fds, fd)
				continue
			}
		}
		if fd >= 0 {
			unix.Close(fd)
		}
		if len(orders) > 0 { // these first; the next call meets the same end
			if err != io.EOF {
				c.in.drop()
				c.raw.Control(func(s uintptr) { unix.Shutdown(int(s), unix.SHUT_RDWR) })
			}
			return orders, fds, nil
		}
		c.in.drop()
		return nil, nil, err
	}
	return orders, fds, nil
}

// ReceiveAnswers waits for answers and returns those that are there. io.EOF when the worker has gone.
func (c *Conn) ReceiveAnswers() ([]Answer, error) {
	c.receive.Lock()
	defer c.receive.Unlock()
	if c.in.next >= c.in.n {
		if err := c.fill(); err != nil {
			return nil, err
		}
	}
	var answers []Answer
	for c.in.next < c.in.n {
		packet, fd, err := c.in.take()
		if fd >= 0 { // a worker has nothing to hand us
			unix.Close(fd)
		}
		for err == nil && len(packet) > 0 {
			line := packet
			if i := bytes.IndexByte(packet, '\n'); i >= 0 {
				line, packet = packet[:i], packet[i+1:]
			} else {
				packet = nil
			}
			if len(line) == 0 {
				continue
			}
			var a Answer
			if a, err = ParseAnswer(line); err == nil {
				answers = append(answers, a)
			}
		}
		if err != nil {
			if len(answers) > 0 {
				c.raw.Control(func(s uintptr) { unix.Shutdown(int(s), unix.SHUT_RDWR) })
				c.in.drop()
				return answers, nil
			}
			c.in.drop()
			return nil, err
		}
	}
	return answers, nil
}
