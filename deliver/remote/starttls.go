package remote

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net/netip"
	"strings"
	"time"

	"pennypost/internal/status"
)

// maybeTLS says STARTTLS (RFC 3207) as the login of the destination wants it:
//
//	may      when offered; if it fails, a new connection without it, and none is tried for an hour
//	verify   it must be offered, and the certificate must prove the name of the host
//	none     never
func (s *session) maybeTLS(d *destination) *trouble {
	must := d.login.tls == "verify"
	plain, _ := s.c.memory.quirks(s.addr)
	switch {
	case s.conn != s.tcp || d.login.tls == "none" || !s.addr.IsValid():
		return nil
	case !s.ext.starttls && must:
		return &trouble{Result: later(451, "4.7.4", "TLS is required here but the host does not offer it"), other: true, site: true}
	case !s.ext.starttls || plain && !must:
		return nil
	}
	s.queue("STARTTLS")
	r, t := s.answer(s.c.conf.Remote.CommandTime, nil)
	switch {
	case t != nil:
		return t
	case r.code != 220 && must:
		t := s.unwelcome("STARTTLS", r)
		t.Outcome, t.Enhanced = status.Deferred, "4.7.4"
		return t
	case r.code != 220:
		return nil // offered but not to be had: go on as without it
	case s.r.Buffered() > 0:
		// Somebody between us put words into the clear part that would count as said under TLS (S026). Such a path is not
		// trusted with the message in clear either.
		s.broken = true
		return &trouble{Result: later(451, "4.7.0", "octets after the reply to STARTTLS: somebody interferes"), other: true, site: true}
	}
	if t := s.handshake(d); t != nil {
		return t
	}
	return s.hello(d) // section 4.2: what was offered before counts no more
}

// handshake turns TLS on.
func (s *session) handshake(d *destination) *trouble {
	must := d.login.tls == "verify"
	name := strings.Trim(s.name, "[]")
	conf := &tls.Config{
		ServerName:         name,
		MinVersion:         tls.VersionTLS12,
		RootCAs:            s.c.roots,
		InsecureSkipVerify: true, // verified below, also where the outcome is only reported
		ClientSessionCache: s.c.tickets,
	}
	verified := false
	conf.VerifyConnection = func(state tls.ConnectionState) error {
		err := verify(state, name, s.c.roots)
		verified = err == nil
		if must {
			return err
		}
		return nil
	}
	conn := tls.Client(s.tcp, conf)
	s.tcp.SetDeadline(time.Now().Add(min(tlsTime, max(time.Until(s.limit), time.Second))))
	if err := conn.Handshake(); err != nil {
		s.broken = true
		if !must && s.addr.IsValid() {
			s.c.memory.noTLS(s.addr)
		}
		return &trouble{Result: later(451, "4.7.5", "TLS: "+cause(err)), other: true, site: true, plain: !must && !d.implicitTLS}
	}
	s.tcp.SetDeadline(time.Time{})
	s.conn, s.r = conn, bufio.NewReaderSize(conn, 4096)
	s.secure = protocol(conn.ConnectionState().Version)
	if verified {
		s.secure += ", certificate verified"
	} else {
		s.secure += ", certificate not verified"
	}
	return nil
}

// verify checks the chain and the name; a host known by address only needs the address in its certificate.
func verify(state tls.ConnectionState, name string, roots *x509.CertPool) error {
	opts := x509.VerifyOptions{Roots: roots, Intermediates: x509.NewCertPool()}
	if len(state.PeerCertificates) == 0 {
		return errors.New("no certificate")
	}
	for _, cert := range state.PeerCertificates[1:] {
		opts.Intermediates.AddCert(cert)
	}
	if _, err := state.PeerCertificates[0].Verify(opts); err != nil {
		return err
	}
	if _, err := netip.ParseAddr(name); err == nil {
		name = "[" + name + "]"
	}
	return state.PeerCertificates[0].VerifyHostname(name)
}
