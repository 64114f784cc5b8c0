package mailbox

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"pennypost/internal/sequence"
	"pennypost/maildir"
)

var ctx = context.Background()

// box is an account in a directory of its own, and INBOX as one process has it open.
func box(t *testing.T) (root string, a *Account, inbox *Folder) {
	t.Helper()
	root = filepath.Join(t.TempDir(), "Maildir")
	a, inbox = process(t, root)
	return root, a, inbox
}

// process opens the account as another process would: nothing is shared but the files.
func process(t *testing.T, root string) (*Account, *Folder) {
	t.Helper()
	a, err := OpenAccount(root, Options{ExpungedDays: 14, Host: "test"})
	if err != nil {
		t.Fatal(err)
	}
	f, err := a.Folder("INBOX")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close(); a.Close() })
	return a, f
}

func write(t *testing.T, root, path, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(root, path), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func look(t *testing.T, f *Folder) *View {
	t.Helper()
	v, err := f.Look(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// shown is what a client sees: UID, key, letters, one message a line.
func shown(v *View) string {
	out := ""
	for i := range v.Len() {
		c, j := v.at(i)
		out += fmt.Sprintf("%d %s %s\n", v.UID(i), c.key(j), letters(nil, v.Flags(i), nil))
	}
	return out
}

func TestArrivalsAndChanges(t *testing.T) {
	root, _, f := box(t)
	write(t, root, "new/2.b", "b\n")
	write(t, root, "cur/1.a:2,S", "a\n")
	v := look(t, f)
	if got, want := shown(v), "1 1.a S\n2 2.b \n"; got != want {
		t.Fatalf("got\n%s", got)
	}
	validity, modseq := v.Counts().UIDValidity, v.Counts().HighestModSeq
	os.Rename(root+"/new/2.b", root+"/cur/2.b:2,FS")
	write(t, root, "new/3.c", "c\n")
	os.Remove(root + "/cur/1.a:2,S")
	w := look(t, f)
	if got, want := shown(w), "2 2.b FS\n3 3.c \n"; got != want {
		t.Fatalf("got\n%s", got)
	}
	d := w.Since(v)
	if d.Vanished.String() != "1" || len(d.Changed) != 1 || d.Changed[0] != 2 || d.Added != 1 {
		t.Errorf("delta %+v", d)
	}
	if w.Counts().HighestModSeq <= modseq || w.Counts().UIDValidity != validity || w.Counts().Unseen != 1 {
		t.Errorf("counts %+v", w.Counts())
	}
	if got := w.VanishedSince(modseq, nil).String(); got != "1" {
		t.Errorf("vanished %s", got)
	}
	if got := w.ChangedSince(modseq).String(); got != "2:3" {
		t.Errorf("changed %s", got)
	}
	_, other := process(t, root)
	if got := shown(look(t, other)); got != shown(w) {
		t.Errorf("another process sees\n%s", got)
	}
}

func TestStoreExpungeCopyMove(t *testing.T) {
	root, a, f := box(t)
	for i := range 5 {
		write(t, root, fmt.Sprintf("new/%d.m", i+1), strings.Repeat("x\n", i))
	}
	if err := a.Create("Lists/go", ""); err != nil {
		t.Fatal(err)
	}
	lists, err := a.Folder("Lists/go")
	if err != nil {
		t.Fatal(err)
	}
	defer lists.Close()
	v := look(t, f)
	n, err := f.KeywordNumber("$Work", true)
	if err != nil || n != 0 {
		t.Fatal(n, err)
	}
	stored, err := f.Store(ctx, sequence.Set{{Lo: 1, Hi: 3}}, Add, Seen|Keyword(n), Unconditional)
	if err != nil || stored.Gone != nil || stored.Modified != nil {
		t.Fatal(stored, err)
	}
	if _, err := os.Stat(root + "/cur/1.m:2,Sa"); err != nil {
		t.Error(err)
	}
	stored, err = f.Store(ctx, sequence.Set{{Lo: 1, Hi: 4}}, Replace, Deleted, v.Counts().HighestModSeq)
	if err != nil || stored.Modified.String() != "1:3" {
		t.Errorf("UNCHANGEDSINCE: %+v %v", stored, err)
	}
	from, to, err := f.Copy(ctx, sequence.Set{{Lo: 1, Hi: 2}}, lists)
	if err != nil || len(from) != 2 || len(to) != 2 || to[0] != 1 {
		t.Fatal(from, to, err)
	}
	lv, fv := look(t, lists), look(t, f)
	if lv.EmailID(0) != fv.EmailID(0) || lv.Flags(0) != Seen|Keyword(0) {
		t.Error("a copy has the EMAILID and flags of its original")
	}
	from, to, err = f.Move(ctx, sequence.Set{{Lo: 3, Hi: 3}}, lists)
	if err != nil || len(to) != 1 || to[0] != 3 {
		t.Fatal(from, to, err)
	}
	gone, err := f.Expunge(ctx, nil)
	if err != nil || gone.String() != "4" {
		t.Fatal(gone, err)
	}
	if got, want := shown(look(t, f)), "1 1.m Sa\n2 2.m Sa\n5 5.m \n"; got != want {
		t.Errorf("got\n%s", got)
	}
	old, _ := filepath.Glob(root + ".expunged/*/cur/4.m,F=.:2,T")
	if len(old) != 1 {
		t.Error("the expunged message is not in the undelete area")
	}
	app, err := lists.Append()
	if err != nil {
		t.Fatal(err)
	}
	io.WriteString(app, "Subject: hi\n\nyou\n")
	app.Flags = Draft
	app.Received = time.Unix(1e9, 0)
	uids, err := lists.CommitAll(ctx, []*Appender{app})
	if err != nil || uids.String() != "4" {
		t.Fatal(uids, err)
	}
	lv = look(t, lists)
	if when, err := lv.Received(3); err != nil || when.Unix() != 1e9 {
		t.Error(when, err)
	}
	if size, err := lv.Size(3); err != nil || size != 20 {
		t.Error(size, err)
	}
}

// Deleting the caches at any moment changes no UID, flag or keyword; mod-sequences only rise.
func TestCachesAreCaches(t *testing.T) {
	root, _, f := box(t)
	for i := range 3000 {
		write(t, root, fmt.Sprintf("cur/%04d.m:2,S", i), "x\n")
	}
	before := look(t, f)
	modseq := before.Counts().HighestModSeq
	_, other := process(t, root)
	if got, want := shown(look(t, other)), shown(before); got != want {
		t.Fatal("another process sees other messages")
	}
	for _, pattern := range []string{"mb-index", "mb-log.*"} {
		files, _ := filepath.Glob(filepath.Join(root, pattern))
		for _, file := range files {
			os.Remove(file)
		}
		_, third := process(t, root)
		v := look(t, third)
		if shown(v) != shown(before) || v.Counts().HighestModSeq < modseq || v.Counts().UIDNext < before.Counts().UIDNext {
			t.Errorf("without %s: %+v, before %+v", pattern, v.Counts(), before.Counts())
		}
		modseq = v.Counts().HighestModSeq
		if v := look(t, f); shown(v) != shown(before) {
			t.Errorf("without %s an open session sees other messages", pattern)
		}
	}
}

// A byte flipped in any cache file costs nothing but time (S132).
func TestS132FlippedBytes(t *testing.T) {
	root, _, f := box(t)
	for i := range 50 {
		write(t, root, fmt.Sprintf("cur/%04d.m:2,S", i), "x\n")
	}
	look(t, f)
	f.Store(ctx, sequence.Set{{Lo: 1, Hi: 9}}, Add, Flagged, Unconditional)
	want := shown(look(t, f))
	logs, _ := filepath.Glob(root + "/mb-log.*")
	for _, file := range append(logs, root+"/mb-index") {
		whole, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for at := 0; at < len(whole); at += 1 + len(whole)/97 {
			bad := append([]byte(nil), whole...)
			bad[at] ^= 0x41
			os.WriteFile(file, bad, 0o600)
			_, other := process(t, root)
			if v, err := other.Look(ctx); err != nil || shown(v) != want {
				t.Fatalf("%s with byte %d flipped: %v", filepath.Base(file), at, err)
			}
			if now, _ := filepath.Glob(root + "/mb-log.*"); len(now) > 0 && len(now) != len(logs) {
				break // it was made again under another name
			}
			os.WriteFile(file, whole, 0o600)
		}
	}
}

// Two processes, a program that renames and one that delivers: each message is seen once, a UID never means another message,
// and UIDNEXT and mod-sequences only grow.
func TestManyWriters(t *testing.T) {
	root, _, first := box(t)
	_, second := process(t, root)
	folders := []*Folder{first, second}
	meaning := map[uint32]string{}
	var next uint32
	var modseq uint64
	rnd := rand.New(rand.NewPCG(1, 2))
	for step := range 400 {
		switch rnd.IntN(6) {
		case 0, 1:
			write(t, root, fmt.Sprintf("new/%d.step", step), "x\n")
		case 2:
			names, _ := filepath.Glob(root + "/*/*.step*")
			if len(names) > 0 {
				name := names[rnd.IntN(len(names))]
				key, _, _ := strings.Cut(filepath.Base(name), ":")
				os.Rename(name, root+"/cur/"+key+":2,"+[]string{"", "F", "FS", "S"}[rnd.IntN(4)])
			}
		case 3:
			names, _ := filepath.Glob(root + "/cur/*.step*")
			if len(names) > 3 {
				os.Remove(names[rnd.IntN(len(names))])
			}
		case 4:
			folders[rnd.IntN(2)].Store(ctx, sequence.Set{{Lo: 1, Hi: rnd.Uint32N(50) + 1}}, Mode(rnd.IntN(3)), Seen|Flagged, Unconditional)
		case 5:
			folders[rnd.IntN(2)].Store(ctx, sequence.Set{{Lo: 1, Hi: rnd.Uint32N(20) + 1}}, Add, Deleted, Unconditional)
			folders[rnd.IntN(2)].Expunge(ctx, nil)
		}
		a, b := look(t, folders[0]), look(t, folders[1])
		if shown(a) != shown(b) {
			t.Fatalf("step %d: one process sees\n%sthe other\n%s", step, shown(a), shown(b))
		}
		files, _ := filepath.Glob(root + "/*/*.step*")
		if len(files) != a.Len() {
			t.Fatalf("step %d: %d files, %d messages", step, len(files), a.Len())
		}
		for i := range a.Len() {
			c, j := a.at(i)
			if was, ok := meaning[a.UID(i)]; ok && was != string(c.key(j)) {
				t.Fatalf("step %d: UID %d was %s and is %s", step, a.UID(i), was, c.key(j))
			}
			meaning[a.UID(i)] = string(c.key(j))
		}
		if n := a.Counts(); n.UIDNext < next || n.HighestModSeq < modseq {
			t.Fatalf("step %d: UIDNEXT or HIGHESTMODSEQ fell", step)
		} else {
			next, modseq = n.UIDNext, n.HighestModSeq
		}
	}
}

// Mailbox names and directories (S100, S101); FuzzNames has the rest.
func TestS100Names(t *testing.T) {
	_, a, _ := box(t)
	for _, name := range []string{"Sent", "Lists/go", "a.b", "tilde~", "~home", "Entwürfe", "日本語", "a&b", "x%y*z", strings.Repeat("n", 60)} {
		if err := a.Create(name, ""); err != nil {
			t.Errorf("%q: %v", name, err)
			continue
		}
		if err := a.Create(name, ""); err != ErrExists {
			t.Errorf("%q again: %v", name, err)
		}
		dir, _ := a.dirOf(name)
		if back, ok := a.nameOf(dir); !ok || back != name {
			t.Errorf("%q is %q on disk, which is %q", name, dir, back)
		}
	}
	for _, name := range []string{"", "/", "a//b", "../x", "a/../b", ".", "a\x00b", "a\nb", "a/", "/a", "\xff", strings.Repeat("x", 300)} { // S100
		if err := a.Create(name, ""); err == nil {
			t.Errorf("%q was created", name)
		}
	}
	apart := maildir.EncodeComponent("e\u0301t\u0301") // as a Macintosh had Dovecot call it
	os.MkdirAll(filepath.Join(a.root, "."+apart, "cur"), 0o700)
	for _, name := range []string{"e\u0301t\u0301", "\u00e9t\u0301"} {
		if dir, err := a.dirOf(name); err != nil || dir != "."+apart {
			t.Errorf("%q is %q on disk: %v", name, dir, err)
		}
	}
	os.MkdirAll(filepath.Join(a.root, ".inbox"), 0o700) // whoever made it: INBOX is the root
	if err := a.Rename("Lists", "Old/Lists"); err != nil {
		t.Fatal(err)
	}
	if err := a.Subscribe("Old/Lists/go", true); err != nil {
		t.Fatal(err)
	}
	if err := a.Delete("Sent"); err != nil {
		t.Fatal(err)
	}
	list, err := a.List()
	if err != nil {
		t.Fatal(err)
	}
	out := ""
	for _, info := range list {
		if strings.EqualFold(info.Name, "INBOX") && (info.NoSelect || info.Name != "INBOX") {
			t.Errorf("%+v", info)
		}
		if strings.HasPrefix(info.Name, "Old") || info.Name == "Sent" || strings.HasPrefix(info.Name, "Lists") {
			out += fmt.Sprintf("%s noselect=%v subscribed=%v\n", info.Name, info.NoSelect, info.Subscribed)
		}
	}
	if want := "Old noselect=true subscribed=false\nOld/Lists noselect=true subscribed=false\nOld/Lists/go noselect=false subscribed=true\n"; out != want {
		t.Errorf("got\n%s", out)
	}
}

// TestDescriptors opens and closes a folder more often than a process may have files open.
func TestDescriptors(t *testing.T) {
	var limit, less unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	less = limit
	less.Cur = 256
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &less); err != nil {
		t.Skip(err)
	}
	defer unix.Setrlimit(unix.RLIMIT_NOFILE, &limit)
	defer debug.SetGCPercent(debug.SetGCPercent(-1)) // no help from the collector
	root := t.TempDir() + "/Maildir"
	a, err := OpenAccount(root, Options{Host: "test"})
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	for i := range 1000 {
		f, err := a.Folder("INBOX")
		if err != nil {
			t.Fatal(i, err)
		}
		if i%100 == 0 {
			write(t, root, fmt.Sprintf("new/%d.m", i), "x\n")
		}
		if _, err := f.Look(ctx); err != nil {
			t.Fatal(i, err)
		}
		f.Close()
	}
}
