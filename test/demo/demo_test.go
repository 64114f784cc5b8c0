package demo

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"pennypost/test/lab"
)

// maildemo runs the built program.
func maildemo(t *testing.T, as *syscall.SysProcAttr, args ...string) string {
	t.Helper()
	bin, err := lab.Bin()
	if err != nil {
		t.Skip(err)
	}
	cmd := exec.Command(filepath.Join(bin, "maildemo"), args...)
	cmd.SysProcAttr, cmd.Dir = as, "/"
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("maildemo %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// script is what a script does with the demo: it reads its variables, sends mail, kills programs.
const script = `set -eu
eval "$("$1/maildemo" env --dir "$2")"
for v in SMTP SUBMISSION SUBMISSIONS LMTP POP3 POP3S IMAP IMAPS CA SPOOL MAILDIR_ALICE MAILDIR_BOB DNS CONFIG FORM \
	PID_SMTPD PID_QUEUE_RUN PID_QUEUE_PICKUP PID_POP3D PID_IMAPD PID_DELIVER_LOCAL PID_DELIVER_REMOTE; do
	eval "x=\$$v"
	test -n "$x" || { echo "$v is empty"; exit 1; }
done
test -r "$CA" && test -d "$SPOOL"
kill -9 "$PID_QUEUE_RUN" "$PID_DELIVER_LOCAL" $PID_BECOME
printf 'To: bob@demo.test\nSubject: a script\n\nhello\n' | "$1/sendmail" -C "$CONFIG" -t -oi -f alice@demo.test $3
for i in $(seq 100); do
	ls "$MAILDIR_BOB"/new/* >/dev/null 2>&1 && { test -z "$MAILDIR_CAROL" || ls "$MAILDIR_CAROL"/new/* >/dev/null 2>&1; } && break
	sleep 0.1
done
grep -q '^Subject: a script' "$MAILDIR_BOB"/new/*
`

// A script brings the demo up, in the form that there is for who runs it, and once more where it has been; and ends it.
func TestDetached(t *testing.T) {
	if testing.Short() {
		t.Skip("not with -short")
	}
	bin, err := lab.Bin()
	if err != nil {
		t.Skip(err)
	}
	dir := t.TempDir()
	if err := os.Chmod(filepath.Dir(dir), 0o755); err != nil { // others are to get there
		t.Fatal(err)
	}
	nobody := &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	for _, run := range []struct {
		form, name string
		root       bool
		as         *syscall.SysProcAttr
		more, last string // what else is sent, and what a script says of carol
	}{
		{form: "simple", name: "a lab", as: nil},
		{form: "simple", name: "a lab", root: true, as: nobody},
		{form: "apart", name: "another lab", root: true, more: "carol@unix.test", last: `
grep -q '^Subject: a script' "$MAILDIR_CAROL"/new/*
test "$(stat -c %u "$MAILDIR_CAROL")" -ge 1000
for v in MAILLOGIN MAILAUTHD BECOME MAILGETENT MAILKEY; do
	eval "x=\$PID_$v"
	test -n "$x" || { echo "PID_$v is empty"; exit 1; }
done
test -z "$PARTNER_PID_BECOME"
grep -q '^carol:' /etc/passwd && exit 1
test "$(nsenter -m -t "$PID_MAILDEMO" stat -c %U "$MAILDIR_CAROL")" = carol
`},
	} {
		if run.root != (os.Getuid() == 0) {
			continue
		}
		t.Run(run.form, func(t *testing.T) {
			own := filepath.Join(dir, run.name) // with a space
			if run.as != nil {
				if err := errors.Join(os.Mkdir(own, 0o755), os.Chown(own, 65534, 65534)); err != nil {
					t.Fatal(err)
				}
			}
			for range 2 {
				maildemo(t, run.as, "up", "--detach", "--dir", own, "--base", fmt.Sprint(lab.FreeBase()))
				cmd := exec.Command("sh", "-c", script+`test "$FORM" = `+run.form+"\n"+run.last, "sh", bin, own, run.more)
				cmd.SysProcAttr, cmd.Dir = run.as, "/"
				out, err := cmd.CombinedOutput()
				maildemo(t, run.as, "down", "--dir", own)
				if err != nil {
					t.Fatalf("%v\n%s", err, out)
				}
				if pid := lab.RunningAt(own); pid != 0 {
					t.Errorf("pid %d still runs", pid)
				}
			}
		})
	}
}

// What others cannot reach, or is none of theirs, is said; nothing is mounted then.
func TestUsable(t *testing.T) {
	dir := t.TempDir()
	if err := os.Chmod(filepath.Dir(dir), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := usable(filepath.Join(dir, "demo")); err == nil || !strings.Contains(err.Error(), filepath.Dir(dir)) {
		t.Errorf("below a directory of ours alone: %v", err)
	}
	if err := usable("/tmp/a:b"); err == nil {
		t.Error("a colon in the name of a home")
	}
}

// The users of the suite and carol get numbers that are free, and are in the groups that the table has.
func TestUserFiles(t *testing.T) {
	u := &userFiles{
		passwd: []string{"root:x:0:0::/root:/bin/sh", "daemon:x:999:1::/:/usr/sbin/nologin", "carol:x:1000:1000::/home/carol:/bin/sh", "dan:x:1001:1001::/home/dan:/bin/sh"},
		group:  []string{"root:x:0:", "shadow:x:42:admin", "dan:x:1001:", "maildrop:x:998:", "adm:x:997:"},
		shadow: []string{"carol:old:::::::"},
	}
	if err := u.add("/d/home"); err != nil {
		t.Fatal(err)
	}
	ids := map[string]string{}
	for _, line := range u.passwd {
		f := strings.Split(line, ":")
		if other := ids[f[2]]; len(f) != 7 || other != "" {
			t.Errorf("%q has 7 fields and a number of its own: %s", line, other)
		}
		ids[f[2]] = f[0]
	}
	for _, want := range []string{"carol:x:1000:1000:Carol, a Unix user:/d/home/carol:/bin/sh"} {
		if !slices.Contains(u.passwd, want) {
			t.Errorf("no %q in %q", want, u.passwd)
		}
	}
	if len(u.shadow) != 1 || strings.Contains(u.shadow[0], "old") {
		t.Errorf("shadow: %q", u.shadow)
	}
	if field(u.group, "shadow", 3) != "admin,mailpam" || field(u.group, "maildrop", 2) != "998" || !strings.Contains(field(u.group, "vmail", 3), "mailqueue") {
		t.Errorf("groups: %q", u.group)
	}
	before := len(u.passwd) + len(u.group)
	if err := u.add("/d/home"); err != nil || len(u.passwd)+len(u.group) != before {
		t.Errorf("once more: %v, %q", err, u.group)
	}
}
