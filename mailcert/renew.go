package mailcert

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"

	"pennypost/internal/dns"
)

// Due says when a chain is to be renewed, and why then.
type Due struct {
	At  time.Time
	Why string
}

// due asks the CA (ARI, RFC 9773), which knows when it will revoke; else it is when a third of the life is left, and a half of a short one.
func (p *Pair) due(ctx context.Context, s *Settings, c *x509.Certificate) Due {
	client, err := newClient(s)
	if err == nil {
		info, e := client.GetRenewalInfo(ctx, c)
		if err = e; err == nil {
			w := info.SuggestedWindow
			// Section 4.2: some moment of the window. It is the same at every call, and another for each certificate.
			d := Due{w.Start.Add(time.Duration(share(c) * float64(w.End.Sub(w.Start)))).UTC().Truncate(time.Second), "the CA suggests it"}
			if info.ExplanationURL != "" {
				d.Why += ", see " + info.ExplanationURL
			}
			return d
		}
	}
	life := c.NotAfter.Sub(c.NotBefore)
	left := life / 3
	if life < 10*24*time.Hour {
		left = life / 2
	}
	return Due{c.NotAfter.Add(-left).UTC(), "much of its life is over"}
}

// share is a number from 0 up to 1, made of the certificate.
func share(c *x509.Certificate) float64 {
	sum := sha256.Sum256(c.Raw)
	return float64(binary.BigEndian.Uint32(sum[:4])) / (1 << 32)
}

// Renewed says what a renewal came to.
type Renewed struct {
	File  string    `json:"file"`
	What  string    `json:"what"` // renewed, waits, unmanaged
	Until time.Time `json:"until"`
	Due   time.Time `json:"due,omitzero"`
	Why   string    `json:"why,omitempty"`
}

// Renew gets a new chain for the same key when it is time, or at once with force. A chain of our own making is renewed likewise; one
// of another program is left alone.
func (p *Pair) Renew(ctx context.Context, resolver *dns.Resolver, force bool) (r Renewed, err error) {
	r = Renewed{File: p.Path()}
	if err := p.Finish(); err != nil {
		return r, err
	}
	s, err := p.Settings()
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return r, err
	}
	old, err := p.readChain(p.Chain)
	if err != nil && (s == nil || !errors.Is(err, fs.ErrNotExist)) {
		return r, err
	}
	if old.leaf != nil {
		r.Until = old.leaf.NotAfter.UTC()
	}
	var due Due
	switch {
	case s != nil:
		if due = (Due{p.now(), p.urgent(s, old)}); due.Why == "" {
			due = p.due(ctx, s, old.leaf)
		}
	case !isSelfSigned(old.leaf):
		r.What, r.Why = "unmanaged", "there is no "+p.Chain+howSuffix+": another program renews it, or mailcert obtain makes one"
		return r, nil
	default:
		due = Due{old.leaf.NotAfter.Add(-selfSigned / 3).UTC(), "much of its life is over"}
	}
	if r.Due, r.Why = due.At, due.Why; !force && p.now().Before(due.At) {
		r.What = "waits"
		return r, nil
	}
	if s != nil {
		err = p.Obtain(ctx, s, resolver)
	} else {
		err = p.Self(nil, "")
	}
	if err != nil {
		return r, err
	}
	fresh, err := p.readChain(p.Chain)
	if err == nil {
		r.What, r.Until, r.Due = "renewed", fresh.leaf.NotAfter.UTC(), time.Time{}
	}
	return r, err
}

// urgent says why a chain is of no use whenever it ends: it is not there, its key is another, or its names are not those of the settings,
// which may have been edited.
func (p *Pair) urgent(s *Settings, old chain) string {
	if old.leaf == nil {
		return "there is none"
	}
	if key, err := p.key(p.Key); err != nil || !fits(old.leaf, key) {
		return "its key is not there"
	}
	has := slices.Clone(old.leaf.DNSNames)
	want := slices.Clone(s.Names)
	slices.Sort(has)
	slices.Sort(want)
	if !slices.Equal(has, slices.Compact(want)) {
		return "its names are not those of " + p.Chain + howSuffix
	}
	return ""
}

// Next makes the key to be used next, where there is none, and gives its TLSA value.
func (p *Pair) Next(algorithm string) (string, error) {
	if err := p.Finish(); err != nil {
		return "", err
	}
	key, err := p.anyKey(p.Key+nextSuffix, algorithm)
	if err != nil {
		return "", err
	}
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	return tlsa(der), err
}

func tlsa(spki []byte) string {
	sum := sha256.Sum256(spki)
	return "3 1 1 " + hex.EncodeToString(sum[:])
}

// RollWait is how long a next key has been there before it is used: caches hold the TLSA records of before for a day, and so do we twice.
const RollWait = 48 * time.Hour

// ErrEarly says that the next key may not be used yet.
var ErrEarly = errors.New("not yet")

// Roll gets a chain for the next key, puts both in place, and makes the key after it. Where a name of the chain has TLSA records they must
// have the next key already, or nobody who goes by them could bring us mail.
func (p *Pair) Roll(ctx context.Context, resolver *dns.Resolver, after time.Duration) error {
	if err := p.Finish(); err != nil {
		return err
	}
	old, err := p.readChain(p.Chain)
	if err != nil {
		return err
	}
	key, err := p.key(p.Key + nextSuffix)
	if err != nil {
		return err
	}
	info, err := p.disk.Stat(p.Key + nextSuffix)
	if err != nil {
		return p.wrap(err)
	}
	if age := p.now().Sub(info.ModTime); age < after {
		return fmt.Errorf("%s%s: %w: it is %s old, and is to be known for %s", p.Key, nextSuffix, ErrEarly, age.Round(time.Minute), after)
	}
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return err
	}
	if err := published(ctx, resolver, old.leaf.DNSNames, der); err != nil {
		return err
	}
	var text []byte
	s, err := p.Settings()
	switch {
	case err == nil:
		text, err = p.order(ctx, s, key, resolver)
	case errors.Is(err, fs.ErrNotExist) && isSelfSigned(old.leaf):
		text, err = p.sign(old.leaf.DNSNames, key)
	case errors.Is(err, fs.ErrNotExist):
		err = fmt.Errorf("%s: there is no %s%s that says how to get another", p.Path(), p.Chain, howSuffix)
	}
	if err != nil {
		return err
	}
	if err := p.place(text); err != nil {
		return err
	}
	_, err = p.Next("")
	return err
}

// typeTLSA is RFC 6698's.
const typeTLSA = 52

// published says which name has TLSA records without the key.
func published(ctx context.Context, resolver *dns.Resolver, names []string, spki []byte) error {
	if resolver == nil {
		return nil
	}
	sum := sha256.Sum256(spki)
	want := append([]byte{3, 1, 1}, sum[:]...)
	for _, name := range names {
		records, _, _, err := resolver.Raw(ctx, "_25._tcp."+name, typeTLSA)
		switch {
		case dns.Absent(err):
			continue // no DANE for this name
		case err != nil:
			return err
		}
		found := len(records) == 0
		for _, r := range records {
			found = found || string(r) == string(want)
		}
		if !found {
			return fmt.Errorf("%w: DNS has TLSA records at _25._tcp.%s, and %s is none of them", ErrEarly, name, tlsa(spki))
		}
	}
	return nil
}
