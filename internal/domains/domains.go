/*
Package domains reads the directories that say which mail is ours: domains(5), aliases(5).

	DIR/example.org/                     a domain exists because its directory does; a symlink is an alias domain
	DIR/example.org/users/alice/         an account exists because its directory does
	        credentials/NAME  quota  forward  detail_folders …     one small text file a setting
	DIR/example.org/aliases              name: target, target      *: is the catch-all
	DIR/example.org/{quota,separators,…} defaults of the domain
	DIR/example.org/system               its users are this host's Unix users as well; /etc/aliases is asked first

Nothing is compiled: what is read is remembered and looked at again when its directory or file has changed,
at most a second later. An error of the disk is an error here (the caller defers), never "no such user".
*/
package domains

import (
	"errors"
	"io/fs"
	"slices"
	"strings"
	"sync"
	"time"

	"pennypost/internal/address"
	"pennypost/internal/config"
	"pennypost/internal/passwd"
)

// Domains answers from one directory of domains. It is safe for concurrent use.
type Domains struct {
	dir      string
	defaults Settings
	now      func() time.Duration // since Open

	mu    sync.RWMutex
	names map[string]*link   // by the name asked for, alias domains too
	real  map[string]*domain // by directory
	etc   etcAliases
}

// Settings are the values of mail.toml that a domain or an account may override.
type Settings struct {
	Separators    string   // of sub-addresses, "+"
	MailPath      string   // "/var/mail/pennypost/%d/%n/Maildir"; %d domain, %n name, %u name@domain
	Layout        string   // maildir++ or fs
	Delimiter     string   // of mailbox names: / or .
	Prefix        string   // of mailbox names: "" or "INBOX."
	Quota         int64    // octets, 0 is none
	QuotaMessages int64    // likewise
	DefaultDomain string   // completes bare login names
	Origin        string   // completes bare addresses; whose postmaster is that of domains without one
	Programs      bool     // program lines in forward files of virtual users
	DetailFolders []string // folders mail for user+folder goes into
	Junk          string   // folder of marked mail, "" the INBOX
	Outbound      config.Outbound

	// Of domains with the file system:
	System   bool         // it is one; by that file alone
	Unix     UnixUsers    // who knows their users
	UnixPath string       // "~/Maildir"
	Aliases  string       // "/etc/aliases"; "" none
	Root     address.Path // who reads root's mail where no alias says
}

// UnixUsers knows the Unix users of this host; *passwd.Lookup does.
type UnixUsers interface {
	User(name string) (*passwd.User, error)
}

// Open reads dir on demand.
func Open(dir string, defaults Settings) *Domains {
	start := time.Now()
	return &Domains{
		dir:      dir,
		defaults: defaults,
		now:      func() time.Duration { return time.Since(start) },
		names:    map[string]*link{},
		real:     map[string]*domain{},
	}
}

// Forget makes the next question look at the disk.
func (d *Domains) Forget() {
	d.mu.Lock()
	defer d.mu.Unlock()
	clear(d.names)
	clear(d.real)
}

// FromConfig opens what mail.toml says; it needs the section "mail".
func FromConfig(c *config.Config) *Domains {
	return Open(c.Domains, Settings{
		Separators:    c.Mail.Separators,
		MailPath:      c.Mail.Path,
		Layout:        c.Mail.Layout,
		Delimiter:     c.Mail.Delimiter,
		Prefix:        c.Mail.Prefix,
		Quota:         c.Mail.Quota.Octets,
		QuotaMessages: c.Mail.Quota.Messages,
		DefaultDomain: c.DefaultDomain,
		Origin:        c.Origin,
		Programs:      c.Mail.Programs,
		DetailFolders: c.Mail.DetailFolders,
		Junk:          c.Mail.Junk,
		Outbound:      c.Outbound,
		Unix:          unixUsers(c),
		UnixPath:      c.Unix.Path,
		Aliases:       c.Unix.Aliases,
		Root:          root(c.Unix.Root),
	})
}

// Kind is what an address is to us.
type Kind uint8

const (
	Foreign Kind = iota // not a domain of ours: relay it or refuse it
	Unknown             // our domain, nobody there
	Mailbox             // an account; Detail may be set
	Alias               // an alias or the catch-all; Targets are set
	Nowhere             // an alias of /etc/aliases that is /dev/null
)

// Answer is what Lookup found.
type Answer struct {
	Kind    Kind
	Account *Account       // Mailbox, and an Alias that names itself among its targets; shared, not to be changed
	Detail  string         // Mailbox: what stood after the separator, "" for none
	Targets []address.Path // Alias: as written, bare names completed with the domain; not expanded further, not to be changed
}

// Account is a mailbox of a virtual user, or of a Unix user.
type Account struct {
	User          string // directory name: NFC, lower case
	Domain        string // directory name of the domain itself, not of an alias domain
	Dir           string // its directory under etc/domains
	Maildir       string // absolute path
	Layout        string
	Delimiter     string
	Prefix        string
	Quota         int64
	QuotaMessages int64
	Outbound      config.Outbound // how much it may send
	DetailFolders []string        // folders mail for user+folder goes into
	Junk          string          // folder of marked mail, "" the INBOX
	Forward       []ForwardLine   // empty: keep
	Postmaster    bool            // never refused for quota
	Unix          *passwd.User    // of a Unix user, whose mail is touched under this uid alone; nil: it is vmail's
}

// Path is user@domain.
func (a *Account) Path() address.Path {
	p, err := address.Make(a.User, a.Domain)
	if err != nil { // a name no address has, such as an overlong one
		return address.Path{Local: a.User, Domain: a.Domain}
	}
	return p
}

// ForwardLine is one line of a forward file, domains(5).
type ForwardLine struct {
	Kind   byte         // '&' address, '|' program, '/' Maildir, '\\' keep here
	Target address.Path // &
	Arg    string       // | and /
}

// Plain reports whether mail for the account needs nothing decided at delivery: no forward, no rules; the
// link-ready form is possible. A Unix user's ~/.forward is for that user's own processes to read.
func (a *Account) Plain() bool { return len(a.Forward) == 0 && a.Unix == nil }

// Local reports whether the domain is ours.
func (d *Domains) Local(domain string) (bool, error) {
	dom, err := d.domain(address.Unicode(domain))
	return dom != nil, err
}

// Name is the directory name of a domain of ours: where alias domains lead. "" if it is not ours.
func (d *Domains) Name(domain string) (string, error) {
	dom, err := d.domain(address.Unicode(domain))
	if err != nil || dom == nil {
		return "", err
	}
	return dom.name, nil
}

// Lookup says what to is: whole local part, alias, part before the first separator, catch-all, in this order. In a domain of
// Unix users aliases go first, as they do with sendmail: "alice: bob" there is how alice's mail is given to bob.
//
// A bare local part is one of the origin domain. postmaster exists in every domain of ours (RFC 5321 section
// 4.5.1): where nobody is it, its mail goes to postmaster of the origin domain, and where nobody is that, to the
// domain's first account.
func (d *Domains) Lookup(to address.Path) (Answer, error) {
	name := normalise(to.Unquoted())
	dom, err := d.domain(d.home(to))
	if err == nil && dom == nil && to.Domain == "" && name == postmaster {
		dom, err = d.first() // <postmaster> alone is ours wherever it says that it is
	}
	switch {
	case err != nil:
		return Answer{}, err
	case dom == nil:
		return Answer{Kind: Foreign}, nil
	}
	if name == "" { // ""@example.org
		return Answer{Kind: Unknown}, nil
	}
	a, err := d.find(dom, name)
	if err == nil && a.Kind == Unknown && name == postmaster {
		return d.postmaster(dom)
	}
	return a, err
}

// home is the name of the directory that to's domain would have.
func (d *Domains) home(to address.Path) string {
	switch {
	case to.Domain != "":
		return to.DomainUnicode()
	case d.defaults.Origin != "":
		return address.Unicode(d.defaults.Origin)
	}
	return address.Unicode(d.defaults.DefaultDomain)
}

// find looks a normalised local part up in one domain. What cannot be read or understood is asked last, and
// only for names that nothing else knows.
func (d *Domains) find(dom *domain, name string) (Answer, error) {
	st, err := dom.current(d)
	if err != nil {
		return Answer{}, err
	}
	if a, ok, err := d.exact(dom, st, name, ""); ok || err != nil {
		return a, err
	}
	if i := strings.IndexAny(name, st.settings.Separators); i > 0 {
		if a, ok, err := d.exact(dom, st, name[:i], name[i+1:]); ok || err != nil {
			return a, err
		}
	}
	switch {
	case st.aliasErr != nil: // name may stand in the part we could not read
		return Answer{}, st.aliasErr
	case len(st.aliases.CatchAll) > 0:
		return Answer{Kind: Alias, Targets: st.aliases.CatchAll}, nil
	case st.settings.System:
		return d.lastOfSystem(dom, name)
	}
	return Answer{Kind: Unknown}, nil
}

func (d *Domains) exact(dom *domain, st *domainState, name, detail string) (Answer, bool, error) {
	if st.settings.System {
		return d.exactSystem(dom, st, name, detail)
	}
	user, err := st.user(d, dom, name)
	switch {
	case err != nil:
		return Answer{}, false, err
	case user != nil && user.forwardErr != nil:
		return Answer{}, false, user.forwardErr
	case user != nil:
		return Answer{Kind: Mailbox, Account: user.account, Detail: detail}, true, nil
	}
	if targets := st.aliases.Names[name]; targets != nil {
		return Answer{Kind: Alias, Targets: targets}, true, nil
	}
	return Answer{}, false, nil
}

const postmaster = "postmaster"

// postmaster is who reads the postmaster's mail of a domain that has none.
func (d *Domains) postmaster(dom *domain) (Answer, error) {
	origin := d.home(address.Path{})
	if main, err := d.domain(origin); err != nil {
		return Answer{}, err
	} else if main != nil && main != dom {
		if a, err := d.find(main, postmaster); err != nil || a.Kind != Unknown {
			return a, err
		}
	}
	users, err := d.Users(dom.name)
	if err != nil || len(users) == 0 {
		return Answer{Kind: Unknown}, err
	}
	return d.find(dom, users[0])
}

// first is the first of our domains, nil where there is none.
func (d *Domains) first() (*domain, error) {
	names, err := d.List()
	if err != nil || len(names) == 0 {
		return nil, err
	}
	return d.domain(names[0])
}

// ErrNoAccount is what Login says of a name that is nobody's.
var ErrNoAccount = errors.New("no such account")

// Login finds the account of a login name: user@domain, or user with the default domain. Aliases and
// sub-addresses are no login names. ErrNoAccount is "nobody"; other errors are temporary.
func (d *Domains) Login(name string) (*Account, error) {
	local, domain := name, d.defaults.DefaultDomain
	if i := strings.LastIndexByte(name, '@'); i >= 0 {
		local, domain = name[:i], name[i+1:]
	}
	if len(name) > address.MaxPath || checkName(domain) != nil || CheckUser(normalise(local)) != nil {
		return nil, ErrNoAccount
	}
	dom, err := d.domain(address.Unicode(strings.ToLower(domain)))
	switch {
	case err != nil:
		return nil, err
	case dom == nil:
		return nil, ErrNoAccount
	}
	st, err := dom.current(d)
	if err != nil {
		return nil, err
	}
	user, err := st.anybody(d, dom, normalise(local))
	switch {
	case err != nil:
		return nil, err
	case user == nil:
		return nil, ErrNoAccount
	}
	return user.account, nil
}

// LoginName is the one form of all spellings of a login name, whether or not there is such an account: USER@DOMAIN.
func (d *Domains) LoginName(name string) string {
	local, domain := name, d.defaults.DefaultDomain
	if i := strings.LastIndexByte(name, '@'); i >= 0 {
		local, domain = name[:i], name[i+1:]
	}
	domain = strings.ToLower(domain)
	if len(name) <= address.MaxPath && checkName(domain) == nil {
		domain = address.Unicode(domain)
		if real, err := d.Name(domain); err == nil && real != "" {
			domain = real
		}
	}
	return normalise(local) + "@" + domain
}

// Aliases is the aliases file of a domain of ours; what stands on good lines also where the error is not nil.
func (d *Domains) Aliases(domain string) (*Aliases, error) {
	dom, err := d.domain(address.Unicode(domain))
	if err != nil || dom == nil {
		return &Aliases{}, err
	}
	st, err := dom.current(d)
	if err != nil {
		return &Aliases{}, err
	}
	return st.aliases, st.aliasErr
}

// Owns reports whether the account may send as from: its own address, with detail, an alias that leads only to it, the alias-domain forms.
func (d *Domains) Owns(a *Account, from address.Path) (bool, error) {
	if from.IsNull() {
		return false, nil
	}
	return d.leadsTo(a, from, maxAliasDepth)
}

const maxAliasDepth = 10 // spool.md 2.15: alias in alias in alias

// leadsTo reports whether every address that to becomes is the account's. The postmaster's mail of another
// domain, which it may get for want of anybody else, gives no right to the name.
func (d *Domains) leadsTo(a *Account, to address.Path, depth int) (bool, error) {
	dom, err := d.domain(d.home(to))
	if err != nil || dom == nil {
		return false, err
	}
	found, err := d.find(dom, normalise(to.Unquoted()))
	if err != nil {
		return false, err
	}
	switch found.Kind {
	case Mailbox:
		return found.Account.User == a.User && found.Account.Domain == a.Domain, nil
	case Alias:
		if depth == 0 || found.Account != nil && (found.Account.User != a.User || found.Account.Domain != a.Domain) {
			return false, nil
		}
		for _, target := range found.Targets {
			if ok, err := d.leadsTo(a, target, depth-1); !ok || err != nil {
				return false, err
			}
		}
		return true, nil
	}
	return false, nil
}

// List is the names of our domains in order, alias domains too.
func (d *Domains) List() ([]string, error) {
	names, err := readDir(d.dir)
	return slices.DeleteFunc(names, func(name string) bool { return CheckDomain(name) != nil }), err
}

// Users is the names of a domain's accounts in order.
func (d *Domains) Users(domain string) ([]string, error) {
	dom, err := d.domain(domain)
	if err != nil || dom == nil {
		return nil, err
	}
	names, err := readDir(dom.dir + "/users")
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return slices.DeleteFunc(names, func(name string) bool { return CheckUser(name) != nil }), err
}
