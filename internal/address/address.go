/*
Package address is the mailbox of RFC 5321 section 4.1.2 and RFC 6531 section 3.3:
what stands between the angle brackets of MAIL FROM and RCPT TO.
*/
package address

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

// Parse reads local@domain, a bare local part, or the empty string (the null sender).
// Limits are those of RFC 5321 section 4.5.3.1: local part 64, domain 255, path 254 octets.
// The error is fit for the peer: it says what is wrong, in one line, without quoting it.
func Parse(s string) (Path, error) { panic("unwritten") }

// IsNull reports whether p is the null sender.
func (p Path) IsNull() bool { return p == Path{} }

// String is the path as the wire has it, without angle brackets; "" for the null sender.
func (p Path) String() string { panic("unwritten") }

// ASCII reports whether the path can be sent without SMTPUTF8.
func (p Path) ASCII() bool { panic("unwritten") }

// Unquoted is the local part as a name to look up: without quotes and backslashes.
func (p Path) Unquoted() string { panic("unwritten") }

// DomainASCII is the domain with A-labels (RFC 5891), as DNS wants it.
func (p Path) DomainASCII() (string, error) { panic("unwritten") }

// DomainUnicode is the domain with U-labels, NFC and lower case: the form directories under
// etc/domains have, and the form two domains are compared in.
func (p Path) DomainUnicode() string { panic("unwritten") }
