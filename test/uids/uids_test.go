// Package uids runs the programs as a server does that has been set up by mailsetup: each under its own uid.
package uids

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

const want = `== setup
something to do
as planned
nothing to do
added example.org; smtpd takes mail for it within a second
added alice@example.org; mail goes to /var/mail/pennypost/example.org/alice/Maildir
== mail
sendmail: 0
smtpd: 250
a file of mailin:mailmsg 660
a file of vmail:vmail 600
== mailq
reader sees who waits
nobody: 77
reader holds: 77
ID: queue-run will hold it
ID: released
ID: queue-run will remove it
remove: asked for
2
== signing
dkim: root:mailsign 750
dkim/eDATE.key: root:mailsign 640
dkim/rDATE.key: root:mailsign 640
mailout reads no key
K 1 2.0.0
DKIM-Signature: v=1; a=rsa-sha256
DKIM-Signature: v=1; a=ed25519-sha256
Z 1 4.3.0 451 the message could not be signed
== reports
only who reports reads it
later dmarc DAY example.net rows=1
and may remove it
`

// TestOwnUIDs: what a program needs it can read, and mail comes through; nobody sees the queue but those who may.
func TestOwnUIDs(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root, to be others")
	}
	for _, program := range []string{"bash", "unshare", "setpriv", "useradd"} {
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
	dir, err := os.MkdirTemp("/tmp", "pennypost") // not below /var, of which the script makes another
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	out, err := exec.Command("unshare", "-m", "bash", "testdata/uids.sh", dir, bin, sample).CombinedOutput()
	if string(out) != want {
		t.Errorf("%v\n%s, want\n%s", err, out, want)
		logs, _ := filepath.Glob(dir + "/log.*")
		for _, log := range logs {
			text, _ := os.ReadFile(log)
			t.Logf("%s:\n%s", filepath.Base(log), text)
		}
	}
}
