package mailbox

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"pennypost/internal/durable"
)

// heardFolder is a folder with messages that has been listening since it was as it is.
func heardFolder(t *testing.T, n int) (root string, f *Folder) {
	root, _, f = box(t)
	for i := range n {
		write(t, root, fmt.Sprintf("cur/%d.M%dP1.host:2,S", 1700000000+i, i), fmt.Sprintf("Subject: %d\n\nhi\n", i))
	}
	look(t, f)
	t.Cleanup(f.OnChange(func() {}))
	look(t, f)
	return root, f
}

// hears waits until all these names have been heard: of a rename the old one comes first, and by itself is a message that is gone.
func hears(t *testing.T, f *Folder, paths ...string) {
	t.Helper()
	all := func() bool {
		f.heard.mu.Lock()
		defer f.heard.mu.Unlock()
		return f.heard.on && f.heard.whole && !slices.ContainsFunc(paths, func(path string) bool { return !f.heard.names[path] })
	}
	for end := time.Now().Add(10 * time.Second); !all(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%v are not heard", paths)
		}
	}
}

// unread makes reading a directory an error, so that only names can say what happened.
func unread(t *testing.T, f *Folder, do func()) {
	t.Helper()
	disk := f.disk
	f.disk = blind{disk}
	defer func() { f.disk = disk }()
	do()
}

// blind is a disk whose directories cannot be read.
type blind struct{ durable.Disk }

var errBlind = errors.New("a directory is read")

func (b blind) ReadDir(string) ([]string, error)                      { return nil, errBlind }
func (b blind) List(string, func([]byte, uint64, byte)) (bool, error) { return false, errBlind }
func (b blind) TryLock(name string) (io.Closer, error)                { return b.Disk.(durable.Locker).TryLock(name) }

func TestHeard(t *testing.T) {
	root, f := heardFolder(t, 50)
	rename := func(from, to string) { os.Rename(filepath.Join(root, from), filepath.Join(root, to)) }
	const (
		key = "1700000007.M7P1.host"
		s   = "cur/" + key + ":2,S"
		fs  = "cur/" + key + ":2,FS"
		rs  = "cur/" + key + ":2,RS"
	)
	for _, test := range []struct {
		name  string
		do    func()
		paths []string
		want  func(v *View) bool
	}{
		{"a flag", func() { rename(s, fs) }, []string{s, fs}, func(v *View) bool { return v.Flags(7) == Seen|Flagged }},
		{"two renames", func() { rename(fs, "cur/"+key+":2,F"); rename("cur/"+key+":2,F", rs) }, []string{fs, "cur/" + key + ":2,F", rs}, func(v *View) bool { return v.Flags(7) == Seen|Answered }},
		{"a delivery", func() { write(t, root, "new/1800000000.M1P1.host", "Subject: x\n\nhi\n") }, []string{"new/1800000000.M1P1.host"}, func(v *View) bool { return v.Len() == 51 && v.Recent(50) && v.UID(50) == 51 }},
		{"from new to cur", func() { rename("new/1800000000.M1P1.host", "cur/1800000000.M1P1.host:2,S") }, []string{"new/1800000000.M1P1.host", "cur/1800000000.M1P1.host:2,S"}, func(v *View) bool { return v.Len() == 51 && v.Flags(50) == Seen }},
	} {
		before := look(t, f).Counts().HighestModSeq
		if f.table == nil { // the first of all needs a scan
			bare := "cur/" + key + ":2,"
			rename(s, bare)
			hears(t, f, s, bare)
			look(t, f)
			rename(bare, s)
			hears(t, f, s, bare)
			before = look(t, f).Counts().HighestModSeq
		}
		test.do()
		hears(t, f, test.paths...)
		unread(t, f, func() {
			v := look(t, f)
			if !test.want(v) || v.Counts().HighestModSeq <= before {
				t.Errorf("%s: not seen", test.name)
			}
		})
	}
	os.Remove(filepath.Join(root, rs))
	hears(t, f, rs)
	if v := look(t, f); v.Len() != 50 {
		t.Errorf("a removed message is still there: %d", v.Len())
	}
}

// The two names of a rename may be heard one by one: the first, by itself, is not forgotten, since the second, by itself, is a new message.
func TestHeardHalfOfARename(t *testing.T) {
	root, f := heardFolder(t, 5)
	for range 2 { // times as coarse as a kernel's, and a table
		time.Sleep(12 * time.Millisecond)
		write(t, root, "cur/.x", "")
		os.Remove(root + "/cur/.x")
		look(t, f)
	}
	v := look(t, f)
	was, is := "cur/"+string(mustKey(v, 2))+":2,S", "cur/1800000000.renamed:2,S"
	os.Rename(root+"/"+was, root+"/"+is)
	hears(t, f, was, is)
	f.heard.mu.Lock()
	delete(f.heard.names, is) // it is on its way
	f.heard.mu.Unlock()
	f.mu.Lock()
	f.news()
	f.mu.Unlock()
	f.heard.mu.Lock()
	f.heard.names[is] = true
	f.heard.mu.Unlock()
	if v = look(t, f); v.Len() != 5 || v.UID(2) != 3 || string(mustKey(v, 2)) != "1800000000.renamed" {
		t.Errorf("got\n%s", shown(v))
	}
}

// TestHeardNever: whatever others do, what was heard by name and what a scan finds is the same in the end, and no UID goes that need not.
func TestHeardNever(t *testing.T) {
	root, f := heardFolder(t, 200)
	r := rand.New(rand.NewPCG(1, 2))
	stop := make(chan struct{})
	done := make(chan struct{})
	go func() {
		defer close(done)
		for n := 0; ; n++ {
			select {
			case <-stop:
				return
			default:
			}
			dir := filepath.Join(root, []string{"cur", "cur", "new"}[r.IntN(3)])
			names, _ := os.ReadDir(dir)
			if len(names) == 0 {
				continue
			}
			name := names[r.IntN(len(names))].Name()
			key, _, _ := strings.Cut(name, ":")
			to := filepath.Join(root, "cur", key+":2,"+[]string{"", "S", "F", "FS"}[r.IntN(4)])
			if r.IntN(10) == 0 {
				to = filepath.Join(root, "new", key)
			}
			os.Rename(filepath.Join(dir, name), to)
			if n%3 == 0 {
				time.Sleep(time.Duration(r.IntN(3)) * time.Millisecond)
			}
		}
	}()
	for end := time.Now().Add(2 * time.Second); time.Now().Before(end); {
		if v := look(t, f); v.Len() != 200 || v.Counts().UIDNext != 201 {
			t.Fatalf("%d messages, next UID %d", v.Len(), v.Counts().UIDNext)
		}
	}
	close(stop)
	<-done
	time.Sleep(20 * time.Millisecond) // the last is heard
	v := look(t, f)
	_, other := process(t, root)
	want := look(t, other)
	for i := range want.Len() {
		if want.UID(i) != v.UID(i) || want.Flags(i) != v.Flags(i) {
			c, j := v.at(i)
			e := c.entry(j)
			_, err := os.Stat(filepath.Join(root, e.path()))
			t.Errorf("UID %d: flags %x, another sees %x; %s: %v", v.UID(i), v.Flags(i), want.Flags(i), e.path(), err)
		}
	}
}
