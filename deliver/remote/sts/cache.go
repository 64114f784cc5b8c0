package sts

import (
	"context"
	"strings"
	"sync"
	"time"

	"pennypost/internal/dns"
	"pennypost/internal/durable"
)

const (
	lookAgain   = 10 * time.Second    // at the file: somebody may have changed or removed it
	askAgain    = 5 * time.Minute     // DNS, whether the id of a policy is another
	noneFor     = time.Minute         // that a domain has no policy is believed so long
	fetchAgain  = 5 * time.Minute     // after a failure, RFC 8461 section 3.3
	oldAfter    = 24 * time.Hour      // a policy is fetched anew, whatever its id; section 10.2 wants that now and then
	unusedAfter = 30 * 24 * time.Hour // a policy that nobody asks for is not kept fresh
	maxEntries  = 20000               // in memory
	background  = 2 * time.Minute     // for one refresh
)

// Cache knows the policies of domains. It is safe for concurrent use.
type Cache struct {
	DNS    *dns.Resolver
	Fetch  func(ctx context.Context, domain string) (policy string, err error)
	Failed func(domain string, err error) // a policy that could not be had or read, for the log and TLSRPT; nil: nobody is told
	Warn   func(what string, err error)   // trouble with the files; nil: nobody is told

	clock   func() time.Time
	disk    durable.Disk // nil: memory only
	writing sync.Mutex
	mu      sync.Mutex
	entries map[string]*entry
}

// entry is what is known of a domain. Its fields belong to whoever has taken the token.
type entry struct {
	token      chan struct{}
	stored     *stored // nil: no policy
	mark       mark    // of the file that stored came from
	looked     time.Time
	asked      time.Time // DNS
	touched    time.Time // the file, see Keep
	tried      time.Time // to fetch triedID, without success
	triedID    string
	refreshing bool
}

func (c *Cache) now() time.Time {
	if c.clock != nil {
		return c.clock()
	}
	return time.Now()
}

// Open uses the directory for files. Without it policies are kept in memory only, and are forgotten with the process.
func (c *Cache) Open(disk durable.Disk) { c.disk = disk }

// take gets the entry of a domain, alone.
func (c *Cache) take(ctx context.Context, domain string) (*entry, error) {
	c.mu.Lock()
	e := c.entries[domain]
	if e == nil {
		if c.entries == nil {
			c.entries = make(map[string]*entry)
		}
		for other := range c.entries { // Go's order is chance enough; one in use is only forgotten, not hurt
			if len(c.entries) < maxEntries {
				break
			}
			delete(c.entries, other)
		}
		e = &entry{token: make(chan struct{}, 1)}
		c.entries[domain] = e
	}
	c.mu.Unlock()
	select {
	case e.token <- struct{}{}:
		return e, nil
	default:
	}
	select {
	case e.token <- struct{}{}:
		return e, nil
	case <-ctx.Done():
		return nil, &dns.Error{Name: "_mta-sts." + domain, Type: "TXT", Why: "no answer in time"}
	}
}

func (e *entry) release() { <-e.token }

// Policy is what applies to mail for a domain, nil if nothing does. The error is that of DNS: it is not known whether the
// domain has a policy, and no old one is left.
func (c *Cache) Policy(ctx context.Context, domain string) (*Policy, error) {
	domain = strings.ToLower(domain)
	e, err := c.take(ctx, domain)
	if err != nil {
		return nil, err
	}
	defer e.release()
	now := c.now()
	c.reload(e, domain, now)
	if e.stored != nil {
		if !e.refreshing && now.Sub(e.asked) > askAgain {
			e.refreshing = true
			go c.refresh(domain)
		}
		return e.stored.policy, nil
	}
	if now.Sub(e.asked) < noneFor {
		return nil, nil
	}
	if err := c.renew(ctx, e, domain, now); err != nil && e.stored == nil {
		return nil, err
	}
	if e.stored == nil {
		return nil, nil
	}
	return e.stored.policy, nil
}

// noFile is the mark of a domain without a file.
var noFile mark

// reload looks whether the file is still the one that is known, and lets go of what is too old.
func (c *Cache) reload(e *entry, domain string, now time.Time) {
	if c.disk != nil && now.Sub(e.looked) > lookAgain {
		e.looked = now
		if mark := c.look(domain); mark != e.mark {
			e.mark, e.stored = mark, nil
			if mark != noFile {
				var err error
				if e.stored, err = c.load(domain, now); err != nil {
					c.warn("policy of "+domain, err)
				}
			}
		}
		if e.stored != nil && now.Sub(e.touched) > oldAfter {
			e.touched = now
			c.touch(domain, now)
			e.mark = c.look(domain)
		}
	}
	if e.stored != nil && now.After(e.stored.until()) {
		e.stored = nil
	}
}

// renew asks DNS for the id, and fetches the policy if it is another or the one we have is old. The error is that of DNS.
func (c *Cache) renew(ctx context.Context, e *entry, domain string, now time.Time) error {
	texts, _, err := c.DNS.TXT(ctx, "_mta-sts."+domain)
	if err != nil && !dns.Absent(err) {
		return err
	}
	e.asked = now
	id, ok := ID(texts)
	switch {
	case !ok: // S040: who removes the record does not remove the policy
		return nil
	case e.stored != nil && e.stored.id == id && now.Sub(e.stored.fetched) < min(oldAfter, e.stored.policy.MaxAge/2):
		return nil
	case e.triedID == id && now.Sub(e.tried) < fetchAgain:
		return nil
	}
	text, err := c.Fetch(ctx, domain)
	var policy *Policy
	if err == nil {
		policy, err = Parse(text)
	}
	if err != nil {
		e.tried, e.triedID = now, id
		if c.Failed != nil {
			c.Failed(domain, err)
		}
		return nil // section 3.3: as if there were none, or the old one
	}
	e.stored, e.tried = &stored{id, now, policy}, time.Time{}
	if c.disk != nil {
		if err := c.save(domain, e.stored); err != nil {
			c.warn("policy of "+domain, err)
		}
		e.touched, e.mark = now, c.look(domain)
	}
	return nil
}

// refresh renews while the old policy is in use.
func (c *Cache) refresh(domain string) {
	ctx, cancel := context.WithTimeout(context.Background(), background)
	defer cancel()
	now := c.now()
	c.mu.Lock()
	e := c.entries[domain]
	c.mu.Unlock()
	if e == nil {
		return
	}
	// The fetch goes on beside deliveries, with an entry of its own.
	e.token <- struct{}{}
	own := &entry{stored: e.stored, mark: e.mark, tried: e.tried, triedID: e.triedID}
	e.release()
	err := c.renew(ctx, own, domain, now)
	e.token <- struct{}{}
	defer e.release()
	e.refreshing, e.asked = false, now // also when DNS did not answer: not again at once
	if err == nil {
		e.stored, e.mark, e.tried, e.triedID = own.stored, own.mark, own.tried, own.triedID
	}
}

// Doubt says that hosts of the domain did not fit its policy: the next delivery asks whether there is a new one (section 5.1).
func (c *Cache) Doubt(domain string) {
	c.mu.Lock()
	e := c.entries[strings.ToLower(domain)]
	c.mu.Unlock()
	if e == nil {
		return
	}
	select {
	case e.token <- struct{}{}:
		if c.now().Sub(e.asked) > 30*time.Second {
			e.asked = time.Time{}
		}
		e.release()
	default:
	}
}

// Keep refreshes policies that are in use before they expire, and removes those that have, until ctx ends (section 10.2: who can
// only block must block for max_age).
func (c *Cache) Keep(ctx context.Context, every time.Duration) {
	if c.disk == nil {
		return
	}
	for {
		select {
		case <-time.After(every):
			c.Tidy(ctx)
		case <-ctx.Done():
			return
		}
	}
}

// Tidy is one round of Keep.
func (c *Cache) Tidy(ctx context.Context) {
	names, err := c.disk.ReadDir(".")
	if err != nil {
		c.warn("policies", err)
		return
	}
	for _, name := range names {
		if ctx.Err() != nil {
			return
		}
		c.tidy(ctx, name)
	}
}

func (c *Cache) tidy(ctx context.Context, name string) {
	now := c.now()
	info, err := c.disk.Stat(name)
	switch {
	case err != nil:
		return
	case strings.HasPrefix(name, newName):
		if now.Sub(info.ModTime) > time.Hour {
			c.disk.Remove(name)
		}
		return
	}
	s, err := c.load(name, now)
	switch {
	case err != nil || s == nil:
		// an admin's, or torn: not ours to remove
	case now.After(s.until()):
		c.disk.Remove(name)
	case now.Sub(info.ModTime) < unusedAfter && now.Sub(s.fetched) > min(oldAfter, s.policy.MaxAge/2):
		if e, err := c.take(ctx, name); err == nil {
			c.reload(e, name, now)
			c.renew(ctx, e, name, now)
			e.release()
		}
	}
}

func (c *Cache) warn(what string, err error) {
	if c.Warn != nil {
		c.Warn(what, err)
	}
}
