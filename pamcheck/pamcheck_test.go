package pamcheck

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pennypost/internal/maillog"
	"pennypost/internal/packet"
	"pennypost/pamcheck/ask"
)

// server runs a Server whose checks are made by a script.
func server(t *testing.T, script string) (s *Server, socket string) {
	t.Helper()
	dir := t.TempDir()
	program := filepath.Join(dir, "check")
	if err := os.WriteFile(program, []byte("#!/bin/sh\n"+script+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	s = &Server{Socket: dir + "/pam/sock", Check: []string{program}, Ours: map[uint32]bool{uint32(os.Getuid()): true}, Log: &maillog.Log{Program: "pamcheck", Out: io.Discard}}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- s.Listen(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	for range 200 {
		if ask.There(s.Socket) {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	return s, s.Socket
}

// Each case is how a check ends, and what is said of it.
func TestAnswers(t *testing.T) {
	_, socket := server(t, `IFS= read -r said <&3
case $TCPREMOTEIP in
yes) exit 0;;
no) exit 1;;
later) echo "no directory" >&2; exit 111;;
other) exit 3;;
killed) kill -9 $$;;
leaves) sleep 600 & exit 0;;
env) env >&2; exit 111;;
"") test "$1" = --account;;
esac`)
	for question, want := range map[ask.Question]bool{{Name: "alice", Account: true}: true, {Name: "alice"}: false, {Name: "alice", Password: "secret"}: false} {
		if yes, err := ask.Ask(context.Background(), socket, question); yes != want || err != nil {
			t.Errorf("%v: %v %v", question, yes, err)
		}
	}
	for remote, want := range map[string]string{
		"yes":    "true <nil>",
		"later":  "false pamcheck: exit status 111: no directory",
		"other":  "false pamcheck: exit status 3:",
		"killed": "false pamcheck: signal: killed:",
		"leaves": "true <nil>",
	} {
		yes, err := ask.Ask(context.Background(), socket, ask.Question{Name: "alice", Password: "secret", Service: "imap", Remote: remote})
		if got := fmt.Sprint(yes, " ", err); strings.TrimSpace(got) != want {
			t.Errorf("%s: %s, want %s", remote, got, want)
		}
	}
	_, err := ask.Ask(context.Background(), socket, ask.Question{Name: "alice", Password: "secret", Service: "imap", Remote: "env"})
	for _, word := range []string{"secret", "alice"} { // S119
		if err == nil || strings.Contains(err.Error(), word) {
			t.Errorf("%s is in the environment: %v", word, err)
		}
	}
}

// TestS111No: a "no" takes its full second, however fast it was found.
func TestS111No(t *testing.T) {
	_, socket := server(t, "exit 1")
	began := time.Now()
	yes, err := ask.Ask(context.Background(), socket, ask.Question{Name: "alice", Password: "x"})
	if took := time.Since(began); yes || err != nil || took < evenTime {
		t.Error(yes, err, took)
	}
}

// TestS112Many: no more checks run at once than are allowed; the others wait.
func TestS112Many(t *testing.T) {
	dir := t.TempDir()
	_, socket := server(t, "touch "+dir+"/$$; ls "+dir+" | wc -l >>"+dir+".most; sleep 0.2; rm "+dir+"/$$; exit 0")
	all := make(chan error)
	for range 3 * atOnce {
		go func() {
			yes, err := ask.Ask(context.Background(), socket, ask.Question{Name: "alice", Password: "x"})
			if err == nil && !yes {
				err = fmt.Errorf("no")
			}
			all <- err
		}()
	}
	for range 3 * atOnce {
		if err := <-all; err != nil {
			t.Error(err)
		}
	}
	text, _ := os.ReadFile(dir + ".most")
	for _, n := range strings.Fields(string(text)) {
		var k int
		if fmt.Sscan(n, &k); k > atOnce {
			t.Errorf("%d checks at once", k)
		}
	}
}

// TestS131Socket: whoever says nonsense loses the connection, and nobody else theirs.
func TestS131Socket(t *testing.T) {
	_, socket := server(t, "exit 0")
	for _, bad := range []string{"x", "\x00\x00\x00\x00", "a\x00b\x00c\x00d", strings.Repeat("a", 513) + "\x00b\x00c\x00d\x00", strings.Repeat("\x00", 2000), "a\x00b\x00c\x00d\x00e\x00"} {
		c, err := net.Dial("unixpacket", socket)
		if err != nil {
			t.Fatal(err)
		}
		c.Write([]byte(bad))
		c.SetDeadline(time.Now().Add(5 * time.Second))
		if n, _ := c.Read(make([]byte, 10)); n != 0 {
			t.Errorf("%.20q was answered", bad)
		}
		c.Close()
	}
	if yes, err := ask.Ask(context.Background(), socket, ask.Question{Name: "alice", Password: "x"}); !yes {
		t.Error(err)
	}
	s := &Server{Ours: map[uint32]bool{}, Log: &maillog.Log{Program: "pamcheck", Out: io.Discard}}
	ours, theirs, err := packet.Pair()
	if err != nil {
		t.Fatal(err)
	}
	defer ours.Close()
	c, _ := net.FileConn(theirs)
	theirs.Close()
	ours.SetDeadline(time.Now().Add(5 * time.Second))
	go s.handle(c)
	ours.Write(ask.Question{Name: "alice", Password: "x"}.Append(nil))
	if n, _ := ours.Read(make([]byte, 10)); n != 0 {
		t.Error("another uid was answered")
	}
}

// TestRealPAM: this host's PAM, and a user of its own, under a uid that is in the group shadow and nothing else.
func TestRealPAM(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root, to add a user")
	}
	for _, program := range []string{"bash", "unshare", "useradd", "setpriv", "chpasswd"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skip("needs " + program)
		}
	}
	if out, err := exec.Command("unshare", "-m", "true").CombinedOutput(); err != nil {
		t.Skipf("needs a mount namespace: %s", out)
	}
	if _, err := os.Stat("/etc/pam.d/common-auth"); err != nil {
		t.Skip("needs Debian's /etc/pam.d")
	}
	dir, err := os.MkdirTemp("/tmp", "pennypost")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	os.Chmod(dir, 0o755)
	build := exec.Command("go", "build", "-tags", "urfave_cli_no_docs", "-o", dir+"/pamcheck", "../cmd/pamcheck")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	service, err := filepath.Abs("../etc/pam.d/pennypost")
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("unshare", "-m", "bash", "testdata/pam.sh", dir, service).CombinedOutput()
	const want = `right: 0
wrong: 1
empty: 1
unknown: 1
root: 1
locked: 1
expired: 1
account: 0
account of an unknown: 1
account that expired: 1
no password: 1
program: alice /home/alice
nobody without the group: 1
`
	if string(out) != want {
		t.Errorf("%v\n%s, want\n%s", err, out, want)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("alice\x00"))
	f.Add([]byte("alice\x00secret\x00imap\x00192.0.2.1\x00"))
	f.Fuzz(func(t *testing.T, packet []byte) {
		q, err := ask.Parse(packet)
		if err == nil && string(q.Append(nil)) != string(packet) {
			t.Errorf("%q", packet)
		}
	})
}
