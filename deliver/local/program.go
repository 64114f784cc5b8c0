package local

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"pennypost/internal/address"
	"pennypost/internal/status"
)

// Programs is what a program line of a forward file may do.
type Programs struct {
	Time        time.Duration // then its process group is killed
	Output      int64         // octets kept of what it prints; the rest is thrown away
	Environment []string      // names passed on from our environment
}

// searchPath is where programs find programs.
const searchPath = "/usr/local/bin:/usr/bin:/bin"

// atOnce bounds programs, so that a thousand letters do not become a thousand processes.
var atOnce = make(chan struct{}, 20)

// inherited has descriptors closed that whoever started us left open. Our own are closed anyway.
var inherited sync.Once

// runPrograms runs the program lines one after the other, until one fails.
func (a *Agent) runPrograms(rc *recipient) {
	atOnce <- struct{}{}
	defer func() { <-atOnce }()
	for _, line := range rc.plan.programs {
		result, err := a.run(rc, line)
		a.Log.Ran(rc.job.order.ID, rc.to, line, err)
		if result.Outcome != status.Delivered {
			rc.fail(result)
			return
		}
	}
}

// run runs one program: no shell, argv is the line split at spaces, the environment is ours alone to
// give, the message is on fd 0 as a pipe (the spool file also has an envelope that is not the user's to
// read), what it prints goes to the answer if it fails. It and all it has started are gone when run returns.
func (a *Agent) run(rc *recipient, line string) (status.Result, error) {
	argv := strings.Fields(line)
	if rc.account.Unix != nil {
		argv = unixCommand(line)
	} else if len(argv) == 0 || !filepath.IsAbs(argv[0]) {
		return programResult(status.Deferred, "4.3.5", "program of the user is not configured right"),
			errors.New("not an absolute path")
	}
	limit := a.Programs.Time
	if limit <= 0 {
		limit = 5 * time.Minute
	}
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	out := &capped{room: int(a.Programs.Output)}
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Env = a.environment(rc)
	cmd.Dir = "/"
	text, enough := rc.job.reader(rc.to)
	defer enough()
	cmd.Stdin = text
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if rc.account.Unix != nil {
		a.prepareUnix(rc, cmd)
	}
	killGroup := func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.Cancel = killGroup
	cmd.WaitDelay = 500 * time.Millisecond
	inherited.Do(func() { unix.CloseRange(3, math.MaxInt32, unix.CLOSE_RANGE_CLOEXEC) })
	err := start(cmd)
	if err == nil {
		err = a.wait(cmd, killGroup)
	}
	switch {
	case ctx.Err() != nil:
		return programResult(status.Deferred, "4.3.0", "program of the user took too long"),
			fmt.Errorf("killed after %v", limit)
	case err == nil:
		return status.Result{}, nil
	}
	var exit *exec.ExitError
	if errors.As(err, &exit) && never(exit.ExitCode()) {
		return programResult(status.Failed, "5.3.0", out.text("program of the user refused the message")), err
	}
	return programResult(status.Deferred, "4.3.0", "program of the user failed"), err
}

var starting sync.Mutex

// start starts a program with a umask that keeps what it makes to its user. Ours is none, because we give every
// file its mode; nothing we make meanwhile is any worse for 077.
func start(cmd *exec.Cmd) error {
	starting.Lock()
	defer starting.Unlock()
	defer unix.Umask(unix.Umask(0o077))
	return cmd.Start()
}

// wait waits for the program, then kills what it left behind: a child that still holds our pipe
// would otherwise hold the delivery.
func (a *Agent) wait(cmd *exec.Cmd, killGroup func() error) error {
	defer killGroup()
	err := cmd.Wait()
	if errors.Is(err, exec.ErrWaitDelay) { // it ended well; something it started had the pipe
		return nil
	}
	if errors.Is(err, syscall.EPIPE) { // it did not want to read all of it
		return nil
	}
	return err
}

// never maps an exit status: 100 as qmail has it, and those of sysexits.h that no second try will change.
func never(code int) bool {
	switch code {
	case 100, 65, 67, 68, 69, 76, 77:
		return true
	}
	return false
}

func programResult(o status.Outcome, enhanced, text string) status.Result {
	code := 451
	if o == status.Failed {
		code = 554
	}
	return status.Result{Outcome: o, Code: code, Enhanced: enhanced, Text: text}
}

// environment is all a program gets.
func (a *Agent) environment(rc *recipient) []string {
	env := []string{
		"PATH=" + searchPath,
		"SENDER=" + rc.job.from().String(),
		"RECIPIENT=" + rc.to.String(),
		"USER=" + rc.account.User,
		"DOMAIN=" + rc.account.Domain,
		"HOME=" + filepath.Dir(rc.account.Maildir),
		"ID=" + rc.job.order.ID,
	}
	for _, name := range a.Programs.Environment {
		if value, ok := os.LookupEnv(name); ok {
			env = append(env, name+"="+value)
		}
	}
	return env
}

// from is the reverse-path.
func (j *job) from() (p address.Path) {
	if j.msg != nil {
		p = j.msg.from
	}
	return p
}

// reader is the message as the Maildir would have it. enough ends the reading.
func (j *job) reader(to address.Path) (text io.Reader, enough func()) {
	r, w := io.Pipe()
	done := make(chan struct{})
	go func() {
		defer close(done)
		var err error
		if j.msg == nil { // ready
			err = copyAll(w, j.file, j.order.Size)
		} else {
			_, _, err = j.msg.copyTo(w, to)
		}
		w.CloseWithError(err)
	}()
	return r, func() {
		r.Close()
		<-done
	}
}

// capped keeps the beginning of what is written to it.
type capped struct {
	room int
	kept []byte
}

func (c *capped) Write(p []byte) (int, error) {
	if n := c.room - len(c.kept); n > 0 {
		c.kept = append(c.kept, p[:min(n, len(p))]...)
	}
	return len(p), nil
}

// text is the first line of what was kept, or what to say where there is none.
func (c *capped) text(otherwise string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(string(c.kept)), "\n")
	if line = strings.TrimSpace(line); line == "" {
		return otherwise
	}
	return line[:min(len(line), 400)]
}
