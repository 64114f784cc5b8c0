/*
Package run is queue-run's loop: messages in, orders out, answers in, results on disk.

	in/X/new/ID    a hint or a scan tells of it; tried at once from where it is
	q/DAY/MIN/ID   where it goes when the first attempt failed or took more than a second
	…/ID.s         what happened to a message that is still here, one line an event
	results/HOUR   what happened to every recipient: deliver bounce end defer …, synced within 20 ms
	index/1        the checkpoint: what we knew of every message, so that a restart opens no file it knew
	site/NAME      what we think of a destination, for people
	run/runner.lock  one runner for a spool; a second exits with 75

One goroutine, the loop, owns everything here but the connections to workers, whose goroutines only carry orders and
answers. A turn of the loop takes what has come (hints, answers, a piece of a scan, control files), asks the schedulers
(package site) what may start, and sends all orders of the turn to each worker in one go.

	message   one file of the spool that we owe something for
	live      what is read of it while something is being done: envelope, state, recipients; forgotten after
	flight    an order that a worker has and has not finished

What is on disk after a kill: the message file stays until deliver and end are in the journal, so the worst is that
a recipient is tried again with repeat=1. A report is in the spool and synced before the journal says bounce. More than
one target of an alias is synced to ID.s before any of them is tried.
*/
package run

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"pennypost/internal/address"
	"pennypost/internal/config"
	"pennypost/internal/maillog"
	"pennypost/queue"
	"pennypost/queue/control"
	"pennypost/queue/route"
	"pennypost/queue/site"
)

// Runner is everything queue-run needs to know.
type Runner struct {
	Spool     *queue.Spool
	Lock      string // file of the lock: SPOOL/run/runner.lock
	Host      string // our name in reports
	Conf      config.Queue
	Routes    *route.Table
	Transport map[string]config.Transport
	Sites     map[string]config.Site
	Archive   config.Archive
	Outbound  config.Outbound
	Local     Worker // deliver-local
	Remote    Worker // deliver-remote
	Become    string // socket of become(8), which starts deliver-local as a Unix user
	Processes int    // of Unix users, at once
	Log       *maillog.Log
	Once      bool // leave when nothing is due and nothing in flight
	DryRun    io.Writer
	Alive     func() // called by the loop every ten seconds, for a watchdog; nil: nobody asks

	start    time.Time // monotonic; site.Time counts from here
	messages map[string]*message
	all      []*message // for the sweep, in no order
	swept    int
	local    *site.Scheduler
	remote   *site.Scheduler
	journal  *queue.Journal
	workers  [2]*worker         // local, remote
	people   map[string]*worker // deliver-local of a Unix user, by site key
	stop     chan struct{}      // closed at the end
	commands commands
	seq      uint64
	flights  map[uint64]*flight
	opened   []*message               // live since this turn began
	fresh    []*message               // still in in/, oldest first
	owing    []*message               // with failures not reported yet
	reported bool                     // a report was queued in this turn
	made     map[string]bool          // reports seen in this life: not to be made again
	ended    map[string]bool          // journal of an earlier run: nothing owed
	replay   map[string][]queue.Event // and what it says of messages that are still here
	pending  []queue.Found            // hints not looked at yet
	found    []queue.Found            // of a scan
	lines    []queue.Event            // of this turn, for the journal
	lineptrs []*queue.Event
	going    []going             // of this turn: files to remove after
	domains  map[string]resolved // what DNS said
	bounced  map[string]*bounces
	told     map[string]*told
	full     map[address.Path]*full // mailboxes that take no more
	kicked   []kicked               // whose files are still there
	kickedAt site.Time              // the last kick/ of a message, a site or all
	senders  senders
	steering *control.State  // pause/ and limit/ as last read
	paused   map[string]bool // sites paused by control
	limited  map[string]bool
	stopped  bool          // pause/all
	downtime time.Duration // how long nobody ran before us
	scanned  bool          // the first scan is over
	past     bool          // and ended and replay are what is left of them
	scanDone atomic.Bool
	finished bool // SIGTERM: start nothing

	hints     chan []queue.Found
	scans     chan []queue.Found
	known     chan []known
	events    chan event
	onlyNew   chan struct{}
	glances   chan struct{}
	log       *maillog.Log
	group     sync.WaitGroup
	batchAt   time.Time
	batchCame time.Time // the last hints of others' mail
	warnedAt  site.Time // the last delay notice
	localAt   site.Time // when a local delivery ended last
}

// ErrLocked is returned when another runner has this spool.
var ErrLocked = errors.New("another queue-run works on this spool")

// now is the scheduler's clock: it does not step when the system's does (S140).
func (r *Runner) now() site.Time { return time.Since(r.start) }

// lock takes the spool for ourselves until the process ends.
func (r *Runner) lock() (*os.File, error) {
	f, err := os.OpenFile(r.Lock, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		if err == unix.EWOULDBLOCK {
			return nil, ErrLocked
		}
		return nil, fmt.Errorf("%s: %w", r.Lock, err)
	}
	f.Truncate(0)
	fmt.Fprintf(f, "%d\n", os.Getpid())
	return f, nil
}

func (r *Runner) prepare() {
	r.start = time.Now()
	r.messages = make(map[string]*message)
	r.flights = make(map[uint64]*flight)
	r.ended = make(map[string]bool)
	r.made = make(map[string]bool)
	r.replay = make(map[string][]queue.Event)
	r.domains = make(map[string]resolved)
	r.bounced = make(map[string]*bounces)
	r.told = make(map[string]*told)
	r.full = make(map[address.Path]*full)
	r.paused = make(map[string]bool)
	r.limited = make(map[string]bool)
	r.senders = senders{held: map[string]bool{}, of: map[string]*sender{}}
	r.steering = new(control.State)
	r.hints = make(chan []queue.Found, 16)
	r.scans = make(chan []queue.Found, 4)
	r.known = make(chan []known, 4)
	r.events = make(chan event, 64)
	r.onlyNew = make(chan struct{}, 1)
	r.glances = make(chan struct{}, 1)
	r.people = make(map[string]*worker)
	r.local = site.New(site.Config{Slots: max(1, r.Conf.LocalSlots), Fixed: true, Limit: r.limitOfLocal})
	r.remote = site.New(site.Config{Slots: max(1, r.Conf.Slots), PerSite: max(1, r.Conf.PerSite), Limit: r.limitOf})
	r.commands.init(r)
	r.log = r.Log
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(350 << 20) // a million messages take 280 MiB; above this the collector works harder
	}
}

// limitOf is what [site."…"] says of a site key or of its host.
func (r *Runner) limitOf(key string) (m site.Max) {
	c, ok := r.Sites[key]
	if host, _, cut := strings.Cut(key, "+"); !ok && cut {
		c, ok = r.Sites[host]
	}
	if name, isCommand := strings.CutPrefix(key, "command:"); isCommand && !ok {
		return site.Max{Conns: r.Transport[name].Max}
	}
	if !ok {
		return m
	}
	m.Conns = c.MaxConns
	if rate, err := control.ParseRate(c.Rate); err == nil {
		m.Rate, m.Per = perRate(rate)
	}
	return m
}

// Run works until ctx is done, then lets orders in flight end, at most 30 s.
func (r *Runner) Run(ctx context.Context) error {
	lock, err := r.lock()
	if err != nil {
		return err
	}
	defer lock.Close()
	r.prepare()
	if err := r.recall(); err != nil {
		return err
	}
	r.journal = r.Spool.OpenJournal(func(err error) { r.log.Warn("results", err) })
	if !r.Once {
		hints, err := r.Spool.Hints(r.hints)
		if err != nil {
			return err
		}
		defer hints.Close()
	}
	r.learn()
	r.steer()
	stop := make(chan struct{})
	r.stop = stop
	if r.DryRun == nil {
		r.startWorkers(stop)
	}
	go r.scanner(stop)
	err = r.loop(ctx)
	close(stop)
	r.stopWorkers()
	r.record()
	r.saveSenders(-1)
	err = errors.Join(err, r.checkpoint(), r.journal.Close())
	r.log.Flush()
	return err
}

// loop is the life of the runner.
func (r *Runner) loop(ctx context.Context) error {
	timer := time.NewTimer(0)
	second := time.NewTicker(500 * time.Millisecond)
	defer second.Stop()
	done := ctx.Done()
	var deadline time.Time
	sweeps := 0
	for {
		scans := r.scans
		if len(r.found) > 0 { // the scan waits until what it found has been looked at
			scans = nil
		}
		select {
		case b := <-r.hints:
			r.hinted(b)
		case b := <-scans:
			r.scan(b)
		case b := <-r.known:
			r.recallBatch(b)
		case e := <-r.events:
			r.event(e)
		case <-timer.C:
		case <-second.C:
			if sweeps%20 == 0 && r.Alive != nil {
				r.Alive()
			}
			r.steer()
			r.wantGlance()
			if sweeps++; sweeps%2 == 0 {
				r.everySecond(sweeps / 2)
			}
		case <-done:
			done, r.finished = nil, true
			deadline = time.Now().Add(30 * time.Second)
		}
		r.drain()
		timer.Reset(r.turn())
		if r.finished && (len(r.flights) == 0 && r.commands.running == 0 || time.Now().After(deadline)) {
			return nil
		}
		if r.Once && r.quiet() {
			return nil
		}
	}
}

// drain takes what else has come, so that a turn works on all of it.
func (r *Runner) drain() {
	for range 64 {
		select {
		case b := <-r.hints:
			r.hinted(b)
		case e := <-r.events:
			r.event(e)
		case b := <-r.known:
			r.recallBatch(b)
		default:
			return
		}
	}
}

// turn starts what may start and returns how long nothing has to be done.
func (r *Runner) turn() time.Duration {
	wait := time.Second
	if r.reported {
		r.record() // on disk before the report can be delivered, or a power cut would make it twice
	}
	if len(r.pending) > 0 && r.local.Active() > 0 && len(r.pending) < 64 {
		// Under load collect hints for up to 2 ms: one packet of orders, one wake-up.
		if since := time.Since(r.batchAt); since < 2*time.Millisecond {
			wait = 2*time.Millisecond - since
			goto start
		}
	}
	r.batchAt = time.Now()
	r.intake()
start:
	now := r.now()
	if !r.finished {
		if !r.dispatch(r.local, now) || r.remoteUp() && !r.dispatch(r.remote, r.now()) {
			wait = 0
		}
	}
	r.stopSenders()
	for _, w := range r.workers {
		w.flush()
	}
	for _, w := range r.people {
		w.flush()
	}
	r.record()
	r.kicksDone()
	r.shut()
	r.log.Flush()
	if len(r.pending) > 0 && wait == time.Second {
		if r.room() > 0 {
			return 0
		}
		wait = stuck // or until something ends
	}
	if len(r.found) > 0 && wait == time.Second {
		if !r.busy() {
			return 0
		}
		wait = time.Millisecond // long enough for the system to be asked who has something for us
	}
	for i, s := range []*site.Scheduler{r.local, r.remote} {
		if at, ok := s.Wake(now); ok && (i == 0 || r.remoteUp()) {
			wait = min(wait, max(0, at-now))
		}
	}
	return wait
}

// quiet reports whether --once may leave.
func (r *Runner) quiet() bool {
	if !r.scanned || len(r.pending)+len(r.found)+len(r.flights)+len(r.events)+r.commands.running > 0 {
		return false
	}
	for _, w := range r.workers {
		if w != nil && w.spec.Program != "" && !w.heard {
			return false
		}
	}
	now := r.now()
	for i, s := range []*site.Scheduler{r.local, r.remote} {
		if w := r.workers[i]; w != nil && w.spec.Program != "" && !w.up {
			continue // it could not be started
		}
		if at, ok := s.Wake(now); s.Active() > 0 || ok && at <= now {
			return false
		}
	}
	return true
}

// remoteUp reports whether it makes sense to start anything that leaves this host.
func (r *Runner) remoteUp() bool {
	w := r.workers[1]
	return w == nil || w.spec.Program == "" || w.up
}

// perRate is events a second as so many in a time.
func perRate(perSecond float64) (int, time.Duration) {
	return 1, time.Duration(float64(time.Second) / perSecond)
}

// chance is for the jitter of retries.
func chance() float64 { return rand.Float64() }
