package maildir

import (
	"encoding/base64"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// Modified UTF-7 (RFC 3501 section 5.1.3), as Dovecot writes names on disk.
var mutf7 = base64.NewEncoding("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+,").WithPadding(base64.NoPadding)

// EncodeComponent is one component of a mailbox name as it stands in a directory's name: modified UTF-7, in which '.' and '/' are
// written like letters beyond ASCII because they separate components, and so are a leading '~' and every control.
func EncodeComponent(s string) string {
	return encode(s, func(i int, r rune) bool { return r == '.' || r == '/' || r == '~' && i == 0 })
}

// EncodeName is a mailbox name as it goes over the wire (RFC 3501 section 5.1.3), delimiters and all.
func EncodeName(s string) string { return encode(s, func(int, rune) bool { return false }) }

// encode writes modified UTF-7; what hide says is encoded though it is printable ASCII.
func encode(s string, hide func(i int, r rune) bool) string {
	plain := true
	for i := 0; i < len(s) && plain; i++ {
		c := s[i]
		plain = c >= 0x20 && c <= 0x7e && c != '&' && !hide(i, rune(c))
	}
	if plain {
		return s
	}
	var b strings.Builder
	var run []uint16
	flush := func() {
		if len(run) > 0 {
			b.WriteString("&" + mutf7.EncodeToString(bigEndian(run)) + "-")
			run = run[:0]
		}
	}
	for i, r := range s {
		switch {
		case r < 0x20 || r > 0x7e || hide(i, r):
			run = utf16.AppendRune(run, r)
			continue
		case r == '&':
			flush()
			b.WriteString("&-")
			continue
		}
		flush()
		b.WriteByte(byte(r))
	}
	flush()
	return b.String()
}

func bigEndian(run []uint16) []byte {
	raw := make([]byte, 0, 2*len(run))
	for _, u := range run {
		raw = append(raw, byte(u>>8), byte(u))
	}
	return raw
}

// DecodeComponent undoes EncodeComponent, and reads what other programs wrote. ok is false for what is no modified UTF-7: unfinished or
// stray base64, lone surrogates, letters of ASCII that should not be encoded (S101).
func DecodeComponent(s string) (text string, ok bool) {
	return decode(s, func(r rune) bool { return r == '.' || r == '/' || r == '~' })
}

// DecodeName undoes EncodeName.
func DecodeName(s string) (text string, ok bool) { return decode(s, func(rune) bool { return false }) }

// decode reads modified UTF-7; hidden says which printable ASCII may stand encoded.
func decode(s string, hidden func(rune) bool) (text string, ok bool) {
	if strings.IndexByte(s, '&') < 0 {
		return s, utf8.ValidString(s)
	}
	var b strings.Builder
	for len(s) > 0 {
		i := strings.IndexByte(s, '&')
		if i < 0 {
			b.WriteString(s)
			break
		}
		b.WriteString(s[:i])
		s = s[i+1:]
		end := strings.IndexByte(s, '-')
		if end < 0 {
			return "", false
		}
		if end == 0 {
			b.WriteByte('&')
			s = s[1:]
			continue
		}
		raw, err := mutf7.DecodeString(s[:end])
		if err != nil || len(raw)%2 != 0 || mutf7.EncodeToString(raw) != s[:end] {
			return "", false
		}
		units := make([]uint16, len(raw)/2)
		for k := range units {
			units[k] = uint16(raw[2*k])<<8 | uint16(raw[2*k+1])
		}
		for k := 0; k < len(units); k++ {
			r := rune(units[k])
			if utf16.IsSurrogate(r) {
				if k+1 == len(units) {
					return "", false
				}
				if r = utf16.DecodeRune(r, rune(units[k+1])); r == utf8.RuneError {
					return "", false
				}
				k++
			} else if r > 0x20 && r < 0x7f && !hidden(r) {
				return "", false
			}
			b.WriteRune(r)
		}
		s = s[end+1:]
	}
	return b.String(), utf8.ValidString(b.String())
}
