package remote

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"os"
	"strings"
	"testing"

	"pennypost/internal/address"
	"pennypost/internal/config"
	"pennypost/internal/dns/fixture"
	"pennypost/internal/maillog"
	"pennypost/internal/order"
	"pennypost/queue"
)

// BenchmarkDeliver is one message of 4 KiB over a connection that is open, to a host with PIPELINING only, host included.
func BenchmarkDeliver(b *testing.B) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go swallow(conn)
		}
	}()
	server, err := fixture.Start("127.0.0.1:0", "example.test MX 10 mx.example.test\nmx.example.test A 127.0.0.1")
	if err != nil {
		b.Fatal(err)
	}
	defer server.Close()
	conf := config.Default()
	conf.State, conf.DNS.Probe = b.TempDir(), ""
	conf.DNS.Servers, conf.Remote.Port, conf.Remote.RefuseNetworks = []string{server.Addr()}, l.Addr().(*net.TCPAddr).Port, nil
	c, err := New(conf, &maillog.Log{Out: discard{}})
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	text := "Subject: hi\n\n" + strings.Repeat(strings.Repeat("x", 70)+"\n", 57)
	from, _ := address.Parse("alice@we.test")
	to, _ := address.Parse("bob@example.test")
	env := &queue.Envelope{ID: "0fk2v9qk3x7m2c000-a", Via: "submit", From: from, Mail: "BODY=8BITMIME", Rcpts: []queue.Rcpt{{N: 1, To: to}},
		Body: queue.Body{Length: int64(len(text)), Hash: strings.Repeat("0", 32), Wire: int64(len(text) + 59)}}
	head := env.Append(nil)
	f, err := os.CreateTemp(b.TempDir(), "m")
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	f.Write(append(head, text...))
	o := &order.Order{Verb: "deliver", Seq: 1, ID: env.ID, Site: "mx.example.test+1", Header: int64(len(head)), Size: int64(len(text)), Wire: env.Body.Wire,
		Rcpts: []order.Rcpt{{Num: queue.Num{N: 1}, To: to}}}
	b.ReportAllocs()
	b.ResetTimer()
	for b.Loop() {
		if a := c.Deliver(context.Background(), o, int(f.Fd()), nil, nil); a[0].Kind != 'K' {
			b.Fatal(show(a))
		}
	}
}

type discard struct{}

func (discard) Write(b []byte) (int, error) { return len(b), nil }

// swallow is a host that takes everything, at little cost.
func swallow(conn net.Conn) {
	defer conn.Close()
	r := bufio.NewReaderSize(conn, 64<<10)
	fmt.Fprint(conn, "220 sink\r\n")
	var out []byte
	for data := false; ; {
		line, err := r.ReadSlice('\n')
		if err != nil {
			return
		}
		switch {
		case data && !(len(line) == 3 && line[0] == '.'):
			continue
		case data:
			data = false
			out = append(out, "250 ok\r\n"...)
		case line[0] == 'E':
			out = append(out, "250-sink\r\n250 PIPELINING\r\n"...)
		case line[0] == 'D':
			data = true
			out = append(out, "354 go\r\n"...)
		default:
			out = append(out, "250 ok\r\n"...)
		}
		if r.Buffered() == 0 {
			conn.Write(out)
			out = out[:0]
		}
	}
}

// BenchmarkWorker is the same through orders, 20 under way at once.
func BenchmarkWorker(b *testing.B) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go swallow(conn)
		}
	}()
	conf := config.Default()
	conf.State, conf.DNS.Probe = b.TempDir(), ""
	conf.Routes = map[string]config.Route{}
	c, err := New(conf, &maillog.Log{Out: discard{}})
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	text := "Subject: hi\n\n" + strings.Repeat(strings.Repeat("x", 70)+"\n", 57)
	from, _ := address.Parse("alice@we.test")
	to, _ := address.Parse("bob@example.test")
	env := &queue.Envelope{ID: "0fk2v9qk3x7m2c000-a", Via: "submit", From: from, Mail: "BODY=8BITMIME", Rcpts: []queue.Rcpt{{N: 1, To: to}},
		Body: queue.Body{Length: int64(len(text)), Hash: strings.Repeat("0", 32), Wire: int64(len(text) + 59)}}
	head := env.Append(nil)
	f, err := os.CreateTemp(b.TempDir(), "m")
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	f.Write(append(head, text...))
	o := order.Order{Verb: "deliver", Seq: 1, ID: env.ID, Site: "smtp://" + l.Addr().String(), Header: int64(len(head)), Size: int64(len(text)), Wire: env.Body.Wire,
		Rcpts: []order.Rcpt{{Num: queue.Num{N: 1}, To: to}}}
	ours, theirs, err := order.Pair()
	if err != nil {
		b.Fatal(err)
	}
	defer theirs.Close()
	worker := make(chan error, 1)
	go func() { worker <- Serve(context.Background(), c, int(theirs.Fd())) }()
	b.ReportAllocs()
	b.ResetTimer()
	sent, done := 0, 0
	for done < b.N {
		n := min(20-(sent-done), b.N-sent)
		orders, fds := make([]order.Order, n), make([]int, n)
		for i := range n {
			o.Seq++
			orders[i], fds[i] = o, int(f.Fd())
		}
		sent += n
		if err := ours.SendOrders(orders, fds); err != nil {
			b.Fatal(err)
		}
		answers, err := ours.ReceiveAnswers()
		if err != nil {
			b.Fatal(err)
		}
		for _, a := range answers {
			switch a.Kind {
			case 'E':
				done++
			case 'Z', 'D', 'S':
				b.Fatal(show(answers))
			}
		}
	}
	ours.Close()
	<-worker
}
