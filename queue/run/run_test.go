package run

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"pennypost/internal/address"
	"pennypost/internal/config"
	"pennypost/internal/domains"
	"pennypost/internal/maillog"
	"pennypost/internal/order"
	"pennypost/internal/status"
	"pennypost/queue"
	"pennypost/queue/route"
)

// directory is a set of domains for tests: addresses to targets, "" for a mailbox.
type directory map[string]string

func (d directory) Local(domain string) (bool, error) {
	for a := range d {
		if strings.HasSuffix(a, "@"+domain) {
			return true, nil
		}
	}
	return false, nil
}

func (d directory) Lookup(to address.Path) (domains.Answer, error) {
	targets, ok := d[to.String()]
	switch {
	case !ok:
		return domains.Answer{Kind: domains.Unknown}, nil
	case targets == "":
		return domains.Answer{Kind: domains.Mailbox}, nil
	case targets == "error":
		return domains.Answer{}, errors.New("input/output error")
	}
	a := domains.Answer{Kind: domains.Alias}
	for _, t := range strings.Fields(targets) {
		a.Targets = append(a.Targets, path(t))
	}
	return a, nil
}

func path(s string) address.Path {
	p, err := address.Parse(s)
	if err != nil {
		panic(err)
	}
	return p
}

// bench is a runner with a spool of its own and workers that answer as a test says.
type bench struct {
	t     testing.TB
	spool *queue.Spool
	dir   string
	run   *Runner
	log   *strings.Builder
	local func(*order.Order) []order.Answer
	mail  func(*order.Order) []order.Answer // deliver-remote

	mu     sync.Mutex
	orders []order.Order
	stop   context.CancelFunc
	ended  chan error
	conns  []*order.Conn
	count  atomic.Int64 // deliver orders
	quiet  bool         // they are counted and not kept
}

func newBench(t testing.TB) *bench {
	t.Helper()
	b := &bench{t: t, dir: filepath.Join(t.TempDir(), "spool"), log: new(strings.Builder)}
	if err := queue.Make(b.dir, "t"); err != nil {
		t.Fatal(err)
	}
	var err error
	if b.spool, err = queue.Open(b.dir); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.spool.Close() })
	b.local = say(status.Result{Code: 250, Enhanced: "2.0.0", Text: "in the mailbox"})
	b.mail = b.local
	b.reset()
	return b
}

func (b *bench) reset() {
	b.run = &Runner{
		Spool: b.spool, Lock: filepath.Join(b.dir, "run/runner.lock"), Host: "mx.example.org",
		Conf: config.Queue{Expire: 5 * 24 * time.Hour, BounceExpire: 48 * time.Hour, BulkExpire: 48 * time.Hour, DelayDSN: 4 * time.Hour,
			Slots: 20, PerSite: 5, LocalSlots: 64, ScanEvery: time.Minute, BounceUnverified: "send", BounceRate: 100, MaxExpansion: 100},
		Routes: &route.Table{Domains: directory{"bob@example.org": "", "carol@example.org": "", "both@example.org": "bob@example.org carol@example.org",
			"out@example.org":  "dave@example.net bob@example.org",
			"loop@example.org": "pool@example.org", "pool@example.org": "loop@example.org"}, Origin: "example.org", MaxExpansion: 100},
		Log:    &maillog.Log{Program: "queue-run", Out: b.log, Gather: true},
		Local:  Worker{Program: "deliver-local", Dial: b.dialer(func() func(*order.Order) []order.Answer { return b.local })},
		Remote: Worker{Program: "deliver-remote", Dial: b.dialer(func() func(*order.Order) []order.Answer { return b.mail })},
	}
}

// say answers every recipient alike.
func say(r status.Result) func(*order.Order) []order.Answer {
	return func(o *order.Order) []order.Answer {
		if o.Verb == "resolve" {
			return []order.Answer{{Kind: 'R', Seq: o.Seq, Site: "mx." + o.Domain + "+00000000", TTL: time.Hour}}
		}
		var list []order.Answer
		for _, rc := range o.Rcpts {
			list = append(list, order.Answer{Kind: r.Outcome.Letter(), Seq: o.Seq, Num: rc.Num, Result: r})
		}
		return append(list, order.Answer{Kind: 'E', Seq: o.Seq})
	}
}

func (b *bench) dialer(how func() func(*order.Order) []order.Answer) func() (*order.Conn, error) {
	return func() (*order.Conn, error) {
		ours, theirs, err := order.Pair()
		if err != nil {
			return nil, err
		}
		fd, _ := unix.Dup(int(theirs.Fd()))
		theirs.Close()
		conn, err := order.NewConn(fd)
		if err != nil {
			return nil, err
		}
		b.mu.Lock()
		b.conns = append(b.conns, conn)
		b.mu.Unlock()
		go func() {
			defer conn.Close()
			for {
				orders, fds, err := conn.ReceiveOrders(0)
				if err != nil {
					return
				}
				for i := range orders {
					if fds[i] >= 0 {
						unix.Close(fds[i])
					}
					if orders[i].Verb == "quit" {
						return
					}
					b.mu.Lock()
					if !b.quiet {
						b.orders = append(b.orders, orders[i])
					}
					if orders[i].Verb == "deliver" {
						b.count.Add(1)
					}
					answers := how()(&orders[i]) // one at a time, so that tests may keep count
					b.mu.Unlock()
					if answers == nil {
						return // dies
					}
					conn.SendAnswers(answers)
				}
			}
		}()
		return ours, nil
	}
}

// begin starts the runner and waits for its first scan, so that what comes now is known by its hint.
func (b *bench) begin() {
	b.start()
	b.eventually("first scan", b.run.scannedNow)
}

func (b *bench) start() {
	ctx, stop := context.WithCancel(context.Background())
	b.stop, b.ended = stop, make(chan error, 1)
	go func(r *Runner) { b.ended <- r.Run(ctx) }(b.run)
	b.eventually("first scan", b.run.scannedNow)
}

func (b *bench) end() {
	b.t.Helper()
	b.stop()
	select {
	case err := <-b.ended:
		if err != nil {
			b.t.Errorf("Run: %v", err)
		}
	case <-time.After(20 * time.Second):
		b.t.Fatal("the runner does not end")
	}
	b.reset()
}

// put accepts a message, as smtpd does.
func (b *bench) put(producer, from string, to ...string) string {
	b.t.Helper()
	env := &queue.Envelope{ID: b.spool.NewID(), Time: time.Now(), Via: producer + " test", From: path(from), Auth: "alice"}
	for i, t := range to {
		addr, params, _ := strings.Cut(t, " ")
		env.Rcpts = append(env.Rcpts, queue.Rcpt{N: i + 1, To: path(addr), Params: params})
	}
	w, err := b.spool.Begin(producer, env)
	if err == nil {
		_, err = w.Write([]byte("Subject: hi\n\nhi\n"))
	}
	if err == nil {
		err = w.Commit()
	}
	if err != nil {
		b.t.Fatal(err)
	}
	w.Hint()
	return env.ID
}

// eventually waits for a condition; what it waits for is said when it does not come.
func (b *bench) eventually(what string, ok func() bool) {
	b.t.Helper()
	b.eventuallyIn(10*time.Second, what, ok)
}

func (b *bench) eventuallyIn(limit time.Duration, what string, ok func() bool) {
	b.t.Helper()
	for deadline := time.Now().Add(limit); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			b.t.Fatalf("no %s; log:\n%.20000s\nspool: %.2000v", what, b.log, b.files())
		}
	}
}

// files are the message files of the spool.
func (b *bench) files() (names []string) {
	filepath.WalkDir(b.dir, func(p string, d fs.DirEntry, err error) error {
		rel, _ := filepath.Rel(b.dir, p)
		if err == nil && d.Type().IsRegular() && (strings.HasPrefix(rel, "in/") || strings.HasPrefix(rel, "q/") || strings.HasPrefix(rel, "hold/") || strings.HasPrefix(rel, "bad/")) {
			names = append(names, rel)
		}
		return nil
	})
	return names
}

func (b *bench) empty() bool { return len(b.files()) == 0 }

// events are the kinds of the journal's events of a message.
func (b *bench) events(id string) (list []string) {
	b.spool.Results(time.Now().Add(-time.Hour), func(ev *queue.Event) error {
		if ev.ID == id {
			list = append(list, string(ev.Kind)+" "+ev.Num.String())
		}
		return nil
	})
	return list
}

func (b *bench) given() []order.Order {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.orders)
}

func (b *bench) delivers() (list []order.Order) {
	for _, o := range b.given() {
		if o.Verb == "deliver" {
			list = append(list, o)
		}
	}
	return list
}

func TestDeliver(t *testing.T) {
	b := newBench(t)
	b.begin()
	id := b.put("mx", "alice@example.net", "bob@example.org")
	b.eventually("delivery", b.empty)
	b.end()
	if got := b.events(id); !slices.Equal(got, []string{"deliver 1", "end 0"}) {
		t.Errorf("journal %v", got)
	}
	if o := b.given(); len(o) != 1 || o[0].Site != "local" || o[0].Repeat || o[0].Rcpts[0].To != path("bob@example.org") {
		t.Errorf("orders %+v", o)
	}
}

func TestScanFinds(t *testing.T) {
	b := newBench(t)
	b.put("mx", "alice@example.net", "bob@example.org")
	b.begin()
	b.eventually("delivery", b.empty)
	b.end()
	if o := b.given(); len(o) != 1 || !o[0].Repeat {
		t.Errorf("orders %+v", o)
	}
}

func TestRemote(t *testing.T) {
	b := newBench(t)
	b.begin()
	b.put("submit", "bob@example.org", "dave@example.net", "erin@example.net", "bob@example.org")
	b.eventually("delivery", b.empty)
	b.end()
	got := map[string]int{}
	for _, o := range b.given() {
		if o.Verb == "resolve" {
			got["resolve "+o.Domain]++
		} else {
			got[o.Site] += len(o.Rcpts)
		}
	}
	if want := map[string]int{"resolve example.net": 1, "mx.example.net+00000000": 2, "local": 1}; !maps.Equal(got, want) {
		t.Errorf("orders %v", got)
	}
}

// TestS145PartialFailure: of two recipients one is done; only the other is tried again, also by the next runner.
func TestS145PartialFailure(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	ok := b.local
	b.local = func(o *order.Order) []order.Answer {
		list := ok(o)
		for i, rc := range o.Rcpts {
			if rc.To == path("carol@example.org") {
				list[i] = order.Answer{Kind: 'Z', Seq: o.Seq, Num: rc.Num, Result: status.Result{Outcome: status.Deferred, Code: 452, Enhanced: "4.2.2", Text: "full"}}
			}
		}
		return list
	}
	b.begin()
	id := b.put("mx", "alice@example.net", "bob@example.org", "carol@example.org")
	b.eventually("deferral", func() bool { return len(b.events(id)) == 2 })
	b.end()
	if files := b.files(); len(files) != 2 || !strings.HasPrefix(files[0], "q/") {
		t.Fatalf("spool %v", files)
	}
	for _, checkpoint := range []bool{true, false} { // the same without its caches
		if !checkpoint {
			os.Remove(filepath.Join(b.dir, "index/1"))
		}
		b.mu.Lock()
		b.orders = nil
		b.mu.Unlock()
		b.begin()
		if err := os.WriteFile(filepath.Join(b.dir, "kick/try:"+id), nil, 0o644); err != nil {
			t.Fatal(err)
		}
		b.eventually("another attempt", func() bool { return len(b.given()) > 0 })
		b.end()
		for _, o := range b.given() {
			if len(o.Rcpts) != 1 || o.Rcpts[0].Num != (queue.Num{N: 2}) || !o.Repeat {
				t.Errorf("order %+v", o)
			}
		}
	}
}

func TestBounce(t *testing.T) {
	b := newBench(t)
	b.mail = func(o *order.Order) []order.Answer {
		if o.Verb == "resolve" {
			return say(status.Result{})(o)
		}
		return say(status.Result{Outcome: status.Failed, Code: 550, Enhanced: "5.1.1", Text: "no such user"})(o)
	}
	b.begin()
	id := b.put("submit", "bob@example.org", "dave@example.net", "erin@example.com", "nobody@example.org")
	b.eventually("bounce and its delivery", func() bool { return b.empty() && len(b.delivers()) == 3 })
	b.end()
	if got := b.events(id); !slices.Equal(got, []string{"bounce 1", "bounce 2", "bounce 3", "end 0"}) {
		t.Errorf("journal %v", got)
	}
	last := b.delivers()[2]
	if last.ID != queue.Derived(id, 'b', 1) || last.Rcpts[0].To != path("bob@example.org") {
		t.Errorf("report %+v", last)
	}
}

func TestExpand(t *testing.T) {
	b := newBench(t)
	b.begin()
	id := b.put("mx", "alice@example.net", "both@example.org")
	b.eventually("delivery", b.empty)
	b.end()
	if got := b.events(id); !slices.Equal(got, []string{"expand 1", "deliver 1.1", "deliver 1.2", "end 0"}) {
		t.Errorf("journal %v", got)
	}
}

// TestS070ForwardLoop: a forward file that leads back ends, with one copy for everybody.
func TestS070ForwardLoop(t *testing.T) {
	b := newBench(t)
	ok := b.local
	b.local = func(o *order.Order) []order.Answer {
		var list []order.Answer
		for _, rc := range o.Rcpts {
			if rc.To == path("bob@example.org") {
				list = append(list, order.Answer{Kind: 'F', Seq: o.Seq, Num: rc.Num, Target: path("carol@example.org")},
					order.Answer{Kind: 'F', Seq: o.Seq, Num: rc.Num, Target: path("bob@example.org")}) // a loop, which ends
			}
		}
		return append(list, ok(o)...)
	}
	b.begin()
	id := b.put("mx", "alice@example.net", "bob@example.org")
	b.eventually("delivery", b.empty)
	b.end()
	t.Log(b.events(id))
	if n := len(b.delivers()); n != 3 && n != 2 {
		t.Errorf("%d orders: %+v", n, b.delivers())
	}
}

// TestS070ForwardCircle: two users who forward to each other and keep nothing: one report to the sender, and no message that vanishes.
func TestS070ForwardCircle(t *testing.T) {
	b := newBench(t)
	other := map[string]string{"bob@example.org": "carol@example.org", "carol@example.org": "bob@example.org"}
	ok := b.local
	b.local = func(o *order.Order) []order.Answer {
		var list []order.Answer
		for _, rc := range o.Rcpts {
			if to := other[rc.To.String()]; to != "" {
				list = append(list, order.Answer{Kind: 'F', Seq: o.Seq, Num: rc.Num, Target: path(to)})
			}
		}
		return append(list, ok(o)...)
	}
	b.begin()
	id := b.put("submit", "alice@example.net", "bob@example.org")
	b.eventually("report", b.empty)
	b.end()
	if got := b.events(id); !slices.Equal(got, []string{"expand 1", "deliver 1", "bounce 1.1", "end 0"}) {
		t.Errorf("journal %v", got)
	}
}

// TestS141TwoRunners: the second leaves with ErrLocked, and main with 75.
func TestS141TwoRunners(t *testing.T) {
	b := newBench(t)
	b.begin()
	b.eventually("lock", func() bool { s, _ := os.ReadFile(filepath.Join(b.dir, "run/runner.lock")); return len(s) > 0 })
	first := b.run
	b.reset()
	if err := b.run.Run(context.Background()); err != ErrLocked {
		t.Errorf("second runner: %v", err)
	}
	b.run = first
	b.end()
}

// TestS139AnswerLost: a worker dies with an order in hand; nobody knows what became of it, so it is given again with repeat=1.
func TestS139AnswerLost(t *testing.T) {
	b := newBench(t)
	ok, dead := b.local, false
	b.local = func(o *order.Order) []order.Answer {
		if !dead {
			dead = true
			return nil
		}
		return ok(o)
	}
	b.begin()
	b.put("mx", "alice@example.net", "bob@example.org")
	b.eventually("delivery", b.empty)
	b.end()
	if o := b.given(); len(o) != 2 || o[0].Repeat || !o[1].Repeat {
		t.Errorf("orders %+v", o)
	}
}

// TestDeadlyMessage: what kills its worker three times is put aside.
func TestDeadlyMessage(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.local = func(o *order.Order) []order.Answer { return nil }
	b.begin()
	id := b.put("mx", "alice@example.net", "bob@example.org")
	b.eventually("hold", func() bool { return slices.Contains(b.files(), "hold/"+id) })
	b.end()
}

// TestS070AliasLoop: exactly one report says that the aliases go in a circle.
func TestS070AliasLoop(t *testing.T) {
	b := newBench(t)
	b.begin()
	id := b.put("submit", "bob@example.org", "loop@example.org")
	b.eventually("report", func() bool { return b.empty() && len(b.delivers()) == 1 })
	b.end()
	if o := b.delivers(); o[0].ID != queue.Derived(id, 'b', 1) {
		t.Errorf("%+v", o)
	}
}

// TestS140Clock: ids from ten years ago and ten years ahead, after a jump of the clock while nobody ran and while we run,
// give no bounces.
func TestS140Clock(t *testing.T) {
	b := newBench(t)
	b.local = say(status.Result{Outcome: status.Deferred, Code: 451, Enhanced: "4.3.0", Text: "not now"})
	year := 365 * 24 * time.Hour
	var ids []string
	for _, at := range []time.Time{time.Now().Add(-10 * year), time.Now().Add(10 * year)} {
		id := idAt(at, 7)
		ids = append(ids, id)
		env := &queue.Envelope{ID: id, Time: at, Via: "submit test", From: path("bob@example.org"), Auth: "bob", Rcpts: []queue.Rcpt{{N: 1, To: path("carol@example.org")}}}
		w, err := b.spool.Begin("submit", env)
		if err == nil {
			w.Write([]byte("hi\n"))
			err = w.Commit()
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	// The clock jumped ten years ahead since the last runner.
	old := fmt.Sprintf("%s%d.0\n", checkpointMagic, time.Now().Add(-10*year).Unix())
	if err := os.WriteFile(filepath.Join(b.dir, "index/1"), []byte(old), 0o600); err != nil {
		t.Fatal(err)
	}
	b.begin()
	b.eventually("deferrals", func() bool { return len(b.events(ids[0])) > 0 && len(b.events(ids[1])) > 0 })
	hinted := idAt(time.Now().Add(-10*year), 9) // and one that came while the clock was wrong
	env := &queue.Envelope{ID: hinted, Time: time.Now(), Via: "submit test", From: path("bob@example.org"), Auth: "bob", Rcpts: []queue.Rcpt{{N: 1, To: path("carol@example.org")}}}
	w, err := b.spool.Begin("submit", env)
	if err == nil {
		w.Write([]byte("hi\n"))
		err = w.Commit()
	}
	if err != nil {
		t.Fatal(err)
	}
	w.Hint()
	b.eventually("deferral", func() bool { return len(b.events(hinted)) > 0 })
	b.end()
	for _, id := range append(ids, hinted) {
		if got := b.events(id); !slices.Equal(got, []string{"defer 1"}) {
			t.Errorf("%s: %v", id, got)
		}
	}
}

// TestExpire: what is too old is tried once by this runner, and then given up with the last reason.
func TestExpire(t *testing.T) {
	b := newBench(t)
	b.run.Conf.Expire = time.Millisecond
	ok, first := b.local, true
	b.local = func(o *order.Order) []order.Answer {
		if first {
			first = false
			return say(status.Result{Outcome: status.Deferred, Code: 451, Enhanced: "4.3.0", Text: "not now"})(o)
		}
		return ok(o)
	}
	b.begin()
	id := b.put("submit", "bob@example.org", "carol@example.org")
	b.eventually("report", func() bool { return b.empty() && len(b.delivers()) == 2 })
	b.end()
	if got := b.events(id); !slices.Equal(got, []string{"defer 1", "expire 1", "bounce 1", "end 0"}) {
		t.Errorf("%v", got)
	}
}

// TestHoldUntil: a message with a time of its own waits for it in q/.
func TestHoldUntil(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.begin()
	env := &queue.Envelope{ID: b.spool.NewID(), Time: time.Now(), Via: "submit test", From: path("bob@example.org"), HoldUntil: time.Now().Add(time.Second),
		Rcpts: []queue.Rcpt{{N: 1, To: path("carol@example.org")}}}
	w, err := b.spool.Begin("submit", env)
	if err == nil {
		w.Write([]byte("hi\n"))
		err = w.Commit()
	}
	if err != nil {
		t.Fatal(err)
	}
	w.Hint()
	b.eventually("move to q/", func() bool { f := b.files(); return len(f) == 1 && strings.HasPrefix(f[0], "q/") })
	if n := len(b.delivers()); n != 0 {
		t.Errorf("%d orders before its time", n)
	}
	b.eventually("delivery", b.empty)
	b.end()
}

// TestPauseHoldRelease: what the control files and a person's mv do.
func TestPauseHoldRelease(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	os.WriteFile(filepath.Join(b.dir, "pause/site:local"), []byte("disk is full"), 0o644)
	b.begin()
	id := b.put("mx", "alice@example.net", "bob@example.org")
	b.eventually("move to q/", func() bool { f := b.files(); return len(f) == 1 && strings.HasPrefix(f[0], "q/") })
	os.WriteFile(filepath.Join(b.dir, "kick/hold:"+id), nil, 0o644)
	b.eventually("hold", func() bool { return slices.Contains(b.files(), "hold/"+id) })
	os.Remove(filepath.Join(b.dir, "pause/site:local"))
	os.WriteFile(filepath.Join(b.dir, "kick/release:"+id), nil, 0o644)
	b.eventually("delivery", b.empty)
	id = b.put("mx", "alice@example.net", "bob@example.org")
	b.eventually("delivery", b.empty)
	b.end()
	if n := len(b.delivers()); n != 2 {
		t.Errorf("%d orders", n)
	}
}

// TestCommand: a transport of the configuration, with its descriptors, words and answers.
func TestCommand(t *testing.T) {
	b := newBench(t)
	script := filepath.Join(t.TempDir(), "fax")
	out := filepath.Join(t.TempDir(), "out")
	os.WriteFile(script, []byte("#!/bin/sh\n{ echo \"$@\"; cat; head -1 <&3; echo $MQ_SENDER $MQ_RCPT_2; } >"+out+"\necho 'K 1 2.0.0 250 sent'\necho 'D 2 5.1.1 550 no such number'\n"), 0o755)
	b.run.Transport = map[string]config.Transport{"fax": {Command: []string{script, "{rcpt}", "{sender}"}}}
	b.run.Routes.Routes = map[string][]string{"fax.example": {"command:fax"}}
	b.begin()
	id := b.put("submit", "bob@example.org", "1@fax.example", "2@fax.example")
	b.eventually("end", b.empty)
	b.end()
	text, _ := os.ReadFile(out)
	if want := "1@fax.example 2@fax.example bob@example.org\nSubject: hi\n\nhi\npennypost: 1\nbob@example.org 2@fax.example\n"; string(text) != want {
		t.Errorf("the program saw %q", text)
	}
	if got := b.events(id); !slices.Equal(got, []string{"deliver 1", "bounce 2", "end 0"}) {
		t.Errorf("%v", got)
	}
}

// BenchmarkDeliver is a message from its hint to its end, and what the worker of the test costs.
func BenchmarkDeliver(t *testing.B) {
	b := newBench(t)
	b.run.Log.Out, b.quiet = io.Discard, true
	b.begin()
	t.ReportAllocs()
	var list []*queue.Writer
	for range t.N {
		env := &queue.Envelope{ID: b.spool.NewID(), Time: time.Now(), Via: "mx test", From: path("alice@example.net"),
			Rcpts: []queue.Rcpt{{N: 1, To: path("bob@example.org")}}}
		w, err := b.spool.Begin("mx", env)
		if err == nil {
			w.Write([]byte("Subject: hi\n\nhi\n"))
			err = w.Commit()
		}
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, w)
	}
	t.ResetTimer()
	for i, w := range list {
		for int64(i)-b.count.Load() > 500 { // more would not fit into the FIFO, and be scanned for
			time.Sleep(100 * time.Microsecond)
		}
		w.Hint()
	}
	b.eventuallyIn(time.Minute, "delivery", func() bool { return b.count.Load() >= int64(t.N) })
	t.StopTimer()
	b.eventually("end", b.empty)
	b.end()
}
