package peers

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pennypost/test/lab"
)

// outcomes is what becomes of mail for a domain, by what its DNS, its web server and its hosts are like. MX is a host with a certificate or
// without TLS; the TLSA records of each host are in the zones of danezones.
var outcomes = []struct {
	domain string // and what is the case there
	mx     string
	want   string // of deliver-remote: outcome, code, verdict
}{
	// DANE (RFC 7672)
	{"match.signed.test", "mx", "K 2.6.0 tls=dane"},
	{"match-ta.signed.test", "mx-ta", "K 2.6.0 tls=dane"},
	{"match-rollover.signed.test", "mx-two", "K 2.6.0 tls=dane"},
	{"alias.signed.test", "mx-alias", "K 2.6.0 tls=dane"},
	{"nomatch.signed.test", "mx-wrong", "Z 4.7.5"},
	{"ta-of-another-name.signed.test", "mx-ta-name", "Z 4.7.5"},
	{"stripped.signed.test", "mx-clear", "Z 4.7.4"},
	{"unusable.signed.test", "mx-pkix", "K 2.6.0 tls=opportunistic-verified"},
	{"unusable-stripped.signed.test", "mx-clear-pkix", "Z 4.7.4"},
	{"none.signed.test", "mx-none", "K 2.6.0 tls=opportunistic"},
	{"none-clear.signed.test", "mx-clear-none", "K 2.6.0 tls=none"},
	{"mx.bogus.test", "mx", "Z 4.4.3"},
	{"tlsa.spoilt.test", "mx", "Z 4.7.5"},
	{"tlsa-clear.spoilt.test", "mx-clear", "Z 4.7.5"},
	{"any.expired.test", "mx", "Z 4.4.3"},
	{"any.unreachable.test", "mx", "Z 4.4.3"},
	{"unsigned.plain.test", "mx-wrong", "K 2.6.0 tls=opportunistic-verified"},
	// MTA-STS (RFC 8461)
	{"sts.plain.test", "mx", "K 2.6.0 tls=mta-sts"},
	{"sts-not-in-policy.plain.test", "mx", "Z 4.7.5"},
	{"sts-other-name.plain.test", "mx-name", "Z 4.7.5"},
	{"sts-stripped.plain.test", "mx-clear", "Z 4.7.4"},
	{"sts-testing.plain.test", "mx-clear", "K 2.6.0 tls=none"},
	{"sts-no-server.plain.test", "mx-clear", "K 2.6.0 tls=none"},
	{"sts-server-of-another.plain.test", "mx-clear", "K 2.6.0 tls=none"},
	{"sts-cached.plain.test", "mx-clear", "Z 4.7.4"}, // its record and its server are gone
	{"sts-cached-expired.plain.test", "mx-clear", "K 2.6.0 tls=none"},
	{"sts-record-bogus.spoilt.test", "mx-none", "Z 4.4.3"},
	{"sts-and-dane.signed.test", "mx", "K 2.6.0 tls=dane"},             // the policy names another host, and does not count
	{"sts-and-no-match.signed.test", "mx-wrong", "Z 4.7.5"},            // the policy fits, and does not mend it
	{"sts-and-unusable.signed.test", "mx-pkix", "K 2.6.0 tls=mta-sts"}, // what cannot be used leaves the policy
}

const (
	tlsIP   = "127.0.0.21" // Postfix with a certificate
	clearIP = "127.0.0.22" // and without TLS
)

// TestDANE sends a message for each of outcomes through a validating resolver that is none of ours to Postfix, and looks that
// none is delivered that must not be.
func TestDANE(t *testing.T) {
	if testing.Short() {
		t.Skip("not with -short")
	}
	bin, err := lab.Bin()
	if err != nil {
		t.Skip(err)
	}
	if err := Available("postfix"); err != nil {
		t.Skip(err)
	}
	dir := t.TempDir()
	os.Chmod(dir, 0o755)
	ca, err := lab.OpenCA(filepath.Join(dir, "ca"))
	if err != nil {
		t.Fatal(err)
	}
	cert := filepath.Join(dir, "tls")
	if err := ca.IssueRSA(cert, "mx.signed.test", "mx-ta.signed.test", "mx.plain.test", "mx-wrong.plain.test", "mx-pkix.signed.test"); err != nil {
		t.Fatal(err)
	}
	chain(t, cert+".pem", ca.File())
	base := lab.FreeBase()
	zones, err := StartZones(mkdir(t, dir, "dns"), daneZones(t, base+25, cert+".pem", ca.File()), base+53, base+54)
	if errors.Is(err, ErrMissing) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer zones.Stop()
	peers := []*Peer{startPostfix(t, dir, "tls", tlsIP, base+25, cert), startPostfix(t, dir, "clear", clearIP, base+25, "")}
	policies(t, ca, dir, base+443)
	conf := daneConfig(t, dir, zones.Addr, base, ca.File())
	began := time.Now()
	for _, o := range outcomes {
		subject := mark()
		cmd := exec.Command(filepath.Join(bin, "deliver-remote"), "-c", conf, "mx", "alice@demo.test", "bob@"+o.domain)
		cmd.Stdin = strings.NewReader("Subject: " + subject + "\n\n" + subject + "\n")
		out, err := cmd.CombinedOutput() // the exit status is another way to say what the lines say
		got := verdictOf(string(out))
		if got != o.want {
			t.Errorf("%s by %s: %s, want %s (%v)\n%s", o.domain, o.mx, got, o.want, err, out)
		}
		if delivered := inAny(t, peers, subject, o.want[0] == 'K'); delivered != (o.want[0] == 'K') {
			t.Errorf("%s by %s: delivered is %v", o.domain, o.mx, delivered)
		}
	}
	t.Logf("%d outcomes in %s", len(outcomes), time.Since(began).Round(time.Millisecond))
	if t.Failed() {
		t.Log(zones.Log())
	}
}

// verdictOf is outcome, status and verdict of the line about recipient 1.
func verdictOf(out string) string {
	for line := range strings.Lines(out) {
		f := strings.Fields(line)
		if len(f) < 4 || f[1] != "1" || len(f[0]) != 1 {
			continue
		}
		for _, word := range f[4:] {
			if f[0] == "K" && strings.HasPrefix(word, "tls=") {
				return "K 2.6.0 " + word // Postfix says 2.0.0, others something else
			}
		}
		return f[0] + " " + f[2]
	}
	return strings.TrimSpace(out)
}

// inAny looks for the message at both hosts; one that must be there is waited for.
func inAny(t *testing.T, peers []*Peer, subject string, wait bool) bool {
	t.Helper()
	limit := time.Duration(0)
	if wait {
		limit = 10 * time.Second
	}
	return lab.Until(limit, func() error {
		for _, p := range peers {
			if _, _, err := lab.Find(0, p.Maildir("bob"), subject, 1); err == nil {
				return nil
			}
		}
		return errors.New("nowhere")
	}) == nil
}

// chain puts the authority behind the certificate: under DANE-TA a host sends it.
func chain(t *testing.T, cert, ca string) {
	t.Helper()
	text, err := os.ReadFile(ca)
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(cert, os.O_APPEND|os.O_WRONLY, 0)
	if err == nil {
		_, err = f.Write(text)
		err = errors.Join(err, f.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
}

func mkdir(t *testing.T, dir, name string) string {
	t.Helper()
	dir = filepath.Join(dir, name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

func startPostfix(t *testing.T, dir, name, ip string, port int, cert string) *Peer {
	t.Helper()
	o := Options{Dir: mkdir(t, dir, name), Domain: name + ".test", IP: ip, Port: port, Users: []string{"bob"}}
	for _, outcome := range outcomes {
		o.More = append(o.More, outcome.domain)
	}
	if cert != "" {
		o.Cert, o.Key = cert+".pem", cert+".key"
	}
	p, err := StartPostfix(o, true)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Stop)
	return p.Peer
}

// daneZones are the zones of outcomes.
func daneZones(t *testing.T, port int, cert, ca string) []Zone {
	t.Helper()
	leaf, authority := hashes(t, cert), hashes(t, ca)
	wrong := hex.EncodeToString(make([]byte, 32))
	tlsa := func(host, value string) string { return fmt.Sprintf("_%d._tcp.%s TLSA %s\n", port, host, value) }
	hosts := map[string]string{}
	host := func(zone, name, ip string, values ...string) {
		text := fmt.Sprintf("%s A %s\n", name, ip)
		for _, v := range values {
			text += tlsa(name, v)
		}
		hosts[zone] += text
	}
	for _, zone := range []string{"signed.test", "bogus.test", "spoilt.test", "expired.test", "plain.test"} {
		host(zone, "mx", tlsIP, "3 1 1 "+leaf)
		host(zone, "mx-wrong", tlsIP, "3 1 1 "+wrong)
		host(zone, "mx-clear", clearIP, "3 1 1 "+leaf)
		host(zone, "mx-none", tlsIP)
		host(zone, "mx-clear-none", clearIP)
		host(zone, "mx-name", tlsIP)
		host(zone, "mx-ta", tlsIP, "2 1 1 "+authority)
		host(zone, "mx-ta-name", tlsIP, "2 1 1 "+authority)
		host(zone, "mx-two", tlsIP, "3 1 1 "+wrong, "3 1 1 "+leaf)
		host(zone, "mx-pkix", tlsIP, "1 1 1 "+leaf)
		host(zone, "mx-clear-pkix", clearIP, "1 1 1 "+leaf)
		hosts[zone] += "mx-alias CNAME mx\n"
	}
	for _, o := range outcomes {
		name, zone, _ := strings.Cut(o.domain, ".")
		mx := o.mx
		if zone == "plain.test" && strings.HasSuffix(mx, "-clear") {
			mx += "-none"
		}
		text := fmt.Sprintf("%s MX 10 %s\n", name, mx)
		if strings.HasPrefix(name, "sts") && name != "sts-cached" && name != "sts-cached-expired" {
			text += fmt.Sprintf("_mta-sts.%[1]s TXT \"v=STSv1; id=1;\"\nmta-sts.%[1]s A 127.0.0.1\n", name)
		}
		hosts[zone] += text
	}
	hosts["bogus.test"] += "probe A 127.0.0.1\n"
	// The first octet of an address, the last of a hash, a letter of a text: enough to make what was signed a lie.
	spoilTLSA := func(signed string) string {
		return strings.ReplaceAll(strings.ReplaceAll(signed, leaf[:56], wrong[:56]), "v=STSv1; id=1;", "v=STSv1; id=2;")
	}
	return []Zone{
		{Name: "signed.test", Records: hosts["signed.test"], Signed: true},
		{Name: "bogus.test", Records: hosts["bogus.test"], Signed: true, Spoil: func(s string) string {
			return strings.ReplaceAll(strings.ReplaceAll(s, "MX\t10 mx.", "MX\t11 mx."), "127.0.0.1\n", "127.0.0.9\n")
		}},
		{Name: "spoilt.test", Records: hosts["spoilt.test"], Signed: true, Spoil: spoilTLSA},
		{Name: "expired.test", Records: hosts["expired.test"], Signed: true, Expired: true},
		{Name: "plain.test", Records: hosts["plain.test"]},
		{Name: "unreachable.test", Dead: true},
	}
}

// hashes is the SHA-256 of the key of a certificate.
func hashes(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(text)
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(cert.RawSubjectPublicKeyInfo)
	return hex.EncodeToString(sum[:])
}

// policies is the web server of all policies.
func policies(t *testing.T, ca *lab.CA, dir string, port int) {
	t.Helper()
	var names []string
	for _, o := range outcomes {
		if strings.HasPrefix(o.domain, "sts") && o.domain != "sts-server-of-another.plain.test" {
			names = append(names, "mta-sts."+o.domain)
		}
	}
	if err := ca.Issue(filepath.Join(dir, "web"), names...); err != nil {
		t.Fatal(err)
	}
	pair, err := tls.LoadX509KeyPair(filepath.Join(dir, "web.pem"), filepath.Join(dir, "web.key"))
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{TLSConfig: &tls.Config{Certificates: []tls.Certificate{pair}}, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		domain, _, _ := strings.Cut(strings.TrimPrefix(r.Host, "mta-sts."), ":")
		mode, mx := "enforce", "*."+domain[strings.IndexByte(domain, '.')+1:]
		switch name, _, _ := strings.Cut(domain, "."); name {
		case "sts-testing":
			mode = "testing"
		case "sts-not-in-policy", "sts-and-dane":
			mx = "elsewhere.test"
		case "sts-no-server":
			http.NotFound(w, r)
			return
		}
		w.Header().Set("Content-Type", "text/plain")
		io.WriteString(w, policy(mode, mx))
	})}
	go server.ServeTLS(l, "", "")
	t.Cleanup(func() { server.Close() })
}

func policy(mode, mx string) string {
	return fmt.Sprintf("version: STSv1\r\nmode: %s\r\nmx: %s\r\nmax_age: 604800\r\n", mode, mx)
}

// daneConfig writes mail.toml, and the policies that are known already.
func daneConfig(t *testing.T, dir, resolver string, base int, ca string) string {
	t.Helper()
	state := mkdir(t, dir, "state/sts")
	now := time.Now()
	for name, fetched := range map[string]time.Time{"sts-cached.plain.test": now.Add(-time.Hour), "sts-cached-expired.plain.test": now.Add(-8 * 24 * time.Hour)} {
		text := fmt.Sprintf("pennypost-sts: 1\nid: 1\nfetched: %d\n\n%s", fetched.Unix(), policy("enforce", "*.plain.test"))
		if err := os.WriteFile(filepath.Join(state, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	file := filepath.Join(dir, "mail.toml")
	text := fmt.Sprintf("hostname = \"mx.demo.test\"\nstate = %q\n[dns]\nserver = %q\nprobe = \"probe.bogus.test\"\n[tls]\nca = %q\n[remote]\nport = %d\nsts_port = %d\nrefuse_networks = []\n",
		filepath.Dir(state), resolver, ca, base+25, base+443)
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return file
}
