package remote

import (
	"crypto/x509"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"time"

	"pennypost/deliver/remote/sts"
	"pennypost/internal/tlsrpt"
)

// notAllowed is a host that the domain's MTA-STS policy does not have (RFC 8460 has no word for it; this is what others use).
const notAllowed = tlsrpt.ValidationFailure

// report counts a session, or why there is none, for the TLS report of each domain (RFC 8460). Trouble that is not of TLS does
// not count, nor does mail that says TLS-Required: No, among which the reports themselves are (section 3).
func (c *Client) report(d *destination, h *host, at netip.AddrPort, t *trouble) {
	for _, p := range d.policy.all() {
		c.reportTo(p, h, at, t)
	}
}

func (c *Client) reportTo(p *policy, h *host, at netip.AddrPort, t *trouble) {
	if p.domain == "" || p.optional || t != nil && t.tls == "" {
		return
	}
	r := tlsrpt.Result{Domain: p.domain, Type: tlsrpt.None, MX: strings.Trim(h.name, "[]"), Remote: at.Addr()}
	if t != nil {
		r.Failure, r.Reason = t.tls, t.Text
	}
	switch {
	case h.tlsa != nil:
		r.Type = tlsrpt.TLSA
		for _, record := range h.tlsa.set {
			r.Policy = append(r.Policy, record.String())
		}
	case t != nil && t.tls == tlsrpt.DNSSECInvalid:
		r.Type = tlsrpt.TLSA
	case p.sts != nil:
		r.Type, r.Hosts = tlsrpt.STS, p.sts.MX
		r.Policy = lines(p.sts.Text)
		if t != nil {
			c.sts.Doubt(p.domain)
		}
	}
	c.write(r)
}

// count counts the session, or why it came to none: once for each domain, also where it is used again for one that comes later.
func (s *session) count(d *destination, h *host, t *trouble) {
	for _, p := range d.policy.all() {
		if slices.Contains(s.counted, p.domain) {
			continue
		}
		s.counted = append(s.counted, p.domain)
		if t == nil && s.conn != s.tcp && p.domain != "" {
			s.remember(p.domain)
		}
		switch {
		case t == nil && p.sts != nil && p.sts.Mode == sts.Testing && h.tlsa == nil:
			s.testing(p, h)
		case t == nil && p.sts == nil && s.conn == s.tcp: // no policy, no TLS: there is nothing to tell
		default:
			s.c.reportTo(p, h, s.addr, t)
		}
	}
}

// testing counts what a policy in mode testing would have refused.
func (s *session) testing(p *policy, h *host) {
	t := &trouble{}
	switch {
	case !p.sts.Allows(h.name):
		t.tls, t.Text = notAllowed, "the policy does not allow the host"
	case s.conn == s.tcp:
		t.tls, t.Text = tlsrpt.STARTTLSNotSupported, "no TLS"
	case s.unverified != nil:
		t.tls, t.Text = failure(s.unverified), s.unverified.Error()
	default:
		t = nil
	}
	s.c.reportTo(p, h, s.addr, t)
}

// notFetched counts a policy that could not be had.
func (c *Client) notFetched(domain string, err error) {
	r := tlsrpt.Result{Domain: domain, Type: tlsrpt.STS, Failure: tlsrpt.STSInvalid, Reason: err.Error()}
	var name x509.HostnameError
	var authority x509.UnknownAuthorityError
	var invalid x509.CertificateInvalidError
	switch {
	case errors.As(err, &name), errors.As(err, &authority), errors.As(err, &invalid):
		r.Failure = tlsrpt.STSWebPKI
	case errors.Is(err, sts.ErrNotFetched):
		r.Failure = tlsrpt.STSFetch
	}
	c.log.Warn("MTA-STS policy of "+domain, err)
	c.write(r)
}

// write appends to the day's results. A report that is short of a session is no reason to hold mail up.
func (c *Client) write(r tlsrpt.Result) {
	if err := tlsrpt.Append(c.reports, time.Now(), r); err != nil && c.silent.CompareAndSwap(false, true) {
		c.log.Warn("TLS results are not kept", err)
	}
}

// lines are those of a policy without their ends.
func lines(text string) (list []string) {
	for line := range strings.Lines(text) {
		if line = strings.TrimRight(line, "\r\n"); line != "" {
			list = append(list, line)
		}
	}
	return list
}
