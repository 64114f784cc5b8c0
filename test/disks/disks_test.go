/*
Package disks tries the file systems this machine can mount: each is made in a file, or in memory, for one test. It takes root, and the
programs that make them; what is missing is skipped.

The tests are short. PENNYPOST_RACE=5m has each race run for so long.
*/
package disks

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// kind is a file system.
type kind struct {
	name  string
	whole bool // one call reads a directory so that no rename can hide a name in it
	mount func(t *testing.T, dir string)
}

var kinds = []kind{
	{"ext4", true, image("mkfs.ext4", "64M", "-q", "-F")},
	{"xfs", true, image("mkfs.xfs", "320M", "-q")},
	{"tmpfs", true, memory},
	{"btrfs", false, image("mkfs.btrfs", "160M", "-q")},
	{"overlay", false, overlay},
}

// each runs a test on every file system.
func each(t *testing.T, run func(t *testing.T, k kind, dir string)) {
	if testing.Short() {
		t.Skip("not with -short")
	}
	if os.Getuid() != 0 {
		t.Skip("mounting takes root")
	}
	for _, k := range kinds {
		t.Run(k.name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "at")
			if err := os.Mkdir(dir, 0o755); err != nil {
				t.Fatal(err)
			}
			k.mount(t, dir)
			run(t, k, dir)
		})
	}
}

// how long a race lasts.
func howLong(t *testing.T) time.Duration {
	t.Helper()
	text := os.Getenv("PENNYPOST_RACE")
	if text == "" {
		return time.Second
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// image makes a file system in a file and mounts it.
func image(mkfs, size string, args ...string) func(*testing.T, string) {
	return func(t *testing.T, dir string) {
		t.Helper()
		if _, err := exec.LookPath(mkfs); err != nil {
			t.Skipf("%s is not installed", mkfs)
		}
		file := dir + ".image"
		for _, argv := range [][]string{{"truncate", "-s", size, file}, append(append([]string{mkfs}, args...), file), {"mount", "-o", "loop", file, dir}} {
			out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput()
			if err == nil {
				continue
			}
			if argv[0] == "mount" { // no loop devices, or a kernel without it
				t.Skipf("%v: %v: %s", argv, err, out)
			}
			t.Fatalf("%v: %v: %s", argv, err, out)
		}
		unmountLater(t, dir)
	}
}

func unmountLater(t *testing.T, dir string) {
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
}

func memory(t *testing.T, dir string) {
	t.Helper()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=64m,mode=755"); err != nil {
		t.Skipf("mount: %v", err)
	}
	unmountLater(t, dir)
}

// overlay has its upper layer in memory.
func overlay(t *testing.T, dir string) {
	t.Helper()
	layers := dir + ".layers"
	os.Mkdir(layers, 0o755)
	memory(t, layers)
	for _, sub := range []string{"lower", "upper", "work"} {
		if err := os.Mkdir(filepath.Join(layers, sub), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := unix.Mount("overlay", dir, "overlay", 0, fmt.Sprintf("lowerdir=%[1]s/lower,upperdir=%[1]s/upper,workdir=%[1]s/work", layers)); err != nil {
		t.Skipf("mount: %v", err)
	}
	unmountLater(t, dir)
}
