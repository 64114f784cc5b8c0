package lab

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io/fs"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

// CA is the lab's own certificate authority. Its key lies beside the mail it protects: it is worth nothing outside the lab.
type CA struct {
	Dir  string // ca.pem ca.key
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// OpenCA reads the authority in dir, or makes a new one there.
func OpenCA(dir string) (*CA, error) {
	ca := &CA{Dir: dir}
	pair, err := tls.LoadX509KeyPair(ca.File(), filepath.Join(dir, "ca.key"))
	if err == nil {
		ca.cert, ca.key = pair.Leaf, pair.PrivateKey.(*ecdsa.PrivateKey)
		return ca, nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	if ca.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		return nil, err
	}
	ca.cert = &x509.Certificate{
		SerialNumber:          serial(),
		Subject:               pkix.Name{CommonName: "Pennypost lab, not a real authority"},
		NotBefore:             time.Now().Add(-time.Hour),
		NotAfter:              time.Now().AddDate(1, 0, 0),
		IsCA:                  true,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	return ca, ca.sign(ca.cert, ca.key, filepath.Join(dir, "ca"))
}

// File is the certificate that clients are told to trust.
func (ca *CA) File() string { return filepath.Join(ca.Dir, "ca.pem") }

// Pool is the same for clients in Go.
func (ca *CA) Pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(ca.cert)
	return pool
}

// Issue writes base.pem and base.key, a certificate for the names; names that are addresses become addresses.
func (ca *CA) Issue(base string, names ...string) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	return ca.issue(key, base, names)
}

// IssueRSA is Issue with an RSA key: OpenSMTPD 6.8 with OpenSSL 3 cannot use another.
func (ca *CA) IssueRSA(base string, names ...string) error {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return err
	}
	return ca.issue(key, base, names)
}

func (ca *CA) issue(key crypto.Signer, base string, names []string) error {
	cert := &x509.Certificate{
		SerialNumber: serial(),
		Subject:      pkix.Name{CommonName: names[0]},
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().AddDate(1, 0, 0),
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	for _, name := range names {
		if ip := net.ParseIP(name); ip != nil {
			cert.IPAddresses = append(cert.IPAddresses, ip)
		} else {
			cert.DNSNames = append(cert.DNSNames, name)
		}
	}
	return ca.sign(cert, key, base)
}

func (ca *CA) sign(cert *x509.Certificate, key crypto.Signer, base string) error {
	der, err := x509.CreateCertificate(rand.Reader, cert, ca.cert, key.Public(), ca.key)
	if err != nil {
		return err
	}
	if cert.IsCA { // from now on signed, with the identifiers that x509 filled in
		if ca.cert, err = x509.ParseCertificate(der); err != nil {
			return err
		}
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	if err := writePEM(base+".key", 0o600, "PRIVATE KEY", keyDER); err != nil {
		return err
	}
	return writePEM(base+".pem", 0o644, "CERTIFICATE", der)
}

func writePEM(file string, perm fs.FileMode, kind string, der []byte) error {
	return os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), perm)
}

func serial() *big.Int {
	n, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		panic(err) // crypto/rand does not fail
	}
	return n
}
