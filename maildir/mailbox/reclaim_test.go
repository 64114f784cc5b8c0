package mailbox

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"sync/atomic"
	"testing"

	"pennypost/internal/durable/faultdisk"
)

// envelopes is what a client that asks for all ENVELOPEs gets.
func envelopes(v *View, more bool) (string, error) {
	r := v.Reader()
	defer r.Close()
	out := ""
	for i := range v.Len() {
		get := r.Head
		if more {
			get = r.Get
		}
		rec, err := get(i)
		if err != nil {
			return out, err
		}
		subject := string(rec.Envelope)
		at := strings.Index(subject, "subject ")
		if at < 0 {
			return out, fmt.Errorf("UID %d: %q", v.UID(i), subject)
		}
		out += fmt.Sprintf("%d %s\n", v.UID(i), strings.SplitN(subject[at:], `"`, 2)[0])
	}
	return out, nil
}

// forget makes what memory knows of mb-cache wrong, as a process does that is killed before it writes the index.
func forgetCached(f *Folder) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, s := range f.cached() {
		atomic.StoreInt64(s.at, 0)
	}
}

func TestReclaim(t *testing.T) {
	defer func(was int64) { deadMost = was }(deadMost)
	deadMost = 20 << 10
	root, _, f := box(t)
	for i := range 100 {
		write(t, root, fmt.Sprintf("cur/%d.m:2,S", 1700000000+i), fmt.Sprintf("Subject: subject %d\nFrom: a@example.org\n\nhi\n", i))
	}
	v := look(t, f)
	want, err := envelopes(v, false)
	if err != nil {
		t.Fatal(err)
	}
	_, other := process(t, root)
	w := look(t, other)
	reader := w.Reader() // has the old file open, with its offsets
	defer reader.Close()
	if _, err := reader.Head(3); err != nil {
		t.Fatal(err)
	}
	largest, last := int64(0), int64(0)
	shrunk := 0
	for range 40 {
		forgetCached(f)
		if got, err := envelopes(look(t, f), true); err != nil || got != want {
			t.Fatal(err, got)
		}
		info, err := os.Stat(root + "/" + cacheName)
		if err != nil {
			t.Fatal(err)
		}
		if info.Size() < last {
			shrunk++
		}
		last = info.Size()
		largest = max(largest, last)
	}
	if shrunk == 0 || largest > 4*(deadMost+100<<10) {
		t.Errorf("shrunk %d times, was %d octets at most", shrunk, largest)
	}
	for i := range w.Len() {
		if rec, err := reader.Head(i); err != nil || !strings.Contains(string(rec.Envelope), fmt.Sprintf(`"subject %d"`, i)) {
			t.Fatalf("message %d through the old file: %v", i, err)
		}
	}
	if got, err := envelopes(look(t, other), true); err != nil || got != want {
		t.Error(err, got)
	}
	_, third := process(t, root)
	u := look(t, third)
	r := u.Reader()
	defer r.Close()
	hits := 0
	for i := range u.Len() {
		c, j := u.at(i)
		if b := r.read(c.cache[j], c.uid[j]); b != nil {
			hits++
		}
	}
	if hits < 90 {
		t.Errorf("%d of 100 are found in the new file", hits)
	}
}

// The rows of a crash: whatever step of a reclaim is the last, or fails, every message's data is right, for this process and for the next.
func TestCrashReclaim(t *testing.T) {
	defer func(was int64) { deadMost = was }(deadMost)
	deadMost = 1 << 10
	const n = 12
	for _, failure := range []error{errors.New("input/output error"), faultdisk.ErrCrashed} {
		for step := 1; ; step++ {
			run(t, "one-boot")
			disk := faultdisk.New()
			for i := range n {
				disk.Put(fmt.Sprintf("%s/cur/%d.m:2,S", memoryRoot[1:], 1700000000+i), fmt.Sprintf("Subject: subject %d\n\nhi\n", i))
			}
			disk.Dirs(memoryRoot[1:]+"/new", memoryRoot[1:]+"/tmp")
			open := func(disk *faultdisk.Disk) *Folder { return inboxOn(t, inMemory(disk)) }
			f := open(disk)
			want, err := envelopes(look(t, f), false)
			if err != nil {
				t.Fatal(err)
			}
			for range 30 {
				forgetCached(f)
				f.mu.Lock()
				f.cacheFine = 1 << 40
				f.mu.Unlock()
				envelopes(look(t, f), false)
			}
			if failure == faultdisk.ErrCrashed {
				disk.CrashAt(step).Luck(step % 4)
			} else {
				disk.FailAt(step, failure)
			}
			f.mu.Lock()
			f.cacheFine = 0
			f.mu.Unlock()
			f.reclaim()
			last := disk.LastStep()
			done := !disk.Failed() && !disk.Crashed()
			if failure == faultdisk.ErrCrashed {
				disk = disk.Restart()
				run(t, "two-boot")
			} else {
				disk.FailAt(-1, nil)
				if got, err := envelopes(look(t, f), true); err != nil || got != want {
					t.Errorf("step %d (%s): %v\n%s", step, last, err, got)
				}
			}
			next := open(disk)
			v := look(t, next)
			for i := range v.Len() { // after a power cut they may have other UIDs
				want = strings.Replace(want, fmt.Sprintf("%d subject %d\n", i+1, i), fmt.Sprintf("%d subject %d\n", v.UID(i), i), 1)
			}
			if got, err := envelopes(v, true); err != nil || got != want {
				t.Errorf("step %d (%s), the next process: %v\n%s", step, last, err, got)
			}
			if done {
				if size := len(disk.Files()[memoryRoot[1:]+"/"+cacheName]); size > 8<<10 {
					t.Errorf("nothing was reclaimed: %d octets", size)
				}
				if step < 8 {
					t.Errorf("a reclaim takes %d steps", step)
				}
				break
			}
		}
	}
}
