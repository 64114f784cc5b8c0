package smtpd

import (
	"io"
	"net"
	"os"
	"os/signal"

	"pennypost/internal/certs"
	"pennypost/internal/config"
	"pennypost/internal/listen"
)

// ReloadOn waits for a signal, again and again, and has new sessions work with what mail.toml and the certificates
// say then. Addresses, spool and domains stay what they were. A mail.toml with a mistake changes nothing.
func (srv *Server) ReloadOn(sig os.Signal, file string, store *certs.Store) {
	c := make(chan os.Signal, 1)
	signal.Notify(c, sig)
	for range c {
		if store != nil {
			store.Reload()
		}
		conf, err := config.Load(file, Sections...)
		if err != nil {
			srv.Log.Warn("reload", err)
			continue
		}
		srv.Reload(&conf.SMTPD)
	}
}

// Inherited is the connection on descriptor 0, if that is what we are to serve, and where to log if descriptor 2 is the
// client. A supervisor may give its children a unix socket for want of another input: it is served only where --service
// asks for it.
func Inherited(service, listening bool) (conn net.Conn, log io.Writer) {
	conn, logIsPeer, ok := listen.Inherited()
	if logIsPeer {
		log = listen.Syslog("smtpd")
	}
	if _, tcp := conn.(*net.TCPConn); !ok || listening || !tcp && !service {
		return nil, log
	}
	return conn, log
}

// Listeners are the sockets to serve, by service: those handed to us, else those of the flags ("mx=127.0.0.1:25"), else
// those of mail.toml.
func Listeners(set *config.SMTPD, flags []string) (map[string][]net.Listener, error) {
	return listen.Services(map[string][]string{"mx": set.MX, "submission": set.Submission, "submissions": set.Submissions, "lmtp": set.LMTP},
		flags, "smtpd.mx")
}
