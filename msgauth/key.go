package msgauth

import (
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"

	"pennypost/internal/dns"
)

// Sizes of an RSA key. Less is no proof (RFC 8301 section 3.2), more is work for nothing (S052).
const (
	minBits = 1024
	maxBits = 4096
)

// key is a key record (RFC 6376 section 3.6.1).
type key struct {
	algorithm string // rsa, ed25519
	rsa       *rsa.PublicKey
	ed25519   ed25519.PublicKey
	bits      int
	hashes    []string // h=, nil is all
	testing   bool     // t=y
	strict    bool     // t=s: i= has no domain below d=
}

// keyError is why a record is no key; the Result says whether that is somebody's mistake or somebody's will.
type keyError struct {
	result Result
	why    string
}

func (e *keyError) Error() string { return e.why }

func bad(why string) error { return &keyError{PermError, why} }

var errNotKey = errors.New("no key record") // some other TXT

// parseKey reads one TXT record.
func parseKey(text string) (*key, error) {
	list, err := parseTags(text)
	if err != nil {
		return nil, errNotKey
	}
	if v, ok := list.get("v"); ok && (v != "DKIM1" || list[0].name != "v") {
		return nil, errNotKey
	}
	p, ok := list.get("p")
	if !ok {
		return nil, errNotKey
	}
	k := &key{algorithm: "rsa"}
	if a, ok := list.get("k"); ok {
		k.algorithm = strings.ToLower(a)
	}
	if h, ok := list.get("h"); ok {
		k.hashes = colons(strings.ToLower(h))
	}
	if s, ok := list.get("s"); ok {
		if services := colons(strings.ToLower(s)); !slices.Contains(services, "*") && !slices.Contains(services, "email") {
			return nil, bad("the key is not for mail (s=)")
		}
	}
	if t, ok := list.get("t"); ok {
		flags := colons(strings.ToLower(t))
		k.testing, k.strict = slices.Contains(flags, "y"), slices.Contains(flags, "s")
	}
	if p == "" {
		return nil, &keyError{Fail, "the key was revoked (p= is empty)"}
	}
	der, err := base64.StdEncoding.DecodeString(noFWS(p))
	if err != nil {
		return nil, bad("p= is not base64")
	}
	return k, k.public(der)
}

// public reads p=.
func (k *key) public(der []byte) error {
	switch k.algorithm {
	case "ed25519": // RFC 8463 section 4.2
		if len(der) != ed25519.PublicKeySize {
			return bad("an Ed25519 key has 32 octets")
		}
		k.ed25519, k.bits = der, 256
		return nil
	case "rsa":
		if len(der) > 2048 { // 16384 bits: not worth the parsing
			return &keyError{Fail, "the key has more than 4096 bits"}
		}
		any, err := x509.ParsePKIXPublicKey(der)
		if err == nil {
			k.rsa, _ = any.(*rsa.PublicKey)
		} else {
			k.rsa, _ = x509.ParsePKCS1PublicKey(der) // erratum 3017 of RFC 6376
		}
		if k.rsa == nil {
			return bad("p= is no RSA key")
		}
		k.bits = k.rsa.N.BitLen()
		switch {
		case k.bits < minBits:
			return &keyError{Fail, fmt.Sprintf("a key of %d bits proves nothing, %d are the least (RFC 8301)", k.bits, minBits)}
		case k.bits > maxBits:
			return &keyError{Fail, "the key has more than 4096 bits"}
		}
		return nil
	}
	return bad("the key is of a kind we do not know (k=)")
}

// keys looks the key of a signature up. Of several records that which fits the algorithm counts, for RFC 6376 section 3.6.2.2
// leaves it open, and some publish an RSA and an Ed25519 key at one name.
func (l *lookup) key(ctx context.Context, s *signature) (*key, error) {
	texts, err := l.TXT(ctx, s.selector+"._domainkey."+s.domain)
	switch {
	case dns.Absent(err):
		return nil, bad("there is no key at " + s.selector + "._domainkey." + s.domain)
	case err != nil:
		return nil, &keyError{TempError, err.Error()}
	}
	kind, _, _ := strings.Cut(s.algorithm, "-")
	var first *key
	failure := error(errNotKey)
	for _, text := range texts[:min(len(texts), 8)] {
		k, err := parseKey(text)
		switch {
		case err == nil && k.algorithm == kind:
			return k, nil
		case err == nil && first == nil:
			first = k
		case err != nil && failure == errNotKey:
			failure = err
		}
	}
	if first != nil {
		return first, nil
	}
	if failure == errNotKey {
		failure = bad("what is at " + s.selector + "._domainkey." + s.domain + " is no key")
	}
	return nil, failure
}

// verify tests a signature over text.
func (k *key) verify(algorithm string, text, sig []byte) error {
	sum := sha256.Sum256(text)
	switch {
	case k.hashes != nil && !slices.Contains(k.hashes, "sha256"):
		return bad("the key is not for sha256 (h=)")
	case algorithm == "rsa-sha256" && k.rsa != nil:
		if rsa.VerifyPKCS1v15(k.rsa, crypto.SHA256, sum[:], sig) == nil {
			return nil
		}
	case algorithm == "ed25519-sha256" && k.ed25519 != nil: // RFC 8463 section 3: the hash is what is signed
		if ed25519.Verify(k.ed25519, sum[:], sig) {
			return nil
		}
	default:
		return bad("the key is not for " + algorithm)
	}
	return &keyError{Fail, "the signature does not fit the header"}
}
