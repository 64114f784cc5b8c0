package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"pennypost/queue"
	"pennypost/test/lab"
	"pennypost/test/sink"
)

// cold measures a start with a million messages in the queue, all for sites that are dead: how soon is new mail delivered, how
// much memory does the runner take, and what does other mail feel of it?
func cold(o options) error {
	d, err := o.disk()
	if err != nil {
		return err
	}
	defer d.remove()
	if o.quick {
		o.million /= 20
	}
	ours, h, err := startPennypost(d, o.bin, o.base, "", nil)
	if err != nil {
		return err
	}
	defer ours.stop()
	const sites = 1000
	for i := range sites {
		if err := h.Lab().Name(fmt.Sprintf("dead%d.test", i), fmt.Sprintf("127.0.%d.%d", 100+i/250, 1+i%250)); err != nil {
			return err
		}
	}
	// delay notices go to a mailbox that is not watched
	if err := h.AddUser("waiting"); err != nil {
		return err
	}
	if err := ours.warm(); err != nil {
		return err
	}
	quiet, err := delays(ours, 1000)
	if err != nil {
		return err
	}
	h.Stop()
	begun := time.Now()
	if err := fillQueue(h.Spool(), o.million, sites); err != nil {
		return err
	}
	fmt.Fprintf(os.Stderr, "%d messages written in %.0f s\n", o.million, time.Since(begun).Seconds())
	a, err := watchNew(ours.maildirs, false)
	if err != nil {
		return err
	}
	defer a.close()
	begun = time.Now()
	if err := h.Lab().Up(); err != nil {
		return err
	}
	up := time.Since(begun)
	l := load{addr: ours.addr, from: "new@elsewhere.test", rcpt: ours.rcpt, n: 1, clients: 1, size: 4096}
	if _, err := l.run(); err != nil {
		return err
	}
	if err := a.wait(1, 120*time.Second); err != nil {
		return err
	}
	first := time.Since(begun)
	loaded, err := delays(ours, 1000)
	if err != nil {
		return err
	}
	early, _ := memory(h.Program("queue-run").Pid())
	time.Sleep(o.settle) // the scan goes on, sites are tried and parked
	late, peak := memory(h.Program("queue-run").Pid())
	later, err := delays(ours, 1000)
	if err != nil {
		return err
	}
	return o.print(fmt.Sprintf(`%s, %s: %d messages queued for %d dead sites

| what | figure |
|---|---|
| start of all programs to every port answering | %d ms |
| start to the first new message in its Maildir | %d ms |
| memory of queue-run just then; later; most | %d; %d; %d MiB |
| SMTP to Maildir, p50 and p95: empty queue | %v, %v |
| just after the start | %v, %v (p95 %+.0f %%) |
| %v later | %v, %v (p95 %+.0f %%) |
`, time.Now().UTC().Format("2006-01-02"), d.what, o.million, sites, up.Milliseconds(), first.Milliseconds(), early>>20, late>>20, peak>>20,
		quiet.percentile(.5), quiet.percentile(.95), loaded.percentile(.5), loaded.percentile(.95), more(loaded, quiet), o.settle,
		later.percentile(.5), later.percentile(.95), more(later, quiet)))
}

// more is how much worse p95 is, in per cent.
func more(now, before taken) float64 {
	return 100 * (float64(now.percentile(.95))/float64(before.percentile(.95)) - 1)
}

// delays sends n messages one by one, each after the one before has arrived, and measures from the first command to the file in new/.
func delays(s *server, n int) (taken, error) {
	a, err := watchNew(s.maildirs, false)
	if err != nil {
		return taken{}, err
	}
	defer a.close()
	var t taken
	conn, err := connect(s.addr)
	if err != nil {
		return t, err
	}
	defer conn.quit()
	body := load{size: 4096}.body()
	for i := range n {
		begun := time.Now()
		if err := conn.send("one@elsewhere.test", s.rcpt(i), i, body); err != nil {
			return t, err
		}
		for a.count.Load() <= int64(i) {
			if time.Since(begun) > 30*time.Second {
				return t, fmt.Errorf("message %d did not arrive", i)
			}
			time.Sleep(100 * time.Microsecond)
		}
		t.latencies = append(t.latencies, time.Since(begun).Round(10*time.Microsecond))
		time.Sleep(time.Millisecond)
	}
	t.sort()
	return t, nil
}

// memory is the resident size of a process, now and at most.
func memory(pid int) (now, most int64) {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid)) // gone: zero
	for line := range strings.Lines(string(text)) {
		f := strings.Fields(line)
		if len(f) < 2 {
			continue
		}
		kib, _ := strconv.ParseInt(f[1], 10, 64)
		switch f[0] {
		case "VmRSS:":
			now = kib << 10
		case "VmHWM:":
			most = kib << 10
		}
	}
	return now, most
}

// fillQueue writes n messages into q/, spread over the last two days and over the sites, without a sync for each.
func fillQueue(spool string, n, sites int) error {
	const workers = 4
	var all sync.WaitGroup
	failed := make([]error, workers)
	begin := time.Now().Add(-48 * time.Hour)
	for w := range workers {
		all.Go(func() {
			made := map[string]bool{}
			for i := w * n / workers; i < (w+1)*n/workers && failed[w] == nil; i++ {
				at := begin.Add(47 * time.Hour * time.Duration(i) / time.Duration(n))
				failed[w] = writeQueued(spool, i, sites, at, made)
			}
		})
	}
	all.Wait()
	for _, err := range failed {
		if err != nil {
			return err
		}
	}
	return nil
}

func writeQueued(spool string, i, sites int, at time.Time, made map[string]bool) error {
	id := idAt(at, uint32(i))
	dir := filepath.Join(spool, queue.QPath(id))
	if !made[dir] {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
		made[dir] = true
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "pennypost: 1\nid: %s\nvia: submit esmtpsa\nauth: waiting@bench.test\nfrom: waiting@bench.test\nrcpt: 1 user%d@dead%d.test\n\n", id, i, i%sites)
	fmt.Fprintf(&b, "From: waiting@bench.test\nTo: user%d@dead%d.test\nSubject: waiting\nMessage-ID: <%s@bench.test>\n\nSomebody will read this one day.\n", i, i%sites, id)
	return os.WriteFile(filepath.Join(dir, id), b.Bytes(), 0o640)
}

// idAt is an id as queue.NewID makes them, of another time.
func idAt(at time.Time, chance uint32) string {
	const letters = "0123456789abcdefghjkmnpqrstvwxyz"
	micros := uint64(at.UnixMicro())
	lo, hi := micros<<32|uint64(chance), micros>>32
	var b [17]byte
	for i := len(b) - 1; i >= 0; i-- {
		b[i] = letters[lo&31]
		lo, hi = lo>>5|hi<<59, hi>>5
	}
	return string(b[:]) + "-a"
}

// holes measures live destinations while three of ten are black holes that accept a connection and never say a word.
func holes(o options) error {
	d, err := o.disk()
	if err != nil {
		return err
	}
	defer d.remove()
	n := 2000
	if o.quick {
		n = 200
	}
	var mu sync.Mutex
	arrived := map[string]time.Time{}
	ours, h, err := startPennypost(d, o.bin, o.base, "", nil)
	if err != nil {
		return err
	}
	defer ours.stop()
	const sites = 50
	for i := range sites {
		ip := fmt.Sprintf("127.0.50.%d", 1+i)
		if err := h.Lab().Name(site(i), ip); err != nil {
			return err
		}
		addr := fmt.Sprintf("%s:%d", ip, o.base+25)
		if hole(i) {
			l, err := sink.BlackHole(addr)
			if err != nil {
				return err
			}
			defer l.Close()
			continue
		}
		s := &sink.Server{OnMessage: func(m sink.Message, _ []byte) {
			mu.Lock()
			arrived[m.To[0]] = time.Now()
			mu.Unlock()
		}}
		if err := s.Start(addr); err != nil {
			return err
		}
		defer s.Close()
	}
	if err := ours.warm(); err != nil {
		return err
	}
	sent := map[string]time.Time{}
	conn, err := connect(ours.addr)
	if err != nil {
		return err
	}
	body := load{size: 4096}.body()
	live := 0
	for i := range n {
		to := fmt.Sprintf("user%d@%s", i, site(i%sites))
		if err := conn.send("sender@bench.test", to, i, body); err != nil {
			return err
		}
		if !hole(i % sites) {
			sent[to] = time.Now()
			live++
		}
		time.Sleep(5 * time.Millisecond) // 200 a second
	}
	conn.quit()
	err = lab.Until(60*time.Second, func() error {
		mu.Lock()
		defer mu.Unlock()
		if len(arrived) < live {
			return fmt.Errorf("%d of %d have arrived", len(arrived), live)
		}
		return nil
	})
	if err != nil {
		return err
	}
	var t taken
	for to, at := range sent {
		t.latencies = append(t.latencies, arrived[to].Sub(at).Round(10*time.Microsecond))
	}
	t.sort()
	return o.print(fmt.Sprintf("%s, %s: %d messages to %d sites, 30 %% of them black holes; acceptance to arrival at the live ones: p50 %v, p95 %v, p99 %v, most %v\n",
		time.Now().UTC().Format("2006-01-02"), d.what, n, sites, t.percentile(.5), t.percentile(.95), t.percentile(.99), t.percentile(1)))
}

func site(i int) string { return fmt.Sprintf("site%d.test", i) }

// hole: three of ten.
func hole(i int) bool { return i%10 < 3 }
