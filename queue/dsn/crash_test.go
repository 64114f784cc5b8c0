package dsn

import (
	"errors"
	"strings"
	"syscall"
	"testing"

	"pennypost/internal/durable/faultdisk"
	"pennypost/queue"
)

// spool is a disk with an empty spool.
func spool(t *testing.T, disk *faultdisk.Disk) *queue.Spool {
	t.Helper()
	if err := queue.MakeOn(disk, "a"); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{".", "in", "in/bounce", "in/adopt"} {
		if err := disk.SyncDir(dir); err != nil {
			t.Fatal(err)
		}
	}
	return open(t, disk)
}

func open(t *testing.T, disk *faultdisk.Disk) *queue.Spool {
	t.Helper()
	s, err := queue.OpenOn(disk)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// reports are the report's files anywhere but in tmp/.
func reports(files map[string]string) (names []string) {
	for name := range files {
		if strings.HasSuffix(name, "/"+id+".b1") && !strings.Contains(name, "/tmp/") {
			names = append(names, name)
		}
	}
	return names
}

// TestPowerCut lets the power go at every step of writing a report, and after it makes the report again
// as queue-run does: it must be there, whole, once.
func TestPowerCut(t *testing.T) {
	for _, disk := range []func() *faultdisk.Disk{faultdisk.New, faultdisk.NewStrict} {
		for luck := range 6 {
			for n := 1; ; n++ {
				s := spool(t, disk())
				d := s.Disk.(*faultdisk.Disk).CrashAt(n).Luck(luck)
				_, err := Queue(s, newReport(letter, "RET=FULL", noSuchUser))
				cut := d.Crashed()
				after := d.Restart()
				if names := reports(after.Files()); err == nil && (len(names) != 1 || !strings.HasSuffix(after.Files()[names[0]], ".b1--\n")) {
					t.Fatalf("cut at step %d (%s), luck %d: the report was said to be there, and there is %v", n, d.LastStep(), luck, names)
				}
				s = open(t, after)
				if _, err := Queue(s, newReport(letter, "RET=FULL", noSuchUser)); err != nil {
					t.Fatalf("cut at step %d (%s), luck %d: again: %v", n, d.LastStep(), luck, err)
				}
				final := s.Disk.(*faultdisk.Disk).Luck(0).Reboot()
				names := reports(final)
				if len(names) != 1 || !strings.HasSuffix(final[names[0]], ".b1--\n") {
					t.Fatalf("cut at step %d (%s), luck %d: made again, there is %v", n, d.LastStep(), luck, names)
				}
				if !cut {
					break
				}
			}
		}
	}
}

// TestDiskError lets every step fail once: no report, no litter in new/, and the next try succeeds.
func TestDiskError(t *testing.T) {
	for _, cause := range []error{syscall.ENOSPC, syscall.EIO, syscall.EDQUOT} {
		for n := 1; ; n++ {
			s := spool(t, faultdisk.New())
			d := s.Disk.(*faultdisk.Disk).FailAt(n, cause)
			_, err := Queue(s, newReport(letter, "", noSuchUser))
			if !d.Failed() {
				if err != nil {
					t.Fatal(err)
				}
				break
			}
			if err != nil && !errors.Is(err, cause) {
				t.Errorf("step %d (%s): %v", n, d.LastStep(), err)
			}
			if names := reports(d.Files()); (err == nil) != (len(names) == 1) {
				t.Errorf("step %d (%s): %v, and there is %v", n, d.LastStep(), err, names)
			}
			if _, err = Queue(s, newReport(letter, "", noSuchUser)); err != nil || len(reports(d.Files())) != 1 {
				t.Errorf("step %d (%s): again: %v", n, d.LastStep(), err)
			}
		}
	}
}

// TestOnce finds the report wherever it has got to.
func TestOnce(t *testing.T) {
	for name, move := range map[string]func(s *queue.Spool) error{
		"in/bounce/new": func(*queue.Spool) error { return nil },
		"q":             func(s *queue.Spool) error { _, err := s.Take("in/bounce/new/" + id + ".b1"); return err },
		"hold":          func(s *queue.Spool) error { return s.Hold("in/bounce/new/"+id+".b1", "nobody vouches for the sender") },
		"in/adopt/new": func(s *queue.Spool) error {
			if err := s.Hold("in/bounce/new/"+id+".b1", "x"); err != nil {
				return err
			}
			return s.Release(id + ".b1")
		},
	} {
		s := spool(t, faultdisk.New())
		env, err := Queue(s, newReport(letter, "", noSuchUser))
		if err != nil {
			t.Fatal(err)
		}
		m, err := s.Load("in/bounce/new/"+id+".b1", true)
		if err != nil || m.Env.Rcpts[0] != env.Rcpts[0] || !m.Env.From.IsNull() || m.Env.Class != "dsn" {
			t.Fatalf("%+v, %v", m, err)
		}
		if err := move(s); err != nil {
			t.Fatal(name, err)
		}
		before := s.Disk.(*faultdisk.Disk).Files()
		if _, err := Queue(s, newReport(letter, "", noSuchUser)); err != nil {
			t.Error(name, err)
		}
		if now := s.Disk.(*faultdisk.Disk).Files(); len(now) != len(before) || len(reports(now)) != 1 {
			t.Errorf("%s: written again: %v", name, reports(now))
		}
	}
}

// TestNobody has the reports that are not written.
func TestNobody(t *testing.T) {
	s := spool(t, faultdisk.New())
	r := newReport(letter, "", noSuchUser)
	r.Message.Env.From = path("")
	if _, err := Queue(s, r); err == nil {
		t.Error("a report to the null sender")
	}
	if _, err := Queue(s, newReport(letter, "")); err == nil {
		t.Error("a report of nothing")
	}
	if names := reports(s.Disk.(*faultdisk.Disk).Files()); len(names) > 0 {
		t.Error(names)
	}
}
