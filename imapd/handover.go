package imapd

import (
	"context"
	"net"

	"pennypost/internal/packet"
	"pennypost/login"
)

// TakeOver serves one session that mailauthd hands over at the other end of c, to its end.
func (srv *Server) TakeOver(ctx context.Context, c *net.UnixConn) error {
	var account *shared
	var id *login.Identity
	s, conn, err := login.Take(c, func(s *login.Session) (err error) {
		if id, err = s.Identity(srv.Domains); err == nil {
			account, err = srv.admit(id)
		}
		return err
	})
	c.Close()
	if err != nil {
		if account != nil {
			srv.leave(account)
		}
		return err
	}
	srv.serve(ctx, conn, id, account, hello{s.Tag, s.Remote, s.Early})
	return nil
}

// takeOver is TakeOver at the socket of the resident server, where only mailauthd is heard.
func (srv *Server) takeOver(ctx context.Context, conn net.Conn) {
	c := conn.(*net.UnixConn)
	err := packet.Only(c, "mailauth")
	if err == nil {
		err = srv.TakeOver(ctx, c)
	}
	if err != nil {
		srv.Log.Warn("imap session", err)
	}
	c.Close()
}
