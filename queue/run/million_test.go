package run

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"pennypost/internal/escape"
	"pennypost/internal/order"
	"pennypost/internal/status"
	"pennypost/queue"
)

// TestMillion starts beside a million messages for dead sites: new mail is delivered within a second and the heap stays under 400 MB. It wants
// PENNYPOST_MILLION=1 (or another number of messages, in thousands) and a disk with room for as many names.
func TestMillion(t *testing.T) {
	var thousands int
	if fmt.Sscan(os.Getenv("PENNYPOST_MILLION"), &thousands); thousands == 0 {
		t.Skip("set PENNYPOST_MILLION to a number of thousands of messages; 1000 takes a minute")
	}
	b := newBench(t)
	b.mail = func(o *order.Order) []order.Answer {
		if strings.Contains(o.Site, "dead") {
			return []order.Answer{{Kind: 'S', Seq: o.Seq, Result: status.Result{Text: "timed out"}}, {Kind: 'E', Seq: o.Seq}}
		}
		return say(status.Result{Code: 250, Enhanced: "2.0.0"})(o)
	}
	ok := b.local
	b.makeMillion(thousands * 1000)
	for _, name := range []string{"with the checkpoint", "again"} {
		runtime.GC()
		before := heap()
		b.put("mx", "alice@example.net", "bob@example.org")
		came := make(chan time.Time, 10)
		b.local = func(o *order.Order) []order.Answer { came <- time.Now(); return ok(o) }
		began := time.Now()
		b.start()
		first := (<-came).Sub(began)
		b.eventuallyIn(2*time.Minute, "scan", b.run.scannedNow)
		scan := time.Since(began)
		runtime.GC()
		t.Logf("%s: new mail delivered after %v, scan over after %v, %d messages, heap %d MiB", name, first, scan, len(b.run.all), (heap()-before)>>20)
		if first > time.Second {
			t.Errorf("first new mail after %v", first)
		}
		if h := heap() - before; h > 400<<20 {
			t.Errorf("heap of %d MiB", h>>20)
		}
		b.end()
		b.orders = nil
	}
}

func heap() uint64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapInuse
}

// makeMillion fills q/ with messages the checkpoint knows, for sites that are known to be down.
func (b *bench) makeMillion(n int) {
	f, err := os.Create(filepath.Join(b.dir, "index/1"))
	if err != nil {
		b.t.Fatal(err)
	}
	w := bufio.NewWriter(f)
	fmt.Fprintf(w, "%s%d.0\n", checkpointMagic, time.Now().Unix())
	dir := ""
	start := time.Now().Add(-5 * time.Hour)
	step := 5 * time.Hour / time.Duration(n)
	for i := range n {
		at := start.Add(time.Duration(i) * step)
		id := idAt(at, uint32(i))
		if d := queue.QPath(id); d != dir {
			dir = d
			os.MkdirAll(filepath.Join(b.dir, dir), 0o755)
		}
		env := queue.Envelope{ID: id, Time: at, Via: "submit test", From: path("alice@example.org"), Body: queue.Body{Length: -1},
			Rcpts: []queue.Rcpt{{N: 1, To: path(fmt.Sprintf("bob@dead%d.example", i%1000))}}}
		if err := os.WriteFile(filepath.Join(b.dir, dir, id), append(env.Append(nil), "hi\n"...), 0o600); err != nil {
			b.t.Fatal(err)
		}
		fmt.Fprintf(w, "%s %d 3 1 0 1.1 0 mx.dead%d.example+00000000 flow%d.example -\n", id, 18000-18000*i/n, i%1000, i%500)
	}
	w.Flush()
	f.Close()
	defer unix.Sync() // or the first fsync of the runner pays for all this
	for i := range 1000 {
		key := fmt.Sprintf("mx.dead%d.example+00000000", i)
		text := "site: " + key + "\nstate: parked\nwindow: 1.0\nwait: 30m0s\n"
		if err := os.WriteFile(filepath.Join(b.dir, "site", escape.File(key)), []byte(text), 0o644); err != nil {
			b.t.Fatal(err)
		}
	}
}

// idAt is an id of a time.
func idAt(at time.Time, chance uint32) string {
	const letters = "0123456789abcdefghjkmnpqrstvwxyz"
	var b [17]byte
	micros := uint64(at.UnixMicro())
	lo, hi := micros<<32|uint64(chance), micros>>32
	for i := 16; i >= 0; i-- {
		b[i] = letters[lo&31]
		lo = lo>>5 | hi<<59
		hi >>= 5
	}
	return string(b[:]) + "-t"
}
