package mailbox

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"pennypost/internal/durable"
	"pennypost/internal/sequence"
)

// hooked is a folder's disk with something that happens just before a call: what another program does meanwhile.
type hooked struct {
	durable.Disk
	before func(call, name string)
}

func (h *hooked) happens(call, name string) {
	if do := h.before; do != nil {
		do(call, name)
	}
}

func (h *hooked) RenameNew(from, to string) error {
	h.happens("rename", from)
	return h.Disk.RenameNew(from, to)
}

func (h *hooked) Rename(from, to string) error {
	h.happens("replace", from)
	return h.Disk.Rename(from, to)
}

func (h *hooked) Open(name string) (durable.File, error) {
	h.happens("open", name)
	return h.Disk.Open(name)
}

func (h *hooked) Remove(name string) error {
	h.happens("remove", name)
	return h.Disk.Remove(name)
}

func (h *hooked) List(dir string, each func([]byte, uint64, byte)) (bool, error) {
	h.happens("list", dir)
	return h.Disk.(durable.Lister).List(dir, each)
}

// once has something happen before the first such call.
func (s *scene) once(call, name string, do func()) {
	h := &hooked{Disk: s.f.disk}
	h.before = func(c, n string) {
		if c == call && strings.HasPrefix(n, name) {
			h.before = nil
			do()
		}
	}
	s.f.disk = h
}

// wide is a disk of many inodes: those of two files differ in their upper halves only.
type wide struct{ durable.Disk }

func (w wide) widen(name string, inode uint64) uint64 {
	for i, base := range []string{"2.m", "9.m"} {
		if strings.HasPrefix(filepath.Base(name), base) {
			return uint64(i+1)<<32 | 7
		}
	}
	return inode
}

func (w wide) Stat(name string) (durable.Info, error) {
	info, err := w.Disk.Stat(name)
	info.Inode = w.widen(name, info.Inode)
	return info, err
}

func (w wide) List(dir string, each func([]byte, uint64, byte)) (bool, error) {
	return w.Disk.(durable.Lister).List(dir, func(name []byte, inode uint64, kind byte) { each(name, w.widen(string(name), inode), kind) })
}

func (w wide) Born(name string) (time.Time, error)    { return w.Disk.(durable.Birther).Born(name) }
func (w wide) TryLock(name string) (io.Closer, error) { return w.Disk.(durable.Locker).TryLock(name) }

// older lets time pass, so that the messages are older than the last listing in coarse times, too.
func (s *scene) older() {
	for range 2 {
		time.Sleep(12 * time.Millisecond)
		for _, dir := range []string{"new", "cur"} {
			write(s.T, s.root, dir+"/.x", "")
			os.Remove(s.root + "/" + dir + "/.x")
		}
		look(s.T, s.f)
	}
}

func (s *scene) inode(name string) uint64 {
	var st unix.Stat_t
	if err := unix.Stat(s.root+"/"+name, &st); err != nil {
		s.Fatal(err)
	}
	return st.Ino
}

// The table of concurrent writers: what one does while another is at work. Its other rows are TestWritersMassDisappearance (rsync --delete),
// TestWritersRemoteStamps and TestWritersOnALossyFileSystem (two hosts over NFS).
func TestWriters(t *testing.T) {
	for _, row := range []struct {
		what string
		test func(s *scene)
	}{
		{"we scan, mutt renames", func(s *scene) {
			write(s.T, s.root, "new/4.m", "new\n")
			s.mv("cur/1.m:2,S", "cur/1.m:2,F")
			s.once("list", "cur", func() { // between our two listings: it is in both, or in none
				s.mv("new/4.m", "cur/4.m:2,S")
				s.mv("cur/2.m:2,S", "new/2.m")
			})
			v := look(s.T, s.f)
			if !strings.HasPrefix(shown(v), "1 1.m F\n2 2.m") || v.Len() != 4 {
				s.Errorf("while it moved:\n%s", shown(v))
			}
			s.wants("1 1.m F\n2 2.m \n3 3.m S\n4 4.m S\n")
		}},
		{"we STORE, mblaze sets S first", func(s *scene) {
			s.mv("cur/2.m:2,S", "cur/2.m:2,")
			s.wants("1 1.m S\n2 2.m \n3 3.m S\n")
			s.once("rename", "cur/2.m", func() { s.mv("cur/2.m:2,", "cur/2.m:2,S") })
			if _, err := s.f.Store(ctx, uidSet(2), Add, Flagged, Unconditional); err != nil {
				s.Error(err)
			}
			s.wants("1 1.m S\n2 2.m FS\n3 3.m S\n")
		}},
		{"we STORE, mutt unlinks", func(s *scene) {
			s.once("rename", "cur/2.m", func() { os.Remove(s.root + "/cur/2.m:2,S") })
			stored, err := s.f.Store(ctx, uidSet(1, 2), Add, Flagged, Unconditional)
			if err != nil || stored.Gone.String() != "2" {
				s.Errorf("%+v %v", stored, err)
			}
			s.settle()
			s.wants("1 1.m FS\n3 3.m S\n")
		}},
		{"we open a body, somebody renames", func(s *scene) {
			v := look(s.T, s.f)
			s.mv("cur/2.m:2,S", "cur/2.m:2,FRS")
			m, err := v.Open(1)
			if err != nil {
				s.Fatal(err)
			}
			defer m.Close()
			s.once("open", "cur/3.m", func() { s.mv("cur/3.m:2,S", "cur/3.m:2,DS") }) // a name we do not guess
			again, err := v.Open(2)
			if err != nil {
				s.Fatal(err)
			}
			again.Close()
		}},
		{"we read a body, somebody unlinks", func(s *scene) {
			v := look(s.T, s.f)
			m, err := v.Open(1)
			if err != nil {
				s.Fatal(err)
			}
			os.Remove(s.root + "/cur/2.m:2,S")
			b := make([]byte, m.Size)
			if n, _ := m.ReadAt(b, 0); string(b[:n]) != "text 2\n" {
				s.Errorf("read %q", b[:n])
			}
			m.Close()
			if _, err := v.Open(1); !errors.Is(err, ErrExpunged) {
				s.Errorf("open: %v", err)
			}
		}},
		{"we STORE, notmuch writes its tags and moves new to cur", func(s *scene) {
			write(s.T, s.root, "new/4.m", "new\n")
			s.wants("1 1.m S\n2 2.m S\n3 3.m S\n4 4.m \n")
			s.once("rename", "new/4.m", func() {
				s.mv("new/4.m", "cur/4.m:2,S")
				s.mv("cur/2.m:2,S", "cur/2.m:2,RS")
			})
			if _, err := s.f.Store(ctx, uidSet(4), Add, Flagged, Unconditional); err != nil {
				s.Error(err)
			}
			s.settle()
			s.wants("1 1.m S\n2 2.m RS\n3 3.m S\n4 4.m FS\n")
		}},
		{"two see new mail", func(s *scene) {
			_, other := process(s.T, s.root)
			look(s.T, other)
			write(s.T, s.root, "new/4.m", "new\n")
			var both sync.WaitGroup
			seen := make([]string, 2)
			for i, f := range []*Folder{s.f, other} {
				both.Go(func() {
					if v, err := f.Look(ctx); err == nil {
						seen[i] = shown(v)
					}
				})
			}
			both.Wait()
			if seen[0] != seen[1] || seen[0] != "1 1.m S\n2 2.m S\n3 3.m S\n4 4.m \n" {
				s.Errorf("one sees\n%sthe other\n%s", seen[0], seen[1])
			}
		}},
		{"we move new to cur, mutt moves the same", func(s *scene) {
			write(s.T, s.root, "new/4.m", "new\n")
			s.wants("1 1.m S\n2 2.m S\n3 3.m S\n4 4.m \n")
			s.once("rename", "new/4.m", func() { s.mv("new/4.m", "cur/4.m:2,F") })
			if claimed, err := s.f.Claim(ctx, uidSet(4)); err != nil || claimed.String() != "4" {
				s.Error(claimed, err)
			}
			s.wants("1 1.m S\n2 2.m S\n3 3.m S\n4 4.m F\n")
		}},
		{"a script copies a file to another base", func(s *scene) {
			write(s.T, s.root, "cur/9.copy:2,S", "text 2\n")
			s.wants("1 1.m S\n2 2.m S\n3 3.m S\n4 9.copy S\n")
		}},
		{"a script renames the base", func(s *scene) {
			s.older()
			v := look(s.T, s.f)
			id, uidl, was := v.EmailID(1), v.UIDL(1), v.Counts()
			s.mv("cur/2.m:2,S", "cur/8.m:2,S")
			v = s.wants("1 1.m S\n2 8.m S\n3 3.m S\n")
			if gone, is := v.VanishedSince(was.HighestModSeq, nil), v.Counts(); len(gone) > 0 || is.UIDNext != was.UIDNext {
				s.Errorf("a client is told VANISHED %v, UIDNEXT %d", gone, is.UIDNext)
			}
			s.next("")
			v = s.wants("1 1.m S\n2 8.m S\n3 3.m S\n")
			if v.EmailID(1) != id || v.UIDL(1) != uidl {
				s.Errorf("EMAILID was %s and is %s, the unique-id %q and %q", id, v.EmailID(1), uidl, v.UIDL(1))
			}
			os.Remove(s.root + "/mb-index")
			s.next("")
			s.wants("1 1.m S\n2 8.m S\n3 3.m S\n")
		}},
		{"a script renames the base, changes flags and puts it into new", func(s *scene) {
			s.older()
			n, _ := s.f.KeywordNumber("$Work", true)
			s.f.Store(ctx, uidSet(2), Add, Keyword(n), Unconditional)
			s.older()
			s.mv("cur/2.m:2,Sa", "new/8.m")
			s.mv("cur/3.m:2,S", "cur/9.m:2,FS")
			s.wants("1 1.m S\n2 8.m \n3 9.m FS\n")
		}},
		{"a script renames the base, and maildircheck and Dovecot come after it", func(s *scene) {
			s.older()
			s.mv("cur/2.m:2,S", "cur/8.m:2,S")
			s.wants("1 1.m S\n2 8.m S\n3 3.m S\n")
			found, err := s.a.Inspect()
			if err != nil {
				s.Fatal(err)
			}
			for _, what := range found {
				if what.Folder == "INBOX" {
					s.Errorf("maildircheck: %+v", what)
				}
			}
			if _, _, err := s.f.ToDovecot(ctx); err != nil {
				s.Fatal(err)
			}
			if text := string(s.read("dovecot-uidlist")); !strings.Contains(text, "\n2 P2.m :8.m\n") {
				s.Errorf("dovecot-uidlist %q", text)
			}
			s.next("")
			if v := look(s.T, s.f); shown(v) != "1 1.m S\n2 8.m S\n3 3.m S\n" || v.UIDL(1) != "2.m" {
				s.Errorf("Dovecot gave back, with the unique-id %q\n%s", v.UIDL(1), shown(v))
			}
		}},
		{"a script renames a copy and what it was copied from", func(s *scene) {
			os.Link(s.root+"/cur/2.m:2,S", s.root+"/cur/7.m:2,S")
			s.wants("1 1.m S\n2 2.m S\n3 3.m S\n4 7.m S\n")
			s.older()
			s.mv("cur/2.m:2,S", "cur/8.m:2,S")
			s.wants("1 1.m S\n2 8.m S\n3 3.m S\n4 7.m S\n")
			s.older()
			s.mv("cur/7.m:2,S", "cur/5.m:2,S")
			s.mv("cur/8.m:2,S", "cur/6.m:2,S")
			s.wants("1 1.m S\n3 3.m S\n5 5.m S\n6 6.m S\n") // which is which nobody can tell
		}},
		{"mail goes and other mail gets its inode", func(s *scene) {
			s.older()
			was := s.inode("cur/2.m:2,S")
			os.Remove(s.root + "/cur/2.m:2,S")
			for try := range 100 { // until the file system gives the inode out again; where it does not there is nothing to confuse
				name := fmt.Sprintf("tmp/%d", try)
				if write(s.T, s.root, name, "text 9\n"); s.inode(name) == was || try == 99 {
					s.mv(name, "cur/9.m:2,S")
					break
				}
			}
			s.wants("1 1.m S\n3 3.m S\n4 9.m S\n")
		}},
		{"most mail goes and is waited for, and other mail with an inode of it comes meanwhile", func(s *scene) {
			for i := range 300 {
				write(s.T, s.root, fmt.Sprintf("cur/%d.n:2,", i+4), "n\n")
			}
			look(s.T, s.f)
			s.older()
			was := s.inode("cur/2.m:2,S")
			files, _ := filepath.Glob(s.root + "/cur/*")
			os.Remove(s.root + "/cur/2.m:2,S")
			name := ""
			for try := range 100 {
				name = fmt.Sprintf("tmp/%d", try)
				if write(s.T, s.root, name, "text 9\n"); s.inode(name) == was {
					break
				}
			}
			for _, file := range files {
				os.Remove(file)
			}
			for range 2 { // it is not believed that they went
				time.Sleep(12 * time.Millisecond)
				s.mv(name, name+"x")
				name += "x"
				write(s.T, s.root, "cur/.x", "")
				os.Remove(s.root + "/cur/.x")
				if v := look(s.T, s.f); v.Len() != 303 {
					s.Fatalf("%d messages", v.Len())
				}
			}
			s.mv(name, "cur/9.m:2,S")
			v := look(s.T, s.f)
			if i, ok := v.Find(2); ok && string(mustKey(v, i)) != "2.m" {
				s.Errorf("UID 2 is %s", mustKey(v, i))
			}
		}},
		{"mail goes and other mail comes, of an inode that differs in its upper half", func(s *scene) {
			write(s.T, s.root, ".Other/cur/9.m:2,S", "text 9\n")
			os.Chtimes(s.root+"/.Other/cur/9.m:2,S", time.Unix(1, 0), time.Unix(1, 0))
			os.Chtimes(s.root+"/cur/2.m:2,S", time.Unix(1, 0), time.Unix(1, 0))
			s.f.disk = wide{s.f.disk}
			s.mv("cur/2.m:2,S", "cur/2.m:2,FS")
			look(s.T, s.f)
			s.older()
			os.Remove(s.root + "/cur/2.m:2,FS")
			s.mv(".Other/cur/9.m:2,S", "cur/9.m:2,S")
			s.wants("1 1.m S\n3 3.m S\n4 9.m S\n")
		}},
		{"a script renames all bases", func(s *scene) {
			var want strings.Builder
			for i := range 3000 {
				write(s.T, s.root, fmt.Sprintf("cur/%d.n:2,", i+4), "n\n")
			}
			look(s.T, s.f)
			s.older()
			for i := range 3000 {
				s.mv(fmt.Sprintf("cur/%d.n:2,", i+4), fmt.Sprintf("cur/%d.moved:2,", i+4))
				fmt.Fprintf(&want, "%d %d.moved \n", i+4, i+4)
			}
			s.wants("1 1.m S\n2 2.m S\n3 3.m S\n" + want.String())
		}},
		{"a tool appends sizes to the base", func(s *scene) {
			s.mv("cur/2.m:2,S", "cur/2.m,S=7,W=8:2,FS")
			s.wants("1 1.m S\n2 2.m,S=7,W=8 FS\n3 3.m S\n")
			s.next("")
			s.wants("1 1.m S\n2 2.m,S=7,W=8 FS\n3 3.m S\n")
			os.Remove(s.root + "/mb-index")
			s.next("")
			s.wants("1 1.m S\n2 2.m,S=7,W=8 FS\n3 3.m S\n")
		}},
		{"procmail delivers", func(s *scene) {
			happened, stop := s.f.Watch()
			defer stop()
			write(s.T, s.root, "tmp/4.m", "new\n")
			s.mv("tmp/4.m", "new/4.m")
			select {
			case <-happened:
			case <-time.After(10 * time.Second):
				s.Error("nobody was told")
			}
			s.wants("1 1.m S\n2 2.m S\n3 3.m S\n4 4.m \n")
		}},
		{"Dovecot serves the same Maildir", func(s *scene) {
			write(s.T, s.root, "dovecot-uidlist", "3 V1275660208 N4 G3085f01b7f11094c501100008c4a11c1\n1 :1.m\n")
			s.mv("cur/1.m:2,S", "cur/1.m:2,RS")
			s.wants("1 1.m RS\n2 2.m S\n3 3.m S\n")
		}},
		{"a backup puts an expunged file back", func(s *scene) {
			s.f.Store(ctx, uidSet(2), Add, Deleted, Unconditional)
			if _, err := s.f.Expunge(ctx, uidSet(2)); err != nil {
				s.Fatal(err)
			}
			s.wants("1 1.m S\n3 3.m S\n")
			write(s.T, s.root, "cur/2.m:2,S", "text 2\n")
			s.wants("1 1.m S\n3 3.m S\n4 2.m S\n")
		}},
		{"a copied base is in new and in cur", func(s *scene) {
			write(s.T, s.root, "new/2.m", "another text\n")
			v := look(s.T, s.f)
			if v.Len() != 4 || !strings.HasPrefix(shown(v), "1 1.m S\n2 2.m S\n3 3.m S\n4 ") {
				s.Errorf("got\n%s", shown(v))
			}
			if id := textOf(s.T, v, 3); id != "another text\n" {
				s.Errorf("UID 4 is %q", id)
			}
		}},
		{"one file has two names", func(s *scene) {
			os.Link(s.root+"/cur/2.m:2,S", s.root+"/new/2.m")
			s.wants("1 1.m S\n2 2.m S\n3 3.m S\n")
			if _, err := os.Stat(s.root + "/new/2.m"); err == nil {
				s.Error("the second name is still there")
			}
		}},
		{"we write mb-index, a script removes mb-*", func(s *scene) {
			os.Remove(filepath.Join(s.root, s.log())) // the next change writes a snapshot
			s.once("replace", "mb-index.tmp", func() { os.Remove(s.root + "/mb-index.tmp") })
			if _, err := s.f.Store(ctx, uidSet(2), Add, Flagged, Unconditional); err != nil {
				s.Error(err)
			}
			s.wants("1 1.m S\n2 2.m FS\n3 3.m S\n")
		}},
		{"the clock jumps", func(s *scene) {
			past, future := time.Unix(1, 0), time.Now().Add(40*365*24*time.Hour)
			for i, when := range []time.Time{past, future, past} {
				write(s.T, s.root, fmt.Sprintf("new/%d.m", i+4), "new\n")
				os.Chtimes(s.root+"/new", when, when)
				os.Chtimes(s.root+"/cur", when, when)
				s.next([]string{"", "next-boot", "the-one-after"}[i])
				v := look(s.T, s.f)
				if v.Len() != i+4 {
					s.Errorf("%d messages", v.Len())
				}
			}
			s.wants(shown(look(s.T, s.f)))
			text := strings.ReplaceAll(string(s.read("mb-uids")), "\n= ", "\n= ")
			if !strings.Contains(text, "3.m") {
				s.Error(text)
			}
		}},
		{"a person edits mb-uids", func(s *scene) {
			text := string(s.read("mb-uids"))
			os.WriteFile(s.root+"/mb-uids", []byte(text+"# moved up\n-2\n20 :2.m\n= -\n"), 0o600)
			s.mv("cur/1.m:2,S", "cur/1.m:2,FS") // the next change has the file read again
			v := look(s.T, s.f)
			if _, ok := v.Find(20); !ok {
				s.Errorf("got\n%s", shown(v))
			}
			if v.Len() != 3 {
				s.Errorf("got\n%s", shown(v))
			}
		}},
		{"the folder is deleted while it is open", func(s *scene) {
			other, err := s.a.Folder("Other")
			if err != nil {
				s.Fatal(err)
			}
			defer other.Close()
			look(s.T, other)
			b, _ := process(s.T, s.root)
			if err := b.Delete("Other"); err != nil {
				s.Fatal(err)
			}
			if !other.Gone() {
				s.Error("not gone")
			}
		}},
	} {
		t.Run(row.what, func(t *testing.T) { row.test(newScene(t)) })
	}
}

// coarse is the disk of an older kernel, or of a file server: changes within a hundredth of a second, or a second, have one time.
type coarse struct {
	durable.Disk
	grain time.Duration
}

func (c coarse) Stat(name string) (durable.Info, error) {
	info, err := c.Disk.Stat(name)
	info.ModTime = info.ModTime.Truncate(c.grain)
	return info, err
}

func (c coarse) List(dir string, each func([]byte, uint64, byte)) (bool, error) {
	return c.Disk.(durable.Lister).List(dir, each)
}

func (c coarse) TryLock(name string) (io.Closer, error) { return c.Disk.(durable.Locker).TryLock(name) }

// On a kernel before 6.13 a change can hide behind another of the same time. It is found a second later.
func TestWritersCoarseStamps(t *testing.T) {
	was := fineStamps
	fineStamps = func() bool { return false }
	t.Cleanup(func() { fineStamps = was })
	hidden(t, 10*time.Millisecond, 1100*time.Millisecond)
}

// On a file server whose times are whole seconds it is found after two, though the kernel here would know better.
func TestWritersRemoteStamps(t *testing.T) {
	if testing.Short() {
		t.Skip("waits for three seconds")
	}
	was := remote
	remote = func(durable.Disk) bool { return true }
	t.Cleanup(func() { remote = was })
	hidden(t, time.Second, 3100*time.Millisecond)
}

// hidden makes changes many of which have the time of another, and says whether they are known after a while.
func hidden(t *testing.T, grain, after time.Duration) {
	t.Helper()
	root, _, f := box(t)
	f.disk = coarse{f.disk, grain}
	for i := range 300 {
		name := fmt.Sprintf("%s/cur/%03d.m:2,", root, i)
		write(t, root, fmt.Sprintf("new/%03d.m", i), "x\n")
		look(t, f)
		os.Rename(fmt.Sprintf("%s/new/%03d.m", root, i), name)
		if i%3 == 0 {
			look(t, f)
		}
		os.Rename(name, name+"FS")
		if i%5 == 0 {
			f.Store(ctx, uidSet(uint32(i/2+1)), Add, Answered, Unconditional)
		}
		if i%7 == 0 {
			os.Remove(name + "FS")
		}
	}
	time.Sleep(after)
	v := look(t, f)
	files, _ := filepath.Glob(root + "/cur/*")
	if v.Len() != len(files) {
		t.Errorf("%d messages of %d", v.Len(), len(files))
	}
	for i := range v.Len() {
		e, j := v.at(i)
		at := e.entry(j)
		if _, err := os.Stat(filepath.Join(root, at.path())); err != nil {
			t.Errorf("UID %d: %v", v.UID(i), err)
		}
	}
}

// settle has what may hide behind our own last change looked at now.
func (s *scene) settle() {
	s.f.mu.Lock()
	s.f.totals.cur.mtime, s.f.totals.new.mtime = 0, 0
	s.f.mu.Unlock()
}

func textOf(t *testing.T, v *View, i int) string {
	t.Helper()
	m, err := v.Open(i)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	b := make([]byte, m.Size)
	m.ReadAt(b, 0)
	return string(b)
}

// A restored and a copied Maildir never show old UIDs for other mail: mb-uids knows its own inode.
func TestRestoreAndCopy(t *testing.T) {
	s := newScene(t)
	backup := s.root + ".backup"
	cp := func(from, to string) {
		t.Helper()
		if out, err := exec.Command("cp", "-a", from, to).CombinedOutput(); err != nil {
			t.Fatalf("%s", out)
		}
	}
	cp(s.root, backup)
	write(t, s.root, "new/4.m", "lost by the restore\n")
	v := s.wants("1 1.m S\n2 2.m S\n3 3.m S\n4 4.m \n")
	os.RemoveAll(s.root)
	cp(backup, s.root)
	write(t, s.root, "new/5.m", "after the restore\n")
	s.next("")
	w := look(t, s.f)
	if got := shown(w); !strings.HasPrefix(got, "1 1.m S\n2 2.m S\n3 3.m S\n") || w.Len() != 4 || w.UID(3) < restoredGap || w.Counts().UIDValidity != v.Counts().UIDValidity || w.Counts().HighestModSeq <= v.Counts().HighestModSeq {
		t.Errorf("restored:\n%s%+v", got, w.Counts())
	}
	gone := w.VanishedSince(v.Counts().HighestModSeq, nil)
	if !gone.Has(4) || gone.Has(1) {
		t.Errorf("vanished after the restore: %v", gone)
	}
	if err := s.a.Create("Source", ""); err != nil {
		t.Fatal(err)
	}
	write(t, s.root, ".Source/cur/1.s:2,S", "source\n")
	source, err := s.a.Folder("Source")
	if err != nil {
		t.Fatal(err)
	}
	defer source.Close()
	before := look(t, source).Counts()
	cp(s.root+"/.Source", s.root+"/.Copy")
	twin, err := s.a.Folder("Copy")
	if err != nil {
		t.Fatal(err)
	}
	defer twin.Close()
	after := look(t, twin).Counts()
	if after.UIDValidity <= before.UIDValidity || after.MailboxID == before.MailboxID || look(t, source).Counts() != before {
		t.Errorf("a copied folder is %+v, the source %+v", after, before)
	}
}

// What is no mail in new/ and cur/ is not opened, not followed, not changed, and does not hang (S124).
func TestS124NoMail(t *testing.T) {
	s := newScene(t)
	secret := filepath.Join(t.TempDir(), "secret")
	os.WriteFile(secret, []byte("secret\n"), 0o644)
	os.Symlink(secret, s.root+"/cur/7.link:2,S")
	os.Symlink("/nowhere", s.root+"/new/8.dangling")
	unix.Mkfifo(s.root+"/new/9.fifo", 0o600)
	os.Mkdir(s.root+"/cur/10.dir:2,S", 0o700)
	s.wants("1 1.m S\n2 2.m S\n3 3.m S\n")
	if info, err := os.Stat(secret); err != nil || info.Mode().Perm() != 0o644 {
		t.Error(info, err)
	}
	v := look(t, s.f)
	os.Remove(s.root + "/cur/2.m:2,S")
	os.Symlink(secret, s.root+"/cur/2.m:2,S") // swapped after the look
	if m, err := v.Open(1); err == nil {
		t.Error("a symlink was followed")
		m.Close()
	}
	os.Remove(s.root + "/mb-index")
	os.Symlink(secret, s.root+"/mb-index")
	s.next("")
	if text, _ := os.ReadFile(secret); string(text) != "secret\n" {
		t.Errorf("written through a symlink: %q", text)
	}
}

// Hostile names (S126): listed, numbered, sizes from the file, the same after a rebuild and for another process.
func TestS126Names(t *testing.T) {
	root, _, f := box(t)
	odd := []string{
		"cur/line\nbreak:2,S", "cur/escape\x1b[31m:2,", "cur/" + strings.Repeat("x", 250) + ":2,S", "cur/latin\xe9\xff:2,F",
		"cur/1.flags:2,ZZZS", "cur/2.experimental:1,abc", "cur/3.nocolon", "cur/4.wrong,S=1,W=1:2,S", "cur/5.neg,S=-7,W=99999999999999999999:2,",
		"new/99999999999999999999.future", "new/6.new:2,S", "cur/\\x41back:2,", "cur/7.back\\slash:2,S", "cur/ space : 2:2,S", "cur/:2,S", "cur/8.dup:2,SSFF",
		"cur/9.keywords:2,zya", "new/-1:3", "new/10 :11",
	}
	for i, name := range odd {
		write(t, root, name, fmt.Sprintf("Subject: %d\n\n%d\n", i, i))
	}
	write(t, root, "new/.nfs0001", "x")
	write(t, root, "cur/.hidden:2,S", "x")
	v := look(t, f)
	if v.Len() != len(odd) {
		t.Errorf("%d of %d messages:\n%q", v.Len(), len(odd), shown(v))
	}
	want := map[uint32]string{}
	for i := range v.Len() {
		text := textOf(t, v, i)
		want[v.UID(i)] = text
		if size, err := v.Size(i); err != nil || size != int64(len(text)+strings.Count(text, "\n")) {
			c, j := v.at(i)
			t.Errorf("size of %q is %d: %v", c.key(j), size, err)
		}
	}
	for _, gone := range []string{"", "mb-index", "mb-[il]*[^k]"} {
		if gone != "" {
			files, _ := filepath.Glob(filepath.Join(root, gone))
			for _, file := range files {
				if filepath.Base(file) != lockName {
					os.Remove(file)
				}
			}
		}
		_, other := process(t, root)
		w := look(t, other)
		for i := range w.Len() {
			if got := textOf(t, w, i); got != want[w.UID(i)] {
				t.Errorf("without %q UID %d is %q, was %q", gone, w.UID(i), got, want[w.UID(i)])
			}
		}
		if w.Len() != len(odd) {
			t.Errorf("without %q there are %d messages", gone, w.Len())
		}
	}
	stored, err := f.Store(ctx, sequence.Set{{Lo: 1, Hi: 1000}}, Add, Flagged, Unconditional)
	if err != nil {
		t.Errorf("%+v %v", stored, err)
	}
	w := look(t, f)
	for i := range w.Len() {
		if w.Flags(i)&Flagged == 0 || textOf(t, w, i) != want[w.UID(i)] {
			c, j := w.at(i)
			t.Errorf("%q was not flagged", c.key(j))
		}
	}
	if _, err := os.Stat(root + "/cur/1.flags:2,FSZ"); err != nil {
		t.Error("letters we do not know are kept:", err)
	}
}

// Many files in new/ (S127): the scan is one pass, and a further look costs nothing that grows with them.
func TestS127ManyNew(t *testing.T) {
	if testing.Short() {
		t.Skip("makes 20,000 files")
	}
	root, _, f := box(t)
	for i := range 20000 {
		write(t, root, fmt.Sprintf("new/%d.m", i), "x\n")
	}
	v := look(t, f)
	if v.Len() != 20000 || v.UID(0) != 1 || string(mustKey(v, 0)) != "0.m" {
		t.Error(v.Len())
	}
	calls := 0
	f.disk = &hooked{Disk: f.disk, before: func(call, name string) { calls++ }}
	if look(t, f) != v || calls > 0 {
		t.Errorf("%d calls for a look at an unchanged folder", calls)
	}
}

func mustKey(v *View, i int) []byte {
	c, j := v.at(i)
	return c.key(j)
}
