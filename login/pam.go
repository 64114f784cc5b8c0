package login

import (
	"context"
	"strings"
	"sync"
	"time"

	pam "pennypost/pamcheck/ask"
)

/*
The password of a Unix user is checked by pamcheck(8), where its socket is there: after the user's credential files, which are for devices, and
instead of none but main. A file main takes the place of the system's password, so that a code or an expiry written there cannot be gone around.

Something is asked for every name of a domain of Unix users, whether there is such a user or not, so that both take as long (S111).
*/

// pamName is the name of the credential; no file is read for it.
const pamName = "pam"

// decoyUser is asked about in place of names that are no person's: of root no password may be tried from outside, nor failures counted.
const decoyUser = "nobody"

// asksPAM reports whether there is somebody who knows the passwords of Unix users.
func (c *Checker) asksPAM() bool { return c.PAM != "" && pam.There(c.PAM) }

// unixPassword asks PAM about a password that no credential file has fitted; no is what is said of it so far.
func (c *Checker) unixPassword(ctx context.Context, r Request, who finding, no error) (Credential, error) {
	k := Credential{Name: pamName, Argon2id: pamName}
	if !c.asksPAM() || r.Password == "" || len(r.Password) > MaxPassword {
		return k, no
	}
	_, domain, _ := strings.Cut(c.nameOf(r.Authcid), "@")
	if system, err := c.Domains.System(domain); !system {
		if err != nil {
			no = err
		}
		return k, no
	}
	ask := who.owner != nil && who.owner.Unix != nil && !c.hasMain(who)
	name := decoyUser
	if ask {
		name = who.owner.Unix.Name
	}
	yes, err := pam.Ask(ctx, c.PAM, pam.Question{Name: name, Password: r.Password, Service: r.Service, Remote: ipOf(r.Remote)})
	switch {
	case ask && err != nil:
		return k, err
	case ask && yes:
		return k, nil
	}
	return k, no
}

// accountTime is how long what PAM says of an account holds: an account that ends, ends its sessions within a minute (S115, S122).
const accountTime = 30 * time.Second

// accounts are what PAM said of accounts of late.
type accounts struct {
	mu   sync.Mutex
	good map[string]verdict
}

type verdict struct {
	good bool
	at   time.Time
}

// goodAccount reports whether PAM has nothing against the account of a Unix user who logs in with a device, or has logged in. What cannot be found out now ends nothing.
func (c *Checker) goodAccount(name string) bool {
	now := c.now()
	c.accounts.mu.Lock()
	v, known := c.accounts.good[name]
	if known = known && now.Sub(v.at).Abs() < accountTime; !known {
		if c.accounts.good == nil || len(c.accounts.good) > maxKnown {
			c.accounts.good = map[string]verdict{}
		}
		v = verdict{true, now} // for who asks meanwhile
		c.accounts.good[name] = v
	}
	c.accounts.mu.Unlock()
	if known || !c.asksPAM() {
		return v.good
	}
	good, err := pam.Ask(context.Background(), c.PAM, pam.Question{Name: name, Account: true})
	if err != nil || good {
		return true
	}
	c.accounts.mu.Lock()
	defer c.accounts.mu.Unlock()
	c.accounts.good[name] = verdict{false, now}
	return false
}

// hasMain reports whether a Unix user has a main password of ours; one that cannot be read now may be there.
func (c *Checker) hasMain(who finding) bool {
	all, err := ReadCredentials(who.owner.Dir)
	for _, k := range all {
		if k.Name == "main" {
			return true
		}
	}
	return err != nil
}
