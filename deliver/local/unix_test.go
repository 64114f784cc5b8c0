package local

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"pennypost/internal/order"
	"pennypost/internal/passwd"
)

// unixBench is a bench whose bob is the Unix user we are, at home.
func unixBench(t *testing.T, forward string) (b *bench, home string) {
	b = newBench(t)
	home = filepath.Join(b.dir, "home")
	os.Mkdir(home, 0o755)
	who := &passwd.User{Name: "bob", UID: uint32(os.Getuid()), GID: uint32(os.Getgid()), Home: home, Shell: "/bin/sh"}
	b.bob.Unix, b.bob.Maildir = who, home+"/Maildir"
	b.agent.Unix = who
	shellsOf(t, "/bin/sh")
	if forward != "" {
		os.WriteFile(home+"/.forward", []byte(forward+"\n"), 0o600)
	}
	return b, home
}

func shellsOf(t *testing.T, list string) {
	was := shells
	shells = filepath.Join(t.TempDir(), "shells")
	os.WriteFile(shells, []byte("# shells\n"+list+"\n"), 0o644)
	t.Cleanup(func() { shells = was })
}

// said is the answers in short: "F x@example.net", "K2.0.0 delivered to mailbox".
func said(answers []order.Answer) string {
	var list []string
	for _, a := range answers {
		switch a.Kind {
		case 'F':
			list = append(list, "F "+a.Target.String())
		case 'K', 'Z', 'D':
			list = append(list, fmt.Sprintf("%c%s %s", a.Kind, a.Result.Enhanced, a.Result.Text))
		}
	}
	return strings.Join(list, "; ")
}

func inMaildir(home string) int {
	names, _ := filepath.Glob(home + "/Maildir/new/*")
	return len(names)
}

// Each case is a ~/.forward, what is answered, and how many copies are in ~/Maildir.
func TestUnixForward(t *testing.T) {
	for _, c := range []struct {
		forward, want string
		kept          int
	}{
		{"", "K2.0.0 delivered to mailbox", 1},
		{"# nothing", "K2.0.0 delivered to mailbox", 1},
		{"carol@example.net", "F carol@example.net; K2.0.0 forwarded", 0},
		{"\\bob, carol@example.net", "F carol@example.net; K2.0.0 delivered to mailbox", 1},
		{"bob, carol@example.net", "F carol@example.net; K2.0.0 delivered to mailbox", 1}, // to himself is here
		{"/dev/null", "K2.0.0 thrown away, as its user wants", 0},
		{"~/Copy/", "K2.0.0 delivered to mailbox", 0},
		{"|cat >/dev/null", "K2.0.0 given to a program", 0},
		{"|exit 75", "Z4.3.0 program of the user failed", 0},
		{"|exit 111", "Z4.3.0 program of the user failed", 0},
		{"\"|echo no thanks; exit 77\"", "D5.3.0 no thanks", 0},
		{"|exit 67", "D5.3.0 program of the user refused the message", 0},
		{"|/nowhere/program", "Z4.3.0 program of the user failed", 0},
		{"/var/mail/bob", "K2.0.0 delivered to mailbox", 1}, // makes no sense: kept
	} {
		b, home := unixBench(t, c.forward)
		if got := said(b.deliver(b.order("bob@example.org"), plain(letter))); got != c.want || inMaildir(home) != c.kept {
			t.Errorf("%q: %s, %d kept", c.forward, got, inMaildir(home))
		}
	}
	b, home := unixBench(t, "|cat >/dev/null")
	shellsOf(t, "/bin/zsh")
	if got := said(b.deliver(b.order("bob@example.org"), plain(letter))); !strings.HasPrefix(got, "K") || inMaildir(home) != 1 {
		t.Error("without a shell for people no commands:", got)
	}
	b, _ = unixBench(t, "")
	b.bob.Unix.Home += "/gone"
	if got := said(b.deliver(b.order("bob@example.org"), plain(letter))); got != "Z4.3.0 cannot write the mailbox now" {
		t.Error("a home that is not there:", got)
	}
	b, _ = unixBench(t, "")
	b.bob.Unix.UID++
	if got := said(b.deliver(b.order("bob@example.org"), plain(letter))); got != "Z4.3.0 cannot write the mailbox now" {
		t.Error("another user's mail:", got)
	}
	b, _ = unixBench(t, "carol@example.net")
	if got := said(b.deliver(b.order("bob@example.org"), plain("Delivered-To: bob@example.org\n"+letter))); !strings.HasPrefix(got, "D5.4.6") {
		t.Error("a loop:", got)
	}
}

// TestS134UnixProgram: what a command of a .forward is given, and what is left of it.
func TestS134UnixProgram(t *testing.T) {
	t.Setenv("SECRET", "x")
	b, home := unixBench(t, `"|env | grep -v -e ^PWD= -e ^_= -e ^SHLVL= | sort >env; pwd >>env; ls /proc/self/fd | tr '\n' ' ' >>env; umask >>env; head -c 5000000 /dev/zero; sleep 600 & echo $! >pid; cat >message"`)
	if got := said(b.deliver(b.order("bob@example.org"), plain(letter))); got != "K2.0.0 given to a program" {
		t.Fatal(got)
	}
	env, _ := os.ReadFile(home + "/env")
	want := "DOMAIN=example.org\nEXTENSION=\nHOME=" + home + "\nID=" + testID + "\nLOCAL=bob\nLOGNAME=bob\nORIGINAL_RECIPIENT=bob@example.org\nPATH=" + searchPath +
		"\nRECIPIENT=bob@example.org\nSENDER=alice@example.net\nSHELL=/bin/sh\nUSER=bob\n" + home + "\n0 1 2 3 0077\n"
	if string(env) != want {
		t.Errorf("got\n%s\nwant\n%s", env, want)
	}
	if text, _ := os.ReadFile(home + "/message"); !strings.HasPrefix(string(text), "Return-Path: <alice@example.net>\nDelivered-To: bob@example.org\n") || !strings.HasSuffix(string(text), letter) {
		t.Errorf("message %q", text)
	}
	var pid int
	text, _ := os.ReadFile(home + "/pid")
	fmt.Sscan(string(text), &pid)
	for i := 0; pid == 0 || syscall.Kill(pid, 0) == nil && !ended(pid); i++ { // a kill takes effect when its process next runs
		if pid == 0 || i > 500 {
			t.Fatal("what it started goes on:", pid)
		}
		time.Sleep(10 * time.Millisecond)
	}
	b, home = unixBench(t, "|echo $SENDER $EXTENSION >out; cat >/dev/null")
	hostile := strings.Replace(plain(letter), "alice@example.net", "\"a;`touch x`$(touch y)|z\"@example.net", 1)
	b.deliver(b.order("bob@example.org"), hostile)
	if out, err := os.ReadFile(home + "/out"); err != nil || strings.ContainsAny(string(out), "`$;|\"") {
		t.Errorf("%q %v", out, err)
	}
}

// ended reports whether a process has ended, although nobody has waited for it yet.
func ended(pid int) bool {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	_, rest, _ := strings.Cut(string(text), ") ")
	return rest == "" || rest[0] == 'Z'
}

// TestS124UnixHome: what a user may put where mail is to go holds nobody up, and leads nowhere the user could not go.
func TestS124UnixHome(t *testing.T) {
	b, home := unixBench(t, "")
	syscall.Mkfifo(home+"/.forward", 0o600)
	if got := said(b.deliver(b.order("bob@example.org"), plain(letter))); !strings.HasPrefix(got, "K") {
		t.Error("a FIFO for .forward:", got)
	}
	b, home = unixBench(t, "")
	os.MkdirAll(home+"/Maildir/cur", 0o700)
	os.MkdirAll(home+"/Maildir/tmp", 0o700)
	syscall.Mkfifo(home+"/Maildir/new", 0o600)
	if got := said(b.deliver(b.order("bob@example.org"), plain(letter))); !strings.HasPrefix(got, "Z4.3.0") {
		t.Error("a FIFO for new/:", got)
	}
	b, home = unixBench(t, "")
	os.WriteFile(home+"/Maildir", nil, 0o600)
	if got := said(b.deliver(b.order("bob@example.org"), plain(letter))); !strings.HasPrefix(got, "Z4.3.0") {
		t.Error("a file for the Maildir:", got)
	}
	b, home = unixBench(t, "")
	os.Symlink("elsewhere", home+"/Maildir") // the user's to decide, as long as it is there
	if got := said(b.deliver(b.order("bob@example.org"), plain(letter))); !strings.HasPrefix(got, "Z4.3.0") {
		t.Error("a link to nothing:", got)
	}
	os.Mkdir(home+"/elsewhere", 0o700)
	if got := said(b.deliver(b.order("bob@example.org"), plain(letter))); !strings.HasPrefix(got, "K") || inMaildir(home) != 1 {
		t.Error("a link:", got)
	}
	os.Chmod(home, 0o777)
	if got := said(b.deliver(b.order("bob@example.org"), plain(letter))); !strings.HasPrefix(got, "Z4.3.0") { // S129
		t.Error("a home that anybody may write into:", got)
	}
}
