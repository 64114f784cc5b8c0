package mailkey

import (
	"crypto"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
)

// TLSA makes the values 3 1 1 HASH (RFC 6698; RFC 7671 section 5.1 recommends these and no other) of a certificate, and of the next
// key, which lies beside the key as KEY.next: it is in DNS before a certificate with it is used.
func TLSA(certificate, key string) ([]string, error) {
	text, err := os.ReadFile(certificate)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(text)
	if block == nil || block.Type != "CERTIFICATE" {
		return nil, fmt.Errorf("%s: no certificate in it", certificate)
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", certificate, err)
	}
	list := []string{spki(cert.RawSubjectPublicKeyInfo)}
	next, err := nextKey(key + ".next")
	if err != nil || next == "" || next == list[0] {
		return list, err
	}
	return append(list, next), nil
}

func spki(der []byte) string {
	sum := sha256.Sum256(der)
	return "3 1 1 " + hex.EncodeToString(sum[:])
}

// nextKey is the value of a private key that is not used yet, "" where there is none.
func nextKey(file string) (string, error) {
	text, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	block, _ := pem.Decode(text)
	if block == nil {
		return "", fmt.Errorf("%s: no PEM in it", file)
	}
	var private any
	for _, parse := range []func([]byte) (any, error){
		x509.ParsePKCS8PrivateKey,
		func(b []byte) (any, error) { return x509.ParseECPrivateKey(b) },
		func(b []byte) (any, error) { return x509.ParsePKCS1PrivateKey(b) },
	} {
		if private, err = parse(block.Bytes); err == nil {
			break
		}
	}
	signer, ok := private.(crypto.Signer)
	if err != nil || !ok {
		return "", fmt.Errorf("%s: no private key in it", file)
	}
	der, err := x509.MarshalPKIXPublicKey(signer.Public())
	return spki(der), err
}
