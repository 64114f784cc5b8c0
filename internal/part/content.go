package part

import (
	"bytes"
	"strings"
)

// maxParams bounds the parameters of one field (S087: 64 continuations and no more).
const maxParams = 256

// parseType reads Content-Type (RFC 2045 section 5.1), tolerantly: what cannot be read is left out.
func parseType(value []byte) (typ, sub string, params []Param, ok bool) {
	b := clean(value)
	typ, b = token(b)
	if typ == "" || len(b) == 0 || b[0] != '/' {
		return "", "", nil, false
	}
	sub, b = token(trim(b[1:]))
	if sub == "" {
		return "", "", nil, false
	}
	return typ, sub, parseParams(b), true
}

// parseDisposition reads Content-Disposition (RFC 2183).
func parseDisposition(value []byte) (string, []Param) {
	word, b := token(clean(value))
	return word, parseParams(b)
}

// parseLanguages reads Content-Language (RFC 3282).
func parseLanguages(value []byte) []string {
	var out []string
	b := clean(value)
	for len(b) > 0 && len(out) < maxParams {
		var word string
		word, b = token(b)
		if word != "" {
			out = append(out, word)
		}
		if i := bytes.IndexByte(b, ','); i >= 0 {
			b = trim(b[i+1:])
		} else {
			b = nil
		}
	}
	return out
}

// parseParams reads ;name=value…
func parseParams(b []byte) []Param {
	params := []Param{}
	for len(params) < maxParams {
		i := bytes.IndexByte(b, ';')
		if i < 0 {
			return params
		}
		var name string
		name, b = token(trim(b[i+1:]))
		b = trim(b)
		if name == "" || len(b) == 0 || b[0] != '=' {
			continue
		}
		var value string
		value, b = word(trim(b[1:]))
		params = append(params, Param{name, value})
	}
	return params
}

// clean unfolds and takes comments out (RFC 5322 section 3.2.2), outside quoted strings.
func clean(value []byte) []byte {
	flat := Unfold(value)
	if bytes.IndexByte(flat, '(') < 0 {
		return flat
	}
	out := make([]byte, 0, len(flat))
	depth, quoted := 0, false
	for i := 0; i < len(flat); i++ {
		c := flat[i]
		switch {
		case c == '\\' && i+1 < len(flat) && (quoted || depth > 0):
			if depth == 0 {
				out = append(out, c, flat[i+1])
			}
			i++
			continue
		case depth > 0:
			if c == '(' {
				depth++
			} else if c == ')' {
				depth--
			}
			continue
		case c == '"':
			quoted = !quoted
		case c == '(' && !quoted:
			depth++
			continue
		}
		out = append(out, c)
	}
	return trim(out)
}

// token is the RFC 2045 token at the beginning of b, and what follows it.
func token(b []byte) (string, []byte) {
	i := 0
	for i < len(b) && !tokenEnds[b[i]] {
		i++
	}
	return spelled(b[:i]), b[i:]
}

// tokenEnds are the octets that are in no token.
var tokenEnds = func() (t [256]bool) {
	for c := range 33 {
		t[c] = true
	}
	for _, c := range []byte("()<>@,;:\\\"/[]?=\x7f") {
		t[c] = true
	}
	return t
}()

// spelled is b as a string, of which there is one already where it is a usual word of Content fields.
func spelled(b []byte) string {
	if word, ok := usualWords[string(b)]; ok {
		return word
	}
	return string(b)
}

var usualWords = func() map[string]string {
	m := map[string]string{}
	for _, word := range strings.Fields(`text plain html multipart mixed alternative related signed report message rfc822 image png jpeg gif application pdf octet-stream
		charset utf-8 UTF-8 us-ascii US-ASCII iso-8859-1 ISO-8859-1 format flowed delsp yes boundary name filename attachment inline
		7bit 8bit base64 quoted-printable`) {
		m[word] = word
	}
	return m
}()

// word is the token or quoted string at the beginning of b, without quotes. Unquoted values are read up to the next
// semicolon or space, since mail has them with characters no token may have.
func word(b []byte) (string, []byte) {
	if len(b) == 0 || b[0] != '"' {
		i := 0
		for i < len(b) && b[i] != ';' && b[i] != ' ' && b[i] != '\t' {
			i++
		}
		return spelled(b[:i]), b[i:]
	}
	if end := bytes.IndexAny(b[1:], `"\`); end >= 0 && b[1+end] == '"' { // as it mostly is
		return spelled(b[1 : 1+end]), b[end+2:]
	}
	out := make([]byte, 0, len(b))
	i := 1
	for ; i < len(b) && b[i] != '"'; i++ {
		if b[i] == '\\' && i+1 < len(b) {
			i++
		}
		out = append(out, b[i])
	}
	if i < len(b) {
		i++
	}
	return string(out), b[i:]
}
