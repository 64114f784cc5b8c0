package local

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pennypost/internal/durable"
	"pennypost/maildir"
	"pennypost/maildir/mailbox"
)

// looks opens the account as imapd does, and gives what it shows.
func looks(t testing.TB, root string) *mailbox.View {
	t.Helper()
	a, err := mailbox.OpenAccount(root, mailbox.Options{Layout: maildir.PlusPlus, Host: "mx"})
	if err != nil {
		t.Fatal(err)
	}
	f, err := a.Folder("INBOX")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close(); a.Close() })
	v, err := f.Look(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// numbered delivers messages n to m-1 and enters them.
func (b *bench) numbered(n, m int) {
	b.Helper()
	for i := n; i < m; i++ {
		o := b.order("bob@example.org")
		o.ID = fmt.Sprintf("0fk2v9qk3x7m2c0%02d-a", i)
		b.one(b.deliver(o, strings.Replace(plain(letter), testID, o.ID, 1)), 'K', "2.0.0")
	}
}

func text(t *testing.T, file string) string {
	b, _ := os.ReadFile(file)
	return string(b)
}

func TestIndex(t *testing.T) {
	b := newBench(t)
	b.agent.Index = true
	root := b.bob.Maildir
	uids := filepath.Join(root, "mb-uids")
	b.numbered(0, 2)
	b.agent.index.enter(time.Now())
	if _, err := os.Stat(uids); err == nil {
		t.Fatal("a delivery began an index")
	}
	looks(t, root)
	b.numbered(2, 5)
	if strings.Contains(text(t, uids), "0fk2v9qk3x7m2c003") {
		t.Error("entered before its time")
	}
	b.agent.index.enter(time.Now())
	for i := range 5 {
		if n := strings.Count(text(t, uids), fmt.Sprintf("0fk2v9qk3x7m2c0%02d", i)); n != 1 {
			t.Errorf("message %d is in mb-uids %d times", i, n)
		}
	}
	before := text(t, uids)
	if v := looks(t, root); v.Len() != 5 || v.Counts().UIDNext != 6 {
		t.Errorf("%+v", v.Counts())
	}
	if text(t, uids) != before {
		t.Error("the look had something to do")
	}
	if len(b.agent.index.accounts) != 1 {
		t.Fatal("the account is not open")
	}
	b.agent.index.tidy(time.Now().Add(accountIdle + time.Second))
	if len(b.agent.index.accounts) != 0 {
		t.Error("an account that nobody uses stays open")
	}
	b.numbered(5, 6)
	os.Rename(root, root+".away") // and another in its place
	b.agent.index.enter(time.Now())
	os.Rename(root+".away", root)
	if v := looks(t, root); v.Len() != 6 {
		t.Errorf("%+v", v.Counts())
	}
	b.numbered(6, 7) // entered at the end
	b.agent.index.end()
	if n := strings.Count(text(t, uids), "0fk2v9qk3x7m2c006"); n != 1 || len(b.agent.index.accounts) != 0 {
		t.Errorf("%d lines, %d accounts", n, len(b.agent.index.accounts))
	}
}

// Where deliver-local may not write beside the mail it delivers.
func TestIndexRefused(t *testing.T) {
	if os.Getuid() == 0 {
		t.Skip("root may write everywhere")
	}
	b := newBench(t)
	b.agent.Index = true
	b.numbered(0, 1)
	looks(t, b.bob.Maildir)
	uids := filepath.Join(b.bob.Maildir, "mb-uids")
	os.Chmod(uids, 0o400)
	defer os.Chmod(uids, 0o600)
	b.numbered(1, 2)
	b.agent.index.enter(time.Now())
	if a := b.agent.index.accounts[b.bob.Maildir]; a == nil || a.Account != nil {
		t.Error("it will be tried again at once")
	}
	b.numbered(2, 3)
	b.agent.index.enter(time.Now())
	os.Chmod(uids, 0o600)
	if v := looks(t, b.bob.Maildir); v.Len() != 3 {
		t.Errorf("%+v", v.Counts())
	}
}

// What entering costs for each message, by how many come together.
func BenchmarkIndex(b *testing.B) {
	for _, boxes := range []int{1, 10} {
		for _, group := range []int{1, 10, 100} {
			for _, seen := range []bool{false, true} {
				b.Run(fmt.Sprintf("accounts=%d/group=%d/looked=%v", boxes, group, seen), func(b *testing.B) {
					dir := b.TempDir()
					x := index{waiting: map[folder][]string{}}
					var disks []durable.Disk
					for k := range boxes {
						root := fmt.Sprintf("%s/%d/Maildir", dir, k)
						for _, sub := range []string{"tmp", "new", "cur"} {
							os.MkdirAll(root+"/"+sub, 0o700)
						}
						if seen {
							looks(b, root)
						}
						d, _ := durable.Open(root)
						disks = append(disks, d)
					}
					b.ResetTimer()
					for n := 0; n < b.N; n += group * boxes {
						b.StopTimer()
						for k := range boxes {
							f := folder{fmt.Sprintf("%s/%d/Maildir", dir, k), maildir.PlusPlus, "."}
							old, _ := os.ReadDir(f.root + "/new")
							if len(old) >= 500 && seen { // somebody reads
								for _, e := range old {
									os.Rename(f.root+"/new/"+e.Name(), f.root+"/cur/"+e.Name()+":2,S")
								}
								looks(b, f.root)
							}
							for i := range group {
								name := fmt.Sprintf("%d.%d_%d.mx,S=%d,W=%d", 1700000000+n, n, i, 4096, 4200)
								os.WriteFile(f.root+"/new/"+name, []byte(letter + strings.Repeat("text text text\n", 270))[:4096], 0o600)
								x.waiting[f] = append(x.waiting[f], name)
							}
						}
						b.StartTimer()
						x.enter(time.Now())
					}
				})
			}
		}
	}
}
