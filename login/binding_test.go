package login

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/xdg-go/scram"

	"pennypost/internal/certs"
)

// pair makes a certificate.
func pair(t *testing.T, dir, name string) certs.Pair {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	of := x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, &of, &of, key.Public(), key)
	must(t, err)
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	must(t, err)
	p := certs.Pair{Cert: filepath.Join(dir, name+".pem"), Key: filepath.Join(dir, name+".key")}
	must(t, os.WriteFile(p.Cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600))
	must(t, os.WriteFile(p.Key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret}), 0o600))
	return p
}

// Both ends of a connection have one binding of each kind, whichever certificate was chosen; other connections have another exporter.
func TestBindings(t *testing.T) {
	dir := t.TempDir()
	store, err := certs.Load([]certs.Pair{pair(t, dir, "mx.example.org"), pair(t, dir, "mail.example.net")}, nil)
	must(t, err)
	seen := map[string]bool{}
	for _, k := range []struct {
		name    string
		version uint16
	}{{"mx.example.org", tls.VersionTLS13}, {"mail.example.net", tls.VersionTLS13}, {"mail.example.net", tls.VersionTLS12}} {
		a, b := net.Pipe()
		us, them := tls.Server(certs.Watch(a), store.Config()), tls.Client(b, &tls.Config{ServerName: k.name, MaxVersion: k.version, InsecureSkipVerify: true})
		go them.Handshake()
		must(t, us.Handshake())
		must(t, them.Handshake())
		state := them.ConnectionState()
		exporter, err := scram.NewTLSExporterBinding(&state)
		must(t, err)
		certificate, err := scram.NewTLSServerEndpointBinding(&state)
		must(t, err)
		found := Bindings(us)
		if !bound(us) || !slices.Equal(found[tlsExporter], exporter.Data) || !slices.Equal(found[tlsEndPoint], certificate.Data) || seen[string(exporter.Data)] {
			t.Errorf("%v: %x", k, found)
		}
		seen[string(exporter.Data)] = true
		a.Close()
	}
	a, _ := net.Pipe()
	if bound(a) || Bindings(a) != nil {
		t.Error("a binding without TLS")
	}
}
