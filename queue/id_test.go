package queue

import (
	"slices"
	"sync"
	"testing"
	"time"
)

// TestS142Unique: ids say nothing of process or host name, and are unique without either.
func TestS142Unique(t *testing.T) {
	s, other := &Spool{Node: "a"}, &Spool{Node: "a"} // two processes, the same node
	var mu sync.Mutex
	seen := map[string]bool{}
	var wg sync.WaitGroup
	for _, sp := range []*Spool{s, other, s, other} {
		wg.Go(func() {
			last := ""
			for range 5000 {
				id := sp.NewID()
				if id <= last {
					t.Errorf("%s after %s", id, last)
				}
				last = id
				mu.Lock()
				if seen[id] {
					t.Errorf("%s twice", id)
				}
				seen[id] = true
				mu.Unlock()
			}
		})
	}
	wg.Wait()
}

func TestIDs(t *testing.T) {
	s := &Spool{Node: "mx2"}
	before := time.Now().Truncate(time.Microsecond)
	id := s.NewID()
	if at := TimeOf(id); !ValidID(id) || at.Before(before) || at.After(time.Now()) {
		t.Errorf("%s of %v", id, TimeOf(id))
	}
	// A clock that steps back gives later ids all the same (S140).
	s.ids.last = uint64(time.Now().Add(time.Hour).UnixMicro())
	if later := s.NewID(); later <= id || TimeOf(later).Before(time.Now().Add(59*time.Minute)) {
		t.Errorf("%s after a step of the clock", later)
	}
	at := time.Date(2026, 11, 22, 4, 30, 59, 999999000, time.UTC)
	id = s.IDFor(at, "12.34")
	if !TimeOf(id).Equal(at) || QPath(id) != "q/20261122/0430" || id != s.IDFor(at, "12.34") || id == s.IDFor(at, "12.35") {
		t.Errorf("%s of %v in %s", id, TimeOf(id), QPath(id))
	}
	ids := []string{id, s.IDFor(at.Add(time.Microsecond), "0"), s.IDFor(at.Add(time.Hour), "0"), s.IDFor(at.AddDate(100, 0, 0), "0")}
	if !slices.IsSorted(ids) {
		t.Errorf("ids do not sort: %q", ids)
	}
	if d := Derived(Derived(id, 'b', 1), 'v', 12); !ValidID(d) || d != id+".b1.v12" || !TimeOf(d).Equal(at) {
		t.Errorf("derived %s", d)
	}
}

// TestS123Names: one function judges a name before any path is made of it.
func TestS123Names(t *testing.T) {
	const id = "0fk2v9qk3x7m2c000-a"
	for _, bad := range []string{
		"", "x", "..", "0fk2v9qk3x7m2c000", "0fk2v9qk3x7m2c000-", "0fk2v9qk3x7m2c000-A", "0fk2v9qk3x7m2c00-ab", "gfk2v9qk3x7m2c000-a",
		"0FK2V9QK3X7M2C000-a", "0fk2v9qk3x7m2c00u-a", id + "/", id + "/..", id + ".", id + ".b", id + ".b01", id + ".b0", id + ".s", id + ".why", id + ".b1/x", id + "\n", id + ".b1.",
		"../" + id, id + ".B1", id + ".b99999999999", "0fk2v9qk3x7m2c000-toolongnode",
	} {
		if ValidID(bad) {
			t.Errorf("%q is an id", bad)
		}
	}
	name := readyName(id, 12, 13, zeroHash)
	if got, ready, size, wire, hash, ok := ParseName(name); !ok || !ready || got != id || size != 12 || wire != 13 || hash != zeroHash {
		t.Errorf("%s: %v %v %v %v %v %v", name, got, ready, size, wire, hash, ok)
	}
	for _, bad := range []string{id + ".m", id + ".m,", id + ".m,S=1,W=1", id + ".m,S=-1,W=1,H=" + zeroHash, id + ".m,S=1,W=1,H=" + zeroHash + ":2,S", id + ".m,W=1,S=1,H=" + zeroHash,
		id + ".m,S=99999999999999999999,W=1,H=" + zeroHash, id + ".r", id + ".s", id + "~"} {
		if _, _, _, _, _, ok := ParseName(bad); ok {
			t.Errorf("%q is the name of a message", bad)
		}
	}
	for _, good := range []Num{{1, 0}, {2, 1}, {1000, 10000}} {
		if n, err := ParseNum(good.String()); err != nil || n != good {
			t.Errorf("%v: %v, %v", good, n, err)
		}
	}
	for _, bad := range []string{"", ".", "1.", ".1", "1.0", "-1", "1.1.1", "99999999999", "1 "} {
		if n, err := ParseNum(bad); err == nil {
			t.Errorf("%q is %v", bad, n)
		}
	}
}

func FuzzName(f *testing.F) {
	f.Add("0fk2v9qk3x7m2c000-a.m,S=1,W=2,H=" + zeroHash)
	f.Add("0fk2v9qk3x7m2c000-a.b1.v2")
	f.Fuzz(func(t *testing.T, name string) {
		id, ready, size, wire, hash, ok := ParseName(name)
		if !ok {
			return
		}
		if ready {
			if got, _, s2, w2, h2, ok := ParseName(readyName(id, size, wire, hash)); !ok || got != id || s2 != size || w2 != wire || h2 != hash {
				t.Errorf("%q", name)
			}
		} else if id != name {
			t.Errorf("%q has id %q", name, id)
		}
		for i := range len(id) {
			if c := id[i]; c == '/' || c <= ' ' || c >= 0x7f {
				t.Errorf("id %q", id)
			}
		}
	})
}
