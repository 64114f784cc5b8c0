package mailcert

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pennypost/internal/certs"
	"pennypost/internal/dns"
	"pennypost/internal/dns/fixture"
	"pennypost/internal/durable"
	"pennypost/internal/durable/faultdisk"
	"pennypost/mailkey"
)

func open(t *testing.T) *Pair {
	t.Helper()
	dir := t.TempDir()
	p, err := Open(filepath.Join(dir, "mx.pem"), filepath.Join(dir, "mx.key"))
	if err != nil {
		t.Fatal(err)
	}
	p.readers = -1
	t.Cleanup(func() { p.Close() })
	return p
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func leafOf(t *testing.T, p *Pair) *x509.Certificate {
	t.Helper()
	c, err := p.readChain(p.Chain)
	must(t, err)
	return c.leaf
}

func TestSelf(t *testing.T) {
	p := open(t)
	must(t, p.Self([]string{"mx.example.org", "mta-sts.example.org"}, ""))
	if info, err := os.Stat(filepath.Join(p.Dir, "mx.key")); err != nil || info.Mode().Perm() != 0o600 {
		t.Error(info, err)
	}
	s := p.State()
	if s.Days != 364 && s.Days != 365 || s.Managed != "self-signed" || s.Problem != "" || strings.Join(s.Names, " ") != "mx.example.org mta-sts.example.org" {
		t.Errorf("%+v", s)
	}
	first := leafOf(t, p)
	must(t, p.Self(nil, "rsa")) // of the names and with the key that are there
	second := leafOf(t, p)
	if first.Equal(second) || tlsa(first.RawSubjectPublicKeyInfo) != tlsa(second.RawSubjectPublicKeyInfo) || len(second.DNSNames) != 2 {
		t.Error("another key, other names, or the same certificate")
	}
	list, err := mailkey.TLSA(p.Path(), filepath.Join(p.Dir, p.Key))
	if err != nil || len(list) != 1 || list[0] != s.TLSA {
		t.Errorf("mailkey says %v, %v", list, err)
	}
	if _, err := certs.Load([]certs.Pair{{Cert: p.Path(), Key: filepath.Join(p.Dir, p.Key)}}, nil); err != nil {
		t.Error(err)
	}
	if err := open(t).Self(nil, ""); err == nil {
		t.Error("a certificate without a name")
	}
}

func TestOpen(t *testing.T) {
	if _, err := Open("/tmp/a/mx.pem", "/tmp/b/mx.key"); err == nil {
		t.Error("two directories")
	}
	if _, err := Open("/nonexistent/mx.pem", "/nonexistent/mx.key"); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
}

func TestLock(t *testing.T) {
	p := open(t)
	lock, err := p.Lock()
	must(t, err)
	if _, err := p.Lock(); err == nil {
		t.Error("two at once")
	}
	lock.Close()
	lock, err = p.Lock()
	must(t, err)
	lock.Close()
}

func TestState(t *testing.T) {
	p := open(t)
	if s := p.State(); !strings.Contains(s.Problem, "no such file") {
		t.Errorf("%+v", s)
	}
	must(t, p.Self([]string{"mx.example.org"}, ""))
	next, err := p.Next("")
	must(t, err)
	if again, err := p.Next(""); err != nil || again != next {
		t.Error("another next key", err)
	}
	s := p.State()
	var b bytes.Buffer
	if s.Print(&b); s.Next != next || !strings.Contains(b.String(), "next     "+next+", for 0 days") {
		t.Error(b.String())
	}
	if text, err := json.Marshal(s); err != nil || !bytes.Contains(text, []byte(`"managed":"self-signed"`)) {
		t.Error(string(text), err)
	}
	for _, c := range []struct {
		do   func()
		want string
	}{
		{func() { p.Now = func() time.Time { return time.Now().AddDate(2, 0, 0) } }, "out of date"},
		{func() { p.Now = func() time.Time { return time.Now().AddDate(-2, 0, 0) } }, "not good yet"},
		{func() { p.Now = nil; os.Chmod(filepath.Join(p.Dir, "mx.key"), 0o644) }, "everybody may read the key"},
		{func() { os.Rename(filepath.Join(p.Dir, "mx.key.next"), filepath.Join(p.Dir, "mx.key")) }, "another certificate"},
		{func() { os.WriteFile(filepath.Join(p.Dir, "mx.pem"), []byte("x"), 0o600) }, "no certificate in it"},
	} {
		c.do()
		if s := p.State(); !strings.Contains(s.Problem, c.want) {
			t.Errorf("%s: %+v", c.want, s)
		}
	}
}

// serves is the certificate a server with these files shows.
func serves(t *testing.T, store *certs.Store) *x509.Certificate {
	t.Helper()
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	go tls.Server(a, store.Config()).Handshake()
	c := tls.Client(b, &tls.Config{InsecureSkipVerify: true})
	must(t, c.Handshake())
	return c.ConnectionState().PeerCertificates[0]
}

// A running server has the next key and its chain, and never one without the other.
func TestRoll(t *testing.T) {
	p := open(t)
	must(t, p.Self([]string{"mx.example.org"}, ""))
	store, err := certs.Load([]certs.Pair{{Cert: p.Path(), Key: filepath.Join(p.Dir, p.Key)}}, func(err error) { t.Error(err) })
	must(t, err)
	next, err := p.Next("rsa")
	must(t, err)
	ctx := context.Background()
	if err := p.Roll(ctx, nil, time.Hour); !errors.Is(err, ErrEarly) {
		t.Error(err)
	}
	f, err := fixture.Start("127.0.0.1:0", "$TTL 0\n_25._tcp.mx.example.org. TLSA 3 1 1 "+strings.Repeat("00", 32)+"\n")
	must(t, err)
	defer f.Close()
	resolver := &dns.Resolver{Servers: []string{f.Addr()}}
	if err := p.Roll(ctx, resolver, 0); !errors.Is(err, ErrEarly) || !strings.Contains(err.Error(), "is none of them") {
		t.Error(err)
	}
	f.Misbehave("_25._tcp.mx.example.org", "!servfail")
	if err := p.Roll(ctx, resolver, 0); err == nil {
		t.Error("rolled without an answer of DNS")
	}
	if got := serves(t, store); tlsa(got.RawSubjectPublicKeyInfo) == next {
		t.Error("too early")
	}
	f.Misbehave("_25._tcp.mx.example.org", "")
	f.Set("_25._tcp.mx.example.org", "TLSA", "3 1 1 "+strings.Repeat("00", 32), next)
	must(t, p.Roll(ctx, &dns.Resolver{Servers: []string{f.Addr()}}, 0))
	store.Reload()
	if got := serves(t, store); tlsa(got.RawSubjectPublicKeyInfo) != next {
		t.Error("the server has the old key")
	}
	if s := p.State(); s.TLSA != next || s.Next == "" || s.Next == next || s.Problem != "" {
		t.Errorf("%+v", s)
	}
}

// Clients that come while certificates change, key and all, are all served (S036).
func TestS036Replaced(t *testing.T) {
	p := open(t)
	must(t, p.Self([]string{"mx.example.org"}, ""))
	_, err := p.Next("")
	must(t, err)
	store, err := certs.Load([]certs.Pair{{Cert: p.Path(), Key: filepath.Join(p.Dir, p.Key)}}, nil) // a chain and a key that do not fit may be told
	must(t, err)
	over := make(chan error)
	go func() {
		var err error
		for range 20 {
			err = errors.Join(err, p.Roll(context.Background(), nil, -time.Hour))
		}
		over <- err
	}()
	for waiting := true; waiting; {
		store.Reload()
		serves(t, store)
		select {
		case err := <-over:
			must(t, err)
			waiting = false
		default:
		}
	}
	store.Reload()
	if !serves(t, store).Equal(leafOf(t, p)) {
		t.Error("the server shows one of before")
	}
}

// After a power cut at any step the pair is the old or the new one, when the next call has looked at it.
func TestPowerCut(t *testing.T) {
	pair := func(d durable.Disk) *Pair { return &Pair{Chain: "mx.pem", Key: "mx.key", disk: d, readers: -1} }
	for n := 1; ; n++ {
		disk := faultdisk.New()
		p := pair(disk)
		must(t, p.Self([]string{"mx.example.org"}, ""))
		next, err := p.Next("")
		must(t, err)
		old := p.State().TLSA
		disk.CrashAt(n)
		err = p.Roll(context.Background(), nil, -time.Hour)
		crashed := disk.Crashed()
		again := pair(disk.Restart())
		must(t, again.Finish())
		s := again.State()
		switch {
		case s.Problem != "" || s.TLSA != old && s.TLSA != next:
			t.Fatalf("cut at step %d (%s): %+v", n, disk.LastStep(), s)
		case err == nil && s.TLSA != next:
			t.Fatalf("cut at step %d (%s): said to be done, and is not", n, disk.LastStep())
		}
		if _, err := again.Next(""); err != nil {
			t.Fatalf("cut at step %d (%s): %v", n, disk.LastStep(), err)
		}
		if !crashed {
			return
		}
	}
}

func TestFinish(t *testing.T) {
	p := open(t)
	must(t, p.Self([]string{"mx.example.org"}, ""))
	other := open(t)
	must(t, other.Self([]string{"mx.example.org"}, ""))
	text, err := os.ReadFile(other.Path())
	must(t, err)
	before := leafOf(t, p)
	must(t, os.WriteFile(p.Path()+newSuffix, text, 0o600)) // for a key that is not here
	must(t, p.Finish())
	if _, err := os.Stat(p.Path() + newSuffix); !errors.Is(err, fs.ErrNotExist) || !leafOf(t, p).Equal(before) {
		t.Error("a chain without a key was kept", err)
	}
}

func TestRenewWithoutACME(t *testing.T) {
	p := open(t)
	must(t, p.Self([]string{"mx.example.org"}, ""))
	ctx := context.Background()
	r, err := p.Renew(ctx, nil, false)
	if err != nil || r.What != "waits" {
		t.Errorf("%+v %v", r, err)
	}
	p.Now = func() time.Time { return time.Now().AddDate(0, 9, 0) }
	r, err = p.Renew(ctx, nil, false)
	if err != nil || r.What != "renewed" || r.Until.Before(p.Now().AddDate(0, 11, 0)) {
		t.Errorf("%+v %v", r, err)
	}
}

func TestSettings(t *testing.T) {
	s := &Settings{Agreed: true, Names: []string{"MX.Example.org"}, Contact: "postmaster@example.org"}
	must(t, s.Check())
	want := "names: mx.example.org\nagreed: yes\ndirectory: " + LetsEncrypt + "\ncontact: postmaster@example.org\nchallenge: http-01\nlisten: :80\n"
	if got := string(s.text()); got != want {
		t.Errorf("%s", got)
	}
	back, err := parseSettings("# a word of the admin's\n\n" + want)
	if err != nil || fmt.Sprint(*back) != fmt.Sprint(*s) {
		t.Errorf("%+v %v", back, err)
	}
	for text, why := range map[string]string{
		"names: a.example\n":                                     "agree",
		"agreed: yes\n":                                          "a name at least",
		want + "x\n":                                             "line 7: no colon",
		want + "colour: red\n":                                   `line 7: unknown name "colour"`,
		want + "challenge: carrier-pigeon\n":                     "a challenge is",
		want + "directory: http://ca.example/\n":                 "no https URL",
		want + "names: localhost\n":                              "no name for a certificate",
		want + "names: *.example.org\n":                          "wildcard by dns-01 only",
		want + "challenge: dns-01\nhook: dns-hook\n":             "whole path",
		want + "algorithm: dsa\n":                                "ecdsa or rsa",
		want + "names: bad..example\n":                           "no name for a certificate",
		want + "challenge: dns-01\nhook: /x\nnames: *.example\n": "no name for a certificate",
	} {
		if _, err := parseSettings(text); err == nil || !strings.Contains(err.Error(), why) {
			t.Errorf("%q: %v, want %s", text, err, why)
		}
	}
	if s, err := parseSettings(want + "challenge: dns-01\nhook: /x\nnames: *.example.org example.org\n"); err != nil || s.Names[0] != "*.example.org" {
		t.Error(s, err)
	}
}
