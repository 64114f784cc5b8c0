/*
Package mailcert gets certificates and puts them where our servers look: mailcert(8).

	/etc/pennypost/tls/mx.pem        the chain, ours first                      tls.certificates of mail.toml
	/etc/pennypost/tls/mx.key        its key                                    tls.keys
	/etc/pennypost/tls/mx.key.next   the key after it: its TLSA record is in DNS before it is used (mailkey dns)
	/etc/pennypost/tls/mx.pem.acme   how the chain is got, lines of "name: value"
	/etc/pennypost/tls/account.key   the key of our ACME account, of all pairs in the directory
	/etc/pennypost/tls/mailcert.lock held while any of them is written

All are PEM but one, and made to be read with cat and openssl. A renewal keeps the key, so that TLSA records stay true; roll takes
the next one, when DNS has had it.

Servers look at the two files every two seconds (internal/certs), and a chain without its key they refuse. So a new chain for
the next key is put in place in three steps, each of which is one rename:

	1  mx.pem.new                  the chain, whole and on disk
	2  mx.key.next becomes mx.key
	3  mx.pem.new becomes mx.pem

After a crash the next call goes on from where it was: mx.pem.new says for which of the keys it is.
*/
package mailcert

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"pennypost/internal/durable"
)

// Pair is a chain and its key, and what lies beside them, in one directory.
type Pair struct {
	Dir        string
	Chain, Key string           // names below Dir
	Now        func() time.Time // nil is time.Now

	disk    durable.Disk
	readers int // gid that reads keys; -1 is our own
}

// Open opens the directory of a chain and its key; neither need be there.
func Open(chain, key string) (*Pair, error) {
	dir := filepath.Dir(chain)
	if filepath.Dir(key) != dir {
		return nil, fmt.Errorf("%s and %s: mailcert looks after a chain and a key in one directory", chain, key)
	}
	disk, err := durable.Open(dir)
	if err != nil {
		return nil, err
	}
	return &Pair{Dir: dir, Chain: filepath.Base(chain), Key: filepath.Base(key), disk: disk, readers: readers()}, nil
}

// Close closes it.
func (p *Pair) Close() error { return p.disk.Close() }

// Path is where the chain is, for people.
func (p *Pair) Path() string { return filepath.Join(p.Dir, p.Chain) }

func (p *Pair) now() time.Time {
	if p.Now != nil {
		return p.Now().UTC()
	}
	return time.Now().UTC()
}

// readers is the group mailtls where we may give files to it.
func readers() int {
	g, err := user.LookupGroup("mailtls")
	if err != nil {
		return -1
	}
	gid, err := strconv.Atoi(g.Gid)
	if err != nil {
		return -1
	}
	ours, err := os.Getgroups()
	if os.Geteuid() != 0 && (err != nil || !slices.Contains(ours, gid)) {
		return -1
	}
	return gid
}

// owner is who the files are to belong to that root makes: who owns the directory, for it is he who renews them later.
func (p *Pair) owner() int {
	var st unix.Stat_t
	if os.Geteuid() != 0 || unix.Stat(p.Dir, &st) != nil {
		return -1
	}
	return int(st.Uid)
}

// Lock keeps other calls from writing, until it is closed.
func (p *Pair) Lock() (io.Closer, error) {
	l, ok := p.disk.(durable.Locker)
	if !ok {
		return io.NopCloser(nil), nil
	}
	lock, err := l.TryLock("mailcert.lock")
	if errors.Is(err, durable.ErrLocked) {
		return nil, fmt.Errorf("%s: another mailcert is at work", p.Dir)
	}
	if owner := p.owner(); err == nil && owner > 0 {
		err = os.Lchown(filepath.Join(p.Dir, "mailcert.lock"), owner, -1)
	}
	return lock, p.wrap(err)
}

// Chain as it is read: the certificate of ours, and all of the file.
type chain struct {
	leaf *x509.Certificate
	text []byte
}

// readChain reads a chain; fs.ErrNotExist where there is none.
func (p *Pair) readChain(name string) (c chain, err error) {
	if c.text, err = p.read(name); err != nil {
		return c, err
	}
	if c.leaf, err = leaf(c.text); err != nil {
		err = fmt.Errorf("%s: %w", filepath.Join(p.Dir, name), err)
	}
	return c, err
}

// leaf is the first certificate of a chain.
func leaf(text []byte) (*x509.Certificate, error) {
	block, _ := pem.Decode(text)
	if block == nil || block.Type != "CERTIFICATE" {
		return nil, errors.New("no certificate in it")
	}
	return x509.ParseCertificate(block.Bytes)
}

// key reads a private key; fs.ErrNotExist where there is none.
func (p *Pair) key(name string) (crypto.Signer, error) {
	text, err := p.read(name)
	if err != nil {
		return nil, err
	}
	key, err := parseKey(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", filepath.Join(p.Dir, name), err)
	}
	return key, nil
}

// parseKey reads PKCS #8, and what openssl and others wrote before it.
func parseKey(text []byte) (crypto.Signer, error) {
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		for _, parse := range []func([]byte) (any, error){
			x509.ParsePKCS8PrivateKey,
			func(b []byte) (any, error) { return x509.ParseECPrivateKey(b) },
			func(b []byte) (any, error) { return x509.ParsePKCS1PrivateKey(b) },
		} {
			if key, err := parse(block.Bytes); err == nil {
				if signer, ok := key.(crypto.Signer); ok {
					return signer, nil
				}
			}
		}
	}
	return nil, errors.New("no private key in it")
}

// Algorithms of keys that can be made.
var Algorithms = []string{"ecdsa", "rsa"}

// newKey makes a key and writes it where none may be yet.
func (p *Pair) newKey(name, algorithm string) (key crypto.Signer, err error) {
	switch algorithm {
	case "", "ecdsa":
		key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case "rsa":
		key, err = rsa.GenerateKey(rand.Reader, 2048)
	default:
		err = fmt.Errorf("%q: an algorithm is ecdsa or rsa", algorithm)
	}
	if err != nil {
		return nil, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	return key, p.write(name, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600, true)
}

// anyKey reads a key, or makes it.
func (p *Pair) anyKey(name, algorithm string) (crypto.Signer, error) {
	key, err := p.key(name)
	if errors.Is(err, fs.ErrNotExist) {
		return p.newKey(name, algorithm)
	}
	return key, err
}

// fits reports whether a certificate is for a key.
func fits(c *x509.Certificate, key crypto.Signer) bool {
	public, ok := c.PublicKey.(interface{ Equal(crypto.PublicKey) bool })
	return ok && public.Equal(key.Public())
}
