package mailbox

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"pennypost/internal/sequence"
)

// TestColdView compares the view of a folder opened anew, whose chunks are made of snapshot and log when they are wanted, with that of
// who made the changes.
func TestColdView(t *testing.T) {
	root := filepath.Join(t.TempDir(), "Maildir")
	for _, dir := range []string{"new", "cur", "tmp"} {
		os.MkdirAll(filepath.Join(root, dir), 0o700)
	}
	deliver := func(from, to int) {
		for i := from; i < to; i++ {
			write(t, root, fmt.Sprintf("new/%d.M%dP1.host,S=2,W=3", 1700000000+i, i), "x\n")
		}
	}
	open := func() *Folder {
		a, err := OpenAccount(root, Options{Host: "test"})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { a.Close() })
		f, err := a.Folder("INBOX")
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	const first = 5 * chunkLen
	deliver(0, first)
	f := open()
	defer f.Close()
	look := func(f *Folder) *View {
		v, err := f.Look(ctx)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	look(f)
	r := rand.New(rand.NewPCG(1, 2))
	for round := range 12 {
		var uids sequence.Set
		for range 30 {
			uids.Add(1 + r.Uint32N(first))
		}
		switch round % 4 {
		case 0, 1:
			f.Store(ctx, uids, Add, Seen, Unconditional)
		case 2:
			f.Delete(ctx, uids)
		case 3:
			deliver(first+round*10, first+round*10+10)
			look(f)
		}
		want := look(f)
		cold := open()
		got := look(cold)
		if g, w := got.FirstUnseen(), want.FirstUnseen(); g != w {
			t.Errorf("round %d: first unseen is %d, want %d", round, g, w)
		}
		if got.Len() != want.Len() {
			t.Fatalf("round %d: %d messages, want %d", round, got.Len(), want.Len())
		}
		for i := range got.Len() {
			c, j := got.at(i)
			d, k := want.at(i)
			if a, b := c.entry(j), d.entry(k); a.uid != b.uid || a.flags != b.flags || a.modseq != b.modseq || a.state != b.state || a.key != b.key {
				t.Fatalf("round %d: message %d is %v, want %v", round, i, a, b)
			}
			if at, ok := got.Find(c.uid[j]); !ok || at != i {
				t.Fatalf("round %d: UID %d is message %d, want %d", round, c.uid[j], at, i)
			}
		}
		if cold.snap.bad.Load() {
			t.Error("the log is not of its snapshot")
		}
		cold.Close()
	}
}
