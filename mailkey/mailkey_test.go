package mailkey

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pennypost/internal/dns"
	"pennypost/internal/dns/fixture"
	"pennypost/msgauth"
	"pennypost/msgauth/signer"
)

var background = context.Background()

// open makes a directory of domains with example.org, and bücher.example and its alias.
func open(t testing.TB) *Store {
	t.Helper()
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, d := range []string{"example.org", "bücher.example"} {
		if err := os.MkdirAll(filepath.Join(dir, d, "users"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("bücher.example", filepath.Join(dir, "books.example")); err != nil {
		t.Fatal(err)
	}
	s, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	s.readers = -1
	return s
}

func name(t testing.TB, s *Store, domain string) Name {
	t.Helper()
	n, err := s.Domain(domain)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func serve(t testing.TB, zone string) (*fixture.Server, *dns.Resolver) {
	t.Helper()
	f, err := fixture.Start("127.0.0.1:0", zone)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(f.Close)
	return f, &dns.Resolver{Servers: []string{f.Addr()}, Timeout: 2 * time.Second, Entries: 1}
}

// publish puts records into DNS as they were printed.
func publish(t testing.TB, f *fixture.Server, list []Record) {
	t.Helper()
	var zone strings.Builder
	for _, r := range list {
		value := r.Value
		if r.Type == "TXT" {
			value = ZoneText(value)
		}
		fmt.Fprintf(&zone, "%s %s %s\n", r.Name, r.Type, value)
	}
	if err := f.Load("$TTL 0\n" + zone.String()); err != nil {
		t.Fatal(err)
	}
}

func states(keys []Key) string {
	var list []string
	for _, k := range keys {
		list = append(list, k.Selector+"="+string(k.State))
	}
	return strings.Join(list, " ")
}

func TestNames(t *testing.T) {
	s := open(t)
	for _, test := range []struct{ in, dir, ascii string }{
		{"example.org", "example.org", "example.org"}, {"Example.ORG", "example.org", "example.org"},
		{"bücher.example", "bücher.example", "xn--bcher-kva.example"}, {"xn--bcher-kva.example", "bücher.example", "xn--bcher-kva.example"},
		{"books.example", "bücher.example", "books.example"},
	} {
		if n := name(t, s, test.in); n.Dir != test.dir || n.ASCII != test.ascii {
			t.Errorf("%s: %+v", test.in, n)
		}
	}
	for _, bad := range []string{"", "other.example", "../etc", "example.org/dkim"} {
		if n, err := s.Domain(bad); err == nil {
			t.Errorf("%q: %+v", bad, n)
		}
	}
}

func TestCreate(t *testing.T) {
	s := open(t)
	s.Now = func() time.Time { return time.Date(2026, 11, 25, 10, 0, 0, 0, time.UTC) }
	n := name(t, s, "example.org")
	for _, algorithm := range []string{"rsa", "ed25519", "ed25519"} {
		if _, err := s.Create(n, algorithm, ""); err != nil {
			t.Fatal(err)
		}
	}
	keys, err := s.Keys(n)
	if got := states(keys); err != nil || got != "r202611=sign e202611b=publish e202611=sign" {
		t.Errorf("%s %v", got, err)
	}
	for _, k := range keys {
		info, err := os.Stat(k.File)
		if err != nil || info.Mode().Perm() != 0o600 || k.Bits < 256 {
			t.Errorf("%+v %v", k, err)
		}
	}
	for _, selector := range []string{"r202611", "../x", "a/b", "A", "", ".a", "a..b", "-a", strings.Repeat("x", 64)} {
		if selector == "" {
			continue
		}
		if k, err := s.Create(n, "ed25519", selector); err == nil {
			t.Errorf("%q: %+v", selector, k)
		}
	}
	if _, err := s.Create(n, "dsa", ""); err == nil {
		t.Error("a DSA key was made")
	}
}

// A key of another program signs; a key that everybody may read is not used.
func TestForeignKeys(t *testing.T) {
	s := open(t)
	n := name(t, s, "example.org")
	made, err := s.Create(n, "ed25519", "mine")
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Dir(made.File)
	other := filepath.Join(dir, "theirs.key")
	if err := os.WriteFile(other, made.pem, 0o600); err != nil {
		t.Fatal(err)
	}
	keys, err := s.Keys(n)
	if err != nil || len(keys) != 2 || keys[0].State != Sign || keys[1].State != Sign {
		t.Errorf("%v %v", keys, err)
	}
	for text, why := range map[string]string{"": "no PEM", "-----BEGIN X-----\nAAAA\n-----END X-----\n": "", "state: maybe\n" + string(made.pem): "may be publish"} {
		os.WriteFile(other, []byte(text), 0o600)
		if _, err := s.Keys(n); err == nil || !strings.Contains(err.Error(), why) || !strings.Contains(err.Error(), other) {
			t.Errorf("%.20q: %v", text, err)
		}
	}
	os.Remove(other)
	if err := os.Chmod(made.File, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Keys(n); err == nil || !strings.Contains(err.Error(), "everybody may read") {
		t.Error(err)
	}
}

// D4: publish, wait for DNS, switch, retire, remove; each day's run goes as far as it can, and never is there no key that signs.
func TestRotate(t *testing.T) {
	s := open(t)
	now := time.Date(2026, 1, 1, 3, 0, 0, 0, time.UTC)
	s.Now = func() time.Time { return now }
	n := name(t, s, "example.org")
	f, resolver := serve(t, "$TTL 0\nexample.org A 192.0.2.1\n")
	for _, a := range Algorithms {
		if _, err := s.Create(n, a, ""); err != nil {
			t.Fatal(err)
		}
	}
	run := func(want string) {
		t.Helper()
		resolver = &dns.Resolver{Servers: resolver.Servers} // a day later nothing is cached
		steps, err := s.Rotate(background, n, resolver, Rotation{})
		var got []string
		for _, step := range steps {
			got = append(got, step.Selector+" "+step.What)
		}
		if strings.Join(got, ", ") != want || err != nil {
			t.Errorf("%s: %v %v, want %s", now.Format(time.DateOnly), steps, err, want)
		}
		if signers, err := s.signers(n); err != nil || len(signers) != 2 {
			t.Errorf("%s: %d keys sign, %v", now.Format(time.DateOnly), len(signers), err)
		}
	}
	run("")
	now = now.Add(180 * day)
	run("r202606 made, e202606 made")
	run("r202606 waits, e202606 waits") // the second time a day nothing new
	now = now.Add(2 * day)
	run("r202606 waits, e202606 waits") // not in DNS
	keys, _ := s.Keys(n)
	for _, k := range keys {
		if k.State == Publish {
			f.Set(k.Selector+"._domainkey.example.org", "TXT", ZoneText(k.Record))
		}
	}
	f.Misbehave("e202606._domainkey.example.org", "!servfail")
	run("r202606 signs, e202606 waits, r202601 retired") // an error of DNS is no record
	f.Misbehave("e202606._domainkey.example.org", "")
	now = now.Add(day)
	run("e202606 signs, e202601 retired")
	now = now.Add(13 * day)
	run("r202601 removed")
	now = now.Add(day)
	run("e202601 removed")
	keys, err := s.Keys(n)
	if got := states(keys); err != nil || got != "r202606=sign e202606=sign" {
		t.Errorf("%s %v", got, err)
	}
	// in DNS too short
	if _, err := s.Rotate(background, n, resolver, Rotation{Now: true}); err != nil {
		t.Fatal(err)
	}
	keys, _ = s.Keys(n)
	for _, k := range keys {
		f.Set(k.Selector+"._domainkey.example.org", "TXT", ZoneText(k.Record))
	}
	now = now.Add(time.Hour)
	steps, err := s.Rotate(background, n, resolver, Rotation{})
	if err != nil || len(steps) != 2 || !strings.Contains(steps[0].Text, "signs in 23h") {
		t.Errorf("%v %v", steps, err)
	}
}

func host(t testing.TB) Host {
	return Host{Name: "mx.example.org", Addresses: []netip.Addr{netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")},
		TLSA: []string{"3 1 1 00ff", "3 1 1 11ee"}}
}

// What dns prints is what check wants to see.
func TestCheckIsGreen(t *testing.T) {
	s := open(t)
	n := name(t, s, "example.org")
	for _, a := range Algorithms {
		if _, err := s.Create(n, a, ""); err != nil {
			t.Fatal(err)
		}
	}
	list, err := s.Records(n, host(t))
	if err != nil {
		t.Fatal(err)
	}
	f, resolver := serve(t, "$TTL 0\n")
	for _, finding := range Check(background, resolver, list) {
		if finding.State == OK {
			t.Errorf("nothing is in DNS, and %s %s is ok", finding.Name, finding.Type)
		}
	}
	publish(t, f, list)
	for _, finding := range Check(background, resolver, list) {
		if finding.State != OK {
			t.Errorf("%+v", finding)
		}
	}
	for _, test := range []struct {
		name, typ string
		values    []string
		state     string
	}{
		{"example.org", "MX", []string{"10 other.example.org"}, Wrong},
		{"example.org", "MX", []string{"10 mx.example.org", "20 other.example.org"}, Wrong},
		{"example.org", "TXT", []string{"hello"}, Missing},
		{"example.org", "TXT", []string{"hello", "v=spf1  mx a:mx.example.org  -all"}, OK},
		{"example.org", "TXT", []string{"v=spf1 mx a:mx.example.org -all", "v=spf1 -all"}, Wrong},
		{"_dmarc.example.org", "TXT", []string{"v=DMARC1;p=none;rua=mailto:postmaster@example.org;"}, OK},
		{"_dmarc.example.org", "TXT", []string{"v=DMARC1; p=reject; rua=mailto:postmaster@example.org"}, Wrong},
		{"mx.example.org", "A", []string{"192.0.2.2"}, Wrong},
		{"192.0.2.1", "PTR", []string{"dsl-1.provider.example"}, Wrong},
		{"_25._tcp.mx.example.org", "TLSA", []string{"3 1 1 00ff"}, Wrong},
		{"_imap._tcp.example.org", "SRV", []string{"0 1 143 mx.example.org"}, Wrong},
		{"mta-sts.example.org", "CNAME", []string{"nothing.example"}, Missing},
	} {
		f.Set(test.name, test.typ, test.values...)
		lookup := test.name
		if test.typ == "PTR" {
			lookup = "1.2.0.192.in-addr.arpa"
		}
		worst := OK
		for _, finding := range Check(background, resolver, list) {
			if finding.Name == lookup && finding.Type == test.typ && finding.State != OK {
				worst = finding.State
			}
		}
		if worst != test.state {
			t.Errorf("%s %s %q: %s, want %s", test.name, test.typ, test.values, worst, test.state)
		}
		f.Set(test.name, test.typ)
		publish(t, f, only(list, lookup, test.typ))
	}
	f.Misbehave("_dmarc.example.org", "!servfail")
	for _, finding := range Check(background, resolver, list) {
		if want := map[bool]string{true: Unknown, false: OK}[finding.Name == "_dmarc.example.org"]; finding.State != want {
			t.Errorf("%s %s: %s (%s), want %s", finding.Name, finding.Type, finding.State, finding.Text, want)
		}
	}
}

func only(list []Record, name, typ string) (some []Record) {
	for _, r := range list {
		if r.Name == name && r.Type == typ {
			some = append(some, r)
		}
	}
	return some
}

func TestSettings(t *testing.T) {
	s := open(t)
	n := name(t, s, "example.org")
	for file, text := range map[string]string{"mx": "10 mx.example.org\n20 mx.other.example.\n", "spf": "v=spf1 mx include:other.example -all\n", "dmarc": "v=DMARC1; p=reject\n", "mta-sts": "enforce\n"} {
		if err := os.WriteFile(filepath.Join(s.Dir, "example.org", file), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	list, err := s.Records(n, host(t))
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := PrintLines(&b, list); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"example.org\tMX\t10 mx.example.org\t", "example.org\tMX\t20 mx.other.example\t", "example.org\tTXT\tv=spf1 mx include:other.example -all\t", "_dmarc.example.org\tTXT\tv=DMARC1; p=reject\t"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %q in\n%s", want, &b)
		}
	}
	policy, err := s.STS(n, host(t))
	if want := "version: STSv1\r\nmode: enforce\r\nmx: mx.example.org\r\nmx: mx.other.example\r\nmax_age: 2592000\r\n"; err != nil || string(policy) != want {
		t.Errorf("%q %v", policy, err)
	}
	if !strings.Contains(b.String(), "v=STSv1; id="+policy.ID()) {
		t.Error("the id in DNS is not that of the policy")
	}
	os.WriteFile(filepath.Join(s.Dir, "example.org", "mta-sts"), []byte("maybe"), 0o644)
	if _, err := s.Records(n, host(t)); err == nil || !strings.Contains(err.Error(), "maybe") {
		t.Error(err)
	}
}

// Every record says why it is there, and what breaks without it.
func TestEveryRecordHasReasons(t *testing.T) {
	s := open(t)
	for _, domain := range []string{"example.org", "books.example"} {
		n := name(t, s, domain)
		for _, state := range []State{Publish, Sign, Retire} {
			k, err := s.Create(n, "ed25519", "s-"+string(state)+"-"+domain[:1])
			if err == nil {
				err = s.set(n, &k, state)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		list, err := s.Records(n, host(t))
		if err != nil || len(list) < 20 {
			t.Fatal(len(list), err)
		}
		for _, r := range list {
			if r.Why == "" || r.Without == "" || r.Level == "" || r.Value == "" || strings.ContainsAny(r.Name+r.Value+r.Why+r.Without, "\t\n") {
				t.Errorf("%+v", r)
			}
		}
	}
}

// What the signer signs, a verifier that has the printed records believes.
func TestSignAndVerify(t *testing.T) {
	s := open(t)
	f, resolver := serve(t, "$TTL 0\n")
	message := "From: Alice <alice@%s>\nTo: bob@example.net\nSubject: x\n\nhello\n"
	for _, domain := range []string{"example.org", "books.example", "xn--bcher-kva.example"} {
		n := name(t, s, domain)
		if keys, _ := s.Keys(n); len(keys) == 0 {
			for _, a := range Algorithms {
				if _, err := s.Create(n, a, ""); err != nil {
					t.Fatal(err)
				}
			}
		}
		list, err := s.Records(n, host(t))
		if err != nil {
			t.Fatal(err)
		}
		publish(t, f, list)
		for _, by := range []string{domain, ""} { // named, and taken from From
			text := fmt.Sprintf(message, domain)
			var out bytes.Buffer
			if err := (&Signer{Store: s}).Filter(by, strings.NewReader(text), &out); err != nil {
				t.Fatal(err)
			}
			r, err := (&msgauth.Checker{DNS: resolver}).Check(background, msgauth.Client{}, &out)
			if err != nil || len(r.DKIM) != 2 || r.DKIM[0].Result != msgauth.Pass || r.DKIM[1].Result != msgauth.Pass || r.DMARC.Result != msgauth.Pass {
				t.Errorf("%s: %v %+v %+v", domain, err, r.DKIM, r.DMARC)
			}
		}
	}
	for _, domain := range []string{"example.net", "sub.example.org"} {
		var out bytes.Buffer
		err := (&Signer{Store: s}).Filter("", strings.NewReader(fmt.Sprintf(message, domain)), &out)
		if !errors.Is(err, signer.ErrNone) || out.Len() > 0 {
			t.Errorf("%s: %v %s", domain, err, &out)
		}
	}
}

// A new key signs within seconds, without a word to the process that signs.
func TestSignerSeesNewKeys(t *testing.T) {
	s := open(t)
	n := name(t, s, "example.org")
	sign := &Signer{Store: s}
	if _, err := sign.keys("example.org"); !errors.Is(err, signer.ErrNone) {
		t.Fatal(err)
	}
	if _, err := s.Create(n, "ed25519", "a"); err != nil {
		t.Fatal(err)
	}
	later := func() { sign.known["example.org"].looked = time.Time{} }
	later()
	if keys, err := sign.keys("example.org"); err != nil || keys[0].Selector != "a" {
		t.Fatal(keys, err)
	}
	k, err := s.Create(n, "ed25519", "b")
	if err == nil {
		err = s.set(n, &k, Sign)
	}
	if err != nil {
		t.Fatal(err)
	}
	later()
	if keys, err := sign.keys("example.org"); err != nil || keys[0].Selector != "b" {
		t.Error(keys, err)
	}
}

func FuzzKeyFile(f *testing.F) {
	f.Add("created: 2026-11-25T10:00:00Z\nstate: sign\n-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n-----END PRIVATE KEY-----\n")
	f.Fuzz(func(t *testing.T, text string) {
		if k, err := parseKey(text); err == nil {
			if again, err := parseKey(k.Text()); err != nil && k.Created.Year() < 10000 && k.Since.Year() < 10000 {
				t.Errorf("%q: %v %v", text, again, err)
			}
		}
	})
}
