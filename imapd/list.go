package imapd

import (
	"slices"
	"strings"

	"pennypost/imapd/wire"
	"pennypost/internal/domains"
	"pennypost/maildir"
	"pennypost/maildir/mailbox"
)

// listing is a LIST under way (RFC 9051 section 6.3.9, RFC 5258).
type listing struct {
	patterns []pattern
	lsub     bool
	extended bool // there were options or several patterns
	// selection options
	subscribed, specialUse, recursive bool
	// return options
	returnSubscribed, myRights bool
	status                     []string // items, nil: no STATUS
	metadata                   []string // entries, nil: no METADATA
}

// mostPatterns bounds one LIST: each pattern is tried on every mailbox (S102).
const mostPatterns = 1000

// listed is one mailbox of a list.
type listed struct {
	mailbox.Info
	place    place
	children bool
	matching bool // a descendant meets the selection options: CHILDINFO
	missing  bool // nobody made it: it stands above a subscription
}

// list answers LIST and LSUB.
func (s *session) list(c *command) reply {
	l := &listing{lsub: c.name == "LSUB"}
	c.SP()
	if c.Peek() == '(' && !l.lsub {
		l.extended = true
		l.selectOptions(c)
		c.SP()
	}
	reference := s.pattern(c.AString())
	c.SP()
	var patterns []string
	if c.Peek() == '(' && !l.lsub {
		l.extended = true
		c.List(func() {
			if patterns = append(patterns, c.ListPattern()); len(patterns) > mostPatterns {
				c.Fail("fewer patterns")
			}
		})
	} else {
		patterns = append(patterns, c.ListPattern())
	}
	if c.Take(' ') && !l.lsub {
		if !c.Word("RETURN") {
			c.Fail("RETURN")
		}
		l.extended = true
		c.SP()
		l.returnOptions(c)
	}
	if c.End(); c.Err() != nil {
		return syntax(c.Err())
	}
	if !l.extended && patterns[0] == "" { // only the delimiter is asked for (RFC 9051 section 6.3.9)
		return s.listRoot(l, reference)
	}
	for _, p := range patterns {
		if p = s.pattern(p); p != "" {
			l.patterns = append(l.patterns, compile(reference+p, s.account.Delimiter()))
		}
	}
	if err := s.writeList(l); err != nil {
		return s.failed(err)
	}
	return ok("listed")
}

// pattern is a pattern or reference in UTF-8. One that is no modified UTF-7 matches nothing.
func (s *session) pattern(p string) string {
	if s.enabled&utf8Accept == 0 {
		text, ok := maildir.DecodeName(p)
		if !ok {
			return "\x00"
		}
		return text
	}
	return p
}

func (s *session) listRoot(l *listing, reference string) reply {
	root := ""
	if d := string(s.account.Delimiter()); strings.HasPrefix(reference, othersRoot+d) {
		root = othersRoot + d
	} else if p := s.account.Prefix(); p != "" && strings.HasPrefix(reference, p) {
		root = p
	}
	s.out = append(append(s.out, "* "...), l.verb()...)
	s.out = append(s.out, ` (\Noselect) `...)
	s.out = append(quoted(s.out, string(s.account.Delimiter())), ' ')
	s.out = append(quoted(s.out, root), "\r\n"...)
	return ok("listed")
}

func (l *listing) verb() string {
	if l.lsub {
		return "LSUB"
	}
	return "LIST"
}

// selectOptions is list-select-opts of RFC 5258 section 6.
func (l *listing) selectOptions(c *command) {
	c.List(func() {
		switch word := c.Keyword("a selection option"); word {
		case "SUBSCRIBED":
			l.subscribed, l.returnSubscribed = true, true
		case "REMOTE": // all of ours are here
		case "RECURSIVEMATCH":
			l.recursive = true
		case "SPECIAL-USE":
			l.specialUse = true
		default:
			c.Fail("SUBSCRIBED, REMOTE, RECURSIVEMATCH or SPECIAL-USE")
		}
	})
	if l.recursive && !l.subscribed && !l.specialUse {
		c.Fail("RECURSIVEMATCH together with SUBSCRIBED or SPECIAL-USE (RFC 5258 section 3.1)")
	}
}

// returnOptions is list-return-opts.
func (l *listing) returnOptions(c *command) {
	c.List(func() {
		switch word := c.Keyword("a return option"); word {
		case "SUBSCRIBED":
			l.returnSubscribed = true
		case "CHILDREN", "SPECIAL-USE": // said in any case
		case "MYRIGHTS":
			l.myRights = true
		case "STATUS": // RFC 5819
			c.SP()
			l.status = statusItems(c)
		case "METADATA": // RFC 9590
			c.SP()
			l.metadata = []string{}
			c.List(func() { l.metadata = append(l.metadata, entryName(c)) })
		default:
			c.Fail("SUBSCRIBED, CHILDREN, SPECIAL-USE, MYRIGHTS, STATUS or METADATA")
		}
	})
}

// writeList writes the responses: each mailbox, and what was asked of it right behind it.
func (s *session) writeList(l *listing) error {
	all, err := s.everything(l)
	if err != nil {
		return err
	}
	var above map[string]bool // LSUB: names above subscriptions, said already
	for i := range all {
		m := &all[i]
		if !l.matches(m.Name) {
			if l.lsub && m.Subscribed {
				above = s.lsubAbove(l, m.Name, above, all)
			}
			continue
		}
		selected := l.selects(m)
		switch {
		case l.lsub && !m.Subscribed, m.NonExistent && !m.Subscribed && !m.missing:
			continue
		case !l.lsub && m.NonExistent && !l.subscribed && !m.missing: // only subscribed to
			continue
		case !selected && !(l.recursive && m.matching):
			continue
		case m.missing && !m.matching:
			continue
		}
		s.listItem(l, m, selected)
	}
	return nil
}

func (l *listing) matches(name string) bool {
	return slices.ContainsFunc(l.patterns, func(p pattern) bool { return p.match(name) })
}

// selects reports whether a mailbox meets the selection options; without any, all do.
func (l *listing) selects(m *listed) bool {
	return (!l.subscribed || m.Subscribed) && (!l.specialUse || m.SpecialUse != "")
}

// lsubAbove says the name above a subscription that a % stops at (RFC 3501 section 6.3.9).
func (s *session) lsubAbove(l *listing, name string, said map[string]bool, all []listed) map[string]bool {
	d := s.account.Delimiter()
	for at := strings.LastIndexByte(name, d); at > 0; at = strings.LastIndexByte(name[:at], d) {
		above := name[:at]
		if said[above] || !l.matches(above) {
			continue
		}
		if said == nil {
			said = map[string]bool{}
		}
		said[above] = true
		if slices.ContainsFunc(all, func(m listed) bool { return m.Name == above && m.Subscribed }) {
			continue
		}
		s.out = append(s.out, `* LSUB (\Noselect) `...)
		s.out = append(quoted(s.out, string(d)), ' ')
		s.out = append(s.mailboxName(s.out, above), "\r\n"...)
	}
	return said
}

// everything is all mailboxes the session can see, with what the listing needs to know of each.
func (s *session) everything(l *listing) ([]listed, error) {
	infos, err := s.account.List()
	if err != nil {
		return nil, err
	}
	all := make([]listed, 0, len(infos))
	hidden := othersRoot + string(s.account.Delimiter())
	subscribed := map[string]bool{} // of other users' mailboxes
	for _, info := range infos {
		if s.srv.Domains != nil && (info.Name == othersRoot || strings.HasPrefix(strings.TrimPrefix(info.Name, s.account.Prefix()), hidden)) {
			if info.Subscribed {
				subscribed[strings.TrimPrefix(info.Name, s.account.Prefix())] = true
			}
			continue
		}
		all = append(all, listed{Info: info, place: place{shared: s.account, name: info.Name, full: info.Name}})
	}
	if s.srv.Domains != nil && (l == nil || slices.ContainsFunc(l.patterns, func(p pattern) bool { return p.mayStart(othersRoot) })) {
		others, err := s.sharedWithUs()
		if err != nil {
			return nil, err
		}
		for _, m := range others {
			m.Subscribed = subscribed[m.Name]
			delete(subscribed, m.Name)
			all = append(all, m)
		}
		for name := range subscribed {
			all = append(all, listed{Info: mailbox.Info{Name: name, NoSelect: true, NonExistent: true, Subscribed: true}})
		}
	}
	if l != nil {
		all = s.relate(l, all)
	}
	return all, nil
}

// relate notes who has children, and which of them meet the selection.
func (s *session) relate(l *listing, all []listed) []listed {
	d := s.account.Delimiter()
	index := make(map[string]int, len(all))
	for i := range all {
		index[all[i].Name] = i
	}
	for i := 0; i < len(all); i++ {
		m := all[i]
		selected := (l.subscribed || l.specialUse) && !m.missing && l.selects(&m)
		for at := strings.LastIndexByte(m.Name, d); at > 0; at = strings.LastIndexByte(m.Name[:at], d) {
			above := m.Name[:at]
			k, known := index[above]
			if !known {
				if !l.recursive {
					continue
				}
				k = len(all)
				index[above] = k
				all = append(all, listed{Info: mailbox.Info{Name: above, NoSelect: true, NonExistent: true}, missing: true})
			}
			all[k].children = all[k].children || !m.NonExistent
			all[k].matching = all[k].matching || selected
		}
	}
	return all
}

// sharedWithUs is the mailboxes of other users in which the session has the right to look (RFC 4314 section 4), and the names above them.
func (s *session) sharedWithUs() ([]listed, error) {
	owners, err := s.srv.sharing(s.id.Account.Domain)
	if err != nil {
		return nil, err
	}
	var all []listed
	d := string(s.account.Delimiter())
	for _, owner := range owners {
		if owner.User == s.id.Account.User {
			continue
		}
		account, err := s.openOther(owner)
		if err != nil {
			continue
		}
		mine := s.sharedBy(owner, account)
		if len(mine) == 0 {
			continue
		}
		if len(all) == 0 {
			all = append(all, listed{Info: mailbox.Info{Name: othersRoot, NoSelect: true}})
		}
		all = append(all, listed{Info: mailbox.Info{Name: othersRoot + d + s.userComponent(owner.User), NoSelect: true}})
		all = append(all, mine...)
	}
	return all, nil
}

// sharedBy is what one other user shares with the session's.
func (s *session) sharedBy(owner *domains.Account, account *shared) (list []listed) {
	infos, err := account.List()
	if err != nil {
		s.srv.Log.Warn("imap list", err)
		return nil
	}
	above := map[string]bool{}
	for _, info := range infos {
		if info.NoSelect {
			continue
		}
		p := place{shared: account, name: info.Name, owner: owner}
		if rights, err := s.rights(p); err != nil || !strings.Contains(rights, "l") {
			continue
		}
		if p.full, err = s.othersName(owner, account, info.Name); err != nil {
			continue
		}
		d := s.account.Delimiter()
		root := len(othersRoot) + 1 + len(s.userComponent(owner.User))
		var names []string
		for at := strings.LastIndexByte(p.full, d); at > root; at = strings.LastIndexByte(p.full[:at], d) {
			if !above[p.full[:at]] {
				above[p.full[:at]] = true
				names = append(names, p.full[:at])
			}
		}
		slices.Reverse(names)
		for _, name := range names {
			list = append(list, listed{Info: mailbox.Info{Name: name, NoSelect: true}})
		}
		above[p.full] = true
		list = append(list, listed{Info: mailbox.Info{Name: p.full}, place: p})
	}
	return list
}

// listItem writes one LIST or LSUB response and what was asked for with it.
func (s *session) listItem(l *listing, m *listed, selected bool) {
	s.out = append(append(append(s.out, "* "...), l.verb()...), ' ')
	s.out = l.attributes(s.out, m)
	s.out = append(s.out, ' ')
	s.out = append(quoted(s.out, string(s.account.Delimiter())), ' ')
	s.out = s.mailboxName(s.out, m.Name)
	if l.recursive && m.matching {
		var kinds []string
		if l.subscribed {
			kinds = append(kinds, `"SUBSCRIBED"`)
		}
		if l.specialUse {
			kinds = append(kinds, `"SPECIAL-USE"`)
		}
		s.out = append(append(append(s.out, ` ("CHILDINFO" (`...), strings.Join(kinds, " ")...), "))"...)
	}
	s.out = append(s.out, "\r\n"...)
	s.spill()
	if m.NonExistent || m.NoSelect || m.place.shared == nil || !selected && !l.recursive {
		return
	}
	if l.status != nil {
		s.statusOf(m.place, l.status) // one that cannot be said is left out (RFC 5819 section 2)
	}
	if l.myRights {
		if rights, err := s.rights(m.place); err == nil {
			s.myRightsLine(m.place.full, rights)
		}
	}
	if l.metadata != nil {
		s.listMetadata(m.place, l.metadata)
	}
}

// attributes are the mailbox attributes of RFC 9051 section 7.3.1.
func (l *listing) attributes(b []byte, m *listed) []byte {
	b = append(b, '(')
	at := len(b)
	word := func(w string) {
		if len(b) > at {
			b = append(b, ' ')
		}
		b = append(b, w...)
	}
	switch {
	case m.NonExistent && l.lsub:
		word(`\Noselect`)
	case m.NonExistent:
		word(`\NonExistent`)
	case m.NoSelect:
		word(`\Noselect`)
	}
	if l.lsub {
		return append(b, ')')
	}
	if m.children {
		word(`\HasChildren`)
	} else {
		word(`\HasNoChildren`)
	}
	if l.returnSubscribed && m.Subscribed {
		word(`\Subscribed`)
	}
	for use := range strings.FieldsSeq(m.SpecialUse) {
		word(use)
	}
	return append(b, ')')
}

// listLine writes the LIST response of one mailbox, with an old name where there was one (RFC 9051 section 7.3.1).
func (s *session) listLine(name string) { s.listLineOld(name, "") }

func (s *session) listLineOld(name, old string) {
	p, err := s.locate(name)
	if err != nil {
		return
	}
	info, children, err := p.Info(p.name)
	if err != nil {
		return
	}
	if p.owner != nil {
		info.SpecialUse, info.Subscribed = "", false
	}
	info.Name = p.full
	l := &listing{returnSubscribed: true}
	s.out = append(l.attributes(append(s.out, "* LIST "...), &listed{Info: info, children: children}), ' ')
	s.out = append(quoted(s.out, string(s.account.Delimiter())), ' ')
	s.out = s.mailboxName(s.out, p.full)
	if old != "" {
		s.out = append(s.mailboxName(append(s.out, ` ("OLDNAME" (`...), old), "))"...)
	}
	s.out = append(s.out, "\r\n"...)
	s.spill()
}

// pattern is a mailbox pattern: * is anything, % anything but the delimiter.
type pattern struct {
	text      string
	delimiter byte
	literals  int
}

// compile joins wildcards that stand side by side, so that no pattern has more of them than other characters and one (S102).
func compile(text string, delimiter byte) pattern {
	if len(text) > 4096 {
		text = "\x00"
	}
	p := pattern{delimiter: delimiter}
	if n := len("INBOX"); len(text) >= n && wire.EqualFold([]byte(text[:n]), "INBOX") && (len(text) == n || text[n] == delimiter || text[n] == '*' || text[n] == '%') {
		text = "INBOX" + text[n:]
	}
	out := make([]byte, 0, len(text))
	for i := 0; i < len(text); i++ {
		c := text[i]
		if last := len(out) - 1; last >= 0 && (c == '*' || c == '%') && (out[last] == '*' || out[last] == '%') {
			if c == '*' {
				out[last] = '*'
			}
			continue
		}
		if c != '*' && c != '%' {
			p.literals++
		}
		out = append(out, c)
	}
	p.text = string(out)
	return p
}

// match follows all ways through the pattern at once: its cost is the product of the lengths, whatever the wildcards.
func (p pattern) match(name string) bool {
	if p.literals > len(name) {
		return false
	}
	fold := name == "INBOX"
	now, next := make([]bool, len(p.text)+1), make([]bool, len(p.text)+1)
	now[0] = true
	p.skip(now)
	for i := 0; i < len(name); i++ {
		clear(next)
		any := false
		for k := 0; k < len(p.text); k++ {
			if !now[k] {
				continue
			}
			c := p.text[k]
			switch {
			case c == '*', c == '%' && name[i] != p.delimiter:
				next[k], any = true, true
			case c == '%':
			case c == name[i], fold && c|0x20 == name[i]|0x20:
				next[k+1], any = true, true
			}
		}
		if !any {
			return false
		}
		p.skip(next)
		now, next = next, now
	}
	return now[len(p.text)]
}

// skip lets wildcards stand for nothing.
func (p pattern) skip(at []bool) {
	for k := 0; k < len(p.text); k++ {
		if at[k] && (p.text[k] == '*' || p.text[k] == '%') {
			at[k+1] = true
		}
	}
}

// mayStart reports whether something that begins with root could match.
func (p pattern) mayStart(root string) bool {
	for i := 0; i < len(root) && i < len(p.text); i++ {
		if p.text[i] == '*' || p.text[i] == '%' {
			return true
		}
		if p.text[i] != root[i] {
			return false
		}
	}
	return len(p.text) >= len(root)
}
