package peers

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pennypost/test/lab"
)

// TestJudged has Postfix send us what OpenDKIM signed: nothing but that signature speaks for it. Without it, Postfix is refused, and its user
// reads why.
func TestJudged(t *testing.T) {
	if testing.Short() {
		t.Skip("not with -short")
	}
	for _, pkg := range []string{"postfix", "opendkim"} {
		if err := Available(pkg); err != nil {
			t.Skip(err)
		}
	}
	bin, err := lab.Bin()
	if err != nil {
		t.Skip(err)
	}
	l, err := lab.New(t.TempDir(), bin, lab.FreeBase())
	if err != nil {
		t.Fatal(err)
	}
	defer l.Down()
	h, err := l.AddHost("demo.test", "127.0.0.1", "alice", "bob")
	if err == nil {
		err = h.Judge()
	}
	if err == nil {
		err = l.Up()
	}
	if err != nil {
		t.Fatal(err)
	}
	const domain, ip = "postfix.test", "127.0.0.11"
	key, record := signingKey(t)
	err = l.Name(domain, ip)
	if err == nil {
		err = l.DNS.Load(fmt.Sprintf("%[1]s TXT \"v=spf1 -all\"\nmx.%[1]s TXT \"v=spf1 a -all\"\n_dmarc.%[1]s TXT \"v=DMARC1; p=reject; adkim=s; aspf=s\"\ns._domainkey.%[1]s TXT %[2]s", domain, record))
	}
	if err != nil {
		t.Fatal(err)
	}
	for i, form := range []string{"simple/simple", "relaxed/relaxed"} {
		t.Run(form, func(t *testing.T) {
			o := Options{Dir: t.TempDir(), Domain: domain, IP: ip, Port: l.Base + 891 + 2*i}
			signer, err := startSigner(o, key, form)
			if err != nil {
				t.Fatal(err)
			}
			defer signer.Stop()
			o.Port, o.Users, o.Relay = l.Base+25, []string{"alice"}, h.Addr("SMTP")
			o.Extra = Milters(signer.Addr) + "milter_default_action = accept\n"
			p, err := StartPostfix(o, true)
			if err != nil {
				t.Fatal(err)
			}
			defer p.Stop()
			defer func() {
				if t.Failed() {
					text, _ := os.ReadFile(filepath.Join(h.Dir, "log")) // for the reader of a failure
					t.Logf("log of Postfix:\n%s\nof OpenDKIM:\n%s\nof ours:\n%s", p.Log(), signer.Log(), text[max(0, len(text)-3000):])
				}
			}()
			x := exchange{h, p.Peer, domain}
			m := mark()
			text := "\r\n.leading dot\r\n  spaces  \r\n\tand tabs\t\r\n\r\n\r\n"
			if err := x.send("alice@"+domain, "bob@demo.test", lab.Letter("Alice <alice@"+domain+">", "bob@demo.test", "signed by OpenDKIM", m+text)); err != nil {
				t.Fatal(err)
			}
			_, texts, err := lab.Find(20*time.Second, h.Maildir("bob"), m, 1)
			if err != nil {
				t.Fatal(err)
			}
			for _, want := range []string{"spf=fail", "dkim=pass header.d=" + domain, "dmarc=pass header.from=" + domain} {
				if !strings.Contains(texts[0], want) {
					t.Errorf("no %q in\n%s", want, texts[0])
				}
			}
			if i > 0 {
				return
			}
			signer.Stop()
			m = mark()
			if err := x.send("alice@"+domain, "bob@demo.test", lab.Letter("alice@"+domain, "bob@demo.test", "not signed", m)); err != nil {
				t.Fatal(err)
			}
			_, texts, err = lab.Find(20*time.Second, p.Maildir("alice"), m, 1)
			if err != nil {
				t.Fatal(err)
			}
			if said := strings.Join(strings.Fields(texts[0]), " "); !strings.Contains(said, "550 5.7.1 "+domain+" wants mail refused that is not its own") || !strings.Contains(said, "have it signed with DKIM") {
				t.Errorf("their user reads\n%s", texts[0])
			}
		})
	}
}

// startSigner is OpenDKIM with a key.
func startSigner(o Options, key []byte, form string) (*Peer, error) {
	file := filepath.Join(o.Dir, "key.pem")
	if err := os.WriteFile(file, key, 0o600); err != nil {
		return nil, err
	}
	o.Key = file // in the chroot: etc/tls.key
	return StartOpenDKIM(o, "127.0.0.1", fmt.Sprintf("Mode s\nInternalHosts 127.0.0.0/8\nDomain %s\nSelector s\nKeyFile /etc/tls.key\nCanonicalization %s\n", o.Domain, form))
}

// signingKey is a key in PEM, and its record.
func signingKey(t *testing.T) (key []byte, record string) {
	t.Helper()
	k, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	public, err := x509.MarshalPKIXPublicKey(&k.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	text := "v=DKIM1; k=rsa; p=" + base64.StdEncoding.EncodeToString(public)
	return pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(k)}), fmt.Sprintf("%q %q", text[:200], text[200:])
}
