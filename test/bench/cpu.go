package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// meter is the CPU time of all processes of one server: a cgroup of their own.
type meter struct {
	dir string // of the cgroup; "" there is none: no figure
	v2  bool
}

// newMeter makes a cgroup, version 1 or 2. Without root, or where cgroups may not be made, there is no CPU column.
func newMeter(name string) *meter {
	name = fmt.Sprintf("pennypost-bench-%s-%d", name, os.Getpid())
	for _, try := range []struct {
		root string
		v2   bool
	}{{"/sys/fs/cgroup/cpuacct", false}, {"/sys/fs/cgroup", true}} {
		dir := filepath.Join(try.root, name)
		if err := os.Mkdir(dir, 0o755); err != nil {
			continue
		}
		m := &meter{dir, try.v2}
		if _, err := m.used(); err == nil {
			return m
		}
		os.Remove(dir)
	}
	return &meter{}
}

// wrap is the argv that starts a program inside the cgroup.
func (m *meter) wrap() []string {
	if m.dir == "" {
		return nil
	}
	return []string{"/bin/sh", "-c", "echo $$ >" + m.dir + "/cgroup.procs && exec \"$@\"", "sh"}
}

// used is the CPU time since the cgroup was made.
func (m *meter) used() (time.Duration, error) {
	if m.dir == "" {
		return 0, fmt.Errorf("no cgroup")
	}
	if !m.v2 {
		text, err := os.ReadFile(filepath.Join(m.dir, "cpuacct.usage"))
		if err != nil {
			return 0, err
		}
		ns, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
		return time.Duration(ns), err
	}
	text, err := os.ReadFile(filepath.Join(m.dir, "cpu.stat"))
	if err != nil {
		return 0, err
	}
	for line := range bytes.Lines(text) {
		if value, ok := bytes.CutPrefix(line, []byte("usage_usec ")); ok {
			us, err := strconv.ParseInt(string(bytes.TrimSpace(value)), 10, 64)
			return time.Duration(us) * time.Microsecond, err
		}
	}
	return 0, fmt.Errorf("%s/cpu.stat has no usage_usec", m.dir)
}

// memory is what the processes hold in RAM, pages that several share counted once: their PSS.
func (m *meter) memory() (octets int64, processes int, err error) {
	if m.dir == "" {
		return 0, 0, fmt.Errorf("no cgroup")
	}
	text, err := os.ReadFile(filepath.Join(m.dir, "cgroup.procs"))
	if err != nil {
		return 0, 0, err
	}
	for _, pid := range bytes.Fields(text) {
		rollup, err := os.ReadFile(fmt.Sprintf("/proc/%s/smaps_rollup", pid))
		if err != nil {
			continue // ended meanwhile
		}
		processes++
		for line := range bytes.Lines(rollup) {
			if value, ok := bytes.CutPrefix(line, []byte("Pss:")); ok {
				kib, _ := strconv.ParseInt(string(bytes.Fields(value)[0]), 10, 64)
				octets += kib << 10
			}
		}
	}
	return octets, processes, nil
}

// close removes the cgroup when its processes have ended.
func (m *meter) close() {
	if m.dir == "" {
		return
	}
	for range 100 {
		if os.Remove(m.dir) == nil {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
}
