package login

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"

	"pennypost/internal/config"
	"pennypost/internal/domains"
)

// Credential is a file of an account's credentials directory:
//
//	argon2id: $argon2id$v=19$m=65536,t=2,p=1$…
//	scram-sha-256: SCRAM-SHA-256$10000:…
//	scram-sha-1: SCRAM-SHA-1$10000:…
//	imported: {BLF-CRYPT}$2y$05$…          in place of the three above
//	certificate: sha256:…                 of a client's public key
//	totp: JBSWY3DPEHPK3PXP                a code follows the password
//	approval: yes                         a new network waits
//	scope: smtp pop3
//	expires: 2027-01-31T00:00:00Z
//	networks: 192.0.2.0/24 2001:db8::/32
//	acts-for: *@example.org bob@example.net
//	note: Alice's telephone
type Credential struct {
	Name        string   // of the file
	Argon2id    string   // PHC string
	SCRAM       string   // of SHA-256
	SCRAM1      string   // of SHA-1
	TOTP        string   // base32 key of RFC 6238: a code follows the password
	Certificate string   // sha256:HEX of a public key, for EXTERNAL
	Imported    string   // {SCHEME}HASH of another program, compared until there is one of ours
	Approval    string   // yes, no; "" is what mail.toml says
	Scope       []string // services; empty: all
	Expires     time.Time
	Networks    []netip.Prefix // empty: from everywhere
	ActsFor     []string       // a master user's: accounts it opens besides its own, USER@DOMAIN or *@DOMAIN
	Note        string

	of string // fingerprint of the verifiers in the file
}

// New makes a credential for a password.
func New(name, password string, p Params) (Credential, error) {
	if err := checkPassword(password); err != nil {
		return Credential{}, err
	}
	return made(name, password, random(16), p), nil
}

// NewBeside makes one for an account that has others: SCRAM needs their salt, for a client says whose account it is and not which password.
func NewBeside(others []Credential, name, password string, p Params) (Credential, error) {
	if err := checkPassword(password); err != nil {
		return Credential{}, err
	}
	salt, iterations := new(Checker).salt(scrams[0], others)
	if salt == nil || iterations < p.Iterations {
		salt = random(16)
	} else {
		p.Iterations = iterations
	}
	return made(name, password, salt, p), nil
}

func made(name, password string, salt []byte, p Params) Credential {
	return Credential{Name: name, Argon2id: newArgon2id(password, p), SCRAM: newSCRAM("SCRAM-SHA-256", password, salt, p), SCRAM1: newSCRAM("SCRAM-SHA-1", password, salt, p)}
}

func checkPassword(password string) error {
	switch {
	case password == "":
		return errors.New("an empty password")
	case len(password) > MaxPassword:
		return fmt.Errorf("a password longer than %d octets", MaxPassword)
	case strings.ContainsAny(password, "\x00\r\n"):
		return errors.New("a password with a NUL or a line end, which no client can send")
	}
	return nil
}

// Allows reports whether the credential may be used for the request at all.
func (k Credential) Allows(r Request, now time.Time) bool {
	switch {
	case k.Argon2id == "" && k.SCRAM == "" && k.SCRAM1 == "" && k.Imported == "" && k.Certificate == "":
		return false
	case len(k.Scope) > 0 && !slices.Contains(k.Scope, r.Service):
		return false
	case !k.Expires.IsZero() && !now.Before(k.Expires):
		return false
	}
	remote := r.Remote.Unmap().WithZone("")
	return len(k.Networks) == 0 || slices.ContainsFunc(k.Networks, func(n netip.Prefix) bool { return n.Contains(remote) })
}

// actsAs reports whether the credential opens the account that was asked for (RFC 4616 section 2).
func (k Credential) actsAs(who finding) bool {
	if who.account == nil || who.owner == nil {
		return false
	}
	if who.account.User == who.owner.User && who.account.Domain == who.owner.Domain {
		return true
	}
	return slices.Contains(k.ActsFor, "*@"+who.account.Domain) || slices.Contains(k.ActsFor, who.account.User+"@"+who.account.Domain)
}

// String is the text of the file.
func (k Credential) String() string {
	var b strings.Builder
	line := func(name, value string) {
		if value != "" {
			fmt.Fprintf(&b, "%s: %s\n", name, value)
		}
	}
	line("argon2id", k.Argon2id)
	line("scram-sha-256", k.SCRAM)
	line("scram-sha-1", k.SCRAM1)
	line("imported", k.Imported)
	line("certificate", k.Certificate)
	line("totp", k.TOTP)
	line("approval", k.Approval)
	line("scope", strings.Join(k.Scope, " "))
	if !k.Expires.IsZero() {
		line("expires", k.Expires.UTC().Format(time.RFC3339))
	}
	var nets []string
	for _, n := range k.Networks {
		nets = append(nets, n.String())
	}
	line("networks", strings.Join(nets, " "))
	line("acts-for", strings.Join(k.ActsFor, " "))
	line("note", k.Note)
	return b.String()
}

// ParseCredential reads a credential file. A line it does not understand makes the whole file useless: it may have been the
// one that limits its use. Errors never quote what they found, for it may be a secret.
func ParseCredential(name, text string) (k Credential, err error) {
	k.Name = name
	seen := map[string]bool{}
	n := 0
	for line := range strings.Lines(text) {
		n++
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		key, value, ok := strings.Cut(line, ":")
		value = strings.TrimSpace(value)
		if !ok || value == "" {
			return k, fmt.Errorf("%s:%d: write KEY: VALUE, see domains(5)", name, n)
		}
		if seen[key] {
			return k, fmt.Errorf("%s:%d: %s is there twice", name, n, key)
		}
		seen[key] = true
		if err := k.set(key, value); err != nil {
			return k, fmt.Errorf("%s:%d: %w", name, n, err)
		}
	}
	return k, nil
}

func (k *Credential) set(key, value string) (err error) {
	switch key {
	case "argon2id":
		k.Argon2id = value
		_, _, _, err = parseArgon2id(value)
	case "scram-sha-256":
		k.SCRAM = value
		_, err = parseSCRAM("SCRAM-SHA-256", value)
	case "scram-sha-1":
		k.SCRAM1 = value
		_, err = parseSCRAM("SCRAM-SHA-1", value)
	case "imported":
		k.Imported = value
		_, err = parseImported(value)
	case "certificate":
		k.Certificate = value
		_, err = parseCertificate(value)
	case "totp":
		k.TOTP = value
		_, err = parseTOTP(value)
	case "approval":
		if k.Approval = value; value != "yes" && value != "no" {
			err = errors.New("approval: yes or no")
		}
	case "scope":
		k.Scope, err = ParseScope(value)
	case "expires":
		k.Expires, err = ParseExpires(value)
	case "networks":
		k.Networks, err = ParseNetworks(value)
	case "acts-for":
		k.ActsFor, err = ParseActsFor(value)
	case "note":
		k.Note = value
	default:
		err = errors.New("unknown key, see domains(5)")
	}
	return err
}

// ParseScope reads services: smtp pop3 imap, with spaces or commas between them.
func ParseScope(text string) (scope []string, err error) {
	for _, word := range fields(text) {
		if strings.Trim(word, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" {
			return nil, errors.New("scope: services are words such as smtp, pop3 and imap")
		}
		scope = append(scope, word)
	}
	return scope, nil
}

// ParseExpires reads a day (its start in UTC) or a time of RFC 3339.
func ParseExpires(text string) (time.Time, error) {
	for _, layout := range []string{time.RFC3339, time.DateOnly} {
		if t, err := time.Parse(layout, text); err == nil {
			return t, nil
		}
	}
	return time.Time{}, errors.New("expires: write 2027-01-31 or 2027-01-31T12:00:00Z")
}

// ParseNetworks reads networks with spaces or commas between them.
func ParseNetworks(text string) (nets []netip.Prefix, err error) {
	for _, word := range fields(text) {
		n, err := config.Network(word)
		if err != nil {
			return nil, fmt.Errorf("networks: %w", err)
		}
		nets = append(nets, n)
	}
	return nets, nil
}

// ParseActsFor reads accounts with spaces or commas between them: bob@example.net, *@example.org.
func ParseActsFor(text string) (list []string, err error) {
	for _, word := range fields(text) {
		user, domain, ok := strings.Cut(word, "@")
		if user = domains.Normalise(user); !ok || domains.CheckDomain(domain) != nil || user != "*" && domains.CheckUser(user) != nil {
			return nil, errors.New("acts-for: write USER@DOMAIN or *@DOMAIN, with the name of the domain's directory")
		}
		list = append(list, user+"@"+domain)
	}
	return list, nil
}

func fields(text string) []string {
	return strings.FieldsFunc(text, func(r rune) bool { return r == ' ' || r == ',' || r == '\t' })
}

// The most an account may have; what is more is an attack or a mistake.
const (
	maxCredentials = 100
	maxFile        = 16 << 10
)

// ReadCredentials reads what an account's directory has. The error says which file is no good; the others are returned.
func ReadCredentials(account string) (list []Credential, err error) {
	dir := account + "/credentials"
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var errs []error
	for _, entry := range entries {
		name := entry.Name()
		if name[0] == '.' {
			continue // being written
		}
		if len(list) == maxCredentials {
			errs = append(errs, fmt.Errorf("%s: more than %d credentials", dir, maxCredentials))
			break
		}
		text, err := domains.ReadFile(dir+"/"+name, maxFile)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		var k Credential
		if err == nil {
			k, err = ParseCredential(dir+"/"+name, text)
			k.Name, k.of = name, k.fingerprint()
		}
		if err != nil {
			errs = append(errs, err)
			continue
		}
		list = append(list, k)
	}
	return list, errors.Join(errs...)
}
