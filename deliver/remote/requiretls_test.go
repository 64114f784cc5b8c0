package remote

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pennypost/internal/config"
)

// tight is a session with STARTTLS and, under it, what ext says.
func (d *dialogue) tight(cert tls.Certificate, ext ...string) {
	d.say("220 mx.test")
	for {
		switch line := d.line(); {
		case line == "":
			return
		case strings.HasPrefix(line, "EHLO"):
			d.say("250-mx.test", "250-REQUIRETLS", "250 STARTTLS") // offered in clear it counts for nothing
		case line == "STARTTLS":
			d.say("220 2.0.0 go")
			conn := tls.Server(d.Conn, &tls.Config{Certificates: []tls.Certificate{cert}})
			if conn.Handshake() != nil {
				return
			}
			d.Conn, d.r = conn, bufio.NewReader(conn)
			d.smtp(append(ext, modern...), map[string]string{"greeting": ""})
			return
		default:
			d.say("250 2.0.0 ok in clear")
		}
	}
}

// S046: a message with REQUIRETLS goes where somebody vouches for the host's name, the host proves it, and offers the same; or it fails.
func TestS046REQUIRETLS(t *testing.T) {
	cert, ca := certificate(t, "mx.example.test")
	stranger, _ := certificate(t, "mx.example.test")
	web, webCA := certificate(t, "mta-sts.example.test")
	roots := bundle(t, ca, webCA)
	offers := func(d *dialogue) { d.tight(cert, "REQUIRETLS") }
	for _, test := range []struct {
		name, zone, policy string
		each               func(*dialogue)
		want               string
	}{
		{"DNSSEC vouches for the MX", zone + "* !ad", "", offers, "K 250 2.6.0 tls=verified"},
		{"DANE", zone + "* !ad\nTLSA " + tlsaOf(cert, 3, 1), "", offers, "K 250 2.6.0 tls=dane"},
		{"MTA-STS", stsZone, enforced, offers, "K 250 2.6.0 tls=mta-sts"},
		{"MTA-STS in mode testing", stsZone, strings.Replace(enforced, "enforce", "testing", 1), offers, "K 250 2.6.0 tls=verified"},
		{"nobody vouches for the MX", zone, "", offers, "D 550 5.7.30"},
		{"not in the policy", stsZone, strings.Replace(enforced, "mx.", "mail.", 1), offers, "Z 451 4.7.5"},
		{"not offered", zone + "* !ad", "", func(d *dialogue) { d.tight(cert) }, "D 550 5.7.30"},
		{"unknown authority", zone + "* !ad", "", func(d *dialogue) { d.tight(stranger, "REQUIRETLS") }, "D 550 5.7.30"},
		{"no TLS", zone + "* !ad", "", clearOnly, "D 550 5.7.30"},
		{"TLSA does not fit", zone + "* !ad\nTLSA " + tlsaOf(stranger, 3, 1), "", offers, "D 550 5.7.30"},
		{"DNS cannot say", zone + "* !ad\nTLSA " + tlsaOf(cert, 3, 1) + "\nTLSA !servfail", "", offers, "Z 451 4.7.5"},
	} {
		p := newPeer(t, "tcp", "127.0.0.1:0", test.each)
		s := servePolicy(t, web, test.policy)
		z := strings.ReplaceAll(test.zone, "TLSA ", fmt.Sprintf("_%d._tcp.mx.example.test TLSA ", p.port))
		z = strings.ReplaceAll(z, "TLSA !", "!")
		for _, header := range []string{"", "TLS-Required: No\n"} { // section 4.1: the field does not count then
			c, _ := newClient(t, z, p.port, func(conf *config.Config) {
				conf.TLS.CA, conf.Remote.STSPort = roots, s.port
				conf.DNS.Timeout = 300 * time.Millisecond
			})
			got := verdicts(t, c, letter{mail: "REQUIRETLS", text: header + "Subject: hi\n\nhi\n"})
			if !strings.HasPrefix(got, test.want) {
				t.Errorf("%s: %s", test.name, got)
			}
		}
		said := p.transcript()
		if mail := strings.Contains(said, "MAIL FROM:<alice@we.test>"); mail != (test.want[0] == 'K') || mail && !strings.Contains(said, " REQUIRETLS\n") {
			t.Errorf("%s: %s", test.name, said)
		}
	}
}

// A host that mail.toml names needs nobody to vouch for its name; a program on this host needs no TLS.
func TestS046REQUIRETLSFixed(t *testing.T) {
	cert, ca := certificate(t, "relay.test")
	for _, test := range []struct {
		name, site string
		each       func(*dialogue)
		want       string
	}{
		{"relay", "smtp://relay.test:%d", func(d *dialogue) { d.tight(cert, "REQUIRETLS") }, "K 1 250"},
		{"relay without", "smtp://relay.test:%d", func(d *dialogue) { d.tight(cert) }, "D 1 550 5.7.30"},
		{"LMTP here", "lmtp:relay.test:%d", func(d *dialogue) { d.smtp(modern, nil) }, "K 1 250"},
	} {
		p := newPeer(t, "tcp", "127.0.0.1:0", test.each)
		c, _ := newClient(t, "relay.test A 127.0.0.1", 25, func(conf *config.Config) { conf.TLS.CA = ca })
		got := deliver(t, c, fmt.Sprintf(test.site, p.port), letter{mail: "REQUIRETLS", rcpts: []string{"bob@example.test"}})
		if !strings.HasPrefix(got, test.want) {
			t.Errorf("%s: %s", test.name, got)
		}
	}
}

// S046: TLS-Required: No has policies ignored, and TLS tried all the same; said twice, or otherwise, it says nothing.
func TestS046TLSRequiredNo(t *testing.T) {
	cert, ca := certificate(t, "mx.example.test")
	other, _ := certificate(t, "elsewhere.test")
	web, webCA := certificate(t, "mta-sts.example.test")
	roots := bundle(t, ca, webCA)
	wrong := fmt.Sprintf("* !ad\nTLSA %s", tlsaOf(other, 3, 1))
	tls := func(d *dialogue) { d.secure(cert, nil) }
	for _, test := range []struct {
		header, zone, policy string
		each                 func(*dialogue)
		want                 string
	}{
		{"TLS-Required: No\n", zone + wrong, "", tls, "K 250 2.6.0 tls=opportunistic-verified"},
		{"tls-required:no\n", zone + wrong, "", tls, "K 250 2.6.0 tls=opportunistic-verified"},
		{"TLS-Required: No\n", zone + wrong, "", clearOnly, "K 250 2.6.0 tls=none"},
		{"TLS-Required: No\n", stsZone, strings.Replace(enforced, "mx.", "mail.", 1), clearOnly, "K 250 2.6.0 tls=none"},
		{"TLS-Required: No\n", stsZone + "_mta-sts.example.test !servfail", "", clearOnly, "K 250 2.6.0 tls=none"},
		{"TLS-Required: Yes\n", zone + wrong, "", tls, "Z 451 4.7.5"},
		{"TLS-Required: No\nTLS-Required: No\n", zone + wrong, "", tls, "Z 451 4.7.5"},
		{"X: y\n TLS-Required: No\n", zone + wrong, "", tls, "Z 451 4.7.5"},
		{"X: y\n\nTLS-Required: No\n", zone + wrong, "", tls, "Z 451 4.7.5"},
	} {
		p := newPeer(t, "tcp", "127.0.0.1:0", test.each)
		s := servePolicy(t, web, test.policy)
		z := strings.ReplaceAll(test.zone, "TLSA ", fmt.Sprintf("_%d._tcp.mx.example.test TLSA ", p.port))
		c, _ := newClient(t, z, p.port, func(conf *config.Config) {
			conf.TLS.CA, conf.Remote.STSPort = roots, s.port
			conf.DNS.Timeout = 300 * time.Millisecond
		})
		if got := verdicts(t, c, letter{text: test.header + "Subject: hi\n\nhi\n"}); !strings.HasPrefix(got, test.want) {
			t.Errorf("%q, %s: %s", test.header, test.zone, got)
		}
	}
}

// T10: a domain that had TLS and has none any more is waited for; without its file mail goes.
func TestDowngrade(t *testing.T) {
	cert, _ := certificate(t, "mx.example.test")
	state := t.TempDir()
	for _, how := range []struct {
		name string
		each func(*dialogue)
	}{
		{"STARTTLS is gone", clearOnly},
		{"STARTTLS fails", func(d *dialogue) {
			d.smtp(append([]string{"STARTTLS"}, modern...), map[string]string{"STARTTLS": "454 4.7.0 not now"})
		}},
		{"no handshake", func(d *dialogue) {
			d.say("220 mx.test")
			d.line()
			d.say("250-mx.test", "250 STARTTLS")
			d.line()
			d.say("220 go")
			d.Conn.Read(make([]byte, 9000))
			d.say("this is no TLS")
		}},
	} {
		p := newPeer(t, "tcp", "127.0.0.1:0", func(d *dialogue) { d.secure(cert, nil) })
		with := func(port int) *Client {
			c, _ := newClient(t, zone, port, func(conf *config.Config) { conf.State = state })
			return c
		}
		c := with(p.port)
		if got := verdicts(t, c, letter{}); !strings.HasPrefix(got, "K 250 2.6.0 tls=opportunistic ") {
			t.Fatal(got)
		}
		c.Close()
		gone := newPeer(t, "tcp", "127.0.0.1:0", how.each)
		for range 2 {
			got := verdicts(t, with(gone.port), letter{})
			if !strings.HasPrefix(got, "Z 451 4.7.4 tls= example.test had TLS on ") || strings.Contains(gone.transcript(), "MAIL") {
				t.Errorf("%s: %s\n%s", how.name, got, gone.transcript())
			}
		}
		if err := os.Remove(filepath.Join(state, "tls/example.test")); err != nil {
			t.Fatal(err)
		}
	}
	last := newPeer(t, "tcp", "127.0.0.1:0", clearOnly)
	c, _ := newClient(t, zone, last.port, func(conf *config.Config) { conf.State = state })
	if got := verdicts(t, c, letter{}); !strings.HasPrefix(got, "K 250 2.6.0 tls=none") {
		t.Errorf("file removed: %s", got)
	}
}

// An idle connection that proved nothing is not used for mail that demands proof, nor one of another policy.
func TestPolicyAndIdleConnections(t *testing.T) {
	cert, ca := certificate(t, "mx.example.test")
	p := newPeer(t, "tcp", "127.0.0.1:0", func(d *dialogue) { d.tight(cert, "REQUIRETLS") })
	both := zone + "* !ad\nother.test MX 10 mx.example.test\nother.test !noad"
	c, _ := newClient(t, both, p.port, func(conf *config.Config) { conf.TLS.CA = ca })
	for _, step := range []struct {
		rcpt, mail, want string
		connections      int
	}{
		{"bob@other.test", "", "K 250 2.6.0 tls=opportunistic-verified", 1},
		{"bob@other.test", "", "K 250 2.6.0 tls=opportunistic-verified", 1},
		{"bob@example.test", "", "K 250 2.6.0 tls=opportunistic-verified", 2},
		{"bob@example.test", "REQUIRETLS", "K 250 2.6.0 tls=verified", 3},
		{"bob@other.test", "REQUIRETLS", "D 550 5.7.30", 3},
		{"bob@example.test", "", "K 250 2.6.0 tls=opportunistic-verified", 3},
	} {
		if got := verdicts(t, c, letter{rcpts: []string{step.rcpt}, mail: step.mail}); !strings.HasPrefix(got, step.want) || p.connections() != step.connections {
			t.Errorf("%+v: %s over %d connections", step, got, p.connections())
		}
	}
}

// What is counted for the reports to domains (RFC 8460): sessions under a policy, and why others came to none.
func TestCounted(t *testing.T) {
	cert, ca := certificate(t, "mx.example.test")
	other, _ := certificate(t, "elsewhere.test")
	old, oldCA := certificateUntil(t, time.Now().Add(-time.Hour), "mx.example.test")
	web, webCA := certificate(t, "mta-sts.example.test")
	roots := bundle(t, ca, webCA, oldCA)
	tls := func(d *dialogue) { d.secure(cert, nil) }
	for _, test := range []struct {
		zone, policy string
		each         func(*dialogue)
		want         string
	}{
		{zone + "* !ad\nTLSA " + tlsaOf(cert, 3, 1), "", tls, "domain=example.test type=tlsa policy=3%201%201%20"},
		{zone + "* !ad\nTLSA " + tlsaOf(other, 3, 1), "", tls, "domain=example.test type=tlsa result=validation-failure mx=mx.example.test to=127.0.0.1 reason="},
		{stsZone, enforced, tls, "domain=example.test type=sts policy=version:%20STSv1 policy=mode:%20enforce"},
		{stsZone, enforced, clearOnly, "domain=example.test type=sts result=starttls-not-supported mx=mx.example.test"},
		{stsZone, enforced, func(d *dialogue) { d.secure(other, nil) }, "domain=example.test type=sts result=certificate-not-trusted"},
		{stsZone, enforced, func(d *dialogue) { d.secure(old, nil) }, "domain=example.test type=sts result=certificate-expired"},
		{stsZone, strings.Replace(strings.Replace(enforced, "enforce", "testing", 1), "mx.", "mail.", 1), tls, "domain=example.test type=sts result=validation-failure"},
		{stsZone, "", tls, "domain=example.test type=sts result=sts-policy-fetch-error"},
		{stsZone, "rubbish", tls, "domain=example.test type=sts result=sts-policy-invalid"},
		{zone, "", tls, "domain=example.test type=no-policy-found"},
		{zone, "", clearOnly, ""},
	} {
		p := newPeer(t, "tcp", "127.0.0.1:0", test.each)
		s := servePolicy(t, web, test.policy)
		z := strings.ReplaceAll(test.zone, "TLSA ", fmt.Sprintf("_%d._tcp.mx.example.test TLSA ", p.port))
		state := t.TempDir()
		c, _ := newClient(t, z, p.port, func(conf *config.Config) {
			conf.TLS.CA, conf.Remote.STSPort, conf.State = roots, s.port, state
		})
		verdicts(t, c, letter{})
		if text := counted(t, state); !strings.Contains(text, test.want) || test.want == "" && text != "" {
			t.Errorf("want %s\ngot %s", test.want, text)
		}
	}
}

// counted is what is kept for the reports.
func counted(t *testing.T, state string) string {
	t.Helper()
	files, _ := filepath.Glob(filepath.Join(state, "reports/tls/*"))
	var text []byte
	for _, file := range files {
		more, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		text = append(text, more...)
	}
	return string(text)
}

// Domains with the same hosts share transactions and connections; a session is counted once for each, and all are remembered.
func TestCountedForEachDomain(t *testing.T) {
	cert, ca := certificate(t, "mx.example.test")
	web, webCA := certificate(t, "mta-sts.example.test", "mta-sts.second.test", "mta-sts.third.test")
	more := ""
	for _, domain := range []string{"second.test", "third.test"} {
		more += "\n" + domain + " MX 10 mx.example.test\n_mta-sts." + domain + " TXT \"v=STSv1; id=1\"\nmta-sts." + domain + " A 127.0.0.1\n"
	}
	for _, test := range []struct {
		each func(*dialogue)
		good bool
	}{{func(d *dialogue) { d.secure(cert, nil) }, true}, {clearOnly, false}} {
		p := newPeer(t, "tcp", "127.0.0.1:0", test.each)
		s := servePolicy(t, web, enforced)
		state := t.TempDir()
		c, _ := newClient(t, stsZone+more, p.port, func(conf *config.Config) {
			conf.TLS.CA, conf.Remote.STSPort, conf.State = bundle(t, ca, webCA), s.port, state
		})
		for _, rcpts := range [][]string{{"bob@example.test", "bob@second.test", "carol@example.test"}, {"bob@third.test"}, {"bob@second.test", "bob@third.test"}} {
			verdicts(t, c, letter{rcpts: rcpts})
		}
		c.seen.Close()
		text := counted(t, state)
		for domain, n := range map[string]int{"example.test": 1, "second.test": 1, "third.test": 1} {
			if !test.good { // a session each time
				n = map[string]int{"example.test": 1, "second.test": 2, "third.test": 2}[domain]
			}
			if got := strings.Count(text, "domain="+domain+" type=sts"); got != n || strings.Contains(text, "result=") == test.good {
				t.Errorf("good %v: %s %d times, want %d\n%s", test.good, domain, got, n, text)
			}
			if _, err := os.Stat(filepath.Join(state, "tls", domain)); (err == nil) != test.good {
				t.Errorf("good %v: memory of %s: %v", test.good, domain, err)
			}
		}
		if test.good && p.connections() != 1 {
			t.Errorf("%d connections", p.connections())
		}
	}
}
