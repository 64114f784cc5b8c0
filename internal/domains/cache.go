package domains

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// fresh is how long we answer without a look at the disk.
const fresh = time.Second

// A link remembers where a domain name leads.
type link struct {
	dom     *domain
	checked atomic.Int64
}

// A domain is one directory; its state is replaced as a whole when a file in it changes.
type domain struct {
	name string
	dir  string

	mu      sync.Mutex // held while reading
	checked atomic.Int64
	state   atomic.Pointer[domainState]
}

type domainState struct {
	seen     snapshot
	settings Settings
	err      error // settings cannot be read: nobody knows where mail would go
	aliases  *Aliases
	aliasErr error

	mu    sync.RWMutex
	users map[string]*user         // those that exist and were asked for
	unix  map[string]*unixUser     // Unix users that were asked for
	none  map[string]time.Duration // names that were nobody's, and when: detail, aliases, guesses
}

const maxNone = 4096 // then we forget: strangers choose these names

type user struct {
	mu      sync.Mutex
	checked atomic.Int64
	state   atomic.Pointer[userState]
}

type userState struct {
	seen       snapshot
	account    *Account
	err        error
	forwardErr error // mail waits, but its owner may log in
}

// domain finds a domain of ours by its normalised name; nil if it is none.
func (d *Domains) domain(name string) (*domain, error) {
	d.mu.RLock()
	l := d.names[name]
	d.mu.RUnlock()
	now := d.now()
	if l != nil && now-time.Duration(l.checked.Load()) < fresh {
		return l.dom, nil
	}
	if checkName(name) != nil {
		return nil, nil // no domain has such a name, so it is not ours
	}
	target, err := d.follow(name)
	if err != nil {
		return nil, err
	}
	if target == "" {
		if l != nil {
			d.mu.Lock()
			delete(d.names, name)
			d.mu.Unlock()
		}
		return nil, d.mounted()
	}
	if l != nil && l.dom.name == target {
		l.checked.Store(int64(now))
		return l.dom, nil
	}
	return d.remember(name, target, now), nil
}

func (d *Domains) remember(name, target string, now time.Duration) *domain {
	d.mu.Lock()
	defer d.mu.Unlock()
	dom := d.real[target]
	if dom == nil {
		target = strings.Clone(target)
		dom = &domain{name: target, dir: filepath.Join(d.dir, target)}
		d.real[target] = dom
	}
	l := &link{dom: dom}
	l.checked.Store(int64(now))
	d.names[strings.Clone(name)] = l
	return dom
}

// follow finds the directory behind a name: itself, or where its symlinks lead; "" if there is nothing.
// An alias domain is an alias of a domain of ours, so the links stay inside.
func (d *Domains) follow(name string) (string, error) {
	for range 8 {
		path := filepath.Join(d.dir, name)
		info, err := os.Lstat(path)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return "", nil
		case err != nil:
			return "", err
		case info.IsDir():
			return name, nil
		case info.Mode()&fs.ModeSymlink == 0:
			return "", fmt.Errorf("%s: is neither a directory nor a symlink", path)
		}
		to, err := os.Readlink(path)
		if err != nil {
			return "", err
		}
		if filepath.IsAbs(to) && filepath.Dir(filepath.Clean(to)) == filepath.Clean(d.dir) {
			to = filepath.Base(to)
		}
		if to = filepath.Clean(to); checkName(to) != nil {
			return "", fmt.Errorf("%s: an alias domain must lead to a domain beside it, and leads to %q", path, to)
		}
		name = to
	}
	return "", fmt.Errorf("%s: too many alias domains on the way", filepath.Join(d.dir, name))
}

// mounted is an error if the directory of domains itself is not there: then no domain is foreign.
func (d *Domains) mounted() error {
	_, err := os.Stat(d.dir)
	return err
}

// domainFiles and userFiles are what is read of each directory; lists/, dkim/, credentials/ have other readers.
var (
	domainFiles = []string{"aliases", "system", "separators", "path", "layout", "delimiter", "prefix", "quota", "outbound", "programs", "detail_folders", "junk"}
	userFiles   = []string{"forward", "path", "layout", "delimiter", "prefix", "quota", "outbound", "programs", "detail_folders", "junk"}
)

// current is the state of the domain's files, at most a second old.
func (dom *domain) current(d *Domains) (*domainState, error) {
	now := d.now()
	st := dom.state.Load()
	if st == nil || now-time.Duration(dom.checked.Load()) >= fresh {
		st = dom.look(d)
	}
	return st, st.err
}

func (dom *domain) look(d *Domains) *domainState {
	dom.mu.Lock()
	defer dom.mu.Unlock()
	now := d.now()
	st := dom.state.Load()
	if st != nil && now-time.Duration(dom.checked.Load()) < fresh { // another was faster
		return st
	}
	if st == nil || st.err != nil || st.aliasErr != nil || st.seen.changed(dom.dir) {
		st = &domainState{users: map[string]*user{}, settings: d.defaults}
		st.seen = take(dom.dir, domainFiles)
		st.err = st.settings.override(dom.dir, st.seen)
		st.aliases, st.aliasErr = readAliases(dom.dir, dom.name, st.seen)
		dom.state.Store(st)
	}
	dom.checked.Store(int64(now))
	return st
}

// user finds an account by its normalised name; nil if there is none.
func (st *domainState) user(d *Domains, dom *domain, name string) (*userState, error) {
	st.mu.RLock()
	u, never := st.users[name], fresh
	if u == nil {
		if at, ok := st.none[name]; ok {
			never = d.now() - at
		}
	}
	st.mu.RUnlock()
	switch {
	case never < fresh:
		return nil, nil
	case u != nil && d.now()-time.Duration(u.checked.Load()) < fresh:
		us := u.state.Load()
		return us, us.err
	}
	if CheckUser(name) != nil {
		return nil, nil // an address may be so; an account may not
	}
	dir := dom.dir + "/users/" + name
	info, err := os.Stat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if _, err = os.Stat(dom.dir); err != nil { // the domain may be gone, or its disk
			return nil, err
		}
		st.forget(name, d.now())
		return nil, nil
	case err != nil:
		return nil, err
	case !info.IsDir():
		return nil, fmt.Errorf("%s: not a directory", dir)
	}
	if u == nil {
		u = st.add(name)
	}
	us := u.look(d, dom, st, dir)
	return us, us.err
}

func (st *domainState) forget(name string, now time.Duration) {
	st.mu.Lock()
	defer st.mu.Unlock()
	delete(st.users, name)
	if len(st.none) >= maxNone || st.none == nil {
		st.none = map[string]time.Duration{}
	}
	st.none[strings.Clone(name)] = now
}

func (st *domainState) add(name string) *user {
	st.mu.Lock()
	defer st.mu.Unlock()
	delete(st.none, name)
	u := st.users[name]
	if u == nil {
		u = &user{}
		u.checked.Store(-int64(fresh))
		st.users[strings.Clone(name)] = u
	}
	return u
}

func (u *user) look(d *Domains, dom *domain, st *domainState, dir string) *userState {
	u.mu.Lock()
	defer u.mu.Unlock()
	now := d.now()
	us := u.state.Load()
	if us != nil && now-time.Duration(u.checked.Load()) < fresh {
		return us
	}
	if us == nil || us.err != nil || us.forwardErr != nil || us.seen.changed(dir) {
		us = readUser(dom, st, dir)
		u.state.Store(us)
	}
	u.checked.Store(int64(now))
	return us
}

// A snapshot is what stat(2) said of a directory and of those files in it that exist.
type snapshot struct {
	dir   stamp
	names []string
	files []stamp
	err   error // other than not there
}

// A stamp changes when the file does. settled: it was old enough when we read, so that a later change within
// the clock's tick cannot look the same.
type stamp struct {
	dev, ino     uint64
	size         int64
	mtime, ctime syscall.Timespec
	settled      bool
}

func stat(path string) (stamp, error) {
	var st syscall.Stat_t
	if err := syscall.Stat(path, &st); err != nil {
		return stamp{}, &fs.PathError{Op: "stat", Path: path, Err: err}
	}
	age := time.Since(time.Unix(st.Ctim.Unix()))
	return stamp{uint64(st.Dev), st.Ino, st.Size, st.Mtim, st.Ctim, age > 100*time.Millisecond}, nil
}

func (s stamp) same(t stamp) bool {
	t.settled = s.settled
	return s == t
}

func take(dir string, names []string) (s snapshot) {
	if s.dir, s.err = stat(dir); s.err != nil {
		return s
	}
	for _, name := range names {
		st, err := stat(dir + "/" + name)
		switch {
		case errors.Is(err, fs.ErrNotExist):
		case err != nil:
			s.err = err
			return s
		default:
			s.names = append(s.names, name)
			s.files = append(s.files, st)
		}
	}
	return s
}

func (s snapshot) has(name string) bool {
	for _, n := range s.names {
		if n == name {
			return true
		}
	}
	return false
}

// settled reports whether a file was not being written when it was read.
func (s snapshot) settled(name string) bool {
	for i, n := range s.names {
		if n == name {
			return s.files[i].settled
		}
	}
	return true
}

// changed compares with the disk. A new file changes the directory, an edited one itself.
func (s snapshot) changed(dir string) bool {
	now, err := stat(dir)
	if s.err != nil || err != nil || !s.dir.settled || !s.dir.same(now) {
		return true
	}
	for i, name := range s.names {
		now, err := stat(dir + "/" + name)
		if err != nil || !s.files[i].settled || !s.files[i].same(now) {
			return true
		}
	}
	return false
}
