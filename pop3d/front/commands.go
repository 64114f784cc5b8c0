package front

import (
	"strings"

	"pennypost/login"
)

// verb is one command.
type verb struct {
	min, max int // words after the name; the last one takes the rest of the line
	answer   func(s *session, args []string) string
}

// verbs is what may be said before login, and who answers; without an answer, what may be said only after it. An answer is what follows
// "+OK" or "-ERR"; "" was sent already.
var verbs map[string]verb

func init() {
	verbs = map[string]verb{
		"CAPA": {0, 0, (*session).capa},
		"QUIT": {0, 0, (*session).quit},
		"LANG": {0, 1, func(_ *session, args []string) string { return Lang(args) }},
		"UTF8": {0, 0, (*session).utf8},
		"STLS": {0, 0, (*session).stls},
		"USER": {1, 1, (*session).userName},
		"PASS": {1, 1, (*session).pass},
		"AUTH": {0, 2, (*session).auth},
		"NOOP": {}, "STAT": {}, "LIST": {}, "UIDL": {}, "RETR": {}, "TOP": {}, "DELE": {}, "RSET": {},
	}
}

// Words splits at single spaces into at most max words, the last of which may have spaces: a password has them. ok is false when there is
// more than there may be.
func Words(rest string, max int) (args []string, ok bool) {
	if max == 0 {
		return nil, strings.Trim(rest, " ") == ""
	}
	if rest == "" {
		return nil, true
	}
	return strings.SplitN(rest, " ", max), true
}

// Capa is the answer to CAPA (RFC 2449): what is there always, and the mechanisms of AUTH or whatever else is there now.
func Capa(sasl string, now ...string) string {
	if sasl != "" {
		now = append(now, "USER", "SASL "+sasl)
	}
	return strings.Join(append([]string{"+OK capabilities", "TOP", "UIDL", "RESP-CODES", "AUTH-RESP-CODE", "PIPELINING", "UTF8 USER", "LANG", "EXPIRE NEVER",
		"LOGIN-DELAY 0", "IMPLEMENTATION Pennypost"}, append(now, ".")...), "\r\n")
}

// capa answers CAPA. What needs TLS is told under TLS only.
func (s *session) capa([]string) string {
	sasl, now := "", []string(nil)
	if s.secure {
		sasl = s.mechanisms()
	}
	if s.srv.TLS != nil && s.conn == s.raw {
		now = []string{"STLS"}
	}
	return Capa(sasl, now...)
}

func (s *session) mechanisms() string { return strings.Join(login.Offer(s.srv.Checker, s.conn), " ") }

func (s *session) quit([]string) string {
	s.ended = true
	return "+OK bye"
}

// utf8 answers UTF8 (RFC 6856 section 2). Messages, names and passwords are octets here, with it and without.
func (s *session) utf8([]string) string { return "+OK UTF8 it is" }

// Lang is the answer to LANG (RFC 6856 section 3): there is one language.
func Lang(args []string) string {
	switch {
	case len(args) == 0:
		return "+OK the languages are\r\nen English\r\n."
	case args[0] == "*", strings.EqualFold(args[0], "en"), strings.HasPrefix(strings.ToLower(args[0]), "en-"):
		return "+OK en English it is"
	}
	return "-ERR no such language here"
}

// stls answers STLS (RFC 2595 section 4).
func (s *session) stls([]string) string {
	switch {
	case s.conn != s.raw:
		return "-ERR TLS is there already"
	case s.srv.TLS == nil:
		return "-ERR no TLS here"
	case s.in.Buffered() > 0:
		// Somebody in between put commands in front of the handshake (S025). None is obeyed.
		s.broken = errEarly
		return "-ERR nothing may follow STLS before the handshake"
	}
	s.ok("begin TLS")
	if err := s.flush(); err != nil {
		s.broken = err
		return ""
	}
	s.broken = s.handshake()
	return ""
}
