package mailbox

import (
	"os"
	"testing"
	"time"

	"pennypost/internal/sequence"
)

// TestStanding asks for figures again and again while all that changes them happens in between.
func TestStanding(t *testing.T) {
	root, a, inbox := box(t)
	other, _ := process(t, root)
	sure := func(messages, unseen uint32) {
		t.Helper()
		for range 2 { // found out, and remembered
			if n, err := other.Counts(ctx, "INBOX", true); err != nil || n.Messages != messages || n.Unseen != unseen {
				t.Errorf("%d messages, %d unseen, %v; want %d, %d", n.Messages, n.Unseen, err, messages, unseen)
			}
		}
	}
	sure(0, 0)
	write(t, root, "new/1.m", "x\n")
	sure(1, 1)
	os.Rename(root+"/new/1.m", root+"/cur/1.m:2,S")
	sure(1, 0)
	old := time.Now().Add(-time.Minute) // nothing to verify any more
	os.Chtimes(root+"/new", old, old)
	os.Chtimes(root+"/cur", old, old)
	sure(1, 0)
	if other.standing["."] == nil {
		t.Error("it is not remembered")
	}
	inbox.Store(ctx, sequence.Set{{Lo: 1, Hi: 1}}, Remove, Seen, Unconditional)
	sure(1, 1)
	inbox.Delete(ctx, nil)
	sure(0, 0)
	if err := a.Create("Work", ""); err != nil {
		t.Fatal(err)
	}
	first, err := other.Counts(ctx, "Work", false)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := other.Counts(ctx, "Work", false); err != nil || again != first {
		t.Errorf("%v is now %v, %v", first, again, err)
	}
	a.Delete("Work")
	if _, err := other.Counts(ctx, "Work", false); err == nil {
		t.Error("a deleted mailbox has figures")
	}
	a.Create("Work", "")
	if again, err := other.Counts(ctx, "Work", false); err != nil || again.UIDValidity == first.UIDValidity || again.MailboxID == first.MailboxID {
		t.Errorf("a new mailbox has what the old one had: %v, %v", again, err)
	}
}

func BenchmarkStatus(b *testing.B) {
	f := opened(b, filled(b, 100))
	old := time.Now().Add(-time.Minute)
	os.Chtimes(f.account.root+"/cur", old, old)
	for b.Loop() {
		if _, err := f.account.Counts(ctx, "INBOX", true); err != nil {
			b.Fatal(err)
		}
	}
}
