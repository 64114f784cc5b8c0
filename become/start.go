package become

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"

	"pennypost/become/ask"
	"pennypost/internal/config"
	"pennypost/internal/listen"
	"pennypost/internal/maillog"
	"pennypost/internal/packet"
	"pennypost/internal/uids"
)

// Load is the server mail.toml describes: the programs beside ours, for users of the suite.
func Load(file string) (*Server, error) {
	conf, err := config.Load(file, "log", "become", "imapd")
	self, err2 := os.Executable()
	if err = errors.Join(err, err2); err != nil {
		return nil, err
	}
	s := &Server{Socket: ask.Socket(conf.Run), Dir: filepath.Dir(self), MinUID: uint32(conf.Become.MinUID), MinGID: uint32(conf.Become.MinGID),
		Log: &maillog.Log{Program: "become", Times: conf.Log.Times}}
	for _, p := range [][]string{{"mailauth", "imapd"}, {"mailauth", "pop3d"}, {"mailqueue", "deliver-local", "--worker"}} {
		uid, err := uids.Lookup(p[0])
		if err != nil {
			return nil, err
		}
		s.Programs = append(s.Programs, Program{p[1], append(p[1:], "--config", conf.File), uid, map[string]int{"mailauth": conf.IMAPD.PerUser}[p[0]]})
	}
	return s, s.prepare()
}

// Listen confines us and obeys: the connection on descriptor 0, the socket handed to us, or run/become.sock.
func (s *Server) Listen(ctx context.Context) error {
	c, connected := packet.Inherited()
	var on []net.Listener
	var err error
	if !connected {
		on, err = listen.Handed(listen.Packet(s.Socket))
	}
	if err = errors.Join(err, Confine()); err != nil {
		return err
	}
	if !connected {
		s.Log.Start("become", on[0].Addr().String())
		return s.Serve(ctx, on)
	}
	s.Handle(c)
	s.children.Wait()
	return nil
}
