package dsn

import (
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"pennypost/internal/address"
	"pennypost/internal/escape"
	"pennypost/internal/status"
)

// longest is how much of a remote server's words a report repeats, in octets.
const longest = 1000

// blocks is the second part, RFC 3464 section 2: one block for the message, one for each recipient.
// In a report that is not global every octet is ASCII.
func (r *Report) blocks(global bool) []byte {
	var b []byte
	field := func(name, value string) {
		if value == "" {
			return
		}
		value = escape.Terminal(value) // S045: not a second field, not a second block
		if !global {
			value = ascii(value)
		}
		b = fold(b, name+": ", value)
	}

	env := r.Message.Env
	field("Reporting-MTA", "dns; "+r.Host)
	if id, ok := param(env.Mail, "ENVID"); ok {
		field("Original-Envelope-Id", xtext(id))
	}
	field("Arrival-Date", date(env.Time))
	field("Future-Release-Request", release(env.Mail)) // RFC 4865 section 5
	field("X-Queue-ID", r.Message.ID)
	for i := range r.Recipients {
		to := &r.Recipients[i]
		b = append(b, '\n')
		if kind, addr, ok := orcpt(to.Params); ok {
			field("Original-Recipient", kind+"; "+addr)
		}
		field("Final-Recipient", typed(to.To))
		field("Action", string(to.Action))
		field("Status", to.status())
		field("Remote-MTA", remote(to.Host))
		field("Diagnostic-Code", to.diagnostic())
		field("Last-Attempt-Date", date(to.LastAttempt))
		if to.Action == Delayed {
			field("Will-Retry-Until", date(to.RetryUntil))
		}
	}
	return b
}

// typed is an address with its type (RFC 3464 section 2.1.2, RFC 6533 section 3).
func typed(p address.Path) string {
	if p.ASCII() {
		return "rfc822; " + p.String()
	}
	return "utf-8; " + p.String()
}

// status is the enhanced code of the cause. A class is always known, so there is always a code.
func (to *Recipient) status() string {
	if wellFormed(to.Result.Enhanced) {
		return to.Result.Enhanced
	}
	switch {
	case to.Result.Code/100 == 5 || to.Result.Code/100 == 4:
		return strconv.Itoa(to.Result.Code/100) + ".0.0"
	case to.Action == Failed:
		return "5.0.0"
	case to.Action == Delayed:
		return "4.0.0"
	}
	return "2.0.0"
}

// wellFormed is status-code of RFC 3464 section 2.3.4.
func wellFormed(s string) bool {
	parts := strings.Split(s, ".")
	if len(parts) != 3 || parts[0] != "2" && parts[0] != "4" && parts[0] != "5" {
		return false
	}
	for _, p := range parts[1:] {
		if p == "" || len(p) > 3 || strings.Trim(p, "0123456789") != "" {
			return false
		}
	}
	return true
}

// remote is the host's name without the address queue-run keeps beside it; nothing when we decided (RFC 3464 section 2.3.5).
func remote(host string) string {
	if i := strings.IndexByte(host, '['); i > 0 {
		host = host[:i]
	}
	if host == "" {
		return ""
	}
	return "dns; " + host
}

// diagnostic is the server's reply, or what we found ourselves.
func (to *Recipient) diagnostic() string {
	text := words(to.Result)
	switch {
	case text == "":
		return ""
	case to.Host == "" || status.Ours(to.Result.Code, to.Result.Enhanced):
		return "X-Pennypost; " + text
	}
	return "smtp; " + reply(to.Result)
}

// words is the result's text, in bounds.
func words(res status.Result) string {
	text := res.Text
	if len(text) > longest {
		n := longest
		for n > longest-utf8.UTFMax && !utf8.RuneStart(text[n]) {
			n--
		}
		text = text[:n] + " [...]"
	}
	return strings.TrimSpace(text)
}

// reply is the reply as the server sent it: code, enhanced code, words.
func reply(res status.Result) string {
	s := strconv.Itoa(res.Code)
	text := words(res)
	if res.Enhanced != "" && wellFormed(res.Enhanced) && !strings.HasPrefix(text, res.Enhanced) {
		s += " " + res.Enhanced
	}
	if text != "" {
		s += " " + text
	}
	return s
}

// release is FUTURERELEASE's HOLDFOR or HOLDUNTIL as it was asked for.
func release(mail string) string {
	if v, ok := param(mail, "HOLDFOR"); ok {
		return "for;" + v
	}
	if v, ok := param(mail, "HOLDUNTIL"); ok {
		return "until;" + v
	}
	return ""
}

// date is RFC 5322's, and nothing for a time that is not known.
func date(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.Format("Mon, 2 Jan 2006 15:04:05 -0700")
}

// ascii escapes what is left after escape.Terminal and is beyond ASCII: octets as \xNN.
func ascii(s string) string {
	const hex = "0123456789abcdef"
	for i := 0; i < len(s); i++ {
		if s[i] >= utf8.RuneSelf {
			b := append(make([]byte, 0, 2*len(s)), s[:i]...)
			for ; i < len(s); i++ {
				if c := s[i]; c < utf8.RuneSelf {
					b = append(b, c)
				} else {
					b = append(b, '\\', 'x', hex[c>>4], hex[c&15])
				}
			}
			return string(b)
		}
	}
	return s
}

// fold appends one field, folded at spaces after 76 octets where it has some, and anywhere
// before a line gets too long for RFC 5322 section 2.1.1. A fold stands for one space.
func fold(b []byte, name, value string) []byte {
	b = append(b, name...)
	room := 76 - len(name)
	for len(value) > room {
		i := strings.LastIndexByte(value[:max(room, 0)+1], ' ')
		if i <= 0 {
			i = strings.IndexByte(value, ' ')
		}
		if i < 0 {
			i = len(value)
		}
		if i > 900 { // a word that long is no word
			i = 900
			for !utf8.RuneStart(value[i]) {
				i--
			}
		}
		b = append(b, value[:i]...)
		value = value[i:]
		for value != "" && value[0] == ' ' {
			value = value[1:] // a line of spaces alone would end the fields
		}
		if value == "" {
			break
		}
		b = append(b, "\n "...)
		room = 75
	}
	return append(append(b, value...), '\n')
}
