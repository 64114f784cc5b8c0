/*
Package dns is a stub resolver over dnsmessage: UDP with TCP fallback, a cache, and the AD bit for those who need to know
whether an answer was validated. An answer has three values: records, proven absence, error. An error is never absence.

	MX, TXT, …     what callers ask          dns.go, host.go, other.go
	validate.go    whether the servers' word on DNSSEC counts
	cache.go       what is known, for how long; many asking the same are one question
	question.go    one question put to the servers in turn, within Timeout
	exchange.go    one packet there, one back: UDP, then TCP where the answer was cut
	answer.go      what a packet says, read with suspicion

What comes back is bounded: a packet is 64 KiB, a chain of aliases eight names, an answer 256 records, the
cache Entries answers. A forged answer must guess the port, the id and the case of the letters of the
question (draft-vixie-dnsext-dns0x20).
*/
package dns

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// ErrNone is "there is nothing of the kind": NOERROR without such records.
var ErrNone = errors.New("no such record")

// ErrNoName is NXDOMAIN.
var ErrNoName = errors.New("no such domain")

// Error is a question that got no answer: neither records nor their absence is known. Try again later.
type Error struct {
	Name, Type, Why string
}

func (e *Error) Error() string { return "DNS " + e.Name + " " + e.Type + ": " + e.Why }

// Absent reports whether err is proven absence, of the name or of the records.
func Absent(err error) bool { return errors.Is(err, ErrNone) || errors.Is(err, ErrNoName) }

// Resolver asks Servers in turn. The zero Resolver asks those of /etc/resolv.conf. It is safe for concurrent use.
type Resolver struct {
	Servers []string      // HOST:PORT
	TrustAD bool          // believe the AD bit also from a server that is not on loopback
	Timeout time.Duration // for one question, all servers and repeats together; 0 is 5 s
	Entries int           // of the cache; 0 is 20000

	setup   sync.Once
	servers []server
	cache   cache
	busy    chan struct{} // one token for each question under way
}

// maxBusy is how many questions are under way at once; more wait.
const maxBusy = 1024

func (r *Resolver) start() {
	r.setup.Do(func() {
		names := r.Servers
		if len(names) == 0 {
			names = resolvConf("/etc/resolv.conf")
		}
		for _, name := range names {
			r.servers = append(r.servers, newServer(name, r.TrustAD))
		}
		if r.Timeout <= 0 {
			r.Timeout = 5 * time.Second
		}
		if r.Entries <= 0 {
			r.Entries = 20000
		}
		r.cache.max = r.Entries
		r.busy = make(chan struct{}, maxBusy)
	})
}

// MX is one exchange.
type MX struct {
	Preference uint16
	Host       string // lower case, no trailing dot; "" is the null MX of RFC 7505
}

// MX looks up the exchanges of domain, sorted by preference; secure is the AD bit, ttl how long it holds.
func (r *Resolver) MX(ctx context.Context, domain string) (mx []MX, secure bool, ttl time.Duration, err error) {
	a, ttl, err := r.ask(ctx, domain, dnsmessage.TypeMX)
	if err != nil {
		return nil, a.secure, ttl, err
	}
	bad := ""
	for _, m := range a.mx {
		if m.Host != "" && !validHost(m.Host) {
			bad = m.Host
			continue
		}
		mx = append(mx, m)
	}
	if len(mx) == 0 {
		return nil, false, ttl, &Error{domain, "MX", fmt.Sprintf("%q is no host name", bad)}
	}
	slices.SortFunc(mx, func(a, b MX) int {
		return cmp.Or(cmp.Compare(a.Preference, b.Preference), strings.Compare(a.Host, b.Host))
	})
	return mx, a.secure, ttl, nil
}

// Addresses looks up A and AAAA; one family failing, or being slow, while the other answers is no error. secure is Host's.
func (r *Resolver) Addresses(ctx context.Context, host string) (addrs []netip.Addr, secure bool, ttl time.Duration, err error) {
	h, err := r.Host(ctx, host)
	return h.Addrs, h.Secure, h.TTL, err
}

// TXT looks up the texts of name, the strings of each record joined.
func (r *Resolver) TXT(ctx context.Context, name string) (texts []string, secure bool, err error) {
	a, _, err := r.ask(ctx, name, dnsmessage.TypeTXT)
	return slices.Clone(a.texts), a.secure, err
}

// PTR looks up the names of an address: lower case, no trailing dot, not verified.
func (r *Resolver) PTR(ctx context.Context, addr netip.Addr) (names []string, err error) {
	a, _, err := r.ask(ctx, reverse(addr), dnsmessage.TypePTR)
	for _, name := range a.texts {
		if validHost(name) {
			names = append(names, name)
		}
	}
	if err == nil && len(names) == 0 {
		err = ErrNone
	}
	return names, err
}

// ask answers from the cache, from a question under way, or by a new one. The question goes on when ctx ends,
// because others may be waiting for it.
func (r *Resolver) ask(ctx context.Context, name string, typ dnsmessage.Type) (answer, time.Duration, error) {
	r.start()
	name = strings.ToLower(strings.TrimSuffix(name, "."))
	if !validName(name) {
		return answer{}, time.Minute, ErrNoName // no such name can exist
	}
	key := question{name, typ}
	now := time.Now()
	call, known := r.cache.get(key, now)
	if !known {
		go func() {
			a, keep := r.resolve(key)
			r.cache.put(key, call, a, keep)
		}()
	}
	select {
	case <-call.done:
	default:
		select {
		case <-call.done:
		case <-ctx.Done():
			return answer{}, 0, &Error{name, typeName(typ), "no answer in time"}
		}
	}
	return call.answer, max(call.expires.Sub(now), 0), call.answer.err
}

// reverse is the name of addr in in-addr.arpa or ip6.arpa (RFC 1035 section 3.5, RFC 3596 section 2.5).
func reverse(addr netip.Addr) string {
	const digits = "0123456789abcdef"
	octets := addr.Unmap().AsSlice()
	b := make([]byte, 0, 80)
	for i := len(octets) - 1; i >= 0; i-- {
		if len(octets) == 4 {
			b = append(fmt.Appendf(b, "%d", octets[i]), '.')
		} else {
			b = append(b, digits[octets[i]&15], '.', digits[octets[i]>>4], '.')
		}
	}
	if len(octets) == 4 {
		return string(b) + "in-addr.arpa"
	}
	return string(b) + "ip6.arpa"
}

// validName reports whether name can be asked for: labels of 1 to 63 octets, 253 in all.
func validName(name string) bool {
	if name == "" || len(name) > 253 {
		return false
	}
	for label := range strings.SplitSeq(name, ".") {
		if label == "" || len(label) > 63 {
			return false
		}
	}
	return true
}

// validHost reports whether name may stand for a host in a file name, a log and a command: letters, digits, '-', '_' and dots.
// The underscore is no letter of a host name (RFC 952), but some use it.
func validHost(name string) bool {
	if !validName(name) || name[0] == '-' {
		return false
	}
	for i := range len(name) {
		c := name[i]
		if !('a' <= c && c <= 'z' || '0' <= c && c <= '9' || c == '-' || c == '_' || c == '.') {
			return false
		}
	}
	return true
}

// typeName is the type as dig shows it.
func typeName(t dnsmessage.Type) string {
	switch uint16(t) {
	case TypeTLSA:
		return "TLSA"
	case TypeCAA:
		return "CAA"
	}
	return strings.TrimPrefix(t.String(), "Type")
}
