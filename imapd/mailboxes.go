package imapd

import (
	"errors"
	"slices"
	"strconv"
	"strings"

	"pennypost/maildir/mailbox"
)

var mailboxVerbs = []verb{
	{"CREATE", loggedIn, (*session).create, expunges, false},
	{"DELETE", loggedIn, (*session).deleteBox, expunges, false},
	{"RENAME", loggedIn, (*session).rename, expunges, false},
	{"SUBSCRIBE", loggedIn, (*session).subscribe, expunges, false},
	{"UNSUBSCRIBE", loggedIn, (*session).subscribe, expunges, false},
	{"LIST", loggedIn, (*session).list, expunges, false},
	{"LSUB", loggedIn, (*session).list, expunges, false},
	{"STATUS", loggedIn, (*session).status_, expunges, false},
	{"NAMESPACE", loggedIn, (*session).namespace, expunges, false},
}

// uses are the special uses of RFC 6154 section 2 that a mailbox may be made for. \All and \Flagged are views over other
// mailboxes, which we do not have.
var uses = []string{`\Archive`, `\Drafts`, `\Junk`, `\Sent`, `\Trash`}

func useOf(flag string) (string, bool) {
	i := slices.IndexFunc(uses, func(u string) bool { return strings.EqualFold(u, flag) })
	if i < 0 {
		return "", false
	}
	return uses[i], true
}

// create is RFC 9051 section 6.3.4 with the USE of RFC 6154 section 3.
func (s *session) create(c *command) reply {
	c.SP()
	said := c.Mailbox(s.enabled&utf8Accept != 0)
	var use []string
	unknown := false
	if c.Take(' ') {
		c.List(func() {
			if !c.Word("USE") {
				c.Fail("USE")
			}
			c.SP()
			c.List(func() {
				u, ok := useOf(c.Flag())
				unknown = unknown || !ok
				use = append(use, u)
			})
		})
	}
	if c.End(); c.Err() != nil {
		return syntax(c.Err())
	}
	if unknown {
		return no("USEATTR", "a mailbox cannot be made for that use")
	}
	name := strings.TrimSuffix(said, string(s.account.Delimiter())) // it only says that there will be others below
	p, err := s.locate(name)
	if err == nil {
		err = s.makeAt(p, strings.Join(use, " "))
	}
	if err != nil {
		return s.failed(err)
	}
	if s.enabled&rev2 != 0 && p.full != name {
		s.listLineOld(p.full, name)
	}
	r := ok("created")
	if folder, err := p.Folder(p.name); err == nil {
		if n, err := folder.Counts(s.ctx); err == nil {
			r.code = "MAILBOXID (" + n.MailboxID + ")" // RFC 8474 section 4.1
		}
		folder.Close()
	}
	return r
}

// makeAt makes a mailbox, with the ACL of the one above it.
func (s *session) makeAt(p place, use string) error {
	if p.owner == nil && s.srv.Domains != nil && (p.name == othersRoot || strings.TrimPrefix(p.name, s.account.Prefix()) == othersRoot) {
		return mailbox.ErrName // another namespace
	}
	above, has := p.above()
	if p.owner != nil {
		if !has {
			return errNotPermitted
		}
		if err := s.allowed(above, "k"); err != nil {
			return err
		}
	}
	if err := p.Create(p.name, use); err != nil {
		return err
	}
	if has {
		return p.InheritACL(above.name, p.name)
	}
	return nil
}

// above is the place one up; there is none at the top.
func (p place) above() (place, bool) {
	at := strings.LastIndexByte(p.name, p.Delimiter())
	if at < 0 || at < len(p.Prefix()) {
		return place{}, false
	}
	up := p
	up.name, up.full = p.name[:at], ""
	return up, true
}

// deleteBox is RFC 9051 section 6.3.5. The name stays, \Noselect, where there are mailboxes below it.
func (s *session) deleteBox(c *command) reply {
	c.SP()
	name := c.Mailbox(s.enabled&utf8Accept != 0)
	if c.End(); c.Err() != nil {
		return syntax(c.Err())
	}
	p, err := s.locate(name)
	if err == nil {
		err = s.allowed(p, "x")
	}
	if err == nil {
		err = p.Delete(p.name)
	}
	if err != nil {
		return s.failed(err)
	}
	s.leftBehind()
	return ok("deleted")
}

// leftBehind leaves the selected mailbox after it has gone from its name by our own doing.
func (s *session) leftBehind() {
	if s.box != nil && s.box.folder.Gone() {
		s.deselect()
		s.untagged(okCode("CLOSED", "the selected mailbox is not there any more"))
	}
}

// rename is RFC 9051 section 6.3.6; of INBOX it moves the messages.
func (s *session) rename(c *command) reply {
	utf8 := s.enabled&utf8Accept != 0
	c.SP()
	from := c.Mailbox(utf8)
	c.SP()
	said := c.Mailbox(utf8)
	if c.End(); c.Err() != nil {
		return syntax(c.Err())
	}
	to := strings.TrimSuffix(said, string(s.account.Delimiter()))
	src, err := s.locate(from)
	if err != nil {
		return s.failed(err)
	}
	dst, err := s.locate(to)
	if err != nil {
		return s.failed(err)
	}
	switch {
	case src.shared != dst.shared:
		return no("CANNOT", "a mailbox cannot move to another user")
	case src.owner == nil && strings.TrimPrefix(dst.name, s.account.Prefix()) == othersRoot && s.srv.Domains != nil:
		return no("CANNOT", "that cannot be the name of a mailbox")
	case src.owner != nil:
		above, has := dst.above()
		if !has {
			return s.failed(errNotPermitted)
		}
		if err := errors.Join(s.allowed(src, "x"), s.allowed(above, "k")); err != nil {
			return s.failed(err)
		}
	}
	if src.name == "INBOX" {
		if src.owner != nil {
			return s.failed(errNotPermitted)
		}
		err = s.renameInbox(src, dst)
	} else {
		err = src.Rename(src.name, dst.name)
	}
	if err != nil {
		return s.failed(err)
	}
	if s.enabled&rev2 != 0 {
		s.listLineOld(dst.full, src.full)
	}
	s.leftBehind()
	return ok("renamed")
}

// renameInbox makes a mailbox of the messages of INBOX, which stays and is empty (RFC 9051 section 6.3.6).
func (s *session) renameInbox(src, dst place) error {
	if err := s.makeAt(dst, ""); err != nil {
		return err
	}
	inbox, err := src.Folder(src.name)
	if err != nil {
		return err
	}
	defer inbox.Close()
	folder, err := dst.Folder(dst.name)
	if err != nil {
		return err
	}
	defer folder.Close()
	view, err := inbox.Look(s.ctx)
	if err != nil {
		return err
	}
	_, _, err = inbox.Move(s.ctx, view.UIDsFrom(0), folder)
	return err
}

// subscribe answers SUBSCRIBE and UNSUBSCRIBE (RFC 9051 sections 6.3.7 and 6.3.8). A name need not exist.
func (s *session) subscribe(c *command) reply {
	c.SP()
	name := c.Mailbox(s.enabled&utf8Accept != 0)
	if c.End(); c.Err() != nil {
		return syntax(c.Err())
	}
	if _, _, foreign := s.splitOther(name); foreign {
		name = s.account.Prefix() + name // as the file of subscriptions has it
	}
	if err := s.account.Subscribe(name, c.name == "SUBSCRIBE"); err != nil {
		return s.failed(err)
	}
	return ok("noted")
}

// statusItems reads the items of STATUS (RFC 9051 section 6.3.11).
func statusItems(c *command) (items []string) {
	items = []string{}
	c.List(func() {
		switch word := c.Keyword("a status item"); word {
		case "MESSAGES", "RECENT", "UIDNEXT", "UIDVALIDITY", "UNSEEN", "DELETED", "DELETED-STORAGE", "SIZE", "HIGHESTMODSEQ", "MAILBOXID", "APPENDLIMIT":
			items = append(items, word)
		default:
			c.Fail("a status item")
		}
	})
	if len(items) == 0 || len(items) > 100 {
		c.Fail("status items")
	}
	return items
}

// status_ is STATUS (RFC 9051 section 6.3.11).
func (s *session) status_(c *command) reply {
	c.SP()
	name := c.Mailbox(s.enabled&utf8Accept != 0)
	c.SP()
	items := statusItems(c)
	if c.End(); c.Err() != nil {
		return syntax(c.Err())
	}
	p, err := s.locate(name)
	if err == nil {
		if slices.Contains(items, "HIGHESTMODSEQ") {
			s.enabled |= condstore // RFC 7162 section 3.1
		}
		err = s.statusOf(p, items)
	}
	if err != nil {
		return s.failed(err)
	}
	return ok("that is all")
}

// statusOf writes the STATUS response of a mailbox.
func (s *session) statusOf(p place, items []string) error {
	if err := s.allowed(p, "r"); err != nil {
		return err
	}
	n, err := p.Counts(s.ctx, p.name, slices.Contains(items, "SIZE") || slices.Contains(items, "DELETED-STORAGE"))
	if err != nil {
		return err
	}
	s.out = append(s.mailboxName(append(s.out, "* STATUS "...), p.full), " ("...)
	for i, item := range items {
		if i > 0 {
			s.out = append(s.out, ' ')
		}
		s.out = append(append(s.out, item...), ' ')
		s.out = s.statusValue(s.out, item, &n)
	}
	s.out = append(s.out, ")\r\n"...)
	s.spill()
	return nil
}

func (s *session) statusValue(b []byte, item string, n *mailbox.Counts) []byte {
	var v uint64
	switch item {
	case "MESSAGES":
		v = uint64(n.Messages)
	case "RECENT":
		v = uint64(n.Recent)
	case "UIDNEXT":
		v = uint64(n.UIDNext)
	case "UIDVALIDITY":
		v = uint64(n.UIDValidity)
	case "UNSEEN":
		v = uint64(n.Unseen)
	case "DELETED":
		v = uint64(n.Deleted)
	case "DELETED-STORAGE":
		v = uint64(n.DeletedSize)
	case "SIZE":
		v = uint64(n.Size)
	case "HIGHESTMODSEQ":
		v = n.HighestModSeq
	case "MAILBOXID":
		return append(append(append(b, '('), n.MailboxID...), ')')
	case "APPENDLIMIT":
		if s.srv.MaxSize == 0 {
			return append(b, "NIL"...)
		}
		v = uint64(s.srv.MaxSize)
	}
	return strconv.AppendUint(b, v, 10)
}

// namespace is RFC 2342.
func (s *session) namespace(c *command) reply {
	if c.End(); c.Err() != nil {
		return syntax(c.Err())
	}
	d := string(s.account.Delimiter())
	b := append(s.out, "* NAMESPACE (("...)
	b = append(quoted(b, s.account.Prefix()), ' ')
	b = append(quoted(b, d), ")) "...)
	if s.srv.Domains == nil {
		b = append(b, "NIL"...)
	} else {
		b = append(quoted(append(b, "(("...), othersRoot+d), ' ')
		b = append(quoted(b, d), "))"...)
	}
	s.out = append(b, " NIL\r\n"...)
	return ok("that is all")
}

// ordinary are the special-use mailboxes of an account at its first login, and what else they may be called already.
var ordinary = []struct {
	use   string
	names []string // the first is made where there is none
}{
	{`\Drafts`, []string{"Drafts", "Draft"}},
	{`\Sent`, []string{"Sent", "Sent Items", "Sent Messages", "Sent Mail"}},
	{`\Trash`, []string{"Trash", "Deleted Items", "Deleted Messages"}},
	{`\Junk`, []string{"Junk", "Spam", "Junk E-mail", "Junk Email"}},
	{`\Archive`, []string{"Archive", "Archives"}},
}

// firstLogin makes the special-use mailboxes of an account, once. A Maildir that was another server's keeps its own names.
func (s *session) firstLogin() {
	if made, err := s.account.Once("specialuse"); err != nil || made {
		return
	}
	infos, err := s.account.List()
	if err != nil {
		return
	}
	for _, w := range ordinary {
		if slices.ContainsFunc(infos, func(i mailbox.Info) bool { return i.SpecialUse == w.use }) {
			continue
		}
		if err := s.assign(infos, w.use, w.names); err != nil {
			s.srv.Log.Warn("imap special-use", err)
		}
	}
}

// assign gives a use to the mailbox that has one of the names, or makes it.
func (s *session) assign(infos []mailbox.Info, use string, names []string) error {
	for _, name := range names {
		name = s.account.Compose([]string{name})
		for _, i := range infos {
			if !i.NoSelect && i.SpecialUse == "" && strings.EqualFold(i.Name, name) {
				return s.account.SetMetaOf(i.Name, map[string]*string{mailbox.UseEntry: &use})
			}
		}
	}
	name := s.account.Compose(names[:1])
	if err := s.account.Create(name, use); err != nil && !errors.Is(err, mailbox.ErrExists) {
		return err
	}
	return s.account.Subscribe(name, true)
}
