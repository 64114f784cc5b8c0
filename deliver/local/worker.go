package local

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"pennypost/internal/durable"
	"pennypost/internal/order"
	"pennypost/internal/status"
	"pennypost/internal/uids"
)

// atATime is how many orders are begun before what they need is synced.
const atATime = 256

// Listen obeys queue-run at a socket, one connection after the other: the form for a worker that a supervisor
// runs under a uid of its own. Orders are taken from queue-run's uid, from our own and from root.
func (a *Agent) Listen(ctx context.Context, path string) error {
	l, err := order.Listen(path)
	if err != nil {
		return err
	}
	defer context.AfterFunc(ctx, func() { l.Close() })()
	for {
		conn, err := l.Accept()
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		if err = ours(conn); err == nil {
			err = a.Work(ctx, conn)
		}
		if err != nil {
			a.Log.Warn("orders at "+path, err)
		}
		conn.Close()
	}
}

// ours refuses a process that is not queue-run's.
func ours(conn *order.Conn) error {
	uid, err := conn.PeerUID()
	if err != nil || uid == 0 || int(uid) == os.Getuid() {
		return err
	}
	if queueRun, err := uids.System.User("mailqueue"); err != nil || int(uid) != queueRun {
		return fmt.Errorf("uid %d is not queue-run's", uid)
	}
	return nil
}

// WorkFd obeys the orders that come on a descriptor.
func (a *Agent) WorkFd(ctx context.Context, fd int) error {
	conn, err := order.NewConn(fd)
	if err != nil {
		return err
	}
	return a.Work(ctx, conn)
}

// Work obeys the orders of queue-run until it goes away, says quit, or ctx ends; then it
// finishes what it has begun.
func (a *Agent) Work(ctx context.Context, conn *order.Conn) error {
	r := newRound(a, conn.SendAnswers)
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		r.sync(a.SyncEvery)
	}()
	leave := context.AfterFunc(ctx, func() { conn.Finish() })
	defer leave()
	leaving := make(chan struct{})
	defer close(leaving)
	go func() {
		for t := time.NewTicker(recheckEvery); ; {
			select {
			case now := <-t.C:
				a.recheck(now)
			case <-leaving:
				t.Stop()
				return
			}
		}
	}()
	err := a.obey(r, conn)
	if ctx.Err() != nil {
		err = nil
	}
	close(r.kick)
	<-stopped
	r.wait()
	r.flush()
	a.index.end()
	a.boxes.closeAll()
	return err
}

func (a *Agent) obey(r *round, conn *order.Conn) error {
	for {
		orders, fds, err := conn.ReceiveOrders(atATime)
		r.batch(orders)
		for i := range orders {
			switch orders[i].Verb {
			case "deliver":
				a.accept(r, orders[i], fds[i])
			case "quit":
				closeFrom(fds[i:])
				return nil
			default: // next, resolve: there is one site here, and nothing to keep a connection to
				closeFrom(fds[i : i+1])
				r.mu.Lock()
				r.answers = append(r.answers, order.Answer{Kind: 'E', Seq: orders[i].Seq})
				r.mu.Unlock()
			}
		}
		if len(orders) > 0 {
			r.wake()
			if ferr := r.flush(); ferr != nil {
				return ferr
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func closeFrom(fds []int) {
	for _, fd := range fds {
		if fd >= 0 {
			unix.Close(fd)
		}
	}
}

// accept begins one order.
func (a *Agent) accept(r *round, o order.Order, fd int) {
	var file durable.File
	err := errors.New("an order without a descriptor")
	if fd >= 0 {
		file, err = durable.FromFd(uintptr(fd), o.ID)
	}
	if err != nil {
		a.Log.Warn("order "+o.ID, err)
		r.mu.Lock()
		defer r.mu.Unlock()
		for _, rcpt := range o.Rcpts {
			r.answers = append(r.answers, order.Answer{Kind: 'Z', Seq: o.Seq, Num: rcpt.Num,
				Result: status.Result{Outcome: status.Deferred, Code: 451, Enhanced: "4.3.0", Text: "spool file cannot be read"}})
		}
		r.answers = append(r.answers, order.Answer{Kind: 'E', Seq: o.Seq})
		return
	}
	a.take(r, o, file)
}

// sync commits groups: at once after a pause, else every so often, so that deliveries in a
// stream share what a sync costs.
func (r *round) sync(every time.Duration) {
	var last time.Time
	for range r.kick {
		if pause := every - time.Since(last); pause > 0 {
			time.Sleep(pause)
		}
		last = time.Now()
		r.commit(r.group())
		r.flush()
		r.agent.index.wake()
	}
	r.commit(r.group()) // queue-run has gone: no more will come
}
