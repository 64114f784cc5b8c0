package dns

import (
	"context"
	"slices"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// Types that dnsmessage has no name for.
const (
	TypeTLSA uint16 = 52  // RFC 6698
	TypeCAA  uint16 = 257 // RFC 8659
)

// SRV is one service (RFC 2782).
type SRV struct {
	Priority, Weight, Port uint16
	Target                 string // lower case, no trailing dot; "" says that there is no such service
}

// SRV looks up the services of name, such as _imaps._tcp.example.org.
func (r *Resolver) SRV(ctx context.Context, name string) (list []SRV, secure bool, err error) {
	a, _, err := r.ask(ctx, name, dnsmessage.TypeSRV)
	return slices.Clone(a.srv), a.secure, err
}

// Raw looks up records of a type that has no method, as they are on the wire: TypeTLSA, TypeCAA.
func (r *Resolver) Raw(ctx context.Context, name string, typ uint16) (data [][]byte, secure bool, ttl time.Duration, err error) {
	a, ttl, err := r.ask(ctx, name, dnsmessage.Type(typ))
	return slices.Clone(a.raw), a.secure, ttl, err
}
