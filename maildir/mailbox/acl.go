package mailbox

import (
	"errors"
	"io/fs"
	"path"
	"slices"
	"strings"
	"time"

	"pennypost/maildir"
)

// aclEntry is where mb-meta keeps the rights of an identifier (RFC 4314): "/acl/bob@example.org", "/acl/-anyone".
const aclEntry = "/acl/"

// SharedName is a file in the root of an account some of whose mailboxes have an ACL: without it nobody need look.
const SharedName = "mb-shared"

// Root is the directory of the account.
func (a *Account) Root() string { return a.root }

// Delimiter stands between the components of a mailbox name.
func (a *Account) Delimiter() byte { return a.o.Delimiter }

// Prefix begins every mailbox name but INBOX.
func (a *Account) Prefix() string { return a.o.Prefix }

// Account is whose mailbox it is.
func (f *Folder) Account() *Account { return f.account }

// Components are the parts of a mailbox's name without the prefix.
func (a *Account) Components(name string) ([]string, error) {
	if strings.EqualFold(name, "INBOX") {
		return []string{"INBOX"}, nil
	}
	return a.split(name)
}

// Compose is the name of a mailbox from its parts.
func (a *Account) Compose(parts []string) string {
	if len(parts) == 1 && strings.EqualFold(parts[0], "INBOX") {
		return "INBOX"
	}
	return a.o.Prefix + strings.Join(parts, string(a.o.Delimiter))
}

// MetaOf is the mb-meta of a mailbox that need not be open; none where there is only a name above others.
func (a *Account) MetaOf(name string) (map[string]string, error) {
	dir, err := a.dirOf(name)
	if err != nil {
		return nil, err
	}
	if _, err := a.disk.Stat(path.Join(dir, "cur")); err != nil {
		return nil, ErrNoMailbox
	}
	meta, err := readMeta(a.disk, dir)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrInvalid) {
		return nil, ErrNoMailbox
	}
	return meta, err
}

// ACL is the rights in a mb-meta, by identifier.
func ACL(meta map[string]string) map[string]string {
	acl := map[string]string{}
	for name, rights := range meta {
		if id, ok := strings.CutPrefix(name, aclEntry); ok {
			acl[id] = rights
		}
	}
	return acl
}

// SetACL gives identifier the rights, or none.
func (f *Folder) SetACL(identifier, rights string) error {
	if rights != "" {
		if err := touch(f.account.disk, SharedName); err != nil {
			return err
		}
		return f.SetMeta(map[string]*string{aclEntry + identifier: &rights})
	}
	return f.SetMeta(map[string]*string{aclEntry + identifier: nil})
}

// InheritACL gives a mailbox just made the rights of another (RFC 4314 section 2).
func (a *Account) InheritACL(from, to string) error {
	meta, err := a.MetaOf(from)
	if err != nil {
		return nil // a name above others has no rights
	}
	changes := map[string]*string{}
	for id, rights := range ACL(meta) {
		changes[aclEntry+id] = &rights
	}
	if len(changes) == 0 {
		return nil
	}
	dir, err := a.dirOf(to)
	if err != nil {
		return err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	unlock, err := a.lockMeta(dir)
	if err != nil {
		return err
	}
	defer unlock()
	return writeMeta(a.disk, dir, changes)
}

// SetMetaOf is Folder.SetMeta for a mailbox that need not be open.
func (a *Account) SetMetaOf(name string, changes map[string]*string) error {
	dir, err := a.dirOf(name)
	if err != nil {
		return err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	unlock, err := a.lockMeta(dir)
	if err != nil {
		return err
	}
	defer unlock()
	return writeMeta(a.disk, dir, changes)
}

// onceEntry is where the root's mb-meta keeps what is done once for an account.
const onceEntry = "/once/"

// Once reports whether what is done once for an account was done, and notes it.
func (a *Account) Once(what string) (done bool, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	unlock, err := a.lockTree()
	if err != nil {
		return true, err
	}
	defer unlock()
	meta, err := readMeta(a.disk, ".")
	if err != nil || meta[onceEntry+what] != "" {
		return true, err
	}
	now := wall().UTC().Format(time.RFC3339)
	return false, writeMeta(a.disk, ".", map[string]*string{onceEntry + what: &now})
}

// Stamp is when the names at the root of the account changed last. In the fs layout nobody can say: it is always now.
func (a *Account) Stamp() time.Time {
	info, err := a.disk.Stat(".")
	if err != nil || a.o.Layout != maildir.PlusPlus {
		return wall()
	}
	return info.ModTime
}

// Info is what List says of one mailbox, without looking at the others, and whether there are some below it.
func (a *Account) Info(name string) (info Info, children bool, err error) {
	if name, err = a.Normal(name); err != nil {
		return Info{}, false, err
	}
	meta, err := a.MetaOf(name)
	if err != nil {
		return Info{}, false, err
	}
	info = Info{Name: name, SpecialUse: meta[UseEntry], Subscribed: slices.Contains(a.subscribed(), name)}
	dir, err := a.dirOf(name)
	if dir == "." { // what is below INBOX by name is not below it on disk
		info.SpecialUse = ""
		if dir = "INBOX"; a.o.Layout == maildir.PlusPlus {
			dir = ".INBOX"
		}
	}
	if err != nil {
		return Info{}, false, err
	}
	below, err := a.children(dir)
	return info, len(below) > 0, err
}
