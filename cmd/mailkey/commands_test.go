package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"pennypost/cmd/internal/argv"
	"pennypost/internal/dns/fixture"
	"pennypost/mailkey"
	"pennypost/msgauth"
	"pennypost/msgauth/signer"
)

// call runs a command line and returns what it printed.
func call(t *testing.T, stdin string, args ...string) (string, error) {
	t.Helper()
	in := filepath.Join(t.TempDir(), "in")
	if err := os.WriteFile(in, []byte(stdin), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(in)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	oldIn, oldOut := os.Stdin, os.Stdout
	os.Stdin, os.Stdout = f, w
	text := make(chan string)
	go func() {
		b, _ := io.ReadAll(r)
		text <- string(b)
	}()
	app := newApp()
	err = app.Run(argv.Sort(app, append([]string{"mailkey"}, args...)))
	os.Stdin, os.Stdout = oldIn, oldOut
	w.Close()
	return <-text, err
}

// A domain from nothing to green, as the page shows it.
func TestNewDomain(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "example.org"), 0o755); err != nil {
		t.Fatal(err)
	}
	f, err := fixture.Start("127.0.0.1:0", "$TTL 0\n")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	t.Setenv("DNS_SERVER", f.Addr())
	must := func(args ...string) string {
		t.Helper()
		out, err := call(t, "", append([]string{"--domains", dir}, args...)...)
		if err != nil {
			t.Fatalf("%v: %v\n%s", args, err, out)
		}
		return out
	}
	host := []string{"--host", "mx.example.org", "--address", "192.0.2.1"}
	if out := must("create", "example.org"); strings.Count(out, "IN\tTXT\t\"v=DKIM1; ") != 2 {
		t.Error(out)
	}
	if out := must("list"); strings.Count(out, " sign ") != 2 {
		t.Error(out)
	}
	check := append([]string{"--domains", dir, "check", "example.org"}, host...)
	if out, err := call(t, "", check...); !errors.Is(err, errSaid) || !strings.Contains(out, "missing must   example.org MX: not there") {
		t.Errorf("%v\n%s", err, out)
	}
	for line := range strings.Lines(must(append([]string{"dns", "example.org", "--lines"}, host...)...)) {
		words := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		if len(words) != 6 {
			t.Fatalf("%q", line)
		}
		value := words[2]
		if words[1] == "TXT" {
			value = mailkey.ZoneText(value)
		}
		if err := f.Load(fmt.Sprintf("$TTL 0\n%s %s %s\n", words[0], words[1], value)); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
	}
	if out, err := call(t, "", check...); err != nil {
		t.Errorf("all of it is in DNS: %v\n%s", err, out)
	}
	f.Misbehave("_dmarc.example.org", "!servfail")
	if out, err := call(t, "", check...); !errors.Is(err, errLater) || !strings.Contains(out, "unknown must   _dmarc.example.org TXT") {
		t.Errorf("%v\n%s", err, out)
	}
	for _, args := range [][]string{{"rotate"}, {"rotate", "--json"}} {
		if out := must(args...); out != "" && out != "[]\n" {
			t.Errorf("%v: %s", args, out)
		}
	}
	if out, err := call(t, "From: a@example.org\n\nx\n", "--domains", dir, "sign", "example.org"); err != nil || strings.Count(out, "DKIM-Signature:") != 2 || !strings.HasSuffix(out, "\nFrom: a@example.org\n\nx\n") {
		t.Errorf("%v\n%s", err, out)
	}
	for _, args := range [][]string{{"dns", "example.org", "--json"}, {"check", "example.org", "--json"}} {
		out, _ := call(t, "", append(append([]string{"--domains", dir}, args...), host...)...)
		if !strings.HasPrefix(out, "[\n") || !strings.Contains(out, `"without":`) {
			t.Errorf("%v: %.200s", args, out)
		}
	}
	must("remove", "example.org", strings.Fields(must("list"))[1])
	if out := must("list"); strings.Count(out, "\n") != 1 {
		t.Error(out)
	}
	for _, args := range [][]string{{"create"}, {"hello"}, {"dns", "example.org", "--host", "mx"}, {"create", "example.org", "--selector", "x"}, {}} {
		var bad usage
		if out, err := call(t, "", append([]string{"--domains", dir}, args...)...); !errors.As(err, &bad) && len(args) > 0 && args[0] != "hello" {
			t.Errorf("%v: %v\n%s", args, err, out)
		}
	}
}

// TestMain is also mailkey itself, for whoever starts it.
func TestMain(m *testing.M) {
	if os.Getenv("MAILKEY_TEST") != "" {
		main()
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// The signer as deliver-remote has it: a process at the end of a pipe, asked many times at once.
func TestPipe(t *testing.T) {
	dir := t.TempDir()
	for _, d := range []string{"example.org", "nokey.example"} {
		if err := os.Mkdir(filepath.Join(dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := call(t, "", "--domains", dir, "create", "example.org", "--algorithm", "ed25519"); err != nil {
		t.Fatal(err)
	}
	t.Setenv("MAILKEY_TEST", "1")
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	c := &signer.Client{Path: exe, Args: []string{"--domains", dir, "sign"}}
	defer c.Close()
	digest := func(from string) msgauth.Digest {
		d, err := msgauth.ReadDigest(strings.NewReader("Authentication-Results: mx.example.org; dmarc=pass\nFrom: " + from + "\n\nx\n"))
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	var wait sync.WaitGroup
	for range 50 {
		wait.Add(1)
		go func() {
			defer wait.Done()
			fields, err := c.Ask(context.Background(), signer.Request{Lifetime: msgauth.Lifetime, Digest: digest("a@example.org")})
			if err != nil || !strings.HasPrefix(string(fields), "DKIM-Signature: v=1; a=ed25519-sha256; ") {
				t.Errorf("%v %s", err, fields)
			}
		}()
	}
	wait.Wait()
	fields, err := c.Ask(context.Background(), signer.Request{Seal: true, Domain: "example.org", Host: "mx.example.org", Digest: digest("a@other.example")})
	if err != nil || !strings.HasPrefix(string(fields), "ARC-Seal: ") || strings.Count(string(fields), "\nARC-") != 2 {
		t.Errorf("%v %s", err, fields)
	}
	for what, r := range map[string]signer.Request{
		"not ours":       {Digest: digest("a@other.example")},
		"no key":         {Digest: digest("a@nokey.example")},
		"two authors":    {Digest: digest("a@example.org, b@example.org")},
		"nothing to say": {Seal: true, Domain: "example.org", Host: "mx2.example.org", Digest: digest("a@other.example")},
	} {
		if fields, err := c.Ask(context.Background(), r); !errors.Is(err, signer.ErrNone) {
			t.Errorf("%s: %v %s", what, err, fields)
		}
	}
}
