package dsn

import (
	"strconv"
	"strings"
	"unicode/utf8"
)

// xtext undoes RFC 3461 section 4: +HH is an octet. What is no xtext stays as it is, for
// it came from a stranger and is only shown.
func xtext(s string) string {
	if strings.IndexByte(s, '+') < 0 {
		return s
	}
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if s[i] == '+' && i+2 < len(s) {
			if c, err := strconv.ParseUint(s[i+1:i+3], 16, 8); err == nil {
				b = append(b, byte(c))
				i += 2
				continue
			}
		}
		b = append(b, s[i])
	}
	return string(b)
}

// unitext undoes \x{HEX} of RFC 6533 section 3: utf-8-addr-unitext and -xtext.
func unitext(s string) string {
	var b []byte
	for {
		before, rest, ok := strings.Cut(s, `\x{`)
		if !ok {
			return string(append(b, s...))
		}
		hex, after, ok := strings.Cut(rest, "}")
		r, err := strconv.ParseUint(hex, 16, 21)
		if !ok || err != nil || !utf8.ValidRune(rune(r)) {
			return string(append(b, s...))
		}
		b = utf8.AppendRune(append(b, before...), rune(r))
		s = after
	}
}

// orcpt takes ORCPT=TYPE;XTEXT apart.
func orcpt(params string) (kind, addr string, ok bool) {
	v, ok := param(params, "ORCPT")
	if !ok {
		return "", "", false
	}
	kind, addr, ok = strings.Cut(v, ";")
	if !ok || kind == "" || strings.Trim(kind, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-") != "" {
		return "", "", false
	}
	if addr = xtext(addr); strings.EqualFold(kind, "utf-8") {
		addr = unitext(addr)
	}
	return kind, addr, true
}
