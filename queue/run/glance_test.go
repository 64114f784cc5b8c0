package run

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"pennypost/queue"
)

// TestHintLost: mail whose producer was killed between 250 and the hint is delivered long before the scan of a minute's time.
func TestHintLost(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.begin()
	b.noHint("mx", "bob@example.org")
	b.eventuallyIn(20*time.Second, "delivery", b.empty)
	b.noHint("submit", "bob@example.org", "carol@example.org") // and again, in a directory it has looked at
	b.noHint("mx", "bob@example.org")
	b.eventuallyIn(20*time.Second, "delivery", b.empty)
	b.end()
	if n := len(b.delivers()); n != 3 {
		t.Errorf("%d orders", n)
	}
}

// noHint accepts a message and is killed before it can tell.
func (b *bench) noHint(producer string, to ...string) string {
	b.t.Helper()
	env := &queue.Envelope{ID: b.spool.NewID(), Time: time.Now(), Via: producer + " test", From: path("alice@example.net")}
	for i, t := range to {
		env.Rcpts = append(env.Rcpts, queue.Rcpt{N: i + 1, To: path(t)})
	}
	w, err := b.spool.Begin(producer, env)
	if err == nil {
		w.Write([]byte("Subject: hi\n\nhi\n"))
		err = w.Commit()
	}
	if err != nil {
		b.t.Fatal(err)
	}
	return env.ID
}

// TestScriptMoves: a plain mv into in/adopt/new needs no word to anybody.
func TestScriptMoves(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	ids := []string{b.noHint("mx", "bob@example.org"), b.noHint("mx", "carol@example.org")}
	for _, id := range ids {
		if err := os.Rename(filepath.Join(b.dir, "in/mx/new", id), filepath.Join(b.dir, "hold", id)); err != nil {
			t.Fatal(err)
		}
	}
	b.begin()
	for i, id := range ids {
		if err := os.Rename(filepath.Join(b.dir, "hold", id), filepath.Join(b.dir, "in/adopt/new", id)); err != nil {
			t.Fatal(err)
		}
		b.eventuallyIn(20*time.Second, "delivery", func() bool { return len(b.files()) == 1-i })
	}
	b.end()
}
