package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// disk is where both servers have their queues and mail.
type disk struct {
	dir    string
	what   string // for the table's caption: "ext4 with a journal, loop image"
	remove func()
}

// openDisk makes a working directory below dir; with loop, on a fresh journalled ext4 in a file there.
func openDisk(dir string, loop bool, gib int) (*disk, error) {
	work, err := os.MkdirTemp(dir, "pennypost-bench-")
	if err != nil {
		return nil, err
	}
	os.Chmod(work, 0o755)
	d := &disk{dir: work, remove: func() { os.RemoveAll(work) }}
	if !loop {
		d.what = describe(work)
		return d, nil
	}
	image, mount := filepath.Join(work, "image"), filepath.Join(work, "disk")
	d.dir = mount
	d.remove = func() {
		unix.Unmount(mount, unix.MNT_DETACH)
		os.RemoveAll(work)
	}
	if err := os.Mkdir(mount, 0o755); err != nil {
		return nil, err
	}
	for _, argv := range [][]string{
		{"truncate", "-s", fmt.Sprintf("%dG", gib), image},
		{"mkfs.ext4", "-q", "-F", "-N", "2500000", "-E", "lazy_itable_init=0,lazy_journal_init=0", image},
		{"mount", "-o", "loop", image, mount},
	} {
		if out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput(); err != nil {
			d.remove()
			return nil, fmt.Errorf("%s: %w: %s", strings.Join(argv, " "), err, out)
		}
	}
	d.what = describe(mount) + ", a loop image on " + describe(work)
	return d, nil
}

// describe names a file system and says whether it has a journal, which decides what an fsync costs.
func describe(dir string) string {
	var st unix.Stat_t
	if unix.Stat(dir, &st) != nil {
		return "an unknown file system"
	}
	want := fmt.Sprintf("%d:%d", unix.Major(st.Dev), unix.Minor(st.Dev))
	text, _ := os.ReadFile("/proc/self/mountinfo") // no proc: the answer is "unknown"
	for line := range strings.Lines(string(text)) {
		left, right, _ := strings.Cut(line, " - ")
		l, r := strings.Fields(left), strings.Fields(right)
		if len(l) < 3 || len(r) < 2 || l[2] != want {
			continue
		}
		kind := r[0]
		if kind != "ext4" {
			return kind
		}
		if journals, _ := filepath.Glob("/proc/fs/jbd2/" + filepath.Base(r[1]) + "-*"); len(journals) > 0 {
			return "ext4 with a journal"
		}
		return "ext4 without a journal"
	}
	return "an unknown file system"
}
