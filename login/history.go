package login

import (
	"fmt"
	"net/netip"
	"os"
	"path"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"pennypost/internal/domains"
	"pennypost/internal/escape"
)

/*
What an account's logins leave in state/auth:

	alice@example.org/networks      networks it has logged in from, and when last
	alice@example.org/used/phone    when a credential was last used, for what and from where
	alice@example.org/logins        a line for each login, right or wrong; the older half goes when it is long

None of it is synced: a power cut may take the last minutes.
*/

// Network is the network that a client is known by: /24 of IPv4, /48 of IPv6. The zero Addr, a unix socket, is "local".
func Network(a netip.Addr) string {
	bits := 48
	if a = a.Unmap().WithZone(""); a.Is4() {
		bits = 24
	}
	p, err := a.Prefix(bits)
	if err != nil {
		return "local"
	}
	return p.String()
}

// home is the directory of an account.
func home(a *domains.Account) string { return escape.File(a.User + "@" + a.Domain) }

const (
	knownFor     = 90 * 24 * time.Hour
	mostNetworks = 200
	mostHistory  = 64 << 10
	quiet        = 10 * time.Minute // a login like one before is written down again after this
)

// seen is one network of an account.
type seen struct {
	network string
	last    time.Time
}

func (s *State) networks(a *domains.Account) (list []seen, err error) {
	text, err := s.read(home(a) + "/networks")
	for line := range strings.Lines(text) {
		network, last, _ := strings.Cut(strings.TrimSpace(line), " ")
		if t, err := time.Parse(time.RFC3339, last); err == nil {
			list = append(list, seen{network, t})
		}
	}
	return list, err
}

// knows reports whether the account has logged in from there lately.
func (s *State) knows(a *domains.Account, remote netip.Addr, now time.Time) bool {
	if s == nil || a == nil {
		return false
	}
	list, _ := s.networks(a)
	network := Network(remote)
	return slices.ContainsFunc(list, func(n seen) bool { return n.network == network && now.Sub(n.last) < knownFor })
}

// learn adds a network to those the account is known from.
func (s *State) learn(a *domains.Account, remote netip.Addr, now time.Time) error {
	list, err := s.networks(a)
	if err != nil {
		return err
	}
	network := Network(remote)
	i := slices.IndexFunc(list, func(n seen) bool { return n.network == network })
	switch {
	case i >= 0 && now.Sub(list[i].last) < 24*time.Hour && !now.Before(list[i].last):
		return nil
	case i >= 0:
		list = slices.Delete(list, i, i+1)
	}
	list = append(list, seen{network, now})
	if len(list) > mostNetworks {
		list = list[len(list)-mostNetworks:]
	}
	var b strings.Builder
	for _, n := range list {
		fmt.Fprintf(&b, "%s %s\n", n.network, n.last.UTC().Format(time.RFC3339))
	}
	return s.write(home(a)+"/networks", b.String(), false)
}

// Login is a line of an account's history.
type Login struct {
	Time       time.Time `json:"time"`
	What       string    `json:"what"` // ok, no, wait
	Service    string    `json:"service"`
	IP         string    `json:"ip"`
	Credential string    `json:"credential,omitempty"`
	Mechanism  string    `json:"mechanism,omitempty"`
	By         string    `json:"by,omitempty"` // whose credential it was, where it was another's
}

func (l Login) line() string {
	word := func(s string) string {
		if s == "" {
			return "-"
		}
		return escape.File(s)
	}
	return strings.Join([]string{l.Time.UTC().Format(time.RFC3339), l.What, word(l.Service), word(l.IP), word(l.Credential), word(l.Mechanism), word(l.By)}, " ")
}

func parseLogin(line string) (l Login, ok bool) {
	w := strings.Fields(line)
	if len(w) != 7 {
		return l, false
	}
	for i := range w {
		if w[i] == "-" {
			w[i] = ""
		} else if s, err := escape.Parse(w[i]); err == nil {
			w[i] = s
		}
	}
	t, err := time.Parse(time.RFC3339, w[0])
	return Login{t, w[1], w[2], w[3], w[4], w[5], w[6]}, err == nil
}

// History is the logins of an account, oldest first.
func (s *State) History(a *domains.Account) (list []Login, err error) {
	text, err := s.read(home(a) + "/logins")
	for line := range strings.Lines(text) {
		if l, ok := parseLogin(line); ok {
			list = append(list, l)
		}
	}
	return list, err
}

// LastUse is when a credential was last used; the zero Login is never.
func (s *State) LastUse(a *domains.Account, credential string) (Login, error) {
	text, err := s.read(home(a) + "/used/" + escape.File(credential))
	l, _ := parseLogin(text)
	return l, err
}

// Forget removes what is remembered of an account, or of one of its credentials.
func (s *State) Forget(a *domains.Account, credential string) error {
	if err := s.disapprove(a, credential); err != nil {
		return err
	}
	if credential == "" {
		return os.RemoveAll(path.Join(s.dir, home(a)))
	}
	for _, name := range []string{"used", "rehash", "totp"} {
		if err := os.RemoveAll(path.Join(s.dir, home(a), name, escape.File(credential))); err != nil {
			return err
		}
	}
	return nil
}

// log adds a line to the history.
func (s *State) log(a *domains.Account, l Login) error {
	name := home(a) + "/logins"
	disk, err := s.make()
	if err != nil {
		return err
	}
	if err := mkdir(disk, home(a)); err != nil {
		return s.wrap(err)
	}
	f, err := os.OpenFile(s.dir+"/"+name, os.O_WRONLY|os.O_APPEND|os.O_CREATE|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0o660)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := f.WriteString(l.line() + "\n"); err != nil {
		return err
	}
	if info, err := f.Stat(); err != nil || info.Size() < mostHistory {
		return err
	}
	text, err := s.read(name)
	if err != nil {
		return err
	}
	text = text[len(text)/2:]
	_, text, _ = strings.Cut(text, "\n")
	return s.write(name, text, false)
}

// recent says what was written down a short while ago, so that a client that comes every minute does not fill the disk.
type recent struct {
	mu   sync.Mutex
	when map[string]time.Time
}

func (r *recent) again(key string, now time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	last, ok := r.when[key]
	if ok && now.Sub(last) < quiet && !now.Before(last) {
		return true
	}
	if r.when == nil || len(r.when) >= maxKnown {
		r.when = map[string]time.Time{}
	}
	r.when[key] = now
	return false
}

// note remembers how an attempt ended. What cannot be written is told to the admin and stops nobody.
func (c *Checker) note(r Request, who finding, what, credential string) {
	if c.State == nil || who.owner == nil {
		return
	}
	now := c.now()
	l := Login{Time: now, What: what, Service: r.Service, IP: ipOf(r.Remote), Credential: credential, Mechanism: r.mechanism}
	account := who.owner
	if who.account != nil && who.account != who.owner {
		account, l.By = who.account, who.owner.User+"@"+who.owner.Domain
	}
	if c.recent.again(strings.Join([]string{home(account), what, r.Service, Network(r.Remote), credential, l.By}, " "), now) {
		return
	}
	err := c.State.log(account, l)
	if what == "ok" && err == nil {
		err = c.State.write(home(who.owner)+"/used/"+escape.File(credential), l.line()+"\n", false)
	}
	if what == "ok" && err == nil {
		err = c.State.learn(who.owner, r.Remote, now)
	}
	if err != nil {
		c.Warn("state of logins", err)
	}
}
