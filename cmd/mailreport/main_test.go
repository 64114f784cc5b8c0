package main

import (
	"bytes"
	"compress/gzip"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pennypost/cmd/internal/argv"
	"pennypost/internal/config"
	"pennypost/internal/dns/fixture"
)

// call runs a command line and returns what it printed and the exit status.
func call(t *testing.T, stdin string, args ...string) (string, int) {
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
	err = app.Run(argv.Sort(app, append([]string{"mailreport"}, args...)))
	os.Stdin, os.Stdout = oldIn, oldOut
	w.Close()
	return <-text, exit(err)
}

func gz(text string) string {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	w.Write([]byte(text))
	w.Close()
	return b.String()
}

// A day of an admin: read, look, and let cron look.
func TestDay(t *testing.T) {
	dir := t.TempDir()
	day := time.Now().UTC().AddDate(0, 0, -1)
	report := `{"organization-name":"Big","date-range":{"start-datetime":"` + day.Format(time.RFC3339) + `"},"policies":[{"policy":{"policy-type":"sts","policy-domain":"example.org",
"policy-string":["mode: testing"]},"summary":{"total-successful-session-count":98,"total-failure-session-count":2},"failure-details":[{"result-type":"certificate-expired","failed-session-count":2}]}]}`
	for _, c := range []struct {
		stdin string
		args  string
		exit  int
		want  string
	}{
		{gz(report), "read", 0, "1 messages: 1 reports, 1 of them new; 0 without one, 0 unreadable\n"},
		{gz(report), "read --json", 0, `{"messages":1,"reports":1,"added":0,"others":0,"unread":0,"vanished":0}`},
		{gz(report)[:40], "read", exDataErr, "1 unreadable"},
		{"Subject: x\n\nx\n", "read", 0, "1 without one"},
		{"", "tls", 0, "example.org: 100 sessions, 2 failed (2.00%)"},
		{"", "tls example.org --most 2", 0, "certificate-expired"},
		{"", "tls Example.ORG. --most 1.9", exCrossed, "certificate-expired"},
		{"", "tls other.example --most 0", 0, ""},
		{"", "tls --days 1", 0, ""},
		{"", "senders --least 99", 0, ""},
		{"", "complaints --most 0", 0, ""},
		{"", "bounces --most 0", 0, ""},
		{"", "ready", exCrossed, "wait   example.org mta-sts: mode: testing, next mode: enforce"},
		{"", "ready --reported 1 --percent 98", 0, "ready  example.org mta-sts"},
		{"", "ready --json --reported 1", exCrossed, `"state":"wait"`},
		{"", "bounces example.org", exUsage, ""},
		{"", "tls a b", exUsage, ""},
		{"", "tls --nonsense", exUsage, ""},
		{"", "", exUsage, ""},
		{"", "read /nonexistent", exIOErr, ""},
	} {
		out, code := call(t, c.stdin, append([]string{"--dir", dir}, strings.Fields(c.args)...)...)
		if code != c.exit || !strings.Contains(out, c.want) {
			t.Errorf("mailreport %s: exit %d, want %d\n%s", c.args, code, c.exit, out)
		}
	}
}

func TestNames(t *testing.T) {
	f, err := fixture.Start("127.0.0.1:0", "$TTL 0\n1.2.0.192.in-addr.arpa. PTR mx.big.example.\n")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "dmarc"), 0o700); err != nil {
		t.Fatal(err)
	}
	today := time.Now().UTC().Format(time.DateOnly)
	text := "report\tbegin\tdomain\tpolicy\tsource\tcount\tdkim\tspf\nx\t" + today + "T00:00:00Z\texample.org\tnone\t192.0.2.1\t5\tpass\tfail\nx\t" + today + "T00:00:00Z\texample.org\tnone\t192.0.2.2\t5\tfail\tfail\n"
	if err := os.WriteFile(filepath.Join(dir, "dmarc", today+".tsv"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	out, code := call(t, "", "senders", "--names", "--dns", f.Addr(), "--least", "60", "--dir", dir)
	if code != exCrossed || !strings.Contains(out, "192.0.2.1                 mx.big.example\n") || !strings.Contains(out, "192.0.2.2                 -\n") {
		t.Errorf("exit %d\n%s", code, out)
	}
}

func init() {
	confined = func(*config.Config, ...string) error { return nil }
	confinedSend = func(*config.Config, bool) error { return nil }
}
