package queue

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// TestMain lets the test binary be the process that is killed.
func TestMain(m *testing.M) {
	if dir := os.Getenv("QUEUE_TEST_SPOOL"); dir != "" {
		produce(dir)
	}
	os.Exit(m.Run())
}

// produce accepts messages, takes every other one into q/, and says so, until it is killed.
func produce(dir string) {
	s, err := Open(dir)
	if err != nil {
		fmt.Println("error", err)
		os.Exit(1)
	}
	for n := 0; ; n++ {
		id := s.NewID()
		body := message + strings.Repeat("0123456789abcde\n", n%3*5000)
		if err := accept(s, id, body, n%2 == 1); err != nil {
			fmt.Println("error", err)
			os.Exit(1)
		}
		fmt.Println(id, len(body)) // the 250
		if name, _ := s.findIn("in/mx/new", id); n%4 < 2 {
			if _, err := s.Take(name); err != nil {
				fmt.Println("error", err)
				os.Exit(1)
			}
		}
	}
}

// TestS137Kill kills a producer at any moment: what it acknowledged is there and whole, and nothing is there in part.
func TestS137Kill(t *testing.T) {
	dir := t.TempDir()
	if err := Make(dir, "b"); err != nil {
		t.Fatal(err)
	}
	s, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	acked := map[string]string{}
	for round := range 12 {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), "QUEUE_TEST_SPOOL="+dir)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		r := bufio.NewReader(out)
		for n := 0; ; n++ {
			line, err := r.ReadString('\n')
			if err == io.EOF {
				break
			}
			id, size, _ := strings.Cut(strings.TrimSpace(line), " ")
			if id == "error" {
				t.Fatal(line)
			}
			acked[id] = size
			if n == round {
				time.AfterFunc(time.Duration(round*300)*time.Microsecond, func() { cmd.Process.Kill() })
			}
		}
		cmd.Wait()
	}
	for id, text := range whole(t, s) {
		if size, ok := acked[id]; ok && fmt.Sprint(len(text)) != size {
			t.Errorf("%s: %d octets of %s", id, len(text), size)
		}
		delete(acked, id)
	}
	if len(acked) > 0 {
		t.Errorf("acknowledged, then lost: %v", acked)
	}
	if names, _ := s.Disk.ReadDir("bad"); len(names) > 0 {
		t.Errorf("parts of messages: %q", names)
	}
	if err := s.Sweep(time.Now().Add(48 * time.Hour)); err != nil {
		t.Error(err)
	}
	if names, _ := s.Disk.ReadDir("in/mx/tmp"); len(names) > 0 {
		t.Errorf("not swept: %q", names)
	}
}
