package run

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"pennypost/become/ask"
	"pennypost/internal/order"
	"pennypost/internal/passwd"
	"pennypost/internal/status"
	"pennypost/queue/route"
	"pennypost/queue/site"
)

// Mail for Unix users is delivered by a deliver-local for each, under that user's uid, which become(8) starts with our orders as its
// descriptor 0. It stays as long as mail for its user keeps coming: what one delivery costs is mostly its start.

const (
	mostForOne  = 32                    // orders in flight for one user: nobody's slow home holds up all
	personIdle  = 2 * time.Second       // then the process is told to leave
	personStuck = time.Hour             // without the end of an order: then it is left to itself
	whoIsThat   = 20 * time.Millisecond // until who a name is may be known
	noProcess   = 20 * time.Millisecond // until another user's process may have ended
	askTime     = 30 * time.Second      // become has to have answered
)

// limitOfLocal bounds what one Unix user may have in flight; slow orders of all their processes leave room for the others' mail.
func (r *Runner) limitOfLocal(key string) (m site.Max) {
	if key != route.LocalSite && route.Local(key) {
		m.Conns = mostForOne
	}
	return m
}

// landed notes that an order of w has ended.
func (w *worker) landed(now site.Time) {
	if w != nil {
		w.flights--
		w.last = now
	}
}

// person is the process that delivers for a Unix user; it is begun where there is none. nil: not now.
func (r *Runner) person(key string, who *passwd.User, now site.Time) *worker {
	if w := r.people[key]; w != nil || who == nil || r.finished || r.paused[route.LocalSite] {
		return w
	}
	if len(r.people) >= max(1, r.Processes) && !r.dismissOne() {
		return nil
	}
	conn, end, err := order.Pair()
	if err != nil {
		r.log.Warn("deliver-local of "+who.Name, err)
		return nil
	}
	w := &worker{spec: Worker{Program: r.Local.Program, Args: r.Local.Args}, site: key, unix: true, up: true, conn: conn, last: now,
		out: make(chan parcel, 2*mostForOne)}
	r.people[key] = w
	r.group.Add(1)
	go r.servePerson(w, who, end)
	go post(conn, w.out)
	return w
}

// servePerson starts the process and carries its answers.
func (r *Runner) servePerson(w *worker, who *passwd.User, end *os.File) {
	defer r.group.Done()
	cmd, err := r.startAs(who, end)
	end.Close()
	if err != nil {
		w.conn.Close()
		r.tell(r.stop, event{worker: w, err: errNotStarted{err}})
		return
	}
	ended := make(chan struct{})
	go func() {
		select {
		case <-r.stop:
			w.conn.SendOrders([]order.Order{{Verb: "quit"}}, []int{-1})
			select {
			case <-ended:
			case <-time.After(5 * time.Second):
				w.conn.Close()
			}
		case <-ended:
		}
	}()
	for err == nil {
		var answers []order.Answer
		if answers, err = w.conn.ReceiveAnswers(); err == nil {
			r.tell(r.stop, event{worker: w, answers: answers})
		}
	}
	close(ended)
	w.conn.Close()
	if cmd != nil {
		cmd.Wait()
	}
	r.tell(r.stop, event{worker: w, err: err})
}

// errNotStarted is a process that never was: its orders were not begun.
type errNotStarted struct{ error }

// startAs starts deliver-local as who: by become, or by ourselves where nobody need become anybody.
func (r *Runner) startAs(who *passwd.User, end *os.File) (*exec.Cmd, error) {
	_, err := os.Lstat(r.Become)
	if int(who.UID) != os.Getuid() || r.Become != "" && err == nil {
		ctx, cancel := context.WithTimeout(context.Background(), askTime)
		defer cancel()
		return nil, ask.Ask(ctx, r.Become, ask.Request{Program: "deliver-local", UID: who.UID, GIDs: who.GIDs(), Name: who.Name, Home: who.Home}, end)
	}
	program := r.Local.Program
	if strings.HasPrefix(program, "unix:") {
		program = "deliver-local"
	}
	cmd := exec.Command(beside(program), append([]string{"--worker"}, r.Local.Args...)...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = end, os.Stderr, os.Stderr
	cmd.Env = append(os.Environ(), "HOME="+who.Home, "USER="+who.Name)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	return cmd, cmd.Start()
}

// dismissOne ends a process that has nothing to do, for the sake of another user's.
func (r *Runner) dismissOne() bool {
	for key, w := range r.people {
		if w.flights == 0 {
			r.dismiss(key)
			return true
		}
	}
	return false
}

// dismiss tells a process to leave when it has done what it was told. It is nobody we know from then on.
func (r *Runner) dismiss(key string) {
	w := r.people[key]
	delete(r.people, key)
	if w.flights == 0 {
		w.orders, w.files = append(w.orders, order.Order{Verb: "quit"}), append(w.files, nil)
	}
	w.flush()
	w.up = false
	close(w.out)
}

// dismissIdle ends the processes that had nothing to do for a while, and gives those up that do not get anything done.
func (r *Runner) dismissIdle(now site.Time) {
	for key, w := range r.people {
		switch {
		case w.flights == 0 && now-w.last > personIdle:
			r.dismiss(key)
		case w.flights > 0 && now-w.last > personStuck:
			r.log.Warn("deliver-local of "+strings.TrimPrefix(key, "unix:"), errors.New("nothing done in an hour; its orders are taken back"))
			w.conn.Close() // its reader says the rest
		}
	}
}

// personGone is the end of a process. What it had not begun to do is tried later; what it may have begun is repeated.
func (r *Runner) personGone(e event, now site.Time) {
	w := e.worker
	if r.people[w.site] == w {
		for _, f := range w.files {
			if f != nil {
				f.Close()
			}
		}
		w.orders, w.files = nil, nil
		delete(r.people, w.site)
		w.up = false
		close(w.out)
	}
	var never errNotStarted
	notStarted := errors.As(e.err, &never)
	if notStarted {
		r.log.Warn("deliver-local of "+strings.TrimPrefix(w.site, "unix:"), never.error)
	}
	for _, f := range r.flights {
		switch {
		case f.worker != w:
		case notStarted:
			for i := range f.got {
				f.got[i].said = true
				f.got[i].result = status.Result{Outcome: status.Deferred, Code: 451, Enhanced: "4.3.0", Text: "cannot deliver as that user now"}
			}
			r.finish(f, now)
		default:
			r.orphaned(f, now)
		}
	}
}

// notPlanned puts a message whose recipients could not all be routed in line again.
func (r *Runner) notPlanned(m *message, err error) {
	switch {
	case errors.Is(err, passwd.ErrWait):
		r.postponeFor(m, whoIsThat)
	case !errors.Is(err, errGone):
		r.log.Warn("message "+m.id, err)
		r.retryOpen(m)
	}
}
