package run

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pennypost/internal/address"
	"pennypost/internal/order"
	"pennypost/internal/status"
	"pennypost/queue/site"
)

// quota answers that dave's mailbox is full until told otherwise.
func quota(b *bench, room *bool) func(*order.Order) []order.Answer {
	ok := say(status.Result{Code: 250, Enhanced: "2.0.0", Text: "ok"})
	return func(o *order.Order) []order.Answer {
		list := ok(o)
		for i, rc := range o.Rcpts {
			if !*room && rc.To == path("dave@example.net") {
				list[i] = order.Answer{Kind: 'Z', Seq: o.Seq, Num: rc.Num, Result: status.Result{Outcome: status.Deferred, Code: 452, Enhanced: "4.2.2", Text: "mailbox full"}}
			}
		}
		return list
	}
}

// TestMailboxFull: of all mail for a full mailbox one message asks; the others wait, and their .s says why. Mail for others at the same
// site is not held up, and when there is room all of it is delivered.
func TestMailboxFull(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	room := false
	b.mail = quota(b, &room)
	b.begin()
	first := b.put("submit", "bob@example.org", "dave@example.net")
	b.eventually("deferral", func() bool { return len(b.events(first)) == 1 })
	const more = 5
	var ids []string
	for range more {
		ids = append(ids, b.put("submit", "bob@example.org", "dave@example.net", "erin@example.net"))
	}
	reason := func(id string) string {
		names, _ := filepath.Glob(filepath.Join(b.dir, "q/*/*", id+".s"))
		if len(names) == 0 {
			return ""
		}
		text, _ := os.ReadFile(names[0])
		return string(text)
	}
	b.eventually("the others wait", func() bool {
		for _, id := range ids {
			if s := reason(id); !strings.Contains(s, "why=quota") || !strings.Contains(s, "deliver 2") {
				return false
			}
		}
		return true
	})
	for _, id := range ids {
		if s := reason(id); !strings.Contains(s, "waits%20for%20another") || strings.Contains(s, "defer 1 to=dave@example.net site=mx.example.net+00000000 status=4.2.2 code=452 why=quota n=") {
			t.Errorf("%s.s says\n%s", id, s)
		}
	}
	asked := func() (n int) {
		for _, o := range b.delivers() {
			for _, rc := range o.Rcpts {
				if rc.To == path("dave@example.net") {
					n++
				}
			}
		}
		return n
	}
	if n := asked(); n != 1 {
		t.Errorf("the mailbox was asked %d times", n)
	}
	kick := func() {
		if err := os.WriteFile(filepath.Join(b.dir, "kick/all"), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	kick() // a person asks: again one is tried, not six
	b.eventually("another attempt", func() bool { return asked() == 2 })
	b.eventually("kick obeyed", func() bool { _, err := os.Stat(filepath.Join(b.dir, "kick/all")); return err != nil })
	time.Sleep(50 * time.Millisecond)
	if n := asked(); n != 2 {
		t.Errorf("after a kick the mailbox was asked %d times", n)
	}
	b.mu.Lock()
	room = true
	b.mu.Unlock()
	b.eventuallyIn(20*time.Second, "delivery", func() bool {
		if !b.empty() {
			kick()
			time.Sleep(600 * time.Millisecond)
		}
		return b.empty()
	})
	b.end()
}

// TestMailboxFullBounded: an attacker's million full mailboxes take no more than their share of memory, and each waits longer each time.
func TestMailboxFullBounded(t *testing.T) {
	r := &Runner{full: map[address.Path]*full{}}
	g := &got{result: status.Result{Outcome: status.Deferred, Code: 452, Enhanced: "4.2.2", Text: strings.Repeat("x", 1000)}}
	for i := range 3 * mostFull {
		r.isFull(address.Path{Local: fmt.Sprint(i), Domain: "example.net"}, "mx", g, 1, 0, 0)
	}
	if len(r.full) != mostFull {
		t.Errorf("%d mailboxes remembered", len(r.full))
	}
	to := address.Path{Local: "0", Domain: "example.net"}
	now, last := site.Time(0), time.Duration(0)
	for range 4 {
		until := r.isFull(to, "mx", g, 1, now, now)
		if until-now < last/2 {
			t.Errorf("waits %v after %v", until-now, last)
		}
		last, now = until-now, until
		if x, at := r.mayAsk(to, false, now-time.Second); x == nil || at < until {
			t.Errorf("may ask before its time: %v, %v", at, until)
		}
		if x, at := r.mayAsk(to, false, now); x == nil || at != 0 {
			t.Errorf("may not ask at its time")
		}
	}
	if last < 10*time.Hour {
		t.Errorf("still asks every %v", last)
	}
	r.forgetFull(now + fullKept + time.Second)
	if len(r.full) != 0 {
		t.Errorf("%d mailboxes are never forgotten", len(r.full))
	}
}
