package clients

import (
	"bytes"
	"fmt"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"pennypost/test/lab"
)

// screen is what a program has written to its terminal.
type screen struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (s *screen) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.Write(p)
}

func (s *screen) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.String()
}

// Aerc, a client in Go: it lists, flags, copies and deletes, and shows a message that comes while it waits.
func TestAerc(t *testing.T) {
	h := host(t, "aerc", "script")
	c := newClient(t)
	s := imap(t, h, "ruth")
	const from = "From: Ann <ann@elsewhere.test>\n"
	for _, name := range []string{"letter-one", "letter-two"} {
		put(t, s, "INBOX", "", fmt.Sprintf(from+plain, name))
	}
	do(t, s, "CREATE Kept")
	_, port := split(t, h.Addr("IMAPS"))
	c.file("aerc/accounts.conf", fmt.Sprintf("[house]\nsource = imaps://ruth%%40demo.test:%s@localhost:%s\nfrom = Ruth <ruth@demo.test>\ndefault = INBOX\n", lab.Password, port))
	cmd := exec.Command("script", "-qec", "stty rows 40 cols 120; TERM=xterm exec aerc", "/dev/null")
	cmd.Env, cmd.Dir = append(c.env, "SSL_CERT_FILE="+ca()), c.home
	out := &screen{}
	cmd.Stdout = out
	keys, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	defer cmd.Process.Kill()
	shows := func(text string) {
		t.Helper()
		if err := lab.Until(15*time.Second, func() error {
			if !strings.Contains(out.String(), text) {
				return fmt.Errorf("%q is not on the screen", text)
			}
			return nil
		}); err != nil {
			t.Fatalf("%v\n%q", err, last(out.String(), 1500))
		}
	}
	becomes := func(mailbox, want string) {
		t.Helper()
		var got string
		if err := lab.Until(10*time.Second, func() error {
			if got = fmt.Sprint(flags(t, s, mailbox)); got != want {
				return fmt.Errorf("%s has %s, not %s", mailbox, got, want)
			}
			return nil
		}); err != nil {
			t.Fatalf("%v\n%q", err, last(out.String(), 1500))
		}
	}
	shows("letter-one")
	shows("letter-two")
	fmt.Fprint(keys, ":select 0\r:flag -x Flagged\r") // the newest is the first
	becomes("INBOX", `map[letter-one: letter-two:\Flagged]`)
	fmt.Fprint(keys, ":cp Kept\r")
	becomes("Kept", `map[letter-two:\Flagged]`)
	fmt.Fprint(keys, ":delete\r")
	becomes("INBOX", "map[letter-one:]")
	put(t, s, "INBOX", "", fmt.Sprintf(from+plain, "arrival"))
	shows("arrival")
	fmt.Fprint(keys, ":quit -f\r")
	select {
	case <-ended:
	case <-time.After(10 * time.Second):
		t.Errorf("it does not end: %q", last(out.String(), 1000))
	}
}
