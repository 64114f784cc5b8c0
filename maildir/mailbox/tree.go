package mailbox

import (
	"errors"
	"io/fs"
	"path"
	"slices"
	"sort"
	"strings"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"

	"pennypost/internal/durable"
	"pennypost/maildir"
)

// subscriptionsName is Dovecot's file: a name a line, in modified UTF-7.
const subscriptionsName = "subscriptions"

// deepestName bounds the components of a name, longestName its octets.
const (
	deepestName = 32
	longestName = 1000
)

// Info is one mailbox in a list.
type Info struct {
	Name        string // UTF-8 NFC, with the account's delimiter and prefix; INBOX in capitals
	NoSelect    bool   // only a name above others
	Subscribed  bool
	NonExistent bool   // only subscribed
	SpecialUse  string // \Drafts \Sent \Trash \Junk \Archive, "" none
}

// Normal is a mailbox name in the form the account lists it in, or ErrName (S100, S101).
func (a *Account) Normal(name string) (string, error) {
	if strings.EqualFold(name, "INBOX") {
		return "INBOX", nil
	}
	name = norm.NFC.String(name)
	if _, err := a.split(name); err != nil {
		return "", err
	}
	if d := string(a.o.Delimiter); len(name) > 5 && strings.EqualFold(name[:5], "INBOX") && strings.HasPrefix(name[5:], d) {
		name = "INBOX" + name[5:]
	}
	return name, nil
}

// split is the components of a name without the prefix.
func (a *Account) split(name string) ([]string, error) {
	if len(name) > longestName || !utf8.ValidString(name) {
		return nil, ErrName
	}
	name, ok := strings.CutPrefix(name, a.o.Prefix)
	if !ok || name == "" {
		return nil, ErrName
	}
	parts := strings.Split(name, string(a.o.Delimiter))
	if len(parts) > deepestName {
		return nil, ErrName
	}
	for _, part := range parts {
		if part == "" || part == ".." || part == "." || len(part) > 200 {
			return nil, ErrName
		}
		for _, r := range part {
			if r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 || r == utf8.RuneError || r == 0x2028 || r == 0x2029 {
				return nil, ErrName
			}
		}
	}
	return parts, nil
}

// dirOf is the directory of a mailbox, below the root.
func (a *Account) dirOf(name string) (string, error) {
	if strings.EqualFold(name, "INBOX") {
		return ".", nil
	}
	parts, err := a.split(norm.NFC.String(name))
	if err != nil {
		return "", err
	}
	for i, part := range parts {
		parts[i] = maildir.EncodeComponent(part)
		if a.o.Layout == maildir.FS && (parts[i] == "cur" || parts[i] == "new" || parts[i] == "tmp" || strings.HasPrefix(parts[i], "mb-")) {
			return "", ErrName
		}
	}
	dir := strings.Join(parts, "/")
	if a.o.Layout == maildir.PlusPlus {
		dir = "." + strings.Join(parts, ".")
	}
	if len(path.Base(dir)) > 250 {
		return "", ErrName
	}
	return a.asFound(dir, parts), nil
}

// asFound is the directory of a mailbox that another server made under the name as a client wrote it: in a form of Unicode that is not NFC.
func (a *Account) asFound(dir string, parts []string) string {
	if !slices.ContainsFunc(parts, func(part string) bool { return strings.IndexByte(part, '&') >= 0 }) {
		return dir
	}
	if _, err := a.disk.Stat(dir); err == nil {
		return dir
	}
	name, ok := a.nameOf(dir)
	m := maildir.Maildir{Root: a.root, Disk: a.disk}
	dirs, err := m.Folders(a.o.Layout)
	if !ok || err != nil {
		return dir
	}
	for _, other := range dirs {
		if called, ok := a.nameOf(other); ok && called == name {
			return other
		}
	}
	return dir
}

// nameOf is the mailbox whose directory it is; ok is false for what is no mailbox's.
func (a *Account) nameOf(dir string) (string, bool) {
	var parts []string
	if a.o.Layout == maildir.PlusPlus {
		rest, ok := strings.CutPrefix(dir, ".")
		if !ok || rest == "" {
			return "", false
		}
		parts = strings.Split(rest, ".")
	} else {
		parts = strings.Split(dir, "/")
	}
	for i, part := range parts {
		text, ok := maildir.DecodeComponent(part)
		if !ok || text == "" || strings.IndexByte(text, a.o.Delimiter) >= 0 {
			return "", false
		}
		parts[i] = text
	}
	name := norm.NFC.String(a.o.Prefix + strings.Join(parts, string(a.o.Delimiter)))
	return name, !strings.EqualFold(name, "INBOX") // INBOX is the root, and there is one
}

// List is every mailbox and every subscription, sorted so that a parent comes before its children.
func (a *Account) List() ([]Info, error) {
	m := maildir.Maildir{Root: a.root, Disk: a.disk}
	dirs, err := m.Folders(a.o.Layout)
	if err != nil {
		return nil, err
	}
	found := map[string]*Info{"INBOX": {Name: "INBOX"}}
	for _, dir := range dirs {
		name, ok := a.nameOf(dir)
		if !ok {
			continue
		}
		info := &Info{Name: name}
		if _, err := a.disk.Stat(dir + "/cur"); err != nil {
			info.NoSelect = true
		} else {
			info.SpecialUse = a.useOf(dir)
		}
		found[name] = info
		for at := strings.LastIndexByte(name, a.o.Delimiter); at > len(a.o.Prefix); at = strings.LastIndexByte(name[:at], a.o.Delimiter) {
			if above := name[:at]; found[above] == nil {
				found[above] = &Info{Name: above, NoSelect: true}
			}
		}
	}
	for _, name := range a.subscribed() {
		if found[name] == nil {
			found[name] = &Info{Name: name, NonExistent: true, NoSelect: true}
		}
		found[name].Subscribed = true
	}
	list := make([]Info, 0, len(found))
	for _, info := range found {
		list = append(list, *info)
	}
	key := func(name string) string { return strings.ReplaceAll(name, string(a.o.Delimiter), "\x00") }
	sort.Slice(list, func(i, j int) bool {
		if (list[i].Name == "INBOX") != (list[j].Name == "INBOX") {
			return list[i].Name == "INBOX"
		}
		return key(list[i].Name) < key(list[j].Name)
	})
	return list, nil
}

// useOf is the special use of the mailbox in dir (RFC 6154).
func (a *Account) useOf(dir string) string {
	meta, err := readMeta(a.disk, dir)
	if err != nil {
		return ""
	}
	return meta[UseEntry]
}

// UseEntry is where mb-meta keeps the special use.
const UseEntry = "/private/specialuse"

// Create makes a mailbox and, in the fs layout, the directories above it; use is a special use or "".
func (a *Account) Create(name, use string) error {
	name, err := a.Normal(name)
	if err != nil {
		return err
	}
	dir, err := a.dirOf(name)
	if err != nil {
		return err
	}
	if dir == "." {
		return ErrExists
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	unlock, err := a.lockTree()
	if err != nil {
		return err
	}
	defer unlock()
	if _, err := a.disk.Stat(dir + "/cur"); err == nil {
		return ErrExists
	}
	at := ""
	for _, part := range strings.Split(dir, "/") {
		at = path.Join(at, part)
		if err := a.disk.Mkdir(at, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	for _, sub := range []string{"tmp", "new", "cur"} { // cur last: it is what makes it a mailbox
		if err := a.disk.Mkdir(dir+"/"+sub, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	if a.o.Layout == maildir.PlusPlus {
		if err := touch(a.disk, dir+"/maildirfolder"); err != nil {
			return err
		}
	}
	if use != "" {
		if err := writeMeta(a.disk, dir, map[string]*string{UseEntry: &use}); err != nil {
			return err
		}
	}
	if err := a.disk.SyncDir(dir); err != nil {
		return err
	}
	return a.disk.SyncDir(path.Dir(dir))
}

func touch(disk durable.Disk, name string) error {
	w, err := disk.Append(name, 0o600)
	if err != nil {
		return err
	}
	return w.Close()
}

// children are the directories of mailboxes below dir.
func (a *Account) children(dir string) ([]string, error) {
	m := maildir.Maildir{Root: a.root, Disk: a.disk}
	dirs, err := m.Folders(a.o.Layout)
	if err != nil {
		return nil, err
	}
	prefix := dir + "/"
	if a.o.Layout == maildir.PlusPlus {
		prefix = dir + "."
	}
	return slices.DeleteFunc(dirs, func(d string) bool { return !strings.HasPrefix(d, prefix) }), nil
}

// Delete moves the mailbox to the undelete area; a mailbox with children stays as a name. INBOX cannot go.
func (a *Account) Delete(name string) error {
	dir, err := a.dirOf(name)
	if err != nil {
		return err
	}
	if dir == "." {
		return ErrNoInferiors
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	unlock, err := a.lockTree()
	if err != nil {
		return err
	}
	defer unlock()
	below, err := a.children(dir)
	if err != nil {
		return err
	}
	if _, err := a.disk.Stat(dir + "/cur"); err != nil {
		if len(below) > 0 {
			return ErrNoInferiors // a name above others already (RFC 9051 section 6.3.5)
		}
		if a.o.Layout == maildir.FS && a.disk.RemoveDir(dir) == nil {
			return nil
		}
		return ErrNoMailbox
	}
	if err := a.bury(dir, len(below) > 0 && a.o.Layout == maildir.FS); err != nil {
		return err
	}
	return a.disk.SyncDir(path.Dir(dir))
}

// bury moves a folder's directory away: all of it, or only what makes it a mailbox where others lie in it.
func (a *Account) bury(dir string, keepDir bool) error {
	now := wall()
	area, err := a.expungedArea(now)
	if err != nil {
		return err
	}
	defer area.Close()
	grave := "." + strings.TrimPrefix(strings.ReplaceAll(dir, "/", "."), ".")
	if _, err := area.Stat(grave); err == nil { // one of that name went today already
		grave += "-" + newID()
	}
	if !keepDir {
		return a.moveDir(dir, grave, now)
	}
	if err := area.Mkdir(grave, 0o700); err != nil {
		return err
	}
	for _, sub := range []string{"new", "cur", "tmp", uidsName, metaName} {
		if err := a.moveDir(dir+"/"+sub, grave+"/"+sub, now); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// Rename keeps UIDs and MAILBOXID, and takes children along; of INBOX it moves the messages (RFC 9051 section 6.3.6), which the
// caller does.
func (a *Account) Rename(from, to string) error {
	to, err := a.Normal(to)
	if err != nil {
		return err
	}
	fromDir, err := a.dirOf(from)
	if err != nil {
		return err
	}
	toDir, err := a.dirOf(to)
	if err != nil {
		return err
	}
	if fromDir == "." || toDir == "." {
		return ErrNoInferiors
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	unlock, err := a.lockTree()
	if err != nil {
		return err
	}
	defer unlock()
	below, err := a.children(fromDir)
	if err != nil {
		return err
	}
	_, missing := a.disk.Stat(fromDir)
	if missing != nil && len(below) == 0 {
		return ErrNoMailbox
	}
	if _, err := a.disk.Stat(toDir + "/cur"); err == nil {
		return ErrExists
	}
	if a.o.Layout == maildir.FS {
		if strings.HasPrefix(toDir, fromDir+"/") {
			return ErrNoInferiors
		}
		for at := path.Dir(toDir); at != "."; at = path.Dir(at) {
			defer a.disk.SyncDir(path.Dir(at))
		}
		made := ""
		for _, part := range strings.Split(path.Dir(toDir), "/") {
			if made = path.Join(made, part); made != "." {
				if err := a.disk.Mkdir(made, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
					return err
				}
			}
		}
		a.disk.RemoveDir(toDir)
		if err := a.disk.RenameNew(fromDir, toDir); err != nil {
			return err
		}
		return a.disk.SyncDir(path.Dir(toDir))
	}
	if strings.HasPrefix(toDir, fromDir+".") {
		return ErrNoInferiors
	}
	for _, dir := range below {
		if err := a.disk.RenameNew(dir, toDir+strings.TrimPrefix(dir, fromDir)); err != nil {
			return err
		}
	}
	if missing == nil {
		if err := a.disk.RenameNew(fromDir, toDir); err != nil {
			return err
		}
	}
	return a.disk.SyncDir(".")
}

// subscribed is the subscribed names; lines that are no names are kept in the file and left out here.
func (a *Account) subscribed() []string {
	text, err := readAll(a.disk, subscriptionsName)
	if err != nil {
		return nil
	}
	var names []string
	for _, row := range strings.Split(string(text), "\n") {
		if name, ok := a.subscribedName(row); ok && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names
}

func (a *Account) subscribedName(row string) (string, bool) {
	row = strings.TrimSuffix(row, "\r")
	if row == "" || strings.HasPrefix(row, "V\t") {
		return "", false
	}
	separator := "."
	if strings.Contains(row, "\t") { // version 2 of the file
		separator = "\t"
	}
	parts := strings.Split(row, separator)
	for i, part := range parts {
		text, ok := maildir.DecodeComponent(part)
		if !ok || text == "" {
			return "", false
		}
		parts[i] = text
	}
	if len(parts) == 1 && strings.EqualFold(parts[0], "INBOX") {
		return "INBOX", true
	}
	return a.o.Prefix + strings.Join(parts, string(a.o.Delimiter)), true
}

// Subscribe adds or removes a subscription, also to what does not exist.
func (a *Account) Subscribe(name string, on bool) error {
	name, err := a.Normal(name)
	if err != nil {
		return err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	unlock, err := a.lockTree()
	if err != nil {
		return err
	}
	defer unlock()
	text, err := readAll(a.disk, subscriptionsName)
	if err != nil {
		return err
	}
	rows := strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")
	separator := "."
	if strings.HasPrefix(string(text), "V\t2") {
		separator = "\t"
	}
	have := false
	rows = slices.DeleteFunc(rows, func(row string) bool {
		n, ok := a.subscribedName(row)
		have = have || ok && n == name
		return row == "" || ok && n == name && !on
	})
	if have == on {
		if !have || on {
			return nil
		}
	}
	if on {
		row := "INBOX"
		if name != "INBOX" {
			parts, err := a.split(name)
			if err != nil {
				return err
			}
			for i := range parts {
				parts[i] = maildir.EncodeComponent(parts[i])
			}
			row = strings.Join(parts, separator)
		}
		rows = append(rows, row)
	}
	if separator == "\t" { // Dovecot ends the head of version 2 with an empty line; without one it does not know its own file again
		rows = slices.Insert(rows, 1, "")
	}
	return a.put(subscriptionsName, []byte(strings.Join(rows, "\n")+"\n"))
}
