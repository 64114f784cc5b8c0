package front

import (
	"encoding/base64"
	"errors"
	"strings"
	"time"

	"pennypost/internal/line"
	"pennypost/login"
)

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

// enter checks the login and has the session taken over.
func (s *session) enter(r login.Request, mechanism string) string {
	r.Service, r.Remote = "pop3", s.remote
	if s.broken = s.flush(); s.broken != nil { // what was said before goes before what the next one says
		return ""
	}
	id, err := s.srv.Checker.Check(s.ctx, r)
	switch {
	case errors.Is(err, login.ErrCredentials):
		s.srv.Log.AuthFail(s.ip(), r.Authcid)
		if s.logins++; s.logins >= mostLogins {
			s.broken = errLogins
		}
		return "-ERR [AUTH] wrong name or password"
	case err != nil:
		s.srv.Log.Warn("login", err)
		return "-ERR [SYS/TEMP] cannot check logins now, try later"
	}
	s.srv.Log.Auth(s.ip(), id.Account.Path().String(), id.By(), mechanism)
	s.conn.SetDeadline(time.Time{})
	l := &Login{Conn: s.conn, Identity: id, Remote: s.remote, Mechanism: mechanism, Early: append(s.in.Taken(), s.early...), SASL: s.mechanisms()}
	s.early = nil
	if err := s.srv.Enter(s.ctx, l); err != nil {
		s.early = l.Early
		return "-ERR [SYS/TEMP] cannot open the mailbox now, try later"
	}
	s.srv.Sources.Welcome(s.remote)
	s.login = l
	return ""
}
