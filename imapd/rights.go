package imapd

import (
	"errors"
	"strings"

	"pennypost/maildir/mailbox"
)

// The rights of RFC 4314 section 2.1: lookup, read, keep \Seen, write other flags, insert, post, create below, delete the mailbox,
// \Deleted, expunge, administer. An owner has all of them, whatever the ACL says.
const allRights = "lrswipkxtea"

// errNotPermitted is what ACL forbids.
var errNotPermitted = errors.New("not permitted")

// self is the identifier of the session's user in an ACL.
func (s *session) self() string { return s.id.Account.User + "@" + s.id.Account.Domain }

// rights is what the session may do at a place, as the ACL says now: nothing is remembered (S104).
func (s *session) rights(p place) (string, error) {
	if p.owner == nil {
		return allRights, nil
	}
	meta, err := p.MetaOf(p.name)
	if err != nil {
		return "", err
	}
	return effective(mailbox.ACL(meta), s.self()), nil
}

// effective is the rights of a user: its own and those of anyone, less those of -user and -anyone.
func effective(acl map[string]string, user string) string {
	var out []byte
	for i := range len(allRights) {
		right := allRights[i : i+1]
		has := strings.Contains(acl[user], right) || strings.Contains(acl["anyone"], right)
		if has && !strings.Contains(acl["-"+user], right) && !strings.Contains(acl["-anyone"], right) {
			out = append(out, right...)
		}
	}
	return string(out)
}

// allowed is nil if the session has any of the rights at a place. Where it may not even look, there is no mailbox.
func (s *session) allowed(p place, any string) error {
	rights, err := s.rights(p)
	switch {
	case err != nil:
		return err
	case strings.ContainsAny(rights, any):
		return nil
	case strings.Contains(rights, "l"):
		return errNotPermitted
	}
	return mailbox.ErrNoMailbox
}

// boxRights is the rights in the selected mailbox.
func (s *session) boxRights() string {
	rights, err := s.rights(s.box.place)
	if err != nil {
		return ""
	}
	return rights
}

// stillShared reports whether the selected mailbox may be read: its owner may have changed his mind since SELECT.
func (s *session) stillShared() bool { return s.box == nil || s.may("r") }

// may reports whether the session has the right in the selected mailbox.
func (s *session) may(right string) bool {
	return s.box.owner == nil || strings.Contains(s.boxRights(), right)
}

// mayExpunge reports whether ACL lets the session expunge.
func (s *session) mayExpunge() bool { return s.may("e") }

// mayChange is the flags of the selected mailbox that ACL lets the session set and clear (RFC 4314 section 4).
func (s *session) mayChange() (flags mailbox.Flags) {
	if s.box.owner == nil {
		return ^mailbox.Flags(0)
	}
	return rightsFlags(s.boxRights())
}

// mayPut is the flags that the session may give to messages it puts into another mailbox (RFC 4314 section 4).
func (s *session) mayPut(p place) mailbox.Flags {
	if p.owner == nil {
		return ^mailbox.Flags(0)
	}
	rights, err := s.rights(p)
	if err != nil {
		return 0
	}
	return rightsFlags(rights)
}

// rightsFlags is the flags that rights let one change.
func rightsFlags(rights string) (flags mailbox.Flags) {
	if strings.Contains(rights, "s") {
		flags |= mailbox.Seen
	}
	if strings.Contains(rights, "t") {
		flags |= mailbox.Deleted
	}
	if strings.Contains(rights, "w") {
		flags |= ^(mailbox.Seen | mailbox.Deleted)
	}
	return flags
}

// readOnly reports whether the session may change nothing at a place (RFC 4314 section 5.2).
func (s *session) readOnlyAt(p place) bool {
	rights, err := s.rights(p)
	return err != nil || !strings.ContainsAny(rights, "swite")
}
