package imapd

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"pennypost/internal/domains"
	"pennypost/internal/part"
	"pennypost/login"
	"pennypost/maildir"
	"pennypost/maildir/mailbox"
)

// othersRoot is the namespace of mailboxes that other users of the domain share (RFC 2342): "Other Users/bob/Work".
const othersRoot = "Other Users"

// place is where a mailbox name leads: into our own mail, or into that of somebody who shares it.
type place struct {
	*shared
	name  string           // as that account has it
	owner *domains.Account // nil: it is our own
	full  string           // as the session says it
}

// locate finds whose mailbox a name is. It says nothing about whether there is one, or whether the session may touch it.
func (s *session) locate(name string) (place, error) {
	user, rest, foreign := s.splitOther(name)
	if !foreign {
		name, err := s.account.Normal(name)
		return place{shared: s.account, name: name, full: name}, err
	}
	owner, account, err := s.other(user)
	if err != nil {
		return place{}, err
	}
	parts := strings.Split(rest, string(s.account.Delimiter()))
	if slices.Contains(parts, "") {
		return place{}, mailbox.ErrNoMailbox
	}
	inner, err := account.Normal(account.Compose(parts))
	if err != nil {
		return place{}, err
	}
	p := place{shared: account, name: inner, owner: owner}
	p.full, err = s.othersName(owner, account, inner)
	return p, err
}

// splitOther takes "Other Users/bob/Work" apart. rest is "" for a name above mailboxes.
func (s *session) splitOther(name string) (user, rest string, ok bool) {
	if s.srv.Domains == nil {
		return "", "", false
	}
	d := string(s.account.Delimiter())
	if name == othersRoot {
		return "", "", true
	}
	name, ok = strings.CutPrefix(name, othersRoot+d)
	if !ok {
		return "", "", false
	}
	user, rest, _ = strings.Cut(name, d)
	return user, rest, true
}

// userComponent is a user's name as a component of a mailbox name; a delimiter in it is written ^.
func (s *session) userComponent(user string) string {
	return strings.ReplaceAll(user, string(s.account.Delimiter()), "^")
}

// othersName is the name by which the session knows another's mailbox.
func (s *session) othersName(owner *domains.Account, account *shared, name string) (string, error) {
	parts, err := account.Components(name)
	if err != nil {
		return "", err
	}
	for _, part := range parts {
		if strings.IndexByte(part, s.account.Delimiter()) >= 0 { // cannot be said in our delimiter
			return "", mailbox.ErrNoMailbox
		}
	}
	d := string(s.account.Delimiter())
	return othersRoot + d + s.userComponent(owner.User) + d + strings.Join(parts, d), nil
}

// other opens the mail of another user of our domain who shares some of it.
func (s *session) other(component string) (*domains.Account, *shared, error) {
	if component == "" || component == s.userComponent(s.id.Account.User) {
		return nil, nil, mailbox.ErrNoMailbox
	}
	user := component
	owner, err := s.srv.Domains.Login(user + "@" + s.id.Account.Domain)
	if errors.Is(err, domains.ErrNoAccount) && strings.Contains(component, "^") {
		user = strings.ReplaceAll(component, "^", string(s.account.Delimiter()))
		owner, err = s.srv.Domains.Login(user + "@" + s.id.Account.Domain)
	}
	if errors.Is(err, domains.ErrNoAccount) || err == nil && owner.Domain != s.id.Account.Domain {
		return nil, nil, mailbox.ErrNoMailbox
	}
	if err != nil {
		return nil, nil, err
	}
	account, err := s.openOther(owner)
	return owner, account, err
}

// openOther opens an account that shares mailboxes, once for the session. One that shares nothing is not touched.
func (s *session) openOther(owner *domains.Account) (*shared, error) {
	id := &login.Identity{Account: owner, Authcid: s.id.Authcid}
	root, _ := s.srv.Account(id)
	if _, err := os.Stat(filepath.Join(root, mailbox.SharedName)); err != nil {
		return nil, mailbox.ErrNoMailbox
	}
	if a := s.others[root]; a != nil {
		return a, nil
	}
	a, err := s.srv.open(id)
	if err != nil {
		return nil, err
	}
	if s.others == nil {
		s.others = map[string]*shared{}
	}
	s.others[root] = a
	return a, nil
}

// sharers are the accounts of a domain that share mailboxes, as they were a moment ago. What they share, and with whom, is not kept.
type sharers struct {
	at     time.Time
	owners []*domains.Account
}

// sharersFresh is how long a domain is not searched again for accounts that share: there may be many thousand.
const sharersFresh = 5 * time.Second

// sharing finds the accounts of a domain that share mailboxes.
func (srv *Server) sharing(domain string) ([]*domains.Account, error) {
	srv.mu.Lock()
	known, ok := srv.sharers[domain]
	srv.mu.Unlock()
	if ok && time.Since(known.at) < sharersFresh {
		return known.owners, nil
	}
	users, err := srv.Domains.Users(domain)
	if err != nil {
		return nil, err
	}
	found := sharers{at: time.Now()}
	for _, user := range users {
		owner, err := srv.Domains.Login(user + "@" + domain)
		if err != nil {
			continue
		}
		root, _ := srv.Account(&login.Identity{Account: owner})
		if _, err := os.Stat(filepath.Join(root, mailbox.SharedName)); err == nil {
			found.owners = append(found.owners, owner)
		}
	}
	srv.mu.Lock()
	defer srv.mu.Unlock()
	if srv.sharers == nil {
		srv.sharers = map[string]sharers{}
	}
	srv.sharers[domain] = found
	return found.owners, nil
}

// shares makes the next search look again.
func (srv *Server) shares(domain string) {
	srv.mu.Lock()
	defer srv.mu.Unlock()
	delete(srv.sharers, domain)
}

// leaveOthers gives back what openOther opened.
func (s *session) leaveOthers() {
	for _, a := range s.others {
		s.srv.leave(a)
	}
	s.others = nil
}

// openAt opens the mailbox at a place if the session has the right there.
func (s *session) openAt(p place, right string) (*mailbox.Folder, error) {
	if err := s.allowed(p, right); err != nil {
		return nil, err
	}
	return p.Folder(p.name)
}

// mailboxName appends the name of a mailbox as the session reads it: modified UTF-7, or UTF-8 where it was enabled (RFC 9051
// section 5.1, RFC 6855 section 3).
func (s *session) mailboxName(b []byte, name string) []byte {
	if s.enabled&utf8Accept == 0 {
		return astring(b, maildir.EncodeName(name))
	}
	for i := 0; i < len(name); i++ {
		if name[i] >= 0x80 {
			return append(append(append(b, '"'), quoteEscapes.Replace(name)...), '"')
		}
	}
	return astring(b, name)
}

var quoteEscapes = strings.NewReplacer(`\`, `\\`, `"`, `\"`)

// quoted appends a string.
func quoted(b []byte, s string) []byte { return part.AppendString(b, []byte(s)) }
