package durable

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func open(t testing.TB) (Disk, string) {
	t.Helper()
	dir := t.TempDir()
	d, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d, dir
}

func put(t testing.TB, d Disk, name, text string) {
	t.Helper()
	f, err := d.Create(name, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
	if err := f.Sync(); err != nil {
		t.Fatal(err)
	}
}

func get(t testing.TB, d Disk, name string) string {
	t.Helper()
	f, err := d.Open(name)
	if err != nil {
		t.Error(err)
		return ""
	}
	defer f.Close()
	text, err := io.ReadAll(f)
	if err != nil {
		t.Error(err)
	}
	return string(text)
}

// both runs a test with openat2 and without.
func both(t *testing.T, test func(t *testing.T)) {
	t.Run("openat2", test)
	noOpenat2.Store(true)
	defer noOpenat2.Store(false)
	t.Run("openat", test)
}

func TestFiles(t *testing.T) {
	both(t, func(t *testing.T) {
		for _, hold := range []bool{false, true} {
			d, _ := open(t)
			for _, dir := range []string{"a", "a/b", "c"} {
				if err := d.Mkdir(dir, 0o700); err != nil {
					t.Fatal(err)
				}
			}
			if hold {
				if err := d.Hold("a/b", "c"); err != nil {
					t.Fatal(err)
				}
			}
			put(t, d, "a/b/x", "text")
			if _, err := d.Create("a/b/x", 0o600); !errors.Is(err, fs.ErrExist) {
				t.Error(err)
			}
			put(t, d, "c/taken", "other")
			if err := d.RenameNew("a/b/x", "c/taken"); !errors.Is(err, fs.ErrExist) {
				t.Error(err)
			}
			if err := d.RenameNew("a/b/x", "c/y"); err != nil {
				t.Error(err)
			}
			if err := d.Link("c/y", "a/b/z"); err != nil {
				t.Error(err)
			}
			if err := d.Link("c/y", "a/b/z"); !errors.Is(err, fs.ErrExist) {
				t.Error(err)
			}
			f, err := d.Open("c/y")
			if err != nil {
				t.Fatal(err)
			}
			if err := d.LinkFile(f, "c/w"); err != nil {
				t.Error(err)
			}
			if err := d.LinkFile(f, "c/w"); !errors.Is(err, fs.ErrExist) {
				t.Error(err)
			}
			f.Close()
			if st, err := d.Stat("c/w"); err != nil || st.Links != 3 || st.Size != 4 || !st.Mode.IsRegular() || st.UID != uint32(os.Getuid()) {
				t.Errorf("%+v, %v", st, err)
			}
			if err := d.Rename("c/w", "c/taken"); err != nil || get(t, d, "c/taken") != "text" {
				t.Error(err)
			}
			a, err := d.Append("c/log", 0o600)
			if err != nil {
				t.Fatal(err)
			}
			a.Write([]byte("one"))
			a.Close()
			a, _ = d.Append("c/log", 0o600)
			a.Write([]byte("two"))
			a.Close()
			if got := get(t, d, "c/log"); got != "onetwo" {
				t.Errorf("appended %q", got)
			}
			names, err := d.ReadDir("c")
			slices.Sort(names)
			if want := []string{"log", "taken", "y"}; err != nil || !slices.Equal(names, want) {
				t.Errorf("names %q, %v", names, err)
			}
			if names, err = d.ReadDir("."); err != nil || len(names) != 2 {
				t.Errorf("names %q, %v", names, err)
			}
			if err := d.RemoveDir("c"); !errors.Is(err, syscall.ENOTEMPTY) {
				t.Error(err)
			}
			for _, err := range []error{d.SyncDir("."), d.SyncDir("c"), d.SyncDir("a"), d.Remove("c/y")} {
				if err != nil {
					t.Error(err)
				}
			}
			_, err = d.Open("c/nothing")
			var pe *fs.PathError
			if !errors.As(err, &pe) || pe.Path != "c/nothing" || !errors.Is(err, fs.ErrNotExist) {
				t.Error(err)
			}
			if bytes, inodes, err := d.Free(); bytes == 0 || inodes == 0 || err != nil {
				t.Error(bytes, inodes, err)
			}
		}
	})
}

// TestS123Paths: no name leaves the directory.
func TestS123Paths(t *testing.T) {
	d, _ := open(t)
	d.Mkdir("a", 0o700)
	for _, name := range []string{"", "/", "/etc/passwd", "..", "a/..", "a/../..", "../a", "a//b", "a/", "./a", "a/./b", "a\x00b"} {
		_, err1 := d.Open(name)
		_, err2 := d.Create(name, 0o600)
		_, err3 := d.Stat(name)
		err4 := d.Rename("a", name)
		err5 := d.Remove(name)
		for i, err := range []error{err1, err2, err3, err4, err5} {
			if !errors.Is(err, fs.ErrInvalid) {
				t.Errorf("%q, call %d: %v", name, i+1, err)
			}
		}
	}
}

// TestS124NotRegular: what is no file of ours is neither followed nor waited for.
func TestS124NotRegular(t *testing.T) {
	both(t, func(t *testing.T) {
		d, dir := open(t)
		os.Mkdir(filepath.Join(dir, "d"), 0o700)
		os.WriteFile(filepath.Join(dir, "secret"), []byte("secret"), 0o600)
		os.Symlink("../secret", filepath.Join(dir, "d/link"))
		os.Symlink("d", filepath.Join(dir, "dirlink"))
		syscall.Mkfifo(filepath.Join(dir, "d/fifo"), 0o600)
		if l, err := net.Listen("unix", filepath.Join(dir, "d/socket")); err == nil {
			defer l.Close()
		}
		for _, hold := range []bool{false, true} {
			if hold {
				d.Hold("d")
			}
			for _, name := range []string{"d/link", "d/fifo", "d/socket", "d", "dirlink"} {
				for what, try := range map[string]func() (File, error){
					"open":   func() (File, error) { return d.Open(name) },
					"append": func() (File, error) { return d.Append(name, 0o600) },
				} {
					if f, err := try(); !errors.Is(err, ErrNotRegular) {
						t.Errorf("%s %s, held %v: %v", what, name, hold, err)
						if f != nil {
							f.Close()
						}
					}
				}
			}
		}
		if _, err := d.Open("dirlink/link"); err == nil {
			t.Error("went through a symlink")
		}
		if _, err := d.Create("dirlink/new", 0o600); err == nil {
			t.Error("made a file through a symlink")
		}
		if err := d.Hold("dirlink"); err == nil {
			t.Error("holds a symlink")
		}
		if st, err := d.Stat("d/link"); err != nil || st.Mode&fs.ModeSymlink == 0 {
			t.Errorf("%v, %v", st.Mode, err)
		}
	})
}

// TestS125Swapped: somebody swaps a directory for a symlink to another while files are made in it.
// No file ever lands in the other one.
func TestS125Swapped(t *testing.T) {
	both(t, func(t *testing.T) {
		d, dir := open(t)
		outside := t.TempDir()
		os.Mkdir(filepath.Join(dir, "new"), 0o700)
		stop := make(chan struct{})
		var wg sync.WaitGroup
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				os.Rename(filepath.Join(dir, "new"), filepath.Join(dir, "old"))
				os.Symlink(outside, filepath.Join(dir, "new"))
				os.Remove(filepath.Join(dir, "new"))
				os.Rename(filepath.Join(dir, "old"), filepath.Join(dir, "new"))
			}
		})
		made := 0
		for i := range 500 {
			if f, err := d.Create(fmt.Sprintf("new/%d", i), 0o600); err == nil {
				f.Close()
				made++
			}
		}
		for !t.Failed() { // held from some moment on
			if d.Hold("new") == nil {
				break
			}
		}
		for i := range 500 {
			f, err := d.Create(fmt.Sprintf("new/held%d", i), 0o600)
			if err != nil {
				t.Fatal(err)
			}
			f.Close()
		}
		close(stop)
		wg.Wait()
		if names, _ := os.ReadDir(outside); len(names) > 0 {
			t.Errorf("%d files outside", len(names))
		}
		if names, _ := d.ReadDir("new"); len(names) != made+500 {
			t.Errorf("%d files of %d", len(names), made+500)
		}
	})
}

// A held directory that is removed and made again is found again.
func TestHeldGone(t *testing.T) {
	d, dir := open(t)
	d.Mkdir("new", 0o700)
	d.Mkdir("tmp", 0o700)
	if err := d.Hold("new", "tmp"); err != nil {
		t.Fatal(err)
	}
	put(t, d, "new/a", "a")
	os.RemoveAll(filepath.Join(dir, "new"))
	if _, err := d.Create("new/b", 0o600); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
	d.Mkdir("new", 0o700)
	put(t, d, "new/c", "c")
	os.RemoveAll(filepath.Join(dir, "new"))
	d.Mkdir("new", 0o700)
	put(t, d, "tmp/d", "d")
	if err := d.Rename("tmp/d", "new/d"); err != nil || get(t, d, "new/d") != "d" {
		t.Error(err)
	}
}

// TestS129Modes: a file has the mode asked for, whatever the umask of who started us.
func TestS129Modes(t *testing.T) {
	old := unix.Umask(0o077)
	was := umask
	umask = 0o077
	defer func() { unix.Umask(old); umask = was }()
	d, dir := open(t)
	d.Mkdir("d", 0o770)
	f, err := d.Create("d/create", 0o660)
	if err != nil {
		t.Fatal(err)
	}
	f.Close()
	f, err = d.Append("d/append", 0o640)
	if err != nil {
		t.Fatal(err)
	}
	f.Close()
	d.(Piper).MakePipe("d/pipe", 0o622)
	d.(Chmoder).Chmod("d", fs.ModeSetgid|fs.ModeSticky|0o733)
	for name, want := range map[string]fs.FileMode{"d/create": 0o660, "d/append": 0o640, "d/pipe": fs.ModeNamedPipe | 0o622, "d": fs.ModeDir | fs.ModeSetgid | fs.ModeSticky | 0o733} {
		if st, err := os.Lstat(filepath.Join(dir, name)); err != nil || st.Mode() != want {
			t.Errorf("%s: %v, want %v (%v)", name, st.Mode(), want, err)
		}
	}
}

// TestS128Exclusive: a file or symlink waiting under our temporary name is not written to.
func TestS128Exclusive(t *testing.T) {
	d, dir := open(t)
	os.WriteFile(filepath.Join(dir, "victim"), []byte("text"), 0o600)
	os.Symlink("victim", filepath.Join(dir, "tmp1"))
	os.Symlink("nowhere", filepath.Join(dir, "tmp2"))
	for _, name := range []string{"victim", "tmp1", "tmp2"} {
		if _, err := d.Create(name, 0o600); !errors.Is(err, fs.ErrExist) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if get(t, d, "victim") != "text" {
		t.Error("the victim was written to")
	}
}

// TestS146FileSystems: where fsync of a file is known to carry its rename, and nowhere else.
func TestS146FileSystems(t *testing.T) {
	for name, fsType := range map[string]int64{"ext4": unix.EXT4_SUPER_MAGIC, "xfs": unix.XFS_SUPER_MAGIC, "btrfs": unix.BTRFS_SUPER_MAGIC} {
		if !carriesRename(fsType) {
			t.Error(name)
		}
	}
	for name, fsType := range map[string]int64{"nfs": unix.NFS_SUPER_MAGIC, "overlay": unix.OVERLAYFS_SUPER_MAGIC, "vfat": unix.MSDOS_SUPER_MAGIC, "f2fs": unix.F2FS_SUPER_MAGIC, "zfs": 0x2fc12fc1, "fuse": unix.FUSE_SUPER_MAGIC} {
		if carriesRename(fsType) {
			t.Error(name)
		}
	}
}

func TestPipe(t *testing.T) {
	d, dir := open(t)
	p := d.(Piper)
	if err := p.MakePipe("fifo", 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := p.WritePipe("fifo"); err == nil {
		t.Error("a pipe nobody reads was opened")
	}
	os.WriteFile(filepath.Join(dir, "file"), nil, 0o600)
	if _, err := p.WritePipe("file"); err == nil {
		t.Error("a file was opened as a pipe")
	}
	r, err := p.ReadPipe("fifo")
	if err != nil {
		t.Fatal(err)
	}
	w, err := p.WritePipe("fifo")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for ; err == nil; n++ {
		_, err = w.Write([]byte(strings.Repeat("x", 4096)))
	}
	if !errors.Is(err, syscall.EAGAIN) || n < 10 {
		t.Errorf("%v after %d writes", err, n)
	}
	done := make(chan error)
	go func() {
		buf := make([]byte, 1<<20)
		for {
			if _, err := r.Read(buf); err != nil {
				done <- err
				return
			}
		}
	}()
	time.Sleep(10 * time.Millisecond)
	r.Close()
	if err := <-done; !errors.Is(err, fs.ErrClosed) {
		t.Errorf("reader ended with %v", err)
	}
}

func TestFromFd(t *testing.T) {
	d, dir := open(t)
	put(t, d, "x", "text")
	fd, err := unix.Open(filepath.Join(dir, "x"), unix.O_RDONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	f, err := FromFd(uintptr(fd), "order")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := d.LinkFile(f, "y"); err != nil || get(t, d, "y") != "text" {
		t.Error(err)
	}
	fds := make([]int, 2)
	unix.Pipe(fds)
	defer unix.Close(fds[1])
	if _, err := FromFd(uintptr(fds[0]), "order"); !errors.Is(err, ErrNotRegular) {
		t.Error(err)
	}
}

// folding is a file system that takes a for A; bare is one without hard links.
type folding struct{ Disk }

func (f folding) Stat(name string) (Info, error) { return f.Disk.Stat(strings.ToLower(name)) }

type bare struct{ Disk }

func (bare) Link(from, to string) error { return syscall.EPERM }

func TestS146Probe(t *testing.T) {
	d, dir := open(t)
	d.Mkdir("run", 0o700)
	if err := Probe(d, "run"); err != nil {
		t.Error(err)
	}
	if err := Probe(folding{d}, "run"); err == nil || !strings.Contains(err.Error(), "a for A") {
		t.Error(err)
	}
	if err := Probe(bare{d}, "run"); !errors.Is(err, syscall.EPERM) {
		t.Error(err)
	}
	if names, _ := os.ReadDir(filepath.Join(dir, "run")); len(names) > 0 {
		t.Errorf("left %v", names)
	}
}

func TestGlance(t *testing.T) {
	d, err := Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	d.Mkdir("a", 0o700)
	d.Mkdir("a/b", 0o700)
	d.Mkdir("a/c", 0o700)
	names := []string{"b", "c"}
	infos := make([]Info, 2)
	if err := d.(Glancer).Glance("a", names, infos); err != nil {
		t.Fatal(err)
	}
	for i, name := range names {
		if want, err := d.Stat("a/" + name); err != nil || infos[i] != want {
			t.Errorf("%s: %v, want %v", name, infos[i], want)
		}
	}
	for _, names := range [][]string{{"b", "d"}, {"../a"}, {"b", "../a"}, {"b", "../a/b"}} {
		if err := d.(Glancer).Glance("a", names, infos); err == nil {
			t.Errorf("%q are there", names)
		}
	}
}
