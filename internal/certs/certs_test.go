package certs

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"
)

// write makes a certificate for names and writes it and its key to dir/base.pem and .key.
func write(t *testing.T, dir, base string, names ...string) Pair {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(time.Now().UnixNano()), DNSNames: names, NotAfter: time.Now().Add(time.Hour)}
	cert, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	p := Pair{filepath.Join(dir, base+".pem"), filepath.Join(dir, base+".key")}
	put(t, p.Cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert}))
	put(t, p.Key, pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der}))
	return p
}

var ticks = time.Now()

// put writes a file with a modification time no other write had.
func put(t *testing.T, name string, text []byte) {
	t.Helper()
	if err := os.WriteFile(name, text, 0o600); err != nil {
		t.Fatal(err)
	}
	ticks = ticks.Add(time.Second)
	if err := os.Chtimes(name, ticks, ticks); err != nil {
		t.Fatal(err)
	}
}

// shake makes a handshake with a client of the given configuration and returns the server's certificate.
func shake(s *Store, client *tls.Config, alpn ...string) (*x509.Certificate, error) {
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	go tls.Server(a, s.Config(alpn...)).Handshake()
	client.InsecureSkipVerify = true
	c := tls.Client(b, client)
	if err := c.Handshake(); err != nil {
		return nil, err
	}
	return c.ConnectionState().PeerCertificates[0], nil
}

func serves(t *testing.T, s *Store, sni string) string {
	t.Helper()
	c, err := shake(s, &tls.Config{ServerName: sni})
	if err != nil {
		t.Fatal(err)
	}
	return c.DNSNames[0]
}

func TestSNI(t *testing.T) {
	dir := t.TempDir()
	s, err := Load([]Pair{write(t, dir, "a", "mx.example.org"), write(t, dir, "b", "mail.example.net", "*.example.com")}, nil)
	if err != nil {
		t.Fatal(err)
	}
	for sni, want := range map[string]string{
		"mx.example.org": "mx.example.org", "MAIL.example.net": "mail.example.net", "x.example.com": "mail.example.net",
		"x.y.example.com": "mx.example.org", "example.com": "mx.example.org", "other.example": "mx.example.org",
	} {
		if got := serves(t, s, sni); got != want {
			t.Errorf("%s: %s, want %s", sni, got, want)
		}
	}
}

func TestS030Floor(t *testing.T) {
	s, err := Load([]Pair{write(t, t.TempDir(), "a", "mx.example.org")}, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		conf *tls.Config
		ok   bool
	}{
		{"TLS 1.1", &tls.Config{MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}, false},
		{"TLS 1.2", &tls.Config{MaxVersion: tls.VersionTLS12}, true},
		{"TLS 1.3", &tls.Config{MinVersion: tls.VersionTLS13}, true},
		{"CBC", &tls.Config{MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA}}, false},
	} {
		if _, err := shake(s, c.conf); (err == nil) != c.ok {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	if _, err := shake(s, &tls.Config{NextProtos: []string{"h2"}}, "smtp"); err == nil {
		t.Error("h2 where smtp is spoken")
	}
}

// Ten thousand names cost no memory.
func TestS032RandomNames(t *testing.T) {
	s, err := Load([]Pair{write(t, t.TempDir(), "a", "mx.example.org")}, nil)
	if err != nil {
		t.Fatal(err)
	}
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	for i := range 10_000 {
		if c, err := s.choose(&tls.ClientHelloInfo{ServerName: fmt.Sprintf("%d.example", i)}); err != nil || c.Leaf.DNSNames[0] != "mx.example.org" {
			t.Fatal(err)
		}
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > 256<<10 {
		t.Errorf("%d octets more", grown)
	}
	runtime.KeepAlive(s)
}

// There are no session tickets, so none can be offered to another service.
func TestS033NoTickets(t *testing.T) {
	s, err := Load([]Pair{write(t, t.TempDir(), "a", "mx.example.org")}, nil)
	if err != nil {
		t.Fatal(err)
	}
	cache := tls.NewLRUClientSessionCache(1)
	for range 2 {
		conf := &tls.Config{ServerName: "mx.example.org", ClientSessionCache: cache, MaxVersion: tls.VersionTLS12}
		if _, err := shake(s, conf); err != nil {
			t.Fatal(err)
		}
		if _, ok := cache.Get("mx.example.org"); ok {
			t.Fatal("a ticket")
		}
	}
}

func TestS036HalfWrittenCertificate(t *testing.T) {
	dir := t.TempDir()
	p := write(t, dir, "a", "old.example.org")
	var errs []error
	s, err := Load([]Pair{p}, func(err error) { errs = append(errs, err) })
	if err != nil {
		t.Fatal(err)
	}
	next := write(t, dir, "new", "new.example.org")
	cert, _ := os.ReadFile(next.Cert)
	key, _ := os.ReadFile(next.Key)
	put(t, p.Cert, cert[:len(cert)/2])
	s.Reload()
	if got := serves(t, s, ""); got != "old.example.org" || len(errs) != 1 {
		t.Errorf("half a certificate: %s, %v", got, errs)
	}
	put(t, p.Cert, cert)
	s.Reload()
	if got := serves(t, s, ""); got != "old.example.org" || len(errs) != 2 {
		t.Errorf("a certificate without its key: %s, %v", got, errs)
	}
	s.Reload()
	if len(errs) != 2 {
		t.Errorf("the same mistake told twice: %v", errs)
	}
	put(t, p.Key, key)
	s.looked = time.Time{} // the next handshake looks by itself
	if got := serves(t, s, ""); got != "new.example.org" {
		t.Errorf("both written: %s, %v", got, errs)
	}
	os.Remove(p.Key)
	s.Reload()
	if got := serves(t, s, ""); got != "new.example.org" || len(errs) != 3 {
		t.Errorf("key gone: %s, %v", got, errs)
	}
	if _, err := Load([]Pair{{p.Cert, next.Cert}}, nil); err == nil {
		t.Error("loaded without a key")
	}
}
