package signer

import (
	"bufio"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"sync"
)

// Client asks a process of its own, which is started when the first question comes and again after it has died.
// It is safe for concurrent use.
type Client struct {
	Path string   // of mailkey
	Args []string // such as -c mail.toml sign

	mu      sync.Mutex
	process *process
}

// process is one life of the signer.
type process struct {
	in      io.WriteCloser
	out     *bufio.Writer
	cmd     *exec.Cmd
	mu      sync.Mutex // for writing, and for the order of waiting
	waiting chan chan answer
	dead    chan struct{} // closed when it answers no more
}

// maxWaiting is how many questions are under way at once.
const maxWaiting = 64

// errDead is the signer's end; the question may be asked again.
var errDead = errors.New("the process that signs has ended")

// Ask puts a question and waits for the answer. ErrNone is none; any other error is a reason to defer.
func (c *Client) Ask(ctx context.Context, r Request) ([]byte, error) {
	if err := r.valid(); err != nil {
		return nil, err
	}
	p, err := c.running()
	if err != nil {
		return nil, err
	}
	wait := make(chan answer, 1)
	p.mu.Lock()
	select {
	case p.waiting <- wait:
		if err = r.writeTo(p.out); err != nil {
			p.in.Close() // nobody knows how much of the question was written; what was asked before is still answered
		}
	case <-p.dead:
		err = errDead
	case <-ctx.Done():
		err = ctx.Err()
	}
	p.mu.Unlock()
	if err != nil {
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
		return nil, ctx.Err()
	}
}

// running is the process, started where there is none.
func (c *Client) running() (*process, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if p := c.process; p != nil {
		select {
		case <-p.dead:
		default:
			return p, nil
		}
	}
	p := &process{waiting: make(chan chan answer, maxWaiting), dead: make(chan struct{}), cmd: exec.Command(c.Path, c.Args...)}
	p.cmd.Stderr = os.Stderr
	var err error
	if p.in, err = p.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	p.out = bufio.NewWriterSize(p.in, 64<<10)
	go p.read(bufio.NewReader(out))
	c.process = p
	return p, nil
}

// read hands the answers out in the order of the questions.
func (p *process) read(b *bufio.Reader) {
	for {
		a, err := readAnswer(b)
		if err != nil {
			break
		}
		wait := <-p.waiting
		wait <- a
	}
	close(p.dead)
	p.in.Close()
	p.cmd.Wait()
}

// Close ends the process when it has answered what it was asked.
func (c *Client) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.process == nil {
		return nil
	}
	err := c.process.in.Close()
	<-c.process.dead
	c.process = nil
	return err
}
