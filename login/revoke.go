package login

import (
	"errors"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"pennypost/internal/domains"
	"pennypost/internal/escape"
)

/*
A session lives as long as the credential that opened it (S115, S118): rm, a new password, a scope or an expiry that forbids it,
ends it within five seconds. A server has its sessions watched; one goroutine for all of them asks every two seconds, once for
each login that sessions have in common.
*/

// A Reviser is a checker that says of a login it gave whether it would still be right.
type Reviser interface {
	Still(token string) bool
}

// Token is what Still asks about; "" is nothing.
func (id *Identity) Token() string { return id.token }

// stamp is all that a login can be judged by later: whose credential, which account, for what and from where.
func stamp(r Request, who finding, k Credential) string {
	words := []string{who.owner.User + "@" + who.owner.Domain, k.Name, k.of, who.account.User + "@" + who.account.Domain, r.Service, ipOf(r.Remote), uidOf(who.account)}
	var b []byte
	for i, w := range words {
		if i > 0 {
			b = append(b, ' ')
		}
		b = escape.Append(b, w)
	}
	return string(b)
}

// uidOf is the uid of a Unix user: who has the name later, or has only a directory left by it, is another.
func uidOf(a *domains.Account) string {
	if a.Unix == nil {
		return ""
	}
	return strconv.FormatUint(uint64(a.Unix.UID), 10)
}

// Still reports whether the credential is there as it was, and good for the session. What cannot be read now ends nothing.
func (c *Checker) Still(token string) bool {
	c.once.Do(c.setup)
	words := strings.Split(token, " ")
	if len(words) != 7 {
		return false
	}
	for i := range words {
		var err error
		if words[i], err = escape.Parse(words[i]); err != nil {
			return false
		}
	}
	var who finding
	for i, account := range []**domains.Account{&who.owner, &who.account} {
		a, err := c.account(words[i*3])
		if err != nil {
			return true
		}
		if *account = a; a == nil {
			return false
		}
	}
	if uidOf(who.account) != words[6] || who.owner.Unix != nil && !c.goodAccount(who.owner.Unix.Name) {
		return false
	}
	if len(c.Program) > 0 {
		return words[1] == checkpasswordName // it cannot be asked without a password
	}
	if words[1] == pamName && who.owner.Unix != nil {
		return !c.hasMain(who)
	}
	all, err := ReadCredentials(who.owner.Dir)
	i := slices.IndexFunc(all, func(k Credential) bool { return k.Name == words[1] })
	if i < 0 {
		return err != nil
	}
	remote, _ := netip.ParseAddr(words[5])
	k := all[i]
	return k.of == words[2] && k.Allows(Request{Service: words[4], Remote: remote}, c.now()) && k.actsAs(who)
}

// every is how often sessions are looked at.
var every = 2 * time.Second

// Watch calls end, from a goroutine of its own, when the login of id is not good any more; stop ends the watching.
func Watch(checker any, id *Identity, end func()) (stop func()) {
	r, ok := checker.(Reviser)
	if !ok || id == nil || id.token == "" {
		return func() {}
	}
	return watched.add(watchKey{r, id.token}, end)
}

type watchKey struct {
	checker Reviser
	token   string
}

// watching is the sessions of this process.
type watching struct {
	mu      sync.Mutex
	ends    map[watchKey]map[*func()]struct{}
	running bool
}

var watched = &watching{ends: map[watchKey]map[*func()]struct{}{}}

func (w *watching) add(key watchKey, end func()) (stop func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.ends[key] == nil {
		w.ends[key] = map[*func()]struct{}{}
	}
	w.ends[key][&end] = struct{}{}
	if !w.running {
		w.running = true
		go w.run()
	}
	return func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		if delete(w.ends[key], &end); len(w.ends[key]) == 0 {
			delete(w.ends, key)
		}
	}
}

// run looks until there is no session.
func (w *watching) run() {
	for {
		time.Sleep(every)
		w.mu.Lock()
		if len(w.ends) == 0 {
			w.running = false
			w.mu.Unlock()
			return
		}
		var keys []watchKey
		for key := range w.ends {
			keys = append(keys, key)
		}
		w.mu.Unlock()
		for _, key := range keys {
			if !key.checker.Still(key.token) {
				w.end(key)
			}
		}
	}
}

func (w *watching) end(key watchKey) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for end := range w.ends[key] {
		go (*end)()
	}
	delete(w.ends, key)
}

// ErrRevoked is why a session ended.
var ErrRevoked = errors.New("the credential was revoked")
