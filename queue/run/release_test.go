package run

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"pennypost/internal/order"
	"pennypost/internal/status"
	"pennypost/queue"
)

// TestReleaseKeepsState: who has the message does not get it again because it was on hold in between.
func TestReleaseKeepsState(t *testing.T) {
	t.Parallel()
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

// TestKickWaiting: a message that waits, for its time or for the end of a pause, obeys as any other.
func TestKickWaiting(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	os.WriteFile(filepath.Join(b.dir, "pause/from:alice@example.net"), nil, 0o644)
	b.begin()
	ids := map[string]string{} // by what will be done to them
	for _, verb := range []string{"remove", "hold", "bounce", "try"} {
		ids[b.put("mx", "alice@example.net", "bob@example.org")] = verb
		env := &queue.Envelope{ID: b.spool.NewID(), Time: time.Now(), Via: "submit test", From: path("bob@example.org"), HoldUntil: time.Now().Add(time.Hour),
			Rcpts: []queue.Rcpt{{N: 1, To: path("carol@example.org")}}}
		w, err := b.spool.Begin("submit", env)
		if err == nil {
			w.Write([]byte("hi\n"))
			err = w.Commit()
		}
		if err != nil {
			t.Fatal(err)
		}
		w.Hint()
		ids[env.ID] = verb
	}
	inQ := func() (verbs []string) {
		for _, f := range b.files() {
			if i := strings.LastIndexByte(f, '/'); strings.HasPrefix(f, "q/") && ids[f[i+1:]] != "" {
				verbs = append(verbs, ids[f[i+1:]])
			}
		}
		return verbs
	}
	b.eventually("move to q/", func() bool { return len(inQ()) == len(ids) })
	for id, verb := range ids {
		os.WriteFile(filepath.Join(b.dir, "kick", verb+":"+id), nil, 0o644)
	}
	b.eventually("all is done", func() bool {
		left, _ := os.ReadDir(filepath.Join(b.dir, "kick"))
		verbs := inQ()
		return len(left) == 0 && len(verbs) == 2 && verbs[0] == "try" && verbs[1] == "try"
	})
	b.end()
}
