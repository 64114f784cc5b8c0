// Package units holds etc/systemd, etc/runit, etc/inetd.conf and etc/tcpserver to what the code says: who runs what, and what it may write.
// Where no systemd runs as process 1, systemd-analyze still reads the units.
package units

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"pennypost/internal/config"
	"pennypost/internal/confine"
	"pennypost/internal/uids"
)

const dir = "../../etc/systemd"

// unit is the lines of a unit and of what is read after it.
type unit map[string][]string

func (u unit) last(key string) string {
	if n := len(u[key]); n > 0 {
		return u[key][n-1]
	}
	return ""
}

func read(t *testing.T, name string) unit {
	t.Helper()
	u := unit{}
	files := []string{filepath.Join(dir, name)}
	if strings.HasSuffix(name, ".service") {
		files = append(files, filepath.Join(dir, "pennypost-.service.d/10-hardened.conf"))
		if needs := filepath.Join(dir, name+".d/20-needs.conf"); exists(needs) {
			files = append(files, needs)
		}
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			if key, value, ok := strings.Cut(strings.TrimSpace(line), "="); ok && !strings.HasPrefix(key, "#") {
				u[key] = append(u[key], value)
			}
		}
	}
	return u
}

func exists(file string) bool { _, err := os.Stat(file); return err == nil }

func names(t *testing.T, pattern string) (list []string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, pattern))
	if err != nil || len(files) == 0 {
		t.Fatalf("%s: %v", pattern, err)
	}
	for _, f := range files {
		list = append(list, filepath.Base(f))
	}
	return list
}

// shipped is mail.toml as the package has it, in which every program has its uid.
func shipped(t *testing.T) *config.Config {
	t.Helper()
	text, err := exec.Command("sh", "../../etc/debian/mail.toml.sh", "../../etc/mail.toml").Output()
	if err != nil {
		t.Fatal(err)
	}
	c, err := config.Parse("/etc/pennypost/mail.toml", string(text), config.Sections()...)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// A service runs its program as the table of uids says, and root runs three only: who becomes others, who makes directories, who changes keys.
func TestUsers(t *testing.T) {
	seen := map[string]bool{}
	for _, name := range names(t, "*.service") {
		u := read(t, name)
		program, _, _ := strings.Cut(filepath.Base(strings.Fields(u.last("ExecStart"))[0]), " ")
		seen[program] = true
		want := uids.Programs[program]
		switch name {
		case "pennypost-setup.service", "pennypost-mailkey-rotate.service":
			want = "root"
		case "pennypost-purge.service":
			want = "vmail"
		}
		if got := u.last("User"); got != want {
			t.Errorf("%s: User=%s, want %s", name, got, want)
		}
		for _, key := range []string{"RestrictAddressFamilies", "ProcSubset", "RestrictSUIDSGID"} {
			if u.last(key) == "" {
				t.Errorf("%s: %s= is not said", name, key)
			}
		}
	}
	for program := range uids.Programs {
		if !seen[program] {
			t.Errorf("%s has no unit", program)
		}
	}
}

// What a program keeps by itself (Landlock) the unit lets it write too.
func TestWritable(t *testing.T) {
	c := shipped(t)
	for _, name := range names(t, "*.service") {
		u := read(t, name)
		program := filepath.Base(strings.Fields(u.last("ExecStart"))[0])
		if u.last("User") == "root" || program == "pamcheck" || program == "mailgetent" || program == "maildircheck" || program == "mailreport" {
			continue
		}
		paths := strings.Fields(strings.ReplaceAll(" "+strings.Join(u["ReadWritePaths"], " "), " -", " "))
		for _, path := range confine.Of(program, c).Write {
			switch other := strings.HasPrefix; {
			case other(path, "/var/spool/pennypost/drop") && program != "queue-pickup": // where anybody may write
				continue
			case other(path, "/run/pennypost/s") && program == "deliver-local": // of others who are vmail
				continue
			}
			if !slices.ContainsFunc(paths, func(p string) bool { return path == p || strings.HasPrefix(path, p+"/") }) {
				t.Errorf("%s: ReadWritePaths= does not have %s", name, path)
			}
		}
	}
}

// S078: 1,000 connections in a second do not close a socket for good, and one source does not take all of them.
func TestS078Sockets(t *testing.T) {
	for _, name := range names(t, "*.socket") {
		u := read(t, name)
		if u.last("TriggerLimitIntervalSec") != "0" {
			t.Errorf("%s: the trigger limit is a switch that anybody can turn", name)
		}
		service := u.last("Service")
		if u.last("Accept") == "yes" {
			service = strings.TrimSuffix(name, ".socket") + "@.service"
			total, _ := strconv.Atoi(u.last("MaxConnections"))
			each, _ := strconv.Atoi(u.last("MaxConnectionsPerSource"))
			if total < 100 || each < 10 || each > total/2 {
				t.Errorf("%s: MaxConnections=%d MaxConnectionsPerSource=%d", name, total, each)
			}
			if s := read(t, service); s.last("StandardInput") != "socket" || s.last("StandardError") != "journal" || s.last("CollectMode") != "inactive-or-failed" {
				t.Errorf("%s: its standard streams are %s and %s", service, s.last("StandardInput"), s.last("StandardError"))
			}
		}
		if !exists(filepath.Join(dir, service)) {
			t.Errorf("%s: no %s", name, service)
		}
	}
}

// installed is a directory with the units, their programs being there.
func installed(t *testing.T) string {
	t.Helper()
	if _, err := exec.LookPath("systemd-analyze"); err != nil {
		t.Skip("needs systemd-analyze")
	}
	to := t.TempDir()
	if out, err := exec.Command("cp", "-r", dir+"/.", to).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, name := range names(t, "*.service") {
		file := filepath.Join(to, name)
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		text = regexp.MustCompile(`/usr/sbin/[a-z0-9-]+`).ReplaceAll(text, []byte("/bin/true"))
		if err := os.WriteFile(file, text, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return to
}

func TestVerify(t *testing.T) {
	to := installed(t)
	args := []string{"verify", "--man=no"}
	for _, name := range append(append(append(names(t, "*.service"), names(t, "*.socket")...), names(t, "*.timer")...), "pennypost.slice") {
		args = append(args, strings.Replace(name, "@.", "@x.", 1))
	}
	cmd := exec.Command("systemd-analyze", args...)
	cmd.Env = append(os.Environ(), "SYSTEMD_UNIT_PATH="+to+":")
	if out, err := cmd.CombinedOutput(); err != nil || ours(out) != "" {
		t.Errorf("%v\n%s", err, out)
	}
}

// ours are the lines that speak of our units: a host may have others.
func ours(out []byte) string {
	var list []string
	for line := range strings.Lines(string(out)) {
		if strings.Contains(line, "pennypost") {
			list = append(list, line)
		}
	}
	return strings.Join(list, "")
}

var level = regexp.MustCompile(`Overall exposure level for \S+: ([0-9.]+)`)

// TestExposure prints the table of pennypost-security(7): 10 is the worst, and what touches the network is at most 2.0.
func TestExposure(t *testing.T) {
	to := installed(t)
	root := t.TempDir()
	units := filepath.Join(root, "etc/systemd/system")
	if err := os.MkdirAll(filepath.Dir(units), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(to, units); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("sh", "-c", fmt.Sprintf("rm %[2]s && cp -r %[1]s %[2]s", to, units)).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, name := range names(t, "*.service") {
		out, err := exec.Command("systemd-analyze", "security", "--offline=true", "--root="+root, strings.Replace(name, "@.", "@x.", 1)).CombinedOutput()
		m := level.FindSubmatch(out)
		if m == nil {
			t.Fatalf("%s: %v\n%s", name, err, bytes.TrimSpace(out))
		}
		score, err := strconv.ParseFloat(string(m[1]), 64)
		if err != nil {
			t.Fatal(err)
		}
		u := read(t, name)
		network := u.last("PrivateNetwork") != "yes"
		if network && score > 2.0 || score > 2.5 {
			t.Errorf("%s: %.1f", name, score)
		}
		t.Logf("%-40s %-11s %-8s %.1f", name, u.last("User"), map[bool]string{true: "network", false: ""}[network], score)
	}
}
