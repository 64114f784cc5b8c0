package remote

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"pennypost/internal/order"
	"pennypost/internal/uids"
)

// maxOrders is how many orders are carried out at once. queue-run has limits of its own, and lower ones.
const maxOrders = 4096

// Worker serves one connection of queue-run.
type Worker struct {
	Client *Client
	Conn   *order.Conn

	mu      sync.Mutex
	ready   []order.Answer // to be sent
	sending bool
	wait    sync.WaitGroup // orders and send
	gone    atomic.Bool    // nobody listens to answers: start no transaction
}

// Listen serves queue-run at a socket, one connection after the other: for a worker that a supervisor runs under a uid of
// its own. Orders are taken from queue-run's uid, from our own and from root.
func Listen(ctx context.Context, client *Client, path string) error {
	l, err := order.Listen(path)
	if err != nil {
		return err
	}
	defer context.AfterFunc(ctx, func() { l.Close() })()
	go client.Background(ctx)
	for {
		conn, err := l.Accept()
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		uid, err := conn.PeerUID()
		if queueRun, none := uids.System.User("mailqueue"); err == nil && uid != 0 && int(uid) != os.Getuid() && (none != nil || int(uid) != queueRun) {
			err = fmt.Errorf("uid %d is not queue-run's", uid)
		}
		if err == nil {
			err = (&Worker{Client: client, Conn: conn}).Serve(ctx)
		}
		if err != nil {
			client.log.Warn("orders at "+path, err)
		}
		conn.Close()
	}
}

// Serve obeys queue-run at a descriptor that is a SEQPACKET socket.
func Serve(ctx context.Context, client *Client, fd int) error {
	conn, err := order.NewConn(fd)
	if err != nil {
		return err
	}
	go client.Background(ctx)
	return (&Worker{Client: client, Conn: conn}).Serve(ctx)
}

// Serve takes orders until quit or the end of the connection, and returns when the last is answered. An ended context cuts
// short what is not yet being sent.
func (w *Worker) Serve(ctx context.Context) error {
	jobs := make(chan job)
	defer close(jobs)
	defer w.wait.Wait()
	reading, stop := context.WithCancel(ctx)
	defer stop()
	packets := w.orders(reading)
	hands := 0
	for {
		var p packet
		select {
		case p = <-packets: // closed: queue-run has gone
		case <-ctx.Done():
		}
		if len(p.orders) == 0 {
			// Without a quit nobody will hear what becomes of the orders in hand. What no host has taken yet none should take
			// now: it would get it twice.
			w.gone.Store(ctx.Err() == nil)
			return p.err
		}
		for i := range p.orders {
			o, fd := &p.orders[i], p.fds[i]
			if o.Verb == "quit" {
				for _, fd := range p.fds[i:] {
					closeFd(fd)
				}
				return nil
			}
			w.wait.Add(1)
			select {
			case jobs <- job{o, fd}: // to one whose stack has grown already
				continue
			default:
			}
			if hands < maxOrders {
				hands++
				go w.hand(ctx, job{o, fd}, jobs)
			} else {
				jobs <- job{o, fd}
			}
		}
	}
}

// job is one order and its descriptor.
type job struct {
	o  *order.Order
	fd int
}

// hand does one job after the other.
func (w *Worker) hand(ctx context.Context, j job, jobs <-chan job) {
	for ok := true; ok; j, ok = <-jobs {
		w.do(ctx, j.o, j.fd)
		w.wait.Done()
	}
}

// orders reads packets in a goroutine of its own, so that the end of the context is the end of them.
func (w *Worker) orders(ctx context.Context) <-chan packet {
	packets := make(chan packet)
	go func() {
		defer close(packets)
		for {
			var p packet
			if p.orders, p.fds, p.err = w.Conn.ReceiveOrders(64); p.err == nil || !errors.Is(p.err, io.EOF) {
				select {
				case packets <- p:
				case <-ctx.Done():
					for _, fd := range p.fds {
						closeFd(fd)
					}
					return
				}
			}
			if p.err != nil {
				return
			}
		}
	}()
	return packets
}

// packet is what one receive brought.
type packet struct {
	orders []order.Order
	fds    []int
	err    error
}

// do carries out one order.
func (w *Worker) do(ctx context.Context, o *order.Order, fd int) {
	defer closeFd(fd)
	switch o.Verb {
	case "deliver":
		w.say(w.Client.Deliver(ctx, o, fd, &w.gone, make([]order.Answer, 0, 2+len(o.Rcpts))))
	case "resolve":
		w.say([]order.Answer{w.Client.Resolve(ctx, o)})
	case "next":
		// The next order to the same site finds the idle connection by itself; there is nothing to get ready.
		w.say([]order.Answer{{Kind: 'E', Seq: o.Seq}})
	}
}

func closeFd(fd int) {
	if fd >= 0 {
		unix.Close(fd)
	}
}

// say hands answers to the one who sends them. Answers that come about together go in one packet, and wake queue-run once.
func (w *Worker) say(answers []order.Answer) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ready = append(w.ready, answers...)
	if !w.sending {
		w.sending = true
		w.wait.Add(1)
		go w.send()
	}
}

func (w *Worker) send() {
	defer w.wait.Done()
	for {
		runtime.Gosched() // all that can run now goes first, and may have something to say
		w.mu.Lock()
		answers := w.ready
		if w.ready = nil; len(answers) == 0 {
			w.sending = false
			w.mu.Unlock()
			return
		}
		w.mu.Unlock()
		if err := w.Conn.SendAnswers(answers); err != nil {
			w.gone.Store(true) // queue-run has gone; it will give the orders again, with repeat=1
		}
	}
}
