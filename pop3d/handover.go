package pop3d

import (
	"context"
	"net"

	"pennypost/internal/packet"
	"pennypost/login"
)

// TakeOver serves one session that mailauthd hands over at the other end of c, to its end.
func (srv *Server) TakeOver(ctx context.Context, c *net.UnixConn) error {
	var drop *maildrop
	var id *login.Identity
	s, conn, err := login.Take(c, func(s *login.Session) (err error) {
		if id, err = s.Identity(srv.Domains); err == nil {
			drop, err = srv.open(ctx, id)
		}
		return err
	})
	c.Close()
	if err != nil {
		if drop != nil {
			drop.close()
		}
		return err
	}
	srv.serve(ctx, conn, id, drop, hello{s.Remote, s.Early, s.SASL})
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
		srv.Log.Warn("pop3 session", err)
	}
	c.Close()
}
