package remote

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pennypost/internal/config"
	"pennypost/internal/maillog"
	"pennypost/internal/order"
	"pennypost/queue"
)

// BenchmarkSigned is BenchmarkDeliver of messages that are signed, host and signer included: with both keys, with Ed25519 alone, for a domain
// without keys, and where nothing is signed.
func BenchmarkSigned(b *testing.B) {
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
	for _, which := range []struct {
		name, from string
		sign       bool
		size       int
	}{{"nobody/4KiB", "alice@far.test", false, 4 << 10}, {"no key/4KiB", "alice@far.test", true, 4 << 10}, {"both/4KiB", "alice@we.test", true, 4 << 10},
		{"ed25519/4KiB", "alice@we.test", true, 4 << 10}, {"nobody/25MiB", "alice@far.test", false, 25 << 20}, {"both/25MiB", "alice@we.test", true, 25 << 20}} {
		b.Run(which.name, func(b *testing.B) {
			k := newKeyring(b)
			if strings.HasPrefix(which.name, "ed25519") {
				files, _ := filepath.Glob(k.store.Dir + "/we.test/dkim/r*.key")
				os.Remove(files[0])
			}
			conf := config.Default()
			conf.State, conf.Remote.Sign = b.TempDir(), ""
			if which.sign {
				conf.Remote.Sign = "unix:" + k.socket
			}
			c, err := New(conf, &maillog.Log{Out: discard{}})
			if err != nil {
				b.Fatal(err)
			}
			defer c.Close()
			text := strings.Replace(fromAlice, "alice@we.test", which.from, 1) + "\n" + strings.Repeat(strings.Repeat("x", 70)+"\n", which.size/71)
			f, o := benchOrder(b, text, which.from, "smtp://"+l.Addr().String())
			b.SetBytes(int64(len(text)))
			b.ReportAllocs()
			for b.Loop() {
				lines := c.signs.lines // each message is another
				for id := range lines {
					delete(lines, id)
				}
				if a := c.Deliver(context.Background(), o, int(f.Fd()), nil, nil); a[0].Kind != 'K' {
					b.Fatal(show(a))
				}
			}
		})
	}
}

func benchOrder(t testing.TB, text, from, site string) (*os.File, *order.Order) {
	env := &queue.Envelope{ID: "0fk2v9qk3x7m2c000-a", Via: "submit", From: path(from), Mail: "BODY=8BITMIME", Rcpts: []queue.Rcpt{{N: 1, To: path("bob@example.test")}},
		Body: queue.Body{Length: int64(len(text)), Hash: strings.Repeat("0", 32), Wire: int64(len(text) + strings.Count(text, "\n"))}}
	head := env.Append(nil)
	f, err := os.CreateTemp(t.TempDir(), "m")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	fmt.Fprintf(f, "%s%s", head, text)
	return f, &order.Order{Verb: "deliver", Seq: 1, ID: env.ID, Site: site, Header: int64(len(head)), Size: int64(len(text)), Wire: env.Body.Wire,
		Rcpts: []order.Rcpt{{Num: queue.Num{N: 1}, To: path("bob@example.test")}}}
}
