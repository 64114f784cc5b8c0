package mailkey

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"os"

	"pennypost/internal/packet"
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
			err := packet.Only(conn, "mailout") // who may have mail signed may write it in our name
			if err == nil {
				err = s.Serve(conn, conn)
			}
			if err != nil {
				warn(err)
			}
		}()
	}
}
