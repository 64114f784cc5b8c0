package mailcert

import (
	"context"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"time"

	"github.com/mholt/acmez/v3"
	"github.com/mholt/acmez/v3/acme"

	"pennypost/internal/dns"
	"pennypost/internal/escape"
)

// wait is how long getting a certificate may take; the DNS of some needs most of it.
const wait = 10 * time.Minute

// Obtain gets a chain for the key that is there (one is made where there is none), puts it in place, and keeps the settings for
// renewals. resolver tells whether a record of dns-01 can be seen.
func (p *Pair) Obtain(ctx context.Context, s *Settings, resolver *dns.Resolver) error {
	if err := s.Check(); err != nil {
		return err
	}
	if err := p.Finish(); err != nil {
		return err
	}
	key, err := p.anyKey(p.Key, s.Algorithm)
	if err != nil {
		return err
	}
	text, err := p.order(ctx, s, key, resolver)
	if err != nil {
		return err
	}
	if err := p.place(text); err != nil {
		return err
	}
	return p.write(p.Chain+howSuffix, s.text(), 0o644, false)
}

// order has a certificate made for a key.
func (p *Pair) order(ctx context.Context, s *Settings, key crypto.Signer, resolver *dns.Resolver) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	client, err := newClient(s)
	if err != nil {
		return nil, err
	}
	solver, stop, err := newSolver(ctx, s, resolver)
	if err != nil {
		return nil, err
	}
	defer stop()
	account, err := p.account(ctx, client, s)
	if err != nil {
		return nil, clean(err)
	}
	csr, err := acmez.NewCSR(key, s.Names)
	if err != nil {
		return nil, err
	}
	params, err := acmez.OrderParametersFromCSR(account, csr)
	if err != nil {
		return nil, err
	}
	params.Profile, params.Replaces = s.Profile, p.replaces(ctx, client)
	full := &acmez.Client{Client: client, ChallengeSolvers: map[string]acmez.Solver{s.Challenge: solver}}
	chains, err := full.ObtainCertificate(ctx, params)
	if err != nil {
		return nil, clean(err)
	}
	return p.check(chains, s, key)
}

// check looks at what the server gave us before anybody is served with it.
func (p *Pair) check(chains []acme.Certificate, s *Settings, key crypto.Signer) ([]byte, error) {
	if len(chains) == 0 {
		return nil, errors.New("the ACME server gave no chain")
	}
	text := chains[0].ChainPEM
	c, err := leaf(text)
	switch {
	case err != nil:
		return nil, fmt.Errorf("the chain from the ACME server: %w", err)
	case !fits(c, key):
		return nil, errors.New("the certificate from the ACME server is for another key")
	case !c.NotAfter.After(time.Now()):
		return nil, fmt.Errorf("the certificate from the ACME server was good until %s", c.NotAfter.UTC().Format(time.RFC3339))
	}
	for _, name := range s.Names {
		if err := c.VerifyHostname(name); err != nil {
			return nil, fmt.Errorf("the certificate from the ACME server: %w", err)
		}
	}
	return text, nil
}

// replaces is the certificate that a new one is for, where the server wants to know (RFC 9773 section 5).
func (p *Pair) replaces(ctx context.Context, client *acme.Client) *x509.Certificate {
	old, err := p.readChain(p.Chain)
	if err != nil || isSelfSigned(old.leaf) {
		return nil
	}
	if _, err := client.GetRenewalInfo(ctx, old.leaf); err != nil { // no ARI, or it is of another CA
		return nil
	}
	return old.leaf
}

// account is ours with the server: the one of our key, which is made where there is none.
func (p *Pair) account(ctx context.Context, client *acme.Client, s *Settings) (acme.Account, error) {
	key, err := p.key(accountKey)
	if errors.Is(err, fs.ErrNotExist) {
		key, err = p.newAccountKey()
	}
	if err != nil {
		return acme.Account{}, err
	}
	a := acme.Account{TermsOfServiceAgreed: s.Agreed, PrivateKey: key}
	if s.Contact != "" {
		a.Contact = []string{"mailto:" + s.Contact}
	}
	return client.NewAccount(ctx, a) // RFC 8555 section 7.3.1: with a known key it answers with the account that is there
}

// newAccountKey makes the key of the account, which is root's alone: no server needs it.
func (p *Pair) newAccountKey() (crypto.Signer, error) {
	own := *p
	own.readers = -1
	return own.newKey(accountKey, "ecdsa")
}

// newClient talks to an ACME server.
func newClient(s *Settings) (*acme.Client, error) {
	conf := &tls.Config{MinVersion: tls.VersionTLS12}
	if s.Root != "" {
		text, err := os.ReadFile(s.Root)
		if err != nil {
			return nil, err
		}
		conf.RootCAs = x509.NewCertPool()
		if !conf.RootCAs.AppendCertsFromPEM(text) {
			return nil, fmt.Errorf("%s: no certificate in it", s.Root)
		}
	}
	return &acme.Client{Directory: s.Directory, UserAgent: "pennypost-mailcert", PollTimeout: wait, HTTPClient: &http.Client{
		Timeout: 30 * time.Second,
		Transport: &http.Transport{Proxy: http.ProxyFromEnvironment, TLSClientConfig: conf, TLSHandshakeTimeout: 10 * time.Second,
			MaxResponseHeaderBytes: 64 << 10, DisableKeepAlives: false, IdleConnTimeout: 30 * time.Second},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}, nil
}

// words is an error that may be shown: what the server said is from outside.
type words struct {
	text  string
	cause error
}

func (w *words) Error() string { return w.text }
func (w *words) Unwrap() error { return w.cause }

func clean(err error) error {
	if text := err.Error(); text != escape.Terminal(text) || len(text) > 1000 {
		return &words{escape.Terminal(text[:min(len(text), 1000)]), err}
	}
	return err
}
