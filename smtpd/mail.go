package smtpd

import (
	"strings"
	"sync/atomic"
	"time"

	"pennypost/internal/listen"
)

// mailFrom answers MAIL FROM:<reverse-path> (RFC 5321 sections 4.1.1.2 and 3.3).
func (s *session) mailFrom(arg string) reply {
	switch {
	case s.srv.broken.Load():
		return reply{421, "4.3.0", "mail cannot be kept here now, try later"}
	case s.messages >= s.set.MaxMessages: // RFC 9422 section 5.1: what MAILMAX said
		return reply{421, "4.7.0", "enough messages for one connection"}
	case s.login && s.user == nil && s.protocol == (secured{}):
		return reply{530, "5.7.0", "say STARTTLS and AUTH first"}
	case s.login && s.user == nil:
		return reply{530, "5.7.0", "say AUTH first"}
	}
	from, params, err := parsePath("FROM:", arg)
	if err != nil {
		return reply{501, "5.1.7", err.Error()}
	}
	s.reset()
	s.tx.from, s.tx.bare = from, true
	if r := s.mailParams(params); r.code != 0 {
		return s.drop(r)
	}
	if !from.ASCII() && !s.tx.utf8 {
		return s.drop(reply{553, "5.6.7", "that address needs SMTPUTF8"})
	}
	if from.Domain == "" && !from.IsNull() {
		return s.drop(reply{501, "5.1.8", "the sender needs a domain"})
	}
	if r := s.owns(from); r.code != 0 {
		return s.drop(r)
	}
	s.ask()
	if s.beyond(listen.Messages, s.set.MessageRate) {
		return s.drop(reply{450, "4.7.1", "too many messages in a short time, try later"})
	}
	s.state = mail
	return reply{250, "2.1.0", "sender accepted"}
}

// drop refuses MAIL: the transaction never was.
func (s *session) drop(r reply) reply {
	r = s.refuse(noPath, r)
	s.reset()
	return r
}

// mailParams reads the parameters of MAIL.
func (s *session) mailParams(text string) reply {
	if text != "" && !s.esmtp {
		return reply{555, "5.5.4", "parameters need EHLO"}
	}
	var size int64
	var kept []string
	r := parseParams(text, func(p param) reply {
		switch p.key {
		case "SIZE": // RFC 1870
			var ok bool
			if size, ok = number(p.value); !ok {
				return reply{501, "5.5.4", "SIZE wants a number"}
			}
			return reply{}
		case "BODY": // RFC 6152; BINARYMIME is not offered
			if !strings.EqualFold(p.value, "7BIT") && !strings.EqualFold(p.value, "8BITMIME") {
				return reply{501, "5.5.4", "BODY is 7BIT or 8BITMIME"}
			}
			p.value = strings.ToUpper(p.value)
			kept = append(kept, p.text())
			return reply{}
		case "AUTH": // RFC 4954 section 5: who wrote it, says the client; nobody here asks
			switch {
			case !s.login:
				return unknownParam
			case p.value != "<>" && !xtext(p.value, 500):
				return badParam
			}
			return reply{}
		case "HOLDFOR", "HOLDUNTIL":
			s.tx.bare = false
			return s.holdUntil(p)
		case "REQUIRETLS": // RFC 8689: it goes into the envelope, and deliver-remote obeys it
			switch {
			case s.lmtp:
				return unknownParam
			case s.protocol == (secured{}):
				return reply{530, "5.7.10", "REQUIRETLS needs TLS, say STARTTLS first"}
			case p.has:
				return badParam
			}
		case "SMTPUTF8": // RFC 6531
			if p.has {
				return badParam
			}
			s.tx.utf8 = true
		case "RET": // RFC 3461 section 4.3
			if !strings.EqualFold(p.value, "FULL") && !strings.EqualFold(p.value, "HDRS") {
				return reply{501, "5.5.4", "RET is FULL or HDRS"}
			}
			p.value = strings.ToUpper(p.value)
		case "ENVID": // section 4.4
			if !xtext(p.value, 100) {
				return reply{501, "5.5.4", "ENVID wants xtext of at most 100 characters"}
			}
		default:
			return unknownParam
		}
		s.tx.bare = false
		kept = append(kept, p.text())
		return reply{}
	})
	switch {
	case r.code != 0:
		return r
	case size > s.set.MaxSize:
		return reply{552, "5.3.4", "larger than a message may be here"}
	case !s.srv.room(size, s.set.FreeSpace):
		return reply{452, "4.3.1", "not enough space now, try later"}
	}
	s.tx.mail = strings.Join(kept, " ")
	return reply{}
}

// space remembers what is free on the spool's file system for a second.
type space struct {
	at   atomic.Int64 // Unix time of the last look
	free atomic.Int64
}

// room reports whether a message of size octets leaves the spool its reserve. Where nobody can say, the write will.
func (srv *Server) room(size, reserve int64) bool {
	if reserve == 0 {
		return true
	}
	now := time.Now().Unix()
	if at := srv.space.at.Load(); at != now && srv.space.at.CompareAndSwap(at, now) {
		free, _, err := srv.Spool.Free()
		if err != nil {
			free = 1<<63 - 1
		}
		srv.space.free.Store(int64(min(free, 1<<63-1)))
	}
	free := srv.space.free.Load()
	return free >= reserve && free-reserve >= size
}
