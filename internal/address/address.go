/*
Package address is the mailbox of RFC 5321 section 4.1.2 and RFC 6531 section 3.3:
what stands between the angle brackets of MAIL FROM and RCPT TO.

	on the wire              Local          Domain
	Bob@Example.NET          Bob            example.net
	"bob"@example.net        bob            example.net
	"a b"@[192.0.2.1]        "a b"          [192.0.2.1]
	a..b@example.net         "a..b"         example.net      some telephones have such names
	postmaster               postmaster
	δοκιμή@Παράδειγμα.test   δοκιμή         παράδειγμα.test

One mailbox has one Path: whatever Parse returns, Parse of its String returns again.
*/
package address

import (
	"strings"
	"unicode/utf8"
)

// The limits of RFC 5321 section 4.5.3.1, in octets. A path is 256 with its angle brackets.
//
// Of a local part every server must take 64; we take what fits into a path. The section asks
// for that, and the addresses of forwarders (SRS) and of lists (VERP), which have another address
// in their local part, need it every day.
const (
	MaxDomain = 255
	MaxPath   = 254
)

// Path is a reverse-path or forward-path without angle brackets and source route.
//
// Local keeps the spelling of the wire, quotes and all where they are needed ("a b"),
// so that Local+"@"+Domain can be written to the wire as it is; needless quotes are
// removed by Parse. Domain is lower case, a U-label or A-label domain as it came,
// or an address literal with its brackets. The zero Path is the null sender <>.
type Path struct {
	Local  string
	Domain string // empty for the null sender and for a bare local part such as postmaster
}

// bad is an error about an address: constant, so that refusing costs nothing.
type bad string

func (e bad) Error() string { return string(e) }

const (
	errLong     = bad("address is longer than 254 octets")
	errNoLocal  = bad("no local part before the @")
	errNoDomain = bad("no domain after the @")
	errLocal    = bad("local part has a character that must be quoted")
	errControl  = bad("address has a control character")
	errMark     = bad("local part starts with a combining mark")
	errUTF8     = bad("address is not valid UTF-8")
	errQuote    = bad("quoted local part does not end")
	errAfter    = bad("only @domain may follow a quoted local part")
	errTwo      = bad("more than one @ in the address")
	errDomain   = bad("domain has a character that no domain has")
	errLabel    = bad("domain has an empty label or one longer than 63 octets")
	errHyphen   = bad("a label of the domain starts or ends with a hyphen")
	errDot      = bad("domain ends with a dot")
	errIDN      = bad("domain is no valid internationalised domain name")
	errLiteral  = bad("address literal is not [IPv4] or [IPv6:address]")
)

// Parse reads local@domain, a bare local part, or the empty string (the null sender).
// Limits are those of RFC 5321 section 4.5.3.1: domain 255, path 254 octets.
// The error is fit for the peer: it says what is wrong, in one line, without quoting it.
func Parse(s string) (Path, error) {
	if s == "" {
		return Path{}, nil
	}
	if len(s) > MaxPath {
		return Path{}, errLong
	}
	if !ascii(s) {
		var err error
		if s, err = normal(s); err != nil {
			return Path{}, err
		}
	}
	p, rest, err := parseLocal(s)
	switch {
	case err != nil:
		return Path{}, err
	case rest == "":
		return p, nil
	}
	if p.Domain, err = parseDomain(rest[1:]); err != nil { // rest starts with the @
		return Path{}, err
	}
	if len(p.Local)+1+len(p.Domain) > MaxPath { // an IDN may have grown
		return Path{}, errLong
	}
	return p, nil
}

// IsNull reports whether p is the null sender.
func (p Path) IsNull() bool { return p == Path{} }

// String is the path as the wire has it, without angle brackets; "" for the null sender.
func (p Path) String() string {
	if p.Domain == "" {
		return p.Local
	}
	return p.Local + "@" + p.Domain
}

// Append is String added to b.
func (p Path) Append(b []byte) []byte {
	b = append(b, p.Local...)
	if p.Domain != "" {
		b = append(append(b, '@'), p.Domain...)
	}
	return b
}

// ASCII reports whether the path can be sent without SMTPUTF8.
func (p Path) ASCII() bool { return ascii(p.Local) && ascii(p.Domain) }

func ascii(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

// Same reports whether two paths name one mailbox as far as a stranger can tell: the same
// local part, and domains that are equal as U-labels.
func (p Path) Same(q Path) bool {
	return p.Local == q.Local && (p.Domain == q.Domain || p.DomainUnicode() == q.DomainUnicode())
}

// IsLiteral reports whether the domain is an address literal such as [192.0.2.1].
func (p Path) IsLiteral() bool { return strings.HasPrefix(p.Domain, "[") }
