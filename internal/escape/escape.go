/*
Package escape makes words from outside safe for what reads them: a line of the spool, a
file name, a log, a terminal. Each has one function, used by every program.

	word of a line   bob%20b@example.net      Append, Parse
	file name        bob%2Fb@example.net      File
	log value        "no \"bob\" here\n"      Quote
	terminal         \x1b[2J                  Terminal

What stays as it is in all four: printable ASCII less what the form needs for itself, and
the letters, marks, digits, punctuation and symbols of Unicode in valid UTF-8. Controls of any
kind, invisible and bidirectional formatting, odd spaces, and octets that are no UTF-8 never stay.
*/
package escape

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"strings"
	"unicode"
	"unicode/utf8"
)

const upper = "0123456789ABCDEF"
const lower = "0123456789abcdef"

// What an ASCII octet may do.
const (
	inWord  = 1 << iota // stand in a word of a line
	inValue             // stand in a log value without quotes
	inText              // be seen by a terminal
)

var class = func() (t [utf8.RuneSelf]byte) {
	for c := byte(' '); c < 0x7f; c++ {
		t[c] = inText
		if c != ' ' && c != '"' && c != '=' {
			if c != '%' {
				t[c] |= inWord
			}
			if c != '\\' {
				t[c] |= inValue
			}
		}
	}
	return
}()

// span is how many octets at the start of s may stay in a form.
func span(s string, form byte) int {
	for i := 0; i < len(s); {
		if c := s[i]; c < utf8.RuneSelf {
			if class[c]&form == 0 {
				return i
			}
			i++
			continue
		}
		r, n := utf8.DecodeRuneInString(s[i:])
		if r == utf8.RuneError && n == 1 || !unicode.IsPrint(r) {
			return i
		}
		i += n
	}
	return len(s)
}

// size is how many octets the rune at the start of s has; 1 where it is none.
func size(s string) int {
	_, n := utf8.DecodeRuneInString(s)
	return n
}

// Append percent-escapes s for one word of a spool line or an order: printable ASCII except
// space, '%', '"' and '=' stays, valid UTF-8 letters stay, every other octet becomes %XX. The
// empty string becomes "-" and a lone "-" becomes %2D.
func Append(b []byte, s string) []byte {
	switch s {
	case "":
		return append(b, '-')
	case "-":
		return append(b, "%2D"...)
	}
	for {
		n := span(s, inWord)
		b = append(b, s[:n]...)
		if s = s[n:]; s == "" {
			return b
		}
		n = size(s)
		b = percent(b, s[:n])
		s = s[n:]
	}
}

func percent(b []byte, s string) []byte {
	for i := 0; i < len(s); i++ {
		b = append(b, '%', upper[s[i]>>4], upper[s[i]&15])
	}
	return b
}

var errWord = errors.New("bad percent escape")

// Parse undoes Append. A word that Append would not write is read as far as it has one
// meaning: letters it would have escaped stand for themselves, controls and spaces are an error.
func Parse(word string) (string, error) {
	if word == "-" {
		return "", nil
	}
	for i := 0; i < len(word); i++ {
		if word[i] <= ' ' || word[i] == 0x7f {
			return "", errors.New("control or space in a word")
		}
	}
	n := strings.IndexByte(word, '%')
	if n < 0 {
		if word == "" {
			return "", errors.New("empty word")
		}
		return word, nil
	}
	b := make([]byte, n, len(word))
	copy(b, word)
	for i := n; i < len(word); i++ {
		c := word[i]
		if c == '%' {
			if i+2 >= len(word) {
				return "", errWord
			}
			hi, lo := unhex(word[i+1]), unhex(word[i+2])
			if hi|lo > 15 {
				return "", errWord
			}
			c = hi<<4 | lo
			i += 2
		}
		b = append(b, c)
	}
	return string(b), nil
}

func unhex(c byte) byte {
	switch {
	case '0' <= c && c <= '9':
		return c - '0'
	case 'A' <= c && c <= 'F':
		return c - 'A' + 10
	case 'a' <= c && c <= 'f':
		return c - 'a' + 10
	}
	return 255
}

// longest is the length of a component that File makes: 255 is what file systems take,
// and who uses the name may add to it.
const longest = 200

// File is s as one component of a path: as Append, and '/' escaped, and a leading dot or dash
// escaped, at most 200 octets (longer names end in '~' and 16 hex digits of their hash). The
// empty string is "%", which nothing else becomes.
func File(s string) string {
	if s == "" {
		return "%"
	}
	if len(s) <= longest && s[0] != '.' && s[0] != '-' && span(s, inWord) == len(s) && strings.IndexByte(s, '/') < 0 {
		return s
	}
	var b []byte
	rest := s
	if s[0] == '.' || s[0] == '-' {
		b, rest = percent(b, s[:1]), s[1:]
	}
	if rest != "" {
		for i, part := range strings.Split(rest, "/") {
			if i > 0 {
				b = percent(b, "/")
			}
			for part != "" { // not Append, which has a word for the empty string
				n := span(part, inWord)
				b = append(b, part[:n]...)
				if part = part[n:]; part != "" {
					n = size(part)
					b = percent(b, part[:n])
					part = part[n:]
				}
			}
		}
	}
	if len(b) <= longest {
		return string(b)
	}
	sum := sha256.Sum256([]byte(s))
	keep := longest - 17
	for keep > 0 && (!utf8.RuneStart(b[keep]) || b[keep-1] == '%' || b[keep-2] == '%') {
		keep-- // neither half a letter nor half an escape
	}
	return string(b[:keep]) + "~" + hex.EncodeToString(sum[:8])
}

// Quote appends s as a log value: bare when it is one plain word, else in double quotes with
// \" \\ \n \t \xNN; C0, C1, DEL, bidirectional controls and invalid UTF-8 are always escaped.
// At most max octets of s are used; what is cut is marked with "…".
func Quote(b []byte, s string, max int) []byte {
	if s != "" && len(s) <= max && span(s, inValue) == len(s) {
		return append(b, s...)
	}
	s, cut := clip(s, max)
	b = append(b, '"')
	for s != "" {
		n := span(s, inText)
		for _, c := range []byte(s[:n]) {
			if c == '"' || c == '\\' {
				b = append(b, '\\')
			}
			b = append(b, c)
		}
		if s = s[n:]; s == "" {
			break
		}
		n = size(s)
		b = backslash(b, s[:n])
		s = s[n:]
	}
	if cut {
		b = append(b, "…"...)
	}
	return append(b, '"')
}

// clip cuts s to at most max octets, between runes.
func clip(s string, max int) (string, bool) {
	if len(s) <= max {
		return s, false
	}
	for n := max; n > max-utf8.UTFMax && n > 0; n-- {
		if utf8.RuneStart(s[n]) {
			return s[:n], true
		}
	}
	return s[:max], true
}

func backslash(b []byte, s string) []byte {
	switch s {
	case "\n":
		return append(b, '\\', 'n')
	case "\t":
		return append(b, '\\', 't')
	case "\r":
		return append(b, '\\', 'r')
	}
	for i := 0; i < len(s); i++ {
		b = append(b, '\\', 'x', lower[s[i]>>4], lower[s[i]&15])
	}
	return b
}

// Terminal is s with everything escaped that a terminal could take for a command (S159): the
// same escapes as Quote, without quotes. It is one line whatever s was.
func Terminal(s string) string {
	if span(s, inText) == len(s) {
		return s
	}
	b := make([]byte, 0, len(s)+16)
	for s != "" {
		n := span(s, inText)
		b = append(b, s[:n]...)
		if s = s[n:]; s != "" {
			n = size(s)
			b = backslash(b, s[:n])
			s = s[n:]
		}
	}
	return string(b)
}
