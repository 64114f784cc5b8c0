package imapd

import (
	"context"
	"encoding/base64"
	"errors"
	"time"

	"pennypost/login"
	"pennypost/maildir/mailbox"
)

var loginVerbs = []verb{
	{"STARTTLS", fresh, (*session).starttls, nothing, false},
	{"LOGIN", fresh, (*session).login, nothing, false},
	{"AUTHENTICATE", fresh, (*session).authenticate, nothing, false},
}

// starttls is RFC 9051 section 6.2.1. Octets that came before the handshake end the session (S025).
func (s *session) starttls(c *command) reply {
	if c.End(); c.Err() != nil {
		return syntax(c.Err())
	}
	switch {
	case s.secure:
		return bad("TLS is on already")
	case s.srv.TLS == nil:
		return no("UNAVAILABLE", "there is no certificate here")
	case s.reader.Buffered() > 0:
		s.ended = "something came before the TLS handshake"
		return bad("nothing may follow STARTTLS")
	}
	s.tagged(c.tag, ok("begin TLS now"))
	if s.flush(); s.broken != nil || !s.startTLS() {
		s.ended, s.state = "TLS failed", 0
	}
	return reply{} // said already
}

// login is RFC 9051 section 6.2.3.
func (s *session) login(c *command) reply {
	if !s.secure { // the words are not even looked at (S029)
		return no("PRIVACYREQUIRED", "not without TLS")
	}
	c.SP()
	name := c.AString()
	c.SP()
	password := c.AString()
	if c.End(); c.Err() != nil {
		return syntax(c.Err())
	}
	return s.check(login.Request{Authcid: name, Password: password}, "LOGIN")
}

// longestResponse bounds a line of a SASL exchange.
const longestResponse = 12288

// authenticate is RFC 9051 section 6.2.2 with the initial response of RFC 4959.
func (s *session) authenticate(c *command) reply {
	c.SP()
	mechanism := c.Keyword("a mechanism")
	if c.Err() != nil {
		return syntax(c.Err())
	}
	if !s.secure {
		return no("PRIVACYREQUIRED", "not without TLS")
	}
	exchange, known := login.Begin(s.srv.Checker, mechanism, "imap", s.remote, s.conn)
	if !known {
		return no("CANNOT", "we do not have that mechanism")
	}
	var response []byte
	given := c.Take(' ')
	if given {
		text := c.Rest()
		if text == "=" {
			response = []byte{}
		} else if b, err := base64.StdEncoding.DecodeString(text); err == nil {
			response = b
		} else {
			return bad("that is not base64")
		}
	}
	if c.End(); c.Err() != nil {
		return syntax(c.Err())
	}
	for {
		challenge, done, r, err := exchange.Next(response)
		if err != nil {
			return no("AUTHENTICATIONFAILED", "that is no answer of this mechanism")
		}
		if done {
			return s.check(r, mechanism)
		}
		if s.goOn(base64.StdEncoding.EncodeToString(challenge)) != nil {
			return no("", "gone")
		}
		text, err := s.reader.Line(longestResponse)
		if err != nil {
			s.ended = "that was no answer"
			return bad("that was no answer")
		}
		if string(text) == "*" {
			return bad("as you like")
		}
		if response, err = base64.StdEncoding.AppendDecode(nil, text); err != nil {
			return bad("that is not base64")
		}
	}
}

// check asks who it is, and opens the account.
func (s *session) check(r login.Request, mechanism string) reply {
	r.Service, r.Remote = "imap", s.remote
	ctx, cancel := context.WithTimeout(s.ctx, time.Minute)
	defer cancel()
	id, err := s.srv.Checker.Check(ctx, r)
	if errors.Is(err, login.ErrCredentials) {
		s.srv.Log.AuthFail(s.remote.String(), r.Authcid)
		if s.failures++; s.failures >= mostFailed {
			s.ended = "too many failed logins"
		}
		return no("AUTHENTICATIONFAILED", "wrong name or password")
	}
	if err != nil {
		s.srv.Log.Warn("imap login", err)
		return no("UNAVAILABLE", "logins cannot be checked now, try later")
	}
	err = s.enter(id)
	if errors.Is(err, mailbox.ErrUnavailable) {
		return no("UNAVAILABLE", "your mail is not to be reached now, try later")
	}
	if err != nil {
		return s.failed(err)
	}
	s.srv.Log.Auth(s.remote.String(), id.Account.Path().String(), id.By(), mechanism)
	conn := s.conn
	s.unwatch = login.Watch(s.srv.Checker, id, func() { s.srv.Log.Refuse("imap", s.remote.String(), login.ErrRevoked.Error()); conn.Close() })
	return okCode("CAPABILITY "+s.capabilityList(), "logged in")
}
