/*
Package dane is the part of RFC 7672 that needs no network: TLSA records as they come from DNS, and whether a certificate
matches them.

	usage      selector   matching
	2 DANE-TA  0 whole    0 as it is      the certificate of an authority in the chain, whose names must fit
	3 DANE-EE  1 its key  1 SHA2-256      the host's own; neither names nor dates are looked at (section 3.1.1)
	0 1        –          2 SHA2-512      of the PKIX kind: not usable in SMTP (section 3.1.3)

Records that we cannot use are not errors. A host whose records are all of that kind is spoken to under TLS, but need prove
nothing (section 2.2).
*/
package dane

import (
	"bytes"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
)

// The fields of a record that we can use.
const (
	TA = 2 // usage
	EE = 3

	Whole = 0 // selector
	Key   = 1

	Exact  = 0 // matching
	SHA256 = 1
	SHA512 = 2
)

// maxRecords is how many records of a host are looked at. More serve nobody.
const maxRecords = 64

// Record is one that can be used.
type Record struct {
	Usage, Selector, Matching byte
	Data                      []byte
}

// String is the record as a zone file has it.
func (r Record) String() string {
	return fmt.Sprintf("%d %d %d %s", r.Usage, r.Selector, r.Matching, hex.EncodeToString(r.Data))
}

// Set is the TLSA records of a host that can be used. An empty one proves nothing.
type Set []Record

// Parse takes those of the records that can be used. Of several digests of one kind the strongest counts (RFC 7671 section 9).
func Parse(records [][]byte) Set {
	var all Set
	strong := map[[2]byte]bool{} // usage and selector that have a SHA2-512
	for _, data := range records[:min(len(records), maxRecords)] {
		if r, ok := parse(data); ok {
			all = append(all, r)
			if r.Matching == SHA512 {
				strong[[2]byte{r.Usage, r.Selector}] = true
			}
		}
	}
	var used Set
	for _, r := range all {
		if r.Matching != SHA256 || !strong[[2]byte{r.Usage, r.Selector}] {
			used = append(used, r)
		}
	}
	return used
}

// parse reads one record: three octets, then data whose length is that of the digest, or that is what it must be.
func parse(data []byte) (r Record, ok bool) {
	if len(data) < 4 {
		return r, false
	}
	r = Record{data[0], data[1], data[2], data[3:]}
	if r.Usage != TA && r.Usage != EE || r.Selector > Key {
		return r, false
	}
	switch r.Matching {
	case SHA256:
		return r, len(r.Data) == sha256.Size
	case SHA512:
		return r, len(r.Data) == sha512.Size
	case Exact:
		var err error
		if r.Selector == Whole {
			_, err = x509.ParseCertificate(r.Data)
		} else {
			_, err = x509.ParsePKIXPublicKey(r.Data)
		}
		return r, err == nil
	}
	return r, false
}

// fits reports whether the record is of cert.
func (r Record) fits(cert *x509.Certificate) bool {
	of := cert.Raw
	if r.Selector == Key {
		of = cert.RawSubjectPublicKeyInfo
	}
	switch r.Matching {
	case SHA256:
		sum := sha256.Sum256(of)
		return bytes.Equal(sum[:], r.Data)
	case SHA512:
		sum := sha512.Sum512(of)
		return bytes.Equal(sum[:], r.Data)
	}
	return bytes.Equal(of, r.Data)
}

// Errors of Verify, by what they mean to those who report them (RFC 8460 section 4.3).
var (
	ErrNoCertificate = errors.New("no certificate")
	ErrNoMatch       = errors.New("the certificate matches no TLSA record")
)

// Verify checks what the host showed. One record that fits is enough. names are what a certificate under a DANE-TA record may
// be for (section 3.2.2): the host that the records are of, its name before aliases, and the domain of the mail.
func (s Set) Verify(state tls.ConnectionState, names []string) error {
	chain := state.PeerCertificates
	if len(chain) == 0 {
		return ErrNoCertificate
	}
	for _, r := range s {
		if r.Usage == EE && r.fits(chain[0]) {
			return nil
		}
	}
	return s.anchored(chain, names)
}

// anchored checks the chain up to an authority that a DANE-TA record names. The host must send that certificate (section
// 3.1.2), unless the record has it whole.
func (s Set) anchored(chain []*x509.Certificate, names []string) error {
	opts := x509.VerifyOptions{Roots: x509.NewCertPool(), Intermediates: x509.NewCertPool()}
	found := false
	for _, r := range s {
		if r.Usage != TA {
			continue
		}
		if r.Selector == Whole && r.Matching == Exact {
			if cert, err := x509.ParseCertificate(r.Data); err == nil {
				opts.Roots.AddCert(cert)
				found = true
			}
		}
		for _, cert := range chain {
			if r.fits(cert) {
				opts.Roots.AddCert(cert)
				found = true
			}
		}
	}
	if !found {
		return ErrNoMatch
	}
	for _, cert := range chain[1:] {
		opts.Intermediates.AddCert(cert)
	}
	if _, err := chain[0].Verify(opts); err != nil {
		return err
	}
	for _, name := range names {
		if chain[0].VerifyHostname(name) == nil {
			return nil
		}
	}
	return x509.HostnameError{Certificate: chain[0], Host: strings.Join(names, " or ")}
}
