package order

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"pennypost/internal/address"
	"pennypost/internal/status"
	"pennypost/queue"
)

const id = "6c471ypcvr4pwh0zg-t"

func addr(t testing.TB, s string) address.Path {
	p, err := address.Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func samples(t testing.TB) []Order {
	sender := addr(t, "SRS0=ab=cd=example.com=alice@example.org")
	null := address.Path{}
	return []Order{
		{Verb: "quit"},
		{Verb: "next", Seq: 7},
		{Verb: "resolve", Seq: 8, Domain: "xn--bcher-kva.example"},
		{Verb: "deliver", Seq: 1<<64 - 1, ID: id, Attempt: 1, Site: "local", Ready: true, Size: 12, Wire: 14,
			Rcpts: []Rcpt{{queue.Num{N: 1}, addr(t, "bob@example.org")}}},
		{Verb: "deliver", Seq: 2, ID: id, Attempt: 3, Repeat: true, Site: "smtp://relay.example.org:587", Header: 200, Size: 12, Sender: &sender, Junk: true,
			Rcpts: []Rcpt{{queue.Num{N: 2, Sub: 3}, addr(t, `"a b"@example.net`)}, {queue.Num{N: 4}, addr(t, "jürgen@bücher.example")}}},
		{Verb: "deliver", Seq: 3, ID: id, Attempt: 1, Site: "s", Sender: &null, Rcpts: []Rcpt{{queue.Num{N: 1}, addr(t, "bob@example.org")}}},
	}
}

func answers(t testing.TB) []Answer {
	return []Answer{
		{Kind: 'K', Seq: 1, Num: queue.Num{N: 1}, Result: status.Result{Code: 250, Enhanced: "2.0.0", Text: "ok id=1rX %\n\"x\""}, Host: "mx1.example.org[192.0.2.5]", TLS: "dane", DSN: true},
		{Kind: 'Z', Seq: 2, Num: queue.Num{N: 2, Sub: 1}, Result: status.Result{Outcome: status.Deferred, Code: 451, Enhanced: "4.3.0"}},
		{Kind: 'D', Seq: 3, Result: status.Result{Outcome: status.Failed, Code: 550, Enhanced: "5.1.1", Text: "-"}},
		{Kind: 'S', Seq: 4, Result: status.Result{Text: "mx1: timed out"}},
		{Kind: 'E', Seq: 5},
		{Kind: 'F', Seq: 6, Num: queue.Num{N: 1}, Target: addr(t, "carol@example.net")},
		{Kind: 'R', Seq: 7, Site: "mx.example.org+0a1b2c3d", TTL: time.Hour},
	}
}

func TestRoundTrip(t *testing.T) {
	for _, o := range samples(t) {
		packet := o.Append(nil)
		got, err := ParseOrder(packet)
		if diff := cmp.Diff(o, got); err != nil || diff != "" {
			t.Errorf("%s: %v\n%s", packet, err, diff)
		}
	}
	for _, a := range answers(t) {
		line := a.Append(nil)
		got, err := ParseAnswer(line)
		if diff := cmp.Diff(a, got); err != nil || diff != "" {
			t.Errorf("%s: %v\n%s", line, err, diff)
		}
	}
}

func TestRefused(t *testing.T) {
	for _, s := range []string{
		"", "deliver", "deliver x", "deliver 1 ../../etc/passwd attempt=1 rcpt=1:a@b", "deliver 1 " + id, "deliver 1 " + id + " attempt=-1 rcpt=1:a@b.c",
		"deliver 1 " + id + " rcpt=x:a@b.c", "deliver 1 " + id + " rcpt=1", "deliver 1 " + id + " size=-1 rcpt=1:a@b.c", "deliver 1 " + id + " form=odd rcpt=1:a@b.c",
		"deliver 1 " + id + "  rcpt=1:a@b.c", "resolve 1", "resolve 1 ", "resolve -1 x", "burn 1", "quit\nquit", "deliver 1 " + id + " rcpt=1:%zz@b.c", "next",
	} {
		if o, err := ParseOrder([]byte(s)); !errors.Is(err, ErrProtocol) && s != "quit\nquit" || err == nil {
			t.Errorf("%q: %+v, %v", s, o, err)
		}
	}
	for _, s := range []string{"", "K", "K 1", "K x 1 2.0.0 250 ok", "K 1 1 2.0.0 9999 ok", "K 1 1 2.0.0 x ok", "Q 1", "KK 1", "F 1 1 %zz", "site 1", "site 1 k ttl=-1", "site 1 k", "E", "S 1 %"} {
		if a, err := ParseAnswer([]byte(s)); err == nil {
			t.Errorf("%q: %+v", s, a)
		}
	}
}

func pair(t testing.TB) (*Conn, *Conn) {
	a, end, err := Pair()
	if err != nil {
		t.Fatal(err)
	}
	fd, err := unix.Dup(int(end.Fd()))
	end.Close()
	if err != nil {
		t.Fatal(err)
	}
	b, err := NewConn(fd)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Close(); b.Close() })
	return a, b
}

// TestConn sends more orders than one batch holds, every one with its own descriptor.
func TestConn(t *testing.T) {
	queueRun, worker := pair(t)
	file, err := os.Create(filepath.Join(t.TempDir(), "message"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	file.WriteString("Subject: hi\n")
	const n = 100
	go func() {
		var orders []Order
		var fds []int
		for i := range n {
			o := samples(t)[3]
			o.Seq = uint64(i)
			fd := int(file.Fd())
			if i%10 == 9 {
				fd = -1
			}
			orders, fds = append(orders, o), append(fds, fd)
		}
		if err := queueRun.SendOrders(orders, fds); err != nil {
			t.Error(err)
		}
	}()
	for seen := 0; seen < n; {
		orders, fds, err := worker.ReceiveOrders(7)
		if err != nil || len(orders) > 7 {
			t.Fatal(len(orders), err)
		}
		var list []Answer
		for i := range orders {
			if orders[i].Seq != uint64(seen) {
				t.Errorf("order %d has number %d", seen, orders[i].Seq)
			}
			if (fds[i] < 0) != (seen%10 == 9) {
				t.Errorf("order %d has descriptor %d", seen, fds[i])
			}
			if fds[i] >= 0 {
				var buf [12]byte
				if _, err := unix.Pread(fds[i], buf[:], 0); err != nil || string(buf[:]) != "Subject: hi\n" {
					t.Errorf("order %d: %q, %v", seen, buf, err)
				}
				unix.Close(fds[i])
			}
			list = append(list, Answer{Kind: 'E', Seq: orders[i].Seq})
			seen++
		}
		if err := worker.SendAnswers(list); err != nil {
			t.Fatal(err)
		}
	}
	for got := 0; got < n; {
		list, err := queueRun.ReceiveAnswers()
		if err != nil {
			t.Fatal(err)
		}
		for _, a := range list {
			if a.Seq != uint64(got) {
				t.Errorf("answer %d has number %d", got, a.Seq)
			}
			got++
		}
	}
	queueRun.Close()
	if _, _, err := worker.ReceiveOrders(0); err != io.EOF {
		t.Errorf("after the end: %v", err)
	}
}

// raw sends octets as one packet, with so many descriptors.
func raw(c *Conn, b []byte, fds ...int) {
	c.raw.Write(func(fd uintptr) bool {
		var oob []byte
		if len(fds) > 0 {
			oob = unix.UnixRights(fds...)
		}
		unix.Sendmsg(int(fd), b, oob, nil, 0)
		return true
	})
}

// TestS131Packets: empty, torn, oversized, binary packets and a flood of descriptors end that connection
// with an error, leak no descriptor and never panic.
func TestS131Packets(t *testing.T) {
	good := samples(t)[3]
	for name, send := range map[string]func(*Conn){
		"empty":            func(c *Conn) { raw(c, nil) },
		"partial":          func(c *Conn) { raw(c, good.Append(nil)[:20]) },
		"binary":           func(c *Conn) { raw(c, []byte("\x00\xff\xfe")) },
		"too long":         func(c *Conn) { raw(c, append(good.Append(nil), bytes.Repeat([]byte(" x=y"), MaxPacket/4)...)) },
		"many descriptors": func(c *Conn) { raw(c, good.Append(nil), 2, 2, 2, 2) },
		"stranger's fd":    func(c *Conn) { raw(c, []byte("what"), 2) },
	} {
		a, b := pair(t)
		before := descriptors(t)
		send(a)
		orders, fds, err := b.ReceiveOrders(0)
		if err == nil {
			t.Errorf("%s: %+v %v", name, orders, fds)
		}
		send(a)
		if list, err := b.ReceiveAnswers(); err == nil && len(list) > 0 {
			t.Errorf("%s: answers %+v", name, list)
		}
		if after := descriptors(t); after > before {
			t.Errorf("%s: %d descriptors before, %d after", name, before, after)
		}
	}
	if err := (func() error {
		a, _ := pair(t)
		return a.SendOrders([]Order{{Verb: strings.Repeat("x", MaxPacket)}}, nil)
	})(); err == nil {
		t.Error("a packet that is too long was sent")
	}
	if _, err := NewConn(int(os.Stderr.Fd())); err == nil {
		t.Error("took stderr for a socket")
	}
}

func descriptors(t testing.TB) int {
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Skip(err)
	}
	return len(list)
}

// TestS131Peer: a socket in the file system tells whose process is at the other end.
func TestS131Peer(t *testing.T) {
	path := filepath.Join(t.TempDir(), "sock")
	l, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		if c, err := Dial(path); err == nil {
			c.SendAnswers([]Answer{{Kind: 'E', Seq: 1}})
			c.Close()
		}
	}()
	c, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if uid, err := c.PeerUID(); err != nil || int(uid) != os.Getuid() {
		t.Errorf("uid %d, %v", uid, err)
	}
	if list, err := c.ReceiveAnswers(); err != nil || len(list) != 1 {
		t.Errorf("%v %v", list, err)
	}
	if l2, err := Listen(path); err != nil { // what a dead worker left
		t.Error(err)
	} else {
		l2.Close()
	}
}

func FuzzOrder(f *testing.F) {
	for _, o := range samples(f) {
		f.Add(o.Append(nil))
	}
	f.Fuzz(func(t *testing.T, packet []byte) {
		o, err := ParseOrder(packet)
		if err != nil {
			return
		}
		again, err := ParseOrder(o.Append(nil))
		if diff := cmp.Diff(o, again); err != nil || diff != "" {
			t.Errorf("%q: %v\n%s", packet, err, diff)
		}
	})
}

func FuzzAnswer(f *testing.F) {
	for _, a := range answers(f) {
		f.Add(a.Append(nil))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		a, err := ParseAnswer(line)
		if err != nil || len(a.Result.Text) > MaxText {
			return
		}
		again, err := ParseAnswer(a.Append(nil))
		if diff := cmp.Diff(a, again); err != nil || diff != "" {
			t.Errorf("%q: %v\n%s", line, err, diff)
		}
	})
}

func BenchmarkConn(b *testing.B) {
	queueRun, worker := pair(b)
	o := samples(b)[3]
	go func() {
		for {
			orders, _, err := worker.ReceiveOrders(0)
			if err != nil {
				return
			}
			list := make([]Answer, len(orders))
			for i := range orders {
				list[i] = Answer{Kind: 'E', Seq: orders[i].Seq}
			}
			worker.SendAnswers(list)
		}
	}()
	b.ReportAllocs()
	for b.Loop() {
		queueRun.SendOrders([]Order{o}, []int{-1})
		queueRun.ReceiveAnswers()
	}
}
