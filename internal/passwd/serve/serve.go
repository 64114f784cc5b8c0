/*
Package serve is mailgetent: it answers who is a Unix user, for programs of ours that are not to start others; mailgetent(8).

	run/getent/sock     a packet NAME, and its answer: user NAME UID GID[,GID…] HOME SHELL | nobody | later WHY

It starts getent and id, which read what the C library reads; it holds nothing but what they said in the last minute. Only users of the
suite are answered, so that nobody else can keep it busy.
*/
package serve

import (
	"context"
	"net"
	"os"

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
	return listen.Packets(ctx, s.Socket, 0o755, 512, s.Log, s.handle)
}

func (s *Server) handle(c net.Conn) {
	u, err := packet.From(c, s.Ours)
	if err == nil {
		err = s.Lookup.Serve(u)
	}
	if err != nil {
		c.Close()
		s.Log.Refuse("getent", "local", err.Error())
	}
}
