/*
Package dns is a stub resolver over dnsmessage: UDP with TCP fallback, a cache, and the AD bit for those who need to know
whether an answer was validated. An answer has three values: records, proven absence, error. An error is never absence.
*/
package dns

import (
	"context"
	"errors"
	"net/netip"
	"time"
)

// ErrNone is "there is nothing of the kind": NOERROR without such records.
var ErrNone = errors.New("no such record")

// ErrNoName is NXDOMAIN.
var ErrNoName = errors.New("no such domain")

// Resolver asks Servers in turn. The zero Resolver asks those of /etc/resolv.conf.
type Resolver struct {
	Servers []string // HOST:PORT
	TrustAD bool     // believe the AD bit also from a server that is not on loopback
	// …
}

// MX is one exchange.
type MX struct {
	Preference uint16
	Host       string // lower case, no trailing dot; "" is the null MX of RFC 7505
}

// MX looks up the exchanges of domain, sorted by preference; secure is the AD bit, ttl how long it holds.
func (r *Resolver) MX(ctx context.Context, domain string) (mx []MX, secure bool, ttl time.Duration, err error) {
	panic("unwritten")
}

// Addresses looks up A and AAAA; one family failing while the other answers is no error.
func (r *Resolver) Addresses(ctx context.Context, host string) (addrs []netip.Addr, secure bool, ttl time.Duration, err error) {
	panic("unwritten")
}

// TXT and PTR are what their names say.
func (r *Resolver) TXT(ctx context.Context, name string) (texts []string, secure bool, err error) {
	panic("unwritten")
}
func (r *Resolver) PTR(ctx context.Context, addr netip.Addr) (names []string, err error) {
	panic("unwritten")
}
