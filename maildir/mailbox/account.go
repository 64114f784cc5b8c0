package mailbox

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"pennypost/internal/durable"
	"pennypost/maildir"
)

// Options is how an account's Maildir is laid out and shown; the same for every program that opens it.
type Options struct {
	Layout       string        // maildir++ or fs
	Delimiter    byte          // of names: '/' or '.'
	Prefix       string        // "" or "INBOX."
	ExpungedDays int           // how long expunged mail is kept; 0 unlinks
	Quota        int64         // octets, 0 none
	QuotaMost    int64         // messages, 0 none
	LeaveNew     bool          // new/ stays new/ until a message is seen
	Stamp        string        // as in package maildir: the store is mounted
	Own          bool          // of the Unix user we run as: folder symlinks are followed, group-shared folders stay shared
	Host         string        // for the names of messages that IMAP brings
	UIDL         UIDLFormat    // of the server whose mail is taken over
	Rest         time.Duration // how long a folder stays open that nobody uses any more; 0 not at all
	Existing     bool          // one that is not there is not made
}

// Account is one user's tree of mailboxes. It is shared by all sessions of a process and safe for concurrent use.
type Account struct {
	root string
	o    Options
	disk durable.Disk
	host string
	open maildir.Opener // durable.Open but in tests

	mu       sync.Mutex
	folders  map[string]*Folder   // by directory
	standing map[string]*standing // by directory
	words    *words
	quota    *maildir.Quota

	once     sync.Once // opens above
	above    durable.Disk
	aboveErr error
}

// OpenAccount opens root, and makes it where the store is mounted.
func OpenAccount(root string, o Options) (*Account, error) {
	if o.Own {
		o.Stamp = "" // a home that is there is mounted
		return openAccount(root, o, durable.OpenOwn)
	}
	return openAccount(root, o, durable.Open)
}

func openAccount(root string, o Options, open maildir.Opener) (*Account, error) {
	if real, err := filepath.EvalSymlinks(root); err == nil {
		root = real
	}
	store := maildir.Store{Stamp: o.Stamp, Open: open}
	m, err := present(&store, root)
	if m == nil && err == nil {
		if o.Existing {
			return nil, fmt.Errorf("%w: %s", ErrUnavailable, root)
		}
		m, err = store.Get(root)
	}
	if errors.Is(err, maildir.ErrNotMounted) {
		return nil, fmt.Errorf("%w: %v", ErrUnavailable, err)
	}
	if err != nil {
		return nil, err
	}
	if o.Delimiter == 0 {
		o.Delimiter = '/'
	}
	if o.Layout == "" {
		o.Layout = maildir.PlusPlus
	}
	host := o.Host
	if host == "" {
		host, _ = os.Hostname()
	}
	a := &Account{root: root, o: o, disk: m.Disk, host: maildir.Host(host), open: open, folders: map[string]*Folder{}, standing: map[string]*standing{}}
	a.words = &words{account: a}
	return a, nil
}

// present opens a Maildir that is there; nil when something of it is missing, or should not be (Store.Get then says what). It costs no sync: that is for those who deliver into
// directories that may not be on disk yet.
func present(store *maildir.Store, root string) (*maildir.Maildir, error) {
	m, err := store.Existing(root)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			err = nil
		}
		return nil, err
	}
	info, err := m.Disk.Stat(".")
	sound := err == nil && info.Mode.Perm()&0o002 == 0
	for _, dir := range []string{"tmp", "new", "cur"} {
		_, err := m.Disk.Stat(dir)
		sound = sound && err == nil
	}
	if !sound {
		m.Close()
		return nil, nil
	}
	m.Disk.Hold("tmp", "new")
	return m, nil
}

// Folder opens a mailbox. Close it as often as it was opened.
func (a *Account) Folder(name string) (*Folder, error) {
	dir, err := a.dirOf(name)
	if err != nil {
		return nil, err
	}
	return a.folderIn(name, dir)
}

// folderIn opens the mailbox in a directory of the account.
func (a *Account) folderIn(name, dir string) (*Folder, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if f := a.folders[dir]; f != nil {
		if f.still() {
			f.rouse()
			f.users++
			return f, nil
		}
		if f.pause != nil {
			f.rouse()
			f.shut()
		}
	}
	path := filepath.Join(a.root, dir)
	disk, err := a.open(path)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrInvalid) {
		return nil, ErrNoMailbox
	}
	if err != nil {
		return nil, err
	}
	if _, err := disk.Stat("cur"); err != nil {
		disk.Close()
		if dir == "." {
			return nil, ErrUnavailable
		}
		return nil, ErrNoMailbox
	}
	disk.Hold("tmp", "new", "cur")
	f := &Folder{account: a, name: name, dir: dir, disk: disk, users: 1}
	a.folders[dir] = f
	return f, nil
}

// still reports whether the folder's directory is the one its name leads to.
func (f *Folder) still() bool {
	held, err := f.disk.Stat(".")
	if err != nil {
		return false
	}
	info, err := f.account.disk.Stat(f.dir)
	return err == nil && info.Inode == held.Inode && info.Dev == held.Dev
}

// Gone reports whether the mailbox was deleted or renamed under the session.
func (f *Folder) Gone() bool { return !f.still() }

// Moved reports whether the mailbox has another name now: it was renamed and not deleted.
func (f *Folder) Moved() bool {
	held, err := f.disk.Stat(".")
	if err != nil {
		return false
	}
	m := maildir.Maildir{Root: f.account.root, Disk: f.account.disk}
	dirs, err := m.Folders(f.account.o.Layout)
	if err != nil {
		return true // we cannot know
	}
	for _, dir := range dirs {
		if info, err := f.account.disk.Stat(dir); err == nil && info.Inode == held.Inode && info.Dev == held.Dev {
			return true
		}
	}
	return false
}

// Name is the mailbox's name as it was opened.
func (f *Folder) Name() string { return f.name }

// Close gives the folder back.
func (f *Folder) Close() error {
	f.settle()
	a := f.account
	a.mu.Lock()
	defer a.mu.Unlock()
	if f.users--; f.users > 0 || f.rest() {
		return nil
	}
	return f.shut()
}

// shut closes what the folder has open. a.mu is held.
func (f *Folder) shut() error {
	a := f.account
	if a.folders[f.dir] == f {
		delete(a.folders, f.dir)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.deafen()
	watching.forget(f)
	if f.log != nil {
		f.log.Close()
		f.log = nil
	}
	if f.snap != nil {
		f.snap.close()
	}
	for _, p := range f.before {
		if snap := p.Value(); snap != nil {
			snap.close()
		}
	}
	f.snap, f.before, f.view = nil, nil, nil
	f.opened = false
	return f.disk.Close()
}

// Close closes the account's directory, and the folders that rest; others are closed one by one before.
func (a *Account) Close() error {
	a.retireAll()
	a.once.Do(func() {})
	if a.above != nil {
		a.above.Close()
	}
	return a.disk.Close()
}

// validityName is the account's high-water mark of UIDVALIDITY.
const validityName = "mb-uidvalidity"

// newValidity is a UIDVALIDITY that no mailbox of the account has had (RFC 9051 section 2.3.1.1).
func (a *Account) newValidity() uint32 {
	last := uint64(0)
	if text, err := readAll(a.disk, validityName); err == nil {
		last, _ = strconv.ParseUint(strings.TrimSpace(string(text)), 10, 32)
	}
	v := max(uint64(wall().Unix()), last+1)
	a.put(validityName, []byte(strconv.FormatUint(v, 10)+"\n"))
	return uint32(v)
}

func newID() string { return fmt.Sprintf("F%016x%08x", chance(), uint32(wall().Unix())) }

// hasID reports whether another folder of the account has the MAILBOXID: then one of them is a copy.
func (a *Account) hasID(id string, not *Folder) bool {
	infos, err := a.List()
	if err != nil {
		return false
	}
	for _, info := range infos {
		dir, err := a.dirOf(info.Name)
		if err != nil || dir == not.dir || info.NoSelect {
			continue
		}
		text, err := readAll(a.disk, filepath.Join(dir, uidsName))
		if err == nil && strings.Contains(firstLine(text), " I"+id+" ") {
			return true
		}
	}
	return false
}

func firstLine(b []byte) string {
	row, _, _ := cutLine(b)
	return string(row)
}

// put replaces a small file of the account.
func (a *Account) put(name string, text []byte) error { return putFile(a.disk, name, text) }

func putFile(disk durable.Disk, name string, text []byte) error {
	temp := name + ".tmp"
	disk.Remove(temp)
	w, err := disk.Create(temp, 0o600)
	if err != nil {
		return err
	}
	defer w.Close()
	if _, err := w.Write(text); err != nil {
		disk.Remove(temp)
		return err
	}
	return durable.Replace(disk, w, temp, name)
}

// readAll reads a small file; none is no text and no error.
func readAll(disk durable.Disk, name string) ([]byte, error) {
	file, err := disk.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	b := make([]byte, info.Size)
	n, err := file.ReadAt(b, 0)
	if n == len(b) {
		err = nil
	}
	return b[:n], err
}
