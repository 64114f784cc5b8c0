package main

import (
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pennypost/cmd/internal/argv"
	"pennypost/internal/dns/fixture"
	"pennypost/mailcert"
)

// call runs a command line and returns what it printed and the exit status.
func call(t *testing.T, args ...string) (string, int) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	old := os.Stdout
	os.Stdout = w
	text := make(chan string)
	go func() {
		b, _ := io.ReadAll(r)
		text <- string(b)
	}()
	app := newApp()
	err = app.Run(argv.Sort(app, append([]string{"mailcert"}, args...)))
	os.Stdout = old
	w.Close()
	return <-text, exit(err)
}

// The first start, a next key, and its turn.
func TestCommands(t *testing.T) {
	f, err := fixture.Start("127.0.0.1:0", "$TTL 0\n")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	t.Setenv("DNS_SERVER", f.Addr())
	dir := t.TempDir()
	chain, conf := filepath.Join(dir, "mx.pem"), filepath.Join(dir, "mail.toml")
	if err := os.WriteFile(conf, []byte("confine = false\n"), 0o600); err != nil { // this process has more to do
		t.Fatal(err)
	}
	for _, c := range []struct {
		args string
		exit int
		want string
	}{
		{"show", exGeneral, "problem  open " + chain + ": no such file"},
		{"renew", exTempFail, ""},
		{"self", exGeneral, ""},
		{"self mx.example.org", 0, "from     nobody (self-signed)"},
		{"show", 0, "renewed  by ourselves"},
		{"show --days 366", exGeneral, "names    mx.example.org"},
		{"renew", 0, "waits, good until"},
		{"renew --now", 0, "renewed, good until"},
		{"renew --json", 0, `"what":"waits"`},
		{"roll", exIOErr, ""},
		{"next", 0, "_25._tcp.mx.example.org.\t3600\tIN\tTLSA\t3 1 1 "},
		{"roll", exTempFail, ""},
		{"roll --wait 0s", 0, "; the records to have now\n_25._tcp.mx.example.org.\t3600\tIN\tTLSA\t3 1 1 "},
		{"obtain mx.example.org", exUsage, ""},
		{"obtain --agree", exUsage, ""},
		{"obtain mx.example.org --agree --challenge carrier-pigeon", exUsage, ""},
		{"obtain mx.example.org --agree --directory https://127.0.0.1:1/dir --listen 127.0.0.1:0", exGeneral, ""},
		{"show extra", exUsage, ""},
		{"show --nonsense", exUsage, ""},
		{"", exUsage, ""},
	} {
		out, code := call(t, append([]string{"-c", conf}, append(strings.Fields(c.args), "--certificate", chain)...)...)
		if code != c.exit || !strings.Contains(out, c.want) {
			t.Errorf("mailcert %s: exit %d, want %d\n%s", c.args, code, c.exit, out)
		}
	}
	var s mailcert.State
	out, _ := call(t, "--certificate", chain, "show", "--json")
	if err := json.Unmarshal([]byte(out), &s); err != nil || s.TLSA == "" || s.Next == "" {
		t.Error(out, err)
	}
}

// Without --certificate it is about those of mail.toml.
func TestConfig(t *testing.T) {
	dir := t.TempDir()
	conf := filepath.Join(dir, "mail.toml")
	text := "hostname = \"mx.example.org\"\n[tls]\ncertificates = [\"" + dir + "/a.pem\", \"" + dir + "/b.pem\"]\nkeys = [\"" + dir + "/a.key\", \"" + dir + "/b.key\"]\n"
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, code := call(t, "-c", conf, "self"); code != 0 || !strings.Contains(out, "names    mx.example.org\n") {
		t.Errorf("exit %d\n%s", code, out)
	}
	if out, code := call(t, "-c", conf, "show"); code != exGeneral || strings.Count(out, dir+"/a.pem\n") != 1 || strings.Count(out, dir+"/b.pem\n") != 1 {
		t.Errorf("exit %d\n%s", code, out)
	}
	if _, code := call(t, "-c", conf, "-n"); code != 0 {
		t.Errorf("exit %d", code)
	}
}
