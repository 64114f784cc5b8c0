package local

import (
	"context"
	"errors"
	"io"
	"time"

	"golang.org/x/sys/unix"

	"pennypost/internal/durable"
	"pennypost/internal/order"
	"pennypost/internal/status"
)

// atATime is how many orders are begun before what they need is synced.
const atATime = 256

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
	}
	r.commit(r.group()) // queue-run has gone: no more will come
}
