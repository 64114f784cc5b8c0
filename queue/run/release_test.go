package run

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"pennypost/internal/order"
	"pennypost/internal/status"
	"pennypost/queue"
)

// TestReleaseKeepsState: who has the message does not get it again because it was on hold in between.
func TestReleaseKeepsState(t *testing.T) {
	b := newBench(t)
	ok := b.local
	b.local = func(o *order.Order) []order.Answer {
		list := ok(o)
		for i, rc := range o.Rcpts {
			if rc.To == path("carol@example.org") {
				list[i] = order.Answer{Kind: 'Z', Seq: o.Seq, Num: rc.Num, Result: status.Result{Outcome: status.Deferred, Code: 452, Enhanced: "4.2.2", Text: "full"}}
			}
		}
		return list
	}
	b.begin()
	id := b.put("mx", "alice@example.net", "bob@example.org", "carol@example.org")
	b.eventually("deferral", func() bool { return len(b.events(id)) == 2 })
	os.WriteFile(filepath.Join(b.dir, "kick/hold:"+id), nil, 0o644)
	b.eventually("hold", func() bool { return slices.Contains(b.files(), "hold/"+id) })
	b.mu.Lock()
	b.orders = nil
	b.mu.Unlock()
	os.WriteFile(filepath.Join(b.dir, "kick/release:"+id), nil, 0o644)
	b.eventually("release", func() bool { f := b.files(); return len(f) > 0 && !slices.Contains(f, "hold/"+id) })
	os.WriteFile(filepath.Join(b.dir, "kick/try:"+id), nil, 0o644)
	b.eventually("another attempt", func() bool { return len(b.given()) > 0 })
	b.end()
	for _, o := range b.given() {
		if len(o.Rcpts) != 1 || o.Rcpts[0].Num != (queue.Num{N: 2}) {
			t.Errorf("order %+v", o)
		}
	}
}
