package maildir

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	gomaildir "github.com/emersion/go-maildir"

	"pennypost/internal/durable"
)

func TestNames(t *testing.T) {
	for _, c := range []struct {
		name, key, base, flags string
		size, wire             int64
	}{
		{"1795321401.0fk2v9qk3x7m2c000-a_1.mx,S=33,W=39:2,S", "1795321401.0fk2v9qk3x7m2c000-a_1.mx,S=33,W=39", "1795321401.0fk2v9qk3x7m2c000-a_1.mx", "S", 33, 39},
		{"1.x:2,", "1.x", "1.x", "", -1, -1},
		{"1.x:2,FRSab", "1.x", "1.x", "FRSab", -1, -1},
		{"1.x", "1.x", "1.x", "", -1, -1},
		{"1.x:1,exp", "1.x", "1.x", "", -1, -1},
		{"1.x,W=5,S=4", "1.x,W=5,S=4", "1.x", "", 4, 5},
		{"1.x,S=-4,W=z,S=,Q=1", "1.x,S=-4,W=z,S=,Q=1", "1.x", "", -1, -1},
		{"1.x,S=99999999999999999999", "1.x,S=99999999999999999999", "1.x", "", -1, -1},
		{"1.x:2,S,S=4", "1.x", "1.x", "S,S=4", -1, -1},
	} {
		size, wire := Sizes(c.name)
		if Key(c.name) != c.key || Base(c.name) != c.base || Flags(c.name) != c.flags || size != c.size || wire != c.wire {
			t.Errorf("%s: %q %q %q %d %d", c.name, Key(c.name), Base(c.name), Flags(c.name), size, wire)
		}
	}
	b := AppendSizes(AppendBase(nil, 1795321401, "0fk2v9qk3x7m2c000-a", "2.1", Host("a/b:c,d")), 33, 39)
	if string(b) != `1795321401.0fk2v9qk3x7m2c000-a_2.1.a\057b\072c\054d,S=33,W=39` {
		t.Errorf("%s", b)
	}
}

// These never change: a POP3 client would fetch everything again.
func TestUIDLNeverChanges(t *testing.T) {
	for name, want := range map[string]string{
		"1795321401.0fk2v9qk3x7m2c000-a_1.mx,S=33,W=39:2,S": "1795321401.0fk2v9qk3x7m2c000-a_1.mx",
		"1795321401.M5P6.host:2,":                           "1795321401.M5P6.host",
		strings.Repeat("x", 70):                             strings.Repeat("x", 70),
		strings.Repeat("x", 71):                             "87a1e4c1c92b7b7a7c46433d780de6cc",
		"with space":                                        "b8b8f25a5fc711caea1cfebfe02359e3",
		",S=1":                                              "e3b0c44298fc1c149afbf4c8996fb924",
	} {
		if got := UIDL(name); got != want {
			t.Errorf("%q: %q, want %q", name, got, want)
		}
	}
}

func TestFolderDir(t *testing.T) {
	for _, c := range []struct{ layout, name, dir string }{
		{PlusPlus, "Lists", ".Lists"},
		{PlusPlus, "Lists/Go", ".Lists.Go"},
		{PlusPlus, "v1.2", ".v1&AC4-2"},
		{PlusPlus, "Entwürfe", ".Entw&APw-rfe"},
		{PlusPlus, "A&B", ".A&-B"},
		{PlusPlus, "日本語", ".&ZeVnLIqe-"},
		{PlusPlus, "😀", ".&2D3eAA-"},
		{PlusPlus, "a b", ".a b"},
		{FS, "Lists/Go", "Lists/Go"},
		{FS, "..", "&AC4ALg-"},
		{FS, "cur", ""},
		{FS, "a/new", ""},
		{PlusPlus, "..", ".&AC4ALg-"},
		{PlusPlus, "a//b", ""},
		{PlusPlus, "/a", ""},
		{PlusPlus, "a\nb", ""},
		{PlusPlus, "a\xff", ""},
		{PlusPlus, "", ""},
		{PlusPlus, strings.Repeat("x", 201), ""},
	} {
		dir, err := FolderDir(c.layout, c.name)
		if dir != c.dir || (err == nil) != (c.dir != "") {
			t.Errorf("%s %q: %q %v, want %q", c.layout, c.name, dir, err, c.dir)
		}
	}
}

// box is a Maildir in a new directory.
func box(t testing.TB) *Maildir {
	t.Helper()
	m, err := new(Store).Get(filepath.Join(t.TempDir(), "Maildir"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	return m
}

func (m *Maildir) put(t testing.TB, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(m.Root, name), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// An independent reader of Maildirs finds the same messages under the same keys.
func TestGoMaildirSeesTheSame(t *testing.T) {
	m := box(t)
	for i := range 50 {
		m.put(t, fmt.Sprintf("cur/17953214%02d.0fk2v9qk3x7m2c0%02d-a_1.mx,S=2,W=3:2,%s", i, i, []string{"", "S", "FS"}[i%3]), "x\n")
	}
	listing, err := m.Scan()
	if err != nil {
		t.Fatal(err)
	}
	var ours, theirs []string
	for _, l := range listing.Messages {
		ours = append(ours, Key(l.Name)+" "+Flags(l.Name))
	}
	err = gomaildir.Dir(m.Root).Walk(func(msg *gomaildir.Message) error {
		flags := ""
		for _, f := range msg.Flags() {
			flags += string(rune(f))
		}
		theirs = append(theirs, msg.Key()+" "+flags)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	sort.Strings(theirs)
	if !slices.Equal(ours, theirs) {
		t.Errorf("ours\n%q\ntheirs\n%q", ours, theirs)
	}
}

// S126: order and count whatever the names are; what begins with a dot is no message.
func TestS126Names(t *testing.T) {
	m := box(t)
	names := []string{"9.a", "10.a", "0010.b:2,", "x", "99999999999999999999999.future", "a\nb", "\x1b[0m", "\xff\xfe", ":2,ZZZ", "twice", strings.Repeat("l", 255)}
	for i, name := range names {
		m.put(t, []string{"new/", "cur/"}[i%2]+name, "x")
	}
	m.put(t, "cur/twice:2,S", "y")
	m.put(t, "new/.nfs0001", "x")
	m.put(t, "cur/.dot:2,S", "x")
	listing, err := m.Scan()
	if err != nil || len(listing.Messages) != len(names)+1 {
		t.Fatalf("%v: %d messages", err, len(listing.Messages))
	}
	var order []string
	for _, l := range listing.Messages {
		if digits(l.Name) != "" {
			order = append(order, l.Name)
		}
	}
	if !slices.Equal(order, []string{"9.a", "0010.b:2,", "10.a", "99999999999999999999999.future"}) {
		t.Errorf("order %q", order)
	}
	again, _ := m.Scan()
	if !slices.Equal(listing.UIDLs(), again.UIDLs()) {
		t.Error("unique-ids differ")
	}
}

// S127: a directory of any size is read whole, and one reading sees each message once however much it is renamed.
func TestS127LargeAndBusy(t *testing.T) {
	const messages = 5000
	m := box(t)
	for i := range messages {
		m.put(t, fmt.Sprintf("cur/%d.%s:2,", i, strings.Repeat("name", 20)), "")
	}
	var stop atomic.Bool
	done := make(chan struct{})
	go func() { // mutt marks messages as read, and takes it back
		defer close(done)
		for n := 0; !stop.Load(); n++ {
			name := filepath.Join(m.Root, fmt.Sprintf("cur/%d.%s:2,", n*7%messages, strings.Repeat("name", 20)))
			os.Rename(name, name+"S")
			os.Rename(name+"S", name)
		}
	}()
	for range 20 {
		listing, err := m.Scan()
		if err != nil || len(listing.Messages) != messages {
			t.Errorf("%d messages, %v", len(listing.Messages), err)
			break
		}
	}
	stop.Store(true)
	<-done
}

func TestStamp(t *testing.T) {
	dir := t.TempDir()
	for _, stamp := range []string{".store", filepath.Join(dir, ".store")} {
		s := &Store{Stamp: stamp}
		root := filepath.Join(dir, "example.org", "bob", "Maildir")
		os.Remove(filepath.Join(dir, ".store"))
		if _, err := s.Get(root); !errors.Is(err, ErrNotMounted) {
			t.Errorf("no stamp: %v", err)
		}
		if _, err := os.Stat(filepath.Join(dir, "example.org")); err == nil {
			t.Error("made something")
		}
		os.WriteFile(filepath.Join(dir, ".store"), nil, 0o600)
		m, err := s.Get(root)
		if err != nil {
			t.Fatal(err)
		}
		m.Close()
		os.RemoveAll(filepath.Join(dir, "example.org"))
	}
}

func TestTidy(t *testing.T) {
	m := box(t)
	m.put(t, "tmp/old", "x")
	m.put(t, "tmp/young", "x")
	m.put(t, "new/old", "x")
	old := time.Now().Add(-37 * time.Hour)
	for _, name := range []string{"tmp/old", "new/old"} {
		os.Chtimes(filepath.Join(m.Root, name), old, old)
	}
	m.Tidy(time.Now())
	for name, want := range map[string]bool{"tmp/old": false, "tmp/young": true, "new/old": true} {
		if _, err := os.Stat(filepath.Join(m.Root, name)); (err == nil) != want {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestQuota(t *testing.T) {
	m := box(t)
	m.put(t, "cur/1.x,S=100:2,S", "the name is believed")
	m.put(t, "new/2.x", "eleven octs")
	os.MkdirAll(filepath.Join(m.Root, ".Lists", "cur"), 0o700)
	os.MkdirAll(filepath.Join(m.Root, ".Lists", "new"), 0o700)
	m.put(t, ".Lists/cur/3.x,S=1000:2,", "")
	q := NewQuota(m, PlusPlus, 5000, 0)
	now := time.Now()
	used := func(want, messages int64) {
		t.Helper()
		if octets, n, err := q.Used(now); err != nil || octets != want || n != messages {
			text, _ := os.ReadFile(filepath.Join(m.Root, "maildirsize"))
			t.Errorf("%d octets, %d messages, %v; want %d and %d\n%s", octets, n, err, want, messages, text)
		}
	}
	used(1111, 3)
	q.Add(500, 1)
	used(1611, 4)
	other := NewQuota(m, PlusPlus, 5000, 0) // another process
	other.Add(-500, -1)
	used(1111, 3)
	file := filepath.Join(m.Root, "maildirsize")
	for _, broken := range []string{"", "5000S\n", "5000S\n-1 0\n", "5000S\nx y\n", "5000S,10C\n1 1\n", "4000S\n1 1\n", "5000S\n1 1", "5000S\n1111 3\n" + strings.Repeat("1 1\n", 1300)} {
		os.WriteFile(file, []byte(broken), 0o600)
		used(1111, 3)
	}
	os.WriteFile(file, []byte("5000S\n1111 3\n9000 1\n"), 0o600) // over, and somebody has added since the count
	used(1111, 3)
	os.WriteFile(file, []byte("5000S\n90000 3\n"), 0o600) // over, counted just now: believed for a while
	used(90000, 3)
	now = now.Add(16 * time.Minute)
	used(1111, 3)
	for _, l := range []struct {
		octets, messages int64
		head             string
	}{{5000, 10, "5000S,10C"}, {0, 10, "10C"}} {
		q = NewQuota(m, PlusPlus, l.octets, l.messages)
		used(1111, 3)
		if text, _ := os.ReadFile(file); string(text) != l.head+"\n1111 3\n" {
			t.Errorf("maildirsize %q", text)
		}
		if !q.Allows(5000, 10) || q.Allows(1, 11) || q.Allows(5001, 1) != (l.octets == 0) {
			t.Errorf("%+v allows something else", l)
		}
	}
	q = NewQuota(m, PlusPlus, 5000, 0)
	os.Remove(file)
	os.Mkdir(file, 0o700)
	if _, _, err := q.Used(now); err == nil {
		t.Error("a directory named maildirsize is no error")
	}
}

func TestOver(t *testing.T) {
	disk, err := durable.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer disk.Close()
	over, err := OpenOver(disk)
	if err != nil {
		t.Fatal(err)
	}
	over.Mark("bob@example.org", 1234)
	over.Mark("bob@example.org", 99)
	if wanted, marked := over.Marked("bob@example.org"); wanted != 1234 || !marked {
		t.Error(wanted, marked)
	}
	if users, _ := over.Users(); !slices.Equal(users, []string{"bob@example.org"}) {
		t.Error(users)
	}
	over.Clear("bob@example.org")
	over.Clear("bob@example.org")
	if _, marked := over.Marked("bob@example.org"); marked {
		t.Error("still marked")
	}
	for size, want := range map[int64]int64{1000: 1000, 50 << 20: 10 << 20} {
		if got := Wanted(size, 100<<20); got != want {
			t.Errorf("%d: %d", size, got)
		}
	}
}
