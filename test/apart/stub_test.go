package apart

import (
	"bufio"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"pennypost/internal/packet"
	"pennypost/login"
)

// said is all that somebody with maillogin's uid may try, each with a descriptor of its own: to be given a session without a password, or
// with that of another; and to speak with who is not spoken with.
var said = []struct{ what, text string }{
	{"a session nobody logged in to", "session mechanism=PLAIN tls=- tag=a sasl=- early=-"},
	{"a session as imapd takes it", session("alice@example.org")},
	{"a session of a Unix user", session("uma@unix.example")},
	{"alice without a password", "check imap 192.0.2.9 - alice@example.org -"},
	{"alice with a wrong one", "check imap 192.0.2.9 - alice@example.org wrong"},
	{"alice with bob's", "check imap 192.0.2.9 alice@example.org bob@example.org through%20the%202"},
	{"bob with his, for mail he sends", "check smtp 192.0.2.9 - bob@example.org through%20the%202"},
	{"EXTERNAL without a certificate", "start imap 192.0.2.9 EXTERNAL certificate=00"},
	{"a program as uma", "imapd 2101 2101 uma /home/uma"},
	{"a program as root", "imapd 0 0 root /root"},
	{"another program", "sh 2101 2101 uma /home/uma"},
	{"an order", "deliver 1 0fk2v9qk3x7m2c-a attempt=1 repeat=0 site=local rcpt=1:alice@example.org"},
	{"nonsense", strings.Repeat("x", 4000)},
}

func session(user string) string {
	return (&login.Session{Service: "imap", User: user, Authcid: user, Credential: "main", Opening: login.Opening{Mechanism: "PLAIN", Tag: "a"}}).String()
}

// TestStub is started by apart.sh with maillogin's uid: it says all of that at every socket it finds, and prints what it is told.
func TestStub(t *testing.T) {
	dir := os.Getenv("STUB_DIR")
	if dir == "" {
		t.Skip("is run by apart.sh")
	}
	filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		name, _ := filepath.Rel(dir, path)
		switch {
		case err != nil:
			fmt.Printf("%s: cannot enter\n", name)
		case d.Type() == fs.ModeSocket:
			try(name, path)
		}
		return nil
	})
	for _, name := range []string{"sessions/imapd.sock", "sessions/pop3d.sock", "local/sock"} { // whose names it knows
		try(name, filepath.Join(dir, name))
	}
	bob(filepath.Join(dir, "login/sock"))
}

// try says everything, on a connection for each.
func try(name, path string) {
	for _, kind := range []string{"unix", "unixpacket"} {
		c, err := net.Dial(kind, path)
		if err != nil {
			if !strings.Contains(err.Error(), "wrong type") {
				fmt.Printf("%s: %v\n", name, err.(*net.OpError).Err.(*os.SyscallError).Err)
				return
			}
			continue
		}
		c.Close()
		for _, s := range said {
			answer := ask(kind, path, s.text)
			fmt.Printf("%s: %s: %s\n", name, s.what, answer)
		}
	}
}

// ask says one thing with a descriptor; the answer is what comes, there or at the descriptor.
func ask(kind, path, text string) string {
	conn, err := net.Dial(kind, path)
	if err != nil {
		return err.Error()
	}
	c := conn.(*net.UnixConn)
	defer c.Close()
	ours, theirs := pair()
	defer ours.Close()
	if kind == "unix" {
		text += "\n"
	}
	if strings.HasPrefix(text, "check ") || strings.HasPrefix(text, "start ") { // these have none
		packet.Write(c, text, nil)
	} else {
		packet.Write(c, text, theirs)
	}
	theirs.Close()
	c.SetDeadline(time.Now().Add(2 * time.Second))
	b := make([]byte, 4096)
	n, err := c.Read(b)
	answer := strings.TrimSpace(string(b[:n]))
	if n == 0 {
		answer = "(closed)"
		if err != nil && strings.Contains(err.Error(), "timeout") {
			answer = "(silence)"
		}
	}
	ours.SetDeadline(time.Now().Add(50 * time.Millisecond))
	if n, _ := ours.Read(b); n > 0 {
		answer += ", and there came " + string(b[:n])
	}
	return answer
}

// bob has a password, and gets one session for it: his own.
func bob(path string) {
	conn, err := net.Dial("unix", path)
	if err != nil {
		fmt.Println(err)
		return
	}
	c := conn.(*net.UnixConn)
	in := bufio.NewReader(c)
	ours, theirs := pair()
	ours.SetDeadline(time.Now().Add(10 * time.Second))
	say := func(what, text string, f syscall.Conn) {
		packet.Write(c, text+"\n", f)
		c.SetDeadline(time.Now().Add(15 * time.Second))
		line, err := in.ReadString('\n')
		line, _, _ = strings.Cut(strings.TrimSpace(line), " main ") // what is behind it is new every time
		if err != nil {
			line = "(closed)"
		}
		fmt.Printf("bob: %s: %s\n", what, line)
	}
	say("logs in", "check imap 192.0.2.9 - bob@example.org through%20the%202", nil)
	say("has a session", "session mechanism=PLAIN tls=- tag=a sasl=- early=-", theirs)
	r := bufio.NewReader(ours)
	line, _ := r.ReadString('\n')
	fmt.Printf("bob: %.20s\n", line)
	theirs.Close()
	io.WriteString(ours, "b LIST \"\" *\r\nc LOGOUT\r\n")
	boxes := 0
	for line != "" {
		if line, _ = r.ReadString('\n'); strings.HasPrefix(line, "* LIST") {
			boxes++
		}
	}
	fmt.Printf("bob: %d mailboxes\n", boxes)
	_, theirs = pair()
	say("wants another for it", "session mechanism=PLAIN tls=- tag=a sasl=- early=-", theirs)
}

// pair is a connection and its other end.
func pair() (net.Conn, *os.File) {
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		panic(err)
	}
	f := os.NewFile(uintptr(fds[0]), "ours")
	defer f.Close()
	ours, err := net.FileConn(f)
	if err != nil {
		panic(err)
	}
	return ours, os.NewFile(uintptr(fds[1]), "theirs")
}
