package address

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// atext is RFC 5321's Atom, with the dot.
var atext = func() (t [256]bool) {
	for c := '0'; c <= 'z'; c++ {
		t[c] = '0' <= c && c <= '9' || 'A' <= c && c <= 'Z' || 'a' <= c
	}
	for _, c := range "!#$%&'*+-/=?^_`{|}~." {
		t[c] = true
	}
	for c := utf8.RuneSelf; c < 256; c++ {
		t[c] = true // RFC 6531 section 3.3; normal has seen to what it is
	}
	return
}()

// normal is s in NFC (RFC 6532 section 3.1), which must come before anything is looked
// for in it: U+037E becomes a semicolon. Letters that only deceive are refused.
func normal(s string) (string, error) {
	if !utf8.ValidString(s) {
		return "", errUTF8
	}
	s = norm.NFC.String(s)
	for _, r := range s {
		if r >= utf8.RuneSelf && (unicode.Is(unicode.Cc, r) || unicode.Is(unicode.Zl, r) || unicode.Is(unicode.Zp, r) ||
			unicode.Is(unicode.Bidi_Control, r) || unicode.Is(unicode.Noncharacter_Code_Point, r)) {
			return "", errControl
		}
	}
	if len(s) > MaxPath {
		return "", errLong
	}
	// A mark would change what stands before the address: = and U+0338 are one letter, not equal.
	if r, _ := utf8.DecodeRuneInString(strings.TrimLeft(s, `"\\`)); unicode.Is(unicode.M, r) {
		return "", errMark
	}
	return s, nil
}

// parseLocal takes the local part from the start of s; rest is empty or starts with the @.
func parseLocal(s string) (p Path, rest string, err error) {
	if s[0] == '"' {
		return parseQuoted(s)
	}
	i := 0
	for i < len(s) && atext[s[i]] {
		i++
	}
	p.Local, rest = s[:i], s[i:]
	switch {
	case rest != "" && rest[0] != '@':
		if rest[0] < ' ' || rest[0] == 0x7f {
			return p, rest, errControl
		}
		return p, rest, errLocal
	case i == 0:
		return p, rest, errNoLocal
	case oddDots(p.Local):
		p.Local = quote(p.Local) // as some telephones send it; quoted it is RFC 5321
	}
	return p, rest, nil
}

// oddDots reports whether an atom with dots is no Dot-string.
func oddDots(s string) bool {
	return s[0] == '.' || s[len(s)-1] == '.' || strings.Contains(s, "..")
}

// parseQuoted takes a Quoted-string local part and removes the quotes where they are needless.
func parseQuoted(s string) (p Path, rest string, err error) {
	var name [MaxPath]byte
	n := 0
	for i := 1; i < len(s); i++ {
		c := s[i]
		switch {
		case c == '"':
			p.Local, rest = string(name[:n]), s[i+1:]
			if rest != "" && rest[0] != '@' {
				return p, rest, errAfter
			}
			if needsQuotes(p.Local) {
				p.Local = quote(p.Local)
			}
			return p, rest, nil
		case c == '\\':
			if i++; i == len(s) {
				return p, "", errQuote
			}
			c = s[i]
			if c >= utf8.RuneSelf { // quoted-pair is ASCII, also in RFC 6531
				return p, "", errLocal
			}
		}
		if c < ' ' || c == 0x7f {
			return p, "", errControl
		}
		name[n] = c
		n++
	}
	return p, "", errQuote
}

// needsQuotes reports whether a name can stand on the wire only in quotes.
func needsQuotes(name string) bool {
	for i := 0; i < len(name); i++ {
		if !atext[name[i]] {
			return true
		}
	}
	return name == "" || oddDots(name)
}

func quote(name string) string {
	b := make([]byte, 0, len(name)+4)
	b = append(b, '"')
	for i := 0; i < len(name); i++ {
		if name[i] == '"' || name[i] == '\\' {
			b = append(b, '\\')
		}
		b = append(b, name[i])
	}
	return string(append(b, '"'))
}

// Unquoted is the local part as a name to look up: without quotes and backslashes.
func (p Path) Unquoted() string {
	if len(p.Local) < 2 || p.Local[0] != '"' {
		return p.Local
	}
	s := p.Local[1 : len(p.Local)-1]
	if strings.IndexByte(s, '\\') < 0 {
		return s
	}
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+1 < len(s) {
			i++
		}
		b = append(b, s[i])
	}
	return string(b)
}

// Make is the path of a name and a domain as Parse would have it: the name is quoted where it
// must be. It is how a program builds an address from a name that is no address (a user's, a list's).
func Make(name, domain string) (Path, error) {
	if needsQuotes(name) {
		name = quote(name)
	}
	if domain == "" {
		return Parse(name)
	}
	return Parse(name + "@" + domain)
}
