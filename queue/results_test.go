package queue

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

const resultLine = "0fk2v9qk3x7m2c000-a"

// fill writes n lines into an hour of the journal, without the last LF if torn.
func fill(s *Spool, hour time.Time, first, n int, torn bool) error {
	f, err := s.Disk.Append(results+hourName(hour), 0o640)
	if err != nil {
		return err
	}
	defer f.Close()
	var b []byte
	for i := range n {
		ev := Event{Time: hour.Add(time.Duration(i) * time.Second), ID: resultLine, Kind: Deliver, Num: Num{N: first + i}}
		b = ev.Append(b)
	}
	if torn {
		b = append(b, "4711 "+resultLine+" del"...)
	}
	if _, err = f.Write(b); err == nil {
		err = f.Sync()
	}
	if err == nil {
		err = s.Disk.SyncDir("results")
	}
	return err
}

// numbers are the recipients of all events, in the order in which Results gives them.
func numbers(t *testing.T, s *Spool) (n []int) {
	t.Helper()
	if err := s.Results(time.Time{}, func(ev *Event) error { n = append(n, ev.Num.N); return nil }); err != nil {
		t.Fatal(err)
	}
	return n
}

func TestSweepResults(t *testing.T) {
	dir := t.TempDir()
	if err := Make(dir, "a"); err != nil {
		t.Fatal(err)
	}
	s, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	now := time.Date(2026, 11, 22, 12, 30, 0, 0, time.UTC)
	hour := now.Truncate(time.Hour)
	sweep := func(now time.Time) {
		t.Helper()
		if err := s.SweepResults(now, 100*time.Hour); err != nil {
			t.Fatal(err)
		}
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(fill(s, hour.Add(-5*time.Hour), 1, 2000, true))
	must(fill(s, hour.Add(-time.Hour), 2001, 1, false)) // over for half an hour: not yet
	must(fill(s, hour, 2002, 1, false))
	must(os.WriteFile(dir+"/results/notes", []byte("by hand"), 0o644))
	sweep(now)
	names, _ := s.Disk.ReadDir("results")
	slices.Sort(names)
	if want := []string{"2026-11-22T07.gz", "2026-11-22T11", "2026-11-22T12", "notes"}; !slices.Equal(names, want) {
		t.Fatalf("%q, want %q", names, want)
	}
	want := make([]int, 2002)
	for i := range want {
		want[i] = i + 1
	}
	if got := numbers(t, s); !slices.Equal(got, want) {
		t.Errorf("%d events, want %d", len(got), len(want))
	}
	// The clock is put back: lines of that hour are written again, and are not lost.
	must(fill(s, hour.Add(-5*time.Hour), 3000, 2, false))
	again := slices.Concat(want[:2000], []int{3000, 3001}, want[2000:])
	if got := numbers(t, s); !slices.Equal(got, again) {
		t.Errorf("beside its .gz: %d events", len(got))
	}
	sweep(now)
	if got := numbers(t, s); !slices.Equal(got, again) {
		t.Errorf("in its .gz: %d events", len(got))
	}
	if zcat, err := exec.LookPath("zcat"); err == nil {
		out, err := exec.Command(zcat, filepath.Join(dir, "results/2026-11-22T07.gz")).Output()
		if n := strings.Count(string(out), "\n"); err != nil || n != 2003 {
			t.Errorf("zcat gives %d lines, %v", n, err)
		}
	}
	// A damaged file hides what is behind the damage, and nothing else.
	b, err := os.ReadFile(dir + "/results/2026-11-22T07.gz")
	must(err)
	must(os.WriteFile(dir+"/results/2026-11-22T07.gz", b[:len(b)/2], 0o640))
	if got := numbers(t, s); len(got) < 10 || got[len(got)-1] != 2002 {
		t.Errorf("damaged: %d events", len(got))
	}
}

// TestS140Results: when the clock jumps, the journal is not gone at once.
func TestS140Results(t *testing.T) {
	dir := t.TempDir()
	if err := Make(dir, "a"); err != nil {
		t.Fatal(err)
	}
	s, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	for i := range 10 {
		if err := fill(s, now.Add(time.Duration(-i)*time.Hour), 10-i, 1, false); err != nil {
			t.Fatal(err)
		}
	}
	for left := 8; left >= 0; left -= 2 {
		if err := s.SweepResults(now.AddDate(10, 0, 0), 30*24*time.Hour); err != nil {
			t.Fatal(err)
		}
		if got := numbers(t, s); len(got) != left || left > 0 && got[0] != 11-left {
			t.Errorf("want the last %d: %v", left, got)
		}
	}
}

// TestS138ResultsCut: a line of the journal is there, compressed or not, wherever the power goes.
func TestS138ResultsCut(t *testing.T) {
	now := time.Date(2026, 11, 22, 12, 30, 0, 0, time.UTC)
	old := now.Add(-6 * time.Hour).Truncate(time.Hour)
	for _, twice := range []bool{false, true} {
		cuts(t, func(s *Spool) error {
			if err := fill(s, old, 1, 3, false); err != nil {
				return errBefore
			}
			if twice {
				if s.SweepResults(now, 0) != nil || fill(s, old, 4, 2, false) != nil {
					return errBefore
				}
			}
			return s.SweepResults(now, 0)
		}, func(t *testing.T, after *Spool, err error) {
			if err == errBefore {
				return
			}
			want := []int{1, 2, 3}
			if twice {
				want = append(want, 4, 5)
			}
			if got := slices.Compact(slices.Sorted(slices.Values(numbers(t, after)))); !slices.Equal(got, want) {
				t.Errorf("got %v, want %v", got, want)
			}
			for range 2 { // and the next sweeps leave each once
				if err := after.SweepResults(now, 0); err != nil {
					t.Error(err)
				}
				if got := numbers(t, after); !slices.Equal(got, want) {
					t.Errorf("swept: %v, want %v", got, want)
				}
			}
		})
	}
}
