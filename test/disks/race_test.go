package disks

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"pennypost/internal/durable"
	"pennypost/maildir/mailbox"
)

// fill makes n messages in cur.
func fill(t *testing.T, root string, n int) {
	t.Helper()
	for _, sub := range []string{"cur", "new", "tmp"} {
		if err := os.MkdirAll(filepath.Join(root, sub), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for i := range n {
		if err := os.WriteFile(filepath.Join(root, "cur", name(i, false)), []byte("Subject: x\n\nx\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func name(i int, seen bool) string {
	flags := ""
	if seen {
		flags = "S"
	}
	return fmt.Sprintf("17%08d.M%dP1.race.example.test,S=14,W=17:2,%s", i, i%1000000, flags)
}

// rename renames all messages again and again, each renamer those of its own, as fast as it goes; a flag set and taken away.
func rename(t *testing.T, root string, n, renamers int) (stop func() (renames int64)) {
	t.Helper()
	var count atomic.Int64
	var over atomic.Bool
	var group sync.WaitGroup
	cur, err := unix.Open(filepath.Join(root, "cur"), unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		t.Fatal(err)
	}
	for r := range renamers {
		group.Go(func() {
			for seen := false; !over.Load(); seen = !seen {
				for i := r; i < n && !over.Load(); i += renamers {
					if err := unix.Renameat(cur, name(i, seen), cur, name(i, !seen)); err != nil {
						t.Errorf("rename %d: %v", i, err)
						return
					}
					count.Add(1)
				}
			}
		})
	}
	return func() int64 {
		over.Store(true)
		group.Wait()
		unix.Close(cur)
		return count.Load()
	}
}

// A listing that says it is whole has every name once, however fast names change; and it says so where, and only where, the file
// system keeps that.
func TestListWhileRenaming(t *testing.T) {
	each(t, func(t *testing.T, k kind, dir string) {
		const n = 5000
		fill(t, dir, n)
		disk, err := durable.Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		defer disk.Close()
		stop := rename(t, dir, n, 2)
		var listings, whole, missed, doubled int
		for end := time.Now().Add(howLong(t)); time.Now().Before(end); {
			seen := make(map[string]int, n)
			all, err := disk.(durable.Lister).List("cur", func(name []byte, _ uint64, _ byte) {
				key, _, _ := strings.Cut(string(name), ":")
				seen[key]++
			})
			if err != nil {
				t.Fatal(err)
			}
			listings++
			lost, twice := n-len(seen), 0
			for _, times := range seen {
				if times > 1 {
					twice++
				}
			}
			missed, doubled = missed+lost, doubled+twice
			if all {
				whole++
				if lost > 0 || twice > 0 {
					t.Fatalf("a listing that says it is whole misses %d and doubles %d of %d names", lost, twice, n)
				}
			}
		}
		t.Logf("%d renames, %d listings, %d of them whole; %d names missed, %d doubled", stop(), listings, whole, missed, doubled)
		if k.whole != (whole > 0) || k.whole && whole != listings {
			t.Errorf("%d of %d listings say that they are whole", whole, listings)
		}
	})
}

// The folder: whatever a scan misses, no message is given up that is there, none is there twice, none gets another UID. The short form
// of this is in package mailbox.
func TestFolderWhileRenaming(t *testing.T) {
	if os.Getenv("PENNYPOST_RACE") == "" {
		t.Skip("only with PENNYPOST_RACE=5m or the like")
	}
	each(t, func(t *testing.T, k kind, dir string) {
		const n = 2000
		fill(t, dir, n)
		ctx := context.Background()
		account, err := mailbox.OpenAccount(dir, mailbox.Options{Host: "race"})
		if err != nil {
			t.Fatal(err)
		}
		defer account.Close()
		folder, err := account.Folder("INBOX")
		if err != nil {
			t.Fatal(err)
		}
		defer folder.Close()
		first, err := folder.Look(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if first.Len() != n {
			t.Fatalf("%d messages", first.Len())
		}
		looks := 0
		look := func() {
			v, err := folder.Look(ctx)
			if err != nil {
				t.Fatal(err)
			}
			looks++
			if v.Len() != n || v.Counts().UIDNext != first.Counts().UIDNext {
				t.Fatalf("look %d: %d of %d messages, UIDNEXT %d, was %d", looks, v.Len(), n, v.Counts().UIDNext, first.Counts().UIDNext)
			}
		}
		stop := rename(t, dir, n, 2)
		// who looks all the time, and who looks now and then: what was missed by two looks far apart was not missing in between
		for end := time.Now().Add(howLong(t)); time.Now().Before(end); {
			look()
		}
		for end := time.Now().Add(2 * howLong(t)); time.Now().Before(end); time.Sleep(1050 * time.Millisecond) {
			look()
		}
		renames := stop()
		look()
		for i := range n {
			v, err := folder.Look(ctx)
			if err != nil {
				t.Fatal(err)
			}
			if v.UID(i) != first.UID(i) || v.UIDL(i) != first.UIDL(i) {
				t.Fatalf("message %d was UID %d %s and is UID %d %s", i, first.UID(i), first.UIDL(i), v.UID(i), v.UIDL(i))
			}
		}
		t.Logf("%d renames, %d looks", renames, looks)
		// and what is really gone goes
		gone, err := filepath.Glob(filepath.Join(dir, "cur", "1700000007.*"))
		if err != nil || len(gone) != 1 {
			t.Fatal(gone, err)
		}
		if err := os.Remove(gone[0]); err != nil {
			t.Fatal(err)
		}
		for end := time.Now().Add(10 * time.Second); ; time.Sleep(50 * time.Millisecond) {
			v, err := folder.Look(ctx)
			if err != nil {
				t.Fatal(err)
			}
			if v.Len() == n-1 {
				break
			}
			if time.Now().After(end) {
				t.Fatal("a removed message is still there after 10 s")
			}
		}
	})
}
