/*
Package login says who is there: it reads SASL exchanges (SCRAM of RFC 5802 and RFC 7677, PLAIN of RFC 4616, and LOGIN) and checks
them against the credential files of an account.

	users/alice/credentials/main         a credential: a text file, domains(5); rm revokes it
	users/alice/credentials/phone        a second one, with its own password, scope and expiry

Files are read at every login, so a change counts at once. What is remembered is only that a password fitted a verifier,
under a key that dies with the process; the next login with the same password against the same file then needs no argon2id.

What is remembered for all processes is in State.
*/
package login

import (
	"context"
	"errors"
	"net/netip"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"time"

	"pennypost/internal/config"
	"pennypost/internal/domains"
	pam "pennypost/pamcheck/ask"
)

// ErrCredentials is "no": wrong name, wrong password, expired, out of scope. The peer may not learn which.
var ErrCredentials = errors.New("wrong name or password")

// ErrBusy and other errors are temporary.
var ErrBusy = errors.New("too many logins at once")

// Identity is who logged in.
type Identity struct {
	Account    *domains.Account
	Authcid    string // whose credentials they were: another's name for a master user
	Authzid    string // whose account it is, as the client said it; "" is the same as Authcid
	Credential string // file name of the credential: "main", "phone"

	token string // for Still
	asked *line  // the connection to mailauthd that said so, where it is to serve the session
}

// By is whose credentials they were where they were another's, for the log.
func (id *Identity) By() string {
	if id.Authzid == "" || id.Authzid == id.Authcid {
		return ""
	}
	return id.Authcid
}

// Request is one attempt.
type Request struct {
	Service  string // smtp, pop3, imap: what scope: speaks of
	Authzid  string // "" is the same as Authcid
	Authcid  string
	Password string
	Remote   netip.Addr

	mechanism string   // "" is one that shows us the password
	outcome   *outcome // of an exchange that has verified already
}

// outcome is what an exchange found.
type outcome struct {
	id  *Identity
	err error
}

// Checker checks. It is safe for concurrent use; argon2id runs are bounded in number.
type Checker struct {
	Domains      *domains.Domains
	Params       Params        // what a name without credentials costs; zero is DefaultParams
	Parallel     int           // argon2id runs at once, each with its memory; 0 is one a processor, at least 2
	Wait         time.Duration // longest wait for one of them; 0 is 5 s
	Mechanisms   []string      // of All, to be offered; empty: all
	Certificates bool          // EXTERNAL is offered to clients with one
	Approval     bool          // of credentials that do not say it
	Program      []string      // a checkpassword program that is asked instead
	PAM          string        // socket of pamcheck(8), for Unix users; "" or not there: nobody is asked
	State        *State        // what is remembered for all processes; nil: nothing is
	Warn         func(what string, err error)

	once     sync.Once
	slots    chan struct{}
	known    known
	accounts accounts
	pad      time.Duration // answers of SCRAM come at its multiples
	secret   [32]byte
	guard    guard
	recent   recent
	empty    Credential                             // what a missing name is compared with
	runs     func(phc string, password string) bool // verify; tests count it
	now      func() time.Time
}

// Sections are those of mail.toml(5) that FromConfig needs.
var Sections = []string{"mail", "login"}

// FromConfig is whom mail.toml says to ask: mailauthd, or a Checker of this process. warn is told what an admin should know.
func FromConfig(conf *config.Config, where *domains.Domains, warn func(what string, err error)) Verifier {
	if conf.Login.Socket != "" {
		return &Client{Socket: conf.Login.Socket, Domains: where}
	}
	return NewChecker(conf, where, warn)
}

// NewChecker is the Checker mail.toml describes.
func NewChecker(conf *config.Config, where *domains.Domains, warn func(what string, err error)) *Checker {
	return &Checker{
		Domains:      where,
		Parallel:     conf.Login.Parallel,
		Mechanisms:   conf.Login.Mechanisms,
		Certificates: conf.Login.Certificates,
		Approval:     conf.Login.Approval,
		Program:      conf.Login.Checkpassword,
		PAM:          pam.Socket(conf.Run),
		State:        NewState(filepath.Join(conf.State, "auth")),
		Warn:         warn,
	}
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
		c.runs = verifySlow
	}
	if c.now == nil {
		c.now = time.Now
	}
	warn := c.Warn
	c.Warn = func(what string, err error) { // a state that cannot be written is so at every login
		if warn != nil && !c.recent.again("warn "+what+err.Error(), c.now()) {
			warn(what, err)
		}
	}
	if c.pad == 0 {
		c.pad = 2 * time.Millisecond
	}
	c.slots = make(chan struct{}, c.Parallel)
	c.known.setup()
	c.empty = decoy(c.Params)
	c.secret = c.State.secret()
	c.guard = guard{state: c.State, key: c.secret, now: c.now, warn: c.Warn, wait: make(chan struct{}, mostWaiting), sleep: sleep}
}

// Check takes as long for a name that does not exist as for one that does.
//
// Whoever asks, one argon2id run is done: on the credential whose SCRAM verifier fits, which costs little to find out, or
// on one that fits nothing. (Only files written by hand without a SCRAM verifier cost a run each.)
func (c *Checker) Check(ctx context.Context, r Request) (*Identity, error) {
	c.once.Do(c.setup)
	if r.outcome != nil {
		return r.outcome.id, r.outcome.err
	}
	return c.attempt(ctx, r, c.find(r), func(who finding) (Credential, error) {
		if len(c.Program) > 0 {
			return c.program(ctx, r, who)
		}
		k, err := c.password(ctx, r.Password, who)
		if errors.Is(err, ErrCredentials) {
			return c.unixPassword(ctx, r, who, err)
		}
		return k, err
	})
}

// attempt has the credentials of who tried by verify, and makes an identity of the one that fits.
func (c *Checker) attempt(ctx context.Context, r Request, who finding, verify func(finding) (Credential, error)) (*Identity, error) {
	charged, err := c.guard.attempt(ctx, r.Remote, c.nameOf(r.Authcid), c.State.knows(who.owner, r.Remote, c.now()))
	if err != nil {
		return nil, err
	}
	k, err := verify(who)
	if err == nil && (who.account == nil || !k.Allows(r, c.now()) || !k.actsAs(who) || k.Name != pamName && who.owner.Unix != nil && !c.goodAccount(who.owner.Unix.Name)) {
		err = ErrCredentials
	}
	switch {
	case errors.Is(err, ErrCredentials) && who.broken != nil: // it may have been the right one
		charged.back()
		return nil, who.broken
	case errors.Is(err, ErrCredentials):
		c.note(r, who, "no", "")
		return nil, err
	case err != nil:
		charged.back()
		return nil, err
	}
	charged.back()
	if ok, err := c.approved(r, who, k); !ok {
		c.note(r, who, "wait", k.Name)
		if err == nil {
			err = ErrCredentials
		}
		return nil, err
	}
	c.note(r, who, "ok", k.Name)
	return &Identity{Account: who.account, Authcid: r.Authcid, Authzid: r.Authzid, Credential: k.Name, token: stamp(r, who, k)}, nil
}

// password finds the credential that a password fits.
func (c *Checker) password(ctx context.Context, password string, who finding) (Credential, error) {
	for _, t := range c.candidates(password, who.credentials) {
		fits := true // a file with SCRAM alone has been compared already
		if verifier := t.k.slow(); verifier != "" {
			var err error
			if fits, err = c.verify(ctx, verifier, t.password); err != nil {
				return t.k, err
			}
		}
		if !fits || t.k.Name == "" {
			continue
		}
		if t.k.TOTP != "" {
			if err := c.code(who.owner, t.k, t.code); err != nil {
				return t.k, err
			}
		}
		if c.wantsRehash(who, t.k) {
			c.rehash(ctx, who, t.k, t.password)
		}
		return t.k, nil
	}
	return Credential{}, ErrCredentials
}

// slow is the verifier that costs much to compare with.
func (k Credential) slow() string {
	if k.Argon2id != "" {
		return k.Argon2id
	}
	return k.Imported
}

// quick is the verifier that costs little.
func (k Credential) quick() string {
	if k.SCRAM != "" {
		return k.SCRAM
	}
	return k.SCRAM1
}

// finding is whom a request speaks of.
type finding struct {
	owner       *domains.Account // whose credentials they are; nil is nobody
	account     *domains.Account // whose account is asked for; the owner's where no other was named
	credentials []Credential     // of the owner, that may be used at all
	broken      error            // temporary: what could not be read
}

// find gives the credentials that may be used: none for nobody.
func (c *Checker) find(r Request) (who finding) {
	who.owner, who.broken = c.account(r.Authcid)
	if who.owner == nil || who.broken != nil {
		return who
	}
	who.account = who.owner
	if r.Authzid != "" && r.Authzid != r.Authcid {
		if who.account, who.broken = c.account(r.Authzid); who.account == nil || who.broken != nil {
			return who
		}
	}
	if r.mechanism == "" && (len(r.Password) > MaxPassword) {
		return who
	}
	if len(c.Program) > 0 {
		return who
	}
	all, err := ReadCredentials(who.owner.Dir)
	for i, k := range all {
		all[i], _ = c.State.rehashed(who.owner, k)
	}
	now := c.now()
	who.credentials = slices.DeleteFunc(all, func(k Credential) bool { return !k.Allows(r, now) || !k.actsAs(who) })
	who.broken = err
	return who
}

// account is the account of a login name; nil is nobody.
func (c *Checker) account(name string) (*domains.Account, error) {
	a, err := c.Domains.Login(name)
	if errors.Is(err, domains.ErrNoAccount) {
		return nil, nil
	}
	return a, err
}

// nameOf is a login name in the one form that all its spellings have.
func (c *Checker) nameOf(name string) string { return c.Domains.LoginName(name) }

// A try is a credential to be compared with a password, less the code where it wants one.
type try struct {
	k              Credential
	password, code string
}

// candidates are the credentials to spend argon2id on, or a decoy, which has no name.
func (c *Checker) candidates(password string, credentials []Credential) (list []try) {
	var all []try
	for _, k := range credentials {
		if k.slow() == "" && k.quick() == "" {
			continue // a certificate, which no password fits
		}
		t := try{k: k, password: password}
		if k.TOTP != "" {
			var ok bool
			if t.password, t.code, ok = cutCode(password); !ok {
				continue
			}
		}
		if c.known.has(k.slow(), t.password) { // no SCRAM needed for what we know
			return []try{t}
		}
		all = append(all, t)
	}
	compared := false
	for _, t := range all {
		switch verifier := t.k.quick(); {
		case verifier == "":
			list = append(list, t)
		case verifySCRAM(verifier, t.password):
			return []try{t}
		default:
			compared = true
		}
	}
	if !compared {
		verifySCRAM(c.empty.SCRAM, password) // for the time it takes
	}
	if len(list) == 0 {
		list = append(list, try{k: c.empty, password: password})
	}
	return list
}

// verify runs argon2id when it is its turn.
func (c *Checker) verify(ctx context.Context, phc, password string) (bool, error) {
	if c.known.has(phc, password) {
		return true, nil
	}
	release, err := c.slot(ctx)
	if err != nil {
		return false, err
	}
	defer release()
	fits := c.runs(phc, password)
	if fits {
		c.known.add(phc, password)
	}
	return fits, nil
}

// slot waits until one more hash may be computed.
func (c *Checker) slot(ctx context.Context) (release func(), err error) {
	release = func() { <-c.slots }
	select {
	case c.slots <- struct{}{}:
		return release, nil
	default:
	}
	wait := time.NewTimer(c.Wait)
	defer wait.Stop()
	select {
	case c.slots <- struct{}{}:
		return release, nil
	case <-wait.C:
		return nil, ErrBusy
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}
