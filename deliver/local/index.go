package local

import (
	"errors"
	"fmt"
	"io/fs"
	"runtime/debug"
	"sync"
	"syscall"
	"time"

	"pennypost/maildir/mailbox"
)

/*
A message that was delivered is entered into the index and cache of its folder, as the next look of imapd or pop3d would, while its octets are in
memory: when its answer has been given, with all others of the moment, and only where somebody has looked at the folder before and nobody has it
locked now. What is not entered, for whatever reason, is left to that look.
*/

const (
	indexEvery   = 100 * time.Millisecond // deliveries of this time are entered together
	indexMost    = 8192                   // names that wait; of more the next look takes care
	accountsMost = 32                     // kept open
	accountIdle  = 20 * time.Second       // how long; so that a volume can be unmounted
	refusedFor   = 10 * time.Minute       // how long we believe that we may not write there
)

// folder is a directory of an account's Maildir.
type folder struct{ root, layout, dir string }

// index is what is to be entered.
type index struct {
	host, stamp string
	warn        func(what string, err error)

	mu      sync.Mutex
	waiting map[folder][]string // nil: nothing is ever entered
	names   int
	running bool // somebody will enter it

	work     sync.Mutex // over what follows; whoever enters has it
	accounts map[string]*indexed
	idle     *time.Timer
}

// indexed is an account that is open for it.
type indexed struct {
	*mailbox.Account           // nil: we may not write there
	opened           time.Time // or seen to be where its name leads
	used             time.Time
}

// add remembers a copy that was made.
func (x *index) add(c *copying) {
	if x.waiting == nil || c.within == "" || c.dir != "new" || c.how == "repeat" || c.rcpt.account.Unix != nil {
		return
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.names < indexMost {
		f := folder{c.rcpt.account.Maildir, c.rcpt.account.Layout, c.within}
		x.waiting[f] = append(x.waiting[f], c.name)
		x.names++
	}
}

// wake has what waits entered soon.
func (x *index) wake() {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.names > 0 && !x.running {
		x.running = true
		time.AfterFunc(indexEvery, x.run)
	}
}

func (x *index) run() {
	x.enter(time.Now())
	x.mu.Lock()
	x.running = false
	x.mu.Unlock()
	x.wake()
}

// end enters what waits and closes all.
func (x *index) end() {
	if x.waiting != nil {
		x.enter(time.Now())
		x.tidy(time.Now().Add(refusedFor))
	}
}

// enter enters all that waits.
func (x *index) enter(now time.Time) {
	x.work.Lock()
	defer x.work.Unlock()
	x.mu.Lock()
	waiting := x.waiting
	x.waiting, x.names = make(map[folder][]string), 0
	x.mu.Unlock()
	for f, names := range waiting {
		x.enterOne(f, names, now)
	}
	if len(x.accounts) > 0 {
		if x.idle != nil {
			x.idle.Stop()
		}
		x.idle = time.AfterFunc(accountIdle, func() { x.tidy(time.Now()) })
	}
}

// enterOne enters messages of one folder. A mistake of ours has harmed no delivery, and harms none.
func (x *index) enterOne(f folder, names []string, now time.Time) {
	a := x.account(f, now)
	if a.Account == nil {
		return
	}
	defer func() {
		if wrong := recover(); wrong != nil {
			x.warn("index of "+f.root, fmt.Errorf("panic: %v\n%s", wrong, debug.Stack()))
			a.Account = nil // it may have locks
		}
	}()
	if err := a.Arrived(f.dir, names); errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.EROFS) {
		a.Close()
		a.Account = nil
	}
}

// account opens an account. x.work is held, here and below.
func (x *index) account(f folder, now time.Time) *indexed {
	a := x.accounts[f.root]
	if a != nil && a.Account != nil && now.Sub(a.opened) > accountIdle/10 {
		if a.opened = now; !a.Still() { // removed, or another in its place
			x.close(f.root)
			a = nil
		}
	}
	if a == nil {
		if len(x.accounts) >= accountsMost {
			oldest := ""
			for root, a := range x.accounts {
				if oldest == "" || a.used.Before(x.accounts[oldest].used) {
					oldest = root
				}
			}
			x.close(oldest)
		}
		a = &indexed{opened: now, used: now}
		a.Account, _ = mailbox.OpenAccount(f.root, mailbox.Options{Layout: f.layout, Stamp: x.stamp, Host: x.host, Rest: accountIdle, Existing: true})
		if a.Account == nil {
			return a
		}
		if x.accounts == nil {
			x.accounts = make(map[string]*indexed)
		}
		x.accounts[f.root] = a
	}
	if a.Account != nil {
		a.used = now
	}
	return a
}

func (x *index) close(root string) {
	if a := x.accounts[root]; a.Account != nil {
		a.Close()
	}
	delete(x.accounts, root)
}

// tidy closes what has not been used for long.
func (x *index) tidy(now time.Time) {
	x.work.Lock()
	defer x.work.Unlock()
	for root, a := range x.accounts {
		if now.Sub(a.used) >= accountIdle && (a.Account != nil || now.Sub(a.used) >= refusedFor) {
			x.close(root)
		}
	}
	if len(x.accounts) > 0 && x.idle != nil {
		x.idle.Reset(accountIdle / 2)
	}
}
