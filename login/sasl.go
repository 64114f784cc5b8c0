package login

import (
	"bytes"
	"errors"
	"strings"
	"unicode/utf8"
)

// Exchange is a SASL mechanism's server side: it is given responses and gives challenges until it has a Request.
type Exchange interface {
	// Next takes a decoded response (nil when there was no initial response). done: the request is complete.
	Next(response []byte) (challenge []byte, done bool, r Request, err error)
}

// Mechanisms are the names to advertise under TLS, strongest first.
var Mechanisms = []string{"PLAIN", "LOGIN"}

// Start begins an exchange; ok is false for a mechanism we do not have.
func Start(mechanism string) (x Exchange, ok bool) {
	switch strings.ToUpper(mechanism) {
	case "PLAIN":
		return &plain{}, true
	case "LOGIN":
		return &loginExchange{}, true
	}
	return nil, false
}

// The refusals of an exchange are the peer's mistake: it speaks SASL wrongly. They say nothing of names and passwords.
var (
	errTooLong   = errors.New("response is too long")
	errNotPlain  = errors.New("response is not authzid NUL authcid NUL password")
	errEmpty     = errors.New("empty name or password")
	errNotUTF8   = errors.New("response is not UTF-8, or has a NUL")
	errFinished  = errors.New("the exchange is over")
	maxName      = 320 // a local part, @ and a domain of RFC 5321 section 4.5.3.1
	maxPlain     = 2*maxName + MaxPassword + 2
	askUser      = []byte("Username:")
	askPassword  = []byte("Password:")
	askForAnyone = []byte{}
)

func text(b []byte, limit int) (string, error) {
	switch {
	case len(b) > limit:
		return "", errTooLong
	case len(b) == 0:
		return "", errEmpty
	case !utf8.Valid(b) || bytes.IndexByte(b, 0) >= 0:
		return "", errNotUTF8
	}
	return string(b), nil
}

// plain is RFC 4616: one response, [authzid] NUL authcid NUL passwd.
type plain struct{ asked, over bool }

func (p *plain) Next(response []byte) ([]byte, bool, Request, error) {
	switch {
	case p.over:
		return nil, false, Request{}, errFinished
	case response == nil && !p.asked:
		p.asked = true
		return askForAnyone, false, Request{}, nil
	}
	p.over = true
	r, err := readPlain(response)
	return nil, err == nil, r, err
}

func readPlain(response []byte) (r Request, err error) {
	if len(response) > maxPlain {
		return Request{}, errTooLong
	}
	part := bytes.Split(response, []byte{0})
	if len(part) != 3 {
		return Request{}, errNotPlain
	}
	if len(part[0]) > 0 {
		if r.Authzid, err = text(part[0], maxName); err != nil {
			return Request{}, err
		}
	}
	if r.Authcid, err = text(part[1], maxName); err != nil {
		return Request{}, err
	}
	if r.Password, err = text(part[2], MaxPassword); err != nil {
		return Request{}, err
	}
	return r, nil
}

// loginExchange is what Outlook and printers speak (draft-murchison-sasl-login): two questions. The initial response, where there
// is one, is the name.
type loginExchange struct {
	asked bool
	name  string
	over  bool
}

func (l *loginExchange) Next(response []byte) (challenge []byte, done bool, r Request, err error) {
	switch {
	case l.over:
		return nil, false, Request{}, errFinished
	case response == nil && !l.asked:
		l.asked = true
		return askUser, false, Request{}, nil
	case l.name == "":
		if l.name, err = text(response, maxName); err != nil {
			l.over = true
			return nil, false, Request{}, err
		}
		l.asked = true
		return askPassword, false, Request{}, nil
	}
	l.over = true
	password, err := text(response, MaxPassword)
	if err != nil {
		return nil, false, Request{}, err
	}
	return nil, true, Request{Authcid: l.name, Password: password}, nil
}
