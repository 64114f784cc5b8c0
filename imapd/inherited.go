package imapd

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"os/user"
	"path/filepath"
	"syscall"
	"time"

	"pennypost/imapd/front"
	"pennypost/internal/config"
	"pennypost/internal/domains"
	"pennypost/internal/listen"
	"pennypost/internal/packet"
	"pennypost/login"
)

// Inherited serves what was handed to us on descriptor 0, if anything was: a connection that logs in, as from inetd; a session that
// mailauthd hands over, as from become; or, with an account or a Maildir, somebody who is known already, as from ssh (RFC 9051 section 7.1.4,
// PREAUTH). Who may read the mail is then for the system to say.
func (srv *Server) Inherited(ctx context.Context, conf *config.Config, service, account, dir string) (served bool, err error) {
	if c, ok := packet.Inherited(); ok {
		return true, srv.TakeOver(ctx, c)
	}
	conn, logIsPeer, connected := listen.Inherited()
	if logIsPeer {
		srv.Log.Out = listen.Syslog("imapd")
	}
	var id *login.Identity
	switch {
	case account != "" && dir != "":
		return false, errors.New("either --user or --maildir")
	case account != "":
		a, err := srv.Domains.Login(account)
		if err != nil {
			return false, errors.New(account + ": " + err.Error())
		}
		id = &login.Identity{Account: a, Authcid: a.Path().String()}
	case dir != "":
		if id, err = owner(conf, dir); err != nil {
			return false, err
		}
	case !connected:
		return false, nil
	default:
		listen.One(conn, srv.Limits.Of(service), func(c net.Conn) { srv.Handle(ctx, c, service == "imaps") }, front.Refuse)
		return true, nil
	}
	if !connected {
		conn = standard()
	}
	return true, srv.Preauth(ctx, conn, id)
}

// owner is the identity of a Maildir that belongs to no account of domains(5): whoever runs us.
func owner(conf *config.Config, dir string) (*login.Identity, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	name := "user"
	if u, err := user.Current(); err == nil {
		name = u.Username
	}
	a := &domains.Account{User: name, Domain: conf.Origin, Maildir: dir, Layout: conf.Mail.Layout, Delimiter: conf.Mail.Delimiter, Prefix: conf.Mail.Prefix}
	return &login.Identity{Account: a, Authcid: name}, nil
}

// Preauth serves a connection whose user is known.
func (srv *Server) Preauth(ctx context.Context, conn net.Conn, id *login.Identity) error {
	account, err := srv.open(id)
	if err != nil {
		conn.Write([]byte("* BYE [UNAVAILABLE] the mail is not to be reached now, try later\r\n"))
		return errors.Join(err, conn.Close())
	}
	srv.serve(ctx, conn, id, account, hello{})
	return nil
}

// stdio is descriptors 0 and 1 as a connection.
type stdio struct{ in, out *os.File }

// standard is our standard input and output. Only what can be waited for with a deadline can be interrupted: pipes and sockets.
func standard() net.Conn {
	for _, fd := range []int{0, 1} {
		var st syscall.Stat_t
		if syscall.Fstat(fd, &st) == nil && (st.Mode&syscall.S_IFMT == syscall.S_IFIFO || st.Mode&syscall.S_IFMT == syscall.S_IFSOCK) {
			syscall.SetNonblock(fd, true)
		}
	}
	return &stdio{os.NewFile(0, "standard input"), os.NewFile(1, "standard output")}
}

func (c *stdio) Read(b []byte) (int, error)         { return c.in.Read(b) }
func (c *stdio) Write(b []byte) (int, error)        { return c.out.Write(b) }
func (c *stdio) LocalAddr() net.Addr                { return stdioAddr{} }
func (c *stdio) RemoteAddr() net.Addr               { return stdioAddr{} }
func (c *stdio) SetReadDeadline(t time.Time) error  { return c.in.SetReadDeadline(t) }
func (c *stdio) SetWriteDeadline(t time.Time) error { return c.out.SetWriteDeadline(t) }
func (c *stdio) SetDeadline(t time.Time) error {
	return errors.Join(c.SetReadDeadline(t), c.SetWriteDeadline(t))
}

func (c *stdio) Close() error { return errors.Join(c.in.Close(), c.out.Close()) }

// stdioAddr has no address.
type stdioAddr struct{}

func (stdioAddr) Network() string { return "stdio" }
func (stdioAddr) String() string  { return netip.Addr{}.String() }
