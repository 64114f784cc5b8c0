package mailbox

import (
	"fmt"
	"strings"
	"syscall"
	"testing"

	"pennypost/internal/durable"
	"pennypost/internal/durable/faultdisk"
)

// happens is what other programs do between two looks: a message went, one got a flag, one came, one came with another name.
func happens(t *testing.T, disk *faultdisk.Disk) {
	t.Helper()
	at := below{disk, memoryRoot[1:]}
	for _, err := range []error{at.Remove("cur/1.m:2,S"), at.Rename("cur/2.m:2,S", "cur/2.m:2,FS"), at.Rename("cur/4.m:2,", "cur/4.m,S=7:2,")} {
		if err != nil {
			t.Fatal(err)
		}
	}
	disk.Put(memoryRoot[1:]+"/new/5.m", "text 5\n")
}

// A look whose disk fails at any one step takes nothing for read that it has not written down: the next look has it, and so has that of another
// process. Nothing gets a second UID.
func TestSyncFails(t *testing.T) {
	const before, after = "1 1.m S\n2 2.m S\n3 3.m S\n4 4.m \n", "2 2.m FS\n3 3.m S\n4 4.m,S=7 \n5 5.m \n"
	for _, failure := range []error{syscall.ENOSPC, syscall.EIO, faultdisk.ErrCrashed} {
		for n := 1; ; n++ {
			run(t, "one-boot")
			disk := faultdisk.New()
			disk.Dirs(memoryRoot[1:]+"/cur", memoryRoot[1:]+"/new", memoryRoot[1:]+"/tmp")
			for i, flags := range []string{"S", "S", "S", ""} {
				disk.Put(fmt.Sprintf("%s/cur/%d.m:2,%s", memoryRoot[1:], i+1, flags), fmt.Sprintf("text %d\n", i+1))
			}
			open := func() *Folder {
				a, err := openAccount(memoryRoot, Options{Host: "test"}, inMemory(disk))
				if err != nil { // the failure was still to come
					a, err = openAccount(memoryRoot, Options{Host: "test"}, inMemory(disk))
				}
				if err != nil {
					t.Fatal(err)
				}
				f, err := a.Folder("INBOX")
				if err != nil {
					f, err = a.Folder("INBOX")
				}
				if err != nil {
					t.Fatal(err)
				}
				return f
			}
			f := open()
			if got := shown(look(t, f)); got != before {
				t.Fatal(got)
			}
			happens(t, disk)
			disk.FailAt(n, failure)
			v, err := f.Look(ctx)
			last, failed := disk.LastStep(), disk.Failed()
			if err == nil && shown(v) != after && !(durable.Refused(failure) && shown(v) == before) {
				t.Errorf("%v at %d (%s): the look itself shows\n%s", failure, n, last, shown(v))
			}
			folders := []*Folder{open(), f} // of a process that comes when the first was killed there; and the first
			if n%2 == 0 {
				folders = []*Folder{f, open()}
			}
			for i, f := range folders {
				v, err := f.Look(ctx)
				if err != nil || shown(v) == before { // the same; or an answer on a full disk
					v, err = f.Look(ctx)
				}
				if err != nil || !strings.HasPrefix(shown(v), strings.TrimSuffix(after, "5 5.m \n")) || v.Len() != 4 {
					t.Errorf("%v at %d (%s): %v\n%s", failure, n, last, err, shown(v))
					continue
				}
				if uid := v.UID(3); uid != 5 && uid <= 256 {
					t.Errorf("%v at %d (%s): look %d gives UID %d", failure, n, last, i, uid)
				}
			}
			u, err := parseUIDs([]byte(disk.Files()[memoryRoot[1:]+"/"+uidsName]))
			if err != nil {
				t.Fatal(err)
			}
			holder := map[string]uint32{}
			for uid, l := range u.live {
				if other := holder[l.key]; other != 0 {
					t.Errorf("%v at %d (%s): %s has UIDs %d and %d", failure, n, last, l.key, other, uid)
				}
				holder[l.key] = uid
			}
			if !failed {
				break
			}
			if t.Failed() {
				return
			}
		}
	}
}

// An mb-uids that somebody emptied while the index is whole.
func TestUIDsEmptied(t *testing.T) {
	root, _, f := box(t)
	write(t, root, "cur/1.m:2,S", "x\n")
	look(t, f)
	write(t, root, uidsName, "")
	_, g := process(t, root)
	if v := look(t, g); v.Len() != 1 {
		t.Error(shown(v))
	}
	if v := look(t, f); v.Len() != 1 {
		t.Error(shown(v))
	}
}
