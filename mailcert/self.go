package mailcert

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"time"
)

// selfSigned is how long a certificate of our own is good. It is to be replaced within days, and where DANE is all there is, renewed.
const selfSigned = 365 * 24 * time.Hour

// Self makes a certificate that nobody vouches for, so that servers can start and STARTTLS is offered. One of a CA is not replaced.
func (p *Pair) Self(names []string, algorithm string) error {
	if err := p.Finish(); err != nil {
		return err
	}
	old, err := p.readChain(p.Chain)
	switch {
	case err == nil && !isSelfSigned(old.leaf):
		return fmt.Errorf("%s is from %s, and is not replaced by one that nobody trusts", p.Path(), issuer(old.leaf))
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return err
	case len(names) == 0 && old.leaf != nil:
		names = old.leaf.DNSNames
	}
	key, err := p.anyKey(p.Key, algorithm)
	if err != nil {
		return err
	}
	text, err := p.sign(names, key)
	if err != nil {
		return err
	}
	return p.place(text)
}

// sign makes the certificate.
func (p *Pair) sign(names []string, key crypto.Signer) ([]byte, error) {
	if len(names) == 0 {
		return nil, errors.New("a certificate is for a name at least")
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, err
	}
	now := p.now()
	c := &x509.Certificate{SerialNumber: serial, Subject: pkix.Name{CommonName: names[0]}, DNSNames: names,
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(selfSigned), KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), nil
}

func isSelfSigned(c *x509.Certificate) bool {
	return bytes.Equal(c.RawIssuer, c.RawSubject) && c.CheckSignature(c.SignatureAlgorithm, c.RawTBSCertificate, c.Signature) == nil
}

func issuer(c *x509.Certificate) string {
	if isSelfSigned(c) {
		return "nobody (self-signed)"
	}
	if len(c.Issuer.Organization) > 0 {
		return c.Issuer.Organization[0] + " " + c.Issuer.CommonName
	}
	return c.Issuer.CommonName
}
