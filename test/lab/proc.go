package lab

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
	"time"
)

// A Program is one process of a host. While the lab is up it is started again whenever it ends, as a service manager would.
type Program struct {
	Name string // of the file in bin/
	Host string // whose it is
	argv []string
	env  []string
	as   *syscall.Credential // nil: as we are
	log  io.Writer

	mu       sync.Mutex
	cmd      *exec.Cmd
	ended    chan struct{} // closed when cmd has ended
	paused   chan struct{} // not nil: wait for it before the next start
	stopping bool
	starts   int
	done     chan struct{} // closed when nobody watches over it any more
	onStart  func()
}

// Pid is the process of now, 0 between two.
func (p *Program) Pid() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd == nil {
		return 0
	}
	return p.cmd.Process.Pid
}

// Starts counts how often it was started.
func (p *Program) Starts() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.starts
}

// Kill is kill -9: no warning, no tidying up. The program is back a moment later.
func (p *Program) Kill() error {
	if pid := p.Pid(); pid != 0 {
		return syscall.Kill(pid, syscall.SIGKILL)
	}
	return nil
}

// Signal sends a signal to the process of now.
func (p *Program) Signal(s syscall.Signal) error {
	if pid := p.Pid(); pid != 0 {
		return syscall.Kill(pid, s)
	}
	return nil
}

// supervise starts the program and starts it again until Stop; one that dies at once is given more and more time.
func (p *Program) supervise() {
	defer close(p.done)
	pause := 50 * time.Millisecond
	for {
		begun := time.Now()
		err := p.once()
		p.mu.Lock()
		stopping, paused := p.stopping, p.paused
		p.mu.Unlock()
		if stopping {
			return
		}
		if paused != nil {
			<-paused
			continue
		}
		fmt.Fprintf(p.log, "lab: %s of %s ended (%v), starting it again\n", p.Name, p.Host, err)
		if time.Since(begun) > 2*time.Second {
			pause = 50 * time.Millisecond
		}
		time.Sleep(pause)
		pause = min(2*pause, 2*time.Second)
	}
}

// once runs the program to its end.
func (p *Program) once() error {
	cmd := exec.Command(p.argv[0], p.argv[1:]...)
	cmd.Env, cmd.Stdout, cmd.Stderr = p.env, p.log, p.log
	// If the lab itself is killed nothing of it stays behind. A group of its own: Ctrl-C is for the lab, which then stops
	// its programs in order.
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM, Setpgid: true, Credential: p.as}
	p.mu.Lock()
	if p.stopping {
		p.mu.Unlock()
		return nil
	}
	err := starter.start(cmd)
	if err == nil {
		p.cmd, p.ended = cmd, make(chan struct{})
		p.starts++
	}
	p.mu.Unlock()
	if err != nil {
		return err
	}
	if p.onStart != nil {
		p.onStart()
	}
	err = cmd.Wait()
	p.mu.Lock()
	p.cmd = nil
	close(p.ended)
	p.mu.Unlock()
	return err
}

// Pause stops the process and does not let it be started again until Resume.
func (p *Program) Pause() {
	p.mu.Lock()
	p.paused = make(chan struct{})
	cmd, ended := p.cmd, p.ended
	p.mu.Unlock()
	if cmd != nil {
		cmd.Process.Signal(syscall.SIGTERM)
		<-ended
	}
}

// Resume ends a Pause.
func (p *Program) Resume() {
	p.mu.Lock()
	close(p.paused)
	p.paused = nil
	p.mu.Unlock()
}

// Stop asks the program to finish what it has in hand; after five seconds it is not asked any more.
func (p *Program) Stop() {
	p.mu.Lock()
	p.stopping = true
	p.mu.Unlock()
	p.Signal(syscall.SIGTERM)
	select {
	case <-p.done:
	case <-time.After(5 * time.Second):
		fmt.Fprintf(p.log, "lab: %s of %s does not end, killed\n", p.Name, p.Host)
		p.Signal(syscall.SIGKILL)
		<-p.done
	}
}

// starter starts every process from one thread that never ends: Linux sends Pdeathsig when the starting thread dies, and Go's
// threads come and go.
var starter = newStarter()

type startThread chan func()

func newStarter() startThread {
	work := make(startThread)
	go func() {
		runtime.LockOSThread()
		for f := range work {
			f()
		}
	}()
	return work
}

func (s startThread) start(cmd *exec.Cmd) error {
	done := make(chan error)
	s <- func() { done <- cmd.Start() }
	return <-done
}

// Bin finds the built programs: $PENNYPOST_BIN, the directory of the running program, or bin/ of the checkout.
func Bin() (string, error) {
	if dir := os.Getenv("PENNYPOST_BIN"); dir != "" {
		return filepath.Abs(dir)
	}
	if self, err := os.Executable(); err == nil {
		if _, err := os.Stat(filepath.Join(filepath.Dir(self), "smtpd")); err == nil {
			return filepath.Dir(self), nil
		}
	}
	root, err := Root()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(root, "bin")
	if _, err := os.Stat(filepath.Join(dir, "smtpd")); err != nil {
		return "", fmt.Errorf("no programs in %s: run make build", dir)
	}
	return dir, nil
}

// Root is the directory of go.mod above the working directory.
func Root() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
		if up := filepath.Dir(dir); up != dir {
			dir = up
			continue
		}
		return "", fmt.Errorf("not inside the source tree")
	}
}
