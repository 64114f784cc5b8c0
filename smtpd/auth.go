package smtpd

import (
	"context"
	"encoding/base64"
	"errors"
	"strings"

	"pennypost/internal/address"
	"pennypost/internal/line"
	"pennypost/login"
)

// mayLogin reports whether AUTH is there: for users, under TLS, nowhere else.
func (s *session) mayLogin() bool {
	return s.login && s.srv.Login != nil && s.protocol != (secured{})
}

// auth answers AUTH mechanism [initial-response] (RFC 4954 section 4).
func (s *session) auth(arg string) reply {
	switch {
	case s.login && s.protocol == (secured{}):
		return reply{538, "5.7.11", "AUTH needs encryption, say STARTTLS first"} // what was sent is not even read (S029)
	case !s.mayLogin():
		return reply{502, "5.5.1", "no login here"}
	case s.user != nil:
		return reply{503, "5.5.1", "you are logged in"}
	}
	mechanism, initial, given := strings.Cut(arg, " ")
	x, ok := login.Begin(s.srv.Login, mechanism, "smtp", s.peer, s.conn)
	if !ok {
		return reply{504, "5.5.4", "no such mechanism"}
	}
	r, err := s.exchange(x, initial, given)
	switch {
	case errors.Is(err, errCancelled):
		return reply{501, "5.7.0", "as you wish"}
	case errors.Is(err, errBase64), errors.Is(err, line.ErrTooLong):
		return reply{501, "5.5.2", "that is no base64"}
	case s.closing:
		return reply{}
	case err != nil:
		return reply{501, "5.5.2", "that is not how the mechanism goes"}
	}
	return s.logIn(r, strings.ToUpper(mechanism))
}

// logIn checks what the exchange brought.
func (s *session) logIn(r login.Request, mechanism string) reply {
	r.Service, r.Remote = "smtp", s.peer
	id, err := s.srv.Login.Check(context.Background(), r)
	switch {
	case errors.Is(err, login.ErrCredentials):
		s.srv.Log.AuthFail(s.ip, r.Authcid)
		return reply{535, "5.7.8", "wrong name or password"}
	case err != nil:
		s.srv.Log.Warn("login", err)
		return reply{454, "4.7.0", "cannot check that now, try later"}
	}
	s.user = id
	s.welcome()
	s.unwatch = login.Watch(s.srv.Login, id, func() { s.srv.Log.Refuse(s.name, s.ip, login.ErrRevoked.Error()); s.raw.Close() })
	s.srv.Log.Auth(s.ip, id.Account.Path().String(), id.By(), mechanism)
	return reply{235, "2.7.0", "logged in"}
}

var (
	errCancelled = errors.New("cancelled")
	errBase64    = errors.New("no base64")
)

// exchange carries challenges and responses until the request is complete.
func (s *session) exchange(x login.Exchange, initial string, given bool) (login.Request, error) {
	var response []byte
	if given {
		var err error
		if response, err = response64(initial); err != nil {
			return login.Request{}, err
		}
		if response == nil {
			response = []byte{} // "=": there is one, and it is empty
		}
	}
	for range 8 {
		challenge, done, r, err := x.Next(response)
		if err != nil || done {
			return r, err
		}
		s.add(reply{334, "", base64.StdEncoding.EncodeToString(challenge)}, ' ')
		text, err := s.in.Line(longestAuth)
		switch {
		case errors.Is(err, line.ErrTooLong), errors.Is(err, line.ErrBare), errors.Is(err, line.ErrNUL):
			return r, errBase64
		case err != nil:
			s.lost(err)
			return r, err
		case string(text) == "*":
			return r, errCancelled
		}
		if response, err = response64(string(text)); err != nil {
			return r, err
		}
		if response == nil {
			response = []byte{}
		}
	}
	return login.Request{}, errors.New("too many steps")
}

func response64(s string) ([]byte, error) {
	if s == "=" {
		return []byte{}, nil
	}
	b, err := base64.StdEncoding.DecodeString(s)
	if err != nil {
		return nil, errBase64
	}
	return b, nil
}

// owns checks that a user may send as from (RFC 6409 section 6.1). The null sender is anybody's: receipts (RFC 8098) have it.
func (s *session) owns(from address.Path) reply {
	if s.user == nil || !s.set.CheckSender || from.IsNull() {
		return reply{}
	}
	ok, err := s.srv.Domains.Owns(s.user.Account, from)
	switch {
	case err != nil:
		s.srv.Log.Warn("domains", err)
		return reply{451, "4.3.0", "cannot look up that sender now, try later"}
	case !ok:
		return reply{553, "5.7.1", "that sender is not yours"}
	}
	return reply{}
}
