package imapd

import (
	"errors"
	"fmt"
	"strconv"

	"pennypost/imapd/wire"
	"pennypost/internal/part"
	"pennypost/maildir/mailbox"
)

// reply is the tagged response of a command (RFC 9051 section 7.1).
type reply struct {
	status string // OK NO BAD
	code   string // response code without brackets, "" none
	text   string
}

func ok(text string) reply            { return reply{"OK", "", text} }
func okCode(code, text string) reply  { return reply{"OK", code, text} }
func no(code, text string) reply      { return reply{"NO", code, text} }
func bad(text string) reply           { return reply{"BAD", "", text} }
func badCode(code, text string) reply { return reply{"BAD", code, text} }

// syntax is the answer to a command that could not be read.
func syntax(err error) reply {
	if errors.Is(err, wire.ErrTooBig) {
		return badCode("TOOBIG", "that is longer than we take")
	}
	return bad(err.Error())
}

// errUnknownCTE is a part whose transfer encoding cannot be undone (RFC 3516 section 4.3).
var errUnknownCTE = errors.New("unknown transfer encoding")

// failed is the answer to a command the mailbox refused, with the code of RFC 5530. What only the log may know goes there.
func (s *session) failed(err error) reply {
	switch {
	case errors.Is(err, mailbox.ErrNoMailbox):
		return no("NONEXISTENT", "there is no such mailbox")
	case errors.Is(err, mailbox.ErrExists):
		return no("ALREADYEXISTS", "there is a mailbox of that name")
	case errors.Is(err, mailbox.ErrName):
		return no("CANNOT", "that cannot be the name of a mailbox")
	case errors.Is(err, mailbox.ErrNoInferiors):
		return no("CANNOT", "this mailbox cannot be used so")
	case errors.Is(err, mailbox.ErrUnavailable):
		return no("UNAVAILABLE", "the mail is not to be reached now, try later")
	case errors.Is(err, mailbox.ErrInUse):
		return no("INUSE", "the mailbox is busy, try again")
	case errors.Is(err, mailbox.ErrExpunged):
		return no("EXPUNGEISSUED", "some of the messages are gone")
	case errors.Is(err, mailbox.ErrQuota):
		return no("OVERQUOTA", "there is no room left in this account")
	case errors.Is(err, errNotPermitted):
		return no("NOPERM", "its owner does not let you")
	case errors.Is(err, errUnknownCTE):
		return no("UNKNOWN-CTE", "a part is encoded in a way we do not know")
	case errors.Is(err, mailbox.ErrKeywords):
		return no("LIMIT", "no more keywords fit into this account")
	}
	s.srv.Log.Warn("imap", err)
	return no("SERVERBUG", "that failed here; the log knows why")
}

// tagged finishes a command.
func (s *session) tagged(tag string, r reply) {
	s.out = append(append(s.out, tag...), ' ')
	s.status(r)
}

// untagged says something of its own accord: * OK [CODE] text.
func (s *session) untagged(r reply) {
	s.out = append(s.out, "* "...)
	s.status(r)
}

func (s *session) status(r reply) {
	s.out = append(append(s.out, r.status...), ' ')
	if r.code != "" {
		s.out = append(append(append(s.out, '['), r.code...), "] "...)
	}
	s.out = append(append(s.out, r.text...), "\r\n"...)
	s.spill()
}

// line writes one untagged response: "* " and what format says.
func (s *session) line(format string, args ...any) {
	s.out = append(s.out, "* "...)
	s.out = fmt.Appendf(s.out, format, args...)
	s.out = append(s.out, "\r\n"...)
	s.spill()
}

// number writes "* N NAME", the most frequent of all.
func (s *session) number(n uint64, name string) {
	s.out = strconv.AppendUint(append(s.out, "* "...), n, 10)
	s.out = append(append(append(s.out, ' '), name...), "\r\n"...)
	s.spill()
}

// astring appends s as a client reads mailbox names and the like: an atom where it can be one, else a string.
func astring(b []byte, s string) []byte {
	for i := 0; i < len(s); i++ {
		c := s[i]
		if !(c >= '0' && c <= '9' || c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z' || c == '.' || c == '-' || c == '_' || c == '/' || c == '$' || c == '+' || c == '@') {
			return part.AppendString(b, []byte(s))
		}
	}
	if s == "" || len(s) == 3 && wire.EqualFold([]byte(s), "NIL") {
		return part.AppendString(b, []byte(s))
	}
	return append(b, s...)
}
