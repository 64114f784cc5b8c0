/*
Package login says who is there: it reads SASL exchanges (RFC 4616 PLAIN, and LOGIN) and checks them against the credential files
of an account. It is what mailauthd will serve; today it runs in the servers' own processes.

	users/alice/credentials/main         a credential: a text file, domains(5); rm revokes it
	users/alice/credentials/phone        a second one, with its own password, scope and expiry

Files are read at every login, so a change counts at once. What is remembered is only that a password fitted a verifier,
under a key that dies with the process; the next login with the same password against the same file then needs no argon2id.
*/
package login

import (
	"context"
	"errors"
	"net/netip"
	"runtime"
	"slices"
	"sync"
	"time"

	"pennypost/internal/domains"
)

// ErrCredentials is "no": wrong name, wrong password, expired, out of scope. The peer may not learn which.
var ErrCredentials = errors.New("wrong name or password")

// ErrBusy and other errors are temporary.
var ErrBusy = errors.New("too many logins at once")

// Identity is who logged in.
type Identity struct {
	Account    *domains.Account
	Authcid    string // whose credentials they were
	Credential string // file name of the credential: "main", "phone"
}

// Request is one attempt.
type Request struct {
	Service  string // smtp, pop3, imap: what scope: speaks of
	Authzid  string // "" is the same as Authcid
	Authcid  string
	Password string
	Remote   netip.Addr
}

// Checker checks. It is safe for concurrent use; argon2id runs are bounded in number.
type Checker struct {
	Domains  *domains.Domains
	Params   Params        // what a name without credentials costs; zero is DefaultParams
	Parallel int           // argon2id runs at once, each with its memory; 0 is one a processor, at least 2
	Wait     time.Duration // longest wait for one of them; 0 is 5 s

	once  sync.Once
	slots chan struct{}
	known known
	empty Credential                             // what a missing name is compared with
	runs  func(phc string, password string) bool // verify; tests count it
	now   func() time.Time
}

func (c *Checker) setup() {
	if c.Params == (Params{}) {
		c.Params = DefaultParams
	}
	if c.Parallel == 0 {
		c.Parallel = max(2, runtime.GOMAXPROCS(0))
	}
	if c.Wait == 0 {
		c.Wait = 5 * time.Second
	}
	if c.runs == nil {
		c.runs = verifyArgon2id
	}
	if c.now == nil {
		c.now = time.Now
	}
	c.slots = make(chan struct{}, c.Parallel)
	c.known.setup()
	c.empty = decoy(c.Params)
}

// Check takes as long for a name that does not exist as for one that does.
//
// Whoever asks, one argon2id run is done: on the credential whose SCRAM verifier fits, which costs little to find out, or
// on one that fits nothing. (Only files written by hand without a SCRAM verifier cost a run each.)
func (c *Checker) Check(ctx context.Context, r Request) (*Identity, error) {
	c.once.Do(c.setup)
	account, credentials, broken := c.find(r)
	for _, k := range c.candidates(r.Password, credentials) {
		fits := true // a file with SCRAM alone has been compared already
		if k.Argon2id != "" {
			var err error
			if fits, err = c.verify(ctx, k.Argon2id, r.Password); err != nil {
				return nil, err
			}
		}
		if fits && k.Name != "" {
			return &Identity{Account: account, Authcid: r.Authcid, Credential: k.Name}, nil
		}
	}
	if broken != nil { // it may have been the right one
		return nil, broken
	}
	return nil, ErrCredentials
}

// find gives the credentials that may be used: none for nobody. The error is temporary: what could not be read.
func (c *Checker) find(r Request) (*domains.Account, []Credential, error) {
	account, err := c.Domains.Login(r.Authcid)
	if errors.Is(err, domains.ErrNoAccount) {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, err
	}
	if r.Authzid != "" && r.Authzid != r.Authcid { // RFC 4616 section 2: nobody acts for another here
		other, err := c.Domains.Login(r.Authzid)
		if err != nil && !errors.Is(err, domains.ErrNoAccount) {
			return nil, nil, err
		}
		if err != nil || other.User != account.User || other.Domain != account.Domain {
			return account, nil, nil
		}
	}
	if r.Password == "" || len(r.Password) > MaxPassword {
		return account, nil, nil
	}
	all, err := ReadCredentials(account.Dir)
	now := c.now()
	return account, slices.DeleteFunc(all, func(k Credential) bool { return !k.Allows(r, now) }), err
}

// candidates are the credentials to spend argon2id on, or a decoy, which has no name.
func (c *Checker) candidates(password string, credentials []Credential) (list []Credential) {
	for _, k := range credentials { // no SCRAM needed for what we know
		if c.known.has(k.Argon2id, password) {
			return []Credential{k}
		}
	}
	compared := false
	for _, k := range credentials {
		switch {
		case k.SCRAM == "":
			list = append(list, k)
		case verifySCRAM(k.SCRAM, password):
			return []Credential{k}
		default:
			compared = true
		}
	}
	if !compared {
		verifySCRAM(c.empty.SCRAM, password) // for the time it takes
	}
	if len(list) == 0 {
		list = append(list, c.empty)
	}
	return list
}

// verify runs argon2id when it is its turn.
func (c *Checker) verify(ctx context.Context, phc, password string) (bool, error) {
	if c.known.has(phc, password) {
		return true, nil
	}
	select {
	case c.slots <- struct{}{}:
	default:
		wait := time.NewTimer(c.Wait)
		defer wait.Stop()
		select {
		case c.slots <- struct{}{}:
		case <-wait.C:
			return false, ErrBusy
		case <-ctx.Done():
			return false, ctx.Err()
		}
	}
	defer func() { <-c.slots }()
	fits := c.runs(phc, password)
	if fits {
		c.known.add(phc, password)
	}
	return fits, nil
}
