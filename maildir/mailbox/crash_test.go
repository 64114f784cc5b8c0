package mailbox

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"pennypost/internal/durable"
	"pennypost/internal/durable/faultdisk"
	"pennypost/internal/sequence"
	"pennypost/maildir"
)

// scene is a Maildir with three messages of known UIDs, one process, and what a client remembers.
type scene struct {
	*testing.T
	root   string
	a      *Account
	f      *Folder
	client client
}

func newScene(t *testing.T) *scene {
	t.Helper()
	s := &scene{T: t}
	s.root, s.a, s.f = box(t)
	for i := range 3 {
		write(t, s.root, fmt.Sprintf("cur/%d.m:2,S", i+1), fmt.Sprintf("text %d\n", i+1))
	}
	if err := s.a.Create("Other", ""); err != nil {
		t.Fatal(err)
	}
	s.wants("1 1.m S\n2 2.m S\n3 3.m S\n")
	return s
}

// next is another process: after a crash of the one before, or, where boot is not "", after a power cut.
func (s *scene) next(boot string) {
	s.Helper()
	if boot != "" {
		run(s.T, boot)
	}
	s.a, s.f = process(s.T, s.root)
}

// wants looks, and has the client resynchronise.
func (s *scene) wants(want string) *View {
	s.Helper()
	v := look(s.T, s.f)
	if got := shown(v); got != want {
		s.Errorf("got\n%swant\n%s", got, want)
	}
	n := v.Counts()
	if s.client.Flags == nil {
		s.client = client{Validity: n.UIDValidity, Flags: map[uint32]Flags{}}
	}
	if n.UIDValidity != s.client.Validity || n.UIDNext < s.client.Next || n.HighestModSeq < s.client.ModSeq {
		s.Errorf("UIDVALIDITY %d UIDNEXT %d HIGHESTMODSEQ %d, the client had %+v", n.UIDValidity, n.UIDNext, n.HighestModSeq, s.client)
	}
	for uid := range v.VanishedSince(s.client.ModSeq, nil).All {
		delete(s.client.Flags, uid)
	}
	for uid := range v.ChangedSince(s.client.ModSeq).All {
		i, _ := v.Find(uid)
		s.client.Flags[uid] = v.Flags(i)
	}
	s.client.ModSeq, s.client.Next = n.HighestModSeq, n.UIDNext
	for i := range v.Len() {
		if flags, ok := s.client.Flags[v.UID(i)]; !ok || flags != v.Flags(i) || len(s.client.Flags) != v.Len() {
			s.Errorf("a client that resynchronised has %v", s.client.Flags)
		}
	}
	return v
}

func (s *scene) read(name string) []byte {
	s.Helper()
	b, err := os.ReadFile(filepath.Join(s.root, name))
	if err != nil {
		s.Fatal(err)
	}
	return b
}

func (s *scene) log() string {
	names, _ := filepath.Glob(filepath.Join(s.root, "mb-log.*"))
	last := ""
	for _, name := range names {
		if len(name) > len(last) || len(name) == len(last) && name > last {
			last = name
		}
	}
	return filepath.Base(last)
}

func (s *scene) mv(from, to string) {
	s.Helper()
	if err := os.Rename(filepath.Join(s.root, from), filepath.Join(s.root, to)); err != nil {
		s.Fatal(err)
	}
}

func (s *scene) addTo(name, text string) {
	s.Helper()
	f, err := os.OpenFile(filepath.Join(s.root, name), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		s.Fatal(err)
	}
	f.WriteString(text)
	f.Close()
}

func uidSet(uids ...uint32) (set sequence.Set) {
	for _, uid := range uids {
		set.Add(uid)
	}
	return set
}

// promises has every STORE promised, and nobody keep it by himself.
func (s *scene) promises() {
	least, soon := promiseLeast, keepSoon
	promiseLeast, keepSoon = 1, func(*Folder) {}
	s.Cleanup(func() { promiseLeast, keepSoon = least, soon })
}

// ls compares what is in cur/.
func (s *scene) ls(want string) {
	s.Helper()
	entries, _ := os.ReadDir(s.root + "/cur")
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	if got := strings.Join(names, " "); got != want {
		s.Errorf("in cur/: %s, want %s", got, want)
	}
}

// The crash table: what a crash after each step leaves, and what becomes of it. The power cuts at every step are TestS109PowerCut.
func TestCrash(t *testing.T) {
	for _, row := range []struct {
		after string
		test  func(s *scene)
	}{
		{"write into tmp", func(s *scene) {
			write(s.T, s.root, "tmp/9.old", "half a mess")
			write(s.T, s.root, "tmp/9.young", "half a mess")
			old := time.Now().Add(-37 * time.Hour)
			os.Chtimes(s.root+"/tmp/9.old", old, old)
			s.wants("1 1.m S\n2 2.m S\n3 3.m S\n")
			m, err := (&maildir.Store{}).Get(s.root)
			if err != nil {
				s.Fatal(err)
			}
			defer m.Close()
			m.Tidy(time.Now())
			if left, _ := os.ReadDir(s.root + "/tmp"); len(left) != 1 || left[0].Name() != "9.young" {
				s.Errorf("left in tmp/: %v", left)
			}
		}},
		{"rename into cur, no UID line", func(s *scene) {
			write(s.T, s.root, "cur/4.m:2,F", "appended\n")
			s.next("")
			s.wants("1 1.m S\n2 2.m S\n3 3.m S\n4 4.m F\n")
		}},
		{"UID line torn", func(s *scene) {
			write(s.T, s.root, "new/4.m", "new\n")
			s.wants("1 1.m S\n2 2.m S\n3 3.m S\n4 4.m \n")
			text := s.read("mb-uids")
			os.WriteFile(s.root+"/mb-uids", text[:len(text)-9], 0o600) // a client has seen UID 4
			s.next("next-boot")
			s.wants("1 1.m S\n2 2.m S\n3 3.m S\n257 4.m \n")
			if bad := s.read("mb-uids.bad"); !bytes.Contains(bad, []byte("4.m")) {
				s.Errorf("mb-uids.bad has %q", bad)
			}
		}},
		{"UID line of NULs", func(s *scene) {
			write(s.T, s.root, "new/4.m", "new\n")
			s.wants("1 1.m S\n2 2.m S\n3 3.m S\n4 4.m \n")
			text := s.read("mb-uids")
			at := bytes.LastIndex(text, []byte("\n4 "))
			clear(text[at+1:])
			os.WriteFile(s.root+"/mb-uids", text, 0o600)
			s.next("next-boot")
			s.wants("1 1.m S\n2 2.m S\n3 3.m S\n257 4.m \n")
		}},
		{"UID line, log not", func(s *scene) {
			var b batch
			write(s.T, s.root, "cur/4.m:2,", "appended\n")
			b.message(7, &line{key: "4.m", size: -1, wire: -1})
			s.addTo("mb-uids", string(b.end(time.Now())))
			s.next("")
			s.wants("1 1.m S\n2 2.m S\n3 3.m S\n7 4.m \n")
		}},
		{"UID line, log not, and others still have it open", func(s *scene) {
			var b batch
			write(s.T, s.root, "cur/4.m:2,", "appended\n")
			b.message(7, &line{key: "4.m", size: -1, wire: -1})
			s.addTo("mb-uids", string(b.end(time.Now())))
			s.wants("1 1.m S\n2 2.m S\n3 3.m S\n7 4.m \n")
		}},
		{"UID line of a renamed base, log not", func(s *scene) {
			s.older()
			v := look(s.T, s.f)
			id, uidl, log := v.EmailID(1), v.UIDL(1), s.read(s.log())
			s.mv("cur/2.m:2,S", "cur/8.m:2,FS")
			look(s.T, s.f)
			os.WriteFile(filepath.Join(s.root, s.log()), log, 0o600)
			for _, boot := range []string{"", "next-boot"} {
				s.next(boot)
				if v := s.wants("1 1.m S\n2 8.m FS\n3 3.m S\n"); v.EmailID(1) != id || v.UIDL(1) != uidl {
					s.Errorf("EMAILID was %s and is %s, the unique-id %q and %q", id, v.EmailID(1), uidl, v.UIDL(1))
				}
			}
		}},
		{"base renamed, nobody looked", func(s *scene) {
			s.older()
			s.mv("cur/2.m:2,S", "cur/8.m:2,S")
			s.next("")
			s.wants("1 1.m S\n2 8.m S\n3 3.m S\n")
			s.mv("cur/8.m:2,S", "cur/9.m:2,S") // after a power cut the index is not believed
			s.next("next-boot")
			s.wants("1 1.m S\n3 3.m S\n257 9.m S\n")
		}},
		{"rename for a flag, log not", func(s *scene) {
			s.mv("cur/2.m:2,S", "cur/2.m:2,FS")
			s.next("")
			s.wants("1 1.m S\n2 2.m FS\n3 3.m S\n")
		}},
		{"log, rename lost by the power", func(s *scene) {
			if _, err := s.f.Store(ctx, uidSet(2), Add, Flagged, Unconditional); err != nil {
				s.Fatal(err)
			}
			s.wants("1 1.m S\n2 2.m FS\n3 3.m S\n")
			s.mv("cur/2.m:2,FS", "cur/2.m:2,S")
			s.next("next-boot")
			s.wants("1 1.m S\n2 2.m S\n3 3.m S\n")
		}},
		{"tail of the log lost by the power, clients had seen it", func(s *scene) {
			whole := s.read(s.log())
			if _, err := s.f.Store(ctx, uidSet(2), Add, Flagged, Unconditional); err != nil {
				s.Fatal(err)
			}
			s.wants("1 1.m S\n2 2.m FS\n3 3.m S\n")
			s.f.Store(ctx, uidSet(2), Remove, Flagged, Unconditional) // the client does not hear of this one
			os.WriteFile(filepath.Join(s.root, s.log()), whole, 0o600)
			s.next("next-boot")
			s.wants("1 1.m S\n2 2.m S\n3 3.m S\n")
		}},
		{"the log deleted, the index left", func(s *scene) {
			s.f.Store(ctx, uidSet(2), Add, Flagged, Unconditional)
			v := s.wants("1 1.m S\n2 2.m FS\n3 3.m S\n")
			os.Remove(filepath.Join(s.root, s.log()))
			s.next("")
			if w := s.wants("1 1.m S\n2 2.m FS\n3 3.m S\n"); w.ModSeq(1) < v.ModSeq(1) {
				s.Errorf("MODSEQ was %d and is %d", v.ModSeq(1), w.ModSeq(1))
			}
		}},
		{"promise of flags, log not", func(s *scene) {
			var b batch
			b.vow(&vow{99, uidSet(1, 3), "F", "S"})
			s.addTo("mb-uids", string(b.end(time.Now())))
			s.next("")
			s.wants("1 1.m F\n2 2.m S\n3 3.m F\n")
			s.ls("1.m:2,F 2.m:2,S 3.m:2,F")
			s.next("next-boot")
			s.wants("1 1.m F\n2 2.m S\n3 3.m F\n")
		}},
		{"promise of flags and log, no file renamed", func(s *scene) {
			s.promises()
			s.f.Store(ctx, uidSet(1, 2, 3), Add, Flagged, Unconditional)
			s.ls("1.m:2,S 2.m:2,S 3.m:2,S")
			s.next("")
			s.wants("1 1.m FS\n2 2.m FS\n3 3.m FS\n") // who only looks is told what holds
			s.ls("1.m:2,S 2.m:2,S 3.m:2,S")
			write(s.T, s.root, "new/4.m", "new\n") // who compares names keeps the promise first
			s.wants("1 1.m FS\n2 2.m FS\n3 3.m FS\n4 4.m \n")
			s.ls("1.m:2,FS 2.m:2,FS 3.m:2,FS")
		}},
		{"half of the files renamed, others changed meanwhile", func(s *scene) {
			s.promises()
			s.f.Store(ctx, uidSet(1, 2, 3), Replace, Flagged, Unconditional)
			s.mv("cur/1.m:2,S", "cur/1.m:2,F")
			s.mv("cur/2.m:2,S", "cur/2.m:2,RSX") // mutt answers it, and somebody has a letter of his own
			os.Remove(s.root + "/cur/3.m:2,S")
			s.next("next-boot")
			s.wants("1 1.m F\n2 2.m F\n")
			s.ls("1.m:2,F 2.m:2,FX")
		}},
		{"half of the files renamed, the caches deleted", func(s *scene) {
			s.promises()
			s.f.Store(ctx, uidSet(1, 2, 3), Remove, Seen, Unconditional)
			s.mv("cur/1.m:2,S", "cur/1.m:2,")
			for _, name := range []string{"mb-index", s.log()} {
				os.Remove(filepath.Join(s.root, name))
			}
			s.next("")
			s.wants("1 1.m \n2 2.m \n3 3.m \n")
			s.ls("1.m:2, 2.m:2, 3.m:2,")
		}},
		{"promise of flags, and the folder is closed", func(s *scene) {
			s.promises()
			s.f.Store(ctx, uidSet(1, 2, 3), Add, Flagged, Unconditional)
			s.f.Close()
			s.ls("1.m:2,FS 2.m:2,FS 3.m:2,FS")
		}},
		{"promise of flags, and another process expunges, or copies, or moves", func(s *scene) {
			s.promises()
			s.f.Store(ctx, uidSet(1, 2), Add, Deleted|Flagged, Unconditional)
			s.next("")
			other, err := s.a.Folder("Other")
			if err != nil {
				s.Fatal(err)
			}
			defer other.Close()
			if _, _, err := s.f.Copy(ctx, uidSet(1), other); err != nil { // before anybody has renamed it
				s.Error(err)
			}
			if got := shown(look(s.T, other)); !strings.HasSuffix(got, " FST\n") {
				s.Errorf("the copy: %s", got)
			}
			s.f.Expunge(ctx, uidSet(1))
			s.ls("2.m:2,FST 3.m:2,S")
			s.wants("2 2.m FST\n3 3.m S\n")
			s.f.Store(ctx, uidSet(2, 3), Remove, Flagged|Seen, Unconditional)
			s.next("")
			if other, err = s.a.Folder("Other"); err != nil {
				s.Fatal(err)
			}
			defer other.Close()
			if _, _, err := s.f.Move(ctx, uidSet(2), other); err != nil {
				s.Error(err)
			}
			if got := shown(look(s.T, other)); !strings.HasSuffix(got, " T\n") {
				s.Errorf("what was moved: %s", got)
			}
			s.ls("3.m:2,")
			s.wants("3 3.m \n")
		}},
		{"promise of flags, and Dovecot takes over", func(s *scene) {
			s.promises()
			s.f.Store(ctx, uidSet(1, 2, 3), Add, Flagged, Unconditional)
			s.next("")
			if _, _, err := s.f.ToDovecot(ctx); err != nil {
				s.Error(err)
			}
			s.ls("1.m:2,FS 2.m:2,FS 3.m:2,FS")
		}},
		{"promise of flags kept, mb-uids lost and the one before it left", func(s *scene) {
			s.promises()
			s.f.Store(ctx, uidSet(1, 2, 3), Add, Flagged, Unconditional)
			pending := s.read("mb-uids")
			promiseLeast = 100
			s.f.Store(ctx, uidSet(1, 2, 3), Remove, Flagged, Unconditional)
			write(s.T, s.root, "mb-uids.old", string(pending))
			os.Remove(s.root + "/mb-uids")
			s.next("")
			look(s.T, s.f)
			s.ls("1.m:2,S 2.m:2,S 3.m:2,S")
		}},
		{"promise of flags, and the same process goes on", func(s *scene) {
			s.promises()
			promiseLeast = 2
			s.f.Store(ctx, uidSet(1, 2, 3), Add, Flagged, Unconditional)
			s.mv("cur/2.m:2,S", "cur/2.m:2,RS")
			if _, err := s.f.Store(ctx, uidSet(1), Remove, Seen, Unconditional); err != nil {
				s.Error(err)
			}
			s.ls("1.m:2,F 2.m:2,FRS 3.m:2,FS")
			s.wants("1 1.m F\n2 2.m FRS\n3 3.m FS\n")
			s.f.Store(ctx, uidSet(1, 2, 3), Add, Answered, Unconditional)
			if v := look(s.T, s.f); textOf(s.T, v, 2) != "text 3\n" { // under its old name
				s.Error("a body is not found")
			}
			s.ls("1.m:2,F 2.m:2,FRS 3.m:2,FS")
			s.f.keepOn()
			s.ls("1.m:2,FR 2.m:2,FRS 3.m:2,FRS")
		}},
		{"half of an EXPUNGE", func(s *scene) {
			s.f.Store(ctx, uidSet(1, 2), Add, Deleted, Unconditional)
			s.wants("1 1.m ST\n2 2.m ST\n3 3.m S\n")
			os.Remove(s.root + "/cur/1.m:2,ST")
			s.next("")
			s.wants("2 2.m ST\n3 3.m S\n")
		}},
		{"half of a COPY", func(s *scene) {
			other, err := s.a.Folder("Other")
			if err != nil {
				s.Fatal(err)
			}
			defer other.Close()
			os.Link(s.root+"/cur/1.m:2,S", s.root+"/.Other/tmp/9.copy")
			os.Link(s.root+"/cur/2.m:2,S", s.root+"/.Other/cur/9.second:2,S")
			if got := shown(look(s.T, other)); got != "1 9.second S\n" {
				s.Errorf("got %s", got)
			}
			s.wants("1 1.m S\n2 2.m S\n3 3.m S\n")
		}},
		{"MOVE between rename and logs", func(s *scene) {
			other, err := s.a.Folder("Other")
			if err != nil {
				s.Fatal(err)
			}
			defer other.Close()
			look(s.T, other)
			s.mv("cur/2.m:2,S", ".Other/cur/2.m:2,S")
			if got := shown(look(s.T, other)); got != "1 2.m S\n" {
				s.Errorf("got %s", got)
			}
			s.wants("1 1.m S\n3 3.m S\n")
		}},
		{"write of the snapshot", func(s *scene) {
			write(s.T, s.root, "mb-index.tmp", "mbindex1 half")
			s.next("")
			s.wants("1 1.m S\n2 2.m S\n3 3.m S\n")
			os.Remove(s.root + "/mb-index")
			s.next("")
			s.wants("1 1.m S\n2 2.m S\n3 3.m S\n")
			if _, err := os.Stat(s.root + "/mb-index.tmp"); err == nil {
				s.Error("mb-index.tmp is left")
			}
		}},
		{"write of a new mb-uids", func(s *scene) {
			write(s.T, s.root, "mb-uids.tmp", "mb1 V1 Ix N1\n99 :1.m\n")
			s.next("next-boot")
			s.wants("1 1.m S\n2 2.m S\n3 3.m S\n")
			if _, err := os.Stat(s.root + "/mb-uids.tmp"); err == nil {
				s.Error("mb-uids.tmp is left")
			}
		}},
		{"garbage in a cache", func(s *scene) {
			for _, name := range []string{"mb-index", s.log(), "mb-cache"} {
				os.WriteFile(filepath.Join(s.root, name), bytes.Repeat([]byte("garbage"), 1000), 0o600)
				s.next("")
				s.wants("1 1.m S\n2 2.m S\n3 3.m S\n")
			}
		}},
		{"mb-uids unreadable, mb-uids.old there", func(s *scene) {
			s.next("next-boot") // makes mb-uids.old
			s.wants("1 1.m S\n2 2.m S\n3 3.m S\n")
			write(s.T, s.root, "new/4.m", "new\n")
			v := s.wants("1 1.m S\n2 2.m S\n3 3.m S\n257 4.m \n")
			write(s.T, s.root, "mb-uids", "\x00\x00\x00\x00")
			s.next("")
			w := look(s.T, s.f)
			if got := shown(w); !strings.HasPrefix(got, "1 1.m S\n2 2.m S\n3 3.m S\n") || w.Len() != 4 || w.UID(3) <= 257 || w.Counts().UIDValidity != v.Counts().UIDValidity {
				s.Errorf("got\n%s", got)
			}
		}},
		{"mb-uids and mb-uids.old unreadable", func(s *scene) {
			v := look(s.T, s.f)
			write(s.T, s.root, "mb-uids", "garbage\n")
			write(s.T, s.root, "mb-uids.old", "garbage\n")
			s.next("")
			w := look(s.T, s.f)
			if w.Counts().UIDValidity <= v.Counts().UIDValidity || w.Len() != 3 {
				s.Errorf("%+v", w.Counts())
			}
		}},
	} {
		t.Run(row.after, func(t *testing.T) { row.test(newScene(t)) })
	}
}

// An mb-uids most of which went is written anew; others who have it open go on.
func TestUIDsGetThin(t *testing.T) {
	defer func(was int64) { thinAbove = was }(thinAbove)
	s := newScene(t)
	_, other := process(t, s.root)
	v := look(t, other)
	for range 20 {
		a, err := s.f.Append()
		if err != nil {
			t.Fatal(err)
		}
		a.Write([]byte("x\n"))
		uids, err := s.f.CommitAll(ctx, []*Appender{a})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.f.Delete(ctx, uids); err != nil {
			t.Fatal(err)
		}
	}
	size := len(s.read("mb-uids"))
	thinAbove = 0
	s.f.mu.Lock()
	done, err := s.f.begin(ctx)
	if err == nil {
		err = errors.Join(s.f.thin(), s.f.startOver())
		done()
	}
	s.f.mu.Unlock()
	if now := len(s.read("mb-uids")); err != nil || now >= size {
		t.Errorf("%d octets, %d before: %v", now, size, err)
	}
	w := s.wants("1 1.m S\n2 2.m S\n3 3.m S\n")
	if got := shown(look(t, other)); got != shown(w) || look(t, other).Counts().UIDNext != w.Counts().UIDNext {
		t.Errorf("another process sees\n%s", got)
	}
	if gone := w.VanishedSince(v.Counts().HighestModSeq, nil); !gone.Has(4) || gone.Has(3) {
		t.Errorf("vanished %v", gone)
	}
	s.next("next-boot")
	s.wants("1 1.m S\n2 2.m S\n3 3.m S\n")
}

// UIDs that have run out: a new UIDVALIDITY, and nothing runs over.
func TestUIDsRunOut(t *testing.T) {
	s := newScene(t)
	v := look(t, s.f)
	s.addTo("mb-uids", "4294967290 :9.gone\n= -\n")
	write(t, s.root, "new/4.m", "new\n")
	s.next("")
	w := look(t, s.f)
	if w.Counts().UIDValidity <= v.Counts().UIDValidity || w.Len() != 4 || w.UID(3) != 4 {
		t.Errorf("%+v\n%s", w.Counts(), shown(w))
	}
}

// threeOn is three messages on a disk in memory that behaves in a way of its own; start is a process that opens them.
func threeOn(t *testing.T, way func(below) durable.Disk) (memory *faultdisk.Disk, start func() *Folder) {
	run(t, "one-boot")
	memory = faultdisk.New()
	memory.Dirs("mail/bob/Maildir/cur", "mail/bob/Maildir/new", "mail/bob/Maildir/tmp")
	for i := range 3 {
		memory.Put(fmt.Sprintf("mail/bob/Maildir/cur/%d.m:2,S", i+1), fmt.Sprintf("text %d\n", i))
	}
	return memory, func() *Folder {
		return inboxOn(t, func(root string) (durable.Disk, error) {
			d, err := inMemory(memory)(root)
			if err != nil {
				return nil, err
			}
			return way(d.(below)), nil
		})
	}
}

// inboxOn is the INBOX of a process that opens its account so.
func inboxOn(t testing.TB, open maildir.Opener) *Folder {
	t.Helper()
	a, err := openAccount(memoryRoot, Options{Host: "test"}, open)
	if err != nil {
		t.Fatal(err)
	}
	f, err := a.Folder("INBOX")
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// fixed is a disk on which one message's file cannot be renamed.
type fixed struct {
	below
	key string
}

func (d fixed) RenameNew(from, to string) error {
	if strings.HasPrefix(from, "cur/"+d.key) {
		return &fs.PathError{Op: "rename", Path: from, Err: syscall.EACCES}
	}
	return d.below.RenameNew(from, to)
}

// A file that nobody may rename keeps its flags, and its folder can be read.
func TestPromiseDenied(t *testing.T) {
	least, soon := promiseLeast, keepSoon
	promiseLeast, keepSoon = 1, func(*Folder) {}
	t.Cleanup(func() { promiseLeast, keepSoon = least, soon })
	memory, start := threeOn(t, func(d below) durable.Disk { return fixed{d, "2.m"} })
	f := start()
	for i, row := range []struct {
		who  func() *Folder
		mode Mode
		want string
	}{
		{func() *Folder { return f }, Add, "1 1.m FS\n2 2.m S\n3 3.m FS\n"},
		{start, Remove, "1 1.m S\n2 2.m S\n3 3.m S\n"},
		{start, Add, "1 1.m FS\n2 2.m S\n3 3.m FS\n"},
	} {
		look(t, f)
		if _, err := f.Store(ctx, uidSet(1, 2, 3), row.mode, Flagged, Unconditional); err != nil {
			t.Fatal(err)
		}
		told := look(t, f).Counts().HighestModSeq
		next := row.who()
		memory.Put(fmt.Sprintf("mail/bob/Maildir/new/%d.m", i+4), "new\n")
		v := look(t, next)
		if got := shown(v); !strings.HasPrefix(got, row.want) {
			t.Errorf("%d: got\n%swant\n%s", i, got, row.want)
		}
		if row.mode == Add && !v.ChangedSince(told).Has(2) {
			t.Errorf("%d: nobody is told that the flags of UID 2 are as before", i)
		}
		if n, p := next.totals.promise, next.promise; n != 0 || p != nil {
			t.Errorf("%d: the promise is still there", i)
		}
	}
}

// Where there is no room for the line, or for what follows it, flags are as one of before or after, and so are the names.
func TestPromiseDiskFull(t *testing.T) {
	least, soon := promiseLeast, keepSoon
	promiseLeast, keepSoon = 1, func(*Folder) {}
	t.Cleanup(func() { promiseLeast, keepSoon = least, soon })
	for _, given := range []bool{false, true} {
		now := false
		memory, start := threeOn(t, func(d below) durable.Disk { return full{d, &now} })
		f := start()
		look(t, f)
		now = !given
		_, err := f.Store(ctx, uidSet(1, 2, 3), Add, Flagged, Unconditional)
		if given != (err == nil) {
			t.Errorf("given %v: %v", given, err)
		}
		now = true
		f.keepOn()
		memory.Put("mail/bob/Maildir/new/4.m", "new\n")
		for _, f := range []*Folder{f, start()} {
			if v := look(t, f); v.Len() != 3 {
				t.Errorf("given %v: on the full disk:\n%s", given, shown(v))
			}
		}
		now = false
		for _, f := range []*Folder{f, start()} {
			v := look(t, f)
			for i := range v.Len() {
				c, j := v.at(i)
				if e := c.entry(j); memory.Files()["mail/bob/Maildir/"+e.path()] == "" || given && i < 3 && e.flags&Flagged == 0 {
					t.Errorf("given %v: %s", given, e.path())
				}
			}
			if v.Len() != 4 {
				t.Errorf("given %v:\n%s", given, shown(v))
			}
		}
	}
}

// full is a disk without room for another octet.
type full struct {
	below
	now *bool
}

type fullFile struct {
	durable.File
	now *bool
}

func (f fullFile) Write(p []byte) (int, error) {
	if *f.now {
		n, _ := f.File.Write(p[:len(p)/2])
		return n, &fs.PathError{Op: "write", Path: "file", Err: syscall.ENOSPC}
	}
	return f.File.Write(p)
}

func (d full) Create(name string, perm fs.FileMode) (durable.File, error) {
	w, err := d.below.Create(name, perm)
	return fullFile{w, d.now}, err
}

func (d full) Append(name string, perm fs.FileMode) (durable.File, error) {
	w, err := d.below.Append(name, perm)
	return fullFile{w, d.now}, err
}

// The row "disk full": what has a UID stays readable and can be expunged, what is new waits, and nothing is renumbered.
func TestCrashDiskFull(t *testing.T) {
	now := false
	memory, start := threeOn(t, func(d below) durable.Disk { return full{d, &now} })
	f := start()
	if got := shown(look(t, f)); got != "1 1.m S\n2 2.m S\n3 3.m S\n" {
		t.Fatal(got)
	}
	now = true
	memory.Put("mail/bob/Maildir/new/4.m", "text 4\n")
	for _, f := range []*Folder{f, start()} {
		v := look(t, f)
		if got := shown(v); got != "1 1.m S\n2 2.m S\n3 3.m S\n" {
			t.Errorf("on the full disk:\n%s", got)
		}
		m, err := v.Open(1)
		if err != nil {
			t.Error(err)
			continue
		}
		m.Close()
	}
	if a, err := f.Append(); err == nil {
		a.Write([]byte("no room\n"))
		if _, err := f.CommitAll(ctx, []*Appender{a}); !durable.Refused(err) {
			t.Errorf("APPEND: %v", err)
		}
	}
	f.Store(ctx, uidSet(2), Add, Deleted, Unconditional)
	f.Expunge(ctx, uidSet(2))
	now = false
	for _, f := range []*Folder{f, start()} {
		v := look(t, f)
		got := shown(v)
		if !strings.HasPrefix(got, "1 1.m S\n") || v.Len() < 3 || strings.Contains(got, "4 2.m") || v.UID(v.Len()-1) < 4 {
			t.Errorf("when there is room again:\n%s", got)
		}
	}
}

// The guard: a folder that loses most of its mail in an instant is not believed for five seconds; the volume may be going away.
func TestWritersMassDisappearance(t *testing.T) {
	root, _, f := box(t)
	for i := range 300 {
		write(t, root, fmt.Sprintf("cur/%03d.m:2,S", i), "x\n")
	}
	before := shown(look(t, f))
	if err := os.Rename(root+"/cur", root+"/away"); err != nil {
		t.Fatal(err)
	}
	os.Mkdir(root+"/cur", 0o700)
	_, other := process(t, root)
	for _, f := range []*Folder{f, other} {
		if got := shown(look(t, f)); got != before {
			t.Fatal("believed at once")
		}
	}
	os.Remove(root + "/cur")
	if err := os.Rename(root+"/away", root+"/cur"); err != nil {
		t.Fatal(err)
	}
	for _, f := range []*Folder{f, other} {
		if got := shown(look(t, f)); got != before {
			t.Error("the mail came back with other UIDs")
		}
	}
	for i := range 300 { // rsync --delete
		os.Remove(root + fmt.Sprintf("/cur/%03d.m:2,S", i))
	}
	_, third := process(t, root)
	if got := shown(look(t, third)); got != before {
		t.Fatal("believed at once")
	}
	third.emptied = time.Now().Add(-2 * emptiedWait)
	if v := look(t, third); v.Len() != 0 {
		t.Error("never believed")
	}
}

// A volume that is not there is no empty mailbox.
func TestUnmountedVolume(t *testing.T) {
	root, _, f := box(t)
	write(t, root, "cur/1.m:2,S", "x\n")
	look(t, f)
	if err := os.Rename(root+"/cur", root+"/away"); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Look(ctx); !errors.Is(err, ErrUnavailable) && err == nil {
		v, _ := f.Look(ctx)
		if v == nil || v.Len() == 0 {
			t.Errorf("cur/ is gone: %v", err)
		}
	}
	if _, err := OpenAccount(filepath.Join(t.TempDir(), "mnt", "bob", "Maildir"), Options{Stamp: ".mounted"}); !errors.Is(err, ErrUnavailable) {
		t.Errorf("no stamp: %v", err)
	}
}
