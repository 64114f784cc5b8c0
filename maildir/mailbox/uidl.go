package mailbox

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// A UIDLFormat says how the server before us made the unique-ids of POP3, in the words of Dovecot's pop3_uidl_format: %u is the UID, %v the
// UIDVALIDITY, %f the name of the file without flags, %g the GUID; %08Xu is eight hexadecimal digits. "" keeps those that its list
// has, and makes the others from file names as we do.
type UIDLFormat string

var uidlVariable = regexp.MustCompile(`%(0?)([1-9]?)(X?)(.?)`)

// Check finds what cannot be made.
func (format UIDLFormat) Check() error {
	for _, m := range uidlVariable.FindAllStringSubmatch(string(format), -1) {
		if m[4] == "" || !strings.Contains("uvfg%", m[4]) {
			return fmt.Errorf("unique-ids: %q: want of Dovecot's variables %%u %%v %%f %%g, with a width and X for hexadecimal digits", m[0])
		}
	}
	return nil
}

// of is the unique-id of a message; "" where it would be none (RFC 1939 section 7).
func (format UIDLFormat) of(uid, validity uint32, l *line) string {
	text := uidlVariable.ReplaceAllStringFunc(string(format), func(v string) string {
		m := uidlVariable.FindStringSubmatch(v)
		value := l.key
		switch m[4] {
		case "%":
			return "%"
		case "g":
			if l.over != nil && l.over.guid != "" {
				value = l.over.guid
			}
		case "u", "v":
			n := uint64(uid)
			if m[4] == "v" {
				n = uint64(validity)
			}
			base := 10
			if m[3] == "X" {
				base = 16
			}
			value = strconv.FormatUint(n, base)
		}
		if width, _ := strconv.Atoi(m[2]); len(value) < width {
			fill := " "
			if m[1] == "0" {
				fill = "0"
			}
			value = strings.Repeat(fill, width-len(value)) + value
		}
		return value
	})
	if len(text) > 70 || strings.ContainsFunc(text, func(r rune) bool { return r < '!' || r > '~' }) {
		return ""
	}
	return text
}

// pin gives every message that has none the unique-id that the server before us gave it.
func (format UIDLFormat) pin(u *uids) {
	if format == "" {
		return
	}
	for uid, l := range u.live {
		if l.over != nil && l.over.uidl != "" {
			continue
		}
		if text := format.of(uid, u.validity, l); text != "" {
			if l.over == nil {
				l.over = &override{}
			}
			l.over.uidl = text
		}
	}
}
