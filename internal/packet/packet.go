/*
Package packet moves lines with descriptors between our processes of one host: SOCK_SEQPACKET sockets, one packet a line without its
end and the descriptors that belong to it. become(8) is asked so, and mail sessions go from login to imapd and pop3d.
*/
package packet

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"pennypost/internal/uids"
)

// Longest is the longest line.
const Longest = 16 << 10

// mostFiles is how many descriptors a packet may have.
const mostFiles = 4

// ErrProtocol is a packet that is too long or brings too much.
var ErrProtocol = errors.New("not a line with its descriptors")

// Send sends a line with a descriptor, which stays the caller's, or without one (nil). It is left as it is: File.Fd would make it block
// for all who share it.
func Send(c *net.UnixConn, line string, file syscall.Conn) error {
	if line == "" || len(line) > Longest {
		return ErrProtocol
	}
	return Write(c, line, file)
}

// Write writes text with a descriptor, or without one (nil), to a socket of any type.
func Write(c *net.UnixConn, text string, file syscall.Conn) error {
	if file == nil {
		_, err := c.Write([]byte(text))
		return err
	}
	raw, err := file.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	n := 0
	err = raw.Control(func(fd uintptr) { n, _, failed = c.WriteMsgUnix([]byte(text), unix.UnixRights(int(fd)), nil) })
	if err = errors.Join(err, failed); err == nil && n < len(text) {
		_, err = c.Write([]byte(text[n:]))
	}
	return err
}

var buffers = sync.Pool{New: func() any { return new([Longest + 1]byte) }}

// Receive waits for a packet. Its descriptors close at exec(2) and are the caller's.
func Receive(c *net.UnixConn) (line string, files []*os.File, err error) {
	text := buffers.Get().(*[Longest + 1]byte)
	defer buffers.Put(text)
	rights := make([]byte, unix.CmsgSpace(4*mostFiles))
	n, on, flags, _, err := c.ReadMsgUnix(text[:], rights)
	if err != nil {
		return "", nil, err
	}
	files = Files(rights[:on])
	if n > Longest || flags&(unix.MSG_TRUNC|unix.MSG_CTRUNC) != 0 {
		Close(files)
		return "", nil, ErrProtocol
	}
	return string(text[:n]), files, nil
}

// Files are the descriptors of control messages.
func Files(rights []byte) (files []*os.File) {
	messages, _ := unix.ParseSocketControlMessage(rights) // the kernel wrote them
	for i := range messages {
		fds, _ := unix.ParseUnixRights(&messages[i])
		for _, fd := range fds {
			files = append(files, os.NewFile(uintptr(fd), "handed over"))
		}
	}
	return files
}

// Close closes files.
func Close(files []*os.File) {
	for _, f := range files {
		f.Close()
	}
}

// Peer is the uid of the process that made the other end (SO_PEERCRED).
func Peer(c syscall.Conn) (uint32, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return 0, err
	}
	var cred *unix.Ucred
	var failed error
	err = raw.Control(func(fd uintptr) { cred, failed = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) })
	if err = errors.Join(err, failed); err != nil {
		return 0, err
	}
	return cred.Uid, nil
}

// Only says who it is that made the other end, unless it is that user of ours, ourselves, or root.
func Only(c syscall.Conn, name string) error {
	uid, err := Peer(c)
	if err != nil || uid == 0 || uid == uint32(os.Geteuid()) {
		return err
	}
	if ours, err := uids.Lookup(name); err != nil || ours != uid {
		return fmt.Errorf("uid %d may not ask", uid)
	}
	return nil
}

// From is a connection whose other end was made by one of those uids.
func From(c net.Conn, ours map[uint32]bool) (*net.UnixConn, error) {
	u, ok := c.(*net.UnixConn)
	if !ok {
		return nil, errors.New("not a unix socket")
	}
	uid, err := Peer(u)
	if err == nil && !ours[uid] {
		err = fmt.Errorf("uid %d may not ask", uid)
	}
	return u, err
}

// Dial connects to path.
func Dial(path string) (*net.UnixConn, error) {
	c, err := (&net.Dialer{Timeout: 5 * time.Second}).Dial("unixpacket", path)
	if err != nil {
		return nil, err
	}
	return c.(*net.UnixConn), nil
}

// Pair is two connected ends: one for us, one for somebody else.
func Pair() (*net.UnixConn, *os.File, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, os.NewSyscallError("socketpair", err)
	}
	ours, theirs := os.NewFile(uintptr(fds[0]), "pair"), os.NewFile(uintptr(fds[1]), "pair")
	c, err := fileConn(ours)
	if err != nil {
		theirs.Close()
		return nil, nil, err
	}
	return c, theirs, nil
}

// OnZero reports whether descriptor 0 is a connection of ours.
func OnZero() bool {
	kind, err := unix.GetsockoptInt(0, unix.SOL_SOCKET, unix.SO_TYPE)
	return err == nil && kind == unix.SOCK_SEQPACKET
}

// Inherited is the connection on descriptor 0, if it is one of ours.
func Inherited() (*net.UnixConn, bool) {
	if !OnZero() {
		return nil, false
	}
	c, err := fileConn(os.Stdin)
	return c, err == nil
}

// fileConn makes a connection of a descriptor and closes it.
func fileConn(f *os.File) (*net.UnixConn, error) {
	c, err := net.FileConn(f)
	f.Close()
	if err != nil {
		return nil, err
	}
	u, ok := c.(*net.UnixConn)
	if !ok {
		c.Close()
		return nil, ErrProtocol
	}
	return u, nil
}

// Listen makes the socket path, which anybody may connect to: who may ask is for Peer to say. One left by a dead process is replaced.
func Listen(path string) (net.Listener, error) {
	l, err := net.Listen("unixpacket", path)
	if errors.Is(err, unix.EADDRINUSE) && abandoned(path) {
		if err = os.Remove(path); err == nil {
			l, err = net.Listen("unixpacket", path)
		}
	}
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(path, 0o666); err != nil {
		l.Close()
		return nil, fmt.Errorf("listen: %w", err)
	}
	return l, nil
}

func abandoned(path string) bool {
	info, err := os.Lstat(path)
	if err != nil || info.Mode()&fs.ModeSocket == 0 {
		return false
	}
	c, err := Dial(path)
	if err == nil {
		c.Close()
	}
	return errors.Is(err, unix.ECONNREFUSED)
}
