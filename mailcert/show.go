package mailcert

import (
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"time"

	"pennypost/internal/escape"
)

// State is what a pair is now.
type State struct {
	File    string    `json:"file"`
	Names   []string  `json:"names"`
	Issuer  string    `json:"issuer"`
	From    time.Time `json:"from"`
	Until   time.Time `json:"until"`
	Days    int       `json:"days"` // left; negative when it is over
	TLSA    string    `json:"tlsa"`
	Next    string    `json:"next,omitempty"` // TLSA value of the next key
	NextAge int       `json:"next_days,omitempty"`
	Managed string    `json:"managed,omitempty"` // "acme" or "self-signed": who renews it, where we do
	Problem string    `json:"problem,omitempty"`
}

// State looks at the files. What is wrong with them is in Problem.
func (p *Pair) State() State {
	s := State{File: p.Path()}
	c, err := p.readChain(p.Chain)
	if err != nil {
		s.Problem = err.Error()
		return s
	}
	l := c.leaf
	for _, name := range l.DNSNames {
		s.Names = append(s.Names, escape.Terminal(name))
	}
	s.Issuer, s.From, s.Until, s.TLSA = escape.Terminal(issuer(l)), l.NotBefore.UTC(), l.NotAfter.UTC(), tlsa(l.RawSubjectPublicKeyInfo)
	s.Days = int(l.NotAfter.Sub(p.now()).Hours() / 24)
	switch {
	case p.managed():
		s.Managed = "acme"
	case isSelfSigned(l):
		s.Managed = "self-signed"
	}
	key, err := p.key(p.Key)
	switch {
	case err != nil:
		s.Problem = err.Error()
	case !fits(l, key):
		s.Problem = "the key is for another certificate"
	case p.now().After(l.NotAfter):
		s.Problem, s.Days = "it is out of date", min(s.Days, -1)
	case p.now().Before(l.NotBefore):
		s.Problem = "it is not good yet: is the clock right?"
	}
	if info, err := p.disk.Stat(p.Key); err == nil && info.Mode.Perm()&0o007 != 0 && s.Problem == "" {
		s.Problem = "everybody may read the key: chmod o= and take another"
	}
	next, err := p.key(p.Key + nextSuffix)
	switch {
	case err == nil:
		if der, err := x509.MarshalPKIXPublicKey(next.Public()); err == nil {
			s.Next = tlsa(der)
		}
		if info, err := p.disk.Stat(p.Key + nextSuffix); err == nil {
			s.NextAge = int(p.now().Sub(info.ModTime).Hours() / 24)
		}
	case !errors.Is(err, fs.ErrNotExist) && s.Problem == "":
		s.Problem = err.Error()
	}
	return s
}

// Print writes it for people.
func (s State) Print(w io.Writer) error {
	if s.Until.IsZero() {
		_, err := fmt.Fprintf(w, "%s\n  problem  %s\n", s.File, escape.Terminal(s.Problem))
		return err
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n  names    %s\n  from     %s\n  until    %s, %d days left\n  TLSA     %s\n", s.File, strings.Join(s.Names, " "), s.Issuer,
		s.Until.Format(time.RFC3339), s.Days, s.TLSA)
	if s.Next != "" {
		fmt.Fprintf(&b, "  next     %s, for %d days\n", s.Next, s.NextAge)
	}
	fmt.Fprintf(&b, "  renewed  %s\n", map[string]string{"acme": "by ACME", "self-signed": "by ourselves", "": "not by us"}[s.Managed])
	if s.Problem != "" {
		fmt.Fprintf(&b, "  problem  %s\n", escape.Terminal(s.Problem))
	}
	_, err := io.WriteString(w, b.String())
	return err
}
