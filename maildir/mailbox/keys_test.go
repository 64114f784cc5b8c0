package mailbox

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// keyedFolder is a folder of n messages that have been parsed.
func keyedFolder(t testing.TB, n int) (root string, f *Folder) {
	t.Helper()
	root = filepath.Join(t.TempDir(), "Maildir")
	for _, dir := range []string{"new", "cur", "tmp"} {
		os.MkdirAll(filepath.Join(root, dir), 0o700)
	}
	for i := range n {
		deliverKeyed(t, root, i)
	}
	f = openKeyed(t, root)
	v, err := f.Look(ctx)
	if err != nil {
		t.Fatal(err)
	}
	r := v.Reader()
	for i := range v.Len() {
		if _, err := r.Get(i); err != nil {
			t.Fatal(err)
		}
	}
	r.Close()
	return root, f
}

func openKeyed(t testing.TB, root string) *Folder {
	t.Helper()
	a, err := OpenAccount(root, Options{ExpungedDays: 14, Host: "test"})
	if err != nil {
		t.Fatal(err)
	}
	f, err := a.Folder("INBOX")
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func deliverKeyed(t testing.TB, root string, i int) {
	text := fmt.Sprintf("Subject: Re: [list] =?utf-8?q?M=C3=BCller?= number %d\nFrom: \"Ann %d\" <ann%d@example.org>\nTo: b@example.net, \"Ü\" <c@x>\nTo: second@example.com\n"+
		"Date: Tue, 1 Jan 2030 00:00:%02d +0100\nMessage-ID: <%d@x>\nReferences: <%d@x> <a@x>\n\nhello\n", i, i%7, i%7, i%60, i, i/2)
	if err := os.WriteFile(fmt.Sprintf("%s/cur/%d.M%dP1.host:2,S", root, 1700000000+i, i), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// sameKeys compares what keys say of all messages with what their records say.
func sameKeys(t *testing.T, f *Folder, wantBlocks bool) {
	t.Helper()
	v, err := f.Look(ctx)
	if err != nil {
		t.Fatal(err)
	}
	r, records := v.Reader(), v.Reader()
	defer r.Close()
	defer records.Close()
	needles := []*Needle{NewNeedle(""), NewNeedle("mÜLLER"), NewNeedle("number 1"), NewNeedle("ann 3"), NewNeedle("second@"), NewNeedle("x\n"), NewNeedle("c@x>s")}
	for i := range v.Len() {
		want, err := records.Get(i)
		if err != nil {
			t.Fatal(err)
		}
		want.sortKeys(want.fields())
		uid := v.UID(i)
		k := r.Keys(i)
		if k == nil {
			if wantBlocks {
				t.Fatalf("%d has no keys", uid)
			}
			continue
		}
		for _, n := range needles {
			for field, name := range keptTexts {
				hits := k.Find(n, Field(field))
				if got, want := hits.Has(uid), n.InField(want.Header, name); got != want {
					t.Fatalf("%d %s %q: %v, want %v", uid, name, n.folded, got, want)
				}
			}
		}
		got, err := r.SortKeys(i)
		if err != nil {
			t.Fatal(err)
		}
		show := func(r *Record) string {
			return fmt.Sprintf("%q %q %q %q %q %q %v %d %d %x %x", r.Subject, r.From, r.To, r.Cc, r.DisplayFrom, r.DisplayTo, r.Reply, r.Sent, r.SentZone, r.MessageID, r.References)
		}
		if show(got) != show(want) {
			t.Fatalf("%d:\n%s, want\n%s", uid, show(got), show(want))
		}
	}
}

func TestKeys(t *testing.T) {
	root, f := keyedFolder(t, 600)
	sameKeys(t, f, true) // made of the records
	for i := 600; i < 605; i++ {
		deliverKeyed(t, root, i)
	}
	sameKeys(t, f, true) // the last block grown
	f.Close()
	f = openKeyed(t, root)
	sameKeys(t, f, true) // read from mb-keys
	if info, err := os.Stat(root + "/" + keysName); err != nil || int(info.Size()) < 600*rowSize {
		t.Fatal(info, err)
	}
	f.Close()
	for _, damage := range []int64{3, 30, 5000, 50000} {
		file, _ := os.OpenFile(root+"/"+keysName, os.O_RDWR, 0)
		var b [1]byte
		file.ReadAt(b[:], damage)
		file.WriteAt([]byte{b[0] ^ 0x55}, damage)
		file.Close()
		f = openKeyed(t, root)
		sameKeys(t, f, true)
		f.Close()
	}
}

// A process that has too much of it lets go, and finds it again.
func TestKeysRoom(t *testing.T) {
	defer func(n int64) { keysMost = n }(keysMost)
	keysMost = 200 << 10
	_, f := keyedFolder(t, 1500)
	defer f.Close()
	for range 2 {
		sameKeys(t, f, true)
		rooms.Lock()
		if rooms.octets > keysMost || rooms.octets < 0 {
			t.Fatal(rooms.octets)
		}
		rooms.Unlock()
	}
	f.keys.used.Store(-int64(2 * keysIdle))
	f.keys.rest()
	if f.keys.blocks != nil || f.keys.octets != 0 {
		t.Fatal("kept for nobody")
	}
	sameKeys(t, f, true)
}

// Any octets make a block that nothing can be read out of, or none.
func FuzzKeys(f *testing.F) {
	k := &Keys{}
	k.add(1, &Record{Subject: []byte("X"), Header: []byte("Subject: x y\r\nFrom: a@b\r\n")})
	k.add(2, &Record{From: []byte("X"), Header: []byte("To: x y\r\n"), References: make([]byte, 16)})
	f.Add(k.encode(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		k := &Keys{seen: 255}
		if !k.decode(b) {
			return
		}
		for i := range k.rows {
			k.record(i, &Record{})
		}
		for field := range fields {
			k.Find(NewNeedle("x"), Field(field))
			k.Find(NewNeedle(""), Field(field))
		}
	})
}

func BenchmarkKeys(b *testing.B) {
	_, f := keyedFolder(b, 10000)
	defer f.Close()
	v, _ := f.Look(ctx)
	n := NewNeedle("number 77")
	search := func() {
		r := v.Reader()
		var last *Keys
		var hits Hits
		found := 0
		for i := range v.Len() {
			k := r.Keys(i)
			if k != last {
				last, hits = k, k.Find(n, 0)
			}
			if hits.Has(v.UID(i)) {
				found++
			}
		}
		r.Close()
		if found == 0 {
			b.Fatal("nothing")
		}
	}
	b.Run("records", func(b *testing.B) {
		for b.Loop() {
			r := v.Reader()
			for i := range v.Len() {
				record, _ := r.Get(i)
				n.InField(record.Header, "Subject")
			}
			r.Close()
		}
	})
	search()
	b.Run("memory", func(b *testing.B) {
		for b.Loop() {
			search()
		}
	})
	b.Run("file", func(b *testing.B) {
		for b.Loop() {
			f.keys.used.Store(-int64(2 * keysIdle))
			f.keys.rest()
			search()
		}
	})
}
