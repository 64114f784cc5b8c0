package smtpd

import (
	"strconv"

	"pennypost/internal/address"
)

// reply is one line to the client (RFC 5321 section 4.2, with the codes of RFC 3463).
// The zero reply is nothing: the handler has spoken itself.
type reply struct {
	code     int
	enhanced string // "" for the banner, HELO, EHLO, LHLO and 3yz (RFC 2034 section 4)
	text     string
}

// say queues a reply, and counts it if it is an error.
func (s *session) say(r reply) {
	if r.code == 0 {
		return
	}
	s.add(r, ' ')
	if r.code == 421 {
		s.closing = true
		s.srv.Log.Refuse(s.name, s.ip, r.text)
		return
	}
	if r.code < 500 || r.enhanced == "5.1.1" { // unknown recipients have a count of their own
		return
	}
	s.mistake()
	if s.errors++; s.errors >= s.set.MaxErrors && !s.closing {
		s.say(reply{421, "4.7.0", "too many errors"})
	}
}

// add queues one line of a reply; between is '-' in all lines but the last.
func (s *session) add(r reply, between byte) {
	s.out = strconv.AppendInt(s.out, int64(r.code), 10)
	s.out = append(s.out, between)
	if r.enhanced != "" {
		s.out = append(append(s.out, r.enhanced...), ' ')
	}
	s.out = append(append(s.out, r.text...), '\r', '\n')
}

// refuse logs a refusal within a transaction and returns it.
func (s *session) refuse(to address.Path, r reply) reply {
	s.srv.Log.Reject(s.ip, s.tx.from, to, r.code, r.enhanced, r.text, s.tx.checks)
	return r
}
