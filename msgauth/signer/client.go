package signer

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"sync"
	"time"
)

// Client asks a process of its own, which is started when the first question comes and again after it has died, or one that listens at a
// socket. It is safe for concurrent use.
type Client struct {
	Socket string   // where it listens; "" it is started
	Path   string   // of mailkey
	Args   []string // such as -c mail.toml sign

	mu      sync.Mutex
	process *process
	started time.Time
}

// process is one life of the signer.
type process struct {
	in      io.WriteCloser
	out     *bufio.Writer
	kill    func()     // ends it at once
	end     func()     // waits for the process, or closes the connection
	mu      sync.Mutex // for writing, and for the order of waiting
	waiting chan chan answer
	dead    chan struct{} // closed when it answers no more
	useful  bool          // it has answered once; read after dead
}

// maxWaiting is how many questions are under way at once, and pause how long one that dies at once is left alone.
const (
	maxWaiting = 64
	pause      = time.Second
)

// errDead is the signer's end; the question may be asked again.
var errDead = errors.New("the process that signs has ended")

// Ask puts a question and waits for the answer. ErrNone is none; any other error is a reason to defer. What was asked of a signer that died
// is asked once more.
func (c *Client) Ask(ctx context.Context, r Request) ([]byte, error) {
	fields, err := c.ask(ctx, r)
	if errors.Is(err, errDead) && ctx.Err() == nil {
		fields, err = c.ask(ctx, r)
	}
	return fields, err
}

func (c *Client) ask(ctx context.Context, r Request) ([]byte, error) {
	if err := r.valid(); err != nil {
		return nil, err
	}
	p, err := c.running()
	if err != nil {
		return nil, err
	}
	wait := make(chan answer, 1)
	if err = p.question(ctx, r, wait); err != nil {
		if errors.Is(err, errDead) { // the next is not to find it dying
			select {
			case <-p.dead:
			case <-ctx.Done():
			}
		}
		return nil, err
	}
	select {
	case a := <-wait:
		return a.fields, a.err
	case <-p.dead:
		select {
		case a := <-wait:
			return a.fields, a.err
		default:
			return nil, errDead
		}
	case <-ctx.Done():
		return nil, p.late(ctx)
	}
}

// question writes it down, behind those of others.
func (p *process) question(ctx context.Context, r Request, wait chan answer) (err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if ctx.Err() != nil {
		return p.late(ctx)
	}
	select {
	case p.waiting <- wait:
		stop := context.AfterFunc(ctx, p.kill) // one that reads no more would hold up all, and for ever
		if err = r.writeTo(p.out); !stop() && err != nil {
			err = ctx.Err()
		}
		if err != nil {
			p.in.Close() // nobody knows how much of the question was written; what was asked before is still answered
			err = fmt.Errorf("%w: %w", errDead, err)
		}
		return err
	case <-p.dead:
		return errDead
	case <-ctx.Done():
		return p.late(ctx)
	}
}

// late ends a signer that has not answered in time: all who wait would wait as long. Who gives up for reasons of his own disturbs nobody.
func (p *process) late(ctx context.Context) error {
	if ctx.Err() == context.DeadlineExceeded {
		p.kill()
	}
	return ctx.Err()
}

// running is the process, started where there is none.
func (c *Client) running() (*process, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if p := c.process; p != nil {
		select {
		case <-p.dead:
			if !p.useful && time.Since(c.started) < pause {
				return nil, fmt.Errorf("%w as soon as it was started; see its message", errDead)
			}
		default:
			return p, nil
		}
	}
	p := &process{waiting: make(chan chan answer, maxWaiting), dead: make(chan struct{})}
	start := p.start
	if c.Socket != "" {
		start = p.dial
	}
	c.started = time.Now()
	out, err := start(c)
	if err != nil {
		return nil, err
	}
	p.out = bufio.NewWriterSize(p.in, 64<<10)
	go p.read(bufio.NewReader(out))
	c.process = p
	return p, nil
}

func (p *process) start(c *Client) (io.Reader, error) {
	cmd := exec.Command(c.Path, c.Args...)
	cmd.Stderr = os.Stderr
	p.kill = func() { cmd.Process.Kill() }
	p.end = func() { cmd.Wait() }
	var err error
	if p.in, err = cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	return out, cmd.Start()
}

func (p *process) dial(c *Client) (io.Reader, error) {
	conn, err := net.DialTimeout("unix", c.Socket, pause)
	if err != nil {
		return nil, err
	}
	p.in, p.kill, p.end = half{conn.(*net.UnixConn)}, func() { conn.Close() }, func() { conn.Close() }
	return conn, nil
}

// half is the end of a socket that questions go into: it can be closed while answers still come.
type half struct{ *net.UnixConn }

func (h half) Close() error { return h.CloseWrite() }

// read hands the answers out in the order of the questions.
func (p *process) read(b *bufio.Reader) {
	for {
		a, err := readAnswer(b)
		if err != nil {
			break
		}
		p.useful = true
		wait := <-p.waiting
		wait <- a
	}
	close(p.dead)
	p.in.Close()
	p.end()
}

// Close ends the process when it has answered what it was asked.
func (c *Client) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.process == nil {
		return nil
	}
	err := c.process.in.Close()
	select {
	case <-c.process.dead:
	case <-time.After(10 * pause):
		c.process.kill()
	}
	c.process = nil
	return err
}
