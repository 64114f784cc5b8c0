package listen

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestSource(t *testing.T) {
	for in, want := range map[string]string{
		"192.0.2.7": "192.0.2.7", "::ffff:192.0.2.7": "192.0.2.7", "2001:db8:1:2:3:4:5:6": "2001:db8:1:2::", "fe80::1%eth0": "fe80::",
	} {
		if got := Source(netip.MustParseAddr(in)).String(); got != want {
			t.Errorf("%s: %s, want %s", in, got, want)
		}
	}
	if Source(netip.Addr{}).IsValid() {
		t.Error("a unix socket has no source")
	}
}

// 2,000 connections of one source: as many as allowed are open at once, others are not affected; a whole /64 is one source, and so is, with
// a limit of its own, a /48.
func TestS074S075Counter(t *testing.T) {
	shared, err := OpenTable(filepath.Join(t.TempDir(), "mx"))
	if err != nil {
		t.Fatal(err)
	}
	for name, table := range map[string]*Table{"alone": NewTable(), "shared": shared} {
		t.Run(name, func(t *testing.T) { testCounter(t, table) })
	}
}

func testCounter(t *testing.T, table *Table) {
	l := &Limits{Total: 70, PerIPv4: 20, PerIPv6: 10, PerSite: 15, Exempt: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}
	var open []ticket
	count := func(n int, addr func(i int) netip.Addr) (added int) {
		for i := range n {
			if place, why := table.add(addr(i), l); why == "" {
				added++
				open = append(open, place)
			}
		}
		return
	}
	four := func(last byte) func(int) netip.Addr {
		return func(int) netip.Addr { return netip.AddrFrom4([4]byte{192, 0, 2, last}) }
	}
	six := func(i int) netip.Addr {
		return netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, 14: byte(i >> 8), 15: byte(i)})
	}
	nets := func(i int) netip.Addr {
		return netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, 6: byte(i >> 8), 7: byte(i), 15: 1})
	}
	table.Welcome(four(5)(0))
	for _, step := range []struct {
		who  string
		from func(int) netip.Addr
		want int
	}{
		{"one address", four(1), 20}, {"one /64", six, 10}, {"the rest of its /48", nets, 5}, {"another address", four(2), 20},
		{"strangers", four(3), 8}, {"the last tenth, for somebody known", four(5), 7}, {"all are taken", four(6), 0},
		{"exempt", func(int) netip.Addr { return netip.MustParseAddr("127.0.0.1") }, 2000},
	} {
		if got := count(2000, step.from); got != step.want {
			t.Errorf("%s: %d, want %d", step.who, got, step.want)
		}
	}
	for _, c := range open {
		c.done()
	}
	if len(table.own)+len(table.sites)+table.total+len(table.Sources())+table.Open() != 0 {
		t.Errorf("left over: %v %v %d %v", table.own, table.sites, table.total, table.Sources())
	}
}

func TestServe(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "sock")
	on, err := Open([]string{"127.0.0.1:0", "unix:" + path})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		done <- Serve(ctx, on, Limits{Total: 10}, func(c net.Conn) {
			io.WriteString(c, "hello")
			c.Close()
		}, func(net.Conn) { t.Error("refused") })
	}()
	for _, l := range on {
		c, err := net.Dial(l.Addr().Network(), l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		if b, err := io.ReadAll(c); err != nil || string(b) != "hello" {
			t.Errorf("%q %v", b, err)
		}
		c.Close()
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// A socket file left behind by a server that was killed is in nobody's way; one that is in use is left alone.
func TestAbandonedSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "sock")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Open([]string{"unix:" + path}); !errors.Is(err, unix.EADDRINUSE) {
		t.Errorf("in use: %v", err)
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	l.Close()
	again, err := Open([]string{"unix:" + path})
	if err != nil {
		t.Fatal(err)
	}
	again[0].Close()
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open([]string{"unix:" + path}); err == nil {
		t.Error("a file of somebody's was replaced")
	}
}

// empty is a listener of a process without descriptors; it counts how often it is asked.
type empty struct {
	net.Listener
	mu    sync.Mutex
	asked int
	until int
	conn  net.Conn
}

func (e *empty) Accept() (net.Conn, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.asked++; e.asked < e.until {
		return nil, &net.OpError{Op: "accept", Err: os.NewSyscallError("accept4", unix.EMFILE)}
	}
	if c := e.conn; c != nil {
		e.conn = nil
		return c, nil
	}
	return nil, net.ErrClosed
}

func (e *empty) Close() error { return nil }

// Without descriptors the accept loop waits instead of spinning, and goes on when there are some (S082).
func TestS082NoDescriptors(t *testing.T) {
	a, b := net.Pipe()
	defer a.Close()
	e := &empty{until: 4, conn: b}
	start := time.Now()
	var served bool
	if err := Serve(context.Background(), []net.Listener{e}, Limits{}, func(c net.Conn) { served = true; c.Close() }, func(net.Conn) {}); err != nil {
		t.Fatal(err)
	}
	if !served {
		t.Error("the connection that came afterwards was not served")
	}
	if time.Since(start) < 20*time.Millisecond {
		t.Error("no pause")
	}
}
