package smtpd

import (
	"bytes"
	"strings"
)

// state is where a session is.
type state uint8

const (
	fresh    state = 1 << iota // banner sent, client has not said its name
	greeted                    // HELO, EHLO or LHLO accepted
	mail                       // reverse-path known: a transaction is open
	rcpt                       // at least one forward-path accepted
	chunk                      // the message has begun to come, in chunks
	quitting                   // QUIT was said
	always   = fresh | greeted | mail | rcpt | chunk
)

// Command lines without CRLF: RFC 5321 section 4.5.3.1.4, and what extensions add: RFC 3461 section 5.4 alone adds 500 octets to
// RCPT; AUTH has RFC 4954 section 4.
const (
	longest      = 512 - 2
	longestParam = 2048 - 2
	longestAuth  = 12288 - 2
)

// verb is a line of the table.
type verb struct {
	name   string
	when   state // states that accept it
	answer func(s *session, arg string) reply
	hint   string // what 503 suggests elsewhere
	max    int    // octets of its line
	junk   bool   // brings no mail: counted (S079)
}

// verbs is RFC 5321 section 4.1.4: what may be said when, and who answers. It is filled by init because handlers
// look into it (HELP).
var verbs []verb

func init() {
	verbs = []verb{
		{"MAIL", greeted, (*session).mailFrom, "", longestParam, false},
		{"RCPT", mail | rcpt, (*session).rcptTo, "say MAIL first", longestParam, false},
		{"DATA", rcpt, (*session).data, "say RCPT first", longest, false},
		{"BDAT", always, (*session).bdat, "", longest, false}, // refuses by itself: the chunk has to be read all the same
		{"RSET", always, (*session).rset, "", longest, true},
		{"QUIT", always, (*session).quit, "", longest, false},
		{"EHLO", always, (*session).ehlo, "", longest, true},
		{"HELO", always, (*session).heloOld, "", longest, true},
		{"LHLO", always, (*session).lhlo, "", longest, true},
		{"STARTTLS", greeted, (*session).startTLS, "say EHLO first, and STARTTLS outside a transaction", longest, false},
		{"AUTH", greeted, (*session).auth, "say EHLO first, and AUTH outside a transaction", longestAuth, false},
		{"NOOP", always, (*session).noop, "", longest, true},
		{"VRFY", always, (*session).vrfy, "", longest, true},
		{"EXPN", always, (*session).expn, "", longest, true},
		{"HELP", always, (*session).help, "", longest, true},
	}
}

// foreign begins a command of another protocol that someone has a browser send us (S018).
var foreign = []string{"GET", "POST", "HEAD", "PUT", "OPTIONS", "CONNECT", "DELETE", "PATCH", "TRACE", "PRI", "PROXY", "HOST:", "USER-AGENT:", "CONTENT-TYPE:"}

// command answers one line.
func (s *session) command(text []byte) reply {
	word, arg, _ := bytes.Cut(text, []byte{' '})
	for i := range verbs {
		v := &verbs[i]
		if len(v.name) != len(word) || !bytes.EqualFold(word, []byte(v.name)) {
			continue
		}
		if len(text) > v.max {
			return reply{500, "5.5.2", "line too long"}
		}
		if v.junk {
			if s.junk++; s.junk > s.set.MaxCommands {
				return reply{421, "4.7.0", "too many commands without mail"}
			}
		}
		if s.state&v.when == 0 {
			return reply{503, "5.5.1", s.instead(v)}
		}
		return v.answer(s, string(arg))
	}
	for _, name := range foreign {
		if len(name) == len(word) && bytes.EqualFold(word, []byte(name)) {
			s.lost(errForeign)
			return reply{}
		}
	}
	if len(text) > longest {
		return reply{500, "5.5.2", "line too long"}
	}
	return reply{500, "5.5.2", "no such command"}
}

// instead is what to say before v.
func (s *session) instead(v *verb) string {
	if s.state == fresh {
		if s.lmtp {
			return "say LHLO first"
		}
		return "say EHLO first"
	}
	if s.state == chunk {
		return "send the rest with BDAT, or say RSET"
	}
	if v.hint == "" {
		return "one MAIL for each message"
	}
	return v.hint
}

// rset answers RSET (RFC 5321 section 4.1.1.5).
func (s *session) rset(arg string) reply {
	if arg != "" {
		return reply{501, "5.5.4", "RSET takes no argument"}
	}
	s.reset()
	return reply{250, "2.0.0", "ok"}
}

// noop answers NOOP (section 4.1.1.9).
func (s *session) noop(string) reply { return reply{250, "2.0.0", "ok"} }

// vrfy answers VRFY: always the same, so that nobody learns who is here (section 7.3, S064).
func (s *session) vrfy(string) reply {
	return reply{252, "2.5.0", "cannot verify, but will take a message and try"}
}

// expn answers EXPN.
func (s *session) expn(string) reply { return reply{502, "5.5.1", "lists are not expanded here"} }

// help answers HELP (section 4.1.1.8).
func (s *session) help(string) reply {
	names := make([]string, len(verbs))
	for i, v := range verbs {
		names[i] = v.name
	}
	return reply{214, "2.0.0", strings.Join(names, " ")}
}

// quit answers QUIT.
func (s *session) quit(arg string) reply {
	if arg != "" {
		return reply{501, "5.5.4", "QUIT takes no argument"}
	}
	s.reset()
	s.closing, s.state = true, quitting
	return reply{221, "2.0.0", "goodbye"}
}
