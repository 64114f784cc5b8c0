package mailkey

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
)

// STS is an MTA-STS policy as it is served (RFC 8461 section 3.2), lines ending in CRLF.
type STS string

// policy is that of a domain whose mail goes to h.
func policy(h Host, w words) STS {
	mode, age := w.sts, 7*86400
	if mode == "enforce" {
		age = 30 * 86400
	}
	var b strings.Builder
	fmt.Fprintf(&b, "version: STSv1\r\nmode: %s\r\n", mode)
	for _, mx := range exchanges(h, w) {
		_, host, _ := strings.Cut(mx, " ")
		fmt.Fprintf(&b, "mx: %s\r\n", host)
	}
	fmt.Fprintf(&b, "max_age: %d\r\n", age)
	return STS(b.String())
}

// ID is what the TXT record has: another for each policy, the same for the same.
func (p STS) ID() string {
	sum := sha256.Sum256([]byte(p))
	return hex.EncodeToString(sum[:10])
}

// STS is the policy to serve at https://mta-sts.DOMAIN/.well-known/mta-sts.txt, "" where the domain has none.
func (s *Store) STS(n Name, h Host) (STS, error) {
	w, err := s.words(n)
	if err != nil || w.sts == "off" {
		return "", err
	}
	h.Name = strings.ToLower(strings.TrimSuffix(h.Name, "."))
	return policy(h, w), nil
}
