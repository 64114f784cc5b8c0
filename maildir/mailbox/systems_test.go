package mailbox

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"pennypost/internal/durable"
)

// systems are the file systems a Maildir is tried on: how to make one in an image, "" for one that needs none.
var systems = []struct{ name, mkfs string }{
	{"ext4", "mkfs.ext4 -q -F"}, {"xfs", "mkfs.xfs -q -f"}, {"btrfs", "mkfs.btrfs -q -f"}, {"tmpfs", ""}, {"overlay", ""},
}

// mount mounts a file system of the kind, or skips.
func mount(t *testing.T, name, mkfs string) string {
	t.Helper()
	if testing.Short() || os.Getuid() != 0 {
		t.Skip("mounts file systems")
	}
	dir := t.TempDir()
	at := filepath.Join(dir, "at")
	os.Mkdir(at, 0o700)
	command := "mount -t tmpfs none " + at
	switch {
	case mkfs != "":
		command = fmt.Sprintf("truncate -s 320M %[1]s/image && %[2]s %[1]s/image && mount -o loop %[1]s/image %[3]s", dir, mkfs, at)
	case name == "overlay":
		command = fmt.Sprintf("mount -t tmpfs none %[1]s/at && mkdir %[1]s/at/l %[1]s/at/u %[1]s/at/w %[1]s/at/m && mount -t overlay overlay -o lowerdir=%[1]s/at/l,upperdir=%[1]s/at/u,workdir=%[1]s/at/w %[1]s/at/m", dir)
	}
	if out, err := exec.Command("sh", "-c", command).CombinedOutput(); err != nil {
		t.Skipf("%v: %s", err, out)
	}
	t.Cleanup(func() { exec.Command("umount", "-l", at).Run() })
	if name == "overlay" {
		t.Cleanup(func() { exec.Command("umount", "-l", at+"/m").Run() })
		return at + "/m"
	}
	return at
}

// On every file system this machine can mount: while another program renames as fast as it can, no message is taken for gone, and none
// gets another UID; what is removed is found to be gone.
func TestWritersEveryFileSystem(t *testing.T) {
	for _, s := range systems {
		t.Run(s.name, func(t *testing.T) {
			root := filepath.Join(mount(t, s.name, s.mkfs), "Maildir")
			whole := race(t, root, nil)
			t.Logf("one call is whole: %v", whole)
		})
	}
}

// lossy is a file system on which a listing misses and doubles names, as POSIX permits while the directory is changed.
type lossy struct {
	durable.Disk
	root string
}

func (l lossy) List(dir string, each func([]byte, uint64, byte)) (bool, error) {
	rnd := rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 1))
	_, err := l.Disk.(durable.Lister).List(dir, func(name []byte, inode uint64, kind byte) {
		switch rnd.IntN(50) {
		case 0:
			return
		case 1:
			each(name, inode, kind)
		}
		each(name, inode, kind)
	})
	now := time.Now()
	os.Chtimes(filepath.Join(l.root, dir), now, now) // it is being changed
	return false, err
}

func TestWritersOnALossyFileSystem(t *testing.T) {
	root := filepath.Join(t.TempDir(), "Maildir")
	race(t, root, func(d durable.Disk) durable.Disk { return lossy{d, root} })
}

// Two looks a second apart prove nothing where each of them may miss a name.
func TestSeldomLooksOnALossyFileSystem(t *testing.T) {
	root := filepath.Join(t.TempDir(), "Maildir")
	_, f := process(t, root)
	const n = 1500
	for i := range n {
		write(t, root, fmt.Sprintf("cur/%04d.m:2,S", i), "x\n")
	}
	if v := look(t, f); v.Len() != n {
		t.Fatalf("%d messages", v.Len())
	}
	f.disk = lossy{f.disk, root}
	for range 4 {
		os.Chtimes(root+"/cur", time.Now(), time.Now())
		if v := look(t, f); v.Len() != n {
			t.Fatalf("%d messages of %d", v.Len(), n)
		}
		time.Sleep(suspectWait + 20*time.Millisecond)
	}
}

// race looks at a folder whose files are renamed meanwhile.
func race(t *testing.T, root string, wrap func(durable.Disk) durable.Disk) (whole bool) {
	t.Helper()
	_, f := process(t, root)
	if wrap != nil {
		f.disk = wrap(f.disk)
	}
	const n = 1500
	for i := range n {
		write(t, root, fmt.Sprintf("cur/%04d.m:2,S", i), "x\n")
	}
	var v *View
	for range 50 { // a lossy listing finds all in the end
		if v = look(t, f); v.Len() == n {
			break
		}
		os.Chtimes(root+"/cur", time.Now(), time.Now())
	}
	if v.Len() != n {
		t.Fatalf("%d messages", v.Len())
	}
	meaning := map[uint32]string{}
	for i := range n {
		meaning[v.UID(i)] = string(mustKey(v, i))
	}
	var stop atomic.Bool
	done := make(chan int)
	go func() {
		renamed := 0
		letters := []string{"", "S", "F", "FS", "RS"}
		at := make([]string, n)
		for i := range at {
			at[i] = fmt.Sprintf("%s/cur/%04d.m:2,S", root, i)
		}
		for ; !stop.Load(); renamed++ {
			i := rand.IntN(n)
			to := fmt.Sprintf("%s/cur/%04d.m:2,%s", root, i, letters[rand.IntN(len(letters))])
			if os.Rename(at[i], to) == nil {
				at[i] = to
			}
			if renamed%8 == 0 {
				time.Sleep(time.Millisecond)
			}
		}
		done <- renamed
	}()
	looks := 0
	for end := time.Now().Add(1200 * time.Millisecond); time.Now().Before(end); looks++ {
		v := look(t, f)
		if v.Len() != n {
			t.Errorf("look %d: %d messages of %d", looks, v.Len(), n)
			break
		}
		for i := range n {
			if meaning[v.UID(i)] != string(mustKey(v, i)) {
				t.Errorf("UID %d was %q and is %q", v.UID(i), meaning[v.UID(i)], mustKey(v, i))
			}
		}
	}
	stop.Store(true)
	renamed := <-done
	t.Logf("%d looks during %d renames", looks, renamed)
	files, _ := filepath.Glob(root + "/cur/000*")
	for _, file := range files {
		os.Remove(file)
	}
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		v := look(t, f)
		if v.Len() == n-len(files) || time.Now().After(end) {
			if v.Len() != n-len(files) || strings.Contains(shown(v), " 0001.m ") {
				t.Errorf("%d messages after %d were removed", v.Len(), len(files))
			}
			break
		}
		os.Chtimes(root+"/cur", time.Now(), time.Now())
	}
	whole, _ = f.disk.(durable.Lister).List("cur", func([]byte, uint64, byte) {})
	return whole
}
