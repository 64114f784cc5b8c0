package listen

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"testing"
)

// TestPassed: sockets of a supervisor go before those of the configuration, each by its name (sd_listen_fds(3)).
func TestPassed(t *testing.T) {
	if os.Getenv("LISTEN_FDS") != "" { // we are the server
		open, err := Passed()
		if err != nil {
			fmt.Println(err)
		}
		for _, name := range []string{"mx", "lmtp"} {
			for _, l := range open[name] {
				fmt.Println(name, l.Addr())
			}
		}
		return
	}
	cmd := exec.Command("/bin/sh", "-c", `LISTEN_PID=$$ exec "$0" -test.run '^TestPassed$'`, os.Args[0])
	cmd.Env = append(os.Environ(), "LISTEN_FDS=2", "LISTEN_FDNAMES=mx:lmtp")
	want := ""
	for _, name := range []string{"mx", "lmtp"} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		f, err := l.(*net.TCPListener).File()
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		cmd.ExtraFiles = append(cmd.ExtraFiles, f)
		want += name + " " + l.Addr().String() + "\n"
	}
	out, err := cmd.CombinedOutput()
	if err != nil || string(out) != want+"PASS\n" {
		t.Errorf("%v\n%s, want\n%s", err, out, want)
	}
}
