package front

import (
	"errors"
	"strings"

	"pennypost/imapd/wire"
	"pennypost/login"
)

// reply is a tagged response (RFC 9051 section 7.1).
type reply struct {
	status string // OK NO BAD
	code   string // response code without brackets
	text   string
}

func ok(text string) reply       { return reply{"OK", "", text} }
func no(code, text string) reply { return reply{"NO", code, text} }
func bad(text string) reply      { return reply{"BAD", "", text} }
func bye(text string) reply      { return reply{"BYE", "", text} }

// syntax is the answer to a command that could not be read.
func syntax(err error) reply {
	if errors.Is(err, wire.ErrTooBig) {
		return reply{"BAD", "TOOBIG", "that is longer than we take"}
	}
	return bad(err.Error())
}

// command is one under way.
type command struct {
	*wire.Decoder
	tag string
}

// verbs is RFC 9051 sections 6.1 and 6.2, and RFC 2971. They have arguments of their own to read, or none.
var verbs map[string]func(*session, *command) reply

func init() {
	verbs = map[string]func(*session, *command) reply{
		"CAPABILITY":   (*session).capability,
		"ID":           (*session).identify,
		"NOOP":         (*session).noop,
		"LOGOUT":       (*session).logout,
		"STARTTLS":     (*session).starttls,
		"LOGIN":        (*session).logIn,
		"AUTHENTICATE": (*session).authenticate,
	}
}

// run dispatches one command by the table.
func (s *session) run(c wire.Command) {
	d := wire.NewDecoder(c.Text, s.reader.Limits.Depth)
	cmd := &command{d, d.Tag()}
	d.SP()
	name := d.Keyword("a command")
	if d.Err() != nil {
		s.answer(cmd.tag, bad("a tag, a space and a command, please"))
		return
	}
	run := verbs[name]
	if run == nil {
		s.answer(cmd.tag, bad("log in first"))
		return
	}
	s.answer(cmd.tag, run(s, cmd))
}

// answer finishes a command, and counts mistakes.
func (s *session) answer(tag string, r reply) {
	if r.status == "" { // it was said on the way
		return
	}
	if tag == "" {
		tag = "*"
	}
	s.say(tag, r)
	if r.status != "BAD" {
		s.mistakes = 0
	} else if s.mistakes++; s.mistakes >= mostFailed {
		s.ended = "too many mistakes"
	}
}

// say writes a response: tagged, or "*".
func (s *session) say(tag string, r reply) {
	s.out = append(append(append(append(s.out, tag...), ' '), r.status...), ' ')
	if r.code != "" {
		s.out = append(append(append(s.out, '['), r.code...), "] "...)
	}
	s.out = append(append(s.out, r.text...), "\r\n"...)
}

// greet is the first line (RFC 9051 section 7.1.5).
func (s *session) greet() {
	s.say("*", reply{"OK", "CAPABILITY " + s.capabilities(), s.srv.Hostname + " ready"})
}

// capabilities are what is advertised before login.
func (s *session) capabilities() string {
	list := []string{"IMAP4rev1", "IMAP4rev2", "SASL-IR", "LITERAL+", "ENABLE", "ID"}
	if s.secure {
		for _, m := range login.Offer(s.srv.Checker, s.conn) {
			list = append(list, "AUTH="+m)
		}
	} else {
		list = append(list, "LOGINDISABLED")
	}
	if s.srv.TLS != nil && !s.tls() {
		list = append(list, "STARTTLS")
	}
	return strings.Join(list, " ")
}

func (s *session) capability(c *command) reply {
	if c.End(); c.Err() != nil {
		return syntax(c.Err())
	}
	s.out = append(append(append(s.out, "* CAPABILITY "...), s.capabilities()...), "\r\n"...)
	return ok("that is all")
}

func (s *session) noop(c *command) reply {
	if c.End(); c.Err() != nil {
		return syntax(c.Err())
	}
	return ok("done")
}

func (s *session) logout(c *command) reply {
	if c.End(); c.Err() != nil {
		return syntax(c.Err())
	}
	s.say("*", bye("until next time"))
	s.say(c.tag, ok("logged out"))
	s.over = true
	return reply{} // said already
}

// Identity is our answer to ID (RFC 2971).
const Identity = `ID ("name" "Pennypost")`

// Bounds of ID (RFC 2971 section 3.3).
const (
	mostPairs    = 30
	longestField = 30
	longestValue = 1024
)

// ReadID reads the arguments of ID: NIL, or pairs of a field and its value, which may be NIL.
func ReadID(d *wire.Decoder) error {
	d.SP()
	if !d.Word("NIL") {
		pairs := 0
		d.List(func() {
			if pairs++; pairs > mostPairs {
				d.Fail("at most 30 pairs")
			}
			if len(d.String()) > longestField {
				d.Fail("at most 30 octets of a field")
			}
			d.SP()
			if value, _ := d.NString(); len(value) > longestValue {
				d.Fail("at most 1024 octets of a value")
			}
		})
	}
	d.End()
	return d.Err()
}

func (s *session) identify(c *command) reply {
	if err := ReadID(c.Decoder); err != nil {
		return syntax(err)
	}
	s.out = append(s.out, "* "+Identity+"\r\n"...)
	return ok("pleased to meet you")
}

// starttls is RFC 9051 section 6.2.1. Octets that came before the handshake end the session (S025).
func (s *session) starttls(c *command) reply {
	if c.End(); c.Err() != nil {
		return syntax(c.Err())
	}
	switch {
	case s.tls():
		return bad("TLS is on already")
	case s.srv.TLS == nil:
		return no("UNAVAILABLE", "there is no certificate here")
	case s.reader.Buffered() > 0:
		s.ended = "something came before the TLS handshake"
		return bad("nothing may follow STARTTLS")
	}
	s.say(c.tag, ok("begin TLS now"))
	if s.flush(); s.broken == nil {
		s.startTLS()
	}
	return reply{} // said already
}
