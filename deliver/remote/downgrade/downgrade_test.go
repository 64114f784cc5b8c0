package downgrade

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pennypost/internal/durable"
	"pennypost/internal/durable/faultdisk"
)

func open(t *testing.T, dir string) *Memory {
	t.Helper()
	disk, err := durable.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	m := &Memory{Wait: time.Hour, Warn: func(what string, err error) { t.Errorf("%s: %v", what, err) }}
	m.Open(disk)
	return m
}

// T10: a domain that had TLS is waited for, and after that given up; what is known is a file that anybody may remove.
func TestMemory(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "example.org")
	m := open(t, dir)
	if wait, _, _ := m.Lost("example.org"); wait != 0 {
		t.Errorf("never had: waits %s", wait)
	}
	m.Saw("example.org", true)
	m.Close()
	text, _ := os.ReadFile(file)
	var seen int64
	if n, err := fmt.Sscanf(string(text), "pennypost-tls: 1\nlevel: verified\nseen: %d\n", &seen); n != 1 || time.Now().Unix()-seen > 5 {
		t.Errorf("%q %v", text, err)
	}
	m = open(t, dir) // another process
	wait, since, forgotten := m.Lost("example.org")
	if wait < 59*time.Minute || since.Unix() != seen || forgotten {
		t.Errorf("lost: waits %s, since %s, %v", wait, since, forgotten)
	}
	m.Saw("example.org", false) // it is back
	if wait, _, _ := m.Lost("example.org"); wait < 59*time.Minute {
		t.Errorf("lost again: waits %s", wait)
	}
	m.Close()
	os.WriteFile(file, fmt.Appendf(nil, "pennypost-tls: 1\nlevel: encrypted\nseen: %d\nlost: %d\n", seen-7200, seen-3601), 0o644)
	m = open(t, dir)
	if wait, _, forgotten := m.Lost("example.org"); wait != 0 || !forgotten {
		t.Errorf("after the wait: %s, %v", wait, forgotten)
	}
	if _, err := os.Stat(file); err == nil {
		t.Error("given up, and the file is still there")
	}
	os.WriteFile(file, fmt.Appendf(nil, "pennypost-tls: 1\nlevel: encrypted\nseen: %d\n", seen-40*86400), 0o644)
	m = open(t, dir)
	if wait, _, forgotten := m.Lost("example.org"); wait != 0 || forgotten {
		t.Errorf("after a month: %s, %v", wait, forgotten)
	}
	os.Remove(file)
	m = open(t, dir)
	if wait, _, _ := m.Lost("example.org"); wait != 0 {
		t.Errorf("removed: waits %s", wait)
	}
	m.Close()
}

// A certificate that was good and is not is told once, and not where some hosts of a domain have good ones and others have not.
func TestProofLost(t *testing.T) {
	dir := t.TempDir()
	m := open(t, dir)
	m.Saw("example.org", true)
	if lost := m.Saw("example.org", false); !lost.IsZero() {
		t.Errorf("on the same day: %s", lost)
	}
	m.Close()
	yesterday := time.Now().Add(-25 * time.Hour).Unix()
	os.WriteFile(filepath.Join(dir, "example.org"), fmt.Appendf(nil, "pennypost-tls: 1\nlevel: verified\nseen: %d\n", yesterday), 0o644)
	m = open(t, dir)
	if lost := m.Saw("example.org", false); lost.Unix() != yesterday {
		t.Errorf("a day later: %s", lost)
	}
	if lost := m.Saw("example.org", false); !lost.IsZero() {
		t.Errorf("told again: %s", lost)
	}
	m.Close()
	if text, _ := os.ReadFile(filepath.Join(dir, "example.org")); !strings.Contains(string(text), "level: encrypted\n") {
		t.Errorf("%q", text)
	}
}

// Without a wait nothing is remembered.
func TestOff(t *testing.T) {
	dir := t.TempDir()
	m := open(t, dir)
	m.Wait = 0
	m.Saw("example.org", true)
	m.Close()
	if left, _ := os.ReadDir(dir); len(left) > 0 {
		t.Error(left)
	}
	(&Memory{Wait: time.Hour}).Saw("example.org", true) // no directory: no harm
}

func TestParse(t *testing.T) {
	now := time.Unix(1800000000, 0)
	for text, ok := range map[string]bool{
		"pennypost-tls: 1\nlevel: verified\nseen: 1799999999\n":                    true,
		"pennypost-tls: 1\nlevel: verified\nseen: 1900000000\n":                    true, // the clock was wrong
		"pennypost-tls: 1\nlevel: verified\nseen: 1799999999\nlost: x\nnew: 1\n":   true,
		"pennypost-tls: 2\nlevel: verified\nseen: 1799999999\n":                    false,
		"pennypost-tls: 1\nlevel: none\nseen: 1799999999\n":                        false,
		"pennypost-tls: 1\nlevel: verified\n":                                      false,
		"pennypost-tls: 1\nlevel: verified\nseen: 99999999999999999999999999999\n": false,
		"rubbish": false,
	} {
		r, err := parse(text, now)
		if (err == nil) != ok || r.seen.After(now) || ok && r.format() == "" {
			t.Errorf("%q: %+v %v", text, r, err)
		}
	}
}

// What a cut leaves is the old file, or as much of the new one as reached the disk; never a mixture.
func TestCut(t *testing.T) {
	old, fresh := "pennypost-tls: 1\nlevel: verified\nseen: 1\n", "pennypost-tls: 1\nlevel: encrypted\nseen: 2\n"
	for n := 1; ; n++ {
		disk := faultdisk.New().Put("example.org", old).CrashAt(n)
		write(disk, "example.org", fresh)
		if text, there := disk.Reboot()["example.org"]; there && text != old && !strings.HasPrefix(fresh, text) {
			t.Errorf("cut at step %d (%s): %q", n, disk.LastStep(), text)
		}
		if !disk.Crashed() {
			return
		}
	}
}
