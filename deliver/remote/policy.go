package remote

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"net/netip"
	"slices"
	"strings"

	"pennypost/deliver/remote/dane"
	"pennypost/deliver/remote/sts"
	"pennypost/internal/dns"
)

// policy is what the recipients' domain, mail.toml and the message say of TLS on the way to a destination.
type policy struct {
	domain   string      // whose it is; "" for a host that mail.toml names
	secure   bool        // the host names are not to be doubted: DNSSEC vouches for the MX records, or mail.toml has them
	sts      *sts.Policy // in mode enforce or testing
	require  bool        // the message came with REQUIRETLS (RFC 8689)
	optional bool        // the message says TLS-Required: No: policies do not count, TLS is tried all the same

	others []*policy // of other domains that share the transaction: they ask for the same, and each gets its own report
}

// all are the policies of all domains of a transaction.
func (p *policy) all() []*policy { return append([]*policy{p}, p.others...) }

// A level is how much TLS must do.
type level int

const (
	clear   level = iota // no TLS
	may                  // if it is to be had
	encrypt              // TLS, whoever it is
	verify               // and a certificate for the name that an authority vouches for
	match                // and a certificate that fits the TLSA records
)

// demand is what a session with a host must do, and who says so.
type demand struct {
	level level
	by    string   // verdict when it is done: dane, mta-sts, verified
	set   dane.Set // match
	name  string   // what the host is asked to prove, and the SNI
	names []string // what a certificate under DANE-TA may be for
	fixed bool     // mail.toml wants it: for all mail to the host
}

// policyOf is the policy for a message to the exchanges x, nil for a host that mail.toml names. The key of idle
// connections gets what must not be mixed. The error is that of DNS: whether there is a policy is not known.
func (c *Client) policyOf(ctx context.Context, m *message, d *destination, x *exchanges) error {
	p := &d.policy
	p.require = m.require
	if d.login.tls == "none" || d.login.stated && !p.require {
		return nil
	}
	if x == nil {
		_, noAddress := netip.ParseAddr(d.name)
		p.secure = noAddress != nil && d.name != "" && d.name != "localhost" && !d.lmtp && c.validated(ctx)
		if p.require {
			d.key += "\x00require"
		}
		return nil
	}
	p.domain = x.domain
	if p.domain == "" { // an address literal
		return nil
	}
	p.secure = x.secure && c.validated(ctx)
	if c.sts != nil {
		found, err := c.sts.Policy(ctx, p.domain)
		switch {
		case err == nil && found != nil && found.Mode != sts.None:
			p.sts = found
		case err != nil && !m.tlsOptional():
			return err
		}
	}
	if (p.secure || p.sts != nil) && m.tlsOptional() {
		*p = policy{optional: true}
	}
	d.key += p.key()
	return nil
}

// key tells apart what must not share connections: who asks for more would get less.
func (p *policy) key() string {
	var b strings.Builder
	if p.secure { // under DANE-TA a certificate may be for the domain
		b.WriteString("\x00dnssec " + p.domain)
	}
	if p.sts != nil {
		sum := sha256.Sum256([]byte(p.sts.Mode + " " + strings.Join(p.sts.MX, " ")))
		b.WriteString("\x00sts " + hex.EncodeToString(sum[:8]))
	}
	if p.require {
		b.WriteString("\x00require")
	}
	if p.optional {
		b.WriteString("\x00optional")
	}
	return b.String()
}

// tlsa is what DNS says a host must prove.
type tlsa struct {
	base string // the name the records are of
	set  dane.Set
}

// lookTLSA finds the TLSA records of a host (RFC 7672 section 2.2), nil where DNSSEC says there are none or says nothing. They are not asked
// for where the addresses are insecure: they could not count, and some servers fail at the question. An error is not absence.
func (c *Client) lookTLSA(ctx context.Context, name string, h dns.Host, port int) (*tlsa, error) {
	var bases []string
	switch {
	case h.Secure && h.Name != name: // section 2.2.2: at the end of the aliases, then at their beginning
		bases = []string{h.Name, name}
	case h.Secure:
		bases = []string{name}
	case h.Name != "" && h.Name != name:
		_, secure, err := c.dns.Alias(ctx, name)
		if err != nil && !dns.Absent(err) {
			return nil, err
		}
		if secure && err == nil {
			bases = []string{name}
		}
	}
	for _, base := range bases {
		data, secure, _, err := c.dns.Raw(ctx, tlsaName(base, port), dns.TypeTLSA)
		switch {
		case err == nil && secure:
			return &tlsa{base, dane.Parse(data)}, nil
		case err != nil && !dns.Absent(err):
			return nil, err
		}
	}
	return nil, nil
}

// demandOf is what a session with h must do for d, in this order: DANE, MTA-STS, mail.toml, and what is to be had. Trouble is
// a host that cannot do at all.
func (c *Client) demandOf(d *destination, h *host) (demand, *trouble) {
	p := &d.policy
	name := strings.Trim(h.name, "[]")
	n := demand{level: may, name: name}
	switch {
	case d.login.tls == "none":
		n.level = clear
	case h.tlsa != nil && len(h.tlsa.set) > 0:
		n.level, n.by, n.set, n.name = match, "dane", h.tlsa.set, h.tlsa.base
		n.names = slices.Compact([]string{h.tlsa.base, name})
		if p.domain != "" {
			n.names = append(n.names, p.domain)
		}
	case p.sts != nil && p.sts.Mode == sts.Enforce:
		if !p.sts.Allows(name) {
			return n, &trouble{Result: later(451, "4.7.5", "the MTA-STS policy of "+p.domain+" does not allow "+name), other: true, tls: notAllowed}
		}
		n.level, n.by = verify, "mta-sts"
	case d.login.tls == "verify":
		n.level, n.by, n.fixed = verify, "verified", true
	case h.tlsa != nil:
		n.level = encrypt
	}
	if p.require && !d.here(h) {
		return c.required(d, h, n)
	}
	return n, nil
}

// required is the demand of a message with REQUIRETLS (RFC 8689 section 4.2.1): somebody must vouch for the name of the host, and the host for itself.
func (c *Client) required(d *destination, h *host, n demand) (demand, *trouble) {
	p := &d.policy
	switch {
	case n.level == match || n.by == "mta-sts":
	case n.level == clear:
		return n, notRequired("mail.toml forbids TLS to " + n.name)
	case p.domain == "" || p.secure || p.sts != nil && p.sts.Allows(n.name):
		n.level, n.by = verify, "verified"
	default:
		return n, notRequired("neither DNSSEC nor MTA-STS vouches for " + n.name)
	}
	return n, nil
}

// notRequired is a host that cannot have a message with REQUIRETLS.
func notRequired(why string) *trouble {
	return &trouble{Result: never(550, "5.7.30", "the sender demands REQUIRETLS: "+why), other: true}
}

// here reports whether the host is a program on this machine.
func (d *destination) here(h *host) bool {
	return h.unix != "" || d.lmtp && len(h.addrs) > 0 && h.addrs[0].Addr().IsLoopback()
}
