package remote

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"pennypost/internal/address"
	"pennypost/internal/dns"
	"pennypost/internal/status"
	"pennypost/internal/tlsrpt"
)

// exchanges are the hosts that take mail for a domain.
type exchanges struct {
	key  string // of the site, interfaces.md: best host, '+', hash of the set
	list []dns.MX
	ttl  time.Duration

	domain string // in A-labels; "" for an address literal
	secure bool   // DNSSEC vouches for the list, or for its absence
}

// lookup finds the exchanges of domain (RFC 5321 section 5.1). A result says why there are none.
func (c *Client) lookup(ctx context.Context, domain string) (*exchanges, *status.Result) {
	path := address.Path{Local: "postmaster", Domain: domain}
	if addr, ok := path.Literal(); ok {
		return known("", []dns.MX{{Host: "[" + addr.String() + "]"}}, false, time.Hour), nil
	}
	name, err := path.DomainASCII()
	if err != nil || name == "" {
		r := never(550, "5.1.2", "the domain is no name that DNS could know")
		return nil, &r
	}
	list, secure, ttl, err := c.dns.MX(ctx, name)
	var r status.Result
	switch {
	case err == nil && len(list) == 1 && list[0].Host == "": // RFC 7505: at once, and no look at A and AAAA
		r = never(556, "5.1.10", name+" takes no mail (null MX)")
		return nil, &r
	case err == nil:
		list = slices.DeleteFunc(list, func(m dns.MX) bool { return m.Host == "" }) // RFC 7505 section 3: not beside others
		if len(list) > 0 {
			return known(name, list, secure, ttl), nil
		}
		r = never(556, "5.1.10", name+" takes no mail (null MX)")
	case errors.Is(err, dns.ErrNoName):
		r = never(550, "5.1.2", name+" does not exist")
	case errors.Is(err, dns.ErrNone):
		return c.implicit(ctx, name, secure)
	default:
		r = later(451, "4.4.3", err.Error())
	}
	return nil, &r
}

// implicit is the domain as its own exchange, where it has no MX but an address.
func (c *Client) implicit(ctx context.Context, name string, secure bool) (*exchanges, *status.Result) {
	_, _, ttl, err := c.dns.Addresses(ctx, name)
	var r status.Result
	switch {
	case err == nil:
		return known(name, []dns.MX{{Host: name}}, secure, ttl), nil
	case dns.Absent(err):
		r = never(550, "5.1.2", name+" has neither MX nor address")
	default:
		r = later(451, "4.4.3", err.Error())
	}
	return nil, &r
}

// known makes the key of a set of hosts: domains with the same hosts are one site.
func known(domain string, list []dns.MX, secure bool, ttl time.Duration) *exchanges {
	names := make([]string, len(list))
	for i, m := range list {
		names[i] = m.Host
	}
	best := names[0] // dns sorts by preference, then name
	slices.Sort(names)
	names = slices.Compact(names)
	sum := sha256.Sum256([]byte(strings.Join(names, "\n")))
	return &exchanges{best + "+" + hex.EncodeToString(sum[:4]), list, ttl, domain, secure}
}

// host is one to try, with its addresses.
type host struct {
	name  string
	addrs []netip.AddrPort
	unix  string // path of a socket instead
	tlsa  *tlsa  // what it must prove, nil without DANE
}

// first is its first address.
func (h *host) first() (at netip.AddrPort) {
	if len(h.addrs) > 0 {
		at = h.addrs[0]
	}
	return at
}

// label is how answers name a host and one of its addresses.
func (h *host) label(addr netip.AddrPort) string {
	if h.unix != "" {
		return h.unix
	}
	literal := "[" + addr.Addr().String() + "]"
	if h.name == addr.Addr().String() || strings.HasPrefix(h.name, "[") {
		return literal
	}
	return h.name + literal
}

// candidates hands out the hosts of an MX list in the order to try them: by preference, by chance among equals, each with its
// addresses, at most maxHosts. Addresses are looked up one preference at a time, since most mail needs the first only.
type candidates struct {
	c      *Client
	d      *destination
	domain string
	site   string
	rest   []dns.MX
	ready  []host
	tried  int
	looped bool    // the rest was cut off because we are in it
	none   trouble // why hosts were left out
}

func (c *Client) candidates(d *destination, x *exchanges, domain string) *candidates {
	return &candidates{c: c, d: d, domain: domain, site: x.key, rest: x.list}
}

// next is the next host, nil when there are no more.
func (k *candidates) next(ctx context.Context) *host {
	for len(k.ready) == 0 && len(k.rest) > 0 && k.tried < maxHosts {
		same := 1
		for same < len(k.rest) && k.rest[same].Preference == k.rest[0].Preference {
			same++
		}
		group := slices.Clone(k.rest[:same])
		rand.Shuffle(same, func(i, j int) { group[i], group[j] = group[j], group[i] })
		k.rest = k.rest[same:]
		k.look(ctx, group[:min(same, maxHosts-k.tried)])
	}
	if len(k.ready) == 0 || k.tried >= maxHosts {
		return nil
	}
	h := k.ready[0]
	k.ready = k.ready[1:]
	k.tried++
	return &h
}

// look finds the addresses of hosts of one preference. If we are one of them, they and all worse are left out: the mail
// would come back to us (RFC 5321 section 5.1).
func (k *candidates) look(ctx context.Context, group []dns.MX) {
	found := make([]host, len(group))
	troubles := make([]*trouble, len(group))
	var wait sync.WaitGroup
	for i, m := range group {
		wait.Add(1)
		go func() {
			defer wait.Done()
			found[i] = host{name: m.Host}
			troubles[i] = k.c.find(ctx, k.d, &found[i], k.site, k.c.conf.Remote.Port, true)
		}()
	}
	wait.Wait()
	for i, h := range found {
		if strings.EqualFold(h.name, k.c.conf.Hostname) || slices.ContainsFunc(h.addrs, func(a netip.AddrPort) bool { return k.c.self[a.Addr()] }) {
			k.looped, k.rest = true, nil
			k.none = trouble{Result: never(554, "5.4.6", "the best MX of "+k.domain+" that is left is ourselves: mail would loop")}
			return
		}
		if troubles[i] != nil && (k.none.Text == "" || troubles[i].Outcome == status.Deferred) {
			k.none = *troubles[i]
		}
	}
	for i, h := range found {
		if troubles[i] == nil {
			k.ready = append(k.ready, h)
		} else {
			k.tried++
		}
	}
}

// find looks up the addresses of h, and what it must prove.
func (c *Client) find(ctx context.Context, d *destination, h *host, site string, port int, checked bool) *trouble {
	known, t := c.lookHost(ctx, h.name)
	if t != nil {
		return t
	}
	if h.addrs, t = c.addresses(known.Addrs, h.name, site, port, checked); t != nil || !d.policy.secure {
		return t
	}
	var err error
	if h.tlsa, err = c.lookTLSA(ctx, h.name, known, port); err != nil {
		// Neither that there are records nor that there are none is known: an attacker may be in between (S037).
		t = &trouble{Result: later(451, "4.7.5", "DANE: "+err.Error()), other: true, tls: tlsrpt.DNSSECInvalid}
		c.report(d, h, netip.AddrPort{}, t)
	}
	return t
}

// lookHost asks DNS for the addresses of a name, where that is for DNS to say.
func (c *Client) lookHost(ctx context.Context, name string) (known dns.Host, t *trouble) {
	addr, err := netip.ParseAddr(strings.TrimPrefix(strings.Trim(name, "[]"), "IPv6:"))
	switch {
	case err == nil:
		return dns.Host{Addrs: []netip.Addr{addr.Unmap()}}, nil
	case name == "localhost": // RFC 6761 section 6.3
		return dns.Host{Addrs: []netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 1}), netip.IPv6Loopback()}}, nil
	}
	known, err = c.dns.Host(ctx, name)
	switch {
	case dns.Absent(err):
		t = &trouble{Result: never(550, "5.4.4", "host "+name+" has no address"), other: true}
	case err != nil:
		t = &trouble{Result: later(451, "4.4.3", err.Error()), site: true, other: true}
	}
	return known, t
}

// addresses are those of a host that we may connect to, the family first that is to be tried first. checked: those of
// remote.refuse_networks are left out; hosts named in mail.toml are not checked.
func (c *Client) addresses(addrs []netip.Addr, name, site string, port int, checked bool) ([]netip.AddrPort, *trouble) {
	var byFamily [2][]netip.AddrPort
	refused := 0
	mode := c.familyMode(name, site)
	for _, a := range addrs {
		switch {
		case c.self[a]:
			// kept, so that look sees it
		case checked && c.refused(a):
			refused++
			continue
		case mode == "off" && family(a) == 1:
			continue
		}
		byFamily[family(a)] = append(byFamily[family(a)], netip.AddrPortFrom(a, uint16(port)))
	}
	out := c.interleave(byFamily, mode)
	switch {
	case len(out) > 0:
		return out, nil
	case refused > 0:
		return nil, &trouble{Result: never(550, "5.4.4", fmt.Sprintf("host %s has only addresses we never connect to: %s", name, addrs[0])), other: true}
	}
	return nil, &trouble{Result: never(550, "5.4.4", "host "+name+" has only IPv6 addresses, and IPv6 is off"), other: true}
}

// familyMode is prefer, avoid or off: that of the site or host, else of [remote].
func (c *Client) familyMode(name, site string) string {
	for _, key := range []string{name, site} {
		if s, ok := c.conf.Sites[key]; ok && s.IPv6 != "" {
			return s.IPv6
		}
	}
	return c.conf.Remote.IPv6
}

// interleave takes the families in turn (RFC 8305 section 4), each in random order; addresses that lately did not answer
// come last.
func (c *Client) interleave(byFamily [2][]netip.AddrPort, mode string) []netip.AddrPort {
	for _, list := range byFamily {
		rand.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
	}
	first := 1
	if mode == "avoid" || mode == "off" || len(byFamily[1]) > 0 && len(byFamily[0]) > 0 && c.memory.fourWon(byFamily[1]) {
		first = 0
	}
	var out []netip.AddrPort
	for i := 0; i < max(len(byFamily[0]), len(byFamily[1])); i++ {
		for _, f := range []int{first, 1 - first} {
			if i < len(byFamily[f]) {
				out = append(out, byFamily[f][i])
			}
		}
	}
	now := time.Now()
	slices.SortStableFunc(out, func(a, b netip.AddrPort) int {
		return boolInt(c.memory.dead(a, now)) - boolInt(c.memory.dead(b, now))
	})
	return out[:min(len(out), maxAddresses)]
}

func boolInt(b bool) int {
	if b {
		return 1
	}
	return 0
}
