package roads

import (
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"pennypost/test/lab"
	"pennypost/test/sink"
)

// A second queue-run on a spool leaves with 75, and the first does not notice (S141).
func TestS141TwoRunners(t *testing.T) {
	r := open(t, nil)
	bin, err := lab.Bin()
	if err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{nil, {"--once"}} {
		cmd := exec.Command(filepath.Join(bin, "queue-run"), append([]string{"-c", r.host.Config()}, args...)...)
		out, err := cmd.CombinedOutput()
		var exit *exec.ExitError
		if !errors.As(err, &exit) || exit.ExitCode() != 75 || !strings.Contains(string(out), "another queue-run works on this spool") {
			t.Errorf("%v: %v\n%s", args, err, out)
		}
	}
	mark := r.submit("bob@demo.test")
	if _, _, err := lab.Find(10*time.Second, r.host.Maildir("bob"), mark, 1); err != nil {
		t.Fatal(err)
	}
}

// queue-run and its workers are killed again and again under a stream of mail: what was accepted arrives, in a mailbox of ours once; who is
// refused is reported once.
func TestS139KillQueueRun(t *testing.T) {
	r := open(t, func(h *lab.Host) {
		h.Keys["queue.bounce_rate"] = "100000"
		for _, limit := range []string{"messages", "recipients", "new_recipients"} { // alice sends as no honest user does
			h.Keys["outbound."+limit] = `"none"`
		}
		h.Keys["outbound.bounce_ratio"] = "0"
	})
	far := r.sink("far.test", "127.0.0.43", &sink.Server{Reject: func(rcpt string) string {
		if strings.HasPrefix(rcpt, "never") {
			return "550 5.1.1 nobody of that name"
		}
		return ""
	}})
	stop := make(chan struct{})
	var group sync.WaitGroup
	var mu sync.Mutex
	var sent []string
	for i := range 3 {
		group.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-stop:
					return
				case <-time.After(5 * time.Millisecond):
				}
				mark := fmt.Sprintf("kill-%d-%d-end", i, n)
				to := fmt.Sprintf("bob@demo.test u%s@far.test never%s@far.test", mark, mark)
				if r.host.Submit("alice", to, lab.Letter("alice@demo.test", to, mark, mark)) == nil {
					mu.Lock()
					sent = append(sent, mark)
					mu.Unlock()
				}
			}
		})
	}
	for i := range 12 {
		time.Sleep(150 * time.Millisecond)
		name := []string{"queue-run", "queue-run", "deliver-local", "deliver-remote"}[i%4]
		if pid := lab.Pids(filepath.Dir(r.host.Dir), r.host.Name)[name]; pid != 0 {
			if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && err != syscall.ESRCH {
				t.Fatal(err)
			}
		}
	}
	close(stop)
	group.Wait()
	kicked := time.Now()
	err := lab.Until(30*time.Second, func() error {
		if time.Since(kicked) > time.Second {
			r.kick()
			kicked = time.Now()
		}
		if left := lab.Queued(r.host.Spool()); len(left) > 0 {
			return fmt.Errorf("%d messages are still queued: %.200v", len(left), left)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	letters, reports, remote := map[string]int{}, map[string]int{}, map[string]int{}
	note := func(maildir, before string, into map[string]int) {
		mails, err := lab.Mails(r.host.Maildir(maildir))
		if err != nil {
			t.Fatal(err)
		}
		for _, text := range mails {
			if _, rest, ok := strings.Cut(text, before); ok {
				mark, _, _ := strings.Cut(rest, "-end")
				into[mark+"-end"]++
			}
		}
	}
	note("bob", "\nSubject: ", letters)
	note("alice", "Final-Recipient: rfc822; never", reports)
	for _, m := range far.Messages() {
		for _, to := range m.To {
			mark, _, _ := strings.Cut(strings.TrimPrefix(to, "u"), "@")
			remote[mark]++
		}
	}
	twice := 0
	for _, mark := range sent {
		if letters[mark] != 1 || reports[mark] != 1 || remote[mark] == 0 {
			t.Errorf("%s: %d letters, %d reports, %d times at the other host", mark, letters[mark], reports[mark], remote[mark])
		}
		if remote[mark] > 1 {
			twice++ // it said 250 to a program that was dead before it could tell (RFC 1047)
		}
	}
	t.Logf("%d messages, %d of them twice at the other host", len(sent), twice)
}
