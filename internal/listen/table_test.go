package listen

import (
	"bufio"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"pennypost/internal/sources"
)

// TestSeveralProcesses: what other processes have open counts, until they end, however they end.
func TestSeveralProcesses(t *testing.T) {
	if path := os.Getenv("LISTEN_TEST_TABLE"); path != "" { // we are another process
		table, err := OpenTable(path)
		if err != nil {
			t.Fatal(err)
		}
		n, _ := strconv.Atoi(os.Getenv("LISTEN_TEST_OPEN"))
		got := 0
		for range n {
			if _, why := table.add(netip.MustParseAddr("192.0.2.1"), &Limits{PerIPv4: 20}); why == "" {
				got++
			}
		}
		fmt.Println("open", got)
		io.Copy(io.Discard, os.Stdin)
		os.Exit(0) // without a word to the table
	}
	path := filepath.Join(t.TempDir(), "mx")
	start := func(n int) (*exec.Cmd, io.Closer, string) {
		cmd := exec.Command(os.Args[0], "-test.run", "^TestSeveralProcesses$")
		cmd.Env = append(os.Environ(), "LISTEN_TEST_TABLE="+path, "LISTEN_TEST_OPEN="+strconv.Itoa(n))
		in, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		line, _ := bufio.NewReader(out).ReadString('\n')
		return cmd, in, strings.TrimSpace(line)
	}
	first, in1, said := start(15)
	if said != "open 15" {
		t.Fatal(said)
	}
	second, _, said := start(15)
	if said != "open 5" {
		t.Errorf("beside 15 others: %s", said)
	}
	table, err := OpenTable(path)
	if err != nil {
		t.Fatal(err)
	}
	l := &Limits{PerIPv4: 20}
	if _, why := table.add(netip.MustParseAddr("192.0.2.1"), l); why == "" {
		t.Error("a 21st was let in")
	}
	if _, why := table.add(netip.MustParseAddr("192.0.2.2"), l); why != "" {
		t.Error("another source:", why)
	}
	if got := table.Sources()[netip.MustParseAddr("192.0.2.1")]; got != 20 {
		t.Errorf("%d open", got)
	}
	if seen, err := sources.Look(path); err != nil || seen[netip.MustParseAddr("192.0.2.1")] != 20 || seen[netip.MustParseAddr("192.0.2.2")] != 1 {
		t.Errorf("%v %v", seen, err)
	}
	second.Process.Kill()
	second.Wait()
	if seen, _ := sources.Look(path); seen[netip.MustParseAddr("192.0.2.1")] != 15 {
		t.Errorf("after a kill %v", seen)
	}
	in1.Close()
	first.Wait()
	for range 20 {
		if _, why := table.add(netip.MustParseAddr("192.0.2.1"), l); why != "" {
			t.Fatal("after the others have ended:", why)
		}
	}
	if table.Open() != 21 {
		t.Errorf("%d in all", table.Open())
	}
}

// TestRate: a level rises with each event, leaks with time, and is shared by all processes.
func TestRate(t *testing.T) {
	path := filepath.Join(t.TempDir(), "mx")
	now := time.Now()
	var tables [2]*Table
	for i := range tables {
		var err error
		if tables[i], err = OpenTable(path); err != nil {
			t.Fatal(err)
		}
		tables[i].now = func() time.Time { return now }
	}
	a, b := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")
	r := Rate{60, time.Minute}
	for i := range 60 {
		if got := tables[i%2].Add(Messages, a, 1, r); got != i+1 {
			t.Fatalf("%d after %d", got, i+1)
		}
	}
	if got := tables[1].Level(Messages, b, r) + tables[1].Level(Recipients, a, r); got != 0 {
		t.Errorf("another source, another kind: %d", got)
	}
	now = now.Add(30 * time.Second)
	if got := tables[0].Level(Messages, a, r); got != 30 {
		t.Errorf("%d after half of the time", got)
	}
	tables[0].Add(Messages, a, 1000, r)
	if now = now.Add(2*time.Minute + 5*time.Second); tables[1].Level(Messages, a, r) != 0 {
		t.Error("never forgotten")
	}
	if tables[0].Known(b) {
		t.Error("nobody has logged in")
	}
	tables[0].Welcome(b)
	if now = now.Add(29 * 24 * time.Hour); !tables[1].Known(netip.MustParseAddr("2001:db8::77")) {
		t.Error("not known within the month")
	}
	if now = now.Add(2 * 24 * time.Hour); tables[1].Known(b) {
		t.Error("known after a month")
	}
}

// TestScarce: stress is told of once when it begins and once when it ends.
func TestScarce(t *testing.T) {
	table := NewTable()
	var told []string
	l := &Limits{Total: 100}
	tell := func() {
		if table.strained(l.Total) {
			told = append(told, fmt.Sprint(table.Scarce(), table.Open()))
		}
	}
	var open []ticket
	for i := range 90 {
		place, why := table.add(netip.AddrFrom4([4]byte{192, 0, 2, byte(i)}), l)
		if why != "" {
			t.Fatal(why)
		}
		tell()
		open = append(open, place)
	}
	if !table.Scarce() {
		t.Error("90 of 100 are many")
	}
	for _, place := range open {
		place.done()
		tell()
	}
	if got := strings.Join(told, ", "); got != "true 81, false 66" {
		t.Error(got)
	}
}

// TestTableDamaged: a file that is not ours is made anew; what others have mapped is never cut.
func TestTableDamaged(t *testing.T) {
	path := filepath.Join(t.TempDir(), "mx")
	for _, text := range []string{"x", strings.Repeat("x", sources.Size)} {
		os.WriteFile(path, []byte(text), 0o600)
		table, err := OpenTable(path)
		if err != nil {
			t.Fatal(err)
		}
		if _, why := table.add(netip.MustParseAddr("192.0.2.1"), &Limits{PerIPv4: 1}); why != "" {
			t.Error(why)
		}
	}
	os.Remove(path)
	os.Symlink("/dev/null", path)
	if _, err := OpenTable(path); err == nil {
		t.Error("followed a link")
	}
}

// TestS083Refusals: a flood of refusals is a few lines a second in the log.
func TestS083Refusals(t *testing.T) {
	var r refusals
	lines := 0
	for range 10000 {
		if r.mayTell(time.Unix(1, 0)) {
			lines++
		}
	}
	if lines != refusalLines || !r.mayTell(time.Unix(2, 0)) {
		t.Errorf("%d lines", lines)
	}
}

func BenchmarkAdd(b *testing.B) {
	table, err := OpenTable(filepath.Join(b.TempDir(), "mx"))
	if err != nil {
		b.Fatal(err)
	}
	l := &Limits{Total: 1000, PerIPv4: 20, Connects: Rate{1 << 30, time.Minute}}
	for b.Loop() {
		place, _ := table.add(netip.MustParseAddr("192.0.2.1"), l)
		place.done()
	}
}
