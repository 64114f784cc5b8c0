package imapd

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"pennypost/maildir/mailbox"
)

var metaVerbs = []verb{
	{"GETMETADATA", loggedIn, (*session).getMetadata, expunges, false},
	{"SETMETADATA", loggedIn, (*session).setMetadata, expunges, false},
	{"GETACL", loggedIn, (*session).getACL, expunges, false},
	{"SETACL", loggedIn, (*session).setACL, expunges, false},
	{"DELETEACL", loggedIn, (*session).setACL, expunges, false},
	{"LISTRIGHTS", loggedIn, (*session).listRights, expunges, false},
	{"MYRIGHTS", loggedIn, (*session).myRights, expunges, false},
	{"GETQUOTA", loggedIn, (*session).getQuota, expunges, false},
	{"GETQUOTAROOT", loggedIn, (*session).getQuotaRoot, expunges, false},
}

// Bounds of annotations: mb-meta is read whole, often.
const (
	longestValue = 16 << 10
	mostEntries  = 200
)

// entryName wants the name of an annotation (RFC 5464 section 3.2), and gives it in lower case.
func entryName(c *command) string {
	name := strings.ToLower(c.AString())
	switch {
	case c.Err() != nil:
	case !strings.HasPrefix(name, "/private/") && !strings.HasPrefix(name, "/shared/"):
		c.Fail("an entry below /private or /shared")
	case strings.Contains(name, "//") || strings.HasSuffix(name, "/") || strings.ContainsAny(name, "*%\"") || len(name) > 500:
		c.Fail("the name of an entry")
	default:
		for i := range len(name) {
			if name[i] < ' ' || name[i] >= 0x7f || name[i] == ' ' {
				c.Fail("the name of an entry")
			}
		}
	}
	return name
}

// annotated is what a METADATA command speaks of: a mailbox, or the server where the name is empty.
type annotated struct {
	place
	server bool
}

// annotatedAt finds it. What private and shared annotations want is one of the rights r s w i p beside l (RFC 5464 section 3.3).
func (s *session) annotatedAt(name string) (annotated, error) {
	if name == "" {
		return annotated{place{shared: s.account, name: "INBOX"}, true}, nil
	}
	p, err := s.locate(name)
	if err != nil {
		return annotated{}, err
	}
	rights, err := s.rights(p)
	if err == nil && !strings.Contains(rights, "l") {
		err = mailbox.ErrNoMailbox
	}
	if err == nil && !strings.ContainsAny(rights, "rswip") {
		err = errNotPermitted
	}
	return annotated{place: p}, err
}

// key is the name under which mb-meta has an entry: private ones of other users are theirs, those of the server stand in the root.
func (s *session) key(a annotated, entry string) string {
	switch {
	case a.server:
		return "/server" + entry
	case a.owner != nil && strings.HasPrefix(entry, "/private/"):
		return "/user/" + s.self() + entry
	}
	return entry
}

// getMetadata is RFC 5464 section 4.2.
func (s *session) getMetadata(c *command) reply {
	depth, maximum := 0, -1
	options := func() {
		c.List(func() {
			switch c.Keyword("an option") {
			case "MAXSIZE":
				c.SP()
				maximum = int(c.Number())
			case "DEPTH":
				c.SP()
				switch c.Keyword("a depth") {
				case "0":
				case "1":
					depth = 1
				case "INFINITY":
					depth = 2
				default:
					c.Fail("0, 1 or infinity")
				}
			default:
				c.Fail("MAXSIZE or DEPTH")
			}
		})
		c.SP()
	}
	c.SP()
	if c.Peek() == '(' {
		options()
	}
	name := c.Mailbox(s.enabled&utf8Accept != 0)
	c.SP()
	if ahead := strings.ToUpper(c.Ahead()); strings.HasPrefix(ahead, "(MAXSIZE ") || strings.HasPrefix(ahead, "(DEPTH ") { // as in the RFC's examples
		options()
	}
	var entries []string
	if c.Peek() == '(' {
		c.List(func() { entries = append(entries, entryName(c)) })
	} else {
		entries = append(entries, entryName(c))
	}
	if c.End(); c.Err() != nil {
		return syntax(c.Err())
	}
	at, err := s.annotatedAt(name)
	if err != nil {
		return s.failed(err)
	}
	meta, err := s.annotations(at)
	if err != nil {
		return s.failed(err)
	}
	longest := -1
	var found []string
	for _, entry := range slices.Sorted(maps.Keys(meta)) {
		if !slices.ContainsFunc(entries, func(e string) bool { return within(e, entry, depth) }) {
			continue
		}
		if n := len(meta[entry]); maximum >= 0 && n > maximum {
			longest = max(longest, n)
			continue
		}
		found = append(found, entry)
	}
	if len(found) > 0 {
		s.metadataLine(at.full, found, meta)
	}
	if longest >= 0 {
		return okCode(fmt.Sprintf("METADATA LONGENTRIES %d", longest), "some values are longer")
	}
	return ok("that is all")
}

// within reports whether entry is asked for by name with a depth.
func within(asked, entry string, depth int) bool {
	if entry == asked {
		return true
	}
	rest, below := strings.CutPrefix(entry, asked+"/")
	return below && (depth == 2 || depth == 1 && !strings.Contains(rest, "/"))
}

// annotations are the entries the session can see, by the names it uses.
func (s *session) annotations(a annotated) (map[string]string, error) {
	all, err := a.MetaOf(a.name)
	if err != nil {
		return nil, err
	}
	out := map[string]string{}
	private, shared := s.key(a, "/private/"), s.key(a, "/shared/")
	for key, value := range all {
		if rest, ok := strings.CutPrefix(key, private); ok {
			out["/private/"+rest] = value
		} else if rest, ok := strings.CutPrefix(key, shared); ok {
			out["/shared/"+rest] = value
		}
	}
	if a.server {
		out["/shared/admin"] = "mailto:postmaster@" + s.id.Account.Domain // RFC 5464 section 6.2.1
	}
	return out, nil
}

// metadataLine writes entries with their values, NIL where there is none.
func (s *session) metadataLine(name string, entries []string, meta map[string]string) {
	b := append(s.mailboxName(append(s.out, "* METADATA "...), name), " ("...)
	for i, entry := range entries {
		if i > 0 {
			b = append(b, ' ')
		}
		b = append(append(b, entry...), ' ')
		value, ok := meta[entry]
		switch {
		case !ok:
			b = append(b, "NIL"...)
		case strings.IndexByte(value, 0) >= 0:
			b = append(strconv.AppendInt(append(b, "~{"...), int64(len(value)), 10), "}\r\n"...)
			b = append(b, value...)
		default:
			b = quoted(b, value)
		}
	}
	s.out = append(b, ")\r\n"...)
	s.spill()
}

// listMetadata is the METADATA response of LIST … RETURN (METADATA (…)) (RFC 9590).
func (s *session) listMetadata(p place, entries []string) {
	if at, err := s.annotatedAt(p.full); err == nil {
		if meta, err := s.annotations(at); err == nil {
			s.metadataLine(p.full, entries, meta)
		}
	}
}

// setMetadata is RFC 5464 section 4.3.
func (s *session) setMetadata(c *command) reply {
	c.SP()
	name := c.Mailbox(s.enabled&utf8Accept != 0)
	c.SP()
	values := map[string]*string{}
	c.List(func() {
		entry := entryName(c)
		c.SP()
		if value, some := c.NString(); some {
			values[entry] = &value
		} else {
			values[entry] = nil
		}
	})
	if c.End(); c.Err() != nil {
		return syntax(c.Err())
	}
	at, err := s.annotatedAt(name)
	if err != nil {
		return s.failed(err)
	}
	now, err := at.MetaOf(at.name)
	if err != nil {
		return s.failed(err)
	}
	changes := map[string]*string{}
	count := len(now)
	for entry, value := range values {
		switch {
		case at.server && strings.HasPrefix(entry, "/shared/"):
			return no("NOPERM", "what the server says to all is its administrator's")
		case value != nil && len(*value) > longestValue:
			return no(fmt.Sprintf("METADATA MAXSIZE %d", longestValue), "that value is too long")
		case entry == mailbox.UseEntry && !at.server && at.owner == nil && value != nil:
			if use, ok := useOf(*value); ok { // RFC 6154 section 4
				value = &use
			} else {
				return no("USEATTR", "a mailbox cannot have that use")
			}
		}
		key := s.key(at, entry)
		if _, had := now[key]; !had && value != nil {
			count++
		}
		changes[key] = value
	}
	if count > mostEntries {
		return no("METADATA TOOMANY", "that is too many annotations")
	}
	if err := at.SetMetaOf(at.name, changes); err != nil {
		return s.failed(err)
	}
	return ok("noted")
}
