// Package apart runs the programs on a host where login is apart from mail: maillogin, mailauthd and become in front of imapd and pop3d,
// each under its own uid; and puts something else in maillogin's place.
package apart

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// TestLoginApart: virtual and Unix users read their mail by way of maillogin, each under the uid it belongs to; no program can read what is
// not its own; and whoever has maillogin's uid and sockets reaches nobody's mail without a password.
func TestLoginApart(t *testing.T) {
	want, err := os.ReadFile("testdata/apart.want")
	if err != nil {
		t.Fatal(err)
	}
	if os.Getuid() != 0 {
		t.Skip("needs root, to be others")
	}
	for _, program := range []string{"bash", "unshare", "setpriv", "useradd", "pgrep", "ps", "curl", "openssl"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skip("needs " + program)
		}
	}
	if out, err := exec.Command("unshare", "-m", "true").CombinedOutput(); err != nil {
		t.Skipf("needs a mount namespace: %s", out)
	}
	bin := os.Getenv("PENNYPOST_BIN")
	if bin == "" {
		bin = t.TempDir()
		cmd := exec.Command("go", "build", "-tags", "urfave_cli_no_docs", "-o", bin, "./cmd/...")
		cmd.Dir, cmd.Env = "../..", append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
	}
	sample, err := filepath.Abs("../../etc/mail.toml")
	if err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("/tmp", "pennypost") // not below /var or /home, of which the script makes others
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	out, err := exec.Command("unshare", "-m", "bash", "testdata/apart.sh", dir, bin, sample, self).CombinedOutput()
	if string(out) != string(want) {
		t.Errorf("%v\n%s, want\n%s", err, out, want)
		logs, _ := filepath.Glob(dir + "/log.*")
		for _, log := range logs {
			text, _ := os.ReadFile(log)
			t.Logf("%s:\n%s", filepath.Base(log), text)
		}
	}
}
