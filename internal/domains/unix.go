package domains

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"pennypost/internal/address"
	"pennypost/internal/config"
	"pennypost/internal/passwd"
)

// unixUsers is who knows the Unix users, as mail.toml has it.
func unixUsers(c *config.Config) *passwd.Lookup {
	l := &passwd.Lookup{MinUID: uint32(c.Become.MinUID), MinGID: uint32(c.Become.MinGID), Self: passwd.Ourselves(uint32(c.Become.MinUID))}
	if l.Self == nil { // else we are nobody whom mailgetent answers
		l.Socket = passwd.Socket(c.Run)
	}
	return l
}

func root(text string) address.Path {
	p, _ := address.Parse(text) // package config has read it
	return p
}

// quick asks without waiting.
type quick struct{ *passwd.Lookup }

func (q quick) User(name string) (*passwd.User, error) { return q.Quick(name) }

// FromConfigQuick is FromConfig for a loop that cannot wait for a directory service: where it would have to, the error is passwd.ErrWait.
func FromConfigQuick(c *config.Config) *Domains {
	d := FromConfig(c)
	d.defaults.Unix = quick{d.defaults.Unix.(*passwd.Lookup)}
	return d
}

// unixUser is a Unix user as an account of one domain.
type unixUser struct {
	who     *passwd.User
	checked time.Duration
	state   *userState
}

// anybody finds an account by its normalised name, be it a Unix user or a directory; nil if there is none.
func (st *domainState) anybody(d *Domains, dom *domain, name string) (*userState, error) {
	if st.settings.System {
		if us, err := st.unixUser(d, dom, name); us != nil || err != nil {
			return us, err
		}
	}
	return st.user(d, dom, name)
}

var errNoUnix = errors.New("who is a Unix user cannot be asked here")

// unixUser finds a Unix user; nil if there is none. The settings are those of the domain, and of users/NAME where that is there.
func (st *domainState) unixUser(d *Domains, dom *domain, name string) (*userState, error) {
	if d.defaults.Unix == nil {
		return nil, errNoUnix
	}
	who, err := d.defaults.Unix.User(name)
	switch {
	case errors.Is(err, passwd.ErrUnknown):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("Unix user %s: %w", name, err)
	}
	now := d.now()
	st.mu.RLock()
	u := st.unix[name]
	st.mu.RUnlock()
	if u == nil || u.who != who || now-u.checked >= fresh {
		u = &unixUser{who: who, checked: now, state: st.readUnix(dom, who, name)}
		st.mu.Lock()
		if st.unix == nil {
			st.unix = map[string]*unixUser{}
		}
		st.unix[strings.Clone(name)] = u
		st.mu.Unlock()
	}
	return u.state, u.state.err
}

// readUnix is the account of a Unix user. A forward file beside its credentials is not read: ~/.forward is the user's.
func (st *domainState) readUnix(dom *domain, who *passwd.User, name string) *userState {
	s := st.settings
	us := &userState{}
	dir := dom.dir + "/users/" + name
	if _, err := os.Stat(dir); err == nil {
		us.seen = take(dir, userFiles)
		us.err = s.override(dir, us.seen)
	} else if !errors.Is(err, fs.ErrNotExist) {
		us.err = err
	}
	if us.err != nil {
		return us
	}
	us.account = s.account(dom, st, name)
	us.account.Unix, us.account.Quota, us.account.QuotaMessages = who, 0, 0 // of homes the kernel keeps count
	us.account.Maildir = filepath.Clean(expand(s.UnixPath, name, dom.name))
	if below, ok := strings.CutPrefix(s.UnixPath, "~/"); ok {
		us.account.Maildir = filepath.Join(who.Home, below)
	}
	return us
}

// exactSystem is exact for a domain of Unix users: aliases first, the domain's own before /etc/aliases.
func (d *Domains) exactSystem(dom *domain, st *domainState, name, detail string) (Answer, bool, error) {
	targets, ok := st.aliases.Names[name]
	if !ok {
		var err error
		if targets, ok, err = d.etc.look(d, name, dom.name); err != nil {
			return Answer{}, false, err
		}
	}
	others, itself := without(targets, name, dom.name)
	switch {
	case ok && len(targets) == 0:
		return Answer{Kind: Nowhere}, true, nil
	case ok && !itself:
		return Answer{Kind: Alias, Targets: others}, true, nil
	}
	user, err := st.anybody(d, dom, name)
	switch {
	case err != nil:
		return Answer{}, false, err
	case user == nil && len(others) > 0: // an alias that names itself, and is nobody besides
		return Answer{Kind: Alias, Targets: others}, true, nil
	case user == nil:
		return Answer{}, false, nil
	case user.forwardErr != nil:
		return Answer{}, false, user.forwardErr
	case len(others) > 0:
		return Answer{Kind: Alias, Account: user.account, Detail: detail, Targets: others}, true, nil
	}
	return Answer{Kind: Mailbox, Account: user.account, Detail: detail}, true, nil
}

// without is targets less the name itself: "alice: alice, bob" keeps a copy.
func without(targets []address.Path, name, domain string) (others []address.Path, itself bool) {
	for i, t := range targets {
		if normalise(t.Unquoted()) == name && t.DomainUnicode() == domain {
			if !itself {
				others = append([]address.Path(nil), targets[:i]...)
			}
			itself = true
		} else if itself {
			others = append(others, t)
		}
	}
	if !itself {
		return targets, false
	}
	return others, true
}

// lastOfSystem is what a name of a domain of Unix users is that nothing knows: an error as long as /etc/aliases cannot be read, for
// it may stand there; root's mail, which nobody is delivered under uid 0, goes where mail.toml says, or to the postmaster.
func (d *Domains) lastOfSystem(dom *domain, name string) (Answer, error) {
	if err := d.etc.broken(d); err != nil {
		return Answer{}, err
	}
	switch {
	case name != "root":
		return Answer{Kind: Unknown}, nil
	case !d.defaults.Root.IsNull():
		return Answer{Kind: Alias, Targets: []address.Path{d.defaults.Root}}, nil
	}
	return d.postmaster(dom)
}

// Mailbox is the account that mail for to is put into, whatever aliases say: for who has the order to do so. nil for none.
func (d *Domains) Mailbox(to address.Path) (account *Account, detail string, err error) {
	dom, err := d.domain(d.home(to))
	if err != nil || dom == nil {
		return nil, "", err
	}
	st, err := dom.current(d)
	if err != nil {
		return nil, "", err
	}
	name := normalise(to.Unquoted())
	user, err := st.anybody(d, dom, name)
	if i := strings.IndexAny(name, st.settings.Separators); user == nil && err == nil && i > 0 {
		detail = name[i+1:]
		user, err = st.anybody(d, dom, name[:i])
	}
	if err != nil || user == nil {
		return nil, "", err
	}
	return user.account, detail, nil
}

// System reports whether a domain of ours has this host's Unix users.
func (d *Domains) System(domain string) (bool, error) {
	dom, err := d.domain(address.Unicode(domain))
	if err != nil || dom == nil {
		return false, err
	}
	st, err := dom.current(d)
	return err == nil && st.settings.System, err
}
