package remote

import (
	"encoding/base64"
	"os"
	"slices"
	"strings"

	"pennypost/internal/status"
)

// authenticate logs in to a smarthost: PLAIN (RFC 4616), or LOGIN where nothing else is offered. Without TLS a password is
// given away to a host on this machine only. What fails here is a matter of mail.toml: mail waits until that is mended.
func (s *session) authenticate(d *destination) *trouble {
	if s.conn == s.tcp && s.addr.IsValid() && !s.addr.Addr().IsLoopback() {
		return &trouble{Result: later(451, "4.7.4", "no TLS: the password is not sent in clear"), other: true, site: true}
	}
	text, err := os.ReadFile(d.login.passwordFile)
	if err != nil {
		s.c.log.Warn("password_file", err) // its name is not for the text of a DSN
		return &trouble{Result: later(451, "4.3.5", "the password for this host cannot be read"), other: true, site: true}
	}
	password, _, _ := strings.Cut(string(text), "\n")
	password = strings.TrimSuffix(password, "\r")
	encode := base64.StdEncoding.EncodeToString
	var steps []string
	switch {
	case slices.Contains(s.ext.auth, "PLAIN"):
		steps = []string{"AUTH PLAIN " + encode([]byte("\x00"+d.login.user+"\x00"+password))}
	case slices.Contains(s.ext.auth, "LOGIN"):
		steps = []string{"AUTH LOGIN", encode([]byte(d.login.user)), encode([]byte(password))}
	default:
		return &trouble{Result: later(451, "4.7.4", "the host offers neither AUTH PLAIN nor LOGIN"), other: true, site: true}
	}
	for i, step := range steps {
		s.queue(step)
		r, t := s.answer(s.c.conf.Remote.CommandTime, nil)
		switch {
		case t != nil:
			return t
		case r.code == 235:
			return nil
		case r.code != 334 || i == len(steps)-1:
			t := s.unwelcome("AUTH", r)
			t.Outcome, t.Enhanced = status.Deferred, "4.7.8"
			return t
		}
	}
	return nil
}
