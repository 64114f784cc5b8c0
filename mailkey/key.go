package mailkey

import (
	"cmp"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"pennypost/internal/domains"
	"pennypost/msgauth"
)

// State is what a key does; see the package.
type State string

const (
	Publish State = "publish"
	Sign    State = "sign"
	Retire  State = "retire"
)

// Algorithms that are made, in the order they sign: RSA first, for some look at the first signature only.
var Algorithms = []string{"rsa", "ed25519"}

// Key is one key of a domain.
type Key struct {
	Selector  string    `json:"selector"`
	Algorithm string    `json:"algorithm"`
	Bits      int       `json:"bits"`
	State     State     `json:"state"`
	Created   time.Time `json:"created,omitzero"`
	Since     time.Time `json:"since,omitzero"` // when it came into its state
	File      string    `json:"file"`
	Record    string    `json:"record"` // what DNS has at SELECTOR._domainkey.DOMAIN

	private crypto.Signer
	pem     []byte
}

// Keys lists the keys of a domain: by algorithm, the newest first.
func (s *Store) Keys(n Name) ([]Key, error) {
	dir := n.Dir + "/dkim"
	names, err := s.disk.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, s.wrap(err)
	}
	var list []Key
	for _, name := range names {
		selector, ok := strings.CutSuffix(name, ".key")
		if !ok || name[0] == '.' {
			continue
		}
		k, err := readKey(filepath.Join(s.Dir, dir, name))
		if err != nil {
			return nil, err
		}
		k.Selector = selector
		list = append(list, k)
	}
	slices.SortFunc(list, func(a, b Key) int {
		return cmp.Or(cmp.Compare(slices.Index(Algorithms, a.Algorithm), slices.Index(Algorithms, b.Algorithm)),
			b.Created.Compare(a.Created), strings.Compare(b.Selector, a.Selector))
	})
	return list, nil
}

// readKey reads one file. Who may read a key may write mail in our name, so it must not be everybody.
func readKey(file string) (k Key, err error) {
	info, err := os.Lstat(file)
	if err != nil {
		return k, err
	}
	if info.Mode().Perm()&0o007 != 0 {
		return k, fmt.Errorf("%s: everybody may read it, and could sign as we do: chmod o= and make another", file)
	}
	text, err := domains.ReadFile(file, 64<<10)
	if err != nil {
		return k, err
	}
	if k, err = parseKey(text); err != nil {
		return k, fmt.Errorf("%s: %w", file, err)
	}
	if k.File = file; k.Created.IsZero() {
		k.Created = info.ModTime().UTC().Truncate(time.Second)
	}
	return k, nil
}

func parseKey(text string) (k Key, err error) {
	block, _ := pem.Decode([]byte(text))
	if block == nil {
		return k, errors.New("no PEM in it")
	}
	k.State = Sign
	head, _, _ := strings.Cut(text, "-----BEGIN")
	for line := range strings.Lines(head) {
		name, value, ok := strings.Cut(strings.TrimSpace(line), ":")
		if value = strings.TrimSpace(value); !ok {
			continue
		}
		switch name {
		case "created":
			k.Created, err = time.Parse(time.RFC3339, value)
		case "since":
			k.Since, err = time.Parse(time.RFC3339, value)
		case "state":
			if k.State = State(value); !slices.Contains([]State{Publish, Sign, Retire}, k.State) {
				err = fmt.Errorf("state is %q, and may be publish, sign or retire", value)
			}
		}
		if err != nil {
			return k, err
		}
	}
	k.pem = pem.EncodeToMemory(&pem.Block{Type: block.Type, Bytes: block.Bytes})
	return k, k.parse(block)
}

// parse reads the key itself: PKCS #8, or PKCS #1 as OpenDKIM has it.
func (k *Key) parse(block *pem.Block) error {
	private, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		r, other := x509.ParsePKCS1PrivateKey(block.Bytes)
		if other != nil {
			return err
		}
		private = r
	}
	switch p := private.(type) {
	case *rsa.PrivateKey:
		k.private, k.Algorithm, k.Bits = p, "rsa", p.N.BitLen()
	case ed25519.PrivateKey:
		k.private, k.Algorithm, k.Bits = p, "ed25519", 256
	default:
		return errors.New("neither an RSA nor an Ed25519 key")
	}
	k.Record, err = record(k.private.Public())
	return err
}

// record is the key record of RFC 6376 section 3.6.1. RSA has the whole SubjectPublicKeyInfo, Ed25519 the 32 octets (RFC 8463).
func record(public crypto.PublicKey) (string, error) {
	if p, ok := public.(ed25519.PublicKey); ok {
		return "v=DKIM1; k=ed25519; p=" + base64.StdEncoding.EncodeToString(p), nil
	}
	der, err := x509.MarshalPKIXPublicKey(public)
	return "v=DKIM1; k=rsa; p=" + base64.StdEncoding.EncodeToString(der), err
}

// Text is the file.
func (k Key) Text() string {
	return fmt.Sprintf("created: %s\nstate: %s\nsince: %s\n%s", k.Created.Format(time.RFC3339), k.State, k.Since.Format(time.RFC3339), k.pem)
}

// Create makes a key. With selector "" it is named after the month. It signs at once where no key of its algorithm does yet: a
// signature whose key DNS does not know is no worse than none.
func (s *Store) Create(n Name, algorithm, selector string) (Key, error) {
	keys, err := s.Keys(n)
	if err != nil {
		return Key{}, err
	}
	k := Key{Selector: selector, State: Sign, Created: s.now().Truncate(time.Second)}
	k.Since = k.Created
	for _, old := range keys {
		if old.Algorithm == algorithm && old.State != Retire {
			k.State = Publish
		}
	}
	if k.Selector == "" {
		k.Selector = newSelector(keys, algorithm, k.Created)
	}
	if !validSelector(k.Selector) {
		return Key{}, fmt.Errorf("%q: a selector has small letters, digits, - and dots between", k.Selector)
	}
	if err := k.generate(algorithm); err != nil {
		return Key{}, err
	}
	dir := n.Dir + "/dkim"
	if err := s.makeDir(dir); err != nil {
		return Key{}, err
	}
	name := dir + "/" + k.Selector + ".key"
	k.File = filepath.Join(s.Dir, name)
	err = s.write(name, k.Text(), true)
	if errors.Is(err, fs.ErrExist) {
		err = fmt.Errorf("%s: is there already; a selector is used once", k.File)
	}
	return k, err
}

func (k *Key) generate(algorithm string) (err error) {
	var private any
	switch algorithm {
	case "rsa":
		private, err = rsa.GenerateKey(rand.Reader, 2048)
	case "ed25519":
		_, private, err = ed25519.GenerateKey(rand.Reader)
	default:
		return fmt.Errorf("%q: an algorithm is rsa or ed25519", algorithm)
	}
	if err != nil {
		return err
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return err
	}
	block := &pem.Block{Type: "PRIVATE KEY", Bytes: der}
	k.pem = pem.EncodeToMemory(block)
	return k.parse(block)
}

// newSelector is r202611 or e202611, with a letter behind it where that was used.
func newSelector(keys []Key, algorithm string, now time.Time) string {
	base := algorithm[:min(1, len(algorithm))] + now.Format("200601")
	for i := 0; ; i++ {
		name := base
		if i > 0 {
			name += string(rune('a' + i%26))
			name += strings.Repeat("z", i/26)
		}
		if !slices.ContainsFunc(keys, func(k Key) bool { return k.Selector == name }) {
			return name
		}
	}
}

func validSelector(s string) bool {
	for label := range strings.SplitSeq(s, ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || strings.Trim(label, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" {
			return false
		}
	}
	return len(s) <= 128
}

// set changes the state of a key.
func (s *Store) set(n Name, k *Key, state State) error {
	k.State, k.Since = state, s.now().Truncate(time.Second)
	return s.write(n.Dir+"/dkim/"+k.Selector+".key", k.Text(), false)
}

// Remove removes a key.
func (s *Store) Remove(n Name, selector string) error {
	if !validSelector(selector) {
		return fmt.Errorf("%q is no selector", selector)
	}
	dir := n.Dir + "/dkim"
	if err := s.disk.Remove(dir + "/" + selector + ".key"); err != nil {
		return s.wrap(err)
	}
	return s.wrap(s.disk.SyncDir(dir))
}

// signers are the keys that sign for a domain: the newest of each algorithm.
func (s *Store) signers(n Name) (list []msgauth.Key, err error) {
	keys, err := s.Keys(n)
	seen := make(map[string]bool)
	for _, k := range keys {
		if k.State == Sign && !seen[k.Algorithm] {
			seen[k.Algorithm] = true
			list = append(list, msgauth.Key{Domain: n.ASCII, Selector: k.Selector, Signer: k.private})
		}
	}
	return list, err
}
