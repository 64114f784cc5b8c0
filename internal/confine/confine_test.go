package confine

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"pennypost/internal/config"
	"pennypost/internal/uids"
)

// Every program of the table of uids that meets strangers has its rights, and they are of the default installation.
func TestPrograms(t *testing.T) {
	c, err := config.Parse("/etc/pennypost/mail.toml", "[login]\nsocket = \"/run/pennypost/login.sock\"\n[queue.workers]\nlocal = \"unix:/run/l\"\nremote = \"unix:/run/r\"\n", config.Sections()...)
	if err != nil {
		t.Fatal(err)
	}
	for program := range uids.Programs {
		if slices.Contains([]string{"become", "pamcheck", "mailgetent", "mailreport"}, program) { // a filter of its own; programs of the C library, two of them; Tool
			continue
		}
		if needs[program] == nil {
			t.Errorf("%s: no rights are said", program)
			continue
		}
		r := Of(program, c)
		if !slices.Contains(r.Read, "/etc/pennypost") {
			t.Errorf("%s cannot read its configuration", program)
		}
		if r.AllFiles || r.AllExec {
			t.Errorf("%s is not confined", program)
		}
	}
	for _, row := range []struct{ program, path, may string }{
		{"smtpd", "/var/spool/pennypost/in/mx/tmp", "w"},
		{"smtpd", "/var/spool/pennypost/in/pickup/tmp", ""},
		{"smtpd", "/var/spool/pennypost/q", ""},
		{"smtpd", "/var/spool/pennypost", ""},
		{"smtpd", "/var/lib/pennypost/auth", ""},
		{"smtpd", "/var/lib/pennypost/over", "r"},
		{"smtpd", "/var/mail/pennypost", ""},
		{"queue-run", "/var/spool/pennypost/in/mx/new", "w"},
		{"queue-run", "/var/spool/pennypost/q", "w"},
		{"queue-run", "/var/mail/pennypost", ""},
		{"deliver-remote", "/var/spool/pennypost/q", ""},
		{"deliver-remote", "/var/mail/pennypost", ""},
		{"deliver-local", "/var/mail/pennypost", "w"},
		{"imapd", "/var/mail/pennypost", "w"},
		{"imapd", "/var/lib/pennypost/auth", ""},
		{"mailauthd", "/var/lib/pennypost/auth", "w"},
		{"mailauthd", "/var/mail/pennypost", ""},
		{"maillogin", "/var/lib/pennypost/auth", ""},
		{"maillogin", "/var/mail/pennypost", ""},
		{"maillogin", "/etc/pennypost/tls", "r"},
		{"queue-pickup", "/var/spool/pennypost/drop/new", "w"},
		{"mailcert", "/etc/pennypost/tls", "w"},
		{"mailreport send", "/var/lib/pennypost/reports/dmarc", "w"},
		{"mailreport send", "/var/lib/pennypost/reports/sent", "w"},
		{"mailreport send", "/var/spool/pennypost/drop/new", "w"},
		{"mailreport send", "/var/spool/pennypost/in/mx/tmp", ""},
		{"mailreport send", "/var/mail/pennypost", ""},
	} {
		r, may := Of(row.program, c), ""
		switch {
		case slices.Contains(r.Write, row.path):
			may = "w"
		case slices.Contains(r.Read, row.path):
			may = "r"
		}
		if may != row.may {
			t.Errorf("%s: %s is %q, want %q", row.program, row.path, may, row.may)
		}
	}
}

func TestPorts(t *testing.T) {
	c, err := config.Parse("/etc/pennypost/mail.toml", `
[dns]
server = ["127.0.0.1:5353"]
[smtpd]
mx = ["127.0.0.1:2525", "unix:/run/x/lmtp.sock"]
[remote]
port = 26
[route."*"]
next = ["smtp://relay.example:587", "lmtp:host:24", "mx"]
`, config.Sections()...)
	if err != nil {
		t.Fatal(err)
	}
	smtpd, remote, imapd := Of("smtpd", c, "mx=:25"), Of("deliver-remote", c), Of("imapd", c)
	if !slices.Equal(smtpd.Connect, []int{5353}) || !slices.Equal(smtpd.Listen, []int{2525, 25}) || !slices.Contains(smtpd.Write, "/run/x") {
		t.Errorf("smtpd: %v", smtpd)
	}
	for _, port := range []int{5353, 26, 25, 443, 587, 24} {
		if !slices.Contains(remote.Connect, port) {
			t.Errorf("deliver-remote cannot connect to %d", port)
		}
	}
	if len(imapd.Connect) > 0 || len(imapd.Listen) > 0 {
		t.Errorf("imapd: %v", imapd)
	}
}

// Programs of other people need what they need.
func TestProgramsOfOthers(t *testing.T) {
	for text, program := range map[string]string{
		"[login]\ncheckpassword = [\"/bin/check\"]\n":        "mailauthd",
		"[login]\ncheckpassword = [\"/usr/bin/check\"]\n":    "imapd",
		"[mail]\nprograms = true\n":                          "deliver-local",
		"[queue.workers]\nlocal = \"/usr/local/bin/mine\"\n": "queue-run",
		"[transport.x]\ncommand = [\"/bin/x\"]\n":            "queue-run",
	} {
		c, err := config.Parse("/etc/pennypost/mail.toml", text, config.Sections()...)
		if err != nil {
			t.Fatal(err)
		}
		if r := Of(program, c); !r.AllExec {
			t.Errorf("%s with %q is confined", program, text)
		}
	}
}

// TestEnter confines a process of its own, in which many threads run.
func TestEnter(t *testing.T) {
	if dir := os.Getenv("CONFINE_TEST"); dir != "" {
		inside(dir)
		return
	}
	if Level() < 2 {
		t.Skip("Landlock is not available on this kernel")
	}
	dir := t.TempDir()
	for _, sub := range []string{"w/a", "w/b", "r", "no", "link"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o777); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, sub, "f"), []byte("x"), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command(os.Args[0], "-test.run=^TestEnter$")
	cmd.Env = append(os.Environ(), "CONFINE_TEST="+dir)
	out, err := cmd.CombinedOutput()
	if text := string(out); err != nil || strings.Contains(text, "WRONG") || !strings.Contains(text, "held") {
		t.Errorf("%v\n%s", err, out)
	}
}

func inside(dir string) {
	at := func(name string) string { return filepath.Join(dir, name) }
	stop := make(chan bool)
	for range 8 { // threads that are there before
		go func() { <-stop }()
	}
	given, err := os.Open(at("link/f"))
	if err != nil {
		panic(err)
	}
	r := Rights{Read: []string{at("r"), at("missing")}, Write: []string{at("w")}, Link: []string{at("link")}}
	if err := r.Enter(nil); err != nil {
		panic(err)
	}
	results := make(chan string)
	try := func(what string, denied bool, do func() error) {
		for range 4 { // on threads that come and go
			go func() {
				if err := do(); errors.Is(err, fs.ErrPermission) != denied || err != nil && !denied {
					results <- fmt.Sprintf("WRONG %s: %v", what, err)
					return
				}
				results <- "held"
			}()
			os.Stdout.WriteString(<-results + "\n")
		}
	}
	try("read r", false, func() error { _, err := os.ReadFile(at("r/f")); return err })
	try("read w", false, func() error { _, err := os.ReadFile(at("w/a/f")); return err })
	try("write w", false, func() error { return os.WriteFile(at("w/a/f"), nil, 0o666) })
	try("write r", true, func() error { return os.WriteFile(at("r/f"), nil, 0o666) })
	try("make in r", true, func() error { return os.Mkdir(at("r/d"), 0o777) })
	try("read no", true, func() error { _, err := os.ReadFile(at("no/f")); return err })
	try("list no", true, func() error { _, err := os.ReadDir(at("no")); return err })
	try("list link", true, func() error { _, err := os.ReadDir(at("link")); return err })
	try("remove from link", true, func() error { return os.Remove(at("link/f")) })
	try("start", true, func() error { return exec.Command("/bin/true").Run() })
	os.Rename(at("w/a/f"), at("w/b/g"))
	try("renamed", false, func() error { _, err := os.Stat(at("w/b/g")); return err })
	os.Link(at("link/f"), at("w/b/l"))
	try("linked", false, func() error { _, err := os.Stat(at("w/b/l")); return err })
	given.Close()
	close(stop)
}
