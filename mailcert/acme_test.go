package mailcert

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"pennypost/internal/certs"
	"pennypost/internal/dns"
	"pennypost/internal/dns/fixture"
)

// pebble is an ACME server on loopback (test/acme).
type pebble struct {
	directory, root string
	http, tls       string // where it asks for http-01 and tls-alpn-01
	dns             *fixture.Server
}

// port is one that nobody listens on.
func port(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

func start(t *testing.T) *pebble {
	t.Helper()
	if testing.Short() {
		t.Skip("an ACME server takes seconds")
	}
	build := exec.Command("go", "tool", "-n", "pebble")
	build.Dir = "../test/acme"
	program, err := build.Output()
	if err != nil {
		t.Skipf("no ACME server: pebble of test/acme cannot be built here: %v", err)
	}
	dir := t.TempDir()
	own, err := Open(filepath.Join(dir, "ca.pem"), filepath.Join(dir, "ca.key"))
	must(t, err)
	defer own.Close()
	must(t, own.Self([]string{"localhost"}, ""))
	f, err := fixture.Start("127.0.0.1:0", "$TTL 0\nmx.example.org. A 127.0.0.1\nmta-sts.example.org. A 127.0.0.1\nautoconfig.example.org. A 127.0.0.1\n")
	must(t, err)
	t.Cleanup(f.Close)
	api, web, alpn := port(t), port(t), port(t)
	conf := map[string]any{"pebble": map[string]any{
		"listenAddress": fmt.Sprintf("127.0.0.1:%d", api), "certificate": own.Path(), "privateKey": filepath.Join(dir, "ca.key"),
		"httpPort": web, "tlsPort": alpn, "keyAlgorithm": "ecdsa", "domainBlocklist": []string{"blocked.example.org"},
		"retryAfter": map[string]int{"authz": 1, "order": 1},
		"profiles":   map[string]any{"default": map[string]any{"description": "usual", "validityPeriod": 7776000}, "short": map[string]any{"description": "six days", "validityPeriod": 518400}},
	}}
	text, err := json.Marshal(conf)
	must(t, err)
	must(t, os.WriteFile(filepath.Join(dir, "pebble.json"), text, 0o600))
	cmd := exec.Command(strings.TrimSpace(string(program)), "-config", filepath.Join(dir, "pebble.json"), "-dnsserver", f.Addr(), "-strict")
	cmd.Env = append(os.Environ(), "PEBBLE_VA_NOSLEEP=1", "PEBBLE_WFE_NONCEREJECT=0", "PEBBLE_AUTHZREUSE=0")
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	var mu sync.Mutex
	var said strings.Builder
	ready := make(chan bool, 1)
	go func() {
		in := bufio.NewScanner(out)
		for in.Scan() {
			mu.Lock()
			said.WriteString(in.Text() + "\n")
			mu.Unlock()
			if strings.Contains(in.Text(), "Listening on") {
				select {
				case ready <- true:
				default:
				}
			}
		}
		close(ready)
	}()
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
		if t.Failed() {
			mu.Lock()
			t.Log(said.String())
			mu.Unlock()
		}
	})
	if !<-ready {
		t.Fatal("pebble did not start")
	}
	return &pebble{directory: fmt.Sprintf("https://localhost:%d/dir", api), root: own.Path(), dns: f,
		http: "127.0.0.1:" + strconv.Itoa(web), tls: "127.0.0.1:" + strconv.Itoa(alpn)}
}

func (b *pebble) settings(challenge string) *Settings {
	return &Settings{Directory: b.directory, Root: b.root, Agreed: true, Contact: "postmaster@example.org", Challenge: challenge,
		Names: []string{"mx.example.org", "mta-sts.example.org"}, Listen: map[string]string{"http-01": b.http, "tls-alpn-01": b.tls}[challenge]}
}

// A host from nothing to a certificate of a CA that is renewed, with all three challenges, and a server that runs on.
func TestACME(t *testing.T) {
	b := start(t)
	ctx := context.Background()
	p := open(t)
	must(t, p.Self([]string{"mx.example.org"}, ""))
	self := p.State()
	store, err := certs.Load([]certs.Pair{{Cert: p.Path(), Key: filepath.Join(p.Dir, p.Key)}}, func(err error) { t.Error(err) })
	must(t, err)

	must(t, p.Obtain(ctx, b.settings("http-01"), nil))
	first := p.State()
	if first.TLSA != self.TLSA || first.Managed != "acme" || first.Problem != "" || len(first.Names) != 2 || !strings.Contains(first.Issuer, "Pebble") {
		t.Errorf("%+v", first)
	}
	store.Reload()
	if got := serves(t, store); !got.Equal(leafOf(t, p)) {
		t.Error("the server shows the one of before")
	}
	if err := p.Self(nil, ""); err == nil {
		t.Error("replaced by one that nobody trusts")
	}

	// ARI says when, and the key stays.
	r, err := p.Renew(ctx, nil, false)
	if err != nil || r.What != "waits" || !strings.HasPrefix(r.Why, "the CA suggests it") || !r.Due.After(time.Now()) || !r.Due.Before(r.Until) {
		t.Errorf("%+v %v", r, err)
	}
	if again, err := p.Renew(ctx, nil, false); err != nil || again.Due.Sub(r.Due).Abs() > time.Minute {
		t.Errorf("another moment at each call: %v, %v", again.Due, r.Due)
	}
	old := leafOf(t, p)
	p.Now = func() time.Time { return r.Due.Add(time.Hour) }
	if r, err = p.Renew(ctx, nil, false); err != nil || r.What != "renewed" {
		t.Fatalf("%+v %v", r, err)
	}
	p.Now = nil
	if fresh := leafOf(t, p); fresh.Equal(old) || p.State().TLSA != self.TLSA {
		t.Error("not renewed, or with another key")
	}

	// What the settings are edited to is so at the next renewal, and so is what was lost.
	s := b.settings("http-01")
	s.Names = append(s.Names, "autoconfig.example.org")
	must(t, p.write(p.Chain+howSuffix, s.text(), 0o644, false))
	if r, err = p.Renew(ctx, nil, false); err != nil || r.What != "renewed" || len(p.State().Names) != 3 {
		t.Errorf("%+v %v", r, err)
	}
	must(t, os.Remove(p.Path()))
	if r, err = p.Renew(ctx, nil, false); err != nil || r.What != "renewed" || p.State().TLSA != self.TLSA {
		t.Errorf("%+v %v", r, err)
	}

	// The next key, by another challenge and in another profile.
	next, err := p.Next("")
	must(t, err)
	s = b.settings("tls-alpn-01")
	s.Profile = "short"
	must(t, p.write(p.Chain+howSuffix, s.text(), 0o644, false))
	must(t, p.Roll(ctx, &dns.Resolver{Servers: []string{b.dns.Addr()}}, 0))
	if state := p.State(); state.TLSA != next || state.Problem != "" || state.Days > 6 {
		t.Errorf("%+v", state)
	}
	store.Reload()
	if got := serves(t, store); tlsa(got.RawSubjectPublicKeyInfo) != next {
		t.Error("the server shows the one of before")
	}
}

// dns-01 by a hook, which here is a shell script that tells us by a FIFO what it is to do.
func TestACMEHook(t *testing.T) {
	b := start(t)
	p := open(t)
	pipe, script := filepath.Join(p.Dir, "pipe"), filepath.Join(p.Dir, "hook")
	must(t, unix.Mkfifo(pipe, 0o600))
	must(t, os.WriteFile(script, []byte("#!/bin/sh\necho \"$@\" >"+pipe+"\n"), 0o700))
	in, err := os.OpenFile(pipe, os.O_RDWR, 0)
	must(t, err)
	defer in.Close()
	var mu sync.Mutex
	calls := map[string]int{}
	go func() {
		have := map[string][]string{}
		for lines := bufio.NewScanner(in); lines.Scan(); {
			w := strings.Fields(lines.Text())
			mu.Lock()
			calls[w[0]]++
			mu.Unlock()
			if have[w[1]] = nil; w[0] == "present" {
				have[w[1]] = append(have[w[1]], `"`+w[2]+`"`)
			}
			b.dns.Set(w[1], "TXT", have[w[1]]...)
		}
	}()
	s := b.settings("dns-01")
	s.Hook, s.Names = script, []string{"*.example.org"}
	must(t, p.Obtain(context.Background(), s, &dns.Resolver{Servers: []string{b.dns.Addr()}}))
	if state := p.State(); state.Problem != "" || strings.Join(state.Names, " ") != "*.example.org" {
		t.Errorf("%+v", state)
	}
	mu.Lock()
	defer mu.Unlock()
	if calls["present"] != 1 || calls["cleanup"] != 1 {
		t.Error(calls)
	}
}

// What goes wrong leaves the pair as it was, and says why.
func TestACMERefusals(t *testing.T) {
	b := start(t)
	ctx := context.Background()
	p := open(t)
	must(t, p.Self([]string{"mx.example.org"}, ""))
	before := leafOf(t, p)
	script := filepath.Join(p.Dir, "hook")
	must(t, os.WriteFile(script, []byte("#!/bin/sh\nprintf 'no \\033[2Jtoday'\nexit 3\n"), 0o700))
	for name, c := range map[string]struct {
		change func(*Settings)
		why    string
	}{
		"a name that is not ours":     {func(s *Settings) { s.Names = []string{"blocked.example.org"} }, "blocked.example.org"},
		"a name that is not there":    {func(s *Settings) { s.Names = []string{"nowhere.example.org"} }, "nowhere.example.org"},
		"an unknown profile":          {func(s *Settings) { s.Profile = "golden" }, "golden"},
		"a server nobody vouches for": {func(s *Settings) { s.Root = "" }, "certificate"},
		"a root that is none":         {func(s *Settings) { s.Root = script }, "no certificate in it"},
		"an address that is not ours": {func(s *Settings) { s.Listen = "192.0.2.1:80" }, "listen"},
		"a hook that says no":         {func(s *Settings) { s.Challenge, s.Hook = "dns-01", script }, `no \x1b[2Jtoday`},
		"a hook that is not there":    {func(s *Settings) { s.Challenge, s.Hook = "dns-01", "/nonexistent" }, "/nonexistent"},
		"nobody agreed":               {func(s *Settings) { s.Agreed = false }, "terms"},
		"a server that is not there":  {func(s *Settings) { s.Directory = "https://localhost:1/dir" }, "refused"},
		"a page that is no directory": {func(s *Settings) { s.Directory += "ectory" }, ""},
	} {
		s := b.settings("http-01")
		c.change(s)
		ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
		err := p.Obtain(ctx, s, nil)
		cancel()
		if err == nil || !strings.Contains(err.Error(), c.why) || strings.ContainsAny(err.Error(), "\x1b") {
			t.Errorf("%s: %v", name, err)
		}
		if s := p.State(); s.Problem != "" || s.Managed == "acme" || !leafOf(t, p).Equal(before) {
			t.Errorf("%s: %+v", name, s)
		}
	}
}
