package remote

import (
	"context"
	"errors"
	"strconv"
	"sync"
	"time"

	"pennypost/internal/dns"
)

// validation is whether what DNS says can be trusted to the point of DANE. The resolver is asked for a name that is signed wrongly on
// purpose: at the start, and again when the answer has become old, for somebody may have mended it.
type validation struct {
	mu    sync.Mutex
	until time.Time
	yes   bool
	told  string // the last warning
}

// How long an answer of the probe counts.
const (
	validFor   = time.Hour
	invalidFor = 5 * time.Minute
)

// validated reports whether the AD bit counts. Where the probe gets no answer of use it does: it comes from a resolver that
// mail.toml, or being on this host, vouches for.
func (c *Client) validated(ctx context.Context) bool {
	if !c.conf.Remote.DANE {
		return false
	}
	v := &c.validation
	v.mu.Lock()
	defer v.mu.Unlock()
	now := time.Now()
	if now.Before(v.until) {
		return v.yes
	}
	v.yes, v.until = true, now.Add(validFor)
	warning := ""
	switch probe := c.conf.DNS.Probe; {
	case !c.dns.Trusted():
		v.yes = false
		warning = "DANE is off: not every resolver is on this host, and dns.trust_ad is not set. MTA-STS and TLS go on. A resolver that validates, such as unbound at 127.0.0.1, ends this"
	case probe == "":
	default:
		switch c.dns.Probe(ctx, probe) {
		case dns.Believes:
			v.yes, v.until = false, now.Add(invalidFor)
			warning = "DANE is off: the resolver does not validate DNSSEC, it answers for " + probe + ". MTA-STS and TLS go on. A resolver that validates, such as unbound at 127.0.0.1, ends this"
		case dns.Unknown:
			v.until = now.Add(invalidFor)
			warning = "whether the resolver validates DNSSEC is not known: no answer of use for " + probe + ", see dns.probe in mail.toml(5)"
		}
	}
	if warning != v.told {
		if v.told = warning; warning != "" {
			c.log.Warn("dns", errors.New(warning))
		}
	}
	return v.yes
}

// tlsaName is where the TLSA records of a service lie (RFC 6698 section 3).
func tlsaName(host string, port int) string { return "_" + strconv.Itoa(port) + "._tcp." + host }
