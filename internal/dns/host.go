package dns

import (
	"context"
	"net/netip"
	"slices"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// Host is a name with its addresses.
type Host struct {
	Addrs  []netip.Addr
	Name   string // at the end of the aliases; the name asked for where there are none
	Secure bool   // DNSSEC vouches for all of the way that was answered, aliases included; a family without answer does not count
	TTL    time.Duration
}

// lead is how long an answer with addresses waits for the other family (RFC 8305 section 3): a zone whose AAAA are broken is
// not to cost a timeout each time.
const lead = 300 * time.Millisecond

// half is the answer for one family.
type half struct {
	answer
	ttl time.Duration
	err error
}

// Host looks up A and AAAA; one family failing, or being slow, while the other answers is no error. Nor does it make what
// the other says less secure: whoever can suppress AAAA must not turn a signed zone into one that is not.
func (r *Resolver) Host(ctx context.Context, name string) (Host, error) {
	look := func(typ dnsmessage.Type) <-chan half {
		c := make(chan half, 1)
		go func() {
			a, ttl, err := r.ask(ctx, name, typ)
			c <- half{a, ttl, err}
		}()
		return c
	}
	fours, sixes := look(dnsmessage.TypeA), look(dnsmessage.TypeAAAA)
	var four, six half
	select {
	case four = <-fours:
		six = four.other(sixes)
	case six = <-sixes:
		four = six.other(fours)
	}
	switch {
	case four.err == nil && six.err == nil:
		return Host{append(slices.Clone(four.addrs), six.addrs...), four.owner, four.secure && six.secure, min(four.ttl, six.ttl)}, nil
	case four.err == nil:
		return four.alone(six), nil
	case six.err == nil:
		return six.alone(four), nil
	case !Absent(four.err):
		return Host{TTL: four.ttl}, four.err
	case !Absent(six.err):
		return Host{TTL: six.ttl}, six.err
	}
	return Host{Secure: four.secure && six.secure, TTL: min(four.ttl, six.ttl)}, four.err
}

// alone is the host that one family knows and the other does not, or could not say.
func (h half) alone(other half) Host {
	secure := h.secure && (!Absent(other.err) || other.secure)
	return Host{slices.Clone(h.addrs), h.owner, secure, h.ttl}
}

// other waits for the other family: shortly, if h has addresses already.
func (h *half) other(c <-chan half) half {
	if h.err != nil {
		return <-c
	}
	select {
	case other := <-c:
		return other
	case <-time.After(lead):
		return half{err: context.DeadlineExceeded}
	}
}

// Alias looks up the CNAME of name and does not follow it: whether the alias itself is secure, wherever it leads
// (RFC 7672 section 2.2.2).
func (r *Resolver) Alias(ctx context.Context, name string) (target string, secure bool, err error) {
	a, _, err := r.ask(ctx, name, dnsmessage.TypeCNAME)
	if err != nil || len(a.texts) == 0 {
		return "", a.secure, err
	}
	return a.texts[0], a.secure, nil
}
