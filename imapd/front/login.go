package front

import (
	"context"
	"encoding/base64"
	"errors"
	"time"

	"pennypost/login"
)

// logIn is RFC 9051 section 6.2.3.
func (s *session) logIn(c *command) reply {
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
	return s.check(c, login.Request{Authcid: name, Password: password}, "LOGIN")
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
			return s.check(c, r, mechanism)
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

// check asks who it is, and has the session taken over.
func (s *session) check(c *command, r login.Request, mechanism string) reply {
	r.Service, r.Remote = "imap", s.remote
	if s.flush(); s.broken != nil { // what was said before goes before what the next one says
		return reply{}
	}
	ctx, cancel := context.WithTimeout(s.ctx, time.Minute)
	defer cancel()
	id, err := s.srv.Checker.Check(ctx, r)
	switch {
	case errors.Is(err, login.ErrCredentials):
		s.srv.Log.AuthFail(s.remote.String(), r.Authcid)
		if s.failures++; s.failures >= mostFailed {
			s.ended = "too many failed logins"
		}
		return no("AUTHENTICATIONFAILED", "wrong name or password")
	case err != nil:
		s.srv.Log.Warn("imap login", err)
		return no("UNAVAILABLE", "logins cannot be checked now, try later")
	}
	s.conn.SetDeadline(time.Time{})
	l := &Login{Conn: s.conn, Identity: id, Remote: s.remote, Mechanism: mechanism, Tag: c.tag, Early: s.reader.Taken()}
	err = s.srv.Enter(ctx, l)
	switch {
	case errors.Is(err, ErrNotNow):
		s.reader.Untake(l.Early)
		return no("UNAVAILABLE", "your mail is not to be reached now, try later")
	case errors.Is(err, ErrLimit):
		s.reader.Untake(l.Early)
		return no("LIMIT", err.Error())
	case err != nil:
		s.reader.Untake(l.Early)
		return no("SERVERBUG", "that failed here; the log knows why")
	}
	s.srv.Log.Auth(s.remote.String(), id.Account.Path().String(), id.By(), mechanism)
	s.srv.Sources.Welcome(s.remote)
	s.login = l
	return reply{}
}
