package mailbox

import (
	"os"
	"testing"

	"pennypost/internal/sequence"
)

// TestScanKnowsNames has files renamed to names that an earlier scan has seen, after the folder changed.
func TestScanKnowsNames(t *testing.T) {
	root, _, inbox := box(t)
	for _, name := range []string{"1.a:2,", "2.b:2,", "3.c:2,"} {
		write(t, root, "cur/"+name, "x\n")
	}
	mv := func(from, to string) {
		t.Helper()
		if err := os.Rename(root+"/cur/"+from, root+"/cur/"+to); err != nil {
			t.Fatal(err)
		}
	}
	is := func(want ...Flags) *View {
		t.Helper()
		v, err := inbox.Look(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if v.Len() != len(want) {
			t.Fatalf("%d messages, want %d", v.Len(), len(want))
		}
		for i, f := range want {
			if v.Flags(i) != f {
				t.Errorf("message %d is %b, want %b", i, v.Flags(i), f)
			}
		}
		return v
	}
	is(0, 0, 0)
	mv("3.c:2,", "3.c:2,F")
	is(0, 0, Flagged)
	mv("3.c:2,F", "3.c:2,")
	is(0, 0, 0)
	inbox.Store(ctx, sequence.Set{{Lo: 1, Hi: 1}}, Add, Seen, Unconditional)
	mv("1.a:2,S", "1.a:2,")
	is(0, 0, 0)
	inbox.Delete(ctx, sequence.Set{{Lo: 1, Hi: 1}})
	mv("3.c:2,", "3.c:2,S")
	is(0, Seen)
	mv("3.c:2,S", "3.c,S=2:2,S")
	if v := is(0, Seen); v.UID(1) != 3 {
		t.Errorf("its UID is %d now", v.UID(1))
	}
	write(t, root, "cur/3.c:2,S", "y\n")
	if v := is(0, Seen, Seen); v.UID(2) != 4 {
		t.Errorf("the new message has UID %d", v.UID(2))
	}
}
