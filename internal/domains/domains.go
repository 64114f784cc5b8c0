/*
Package domains reads the directories that say which mail is ours: domains(5), aliases(5).

	DIR/example.org/                     a domain exists because its directory does; a symlink is an alias domain
	DIR/example.org/users/alice/         an account exists because its directory does
	        credentials/NAME  quota  forward  detail_folders …     one small text file a setting
	DIR/example.org/aliases              name: target, target      *: is the catch-all
	DIR/example.org/{quota,separators,…} defaults of the domain

Nothing is compiled: what is read is remembered and looked at again when its directory or file has changed,
at most a second later. An error of the disk is an error here (the caller defers), never "no such user".
*/
package domains

import (
	"pennypost/internal/address"
)

// Domains answers from one directory of domains.
type Domains struct {
	// …
}

// Settings are the values of mail.toml that a domain or an account may override.
type Settings struct {
	Separators    string // of sub-addresses, "+"
	MailPath      string // "/var/mail/pennypost/%d/%n/Maildir"; %d domain, %n name, %u name@domain
	Layout        string // maildir++ or fs
	Quota         int64  // octets, 0 is none
	DefaultDomain string // completes bare login names
	Programs      bool   // program lines in forward files of virtual users
}

// Open reads dir on demand.
func Open(dir string, defaults Settings) *Domains { panic("unwritten") }

// Kind is what an address is to us.
type Kind uint8

const (
	Foreign Kind = iota // not a domain of ours: relay it or refuse it
	Unknown             // our domain, nobody there
	Mailbox             // an account; Detail may be set
	Alias               // an alias or the catch-all; Targets are set
)

// Answer is what Lookup found.
type Answer struct {
	Kind    Kind
	Account *Account       // Mailbox
	Detail  string         // Mailbox: what stood after the separator, "" for none
	Targets []address.Path // Alias: as written, bare names completed with the domain; not expanded further
}

// Account is a mailbox of a virtual user.
type Account struct {
	User          string // directory name: NFC, lower case
	Domain        string // directory name of the domain itself, not of an alias domain
	Dir           string // its directory under etc/domains
	Maildir       string // absolute path
	Layout        string
	Quota         int64
	DetailFolders []string      // folders mail for user+folder goes into
	Forward       []ForwardLine // empty: keep
	Postmaster    bool          // never refused for quota
}

// Path is user@domain.
func (a *Account) Path() address.Path { return address.Path{Local: a.User, Domain: a.Domain} }

// ForwardLine is one line of a forward file, domains(5).
type ForwardLine struct {
	Kind   byte         // '&' address, '|' program, '/' Maildir, '\\' keep here
	Target address.Path // &
	Arg    string       // | and /
}

// Plain reports whether mail for the account needs nothing decided at delivery: no forward, no rules; the
// link-ready form is possible.
func (a *Account) Plain() bool { return len(a.Forward) == 0 }

// Local reports whether the domain is ours.
func (d *Domains) Local(domain string) (bool, error) { panic("unwritten") }

// Lookup says what to is: whole local part, alias, part before the first separator, catch-all, in this order.
// postmaster exists in every domain of ours; where nobody is it, its mail goes to the first account named by postmaster in mail.toml's origin domain.
func (d *Domains) Lookup(to address.Path) (Answer, error) { panic("unwritten") }

// Login finds the account of a login name: user@domain, or user with the default domain.
func (d *Domains) Login(name string) (*Account, error) { panic("unwritten") }

// Owns reports whether the account may send as from: its own address, with detail, an alias that leads only to it, the alias-domain forms.
func (d *Domains) Owns(a *Account, from address.Path) (bool, error) { panic("unwritten") }
