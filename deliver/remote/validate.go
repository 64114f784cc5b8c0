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
	switch now := time.Now(); {
	case v.until.IsZero(): // the first waits, and all others with it
		yes, good, warning := c.probe(ctx)
		c.found(yes, good, warning)
	case now.After(v.until):
		v.until = now.Add(invalidFor)
		go func() {
			yes, good, warning := c.probe(context.WithoutCancel(ctx))
			v.mu.Lock()
			defer v.mu.Unlock()
			c.found(yes, good, warning)
		}()
	}
	return v.yes
}

// found keeps what the probe found, and says it if that is news; v.mu is held.
func (c *Client) found(yes bool, good time.Duration, warning string) {
	v := &c.validation
	v.yes, v.until = yes, time.Now().Add(good)
	if warning != v.told {
		if v.told = warning; warning != "" {
			c.log.Warn("dns", errors.New(warning))
		}
	}
}

// probe says whether the AD bit counts, how long that is good for, and what is to be said of it.
func (c *Client) probe(ctx context.Context) (yes bool, good time.Duration, warning string) {
	const mend = "MTA-STS and TLS go on. A resolver that validates, such as unbound at 127.0.0.1, ends this"
	bogus := c.conf.DNS.Probe
	switch {
	case !c.dns.Trusted():
		return false, validFor, "DANE is off: not every resolver is on this host, and dns.trust_ad is not set. " + mend
	case bogus == "":
		return true, validFor, ""
	}
	switch c.dns.Probe(ctx, bogus) {
	case dns.Validates:
		return true, validFor, ""
	case dns.Believes:
		return false, invalidFor, "DANE is off: the resolver does not validate DNSSEC, it answers for " + bogus + ". " + mend
	}
	return true, invalidFor, "whether the resolver validates DNSSEC is not known: no answer of use for " + bogus + ", see dns.probe in mail.toml(5)"
}

// tlsaName is where the TLSA records of a service lie (RFC 6698 section 3).
func tlsaName(host string, port int) string { return "_" + strconv.Itoa(port) + "._tcp." + host }
