package login

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// msmtp with a certificate of its own in place of a password (EXTERNAL); another certificate, or none, does not do.
func TestMsmtpCertificate(t *testing.T) {
	if _, err := exec.LookPath("msmtp"); err != nil {
		t.Skip("msmtp is not installed")
	}
	l, h, socket := up(t)
	mailauthd(t, l, h, socket)
	home := t.TempDir()
	certificate := func(name string) (text string) {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		of := x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "a laptop"}, NotAfter: time.Now().Add(time.Hour)}
		der, err := x509.CreateCertificate(rand.Reader, &of, &of, key.Public(), key)
		if err != nil {
			t.Fatal(err)
		}
		secret, _ := x509.MarshalPKCS8PrivateKey(key)
		os.WriteFile(filepath.Join(home, name+".pem"), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600)
		os.WriteFile(filepath.Join(home, name+".key"), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret}), 0o600)
		public, _ := x509.MarshalPKIXPublicKey(key.Public())
		return fmt.Sprintf("certificate: sha256:%x\n", sha256.Sum256(public))
	}
	text := certificate("laptop")
	certificate("other")
	if err := os.WriteFile(filepath.Join(h.Dir, "etc/domains", domain, "users/alice/credentials/laptop"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, k := range []struct{ name, want string }{{"laptop", ""}, {"other", "535 5.7.8"}, {"", "EXTERNAL"}} {
		_, port, _ := strings.Cut(h.Addr("SUBMISSIONS"), ":")
		conf := fmt.Sprintf("account default\nhost localhost\nport %s\ntls on\ntls_starttls off\ntls_trust_file %s\nauth external\nuser alice@%s\nfrom alice@%s\n", port, l.CA.File(), domain, domain)
		if k.name != "" {
			conf += fmt.Sprintf("tls_cert_file %s/%s.pem\ntls_key_file %s/%s.key\n", home, k.name, home, k.name)
		}
		file := filepath.Join(home, "msmtprc")
		os.WriteFile(file, []byte(conf), 0o600)
		cmd := exec.Command("msmtp", "-C", file, "-t")
		cmd.Stdin = strings.NewReader("From: alice@" + domain + "\nTo: bob@" + domain + "\nSubject: x\n\nx\n")
		out, err := cmd.CombinedOutput()
		if (err == nil) != (k.want == "") || !strings.Contains(string(out), k.want) {
			t.Errorf("with %q: %v\n%s", k.name, err, out)
		}
	}
}
