package login

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"

	"pennypost/become/ask"
	"pennypost/internal/config"
	"pennypost/internal/packet"
)

// handover is where sessions go.
type handover struct {
	resident map[string]string // sockets of imapd and pop3d of vmail, by service
	program  map[string]string // that become starts for a Unix user, by service
	become   string            // its socket
}

// newHandover is what mail.toml says.
func newHandover(conf *config.Config) *handover {
	return &handover{
		resident: map[string]string{"imap": conf.IMAPD.Sessions, "pop3": conf.POP3D.Sessions},
		program:  map[string]string{"imap": "imapd", "pop3": "pop3d"},
		become:   ask.Socket(conf.Run),
	}
}

// serve has a session served, under the uid that its mail belongs to.
func (h *handover) serve(ctx context.Context, s *Session, id *Identity, client *os.File) error {
	c, err := h.server(ctx, s.Service, id)
	if err != nil {
		return err
	}
	defer c.Close()
	return s.Hand(ctx, c, client)
}

// server is a connection to who serves.
func (h *handover) server(ctx context.Context, service string, id *Identity) (*net.UnixConn, error) {
	u := id.Account.Unix
	if u == nil {
		if h.resident[service] == "" {
			return nil, fmt.Errorf("nobody serves %s sessions, see sessions in mail.toml(5)", service)
		}
		return packet.Dial(h.resident[service])
	}
	ours, theirs, err := packet.Pair()
	if err != nil {
		return nil, err
	}
	defer theirs.Close()
	err = ask.Ask(ctx, h.become, ask.Request{Program: h.program[service], UID: u.UID, GIDs: u.GIDs(), Name: u.Name, Home: u.Home}, theirs)
	if err != nil {
		ours.Close()
	}
	switch {
	case errors.Is(err, ask.ErrMost):
		return nil, ErrSessions
	case err != nil:
		return nil, err
	}
	return ours, nil
}
