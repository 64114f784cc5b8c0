package run

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"pennypost/internal/durable/faultdisk"
	"pennypost/internal/order"
	"pennypost/internal/status"
	"pennypost/queue"
)

// postbox notes what was delivered, and whether an order that came again said so.
type postbox struct {
	mu  sync.Mutex
	got map[string]int
	odd []string
}

func (p *postbox) answer(o *order.Order) []order.Answer {
	if o.Verb == "resolve" {
		return []order.Answer{{Kind: 'R', Seq: o.Seq, Site: "mx." + o.Domain + "+00000000", TTL: time.Hour}}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	var list []order.Answer
	for _, rc := range o.Rcpts {
		r := status.Result{Code: 250, Enhanced: "2.0.0", Text: "ok"}
		key := o.ID + " " + rc.To.String()
		switch {
		case rc.To.Local == "refused":
			r = status.Result{Outcome: status.Failed, Code: 550, Enhanced: "5.1.1", Text: "no"}
		case p.got[key] > 0 && !o.Repeat:
			p.odd = append(p.odd, key)
			fallthrough
		default:
			p.got[key]++
		}
		list = append(list, order.Answer{Kind: r.Outcome.Letter(), Seq: o.Seq, Num: rc.Num, Result: r})
	}
	return append(list, order.Answer{Kind: 'E', Seq: o.Seq})
}

// crashSpool is a spool of three messages, all of it durable, on a disk whose power can be cut.
func crashSpool(t *testing.T, disk *faultdisk.Disk) (*queue.Spool, []string) {
	t.Helper()
	if err := queue.MakeOn(disk, "t"); err != nil {
		t.Fatal(err)
	}
	s, err := queue.OpenOn(disk)
	if err != nil {
		t.Fatal(err)
	}
	var ids []string
	for _, to := range [][]string{{"bob@example.org"}, {"both@example.org", "bob@example.org"}, {"refused@example.net", "carol@example.org"}} {
		env := &queue.Envelope{ID: s.NewID(), Time: time.Now(), Via: "submit test", From: path("bob@example.org"), Auth: "bob"}
		for i, a := range to {
			env.Rcpts = append(env.Rcpts, queue.Rcpt{N: i + 1, To: path(a)})
		}
		w, err := s.Begin("submit", env)
		if err == nil {
			w.Write([]byte("Subject: hi\n\nhi\n"))
			err = w.Commit()
		}
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, env.ID)
	}
	for _, dir := range []string{".", "in", "in/submit", "in/submit/new", "in/bounce", "archive", "drop"} {
		disk.SyncDir(dir)
	}
	for _, p := range queue.Producers {
		disk.SyncDir("in/" + p)
	}
	return s, ids
}

// runOnce is queue-run --once on a disk.
func runOnce(t *testing.T, b *bench, s *queue.Spool, lock string, p *postbox) error {
	b.mu.Lock()
	b.spool, b.local, b.mail = s, p.answer, p.answer
	b.mu.Unlock()
	b.reset()
	b.run.Lock = filepath.Join(lock, "lock")
	b.run.Once = true
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	err := b.run.Run(ctx)
	p.mu.Lock() // what the workers wrote is ours to read now
	defer p.mu.Unlock()
	return err
}

// TestCrash cuts the power at every disk step of a runner's life: the next runner delivers everything, reports what was refused,
// and says of every order that may be a second one that it is.
func TestCrash(t *testing.T) {
	b := newBench(t)
	lock := t.TempDir()
	most := 0
	for n := 1; ; n++ {
		disk := faultdisk.New().Luck(n)
		s, ids := crashSpool(t, disk)
		p := &postbox{got: map[string]int{}}
		b.log.Reset()
		disk.CrashAt(n)
		runOnce(t, b, s, lock, p)
		crashed, step := disk.Crashed(), disk.LastStep()
		again, err := queue.OpenOn(disk.Restart())
		if err != nil {
			t.Fatalf("cut %d at %s: %v", n, step, err)
		}
		if err := runOnce(t, b, again, lock, p); err != nil {
			t.Fatalf("cut %d at %s: the next runner: %v", n, step, err)
		}
		for _, want := range []string{ids[0] + " bob@example.org", ids[1] + " bob@example.org", ids[1] + " carol@example.org", ids[2] + " carol@example.org",
			queue.Derived(ids[2], 'b', 1) + " bob@example.org"} {
			if p.got[want] == 0 {
				t.Errorf("cut %d at %s: lost %s", n, step, want)
			}
		}
		if len(p.odd) > 0 {
			t.Errorf("cut %d at %s: again without repeat=1: %v", n, step, p.odd)
		}
		for key := range p.got {
			if strings.Contains(key, ".b2") {
				t.Errorf("cut %d at %s: a second report: %s", n, step, key)
			}
		}
		if left := messagesOf(again); len(left) > 0 {
			t.Errorf("cut %d at %s: left behind: %v", n, step, left)
		}
		if !crashed {
			most = n
			break
		}
		if t.Failed() {
			t.Fatal(tail(b))
		}
	}
	if most < 20 {
		t.Errorf("only %d steps", most)
	}
}

// TestDiskFull fails every disk step once: nothing is lost, the next runner has what is left.
func TestDiskFull(t *testing.T) {
	b := newBench(t)
	lock := t.TempDir()
	for n := 1; ; n++ {
		failure := []error{syscall.ENOSPC, syscall.EIO}[n%2]
		disk := faultdisk.New()
		s, ids := crashSpool(t, disk)
		p := &postbox{got: map[string]int{}}
		b.log.Reset()
		disk.FailAt(n, failure)
		runOnce(t, b, s, lock, p)
		failed, step := disk.Failed(), disk.LastStep()
		disk.Remove(checkpointFile) // or what failed waits its minutes
		if err := runOnce(t, b, s, lock, p); err != nil && !errors.Is(err, failure) {
			t.Fatalf("failure %d at %s: %v", n, step, err)
		}
		for _, want := range []string{ids[0] + " bob@example.org", ids[1] + " bob@example.org", ids[1] + " carol@example.org", ids[2] + " carol@example.org",
			queue.Derived(ids[2], 'b', 1) + " bob@example.org"} {
			if p.got[want] == 0 {
				t.Errorf("failure %d at %s: lost %s", n, step, want)
			}
		}
		if !failed {
			return
		}
		if t.Failed() {
			t.Fatal(tail(b))
		}
	}
}

// messagesOf are the messages a spool still has.
func messagesOf(s *queue.Spool) (list []string) {
	s.Scan(func(f queue.Found) error { list = append(list, f.Name); return nil }, append(queue.NewDirs(), "q", "hold")...)
	return list
}

func tail(b *bench) string {
	log := b.log.String()
	return log[max(0, len(log)-5000):]
}
