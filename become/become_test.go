package become

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"pennypost/become/ask"
	"pennypost/internal/packet"
)

// The code of what runs as root, less the line that says which system calls it gives up, is short enough to be read.
func TestSize(t *testing.T) {
	lines := 0
	for _, pattern := range []string{"*.go", "ask/line.go", "../cmd/become/*.go"} {
		files, _ := filepath.Glob(pattern)
		if len(files) == 0 {
			t.Fatalf("no %s to count", pattern)
		}
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			code := regexp.MustCompile(`(?s)/\*.*?\*/`).ReplaceAllString(string(text), "")
			for line := range strings.Lines(code) {
				if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "//") && !strings.HasSuffix(file, "_test.go") {
					lines++
				}
			}
		}
	}
	if lines >= 300 {
		t.Errorf("%d lines", lines)
	}
}

func TestAllowed(t *testing.T) {
	s := &Server{MinUID: 1000, MinGID: 1000}
	for line, want := range map[string]string{
		"imapd 1000 1000 alice /home/alice":             "",
		"imapd 1000 1000,2000,3000 alice /home/alice":   "",
		"imapd 0 1000 alice /home/alice":                "uid 0: see",
		"imapd 999 1000 alice /home/alice":              "uid 999: see",
		"imapd 65534 1000 alice /home/alice":            "uid 65534",
		"imapd 4294967295 1000 alice /home/alice":       "uid 4294967295",
		"imapd 4294967296 1000 alice /home/alice":       "not PROGRAM",
		"imapd -1 1000 alice /home/alice":               "not PROGRAM",
		"imapd 1000 0 alice /home/alice":                "gid 0: see",
		"imapd 1000 1000,0 alice /home/alice":           "gid 0: see",
		"imapd 1000 1000,42 alice /home/alice":          "gid 42: see",
		"imapd 1000 4294967295 alice /home/alice":       "gid 4294967295",
		"imapd 1000  alice /home/alice":                 "not PROGRAM",
		"imapd 1000 1000, alice /home/alice":            "not PROGRAM",
		"imapd 1000 1000 alice home":                    "not PROGRAM",
		"imapd 1000 1000 -x /home/alice":                "not PROGRAM",
		"imapd 1000 1000 - /home/alice":                 "not PROGRAM",
		"imapd 1000 1000 a%00b /home/alice":             "not PROGRAM",
		"imapd 1000 1000 alice /home/alice --config /x": "not PROGRAM",
		"": "not PROGRAM",
		"imapd 1000 1000" + strings.Repeat(",1001", 64) + " alice /home/alice": "not PROGRAM",
	} {
		r, err := ask.Parse(line)
		if err == nil {
			err = s.allowed(r)
		}
		if got := fmt.Sprint(err); want == "" && err != nil || !strings.HasPrefix(got, want) && want != "" {
			t.Errorf("%q: %v, want %q", line, err, want)
		}
	}
}

// program says as whom and how it runs, to its descriptor 0; that and the copy which the shell keeps are its two sockets.
const program = `#!/bin/bash
exec >&0
{ echo "$0 $*"; id -u; id -G; pwd; env | grep -v '^_=\|^SHLVL=\|^PWD=' | sort; ls -l /proc/$$/fd | grep -c passwd; ls -l /proc/$$/fd | grep -c socket:
grep -E '^(NoNewPrivs|Seccomp|Cap(Prm|Eff|Inh|Bnd|Amb)):' /proc/$$/status
(: </dev/tcp/127.0.0.1/1) 2>&1 | grep -o 'Address family.*' | head -1
unshare -Ur true 2>&1 | grep -o 'Operation not.*'
cat /etc/shadow 2>&1 | grep -o 'Permission.*'; } > /tmp/become.$$ 2>&1; cat /tmp/become.$$; rm /tmp/become.$$
`

// TestMost: of a program with a bound, a user has so many at once and another as many; who ends makes room (S081).
func TestMost(t *testing.T) {
	s := &Server{}
	bounded, free := Program{Name: "imapd", Most: 2}, Program{Name: "deliver-local"}
	for i, step := range []struct {
		p    Program
		of   string
		n    int
		want bool
	}{
		{bounded, "a", 1, true}, {bounded, "a", 1, true}, {bounded, "a", 1, false}, {bounded, "b", 1, true}, {free, "c", 1, true}, {free, "c", 1, true}, {free, "c", 1, true},
		{bounded, "a", -1, true}, {bounded, "a", 1, true}, {bounded, "a", 1, false},
	} {
		if got := s.enter(step.p, step.of, step.n); got != step.want {
			t.Errorf("step %d: %v", i, got)
		}
	}
}

// TestS082Fork: where no process can be started, whoever asked is told so, and there is as much room as before.
func TestS082Fork(t *testing.T) {
	s := &Server{Dir: t.TempDir()}
	for range 3 {
		if err := s.run(Program{Name: "imapd", Most: 1}, ask.Request{UID: 54321, GIDs: []uint32{54321}}, os.Stdin); err == nil || err == ask.ErrMost {
			t.Fatal(err)
		}
	}
}

// TestBecome: what is started has the rights of its user, our filter, and nothing of ours. The server confines itself in a process of its own.
func TestBecome(t *testing.T) {
	if dir := os.Getenv("BECOME_TEST"); dir != "" {
		serve(t, dir)
		return
	}
	if os.Getuid() != 0 {
		t.Skip("needs root, to start programs as others")
	}
	dir, err := os.MkdirTemp("/tmp", "become") // the user of the test may enter it
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	os.Chmod(dir, 0o755)
	if err := os.WriteFile(dir+"/imapd", []byte(program), 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0], "-test.run", "^TestBecome$")
	cmd.Env = append(os.Environ(), "BECOME_TEST="+dir, "SECRET=1")
	leak, err := os.Open("/etc/passwd")
	if err != nil {
		t.Fatal(err)
	}
	defer leak.Close()
	cmd.ExtraFiles = []*os.File{leak}
	var log lockedBuffer
	cmd.Stderr = &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { cmd.Process.Kill(); cmd.Wait() }()
	socket := dir + "/become.sock"
	for i := 0; ; i++ {
		if c, err := packet.Dial(socket); err == nil {
			c.Close()
			break
		} else if strings.Contains(log.String(), "not supported") {
			t.Skip("a build with cgo cannot drop the capabilities of all its threads")
		} else if i > 500 {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Millisecond)
	}
	alice := ask.Request{Program: "imapd", UID: 54321, GIDs: []uint32{54321, 54400}, Name: "alice", Home: "/home/al ice"}
	ours, theirs, err := packet.Pair()
	if err != nil {
		t.Fatal(err)
	}
	if err := ask.Ask(context.Background(), socket, alice, theirs); err != nil {
		cmd.Wait()
		if strings.Contains(log.String(), "not supported") { // it had the socket already
			t.Skip("a build with cgo cannot drop the capabilities of all its threads")
		}
		t.Fatal(err)
	}
	theirs.Close()
	text, err := io.ReadAll(ours)
	if err != nil {
		t.Error(err)
	}
	want := `imapd --session
54321
54321 54400
/
GOMAXPROCS=1
HOME=/home/al ice
LOGNAME=alice
PATH=/usr/local/bin:/usr/bin:/bin
SHELL=/bin/sh
USER=alice
0
2
CapInh:	0
CapPrm:	0
CapEff:	0
CapBnd:	c0
CapAmb:	0
NoNewPrivs:	1
Seccomp:	2
Address family not supported by protocol
Operation not permitted
Permission denied
`
	got := regexp.MustCompile(`\t0+(\d)`).ReplaceAllString(string(text), "\t$1")
	got = regexp.MustCompile(`\t0+c0`).ReplaceAllString(got, "\tc0")
	if got = strings.Replace(got, dir+"/", "", 1); got != want {
		t.Errorf("%s\nwant\n%s", got, want)
	}
	for _, r := range []ask.Request{
		{Program: "imapd", UID: 0, GIDs: []uint32{0}, Name: "root", Home: "/root"},
		{Program: "sh", UID: 54321, GIDs: []uint32{54321}, Name: "alice", Home: "/"},
		{Program: "../imapd", UID: 54321, GIDs: []uint32{54321}, Name: "alice", Home: "/"},
	} {
		if err := ask.Ask(context.Background(), socket, r, leak); err == nil || !strings.HasPrefix(err.Error(), "become: ") {
			t.Errorf("%v: %v", r, err)
		}
	}
	strangers(t, socket)
	left, err := exec.Command("ps", "--ppid", fmt.Sprint(cmd.Process.Pid), "-o", "stat=").Output()
	if strings.Contains(string(left), "Z") {
		t.Errorf("not reaped: %s %v", left, err)
	}
	if t.Failed() {
		t.Log(log.String())
	}
}

// lockedBuffer is read while it is written.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// strangers: who is not on the list gets no answer; nonsense costs its connection and nobody else's (S131).
func strangers(t *testing.T, socket string) {
	if out, err := exec.Command("setpriv", "--reuid=54322", "--clear-groups", "--regid=54322", "socat", "-u", "OPEN:/etc/hostname", "UNIX-CONNECT:"+socket+",type=5").CombinedOutput(); err != nil {
		t.Logf("%v: %s", err, out) // the connection may be gone before it has written
	}
	for _, nonsense := range []string{"x", strings.Repeat("y", packet.Longest), "imapd 54321 54321 alice /"} {
		c, err := packet.Dial(socket)
		if err != nil {
			t.Fatal(err)
		}
		c.Write([]byte(nonsense))
		if answer, _, err := packet.Receive(c); err != nil || !strings.HasPrefix(answer, "no ") {
			t.Errorf("%.10q: %q %v", nonsense, answer, err)
		}
		c.Close()
	}
	c, err := packet.Dial(socket)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.Write([]byte(strings.Repeat("z", 100<<10)))
	if answer, _, err := packet.Receive(c); err == nil {
		t.Errorf("too long: %q", answer)
	}
}

func serve(t *testing.T, dir string) {
	s := &Server{Socket: dir + "/become.sock", Dir: dir, MinUID: 1000, MinGID: 1000, Programs: []Program{{Name: "imapd", Args: []string{"imapd", "--session"}}}}
	if err := s.prepare(); err != nil {
		t.Fatal(err)
	}
	fmt.Fprintln(os.Stderr, s.Listen(context.Background()))
}

// What others than root may write is not started by root.
func TestPrepare(t *testing.T) {
	dir := t.TempDir()
	s := &Server{Dir: dir, Programs: []Program{{Name: "imapd"}}}
	if err := s.prepare(); err == nil {
		t.Error("nothing there, and no error")
	}
	if err := os.WriteFile(dir+"/imapd", nil, 0o755); err != nil {
		t.Fatal(err)
	}
	os.Chmod(dir+"/imapd", 0o775)
	if err := s.prepare(); err == nil {
		t.Error("its group may write it, and no error")
	}
}

// TestStranger: somebody who is not on the list is let go without an answer.
func TestStranger(t *testing.T) {
	s := &Server{Programs: []Program{{Name: "imapd", Client: uint32(os.Getuid()) + 1}}}
	ours, theirs, err := packet.Pair()
	if err != nil {
		t.Fatal(err)
	}
	c, err := net.FileConn(theirs)
	if err != nil {
		t.Fatal(err)
	}
	go s.Handle(c.(*net.UnixConn))
	theirs.Close()
	if answer, _, err := packet.Receive(ours); err == nil {
		t.Errorf("%q", answer)
	}
}
