package drop

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"pennypost/internal/maillog"
	"pennypost/queue"
)

// TestMain lets the test binary be the queue-pickup that is killed.
func TestMain(m *testing.M) {
	if dir := os.Getenv("DROP_TEST_SPOOL"); dir != "" {
		s, err := queue.Open(dir)
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		p, _ := pickup(s)
		p.Log = &maillog.Log{}
		if err := p.Run(context.Background()); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	os.Exit(m.Run())
}

// TestS137KillPickup kills queue-pickup again and again: every message is adopted, and once.
func TestS137KillPickup(t *testing.T) {
	p, dir, _ := onDisk(t)
	const all = 150
	for n := range all {
		name := filepath.Join(dir, "drop/new", fmt.Sprintf("s.%d", n))
		if err := os.WriteFile(name, []byte(letter), 0o640); err != nil {
			t.Fatal(err)
		}
	}
	for round := 0; ; round++ {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), "DROP_TEST_SPOOL="+dir)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Duration(15+round%10) * time.Millisecond)
		cmd.Process.Kill()
		cmd.Wait()
		if names, err := p.Spool.Disk.ReadDir("drop/new"); err != nil || len(names) == 0 || round > 300 {
			break
		}
	}
	list, _ := adopted(t, p.Spool)
	drops := map[string]bool{}
	for _, m := range list {
		drops[m.Env.Drop] = true
	}
	left, _ := p.Spool.Disk.ReadDir("drop/new")
	if len(drops) != all || len(list) != all {
		t.Errorf("%d messages of %d files, want %d; left %d", len(list), len(drops), all, len(left))
	}
	if names, _ := p.Spool.Disk.ReadDir("bad"); len(names) > 0 {
		t.Errorf("refused: %q", names)
	}
}
