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
	conf, err := config.Load(file, "log", "become")
	if err != nil {
		return nil, err
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	s := &Server{Socket: ask.Socket(conf.Run), Dir: filepath.Dir(self), MinUID: uint32(conf.Become.MinUID), MinGID: uint32(conf.Become.MinGID)}
	s.Log = &maillog.Log{Program: "become", Times: conf.Log.Times}
	for _, p := range []struct{ client, name, flag string }{
		{"mailauth", "imapd", "--session"}, {"mailauth", "pop3d", "--session"}, {"mailqueue", "deliver-local", "--worker"},
	} {
		uid, err := uids.Lookup(p.client)
		if err != nil {
			return nil, err
		}
		s.Programs = append(s.Programs, Program{p.name, []string{p.name, p.flag, "--config", conf.File}, uid})
	}
	return s, s.prepare()
}

// Listen confines us and obeys: the connection on descriptor 0, the socket handed to us, or run/become.sock.
func (s *Server) Listen(ctx context.Context) error {
	c, connected := packet.Inherited()
	var on []net.Listener
	var err error
	if !connected {
		on, err = sockets(s.Socket)
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

// sockets are the sockets that a supervisor handed over, else the one at path.
func sockets(path string) (on []net.Listener, err error) {
	passed, err := listen.Passed()
	if err != nil {
		return nil, err
	}
	for _, l := range passed {
		on = append(on, l...)
	}
	if len(on) == 0 {
		l, err := packet.Listen(path)
		if err != nil {
			return nil, err
		}
		on = append(on, l)
	}
	return on, nil
}
