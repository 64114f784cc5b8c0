package demo

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"pennypost/test/lab"
)

// maildemo runs the built program.
func maildemo(t *testing.T, args ...string) string {
	t.Helper()
	bin, err := lab.Bin()
	if err != nil {
		t.Skip(err)
	}
	out, err := exec.Command(filepath.Join(bin, "maildemo"), args...).CombinedOutput()
	if err != nil {
		t.Fatalf("maildemo %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// A script brings the demo up, reads its variables, sends mail, kills a program, and ends it.
func TestDetached(t *testing.T) {
	if testing.Short() {
		t.Skip("not with -short")
	}
	dir := filepath.Join(t.TempDir(), "lab with a space")
	maildemo(t, "up", "--detach", "--dir", dir, "--base", fmt.Sprint(lab.FreeBase()))
	down := false
	defer func() {
		if !down {
			maildemo(t, "down", "--dir", dir)
		}
	}()
	bin, err := lab.Bin()
	if err != nil {
		t.Fatal(err)
	}
	script := `set -eu
eval "$("$1/maildemo" env --dir "$2")"
for v in SMTP SUBMISSION SUBMISSIONS LMTP POP3 POP3S CA SPOOL MAILDIR_ALICE MAILDIR_BOB DNS CONFIG \
	PID_SMTPD PID_QUEUE_RUN PID_QUEUE_PICKUP PID_POP3D PID_DELIVER_LOCAL PID_DELIVER_REMOTE; do
	eval "x=\$$v"
	test -n "$x" || { echo "$v is empty"; exit 1; }
done
test -r "$CA" && test -d "$SPOOL"
kill -9 "$PID_QUEUE_RUN" "$PID_DELIVER_LOCAL"
printf 'To: bob@demo.test\nSubject: a script\n\nhello\n' | "$1/sendmail" -C "$CONFIG" -t -oi -f alice@demo.test
for i in $(seq 100); do
	ls "$MAILDIR_BOB"/new/* >/dev/null 2>&1 && break
	sleep 0.1
done
grep -q '^Subject: a script' "$MAILDIR_BOB"/new/*
`
	if out, err := exec.Command("sh", "-c", script, "sh", bin, dir).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	maildemo(t, "down", "--dir", dir)
	down = true
	if pid := lab.RunningAt(dir); pid != 0 {
		t.Errorf("pid %d still runs", pid)
	}
}
