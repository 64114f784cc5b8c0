package msgauth

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"time"

	"blitiri.com.ar/go/spf"

	"pennypost/internal/address"
	"pennypost/internal/dns"
)

// Limits of S049 beyond the ten terms, two void answers and ten exchanges of RFC 7208 section 4.6.4, which the library counts.
const (
	dnsTime    = 20 * time.Second // for SPF, and as much for iprev, ARC and DMARC each
	spfQueries = 40               // in all, for both identities
)

// SPF is the verdict on one identity (RFC 7208 section 2.6).
type SPF struct {
	Result Result `json:"result"`
	Why    string `json:"why"`
	Domain string `json:"domain,omitempty"` // whose record was asked
	Sender string `json:"sender,omitempty"` // the identity: the HELO name, or the reverse-path
}

// SPF judges both identities of a client. The null sender is that of the HELO name (section 2.4).
func (c *Checker) SPF(ctx context.Context, client Client) (helo, from SPF, records []Record) {
	l := &lookup{resolver: c.DNS, limit: spfQueries}
	ctx, cancel := context.WithTimeout(ctx, dnsTime)
	defer cancel()
	helo = l.spf(ctx, client.Addr, client.HELO, "postmaster", client.HELO)
	helo.Sender = client.HELO
	if client.From.IsNull() || client.From.Domain == "" {
		from = helo
		return helo, from, l.records
	}
	from = l.spf(ctx, client.Addr, client.HELO, client.From.Local, client.From.Domain)
	from.Sender = client.From.String()
	return helo, from, l.records
}

// spf is check_host() of section 4.
func (l *lookup) spf(ctx context.Context, addr netip.Addr, helo, local, domain string) SPF {
	s := SPF{Result: None}
	ascii, err := spfDomain(domain)
	switch {
	case !addr.IsValid():
		s.Why = "the client has no address"
		return s
	case err != nil:
		s.Why = err.Error()
		return s
	}
	s.Domain = ascii
	if local == "" {
		local = "postmaster" // section 4.3
	}
	local = strings.ReplaceAll(local, "@", "_") // the library cuts at the first; only quoted local parts have one
	result, why := spf.CheckHostWithSender(net.IP(addr.Unmap().AsSlice()), helo, local+"@"+ascii,
		spf.WithContext(ctx), spf.WithResolver(spfResolver{l}))
	s.Result = Result(result)
	if s.Why = explain(s.Result, why, ascii, addr); l.over != "" {
		s.Result, s.Why = PermError, "the record of "+ascii+" costs "+l.over
	}
	return s
}

// spfDomain is a domain of at least two labels as DNS knows it, or why there is none (section 4.3).
func spfDomain(domain string) (string, error) {
	domain = strings.TrimSuffix(domain, ".")
	if domain == "" {
		return "", errors.New("there is no domain")
	}
	if domain[0] == '[' {
		return "", errors.New("an address literal has no record")
	}
	if len(domain) > address.MaxDomain {
		return "", errors.New("the name is longer than any domain")
	}
	ascii, err := dnsName(domain)
	if err != nil || !strings.Contains(ascii, ".") {
		return "", errors.New("a domain has two labels or more of letters, digits and hyphens, and this has not")
	}
	return ascii, nil
}

// explain says why in words. What the library says on a match is which mechanism it was.
func explain(r Result, err error, domain string, addr netip.Addr) string {
	how := ""
	if err != nil {
		how = strings.TrimPrefix(err.Error(), "matched ")
	}
	var syntax *spfSyntax
	switch r {
	case Pass:
		return fmt.Sprintf("%s may send for %s (%s)", addr, domain, how)
	case Fail:
		return fmt.Sprintf("%s says that %s may not send for it (%s)", domain, addr, how)
	case SoftFail:
		return fmt.Sprintf("%s says that %s should not send for it (%s)", domain, addr, how)
	case Neutral:
		return fmt.Sprintf("%s says nothing about %s", domain, addr)
	case None:
		return domain + " has no SPF record"
	case TempError:
		var failure *net.DNSError
		if errors.As(err, &failure) {
			how = failure.Err
		}
		return "no answer: " + how
	}
	switch {
	case errors.As(err, &syntax):
		return syntax.Error()
	case errors.Is(err, spf.ErrLookupLimitReached):
		return "the record of " + domain + " needs more than 10 lookups (RFC 7208 section 4.6.4)"
	case errors.Is(err, spf.ErrVoidLookupLimitReached):
		return "the record of " + domain + " asks for more than 2 names that do not exist (RFC 7208 section 4.6.4)"
	case errors.Is(err, spf.ErrTooManyMXRecords):
		return "the record of " + domain + " asks for more than 10 exchanges (RFC 7208 section 4.6.4)"
	case errors.Is(err, spf.ErrMultipleRecords):
		return domain + " has more than one SPF record"
	case errors.Is(err, spf.ErrNoResult):
		return "the record of " + domain + " includes a domain without one"
	}
	return "the record of " + domain + " is wrong: " + how
}

// spfResolver is what the library asks; it gets errors it understands.
type spfResolver struct{ *lookup }

func spfError(name string, err error) error {
	switch {
	case err == nil:
		return nil
	case dns.Absent(err):
		return &net.DNSError{Err: err.Error(), Name: name, IsNotFound: true}
	}
	return &net.DNSError{Err: err.Error(), Name: name, IsTemporary: true}
}

// LookupTXT gives the library records that are well written, for it reads them only as far as it must and section 4.6 wants
// a mistake anywhere to count.
func (r spfResolver) LookupTXT(ctx context.Context, name string) ([]string, error) {
	texts, err := r.TXT(ctx, r.name(name))
	if err != nil {
		return nil, spfError(name, err)
	}
	for _, text := range texts {
		if isSPF(text) {
			if err := checkSPF(text); err != nil {
				return nil, &spfSyntax{name, err}
			}
		}
	}
	return texts, nil
}

// name cuts a name that macros made too long at the left (section 7.3). What is twice as long is meant to hurt (S049).
func (r spfResolver) name(name string) string {
	if len(name) > 512 {
		r.mu.Lock()
		r.over = "a name of more than 512 octets"
		r.mu.Unlock()
		return ""
	}
	for len(name) > 253 {
		_, rest, ok := strings.Cut(name, ".")
		if !ok {
			return ""
		}
		name = rest
	}
	return name
}

func (r spfResolver) LookupMX(ctx context.Context, name string) (list []*net.MX, err error) {
	mx, err := r.MX(ctx, r.name(name))
	for _, m := range mx {
		list = append(list, &net.MX{Host: m.Host, Pref: m.Preference})
	}
	return list, spfError(name, err)
}

func (r spfResolver) LookupIPAddr(ctx context.Context, name string) (list []net.IPAddr, err error) {
	addrs, err := r.Addresses(ctx, r.name(name))
	for _, a := range addrs {
		list = append(list, net.IPAddr{IP: a.AsSlice()})
	}
	return list, spfError(name, err)
}

func (r spfResolver) LookupAddr(ctx context.Context, addr string) ([]string, error) {
	a, err := netip.ParseAddr(addr)
	if err != nil {
		return nil, spfError(addr, dns.ErrNone)
	}
	names, err := r.PTR(ctx, a)
	return names, spfError(addr, err)
}
