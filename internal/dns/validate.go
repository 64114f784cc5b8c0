package dns

import (
	"context"
	"errors"

	"golang.org/x/net/dns/dnsmessage"
)

// Trusted reports whether the AD bit of every server counts: all are on loopback, or TrustAD is set. One that is not is
// enough to spoil it: what the others refuse as bogus it would answer.
func (r *Resolver) Trusted() bool {
	r.start()
	for _, s := range r.servers {
		if !s.trust {
			return false
		}
	}
	return true
}

// Validation is what Probe finds.
type Validation int

// What a resolver does with a zone whose signatures are wrong on purpose.
const (
	Unknown   Validation = iota // no answer of any use: the resolver is down, or the name is no more
	Validates                   // it refuses to answer
	Believes                    // it answers as if nothing were wrong
)

// Probe asks for a name whose DNSSEC signatures are wrong on purpose. The answer is never kept.
func (r *Resolver) Probe(ctx context.Context, bogus string) Validation {
	r.start()
	if !validName(bogus) {
		return Unknown
	}
	ctx, cancel := context.WithTimeout(ctx, r.Timeout)
	defer cancel()
	a, err := r.query(ctx, question{bogus, dnsmessage.TypeA})
	var code rcodeError
	switch {
	case errors.As(err, &code) && dnsmessage.RCode(code) == dnsmessage.RCodeServerFailure:
		return Validates
	case err == nil && a.err == nil && a.next == "":
		return Believes
	}
	return Unknown
}
