package remote

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"pennypost/internal/config"
	"pennypost/internal/maillog"
)

// tlsaOf is the value "U S 1 HASH" of a certificate.
func tlsaOf(cert tls.Certificate, usage, selector int) string {
	parsed, err := x509.ParseCertificate(cert.Certificate[0])
	if err != nil {
		panic(err)
	}
	of := parsed.Raw
	if selector == 1 {
		of = parsed.RawSubjectPublicKeyInfo
	}
	sum := sha256.Sum256(of)
	return fmt.Sprintf("%d %d 1 %s", usage, selector, hex.EncodeToString(sum[:]))
}

// verdicts runs one delivery to bob@example.test and gives the answers with the verdicts.
func verdicts(t *testing.T, c *Client, l letter) string {
	t.Helper()
	if l.from == "" {
		l.from = "alice@we.test"
	}
	if l.text == "" {
		l.text = "Subject: hi\n\nhi\n"
	}
	if l.rcpts == nil {
		l.rcpts = []string{"bob@example.test"}
	}
	o, f := l.file(t, site)
	var all []string
	for _, a := range c.Deliver(context.Background(), o, int(f.Fd()), nil, nil) {
		switch a.Kind {
		case 'K', 'Z', 'D':
			all = append(all, fmt.Sprintf("%c %d %s tls=%s %s", a.Kind, a.Result.Code, a.Result.Enhanced, a.TLS, a.Result.Text))
		case 'S':
			all = append(all, "S "+a.Result.Text)
		}
	}
	return strings.Join(all, "\n")
}

// clearOnly is a host without TLS, which must not get what needs it.
func clearOnly(d *dialogue) { d.smtp(modern, nil) }

// Outcomes of DANE by what DNS says (RFC 7672): delivered only where it may be.
func TestDANE(t *testing.T) {
	cert, _ := certificate(t, "mx.example.test")
	other, _ := certificate(t, "elsewhere.test")
	old, _ := certificateUntil(t, time.Now().Add(-time.Hour), "mx.example.test")
	tls := func(d *dialogue) { d.secure(cert, nil) }
	ee, wrong := tlsaOf(cert, 3, 1), tlsaOf(other, 3, 1)
	const at = "_25._tcp.mx.example.test"
	signed := zone + "* !ad\n"
	for _, test := range []struct {
		name, zone string
		each       func(*dialogue)
		want       string
	}{
		{"matches", signed + at + " TLSA " + ee, tls, "K 250 2.6.0 tls=dane chunk taken (TLSv1.3, certificate matches TLSA)"},
		{"matches with its whole certificate", signed + at + " TLSA " + tlsaOf(cert, 3, 0), tls, "K 250 2.6.0 tls=dane"},
		{"matches the next one", signed + at + " TLSA " + wrong + "\n" + at + " TLSA " + ee, tls, "K 250 2.6.0 tls=dane"},
		{"as an authority", signed + at + " TLSA " + tlsaOf(cert, 2, 0), tls, "K 250 2.6.0 tls=dane"},
		{"has expired, which is nothing to DANE-EE (RFC 7671 section 5.1)", signed + at + " TLSA " + tlsaOf(old, 3, 1), func(d *dialogue) { d.secure(old, nil) }, "K 250 2.6.0 tls=dane"},
		{"has expired, and is to be an authority", signed + at + " TLSA " + tlsaOf(old, 2, 0), func(d *dialogue) { d.secure(old, nil) }, "Z 451 4.7.5 tls= DANE: "},
		{"matches nothing", signed + at + " TLSA " + wrong, tls, "Z 451 4.7.5 tls= DANE: the certificate matches no TLSA record"},
		{"STARTTLS is gone", signed + at + " TLSA " + ee, clearOnly, "Z 451 4.7.4 tls= TLS is required here"},
		{"no records", signed, tls, "K 250 2.6.0 tls=opportunistic chunk"},
		{"no records, no TLS", signed, clearOnly, "K 250 2.6.0 tls=none"},
		{"TLSA bogus (S037)", signed + at + " TLSA " + ee + "\n" + at + " !servfail", tls, "Z 451 4.7.5 tls= DANE: DNS _25._tcp.mx.example.test TLSA: SERVFAIL"},
		{"TLSA without answer (S037)", signed + at + " TLSA " + ee + "\n" + at + " !drop", clearOnly, "Z 451 4.7.5 tls= DANE: DNS _25._tcp.mx.example.test TLSA: no answer"},
		{"MX bogus (S037)", signed + at + " TLSA " + ee + "\nexample.test !servfail", tls, "S DNS example.test MX: SERVFAIL"},
		{"address bogus (S037)", signed + at + " TLSA " + ee + "\nmx.example.test !servfail", tls, "S DNS mx.example.test A"},
		{"PKIX usages cannot be used (S038)", signed + at + " TLSA 0" + ee[1:] + "\n" + at + " TLSA 1" + ee[1:], tls, "K 250 2.6.0 tls=opportunistic"},
		{"nothing usable, no TLS (S038)", signed + at + " TLSA 1" + ee[1:], clearOnly, "Z 451 4.7.4 tls= TLS is required here"},
		{"MX insecure", signed + at + " TLSA " + wrong + "\nexample.test !noad", tls, "K 250 2.6.0 tls=opportunistic"},
		{"addresses insecure: TLSA is not asked for", signed + at + " !servfail\nmx.example.test !noad", tls, "K 250 2.6.0 tls=opportunistic"},
		{"TLSA insecure", signed + at + " TLSA " + wrong + "\n" + at + " !noad", tls, "K 250 2.6.0 tls=opportunistic"},
	} {
		p := newPeer(t, "tcp", "127.0.0.1:0", test.each)
		z := strings.ReplaceAll(test.zone, at, fmt.Sprintf("_%d._tcp.mx.example.test", p.port))
		c, _ := newClient(t, z, p.port, func(conf *config.Config) { conf.DNS.Timeout = 300 * time.Millisecond })
		got := verdicts(t, c, letter{})
		if want := strings.ReplaceAll(test.want, "_25._", fmt.Sprintf("_%d._", p.port)); !strings.HasPrefix(got, want) {
			t.Errorf("%s: %s", test.name, got)
		}
		if !strings.HasPrefix(test.want, "K") && strings.Contains(p.transcript(), "MAIL") {
			t.Errorf("%s: %s", test.name, p.transcript())
		}
	}
}

// An alias in front of the host (RFC 7672 section 2.2.2): records at its end count, and where its end is insecure those at its
// beginning.
func TestDANEBehindAlias(t *testing.T) {
	cert, _ := certificate(t, "mx.example.test")
	p := newPeer(t, "tcp", "127.0.0.1:0", func(d *dialogue) { d.secure(cert, nil) })
	at := func(host string, value string) string {
		return fmt.Sprintf("_%d._tcp.%s TLSA %s\n", p.port, host, value)
	}
	const z = "* !ad\nexample.test MX 10 mx.example.test\nmx.example.test CNAME real.test\nreal.test A 127.0.0.1\n"
	other, _ := certificate(t, "elsewhere.test")
	ee, wrong := tlsaOf(cert, 3, 1), tlsaOf(other, 3, 1)
	for _, test := range []struct{ name, zone, want string }{
		{"at the end", z + at("real.test", ee) + at("mx.example.test", wrong), "K 250 2.6.0 tls=dane"},
		{"at the beginning", z + at("mx.example.test", ee), "K 250 2.6.0 tls=dane"},
		{"the end counts first", z + at("real.test", wrong) + at("mx.example.test", ee), "Z 451 4.7.5"},
		{"neither", z, "K 250 2.6.0 tls=opportunistic"},
	} {
		c, _ := newClient(t, test.zone, p.port, nil)
		if got := verdicts(t, c, letter{}); !strings.HasPrefix(got, test.want) {
			t.Errorf("%s: %s", test.name, got)
		}
	}
}

// S037: a resolver that does not validate, or is not to be trusted, gives no DANE; nor is anything delivered less safely than
// without.
func TestS037DANEOff(t *testing.T) {
	cert, _ := certificate(t, "mx.example.test")
	other, _ := certificate(t, "elsewhere.test")
	p := newPeer(t, "tcp", "127.0.0.1:0", func(d *dialogue) { d.secure(cert, nil) })
	z := zone + fmt.Sprintf("* !ad\n_%d._tcp.mx.example.test TLSA %s\n", p.port, tlsaOf(other, 3, 1))
	const mend = ` MTA-STS and TLS go on. A resolver that validates, such as unbound at 127.0.0.1, ends this"`
	for _, test := range []struct{ name, more, want, log string }{
		{"validates", "bogus.test !servfail", "Z 451 4.7.5", ""},
		{"believes all it is told", "bogus.test A 127.0.0.1", "K 250 2.6.0 tls=opportunistic",
			`DANE is off: the resolver does not validate DNSSEC, it answers for bogus.test.` + mend},
		{"cannot be told", "bogus.test !refused", "Z 451 4.7.5", "whether the resolver validates DNSSEC is not known: no answer of use for bogus.test, see dns.probe in mail.toml(5)"},
		{"elsewhere", "", "K 250 2.6.0 tls=opportunistic", `DANE is off: not every resolver is on this host, and dns.trust_ad is not set.` + mend},
	} {
		c, _ := newClient(t, z+test.more, p.port, func(conf *config.Config) {
			conf.DNS.Probe = "bogus.test"
			if test.more == "" {
				conf.DNS.Servers = append(conf.DNS.Servers, "192.0.2.1:53")
			}
		})
		var log strings.Builder
		c.log = &maillog.Log{Program: "deliver-remote", Out: &log}
		for range 2 { // and it is said once
			if got := verdicts(t, c, letter{}); !strings.HasPrefix(got, test.want) {
				t.Errorf("%s: %s", test.name, got)
			}
		}
		if said := strings.Count(log.String(), "DNSSEC") + strings.Count(log.String(), "trust_ad"); !strings.Contains(log.String(), test.log) || said > 1 || said == 0 != (test.log == "") {
			t.Errorf("%s: the log says\n%s", test.name, &log)
		}
	}
}

// policyServer is the web server of an MTA-STS policy.
type policyServer struct {
	port   int
	policy atomic.Value // string
	asked  atomic.Int32
}

func servePolicy(t *testing.T, cert tls.Certificate, policy string) *policyServer {
	t.Helper()
	s := &policyServer{}
	s.policy.Store(policy)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.port = l.Addr().(*net.TCPAddr).Port
	server := &http.Server{TLSConfig: &tls.Config{Certificates: []tls.Certificate{cert}}, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.asked.Add(1)
		text := s.policy.Load().(string)
		switch {
		case r.URL.Path != "/.well-known/mta-sts.txt":
			http.NotFound(w, r)
		case strings.HasPrefix(text, "http"):
			http.Redirect(w, r, text, http.StatusFound)
		case text == "":
			http.NotFound(w, r)
		default:
			w.Header().Set("Content-Type", "text/plain")
			w.Write([]byte(text))
		}
	})}
	go server.ServeTLS(l, "", "")
	t.Cleanup(func() { server.Close() })
	return s
}

const enforced = "version: STSv1\r\nmode: enforce\r\nmx: mx.example.test\r\nmax_age: 604800\r\n"

const stsZone = zone + `
	_mta-sts.example.test TXT "v=STSv1; id=1;"
	mta-sts.example.test  A   127.0.0.1
`

// bundle writes several authorities into one file for [tls] ca.
func bundle(t *testing.T, files ...string) string {
	t.Helper()
	var all []byte
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, text...)
	}
	name := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(name, all, 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

// Outcomes of MTA-STS by policy and host (RFC 8461).
func TestMTASTS(t *testing.T) {
	cert, ca := certificate(t, "mx.example.test")
	web, webCA := certificate(t, "mta-sts.example.test")
	stranger, _ := certificate(t, "mx.example.test")
	elsewhere, elsewhereCA := certificate(t, "elsewhere.test")
	old, oldCA := certificateUntil(t, time.Now().Add(-time.Hour), "mx.example.test")
	roots := bundle(t, ca, webCA, elsewhereCA, oldCA)
	with := func(cert tls.Certificate) func(*dialogue) { return func(d *dialogue) { d.secure(cert, nil) } }
	testing := strings.Replace(enforced, "enforce", "testing", 1)
	for _, test := range []struct {
		name, zone, policy string
		web                tls.Certificate
		each               func(*dialogue)
		want               string
	}{
		{"fits", stsZone, enforced, web, with(cert), "K 250 2.6.0 tls=mta-sts"},
		{"fits by wildcard", stsZone, strings.Replace(enforced, "mx.", "*.", 1), web, with(cert), "K 250 2.6.0 tls=mta-sts"},
		{"another MX", stsZone, strings.Replace(enforced, "mx.", "mail.", 1), web, with(cert), "Z 451 4.7.5 tls= the MTA-STS policy of example.test does not allow mx.example.test"},
		{"unknown authority", stsZone, enforced, web, with(stranger), "Z 451 4.7.5 tls= MTA-STS: x509"},
		{"expired", stsZone, enforced, web, with(old), "Z 451 4.7.5 tls= MTA-STS: x509: certificate has expired"},
		{"other name", stsZone, enforced, web, with(elsewhere), "Z 451 4.7.5 tls= MTA-STS: x509"},
		{"STARTTLS is gone", stsZone, enforced, web, clearOnly, "Z 451 4.7.4 tls= TLS is required"},
		{"testing, another MX", stsZone, strings.Replace(testing, "mx.", "mail.", 1), web, with(stranger), "K 250 2.6.0 tls=opportunistic"},
		{"testing, no TLS", stsZone, testing, web, clearOnly, "K 250 2.6.0 tls=none"},
		{"none", stsZone, strings.Replace(enforced, "enforce", "none", 1), web, clearOnly, "K 250 2.6.0 tls=none"},
		{"no policy there", stsZone, "", web, clearOnly, "K 250 2.6.0 tls=none"},
		{"a policy that is none", stsZone, "version: STSv1\n", web, clearOnly, "K 250 2.6.0 tls=none"},
		{"redirect (S041)", stsZone, "https://mta-sts.example.test/other", web, clearOnly, "K 250 2.6.0 tls=none"},
		{"web server's certificate is another's (S041)", stsZone, enforced, elsewhere, clearOnly, "K 250 2.6.0 tls=none"},
		{"no record", zone, enforced, web, clearOnly, "K 250 2.6.0 tls=none"},
		{"two records", stsZone + `_mta-sts.example.test TXT "v=STSv1; id=2"`, enforced, web, clearOnly, "K 250 2.6.0 tls=none"},
		{"DNS cannot say", stsZone + "_mta-sts.example.test !servfail", enforced, web, clearOnly, "Z 451 4.4.3 tls= MTA-STS: DNS _mta-sts.example.test TXT: SERVFAIL"},
	} {
		s := servePolicy(t, test.web, test.policy)
		p := newPeer(t, "tcp", "127.0.0.1:0", test.each)
		c, _ := newClient(t, test.zone, p.port, func(conf *config.Config) {
			conf.TLS.CA, conf.Remote.STSPort = roots, s.port
			conf.DNS.Timeout = 300 * time.Millisecond
		})
		if got := verdicts(t, c, letter{}); !strings.HasPrefix(got, test.want) {
			t.Errorf("%s: %s", test.name, got)
		}
		if !strings.HasPrefix(test.want, "K") && strings.Contains(p.transcript(), "MAIL") {
			t.Errorf("%s: %s", test.name, p.transcript())
		}
	}
}

// The order is fixed: DANE, MTA-STS, what is to be had. One does not mend what the other found broken (RFC 8461 section 2).
func TestPrecedence(t *testing.T) {
	cert, ca := certificate(t, "mx.example.test")
	other, _ := certificate(t, "elsewhere.test")
	web, webCA := certificate(t, "mta-sts.example.test")
	roots := bundle(t, ca, webCA)
	p := newPeer(t, "tcp", "127.0.0.1:0", func(d *dialogue) { d.secure(cert, nil) })
	at := fmt.Sprintf("\n* !ad\n_%d._tcp.mx.example.test TLSA ", p.port)
	for _, test := range []struct{ name, zone, policy, want string }{
		{"DANE fits, MTA-STS does not", stsZone + at + tlsaOf(cert, 3, 1), strings.Replace(enforced, "mx.", "mail.", 1), "K 250 2.6.0 tls=dane"},
		{"MTA-STS fits, DANE does not", stsZone + at + tlsaOf(other, 3, 1), enforced, "Z 451 4.7.5 tls= DANE"},
		{"TLSA records that cannot be used leave MTA-STS", stsZone + at + "1" + tlsaOf(cert, 3, 1)[1:], enforced, "K 250 2.6.0 tls=mta-sts"},
	} {
		s := servePolicy(t, web, test.policy)
		for mode, want := range map[string]string{"": test.want, "may": "K 250 2.6.0 tls=opportunistic-verified", "none": "K 250 2.6.0 tls=none"} {
			c, _ := newClient(t, test.zone, p.port, func(conf *config.Config) {
				conf.TLS.CA, conf.Remote.STSPort = roots, s.port
				if mode != "" { // a route that states tls has the last word
					conf.Routes = map[string]config.Route{"example.test": {Next: []string{"mx"}, TLS: mode}}
				}
			})
			if mode == "none" {
				continue // the peer says 250 to MAIL in clear, and no more
			}
			if got := verdicts(t, c, letter{}); !strings.HasPrefix(got, want) {
				t.Errorf("%s, tls %q: %s", test.name, mode, got)
			}
		}
	}
}

// S039: the policy is that of the recipient's domain, and not of what an alias of its leads to.
func TestS039RecipientDomain(t *testing.T) {
	cert, ca := certificate(t, "mx.example.test")
	web, webCA := certificate(t, "mta-sts.example.test", "mta-sts.alias.test")
	p := newPeer(t, "tcp", "127.0.0.1:0", func(d *dialogue) { d.secure(cert, nil) })
	s := servePolicy(t, web, enforced)
	for _, test := range []struct{ zone, want string }{
		{stsZone + "alias.test CNAME example.test", "K 250 2.6.0 tls=opportunistic-verified"},
		{zone + "alias.test CNAME example.test\n_mta-sts.alias.test TXT \"v=STSv1; id=1\"\nmta-sts.alias.test A 127.0.0.1", "K 250 2.6.0 tls=mta-sts"},
	} {
		c, _ := newClient(t, test.zone, p.port, func(conf *config.Config) { conf.TLS.CA, conf.Remote.STSPort = bundle(t, ca, webCA), s.port })
		if got := verdicts(t, c, letter{rcpts: []string{"bob@alias.test"}}); !strings.HasPrefix(got, test.want) {
			t.Errorf("%s: %s", test.zone, got)
		}
	}
}

// A host that mail.toml names is asked for its TLSA records too (RFC 7672 section 2.2.2), and a route that states tls is obeyed.
func TestDANEOfNamedHost(t *testing.T) {
	cert, _ := certificate(t, "relay.test")
	other, _ := certificate(t, "elsewhere.test")
	p := newPeer(t, "tcp", "127.0.0.1:0", func(d *dialogue) { d.secure(cert, nil) })
	relay := fmt.Sprintf("smtp://relay.test:%d", p.port)
	for _, test := range []struct {
		cert      tls.Certificate
		mode, say string
	}{{cert, "", "K 1"}, {other, "", "Z 1 451 4.7.5 DANE: "}, {other, "may", "K 1"}} {
		z := fmt.Sprintf("* !ad\nrelay.test A 127.0.0.1\n_%d._tcp.relay.test TLSA %s", p.port, tlsaOf(test.cert, 3, 1))
		c, _ := newClient(t, z, 25, func(conf *config.Config) {
			conf.Routes = map[string]config.Route{"*": {Next: []string{relay}, TLS: test.mode}}
		})
		if got := deliver(t, c, relay, letter{rcpts: []string{"bob@example.test"}}); !strings.HasPrefix(got, test.say) {
			t.Errorf("tls %q: %s", test.mode, got)
		}
	}
}
