package address

import (
	"net/netip"
	"strings"

	"golang.org/x/net/idna"
	"golang.org/x/text/unicode/norm"
)

// parseDomain checks what follows the @ and brings it into the one form it has here.
func parseDomain(s string) (string, error) {
	switch {
	case s == "":
		return "", errNoDomain
	case s[0] == '[':
		return parseLiteral(s)
	case ascii(s):
		return checkDomain(lowerASCII(s))
	}
	u, err := idna.Lookup.ToUnicode(s)
	if err != nil {
		return "", errIDN
	}
	if a, err := idna.Lookup.ToASCII(u); err != nil {
		return "", errIDN
	} else if _, err = checkDomain(a); err != nil { // DNS's limits are those of the A-labels
		return "", err
	}
	if u != norm.NFC.String(u) || strings.IndexByte(u, '@') >= 0 {
		return "", errIDN
	}
	return u, nil
}

// lowerASCII is strings.ToLower, which already costs nothing for what is lower case.
func lowerASCII(s string) string { return strings.ToLower(s) }

// checkDomain is RFC 5321's Domain, and underscores, which some senders have in theirs.
func checkDomain(s string) (string, error) {
	if len(s) > MaxDomain {
		return "", errLong
	}
	start := 0 // of the label
	for i := 0; i <= len(s); i++ {
		if i < len(s) && s[i] != '.' {
			switch c := s[i]; {
			case 'a' <= c && c <= 'z', '0' <= c && c <= '9', c == '-', c == '_':
			case c == '@':
				return "", errTwo
			case c < ' ' || c == 0x7f:
				return "", errControl
			default:
				return "", errDomain
			}
			continue
		}
		switch n := i - start; {
		case n == 0 && i == len(s) && i > 0:
			return "", errDot
		case n == 0 || n > 63:
			return "", errLabel
		case s[start] == '-' || s[i-1] == '-':
			return "", errHyphen
		}
		start = i + 1
	}
	return s, nil
}

// parseLiteral is RFC 5321 section 4.1.3, with no General-address-literal: no tag but IPv6 was ever registered.
func parseLiteral(s string) (string, error) {
	if s[len(s)-1] != ']' {
		return "", errLiteral
	}
	in := s[1 : len(s)-1]
	const tag = "ipv6:"
	six := len(in) > len(tag) && strings.EqualFold(in[:len(tag)], tag)
	if six {
		in = in[len(tag):]
	}
	addr, err := netip.ParseAddr(in)
	if err != nil || addr.Zone() != "" || addr.Is6() != six {
		return "", errLiteral
	}
	if six {
		return "[IPv6:" + addr.String() + "]", nil
	}
	return "[" + addr.String() + "]", nil
}

// Literal is the address of an address literal domain; ok is false for any other.
func (p Path) Literal() (addr netip.Addr, ok bool) {
	if !p.IsLiteral() {
		return addr, false
	}
	addr, err := netip.ParseAddr(strings.TrimPrefix(p.Domain[1:len(p.Domain)-1], "IPv6:"))
	return addr, err == nil
}

// plain reports whether a domain is the same in A-labels and U-labels.
func plain(domain string) bool {
	return ascii(domain) && !strings.Contains(domain, "xn--")
}

// DomainASCII is the domain with A-labels (RFC 5891), as DNS wants it.
func (p Path) DomainASCII() (string, error) {
	if p.IsLiteral() || ascii(p.Domain) {
		return p.Domain, nil
	}
	a, err := idna.Lookup.ToASCII(p.Domain)
	if err != nil {
		return "", errIDN
	}
	return a, nil
}

// DomainUnicode is the domain with U-labels, NFC and lower case: the form directories under
// etc/domains have, and the form two domains are compared in. A-labels that stand for nothing stay.
func (p Path) DomainUnicode() string { return Unicode(p.Domain) }

// Unicode is DomainUnicode of a domain that stands alone.
func Unicode(domain string) string {
	if plain(domain) {
		return lowerASCII(domain)
	}
	u, err := idna.Lookup.ToUnicode(domain)
	if err != nil {
		return strings.ToLower(domain)
	}
	return u
}

// ParseDomain is the domain of an EHLO, an argument or a directory as a Path has it.
func ParseDomain(s string) (string, error) { return parseDomain(s) }
