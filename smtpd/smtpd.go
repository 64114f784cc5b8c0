/*
Package smtpd is the server side of RFC 5321: mail from other hosts (mx), from our users (submission, submissions) and
from programs beside us (lmtp, RFC 2033). It makes spool files and nothing else:

	network ─ smtpd ─▶ in/mx/new  in/submit/new  in/lmtp/new

	in/PRODUCER/tmp/ID   being received, not acknowledged    removed after 36 hours
	in/PRODUCER/new/ID   answered with 250: ours             found by queue-run
	reports/dmarc/DATE   a line for a judged message         told by mailreport send

After 250 to the final dot the file is on disk; whatever goes wrong before is a 4yz or 5yz and leaves nothing behind. Nothing is
known of a client between connections but what its source did within the hour (sources.go).

The session is a table (commands.go): which command is taken in which state and who answers it. One file per family of
commands:

	session.go  the connection and its loop      greet.go  EHLO HELO LHLO      mail.go  MAIL
	sources.go  who may come, and how often
	rcpt.go relay.go  RCPT, and for whom         data.go bdat.go content.go    the message
	auth.go  AUTH    starttls.go  STARTTLS       lmtp.go  what LMTP does otherwise
	verify.go  what becomes of mail from outside, trust.go  but for exceptions
	received.go fixup.go  what we add            reply.go errors.go  what we say
*/
package smtpd

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"pennypost/internal/address"
	"pennypost/internal/config"
	"pennypost/internal/domains"
	"pennypost/internal/listen"
	"pennypost/internal/maillog"
	"pennypost/internal/srs"
	"pennypost/login"
	"pennypost/msgauth"
	"pennypost/queue"
)

// Domains says which mail is ours.
type Domains interface {
	Lookup(to address.Path) (domains.Answer, error)
	Owns(a *domains.Account, from address.Path) (bool, error)
}

// Checker checks a login.
type Checker interface {
	Check(ctx context.Context, r login.Request) (*login.Identity, error)
}

// Spool is where messages go.
type Spool interface {
	NewID() string
	Begin(producer string, env *queue.Envelope) (Writer, error)
	BeginReady(producer, id string) (Writer, error)
	Free() (bytes, inodes uint64, err error)
}

// Writer is one message on its way into the spool, as queue.Writer.
type Writer interface {
	Write(p []byte) (int, error)
	Later(room int)
	Fill(checks string, text func(size int) []byte) error
	Commit() error
	Hint()
	Abort()
}

// Server answers connections. Fields are not changed while it serves, but by Reload.
type Server struct {
	Hostname string
	Origin   string // domain that completes postmaster
	Settings *config.SMTPD
	Ready    bool   // single virtual mailboxes get the link-ready form
	Over     string // directory of names of mailboxes over quota, "" none
	Spool    Spool
	Domains  Domains
	Login    Checker          // nil: nobody can log in
	Sources  *listen.Tables   // who is connected and how often they came; nil: counted by this process alone
	SRS      *srs.Rewriter    // nil: no addresses of ours to take bounces for
	Checker  *msgauth.Checker // nil: nobody's mail is judged
	Trust    *Trust           // exceptions from that
	Reports  string           // directory that DMARC's aggregate reports are made from, "" none
	TLS      *tls.Config      // nil: no TLS
	Log      *maillog.Log
	Sleep    func(time.Duration) // nil: time.Sleep

	names      []string                      // authserv-ids that are ours
	settings   atomic.Pointer[config.SMTPD]  // what new sessions get
	lets       atomic.Pointer[listen.Limits] // who is let in
	relay      atomic.Pointer[relaying]
	unreported atomic.Pointer[string] // why the last row of a report was lost
	stopping   atomic.Bool
	broken     atomic.Bool // the disk failed under a message: nothing is taken until somebody looked
	open       atomic.Int64
	second     atomic.Pointer[second]
	space      space

	mu       sync.Mutex
	sessions map[*session]struct{}
}

// Services are the names of what can be served: keys of [smtpd], arguments of --service, names of passed sockets.
var Services = []string{"mx", "submission", "submissions", "lmtp"}

// service is one of Services.
type service struct {
	name     string
	producer string // directory under in/
	protocol string // first word of "with" in Received
	lmtp     bool
	login    bool // users only
	implicit bool // TLS from the first octet
}

func serviceNamed(name string) (service, bool) {
	for _, s := range []service{
		{name: "mx", producer: "mx", protocol: "SMTP"},
		{name: "submission", producer: "submit", protocol: "SMTP", login: true},
		{name: "submissions", producer: "submit", protocol: "SMTP", login: true, implicit: true},
		{name: "lmtp", producer: "lmtp", protocol: "LMTP", lmtp: true},
	} {
		if s.name == name {
			return s, true
		}
	}
	return service{}, false
}

// Reload has new sessions work with other settings.
func (srv *Server) Reload(settings *config.SMTPD) {
	srv.relay.Store(newRelaying(settings))
	srv.lets.Store(limitsOf(settings))
	srv.settings.Store(settings)
}

// prepare makes a literal ready; it may be called often.
func (srv *Server) prepare() {
	srv.mu.Lock()
	defer srv.mu.Unlock()
	if srv.sessions == nil {
		srv.sessions = map[*session]struct{}{}
		srv.names = []string{srv.Hostname}
		srv.Reload(srv.Settings)
		if srv.Log == nil {
			srv.Log = &maillog.Log{Program: "smtpd"}
		}
		if srv.Sources == nil {
			srv.Sources = &listen.Tables{}
		}
		if srv.Sleep == nil {
			srv.Sleep = time.Sleep
		}
	}
}

// Serve answers connections of the listeners, named by service, until ctx ends, and then lets transactions finish.
func (srv *Server) Serve(ctx context.Context, listeners map[string][]net.Listener) error {
	srv.prepare()
	defer context.AfterFunc(ctx, srv.stop)()
	for name, on := range listeners {
		svc, ok := serviceNamed(name)
		if !ok {
			return errors.New("no service " + name)
		}
		if svc.implicit && srv.TLS == nil {
			return errors.New(name + " needs a certificate, see tls.certificates in mail.toml(5)")
		}
		for _, l := range on {
			srv.Log.Start(name, l.Addr().String())
		}
	}
	on := func(do func(service, net.Conn)) func(string, net.Conn) {
		return func(name string, c net.Conn) {
			svc, _ := serviceNamed(name)
			do(svc, c)
		}
	}
	return listen.ServeAll(ctx, listeners, srv.limits(), on(srv.serve), on(srv.refuse))
}

// ServeConn answers one connection, as inetd wants it.
func (srv *Server) ServeConn(ctx context.Context, name string, c net.Conn) error {
	srv.prepare()
	defer context.AfterFunc(ctx, srv.stop)()
	svc, ok := serviceNamed(name)
	if !ok {
		return errors.New("no service " + name)
	}
	if svc.implicit && srv.TLS == nil {
		return errors.New(name + " needs a certificate, see tls.certificates in mail.toml(5)")
	}
	listen.One(c, srv.limits().Of(name), func(c net.Conn) { srv.serve(svc, c) }, func(c net.Conn) { srv.refuse(svc, c) })
	return nil
}

// stop has idle sessions say goodbye now, and others when their transaction is over.
func (srv *Server) stop() {
	srv.stopping.Store(true)
	srv.mu.Lock()
	defer srv.mu.Unlock()
	for s := range srv.sessions {
		if s.idle.Load() {
			s.raw.SetReadDeadline(time.Unix(1, 0))
		}
	}
}

// refuse turns away a connection beyond the limits. Limits.Refused has it in the log.
func (srv *Server) refuse(svc service, c net.Conn) {
	if svc.implicit {
		return // there is no way to say it without a handshake
	}
	c.SetDeadline(time.Now().Add(time.Second))
	c.Write([]byte("421 4.7.0 " + srv.Hostname + " too many connections, try later\r\n"))
}

// contains reports whether one of the networks holds a.
func contains(networks []netip.Prefix, a netip.Addr) bool {
	for _, p := range networks {
		if p.Contains(a) {
			return true
		}
	}
	return false
}
