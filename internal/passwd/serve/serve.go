/*
Package serve is mailgetent: it answers who is a Unix user, for programs of ours that are not to start others; mailgetent(8).

	run/getent/sock     a packet NAME, and its answer: user NAME UID GID[,GID…] HOME SHELL | nobody | later WHY

It starts getent and id, which read what the C library reads; it holds nothing but what they said in the last minute. Only users of the
suite are answered, so that nobody else can keep it busy.
*/
package serve

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"

	"pennypost/internal/config"
	"pennypost/internal/listen"
	"pennypost/internal/maillog"
	"pennypost/internal/packet"
	"pennypost/internal/passwd"
	"pennypost/internal/uids"
)

// Server answers.
type Server struct {
	Socket string
	Lookup passwd.Lookup
	Ours   map[uint32]bool // uids that may ask
	Log    *maillog.Log
}

// Load is the server mail.toml describes.
func Load(file string) (*Server, error) {
	conf, err := config.Load(file, "log", "mail")
	if err != nil {
		return nil, err
	}
	s := &Server{Socket: passwd.Socket(conf.Run), Ours: map[uint32]bool{0: true, uint32(os.Getuid()): true}}
	s.Lookup.MinUID, s.Lookup.MinGID = uint32(conf.Become.MinUID), uint32(conf.Become.MinGID)
	s.Log = &maillog.Log{Program: "mailgetent", Times: conf.Log.Times}
	for _, u := range uids.Users {
		if uid, err := uids.Lookup(u.Name); err == nil {
			s.Ours[uid] = true
		}
	}
	return s, nil
}

// Listen answers at the socket a supervisor passed, else at its own; a connection on descriptor 0 is answered to its end.
func (s *Server) Listen(ctx context.Context) error {
	if c, ok := packet.Inherited(); ok {
		s.handle(c)
		return nil
	}
	passed, err := listen.Passed()
	if err != nil {
		return err
	}
	var on []net.Listener
	for _, l := range passed {
		on = append(on, l...)
	}
	if len(on) == 0 {
		if err := os.MkdirAll(filepath.Dir(s.Socket), 0o755); err != nil {
			return err
		}
		l, err := packet.Listen(s.Socket)
		if err != nil {
			return err
		}
		on = append(on, l)
	}
	s.Log.Start("mailgetent", on[0].Addr().String())
	return listen.Serve(ctx, on, listen.Limits{Total: 512}, s.handle, func(net.Conn) {})
}

func (s *Server) handle(c net.Conn) {
	u, ok := c.(*net.UnixConn)
	err := errors.New("not a unix socket")
	if ok {
		var uid uint32
		if uid, err = packet.Peer(u); err == nil && !s.Ours[uid] {
			err = fmt.Errorf("uid %d may not ask", uid)
		}
	}
	if err == nil {
		err = s.Lookup.Serve(u)
	}
	if err != nil {
		c.Close()
		s.Log.Refuse("getent", "local", err.Error())
	}
}
