package roads

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"pennypost/internal/address"
	"pennypost/queue"
	"pennypost/test/lab"
)

func TestZZLoad(t *testing.T) {
	r := open(t, nil)
	s, err := queue.Open(r.host.Spool())
	if err != nil {
		t.Fatal(err)
	}
	pid := lab.Pids(filepath.Dir(r.host.Dir), r.host.Name)["queue-run"]
	cpu := func() (u, sy float64) {
		b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		f := strings.Fields(string(b[strings.LastIndexByte(string(b), ')'):]))
		fmt.Sscan(f[12], &u)
		fmt.Sscan(f[13], &sy)
		return u * 10, sy * 10
	}
	var trace *exec.Cmd
	if os.Getenv("STRACE") != "" {
		trace = exec.Command("strace", "-f", "-c", "-o", "/tmp/r2load/strace", "-p", fmt.Sprint(pid))
		trace.Start()
		time.Sleep(500 * time.Millisecond)
	}
	clients, each, pace := 10, 1000, time.Duration(0)
	if trace != nil {
		each, pace = 200, 25*time.Millisecond
	}
	if os.Getenv("PERF") != "" {
		trace = exec.Command("perf", "record", "-F", "2000", "-g", "-o", "/tmp/r2load/perf.data", "-p", fmt.Sprint(pid))
		if err := trace.Start(); err != nil { t.Fatal(err) }
		time.Sleep(300*time.Millisecond)
		each, pace = 2000, 0
	}
	u0, s0 := cpu()
	began := time.Now()
	var g sync.WaitGroup
	for c := range clients {
		g.Go(func() {
			for i := range each {
				env := &queue.Envelope{ID: s.NewID(), Time: time.Now(), Via: "mx esmtp", From: address.Path{Local: "x", Domain: "elsewhere.test"},
					Rcpts: []queue.Rcpt{{N: 1, To: address.Path{Local: "bob", Domain: "demo.test"}}}}
				w, err := s.Begin("mx", env)
				if err == nil {
					w.Write([]byte(fmt.Sprintf("Subject: %d %d\n\n%s", c, i, strings.Repeat("line of text\n", 300))))
					err = w.Commit()
				}
				if err != nil {
					t.Error(err)
					return
				}
				w.Hint()
				time.Sleep(pace)
			}
		})
	}
	g.Wait()
	sent := time.Since(began)
	lab.Until(60*time.Second, func() error {
		if q := lab.Queued(r.host.Spool()); len(q) > 0 {
			return fmt.Errorf("%d left", len(q))
		}
		return nil
	})
	took := time.Since(began)
	u1, s1 := cpu()
	n := float64(clients * each)
	t.Logf("%d messages: sent %v, gone %v, user %.1f µs, system %.1f µs a message", clients*each, sent, took, (u1-u0)*1000/n, (s1-s0)*1000/n)
	if trace != nil {
		trace.Process.Signal(os.Interrupt)
		trace.Wait()
	}
}
