package mailbox

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// put sets the clock to so much beside the right time.
func put(t *testing.T, beside time.Duration) {
	was := wall
	wall = func() time.Time { return time.Now().Round(0).Add(beside) }
	t.Cleanup(func() { wall = was })
}

// Whatever is done to the clock between two changes, everything only grows, and who resynchronises has what is there (S109).
func TestS109ClockStepped(t *testing.T) {
	s := newScene(t)
	want := "1 1.m S\n2 2.m S\n3 3.m S\n"
	for i, beside := range []time.Duration{5 * time.Hour, -5 * time.Hour, 400 * 24 * time.Hour, -20 * 365 * 24 * time.Hour, 0} {
		put(t, beside)
		mode := []Mode{Add, Remove}[i%2]
		if _, err := s.f.Store(ctx, uidSet(1), mode, Flagged, Unconditional); err != nil {
			t.Fatal(err)
		}
		look(t, s.f)
		put(t, -beside)
		for _, name := range []string{"mb-index", "mb-log.*", "mb-cache", "mb-keys"} {
			files, _ := filepath.Glob(filepath.Join(s.root, name))
			for _, file := range files {
				os.Remove(file)
			}
		}
		s.next([]string{"", fmt.Sprint("boot-", i)}[i%2])
		write(t, s.root, fmt.Sprintf("new/%d.later", i), "later\n")
		v := look(t, s.f)
		for k := range v.Len() {
			if c, j := v.at(k); k < 3 && (v.UID(k) != uint32(k+1) || string(c.key(j)) != fmt.Sprint(k+1, ".m")) {
				t.Errorf("UID %d is %s", v.UID(k), c.key(j))
			}
		}
		want = shown(v)
		s.wants(want)
	}
	validity := look(t, s.f).Counts().UIDValidity
	put(t, -20*365*24*time.Hour)
	if err := s.a.Create("Again", ""); err != nil {
		t.Fatal(err)
	}
	uidValidity := func() uint32 {
		f, err := s.a.Folder("Again")
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		return look(t, f).Counts().UIDValidity
	}
	first := uidValidity()
	if err := s.a.Delete("Again"); err != nil {
		t.Fatal(err)
	}
	if err := s.a.Create("Again", ""); err != nil {
		t.Fatal(err)
	}
	if again := uidValidity(); again <= first || first <= validity {
		t.Errorf("UIDVALIDITY of INBOX %d, of a mailbox made later %d, made again %d", validity, first, again)
	}
}

// A change that hides behind one of ours is found though the clock says that ours is yet to come.
func TestClockBehindTheFiles(t *testing.T) {
	s := newScene(t)
	put(t, -5*time.Hour)
	if _, err := s.f.Store(ctx, uidSet(1), Add, Flagged, Unconditional); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(s.root + "/cur")
	if err != nil {
		t.Fatal(err)
	}
	s.mv("cur/2.m:2,S", "cur/2.m:2,RS")
	os.Chtimes(s.root+"/cur", info.ModTime(), info.ModTime())
	look(t, s.f)
	time.Sleep(1100 * time.Millisecond)
	s.wants("1 1.m FS\n2 2.m RS\n3 3.m S\n")
}
