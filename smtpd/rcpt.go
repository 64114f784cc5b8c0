package smtpd

import (
	"strings"

	"pennypost/internal/address"
	"pennypost/internal/listen"
	"pennypost/queue"
)

var noPath address.Path

// rcptTo answers RCPT TO:<forward-path> (RFC 5321 sections 4.1.1.3 and 3.3).
//
// A path refused here costs one line. A path accepted here and refused later
// costs a DSN to somebody who may never have written to us.
func (s *session) rcptTo(arg string) reply {
	to, params, err := parsePath("TO:", arg)
	switch {
	case err != nil:
		return s.refuse(noPath, reply{501, "5.1.3", err.Error()})
	case to.IsNull():
		return s.refuse(noPath, reply{501, "5.1.3", "<> is a sender, not a recipient"})
	case len(s.tx.rcpts) >= s.mostRcpts():
		// Section 4.5.3.1.10: 452 and not 552, so that the client sends the
		// rest in a second transaction instead of bouncing it.
		return reply{452, "4.5.3", "enough recipients for one message"}
	case !to.ASCII() && !s.tx.utf8:
		return s.refuse(to, reply{553, "5.6.7", "that address needs SMTPUTF8"})
	}
	kept, r := s.rcptParams(params)
	if r.code != 0 {
		return s.refuse(to, r)
	}
	if to.Domain == "" {
		// Section 4.1.1.3: postmaster alone needs no domain.
		if !strings.EqualFold(to.Local, "postmaster") {
			return s.refuse(to, reply{550, "5.1.3", "a recipient needs a domain"})
		}
		to.Domain = s.srv.Origin
	}
	where, r := s.destination(to)
	if r.code != 0 {
		return s.refuse(to, r)
	}
	if len(s.tx.rcpts) == 0 {
		s.tx.local, s.tx.account = where.local, where.account
		if kept != "" {
			s.tx.account = nil
		}
	} else if !s.lmtp && s.named(to, kept) {
		return reply{250, "2.1.5", "recipient accepted"} // twice the same is once
	}
	if s.beyond(listen.Recipients, s.set.RecipientRate) {
		return s.refuse(to, reply{450, "4.7.1", "too many recipients in a short time, try later"})
	}
	s.tx.rcpts = append(s.tx.rcpts, queue.Rcpt{N: len(s.tx.rcpts) + 1, To: to, Params: kept})
	s.state = rcpt
	return reply{250, "2.1.5", "recipient accepted"}
}

// mostRcpts is how many recipients a transaction may have; more do not fit an envelope.
func (s *session) mostRcpts() int { return min(s.set.MaxRecipients, queue.MaxRcpts) }

// named reports whether the recipient is there already. LMTP has to answer for each, so it keeps both.
func (s *session) named(to address.Path, params string) bool {
	for i := range s.tx.rcpts {
		if r := &s.tx.rcpts[i]; r.To == to && r.Params == params {
			return true
		}
	}
	return false
}

// rcptParams reads the parameters of RCPT, RFC 3461 sections 4.1 and 4.2.
func (s *session) rcptParams(text string) (kept string, r reply) {
	if text == "" {
		return "", reply{}
	}
	if !s.esmtp {
		return "", reply{555, "5.5.4", "parameters need EHLO"}
	}
	var all []string
	r = parseParams(text, func(p param) reply {
		switch p.key {
		case "NOTIFY":
			if !notify(p.value) {
				return reply{501, "5.5.4", "NOTIFY is NEVER, or of SUCCESS,FAILURE,DELAY"}
			}
			p.value = strings.ToUpper(p.value)
		case "ORCPT":
			if !orcpt(p.value, s.tx.utf8) {
				return reply{501, "5.5.4", "ORCPT wants type;address in xtext"}
			}
		default:
			return unknownParam
		}
		all = append(all, p.text())
		return reply{}
	})
	return strings.Join(all, " "), r
}
