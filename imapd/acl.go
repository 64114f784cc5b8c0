package imapd

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"pennypost/internal/domains"
	"pennypost/maildir/mailbox"
)

// oldRights adds what RFC 2086 had: c for k and x, d for t and e (RFC 4314 section 2.1.1).
func oldRights(rights string) string {
	if strings.ContainsAny(rights, "kx") {
		rights += "c"
	}
	if strings.ContainsAny(rights, "te") {
		rights += "d"
	}
	return rights
}

// newRights is rights in our letters and our order; ok is false for a letter that is none.
func newRights(said string) (rights string, ok bool) {
	said = strings.NewReplacer("c", "kx", "d", "te").Replace(said)
	for _, r := range said {
		if !strings.ContainsRune(allRights, r) {
			return "", false
		}
	}
	for _, r := range allRights {
		if strings.ContainsRune(said, r) {
			rights += string(r)
		}
	}
	return rights, true
}

// identifier is whom an ACL speaks of: anyone, or a user of this domain; with "-" before it, rights are taken away. must is whether there
// has to be such a user.
func (s *session) identifier(said string, must bool) (string, error) {
	name, minus := said, ""
	if rest, ok := strings.CutPrefix(said, "-"); ok {
		name, minus = rest, "-"
	}
	if strings.EqualFold(name, "anyone") {
		return minus + "anyone", nil
	}
	if s.srv.Domains == nil {
		return "", errNoUser
	}
	full := name
	if !strings.Contains(full, "@") {
		full += "@" + s.id.Account.Domain
	}
	a, err := s.srv.Domains.Login(full)
	switch {
	case errors.Is(err, domains.ErrNoAccount) && !must:
		return minus + strings.ToLower(full), nil
	case errors.Is(err, domains.ErrNoAccount), err == nil && a.Domain != s.id.Account.Domain:
		return "", errNoUser
	case err != nil:
		return "", err
	}
	return minus + a.User + "@" + a.Domain, nil
}

var errNoUser = errors.New("no such user")

// ownerOf is the identifier of who owns a place.
func (s *session) ownerOf(p place) string {
	if p.owner != nil {
		return p.owner.User + "@" + p.owner.Domain
	}
	return s.self()
}

// administered finds a mailbox whose ACL the session may see and change.
func (s *session) administered(name string) (place, error) {
	p, err := s.locate(name)
	if err == nil {
		err = s.allowed(p, "a")
	}
	return p, err
}

// getACL is RFC 4314 section 3.3.
func (s *session) getACL(c *command) reply {
	c.SP()
	name := c.Mailbox(s.enabled&utf8Accept != 0)
	if c.End(); c.Err() != nil {
		return syntax(c.Err())
	}
	p, err := s.administered(name)
	if err != nil {
		return s.failed(err)
	}
	meta, err := s.metaAt(p)
	if err != nil {
		return s.failed(err)
	}
	acl := mailbox.ACL(meta)
	b := s.mailboxName(append(s.out, "* ACL "...), p.full)
	b = astring(append(b, ' '), s.ownerOf(p))
	b = append(append(b, ' '), oldRights(allRights)...)
	for _, id := range slices.Sorted(maps.Keys(acl)) {
		b = astring(append(b, ' '), id)
		b = append(append(b, ' '), oldRights(acl[id])...)
	}
	s.out = append(b, "\r\n"...)
	s.spill()
	return ok("that is all")
}

// metaAt is the mb-meta of a mailbox that must be there.
func (s *session) metaAt(p place) (map[string]string, error) {
	folder, err := p.Folder(p.name)
	if err != nil {
		return nil, err
	}
	defer folder.Close()
	return folder.Meta()
}

// setACL answers SETACL and DELETEACL (RFC 4314 sections 3.1 and 3.2).
func (s *session) setACL(c *command) reply {
	c.SP()
	name := c.Mailbox(s.enabled&utf8Accept != 0)
	c.SP()
	said := c.AString()
	sign, letters := byte('='), ""
	if c.name == "SETACL" {
		c.SP()
		if letters = c.AString(); letters != "" && (letters[0] == '+' || letters[0] == '-') {
			sign, letters = letters[0], letters[1:]
		}
	}
	rights, known := newRights(letters)
	if !known {
		c.Fail("rights of " + allRights)
	}
	if c.End(); c.Err() != nil {
		return syntax(c.Err())
	}
	p, err := s.administered(name)
	if err != nil {
		return s.failed(err)
	}
	id, err := s.identifier(said, c.name == "SETACL")
	switch {
	case errors.Is(err, errNoUser):
		return no("CANNOT", "mailboxes are shared with users of this domain only")
	case err != nil:
		return s.failed(err)
	case strings.TrimPrefix(id, "-") == s.ownerOf(p):
		return no("CANNOT", "an owner has all rights")
	}
	folder, err := p.Folder(p.name)
	if err != nil {
		return s.failed(err)
	}
	defer folder.Close()
	if sign != '=' {
		meta, err := folder.Meta()
		if err != nil {
			return s.failed(err)
		}
		has := mailbox.ACL(meta)[id]
		if sign == '+' {
			rights, _ = newRights(has + rights)
		} else {
			rights = strings.Map(func(r rune) rune {
				if strings.ContainsRune(rights, r) {
					return -1
				}
				return r
			}, has)
		}
	}
	if err := folder.SetACL(id, rights); err != nil {
		return s.failed(err)
	}
	s.srv.shares(s.id.Account.Domain)
	return ok("noted")
}

// listRights is RFC 4314 section 3.4.
func (s *session) listRights(c *command) reply {
	c.SP()
	name := c.Mailbox(s.enabled&utf8Accept != 0)
	c.SP()
	said := c.AString()
	if c.End(); c.Err() != nil {
		return syntax(c.Err())
	}
	p, err := s.administered(name)
	if err != nil {
		return s.failed(err)
	}
	if _, err := s.metaAt(p); err != nil {
		return s.failed(err)
	}
	id, err := s.identifier(said, true)
	if errors.Is(err, errNoUser) {
		return no("CANNOT", "mailboxes are shared with users of this domain only")
	}
	if err != nil {
		return s.failed(err)
	}
	b := s.mailboxName(append(s.out, "* LISTRIGHTS "...), p.full)
	b = append(astring(append(b, ' '), said), ' ')
	if id == s.ownerOf(p) {
		b = append(b, allRights...)
	} else {
		b = append(b, `""`...)
		for i := range len(allRights) {
			b = append(b, ' ', allRights[i])
		}
	}
	s.out = append(b, "\r\n"...)
	s.spill()
	return ok("that is all")
}

// myRights is RFC 4314 section 3.5.
func (s *session) myRights(c *command) reply {
	c.SP()
	name := c.Mailbox(s.enabled&utf8Accept != 0)
	if c.End(); c.Err() != nil {
		return syntax(c.Err())
	}
	p, err := s.locate(name)
	if err == nil {
		err = s.allowed(p, "lrikxa")
	}
	rights := ""
	if err == nil {
		_, err = s.metaAt(p)
	}
	if err == nil {
		rights, err = s.rights(p)
	}
	if err != nil {
		return s.failed(err)
	}
	s.myRightsLine(p.full, rights)
	return ok("that is all")
}

func (s *session) myRightsLine(name, rights string) {
	s.out = append(s.mailboxName(append(s.out, "* MYRIGHTS "...), name), ' ')
	s.out = append(append(s.out, oldRights(rights)...), "\r\n"...)
	s.spill()
}

// getQuota is RFC 9208 section 4.1.2. The root of one's own mail is "".
func (s *session) getQuota(c *command) reply {
	c.SP()
	root := c.AString()
	if c.End(); c.Err() != nil {
		return syntax(c.Err())
	}
	if root != "" {
		return no("NONEXISTENT", `there is no such quota root; yours is ""`)
	}
	if err := s.quotaLine("", s.account); err != nil {
		return s.failed(err)
	}
	return ok("that is all")
}

// getQuotaRoot is RFC 9208 section 4.1.3.
func (s *session) getQuotaRoot(c *command) reply {
	c.SP()
	name := c.Mailbox(s.enabled&utf8Accept != 0)
	if c.End(); c.Err() != nil {
		return syntax(c.Err())
	}
	p, err := s.locate(name)
	if err == nil {
		err = s.allowed(p, "r")
	}
	if err == nil {
		_, err = s.metaAt(p)
	}
	if err != nil {
		return s.failed(err)
	}
	root := ""
	if p.owner != nil {
		root = s.ownerOf(p)
	}
	s.out = append(s.mailboxName(append(s.out, "* QUOTAROOT "...), p.full), ' ')
	s.out = append(astring(s.out, root), "\r\n"...)
	if err := s.quotaLine(root, p.shared); err != nil {
		return s.failed(err)
	}
	return ok("that is all")
}

// quotaLine writes what an account holds and may hold, in units of 1024 octets (RFC 9208 section 5.1) and in messages (section 5.2).
func (s *session) quotaLine(root string, account *shared) error {
	b := append(astring(append(s.out, "* QUOTA "...), root), " ("...)
	limit, most := account.Limits()
	if limit > 0 || most > 0 {
		used, messages, err := account.Used()
		if err != nil {
			return err
		}
		if limit > 0 {
			b = fmt.Appendf(b, "STORAGE %d %d", (used+1023)/1024, (limit+1023)/1024)
		}
		if limit > 0 && most > 0 {
			b = append(b, ' ')
		}
		if most > 0 {
			b = fmt.Appendf(b, "MESSAGE %d %d", messages, most)
		}
	}
	s.out = append(b, ")\r\n"...)
	s.spill()
	return nil
}
