/*
Package passwd says who is a Unix user, as this host's nsswitch.conf has it: files, LDAP, SSSD and whatever else.

A static Go program knows /etc/passwd only, so the C library is asked, by programs that everybody has:

	getent passwd -- NAME        name, uid, gid, home and shell; exit 2: nobody, or nobody can tell
	id -u -- NAME                after exit 2 alone: says which of the two
	getent initgroups -- NAME    the other groups

Where run/getent/sock is there, mailgetent(8) is asked and starts them; else we do it ourselves. Answers are kept for a minute,
those that say nobody for ten seconds. Names come from strangers: only those that a user can have get as far as an argument vector, and
a few at a time. An error is never taken for "nobody": who asks defers.
*/
package passwd

import (
	"errors"
	"os"
	"strings"
	"sync"
	"time"
)

// User is one entry.
type User struct {
	Name   string
	UID    uint32
	GID    uint32
	Groups []uint32 // besides GID; without those that become(8) would refuse
	Home   string
	Shell  string // nobody is refused mail for it
}

// GIDs are all groups, the own one first.
func (u *User) GIDs() []uint32 { return append([]uint32{u.GID}, u.Groups...) }

var (
	// ErrUnknown is nobody, or somebody who is no person: a uid below the minimum, nobody. Every other error is temporary.
	ErrUnknown = errors.New("no such Unix user")
	// ErrWait is what Quick says when it would have to wait: ask again soon.
	ErrWait = errors.New("who that is has to be asked first")
)

// Lookup asks and remembers. Its exported fields are set before the first question.
type Lookup struct {
	Socket         string // of mailgetent; "" or not there: programs are started
	MinUID, MinGID uint32
	Time           time.Duration // for one question; 0 is 5 s
	Self           *User         // who we are, where become(8) has made us somebody: known without a question
	Path           string        // where getent and id are looked for; "" is searchPath

	mu      sync.Mutex
	known   map[string]*entry
	asking  map[string]*question
	workers chan struct{}
	now     func() time.Time
}

const (
	fresh       = time.Minute      // how long an answer is good
	freshNobody = 10 * time.Second // and one that says nobody: somebody may just have been added
	early       = fresh / 2        // after it a name in use is asked for again, before anybody has to wait
	mostKnown   = 10_000
	mostAsking  = 1000
	atOnce      = 8
)

type entry struct {
	user *User // nil: nobody
	at   time.Time
}

// question is one that is being asked.
type question struct {
	done chan struct{}
	user *User
	err  error
}

// Valid reports whether a user can have such a name. Digits alone would be a uid to getent.
func Valid(name string) bool {
	if name == "" || len(name) > 128 || strings.Trim(name, "0123456789") == "" {
		return false
	}
	for i := 0; i < len(name); i++ {
		switch c := name[i]; {
		case c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_':
		case i > 0 && (c == '-' || c == '.'):
		default:
			return false
		}
	}
	return true
}

// User says who name is. It may wait as long as Time says.
func (l *Lookup) User(name string) (*User, error) {
	if u, err, ok := l.remembered(name); ok {
		return u, err
	}
	q := l.ask(name)
	if q == nil {
		return nil, errBusy
	}
	<-q.done
	return q.user, q.err
}

// Quick is User for who cannot wait: ErrWait means that the question is being asked now.
func (l *Lookup) Quick(name string) (*User, error) {
	if u, err, ok := l.remembered(name); ok {
		return u, err
	}
	q := l.ask(name)
	if q == nil {
		return nil, errBusy
	}
	select {
	case <-q.done:
		return q.user, q.err
	default:
		return nil, ErrWait
	}
}

var errBusy = errors.New("too many questions about Unix users at once")

// remembered answers without asking.
func (l *Lookup) remembered(name string) (u *User, err error, ok bool) {
	switch {
	case l.Self != nil && l.Self.Name == name:
		return l.Self, nil, true
	case !Valid(name):
		return nil, ErrUnknown, true
	}
	l.mu.Lock()
	e := l.known[name]
	l.mu.Unlock()
	if e == nil {
		return nil, nil, false
	}
	age := l.time().Sub(e.at)
	switch {
	case age < 0 || age >= fresh || e.user == nil && age >= freshNobody:
		return nil, nil, false
	case e.user == nil:
		return nil, ErrUnknown, true
	case age >= early:
		l.ask(name)
	}
	return e.user, nil, true
}

func (l *Lookup) limit() time.Duration {
	if l.Time > 0 {
		return l.Time
	}
	return 5 * time.Second
}

func (l *Lookup) time() time.Time {
	if l.now != nil {
		return l.now()
	}
	return time.Now()
}

// ask has name asked for, once however many want to know. nil: too many are.
func (l *Lookup) ask(name string) *question {
	l.mu.Lock()
	defer l.mu.Unlock()
	if q := l.asking[name]; q != nil {
		return q
	}
	if l.asking == nil {
		l.asking, l.known, l.workers = map[string]*question{}, map[string]*entry{}, make(chan struct{}, atOnce)
	}
	if len(l.asking) >= mostAsking {
		return nil
	}
	name = strings.Clone(name)
	q := &question{done: make(chan struct{})}
	l.asking[name] = q
	go func() {
		l.workers <- struct{}{}
		q.user, q.err = l.find(name)
		<-l.workers
		l.learn(name, q)
		close(q.done)
	}()
	return q
}

// learn keeps an answer. An error is not kept, and what was known before it stays for its time.
func (l *Lookup) learn(name string, q *question) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.asking, name)
	if q.err != nil && !errors.Is(q.err, ErrUnknown) {
		return
	}
	if len(l.known) >= mostKnown {
		clear(l.known) // strangers choose these names
	}
	l.known[name] = &entry{q.user, l.time()}
}

// find asks.
func (l *Lookup) find(name string) (u *User, err error) {
	if l.helped() {
		u, err = l.helper(name)
	} else {
		u, err = l.getent(name)
	}
	if err != nil {
		return nil, err
	}
	if u.UID < l.MinUID || nobodies[u.UID] {
		return nil, ErrUnknown
	}
	groups := u.Groups[:0:0]
	for _, g := range u.Groups {
		if g >= l.MinGID && !nobodies[g] && g != u.GID {
			groups = append(groups, g)
		}
	}
	if len(groups) > mostGroups {
		groups = groups[:mostGroups]
	}
	u.Groups = groups
	return u, nil
}

// nobodies are the numbers of no person: root, nobody, and what setresuid(2) takes for "leave it".
var nobodies = map[uint32]bool{0: true, 65534: true, 65535: true, 1<<32 - 2: true, 1<<32 - 1: true}

// mostGroups is how many groups become(8) takes, besides the own one.
const mostGroups = 63

// Ourselves is who become(8) made us: our uid, and the name and home it gave us. nil for root and for users of the suite.
func Ourselves(minUID uint32) *User {
	uid, name, home := uint32(os.Getuid()), os.Getenv("USER"), os.Getenv("HOME")
	if uid < minUID || nobodies[uid] || !Valid(name) || home == "" || home[0] != '/' {
		return nil
	}
	u := &User{Name: name, UID: uid, GID: uint32(os.Getgid()), Home: home, Shell: os.Getenv("SHELL")}
	groups, _ := os.Getgroups()
	for _, g := range groups {
		if uint32(g) != u.GID {
			u.Groups = append(u.Groups, uint32(g))
		}
	}
	return u
}
