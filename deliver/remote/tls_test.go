package remote

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pennypost/internal/config"
)

// certificate makes one that signs itself, and the file with it that [tls] ca can name.
func certificate(t *testing.T, names ...string) (tls.Certificate, string) {
	t.Helper()
	return certificateUntil(t, time.Now().Add(time.Hour), names...)
}

func certificateUntil(t *testing.T, end time.Time, names ...string) (tls.Certificate, string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: names[0]}, DNSNames: names, NotBefore: end.Add(-2 * time.Hour),
		NotAfter: end, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0600); err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, file
}

// secure is a session with STARTTLS; after the handshake it goes on as smtp.
func (d *dialogue) secure(cert tls.Certificate, change func(*tls.Config)) {
	d.say("220 mx.test")
	for {
		switch line := d.line(); {
		case line == "":
			return
		case strings.HasPrefix(line, "EHLO"):
			d.say("250-mx.test", "250-STARTTLS", "250-PIPELINING", "250 AUTH PLAIN")
		case line == "STARTTLS":
			d.say("220 2.0.0 go")
			conf := &tls.Config{Certificates: []tls.Certificate{cert}}
			if change != nil {
				change(conf)
			}
			conn := tls.Server(d.Conn, conf)
			if conn.Handshake() != nil {
				return
			}
			d.Conn, d.r = conn, bufio.NewReader(conn)
			d.smtp(append([]string{"AUTH PLAIN LOGIN"}, modern...), map[string]string{"greeting": "", "AUTH PLAIN": "235 2.7.0 welcome"})
			return
		default:
			d.say("250 2.0.0 ok in clear")
			if line == "DATA" {
				return
			}
		}
	}
}

func TestStartTLS(t *testing.T) {
	cert, ca := certificate(t, "mx.example.test")
	other, otherCA := certificate(t, "elsewhere.test")
	old := func(c *tls.Config) { c.MaxVersion = tls.VersionTLS11; c.MinVersion = tls.VersionTLS10 }
	twelve := func(c *tls.Config) { c.MaxVersion = tls.VersionTLS12 }
	for _, test := range []struct {
		name, mode string
		cert       tls.Certificate
		ca         string
		change     func(*tls.Config)
		want       string
	}{
		{"may, verified", "may", cert, ca, nil, "K 1 250 2.6.0 chunk taken (TLSv1.3, certificate verified)"},
		{"may, unknown CA", "may", cert, "", nil, "K 1 250 2.6.0 chunk taken (TLSv1.3, certificate not verified)"},
		{"may, other name", "may", other, otherCA, nil, "K 1 250 2.6.0 chunk taken (TLSv1.3, certificate not verified)"},
		{"TLS 1.2", "may", cert, ca, twelve, "K 1 250 2.6.0 chunk taken (TLSv1.2, certificate verified)"},
		{"verify", "verify", cert, ca, nil, "K 1 250 2.6.0 chunk taken (TLSv1.3, certificate verified)"},
		{"verify, unknown CA", "verify", cert, "", nil, "S mx.example.test[127.0.0.1]: TLS: x509"},
		{"verify, other name", "verify", other, otherCA, nil, "S mx.example.test[127.0.0.1]: TLS: x509"},
		{"verify, TLS 1.1 (S030)", "verify", cert, ca, old, "S mx.example.test[127.0.0.1]: TLS: "},
	} {
		p := newPeer(t, "tcp", "127.0.0.1:0", func(d *dialogue) { d.secure(test.cert, test.change) })
		c, _ := newClient(t, zone, p.port, func(conf *config.Config) { conf.TLS.CA, conf.Remote.TLS = test.ca, test.mode })
		for range 2 {
			if got := deliver(t, c, site, letter{rcpts: []string{"bob@example.test"}}); !strings.HasPrefix(got, test.want) {
				t.Errorf("%s: %s", test.name, got)
			}
		}
		if said := p.transcript(); strings.Count(said, "EHLO") < 2 && test.want[0] == 'K' || strings.Contains(said, "in clear") {
			t.Errorf("%s: %s", test.name, said)
		}
	}
}

// Opportunistic TLS that fails is given up in a new connection, and for an hour not tried again.
func TestFallbackInNewConnection(t *testing.T) {
	p := newPeer(t, "tcp", "127.0.0.1:0", func(d *dialogue) {
		if d.n == 1 {
			d.say("220 mx.test")
			d.line()
			d.say("250-mx.test", "250 STARTTLS")
			d.line()
			d.say("220 go")
			d.Conn.Read(make([]byte, 9000))
			d.say("this is no TLS")
			return
		}
		d.smtp(append([]string{"STARTTLS"}, modern...), nil)
	})
	c, _ := newClient(t, zone, p.port, func(conf *config.Config) { conf.Remote.MaxPerConn = 1 })
	for range 2 {
		if got := deliver(t, c, site, letter{rcpts: []string{"bob@example.test"}}); !strings.HasPrefix(got, "K 1 250 2.6.0 chunk taken (in clear)") {
			t.Error(got)
		}
	}
	if handshakes := strings.Count(p.transcript(), "C: STARTTLS"); handshakes != 1 || p.connections() != 3 {
		t.Errorf("%d times STARTTLS in %d connections", handshakes, p.connections())
	}
}

func TestNoTLSWhereItMustBe(t *testing.T) {
	p := newPeer(t, "tcp", "127.0.0.1:0", func(d *dialogue) { d.smtp(modern, nil) })
	c, _ := newClient(t, zone, p.port, func(conf *config.Config) { conf.Remote.TLS = "verify" })
	if got := deliver(t, c, site, letter{rcpts: []string{"bob@example.test"}}); !strings.Contains(got, "Z 1 451 4.7.4") {
		t.Error(got)
	}
	refusing := newPeer(t, "tcp", "127.0.0.1:0", func(d *dialogue) {
		d.smtp(append([]string{"STARTTLS"}, modern...), map[string]string{"STARTTLS": "454 4.7.0 not now"})
	})
	for mode, want := range map[string]string{"verify": "Z 1 454 4.7.4", "may": "K 1", "none": "K 1"} {
		c, _ := newClient(t, zone, refusing.port, func(conf *config.Config) { conf.Remote.TLS = mode })
		if got := deliver(t, c, site, letter{rcpts: []string{"bob@example.test"}}); !strings.Contains(got, want) {
			t.Errorf("%s: %s", mode, got)
		}
	}
}

// S026: octets between the reply to STARTTLS and the handshake are an attack: the connection ends, the message waits, and it
// does not go out in clear either.
func TestS026OctetsAfterStartTLS(t *testing.T) {
	for _, mode := range []string{"may", "verify"} {
		p := newPeer(t, "tcp", "127.0.0.1:0", func(d *dialogue) {
			d.smtp(append([]string{"STARTTLS"}, modern...), map[string]string{"STARTTLS": "220 go\n250-mx.test\n250 AUTH PLAIN"})
		})
		c, _ := newClient(t, zone, p.port, func(conf *config.Config) { conf.Remote.TLS = mode })
		got := deliver(t, c, site, letter{rcpts: []string{"bob@example.test"}})
		if !strings.Contains(got, "Z 1 451 4.7.0 octets after the reply to STARTTLS") || strings.Contains(p.transcript(), "MAIL") || p.connections() != 1 {
			t.Errorf("%s: %s\n%s", mode, got, p.transcript())
		}
	}
}

// S027: what was offered before TLS is forgotten, AUTH among it.
func TestS027ForgottenAfterTLS(t *testing.T) {
	cert, ca := certificate(t, "mx.example.test")
	p := newPeer(t, "tcp", "127.0.0.1:0", func(d *dialogue) { d.secure(cert, nil) })
	c, _ := newClient(t, zone, p.port, func(conf *config.Config) { conf.TLS.CA = ca })
	deliver(t, c, site, letter{rcpts: []string{"bob@example.test"}})
	if said := p.transcript(); !strings.Contains(said, "C: BDAT") { // CHUNKING was offered under TLS only
		t.Error(said)
	}
}

func TestAuth(t *testing.T) {
	cert, ca := certificate(t, "relay.test")
	password := filepath.Join(t.TempDir(), "password")
	os.WriteFile(password, []byte("s3cret\n"), 0600)
	for _, test := range []struct {
		name    string
		each    func(d *dialogue)
		want    string
		saidHas string
	}{
		{"PLAIN under TLS", func(d *dialogue) { d.secure(cert, nil) }, "K 1", "C: AUTH PLAIN AGFsaWNlAHMzY3JldA=="},
		{"LOGIN on loopback", func(d *dialogue) {
			d.smtp([]string{"AUTH=LOGIN"}, map[string]string{"AUTH LOGIN": "334 VXNlcm5hbWU6", "YWxpY2U=": "334 UGFzc3dvcmQ6", "czNjcmV0": "235 2.7.0 ok"})
		}, "K 1", "C: czNjcmV0"},
		{"wrong", func(d *dialogue) {
			d.smtp([]string{"AUTH PLAIN"}, map[string]string{"AUTH PLAIN": "535 5.7.8 wrong"})
		}, "S relay.test[127.0.0.1]: 535 AUTH refused: wrong\nZ 1 451 4.7.8", ""},
		{"not offered", func(d *dialogue) { d.smtp(modern, nil) }, "S relay.test[127.0.0.1]: the host offers neither", ""},
	} {
		p := newPeer(t, "tcp", "127.0.0.1:0", test.each)
		relay := fmt.Sprintf("smtp://relay.test:%d", p.port)
		c, _ := newClient(t, "relay.test A 127.0.0.1", 25, func(conf *config.Config) {
			conf.TLS.CA = ca
			conf.Routes = map[string]config.Route{"*": {Next: []string{relay}, User: "alice", PasswordFile: password}}
		})
		got := deliver(t, c, relay, letter{rcpts: []string{"bob@example.test", "bob@other.test"}})
		if !strings.HasPrefix(got, test.want) || !strings.Contains(p.transcript(), test.saidHas) {
			t.Errorf("%s: %s\n%s", test.name, got, p.transcript())
		}
	}
	c, _ := newClient(t, "", 25, nil)
	s := &session{c: c}
	s.addr = mustAddrPort("192.0.2.1:25")
	if got := s.authenticate(&destination{}); got == nil || !strings.Contains(got.Text, "no TLS") {
		t.Error("a password would go out in clear")
	}
}

func TestLoginFor(t *testing.T) {
	relay, other := "smtp://relay.test:587", "smtp://other.test:587"
	c, _ := newClient(t, "", 25, func(conf *config.Config) {
		conf.Routes = map[string]config.Route{
			"*":          {Next: []string{relay}, User: "all"},
			".sub.test":  {Next: []string{relay}, User: "suffix"},
			"x.sub.test": {Next: []string{relay}, User: "exact"},
			"y.sub.test": {Next: []string{other}, User: "elsewhere"},
			"bank.test":  {Next: []string{"mx"}, TLS: "verify"},
		}
		conf.Senders = map[string]config.Route{"we.test": {Next: []string{other}, User: "sender"}}
	})
	for _, test := range []struct{ site, from, domain, user, tls string }{
		{relay, "a@x.test", "example.test", "all", "may"},
		{relay, "a@x.test", "a.b.sub.test", "suffix", "may"},
		{relay, "a@x.test", "x.sub.test", "exact", "may"},
		{other, "a@we.test", "x.sub.test", "sender", "may"},
		{other, "a@x.test", "y.sub.test", "elsewhere", "may"},
		{"mx.bank.test+1", "a@x.test", "bank.test", "", "verify"},
		{"mx.example.test+1", "a@x.test", "example.test", "", "may"},
	} {
		if got := c.loginFor(test.site, path(test.from), test.domain); got.user != test.user || got.tls != test.tls {
			t.Errorf("%v: %+v", test, got)
		}
	}
}
