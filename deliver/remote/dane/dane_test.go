package dane

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"testing"
	"time"
)

// make signs a certificate; by nil it signs itself.
func issue(t testing.TB, by *x509.Certificate, byKey *ecdsa.PrivateKey, ca bool, from, until time.Duration, names ...string) (*x509.Certificate, *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	template := &x509.Certificate{SerialNumber: big.NewInt(now.UnixNano()), Subject: pkix.Name{CommonName: names[0]}, DNSNames: names, NotBefore: now.Add(from),
		NotAfter: now.Add(until), IsCA: ca, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign}
	if by == nil {
		by, byKey = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, by, &key.PublicKey, byKey)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert, key
}

// record makes one of a certificate.
func record(cert *x509.Certificate, usage, selector, matching byte) []byte {
	of := cert.Raw
	if selector == Key {
		of = cert.RawSubjectPublicKeyInfo
	}
	switch matching {
	case SHA256:
		sum := sha256.Sum256(of)
		of = sum[:]
	case SHA512:
		sum := sha512.Sum512(of)
		of = sum[:]
	}
	return append([]byte{usage, selector, matching}, of...)
}

// Which certificate fits which record, by usage, selector and matching.
func TestVerify(t *testing.T) {
	root, rootKey := issue(t, nil, nil, true, -time.Hour, time.Hour, "root")
	middle, middleKey := issue(t, root, rootKey, true, -time.Hour, time.Hour, "middle")
	leaf, _ := issue(t, middle, middleKey, false, -time.Hour, time.Hour, "mx.example.org")
	old, _ := issue(t, middle, middleKey, false, -2*time.Hour, -time.Hour, "elsewhere.test")
	other, _ := issue(t, nil, nil, true, -time.Hour, time.Hour, "mx.example.org")
	all := []*x509.Certificate{leaf, middle, root}
	mx := []string{"mx.example.org"}
	for _, test := range []struct {
		name    string
		records [][]byte
		chain   []*x509.Certificate
		names   []string
		ok      bool
	}{
		{"EE key SHA-256", [][]byte{record(leaf, EE, Key, SHA256)}, all, mx, true},
		{"EE key SHA-512", [][]byte{record(leaf, EE, Key, SHA512)}, all, mx, true},
		{"EE key whole", [][]byte{record(leaf, EE, Key, Exact)}, all, mx, true},
		{"EE certificate SHA-256", [][]byte{record(leaf, EE, Whole, SHA256)}, all, mx, true},
		{"EE certificate whole", [][]byte{record(leaf, EE, Whole, Exact)}, all, mx, true},
		{"EE of another", [][]byte{record(other, EE, Key, SHA256)}, all, mx, false},
		{"EE does not look at names and dates (RFC 7672 section 3.1.1)", [][]byte{record(old, EE, Key, SHA256)}, []*x509.Certificate{old}, mx, true},
		{"EE is the leaf, and no authority", [][]byte{record(root, EE, Key, SHA256)}, all, mx, false},
		{"one of several", [][]byte{record(other, EE, Key, SHA256), record(leaf, EE, Key, SHA256)}, all, mx, true},
		{"TA root", [][]byte{record(root, TA, Whole, SHA256)}, all, mx, true},
		{"TA middle", [][]byte{record(middle, TA, Key, SHA256)}, all[:2], mx, true},
		{"TA for the domain", [][]byte{record(root, TA, Key, SHA256)}, all, []string{"example.org", "mx.example.org"}, true},
		{"TA for another name", [][]byte{record(root, TA, Key, SHA256)}, all, []string{"example.org"}, false},
		{"TA that is not sent", [][]byte{record(root, TA, Key, SHA256)}, all[:2], mx, false},
		{"TA that the record has whole", [][]byte{record(root, TA, Whole, Exact)}, all[:2], mx, true},
		{"TA of an old certificate", [][]byte{record(root, TA, Key, SHA256)}, []*x509.Certificate{old, middle, root}, []string{"elsewhere.test"}, false},
		{"TA that is only shown, and signed nothing", [][]byte{record(other, TA, Key, SHA256)}, []*x509.Certificate{leaf, other}, mx, false},
		{"the stronger digest counts (RFC 7671 section 9)", [][]byte{record(leaf, EE, Key, SHA256), record(other, EE, Key, SHA512)}, all, mx, false},
		{"but not that of another kind", [][]byte{record(leaf, EE, Key, SHA256), record(other, EE, Whole, SHA512)}, all, mx, true},
		{"no certificate", [][]byte{record(leaf, EE, Key, SHA256)}, nil, mx, false},
		{"no records", nil, all, mx, false},
	} {
		err := Parse(test.records).Verify(tls.ConnectionState{PeerCertificates: test.chain}, test.names)
		if (err == nil) != test.ok {
			t.Errorf("%s: %v", test.name, err)
		}
	}
}

// S038: data of odd lengths and unknown values are left out, and leave no record that could be used.
func TestS038Unusable(t *testing.T) {
	leaf, _ := issue(t, nil, nil, false, -time.Hour, time.Hour, "mx.example.org")
	good := record(leaf, EE, Key, SHA256)
	with := func(at int, value byte) []byte { r := bytes.Clone(good); r[at] = value; return r }
	for name, data := range map[string][]byte{
		"no octet": {}, "three octets": good[:3], "20 octets": good[:23], "33 octets": append(bytes.Clone(good), 0), "64 KiB": append([]byte{3, 1, 1}, make([]byte, 64<<10)...),
		"64 KiB whole": append([]byte{3, 0, 0}, make([]byte, 64<<10)...), "PKIX-TA": with(0, 0), "PKIX-EE": with(0, 1), "usage 4": with(0, 4), "usage 255": with(0, 255),
		"selector 2": with(1, 2), "matching 3": with(2, 3), "SHA-512 of 32 octets": with(2, 2), "a key that is none": with(2, 0),
	} {
		if got := Parse([][]byte{data}); len(got) != 0 {
			t.Errorf("%s: %v", name, got)
		}
		if got := Parse([][]byte{data, good}); len(got) != 1 || Set(got).Verify(tls.ConnectionState{PeerCertificates: []*x509.Certificate{leaf}}, nil) != nil {
			t.Errorf("%s beside a good one: %v", name, got)
		}
	}
	many := make([][]byte, 10000)
	for i := range many {
		many[i] = good
	}
	if got := Parse(many); len(got) > maxRecords {
		t.Errorf("%d records", len(got))
	}
}

func FuzzTLSA(f *testing.F) {
	leaf, _ := issue(f, nil, nil, true, -time.Hour, time.Hour, "mx.example.org")
	f.Add(record(leaf, EE, Key, SHA256), record(leaf, TA, Whole, Exact))
	f.Add(record(leaf, TA, Key, Exact), []byte{3, 1, 2})
	state := tls.ConnectionState{PeerCertificates: []*x509.Certificate{leaf}}
	f.Fuzz(func(t *testing.T, a, b []byte) {
		set := Parse([][]byte{a, b})
		err := set.Verify(state, []string{"mx.example.org"})
		fits := false
		for _, r := range set {
			fits = fits || r.fits(leaf)
			if r.String() == "" || len(r.Data) == 0 || r.Usage != TA && r.Usage != EE {
				t.Errorf("%v", r)
			}
		}
		if err == nil && !fits {
			t.Errorf("%v verifies what fits none", set)
		}
	})
}
