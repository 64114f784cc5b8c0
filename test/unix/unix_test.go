// Package unix runs the programs on a host with Unix users: mail goes to ~/Maildir, under the uid of its reader.
package unix

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// TestUnixUsers: who is known to smtpd, what becomes of mail for Unix users, and under which uid.
func TestUnixUsers(t *testing.T) {
	want, err := os.ReadFile("testdata/unix.want")
	if err != nil {
		t.Fatal(err)
	}
	if os.Getuid() != 0 {
		t.Skip("needs root, to be others")
	}
	for _, program := range []string{"bash", "unshare", "setpriv", "useradd", "pgrep", "curl", "chpasswd"} {
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
		cmd.Dir = "../.."
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
	}
	sample, err := filepath.Abs("../../etc/mail.toml")
	if err != nil {
		t.Fatal(err)
	}
	pam, err := filepath.Abs("../../etc/pam.d/pennypost")
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("/tmp", "pennypost") // not below /var or /home, of which the script makes others
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	out, err := exec.Command("unshare", "-m", "bash", "testdata/unix.sh", dir, bin, sample, pam).CombinedOutput()
	if string(out) != string(want) {
		t.Errorf("%v\n%s, want\n%s", err, out, want)
		logs, _ := filepath.Glob(dir + "/log.*")
		for _, log := range logs {
			text, _ := os.ReadFile(log)
			t.Logf("%s:\n%s", filepath.Base(log), text)
		}
	}
}
