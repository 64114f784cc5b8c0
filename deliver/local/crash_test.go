package local

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"
	"syscall"
	"testing"
	"time"

	"pennypost/internal/domains"
	"pennypost/internal/durable"
	"pennypost/internal/durable/faultdisk"
	"pennypost/internal/maillog"
	"pennypost/internal/order"
	"pennypost/internal/status"
	"pennypost/maildir"
	"pennypost/queue"
)

// below is a directory of a faultdisk as a Disk of its own.
type below struct {
	*faultdisk.Disk
	root string
}

func (b below) at(name string) string { return path.Join(b.root, name) }

func (b below) Create(name string, perm fs.FileMode) (durable.File, error) {
	return b.Disk.Create(b.at(name), perm)
}
func (b below) Open(name string) (durable.File, error) { return b.Disk.Open(b.at(name)) }
func (b below) Append(name string, perm fs.FileMode) (durable.File, error) {
	return b.Disk.Append(b.at(name), perm)
}
func (b below) Rename(from, to string) error    { return b.Disk.Rename(b.at(from), b.at(to)) }
func (b below) RenameNew(from, to string) error { return b.Disk.RenameNew(b.at(from), b.at(to)) }
func (b below) LinkFile(f durable.File, to string) error {
	return b.Disk.LinkFile(f, b.at(to))
}
func (b below) Remove(name string) error                  { return b.Disk.Remove(b.at(name)) }
func (b below) Mkdir(name string, perm fs.FileMode) error { return b.Disk.Mkdir(b.at(name), perm) }
func (b below) SyncDir(name string) error                 { return b.Disk.SyncDir(b.at(name)) }
func (b below) ReadDir(name string) ([]string, error)     { return b.Disk.ReadDir(b.at(name)) }
func (b below) Stat(name string) (durable.Info, error)    { return b.Disk.Stat(b.at(name)) }
func (b below) Hold(...string) error                      { return nil }

// world is a faultdisk with a spool and bob's Maildir, and an agent that works on it.
type world struct {
	disk  *faultdisk.Disk
	agent *Agent
}

func newWorld(disk *faultdisk.Disk, quota int64) *world {
	open := func(root string) (durable.Disk, error) {
		root = strings.TrimPrefix(root, "/")
		if root == "" {
			root = "."
		}
		if info, err := disk.Stat(root); err != nil || !info.Mode.IsDir() {
			return nil, errors.Join(err, fs.ErrNotExist)
		}
		return below{disk, root}, nil
	}
	bob := &domains.Account{User: "bob", Domain: "example.org", Maildir: "/mail/bob/Maildir", Layout: maildir.PlusPlus, Quota: quota}
	return &world{disk, &Agent{
		Directory: people{"bob": bob},
		Store:     maildir.Store{Open: open, Now: func() time.Time { return time.Unix(1795321410, 0) }},
		State:     "/state",
		Hostname:  "mx.example.org",
		Link:      true,
		Log:       &maillog.Log{Out: io.Discard},
	}}
}

// parcel is one message of a test, and what it must look like in the Maildir.
type parcel struct {
	id, spool, text, want string
	ready                 bool
}

func parcels(n int, ready bool) (list []parcel) {
	for i := range n {
		id := fmt.Sprintf("0fk2v9qk3x7m2c0%02d-a", i)
		text := fmt.Sprintf("Subject: %d\n\n%s\n", i, strings.Repeat("text ", 50))
		trace := "Return-Path: <alice@example.net>\nDelivered-To: bob@example.org\n"
		p := parcel{id: id, spool: "spool/" + id, text: plain(text), want: trace + text, ready: ready}
		if ready {
			p.text = p.want
		}
		list = append(list, p)
	}
	return list
}

// deliver gives all parcels to the agent as one group, and says which were answered how.
func (w *world) deliver(list []parcel, attempt int, repeat bool) map[string]byte {
	answered := map[string]byte{}
	r := newRound(w.agent, func(answers []order.Answer) error {
		for _, a := range answers {
			if a.Kind != 'E' {
				answered[list[a.Seq].id] = a.Kind
			}
		}
		return nil
	})
	for i, p := range list {
		file, err := w.disk.Open(p.spool)
		if err != nil {
			continue
		}
		o := order.Order{Verb: "deliver", Seq: uint64(i), ID: p.id, Attempt: attempt, Repeat: repeat, Ready: p.ready,
			Rcpts: []order.Rcpt{{Num: queue.Num{N: 1}, To: addr("bob@example.org")}}}
		if p.ready {
			o.Size, o.Wire = int64(len(p.text)), int64(len(p.text)+strings.Count(p.text, "\n"))
		}
		w.agent.take(r, o, file)
	}
	r.commit(r.group())
	r.flush()
	return answered
}

// check looks at what a reader would see: nothing that is not whole, nothing twice.
func (w *world) check(t *testing.T, list []parcel) map[string]bool {
	t.Helper()
	there := map[string]bool{}
	for name, text := range w.disk.Files() {
		if !strings.HasPrefix(name, "mail/bob/Maildir/new/") && !strings.HasPrefix(name, "mail/bob/Maildir/cur/") {
			continue
		}
		found := ""
		for _, p := range list {
			if text == p.want {
				found = p.id
			}
		}
		if found == "" {
			t.Errorf("%s is partial: %q", name, text)
		}
		if there[found] {
			t.Errorf("%s is there twice", found)
		}
		there[found] = true
	}
	return there
}

func fresh(strict bool, list []parcel) *faultdisk.Disk {
	disk := faultdisk.New()
	if strict {
		disk = faultdisk.NewStrict()
	}
	disk.Dirs("mail", "state")
	for _, p := range list {
		disk.Put(p.spool, p.text)
	}
	return disk
}

// The power goes at every step of a delivery, by link and by copy, alone and in a group, into a
// Maildir that is yet to be made (S137, S138).
func TestS138PowerCut(t *testing.T) {
	for _, ready := range []bool{false, true} {
		for _, many := range []int{1, 3} {
			for _, strict := range []bool{false, true} {
				list := parcels(many, ready)
				for luck := range 6 {
					for n := 1; ; n++ {
						disk := fresh(strict, list).Luck(luck).CrashAt(n)
						answered := newWorld(disk, 0).deliver(list, 1, false)
						crashed, step := disk.Crashed(), disk.LastStep()
						name := fmt.Sprintf("ready=%v of %d strict=%v luck %d cut at %d (%s)", ready, many, strict, luck, n, step)

						after := newWorld(disk.Restart(), 0)
						there := after.check(t, list)
						for id, kind := range answered {
							if kind == 'K' && !there[id] {
								t.Errorf("%s: %s acknowledged, then lost", name, id)
							}
						}
						again := after.deliver(list, 2, true)
						there = after.check(t, list)
						if len(again) != many || len(there) != many {
							t.Errorf("%s: afterwards %d of %d are there, answers %v", name, len(there), many, again)
						}
						if t.Failed() {
							return
						}
						if !crashed {
							break
						}
					}
				}
			}
		}
	}
}

// Every operation fails once, with each error a disk has (S135, S136). What was not answered K comes
// again and is then there once; nothing is left in tmp/.
func TestS135DiskErrors(t *testing.T) {
	for _, failure := range []error{syscall.ENOSPC, syscall.EDQUOT, syscall.EIO, syscall.EROFS} {
		for _, ready := range []bool{false, true} {
			for _, quota := range []int64{0, 1 << 20} {
				list := parcels(2, ready)
				for n := 1; ; n++ {
					disk := fresh(false, list).FailAt(n, failure)
					w := newWorld(disk, quota)
					answered := w.deliver(list, 1, false)
					name := fmt.Sprintf("%v ready=%v quota=%d at %d (%s)", failure, ready, quota, n, disk.LastStep())
					failed := disk.Failed()
					there := w.check(t, list)
					for _, p := range list {
						if kind, ok := answered[p.id]; ok && kind != 'K' && kind != 'Z' {
							t.Errorf("%s: answered %c", name, kind)
						} else if kind == 'K' && !there[p.id] {
							t.Errorf("%s: K and not there", name)
						}
					}
					for file := range disk.Files() {
						if strings.Contains(file, "/tmp/") && !strings.HasPrefix(disk.LastStep(), "remove") {
							t.Errorf("%s: left %s", name, file)
						}
					}
					var left []parcel
					for _, p := range list {
						if answered[p.id] != 'K' {
							left = append(left, p)
						}
					}
					if again := w.deliver(left, 2, false); len(again) != len(left) {
						t.Errorf("%s: second attempt %v", name, again)
					}
					after := newWorld(disk.Restart(), quota) // all that was answered is on the disk, whatever failed
					if there := after.check(t, list); len(there) != len(list) {
						t.Errorf("%s: afterwards %v", name, there)
					}
					if t.Failed() {
						return
					}
					if !failed {
						break
					}
				}
			}
		}
	}
}

func TestRestOfErrors(t *testing.T) {
	b := newBench(t)
	b.agent.Log = &maillog.Log{Out: io.Discard}
	for _, c := range []struct {
		err      error
		enhanced string
	}{
		{syscall.ENOSPC, "4.3.1"}, {syscall.EDQUOT, "4.2.2"}, {syscall.EIO, "4.3.0"}, {syscall.ESTALE, "4.3.0"},
		{maildir.ErrNotMounted, "4.3.0"}, {queue.ErrBad, "4.3.0"}, {&overQuota{}, "4.2.2"},
	} {
		r := b.agent.trouble(&recipient{job: &job{}}, fmt.Errorf("x: %w", c.err))
		if r.Outcome != status.Deferred || r.Enhanced != c.enhanced || strings.Contains(r.Text, "x:") {
			t.Errorf("%v: %+v", c.err, r)
		}
	}
}
