package pop3d

import (
	"encoding/base64"
	"errors"
	"strings"

	"pennypost/internal/line"
	"pennypost/login"
)

// capa answers CAPA (RFC 2449). What needs TLS is told under TLS only.
func (s *session) capa([]string) string {
	s.ok("capabilities")
	for _, name := range []string{"TOP", "UIDL", "RESP-CODES", "AUTH-RESP-CODE", "PIPELINING", "UTF8 USER", "LANG", "EXPIRE NEVER", "LOGIN-DELAY 0", "IMPLEMENTATION Pennypost"} {
		s.out = append(append(s.out, name...), "\r\n"...)
	}
	if s.secure {
		s.out = append(s.out, "USER\r\nSASL "...)
		s.out = append(append(s.out, strings.Join(login.Offer(s.srv.Checker, s.conn), " ")...), "\r\n"...)
	} else if s.srv.TLS != nil && s.state == authorization {
		s.out = append(s.out, "STLS\r\n"...)
	}
	return "."
}

// utf8 answers UTF8 (RFC 6856 section 2). Messages, names and passwords are octets here, with it and without.
func (s *session) utf8([]string) string { return "+OK UTF8 it is" }

// lang answers LANG (RFC 6856 section 3): there is one language.
func (s *session) lang(args []string) string {
	switch {
	case len(args) == 0:
		s.ok("the languages are")
		s.out = append(s.out, "en English\r\n"...)
		return "."
	case args[0] == "*", strings.EqualFold(args[0], "en"), strings.HasPrefix(strings.ToLower(args[0]), "en-"):
		return "+OK en English it is"
	}
	return "-ERR no such language here"
}

// stls answers STLS (RFC 2595 section 4).
func (s *session) stls([]string) string {
	switch {
	case s.secure:
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

// inClear refuses a login without TLS, whatever it says (S029).
const inClear = "-ERR not without TLS, say STLS first"

// userName answers USER: every name is welcome, so that nobody learns which exist.
func (s *session) userName(args []string) string {
	if !s.secure {
		return inClear
	}
	s.name = args[0]
	return "+OK send PASS"
}

// pass answers PASS; the rest of the line is the password, spaces and all.
func (s *session) pass(args []string) string {
	switch {
	case !s.secure:
		return inClear
	case s.name == "":
		return "-ERR say USER first"
	}
	name := s.name
	s.name = ""
	return s.enter(login.Request{Authcid: name, Password: args[0]}, "USER")
}

// auth answers AUTH (RFC 5034): AUTH mechanism [initial-response].
func (s *session) auth(args []string) string {
	if !s.secure {
		return inClear
	}
	if len(args) == 0 { // before RFC 5034 this asked for the list
		s.ok("mechanisms")
		for _, name := range login.Offer(s.srv.Checker, s.conn) {
			s.out = append(append(s.out, name...), "\r\n"...)
		}
		return "."
	}
	mechanism := strings.ToUpper(args[0])
	exchange, ok := login.Begin(s.srv.Checker, mechanism, "pop3", s.remote, s.conn)
	if !ok {
		return "-ERR no such mechanism"
	}
	var response []byte
	if len(args) == 2 {
		var err error
		if response, err = decode(args[1]); err != nil {
			return "-ERR bad base64"
		}
		if response == nil {
			response = []byte{}
		}
	}
	for {
		challenge, done, request, err := exchange.Next(response)
		if err != nil {
			return "-ERR [AUTH] that is no answer to " + mechanism
		}
		if done {
			return s.enter(request, mechanism)
		}
		s.out = append(s.out, "+ "...)
		s.out = base64.StdEncoding.AppendEncode(s.out, challenge)
		s.out = append(s.out, "\r\n"...)
		text, err := s.in.Line(longestSASL)
		switch {
		case errors.Is(err, line.ErrTooLong), errors.Is(err, line.ErrBare), errors.Is(err, line.ErrNUL):
			return "-ERR that is no answer to " + mechanism
		case err != nil:
			s.broken = err
			return ""
		case string(text) == "*":
			return "-ERR cancelled"
		}
		if response, err = decode(string(text)); err != nil {
			return "-ERR bad base64"
		}
		if response == nil {
			response = []byte{}
		}
	}
}

// decode reads a SASL response; "=" is the empty one (RFC 5034 section 4).
func decode(word string) ([]byte, error) {
	if word == "=" {
		return []byte{}, nil
	}
	return base64.StdEncoding.DecodeString(word)
}

// enter checks the login and opens the maildrop.
func (s *session) enter(r login.Request, mechanism string) string {
	r.Service, r.Remote = "pop3", s.remote
	identity, err := s.srv.Checker.Check(s.ctx, r)
	switch {
	case errors.Is(err, login.ErrCredentials):
		s.srv.Log.AuthFail(s.ip, r.Authcid)
		if s.logins++; s.logins >= mostLogins {
			s.broken = errLogins
		}
		return "-ERR [AUTH] wrong name or password"
	case err != nil:
		s.srv.Log.Warn("login", err)
		return "-ERR [SYS/TEMP] cannot check logins now, try later"
	}
	user := identity.Account.Path().String()
	s.srv.Log.Auth(s.ip, user, identity.By(), mechanism)
	drop, err := openDrop(s.ctx, s.srv, identity.Account)
	if err != nil {
		s.srv.Log.Warn("mailbox of "+user, err)
		return "-ERR [SYS/TEMP] cannot open the mailbox now, try later"
	}
	s.identity, s.drop, s.state = identity, drop, transaction
	s.unwatch = login.Watch(s.srv.Checker, identity, func() { s.srv.Log.Refuse("pop3", s.ip, login.ErrRevoked.Error()); s.raw.Close() })
	s.errors = 0
	s.srv.Log.Login("pop3", s.ip, user, len(drop.messages), 0)
	return "+OK logged in"
}
