package imapd

import (
	"strconv"
	"strings"

	"pennypost/imapd/front"
)

// afterLogin is what is advertised after login.
var afterLogin = []string{"IMAP4rev1", "IMAP4rev2", "SASL-IR", "LITERAL+", "ENABLE", "ID", "IDLE", "NAMESPACE", "UIDPLUS", "UNSELECT", "CHILDREN",
	"MOVE", "CONDSTORE", "QRESYNC",
	"ESEARCH", "SEARCHRES", "WITHIN", "SEARCH=FUZZY", "PARTIAL", "SORT", "SORT=DISPLAY", "ESORT", "THREAD=ORDEREDSUBJECT", "THREAD=REFERENCES",
	"THREAD=REFS", "MULTISEARCH", "INPROGRESS", "SAVEDATE", "OBJECTID", "UIDONLY", "UIDBATCHES", "UTF8=ACCEPT",
	"BINARY", "PREVIEW", "LIST-EXTENDED", "LIST-STATUS", "SPECIAL-USE", "CREATE-SPECIAL-USE", "LIST-MYRIGHTS", "LIST-METADATA", "STATUS=SIZE",
	"MULTIAPPEND", "REPLACE", "METADATA", "ACL", "RIGHTS=kxte", "QUOTA", "QUOTA=RES-STORAGE", "QUOTA=RES-MESSAGE", "COMPRESS=DEFLATE", "NOTIFY"}

func (s *session) capabilityList() string {
	list := afterLogin
	if s.srv.MaxSize > 0 {
		list = append(list[:len(list):len(list)], "APPENDLIMIT="+strconv.FormatInt(s.srv.MaxSize, 10))
	}
	return strings.Join(list, " ")
}

// greet is the first line (RFC 9051 section 7.1.5) where somebody is logged in already.
func (s *session) greet() {
	s.untagged(reply{"PREAUTH", "CAPABILITY " + s.capabilityList(), s.srv.Hostname + " ready, logged in as " + s.id.Account.Path().String()})
}

func (s *session) capability(c *command) reply {
	if c.End(); c.Err() != nil {
		return syntax(c.Err())
	}
	s.line("CAPABILITY %s", s.capabilityList())
	return ok("that is all")
}

func (s *session) noop(c *command) reply {
	if c.End(); c.Err() != nil {
		return syntax(c.Err())
	}
	switch {
	case !s.stillShared():
		return no("NOPERM", "its owner does not share the mailbox any more")
	case s.box != nil && !s.watched():
		return no("NONEXISTENT", s.ended)
	}
	return ok("done")
}

func (s *session) logout(c *command) reply {
	if c.End(); c.Err() != nil {
		return syntax(c.Err())
	}
	s.untagged(reply{"BYE", "", "until next time"})
	s.ended, s.state = "logged out", 0
	return ok("logged out")
}

// identify answers ID (RFC 2971).
func (s *session) identify(c *command) reply {
	if err := front.ReadID(c.Decoder); err != nil {
		return syntax(err)
	}
	s.line("%s", front.Identity)
	return ok("pleased to meet you")
}

// enable is RFC 5161. One name there must be; whether a mailbox is selected nobody need look at (section 3.1).
func (s *session) enable(c *command) reply {
	var on []string
	enabled := s.enabled
	for first := true; first || c.More() && c.Err() == nil; first = false {
		c.SP()
		name := c.Keyword("a capability")
		var x extension
		switch name {
		case "CONDSTORE":
			x = condstore
		case "QRESYNC":
			x = condstore | qresync
		case "IMAP4REV2":
			x, name = rev2|utf8Accept, "IMAP4rev2"
		case "UTF8=ACCEPT":
			x = utf8Accept | utf8Only
		case "UIDONLY":
			x = uidOnly
		default:
			continue
		}
		if enabled&x != x {
			enabled |= x
			on = append(on, name)
		}
	}
	if c.Err() != nil {
		return syntax(c.Err())
	}
	s.enabled = enabled
	s.line("ENABLED%s", strings.Join(append([]string{""}, on...), " "))
	return ok("enabled")
}
