package mailbox

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"pennypost/internal/durable/faultdisk"
)

// delivered puts messages into new/ as deliver-local does, and gives their names.
func delivered(t *testing.T, root string, from, n int) (names []string) {
	for i := from; i < from+n; i++ {
		text := fmt.Sprintf("Subject: subject %d\nFrom: a@example.org\n\nhi\n", i)
		name := fmt.Sprintf("%d.0fk2v9qk3x%d_1.mx,S=%d,W=%d", 1700000000+i, i, len(text), len(text)+4)
		write(t, root, "new/"+name, text)
		names = append(names, name)
	}
	return names
}

func TestArrived(t *testing.T) {
	root, _, f := box(t)
	write(t, root, "cur/1.m:2,S", "Subject: subject 0\n\nold\n")
	look(t, f)
	deliverer, err := OpenAccount(root, Options{Host: "test"})
	if err != nil {
		t.Fatal(err)
	}
	defer deliverer.Close()
	for round := range 3 { // the folder is open already, or not
		names := delivered(t, root, 5*round, 5)
		if err := deliverer.Arrived(".", names); err != nil {
			t.Fatal(err)
		}
		_, g := process(t, root)
		unread(t, g, func() {
			v := look(t, g)
			if n := v.Counts(); v.Len() != 6+5*round || int(n.Unseen) != 5+5*round || int(n.Recent) != 5+5*round || n.UIDNext != uint32(7+5*round) {
				t.Fatalf("%+v\n%s", n, shown(v))
			}
			r := v.Reader()
			defer r.Close()
			for i := 1; i < v.Len(); i++ {
				c, j := v.at(i)
				if r.read(c.cache[j], c.uid[j]) == nil {
					t.Errorf("UID %d is not in the cache", v.UID(i))
				}
				if rec, err := r.Head(i); err != nil || !strings.Contains(string(rec.Envelope), fmt.Sprintf(`"subject %d"`, i-1)) {
					t.Errorf("UID %d: %v %s", v.UID(i), err, rec.Envelope)
				}
				info, err := os.Stat(root + "/new/" + string(c.key(j)))
				if at, err2 := v.Received(i); err != nil || err2 != nil || at.Unix() != info.ModTime().Unix() {
					t.Error(at, err, err2)
				}
			}
		})
		if got, want := shown(look(t, f)), shown(look(t, g)); got != want {
			t.Errorf("who has it open sees\n%s", got)
		}
	}
}

func TestArrivedLater(t *testing.T) {
	root, a, f := box(t)
	names := delivered(t, root, 0, 1)
	if err := a.Arrived(".", names); err == nil {
		t.Error("entered where nobody has looked yet")
	}
	if _, err := os.Stat(root + "/mb-uids"); err == nil {
		t.Error("a delivery began an mb-uids")
	}
	look(t, f)
	before := shown(look(t, f))
	_, g := process(t, root)
	if err := g.account.Arrived(".", names); err != ErrLater {
		t.Errorf("entered twice: %v", err)
	}
	names = delivered(t, root, 1, 1)
	write(t, root, "new/1700000009.foreign", "Subject: x\n\nhi\n")
	if err := g.account.Arrived(".", names); err != ErrLater {
		t.Errorf("entered beside a name that nobody knows: %v", err)
	}
	if got := shown(look(t, f)); !strings.HasPrefix(got, before) || strings.Count(got, "\n") != 3 {
		t.Error(got)
	}
	names = delivered(t, root, 2, 1)
	f.mu.Lock()
	unlock, err := f.lock(ctx)
	if err != nil {
		t.Fatal(err)
	}
	err = g.account.Arrived(".", names)
	unlock()
	f.mu.Unlock()
	if err != ErrLater {
		t.Errorf("the lock is held: %v", err)
	}
	os.Rename(root+"/new/"+names[0], root+"/cur/"+names[0]+":2,S") // a reader was faster
	if err := g.account.Arrived(".", names); err != ErrLater {
		t.Errorf("it is in cur/ already: %v", err)
	}
	if v := look(t, f); v.Len() != 4 || v.Flags(3)&Seen == 0 {
		t.Error(shown(v))
	}
}

// A crash or a failure at any step of entering what arrived leaves what a delivery without it leaves: each message once, with one UID.
func TestCrashArrived(t *testing.T) {
	for luck := range 5 { // 4: no power cut, the process was killed or the step failed
		for step := 1; ; step++ {
			run(t, "one-boot")
			disk := faultdisk.New()
			for i := range 3 {
				disk.Put(fmt.Sprintf("%s/cur/%d.m:2,S", memoryRoot[1:], i+1), fmt.Sprintf("Subject: subject %d\n\nhi\n", i))
			}
			disk.Dirs(memoryRoot[1:]+"/new", memoryRoot[1:]+"/tmp")
			open := func(disk *faultdisk.Disk) *Folder { return inboxOn(t, inMemory(disk)) }
			first := open(disk)
			look(t, first)
			deliverer := open(disk)
			var names []string
			for i := range 3 {
				name := fmt.Sprintf("17953215%02d.x", i)
				disk.Put(memoryRoot[1:]+"/new/"+name, fmt.Sprintf("Subject: subject %d\n\nhi\n", i+3))
				names = append(names, name)
			}
			if luck < 4 {
				disk.CrashAt(step).Luck(luck)
			} else {
				disk.FailAt(step, faultdisk.ErrCrashed)
			}
			err := deliverer.account.Arrived(".", names)
			last, done := disk.LastStep(), !disk.Failed() && !disk.Crashed()
			if luck == 4 {
				disk.FailAt(-1, nil)
			}
			if done && err != nil {
				t.Fatal(err)
			}
			var folders []*Folder
			if luck < 4 {
				disk = disk.Restart()
				run(t, "two-boot")
			} else {
				folders = append(folders, first, deliverer)
			}
			for _, f := range append(folders, open(disk)) {
				v := look(t, f)
				if v.Len() != 6 || v.Counts().UIDNext <= v.UID(5) {
					t.Fatalf("luck %d, step %d (%s):\n%s", luck, step, last, shown(v))
				}
				if got, err := envelopes(v, false); err != nil || strings.Count(got, "\n") != 6 {
					t.Errorf("luck %d, step %d (%s): %v\n%s", luck, step, last, err, got)
				}
			}
			u, err := parseUIDs([]byte(disk.Files()[memoryRoot[1:]+"/"+uidsName]))
			if err != nil || len(u.live) != 6 {
				t.Errorf("luck %d, step %d (%s): %v, %d UIDs", luck, step, last, err, len(u.live))
			}
			if t.Failed() {
				return
			}
			if done {
				break
			}
		}
	}
}
