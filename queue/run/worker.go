package run

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"pennypost/internal/durable"
	"pennypost/internal/order"
	"pennypost/queue/route"
	"pennypost/queue/site"
)

// Worker says how to reach a delivery program.
type Worker struct {
	Program string                      // beside our own, a path, or unix:PATH of one that runs already
	Args    []string                    // after --worker
	UID     int                         // unix:PATH: whose process may answer, besides our own uid and root; -1 anybody's
	Dial    func() (*order.Conn, error) // instead of all that: for tests
}

// worker is a delivery program as the loop sees it.
type worker struct {
	spec    Worker
	site    string // "local" for deliver-local
	unix    bool   // of a Unix user
	conn    *order.Conn
	up      bool
	heard   bool      // it has come, or could not
	why     string    // why it could not, as the log has it
	life    int       // which process of it
	flights int       // orders without an end
	last    site.Time // when one ended
	pid     int
	orders  []order.Order // of this turn
	files   []durable.File
	out     chan parcel
	since   time.Time
	wait    time.Duration
}

// parcel is what a turn has for a worker.
type parcel struct {
	orders []order.Order
	files  []durable.File
}

func (r *Runner) startWorkers(stop chan struct{}) {
	r.workers[0] = &worker{spec: r.Local, site: route.LocalSite}
	r.workers[1] = &worker{spec: r.Remote}
	for _, w := range r.workers {
		if w.spec.Program == "" {
			continue
		}
		r.local.SetPaused(route.LocalSite, true, r.now()) // until it is there
		r.group.Add(1)
		go r.supervise(w, stop)
	}
}

// send puts an order into the turn's parcel; the file is closed when it is sent.
func (w *worker) send(o order.Order, file durable.File) {
	w.orders = append(w.orders, o)
	w.files = append(w.files, file)
}

// flush hands the turn's parcel to the goroutine that sends it.
func (w *worker) flush() {
	if w == nil || len(w.orders) == 0 {
		return
	}
	p := parcel{w.orders, w.files}
	w.orders, w.files = nil, nil
	if !w.up {
		p.close()
		return
	}
	w.out <- p // never full: there are no more parcels than flights
}

func (p parcel) close() {
	for _, f := range p.files {
		if f != nil {
			f.Close()
		}
	}
}

// post sends parcels until the channel is closed.
func post(conn *order.Conn, out <-chan parcel) {
	var fds []int
	for p := range out {
		fds = fds[:0]
		for _, f := range p.files {
			fd := -1
			if f != nil {
				fd = int(f.Fd())
			}
			fds = append(fds, fd)
		}
		if err := conn.SendOrders(p.orders, fds); err != nil {
			conn.Close() // the reader sees it and the orders come back
		}
		p.close()
	}
}

const (
	firstWait = 100 * time.Millisecond // between the death of a worker and its next life
	lastWait  = 10 * time.Second
)

// supervise keeps a worker alive. All it does to the loop's state it does by events.
func (r *Runner) supervise(w *worker, stop chan struct{}) {
	defer r.group.Done()
	wait := time.Duration(0)
	for life := 1; ; life++ {
		select {
		case <-stop:
			return
		case <-time.After(wait):
		}
		began := time.Now()
		conn, cmd, err := w.spec.begin()
		if err != nil {
			r.tell(stop, event{worker: w, life: life, err: err})
		} else {
			r.serve(w, life, conn, cmd, stop)
		}
		switch {
		case time.Since(began) > lastWait:
			wait = firstWait
		default:
			wait = min(max(firstWait, 2*wait), lastWait)
		}
	}
}

// serve carries answers of one life of a worker.
func (r *Runner) serve(w *worker, life int, conn *order.Conn, cmd *exec.Cmd, stop chan struct{}) {
	ended := make(chan struct{})
	go func() {
		select {
		case <-stop:
			conn.SendOrders([]order.Order{{Verb: "quit"}}, []int{-1})
			select {
			case <-ended:
			case <-time.After(5 * time.Second):
			}
			conn.Close()
		case <-ended:
		}
	}()
	r.tell(stop, event{worker: w, life: life, started: true, conn: conn, cmd: cmd})
	var err error
	for {
		var answers []order.Answer
		answers, err = conn.ReceiveAnswers()
		if err != nil {
			break
		}
		r.tell(stop, event{worker: w, life: life, answers: answers})
	}
	close(ended)
	conn.Close()
	if cmd != nil {
		if errors.Is(err, order.ErrProtocol) {
			cmd.Process.Kill()
		}
		gone := time.AfterFunc(5*time.Second, func() { cmd.Process.Kill() })
		if e := cmd.Wait(); e != nil {
			err = e
		}
		gone.Stop()
	}
	r.tell(stop, event{worker: w, life: life, err: err})
}

// tell gives the loop an event, unless the loop has ended.
func (r *Runner) tell(stop chan struct{}, e event) {
	select {
	case r.events <- e:
	case <-stop:
	}
}

// begin starts or finds the program.
func (s Worker) begin() (*order.Conn, *exec.Cmd, error) {
	if s.Dial != nil {
		conn, err := s.Dial()
		return conn, nil, err
	}
	if path, ok := strings.CutPrefix(s.Program, "unix:"); ok {
		conn, err := order.Dial(path)
		if err != nil {
			return nil, nil, err
		}
		uid, err := conn.PeerUID()
		if err == nil && s.UID >= 0 && uid != 0 && int(uid) != os.Getuid() && int(uid) != s.UID {
			err = errors.New(path + ": belongs to another user")
		}
		if err != nil {
			conn.Close()
			return nil, nil, err
		}
		return conn, nil, nil
	}
	conn, end, err := order.Pair()
	if err != nil {
		return nil, nil, err
	}
	defer end.Close()
	cmd := exec.Command(beside(s.Program), append([]string{"--worker"}, s.Args...)...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = end, os.Stderr, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // Ctrl-C is for us: we let it finish
	if err := cmd.Start(); err != nil {
		conn.Close()
		return nil, nil, err
	}
	return conn, cmd, nil
}

// beside is the program of that name in the directory of our own executable, if it is there.
func beside(program string) string {
	if strings.Contains(program, "/") {
		return program
	}
	if self, err := os.Executable(); err == nil {
		if path := filepath.Join(filepath.Dir(self), program); exists(path) {
			return path
		}
	}
	return program
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// workerNews is a worker that has come or gone.
func (r *Runner) workerNews(e event, now site.Time) {
	w := e.worker
	if w.unix {
		r.personGone(e, now)
		return
	}
	w.heard = true
	if e.started {
		if e.cmd != nil {
			w.pid = e.cmd.Process.Pid
		}
		if e.cmd != nil || w.why != "" {
			r.log.Worker(w.spec.Program, w.pid, nil)
		}
		w.why = ""
		w.conn, w.up, w.life = e.conn, true, e.life
		w.out = make(chan parcel, 2*r.Conf.LocalSlots+8*r.Conf.Slots+64)
		go post(w.conn, w.out)
		if w.site == route.LocalSite {
			r.pauseLocal(now)
		}
		return
	}
	why := fmt.Sprint(e.err)
	if (w.up || why != w.why) && (!r.finished || len(r.flights) > 0) { // not every ten seconds while a socket refuses us
		r.log.Worker(w.spec.Program, w.pid, e.err)
	}
	w.why = why
	if !w.up {
		return
	}
	w.up = false
	close(w.out)
	for _, f := range w.files {
		if f != nil {
			f.Close()
		}
	}
	w.orders, w.files = nil, nil
	if w.site == route.LocalSite {
		r.local.SetPaused(w.site, true, now)
	}
	for _, f := range r.flights {
		if f.worker == w {
			r.orphaned(f, now)
		}
	}
}

// maxCrashes is how many workers a message may take with it.
const maxCrashes = 3

// orphaned is a flight whose worker died. What was said stands; the rest is tried again at once, repeat=1.
func (r *Runner) orphaned(f *flight, now site.Time) {
	m := f.m
	s := r.schedulerOf(f.item.Site().Key)
	key := f.item.Site().Key
	if f.domain != "" {
		delete(r.flights, f.seq)
		s.Done(f.item, site.Unused, now)
		if r.has(m) {
			s.Add(f.item, key, now, now)
		}
		return
	}
	if m.crashes++; m.crashes >= maxCrashes {
		delete(r.flights, f.seq)
		s.Done(f.item, site.Unused, now)
		if m.live != nil {
			m.live.flights--
			r.putAside(m, "the delivery program died over it three times")
		}
		return
	}
	r.cutShort(f)
	r.finish(f, now)
}

// cutShort takes the recipients nothing was said of out of a flight, to be tried again at once.
func (r *Runner) cutShort(f *flight) {
	rcpts, said := f.rcpts[:0:0], f.got[:0:0]
	for i, c := range f.rcpts {
		if f.got[i].said {
			rcpts, said = append(rcpts, c), append(said, f.got[i])
		} else {
			c.flight, c.planned = nil, false
		}
	}
	f.rcpts, f.got = rcpts, said
}

// pauseLocal resumes local delivery when its worker is there, unless pause/ says otherwise.
func (r *Runner) pauseLocal(now site.Time) {
	w := r.workers[0]
	r.local.SetPaused(route.LocalSite, w == nil || !w.up || r.paused[route.LocalSite], now)
}

// stopWorkers tells the workers to end and waits for them.
func (r *Runner) stopWorkers() {
	for _, w := range r.workers {
		if w != nil && w.up {
			w.up = false
			close(w.out)
		}
	}
	for key := range r.people {
		r.dismiss(key)
	}
	done := make(chan struct{})
	go func() { r.group.Wait(); close(done) }()
	for {
		select {
		case <-done:
			return
		case <-r.events:
		}
	}
}
