package faultdisk

import (
	"errors"
	"maps"
	"slices"
	"syscall"
	"testing"

	"pennypost/internal/durable"
)

// put writes a file in the order given by steps: w rite, r ename, s ync, d irectory sync.
func put(d *Disk, steps string) error {
	f, err := d.Create("tmp/x", 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	for _, step := range steps {
		switch step {
		case 'w':
			_, err = f.Write([]byte("text"))
		case 'r':
			err = d.Rename("tmp/x", "new/x")
		case 's':
			err = f.Sync()
		case 'd':
			err = d.SyncDir("new")
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// TestOrder is the table of spool(5): which order of calls survives a power cut, and as what.
func TestOrder(t *testing.T) {
	for _, tt := range []struct {
		steps       string
		ext4, posix map[string]string
	}{
		{"wr", nil, nil},
		{"wsr", map[string]string{"tmp/x": "text"}, nil},                                 // lost: 49 of 50
		{"wrs", map[string]string{"new/x": "text"}, nil},                                 // 50 of 50, on ext4
		{"wrsd", map[string]string{"new/x": "text"}, map[string]string{"new/x": "text"}}, // everywhere
		{"wrd", map[string]string{"new/x": ""}, map[string]string{"new/x": ""}},          // the empty message
		{"wsrd", map[string]string{"new/x": "text"}, map[string]string{"new/x": "text"}},
	} {
		for i, disk := range []*Disk{New(), NewStrict()} {
			want := []map[string]string{tt.ext4, tt.posix}[i]
			disk.Dirs("tmp", "new")
			if err := put(disk, tt.steps); err != nil {
				t.Fatal(err)
			}
			if got := disk.Reboot(); !maps.Equal(got, want) {
				t.Errorf("%s, strict %v: found %q, want %q", tt.steps, disk.strict, got, want)
			}
		}
	}
}

func TestSurvivors(t *testing.T) {
	seen := map[string]bool{}
	for luck := range 50 {
		disk := New().Dirs("tmp", "new").Luck(luck)
		put(disk, "wr")
		found := disk.Reboot()
		if len(found) > 1 {
			t.Fatalf("a rename left two names: %q", found)
		}
		for name, text := range found {
			seen[name+" "+text] = true
		}
	}
	for _, want := range []string{"new/x text", "tmp/x text", "new/x ", "new/x \x00\x00\x00\x00"} {
		if !seen[want] {
			t.Errorf("never found %q, but %q", want, slices.Collect(maps.Keys(seen)))
		}
	}
}

func TestCutAndFail(t *testing.T) {
	disk := New().Dirs("tmp", "new").CrashAt(3)
	if err := put(disk, "wrs"); !errors.Is(err, ErrCrashed) || disk.LastStep() != "rename tmp/x new/x" {
		t.Errorf("%v at %q", err, disk.LastStep())
	}
	disk = New().Dirs("tmp", "new").FailAt(4, syscall.EIO)
	if err := put(disk, "wrs"); !errors.Is(err, syscall.EIO) || !disk.Failed() {
		t.Error(err)
	}
	// The kernel has forgotten: the next sync says yes and means nothing (S136).
	f, _ := disk.Open("new/x")
	if err := f.Sync(); err != nil {
		t.Error(err)
	}
	if err := disk.SyncDir("new"); err != nil {
		t.Error(err)
	}
	if text, ok := disk.Reboot()["new/x"]; !ok || text != "" {
		t.Errorf("after a failed sync: %q", text)
	}
}

func TestLinks(t *testing.T) {
	disk := New().Put("a/x", "text").Dirs("b")
	if err := disk.Link("a/x", "b/y"); err != nil {
		t.Fatal(err)
	}
	if err := disk.Link("a/x", "b/y"); !errors.Is(err, syscall.EEXIST) {
		t.Error(err)
	}
	f, err := disk.Open("a/x")
	if err != nil {
		t.Fatal(err)
	}
	if err := disk.LinkFile(f, "b/z"); err != nil {
		t.Error(err)
	}
	if st, _ := disk.Stat("b/z"); st.Links != 3 {
		t.Errorf("%d links", st.Links)
	}
	if _, err := disk.Open("b"); !errors.Is(err, durable.ErrNotRegular) {
		t.Error(err)
	}
	disk.SyncDir("b")
	disk.Remove("a/x")
	if got := disk.Reboot(); len(got) != 3 {
		t.Errorf("found %q", got)
	}
}

// The loop of STYLE.md asks Crashed after Reboot, and ends when the work got to its end.
func TestCrashedAfterReboot(t *testing.T) {
	for n := 1; n < 100; n++ {
		disk := New().Dirs("tmp", "new").CrashAt(n)
		put(disk, "wrs")
		disk.Reboot()
		if !disk.Crashed() {
			return
		}
	}
	t.Error("it never ends")
}
