package mailkey

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"

	"golang.org/x/sys/unix"

	"pennypost/internal/uids"
)

// maxClients is how many connections are served at once; deliver-remote has one.
const maxClients = 16

// Listen answers requests at a socket: for a signer that a supervisor runs under a uid of its own, which alone reads the keys. They are taken
// from deliver-remote's uid, from our own and from root.
func (s *Signer) Listen(ctx context.Context, path string, warn func(error)) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return err
	}
	if err := os.Chmod(path, 0o660); err != nil {
		return err
	}
	defer context.AfterFunc(ctx, func() { l.Close() })()
	room := make(chan struct{}, maxClients)
	for {
		room <- struct{}{}
		conn, err := l.AcceptUnix()
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		go func() {
			defer func() { conn.Close(); <-room }()
			err := mayAsk(conn)
			if err == nil {
				err = s.Serve(conn, conn)
			}
			if err != nil {
				warn(err)
			}
		}()
	}
}

// mayAsk refuses others: who may have mail signed may write it in our name.
func mayAsk(conn *net.UnixConn) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	var peer *unix.Ucred
	if e := raw.Control(func(fd uintptr) { peer, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) }); e != nil || err != nil {
		return errors.Join(e, err)
	}
	out, none := uids.System.User("mailout")
	if peer.Uid == 0 || int(peer.Uid) == os.Getuid() || none == nil && int(peer.Uid) == out {
		return nil
	}
	return fmt.Errorf("uid %d is not deliver-remote's", peer.Uid)
}
