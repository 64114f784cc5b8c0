package clients

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pennypost/test/lab"
)

// storeMany is Python's imaplib, which has an imapd of its own, changes all flags, and leaves: with LOGOUT, or by a signal that ends the imapd
// right after its answer.
const storeMany = `
import imaplib, os, signal, sys
m = imaplib.IMAP4_stream("exec " + sys.argv[1])
m.select()
ok, _ = m.store("1:*", sys.argv[2], sys.argv[3])
assert ok == "OK", ok
if sys.argv[4] == "LOGOUT":
    m.logout()
else:
    os.kill(m.process.pid, getattr(signal, sys.argv[4]))
m.process.wait()
`

// Flags of many messages are in the names of their files when the session is over, and when it was killed, after the next who changes something.
func TestPythonStoreMany(t *testing.T) {
	python, err := exec.LookPath("python3")
	if err != nil {
		t.Skip("python3 is not installed")
	}
	bin, err := lab.Bin()
	if err != nil {
		t.Skip(err)
	}
	root := filepath.Join(t.TempDir(), "Maildir")
	for _, dir := range []string{"cur", "new", "tmp"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	const n = 2000
	for i := range n {
		if err := os.WriteFile(fmt.Sprintf("%s/cur/%d.m:2,", root, 1700000000+i), []byte("Subject: x\n\nx\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	imapd := filepath.Join(bin, "imapd") + " --maildir " + root
	say := func(words ...string) {
		t.Helper()
		cmd := exec.Command(python, append([]string{"-c", storeMany, imapd}, words...)...)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %v\n%s", words, err, out)
		}
	}
	named := func(letters string) (count int) {
		names, _ := filepath.Glob(root + "/cur/*")
		for _, name := range names {
			if strings.HasSuffix(name, ":2,"+letters) {
				count++
			}
		}
		return count
	}
	wants := func(letters string) {
		t.Helper()
		if got := named(letters); got != n {
			t.Errorf("%d of %d files are %q", got, n, letters)
		}
	}
	say("+FLAGS.SILENT", `(\Seen)`, "LOGOUT")
	wants("S")
	say("+FLAGS.SILENT", `(\Flagged)`, "SIGTERM")
	for end := time.Now().Add(10 * time.Second); named("FS") < n && time.Now().Before(end); { // it may be at its last files
		time.Sleep(10 * time.Millisecond)
	}
	wants("FS")
	say("-FLAGS.SILENT", `(\Flagged)`, "SIGKILL")
	t.Logf("when imapd was killed %d of %d files had their names", named("S"), n)
	say("+FLAGS.SILENT", `(\Answered)`, "LOGOUT")
	wants("RS")
}
