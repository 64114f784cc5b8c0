package remote

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"pennypost/deliver/remote/dane"
	"pennypost/internal/status"
	"pennypost/internal/tlsrpt"
)

// maybeTLS says STARTTLS (RFC 3207) as the demand wants it. Up to may it is used when offered; if it fails, a new connection
// is made without it, and none is tried for an hour. Above, there is TLS or no message.
func (s *session) maybeTLS(d *destination) *trouble {
	must := s.need.level > may
	plain, _ := s.c.memory.quirks(s.addr)
	switch {
	case s.conn != s.tcp || s.need.level == clear || !s.addr.IsValid():
		return nil
	case !s.ext.starttls && must:
		return s.without(d, later(451, "4.7.4", "TLS is required here but the host does not offer it"))
	case !s.ext.starttls || plain && !must:
		return s.inClear(d)
	}
	s.queue("STARTTLS")
	r, t := s.answer(s.c.conf.Remote.CommandTime, nil)
	switch {
	case t != nil:
		return t
	case r.code != 220 && must:
		t := s.unwelcome("STARTTLS", r)
		t.Outcome, t.Enhanced = status.Deferred, "4.7.4"
		return s.without(d, t.Result)
	case r.code != 220: // offered but not to be had
		return s.inClear(d)
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

// without is a host that has no TLS where it must be.
func (s *session) without(d *destination, r status.Result) *trouble {
	if d.policy.require {
		t := notRequired(s.label + " offers no TLS")
		t.tls = tlsrpt.STARTTLSNotSupported
		return t
	}
	return &trouble{Result: r, other: true, site: s.need.fixed, tls: tlsrpt.STARTTLSNotSupported}
}

// inClear goes on without TLS, unless the domain had it lately: then somebody may have taken it away (T10).
func (s *session) inClear(d *destination) *trouble {
	if s.need.level == clear {
		return nil
	}
	for _, p := range d.policy.all() {
		if p.domain == "" {
			continue
		}
		wait, since, forgotten := s.c.seen.Lost(p.domain)
		if wait > 0 {
			return &trouble{Result: later(451, "4.7.4", fmt.Sprintf("%s had TLS on %s and now offers none: waiting %s for it to come back",
				p.domain, since.UTC().Format("2 January 2006 at 15:04"), wait.Round(time.Minute))), other: true, tls: tlsrpt.STARTTLSNotSupported}
		}
		if forgotten {
			s.c.log.Warn("downgrade of "+p.domain, fmt.Errorf("its hosts have had no TLS for %s: mail goes in clear", s.c.conf.Remote.DowngradeWait))
		}
	}
	return nil
}

// remember notes that there is TLS. A certificate that nobody vouches for any more is no reason to wait: more of them run out than are forged.
func (s *session) remember(domain string) {
	if last := s.c.seen.Saw(domain, s.verdict != "opportunistic"); !last.IsZero() {
		s.c.log.Warn("downgrade of "+domain, fmt.Errorf("%s proved its name until %s and does not now: %w",
			s.label, last.UTC().Format("2 January 2006"), s.unverified))
	}
}

// handshake turns TLS on.
func (s *session) handshake(d *destination) *trouble {
	must := s.need.level > may
	var unproved error // the host did not prove what it must
	conf := &tls.Config{
		ServerName:         s.need.name,
		MinVersion:         tls.VersionTLS12,
		RootCAs:            s.c.roots,
		InsecureSkipVerify: true, // verified below, also where the outcome is only reported
		ClientSessionCache: s.c.tickets,
	}
	conf.VerifyConnection = func(state tls.ConnectionState) error {
		if s.need.level == match {
			unproved = s.need.set.Verify(state, s.need.names)
			return unproved
		}
		err := verifyNames(state, s.need.name, s.c.roots)
		s.unverified = err
		if s.need.level == verify {
			unproved = err
		}
		return unproved
	}
	conn := tls.Client(s.tcp, conf)
	s.tcp.SetDeadline(time.Now().Add(min(tlsTime, max(time.Until(s.limit), time.Second))))
	if err := conn.Handshake(); err != nil {
		s.broken = true
		return s.noTLS(d, err, must, unproved)
	}
	s.tcp.SetDeadline(time.Time{})
	s.conn, s.r = conn, bufio.NewReaderSize(conn, 4096)
	s.judgeTLS(conn.ConnectionState().Version)
	return nil
}

// noTLS is a handshake that failed.
func (s *session) noTLS(d *destination, err error, must bool, unproved error) *trouble {
	t := &trouble{Result: later(451, "4.7.5", "TLS: "+cause(err)), other: true, site: s.need.level <= may || s.need.fixed, tls: failure(err)}
	switch {
	case d.policy.require && unproved != nil:
		why := t.tls
		t = notRequired(s.label + " does not prove its name: " + cause(err))
		t.tls = why
	case s.need.by == "dane" || s.need.by == "mta-sts":
		t.Text = map[string]string{"dane": "DANE: ", "mta-sts": "MTA-STS: "}[s.need.by] + cause(err)
	case !must && !d.implicitTLS:
		if waits := s.inClear(d); waits != nil {
			return waits
		}
		if s.addr.IsValid() {
			s.c.memory.noTLS(s.addr)
		}
		t.plain = true
	}
	return t
}

// judgeTLS says what TLS did.
func (s *session) judgeTLS(version uint16) {
	verified := s.unverified == nil
	switch {
	case s.need.level == match:
		s.verdict, s.secure = "dane", "certificate matches TLSA"
	case s.need.level == verify:
		s.verdict, s.secure = s.need.by, "certificate verified"
	case verified:
		s.verdict, s.secure = "opportunistic-verified", "certificate verified"
	default:
		s.verdict, s.secure = "opportunistic", "certificate not verified"
	}
	s.secure = protocol(version) + ", " + s.secure
}

// verifyNames checks the chain and the name; a host known by address only needs the address in its certificate.
func verifyNames(state tls.ConnectionState, name string, roots *x509.CertPool) error {
	opts := x509.VerifyOptions{Roots: roots, Intermediates: x509.NewCertPool()}
	if len(state.PeerCertificates) == 0 {
		return dane.ErrNoCertificate
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

// failure is an error of TLS as reports name it (RFC 8460 section 4.3).
func failure(err error) tlsrpt.Failure {
	var name x509.HostnameError
	var authority x509.UnknownAuthorityError
	var invalid x509.CertificateInvalidError
	switch {
	case err == nil:
		return tlsrpt.OK
	case errors.As(err, &name):
		return tlsrpt.CertificateHostMismatch
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return tlsrpt.CertificateExpired
	case errors.As(err, &authority), errors.As(err, &invalid):
		return tlsrpt.CertificateNotTrusted
	}
	return tlsrpt.ValidationFailure
}
