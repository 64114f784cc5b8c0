package smtpd

import (
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// param is one ESMTP parameter of MAIL or RCPT.
type param struct {
	key   string // upper case
	value string
	has   bool // there was a "="
}

// text is the parameter as the envelope keeps it.
func (p param) text() string {
	if !p.has {
		return p.key
	}
	return p.key + "=" + p.value
}

var (
	badParam     = reply{501, "5.5.4", "that is no parameter"}
	unknownParam = reply{555, "5.5.4", "parameter not supported"}
	twiceParam   = reply{501, "5.5.4", "the same parameter twice"}
)

// parseParams takes parameters apart and gives each to take, in order. The first refusal is the answer.
func parseParams(text string, take func(param) reply) reply {
	var seen [8]string
	n := 0
	for text != "" {
		var word string
		word, text, _ = strings.Cut(text, " ")
		if word == "" {
			continue
		}
		var p param
		p.key, p.value, p.has = strings.Cut(word, "=")
		p.key = strings.ToUpper(p.key)
		if !keyword(p.key) || p.has && p.value == "" {
			return badParam
		}
		for _, key := range seen[:n] {
			if key == p.key {
				return twiceParam
			}
		}
		if n == len(seen) {
			return unknownParam // there are not that many
		}
		seen[n] = p.key
		n++
		if r := take(p); r.code != 0 {
			return r
		}
	}
	return reply{}
}

// keyword is esmtp-keyword of RFC 5321 section 4.1.2, in upper case.
func keyword(s string) bool {
	for i := range len(s) {
		c := s[i]
		if !('A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-' && i > 0) {
			return false
		}
	}
	return s != ""
}

// number reads digits only: no sign, no exponent (S023). What does not fit is the largest number.
func number(s string) (int64, bool) {
	if s == "" || len(s) > 20 { // RFC 1870 section 5
		return 0, false
	}
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return 0, false
		}
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		n = 1<<63 - 1
	}
	return n, true
}

// xtext reports whether s is xtext (RFC 3461 section 4) of at most most octets once decoded, none of them a control:
// an ENVID with a line end in it would write our headers (S022).
func xtext(s string, most int) bool {
	n := 0
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case c == '+':
			if i+2 >= len(s) {
				return false
			}
			hi, lo := hexDigit(s[i+1]), hexDigit(s[i+2])
			if hi < 0 || lo < 0 || hi<<4|lo < ' ' || hi<<4|lo == 0x7f {
				return false
			}
			i += 2
		case c <= ' ' || c >= 0x7f || c == '=':
			return false
		}
		n++
	}
	return n > 0 && n <= most
}

func hexDigit(c byte) int {
	switch {
	case '0' <= c && c <= '9':
		return int(c - '0')
	case 'A' <= c && c <= 'F':
		return int(c-'A') + 10
	}
	return -1
}

// orcpt reports whether s is an original recipient (RFC 3461 section 4.2, RFC 6533 section 3): its type, and the
// address in xtext or, of type utf-8, as it is.
func orcpt(s string, utf8OK bool) bool {
	typ, addr, ok := strings.Cut(s, ";")
	if !ok || len(s) > 500 || !keyword(strings.ToUpper(typ)) {
		return false
	}
	if !strings.EqualFold(typ, "utf-8") || !utf8OK && !strings.Contains(addr, `\x{`) {
		return xtext(addr, 500)
	}
	for _, r := range addr {
		if r <= ' ' || r >= 0x7f && r < 0xa0 || r == utf8.RuneError {
			return false
		}
	}
	return addr != ""
}

// notify reports whether s is NEVER, or some of SUCCESS, FAILURE and DELAY, each once (RFC 3461 section 4.1).
func notify(s string) bool {
	if strings.EqualFold(s, "NEVER") {
		return true
	}
	var seen [3]bool
	for word := range strings.SplitSeq(s, ",") {
		i := 0
		switch strings.ToUpper(word) {
		case "SUCCESS":
		case "FAILURE":
			i = 1
		case "DELAY":
			i = 2
		default:
			return false
		}
		if seen[i] {
			return false
		}
		seen[i] = true
	}
	return true
}

// holdUntil reads HOLDFOR and HOLDUNTIL (RFC 4865 section 4).
func (s *session) holdUntil(p param) reply {
	switch {
	case s.future() == 0:
		return unknownParam
	case !s.tx.hold.IsZero():
		return reply{501, "5.5.4", "HOLDFOR or HOLDUNTIL, not both"}
	}
	now := time.Now()
	if p.key == "HOLDFOR" {
		n, ok := number(p.value)
		if !ok || len(p.value) > 9 {
			return reply{501, "5.5.4", "HOLDFOR wants seconds"}
		}
		s.tx.hold = now.Add(time.Duration(n) * time.Second)
	} else {
		t, err := time.Parse(time.RFC3339, strings.ToUpper(p.value))
		if err != nil {
			return reply{501, "5.5.4", "HOLDUNTIL wants a date and time of RFC 3339"}
		}
		s.tx.hold = t
	}
	s.tx.hold = s.tx.hold.UTC().Truncate(time.Second)
	if s.tx.hold.Sub(now) > s.future()+time.Second {
		return reply{501, "5.5.4", "longer than a message is held here"}
	}
	return reply{}
}
