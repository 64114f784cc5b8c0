package run

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"pennypost/internal/durable"
	"pennypost/internal/order"
	"pennypost/internal/status"
	"pennypost/queue"
)

// commands runs the one-shot programs of [transport.NAME]: the message on descriptor 0 at its first octet, the
// envelope on descriptor 3, one line K, Z or D for each recipient on standard output.
type commands struct {
	r       *Runner
	running int
}

const (
	commandTime   = 5 * time.Minute
	commandOutput = 64 << 10
)

func (c *commands) init(r *Runner) { c.r = r }

// start runs the program of transport name for a flight.
func (c *commands) start(f *flight, name string) error {
	t, ok := c.r.Transport[name]
	if !ok || len(t.Command) == 0 {
		return fmt.Errorf("command:%s: no such [transport]", name)
	}
	file, err := c.r.descriptor(f.m)
	if err != nil {
		return err
	}
	env := *f.m.live.m.Env
	header := f.m.live.m.Header
	attempt := 0
	for _, rc := range f.rcpts {
		attempt = max(attempt, c.r.attempts(f.m.live, rc)+1)
	}
	p := &program{argv: arguments(t.Command, &env, f), time: t.Time, flight: f, file: file, header: header,
		env: environment(&env, f, f.m.live.m.Size, attempt)}
	if p.time <= 0 {
		p.time = commandTime
	}
	p.envelope = env.Append(nil)
	c.running++
	c.r.group.Add(1)
	go func() {
		defer c.r.group.Done()
		p.run(c.r)
		c.r.events <- event{flight: f}
	}()
	return nil
}

func (c *commands) done(*flight) { c.running-- }

// program is one run of a command.
type program struct {
	argv     []string
	env      []string
	time     time.Duration
	flight   *flight
	file     durable.File
	header   int64
	envelope []byte
}

// arguments fills {sender} {rcpt} {id} where they are whole arguments. {rcpt} becomes all recipients.
func arguments(command []string, env *queue.Envelope, f *flight) []string {
	var argv []string
	for _, a := range command {
		switch a {
		case "{sender}":
			argv = append(argv, env.From.String())
		case "{id}":
			argv = append(argv, f.m.id)
		case "{rcpt}":
			for _, c := range f.rcpts {
				argv = append(argv, c.to.String())
			}
		default:
			argv = append(argv, a)
		}
	}
	return argv
}

// environment is all a program gets: a path, and the envelope as MQ_ words.
func environment(env *queue.Envelope, f *flight, size int64, attempt int) []string {
	list := []string{
		"PATH=/usr/local/bin:/usr/bin:/bin",
		"MQ_ID=" + f.m.id,
		"MQ_SENDER=" + env.From.String(),
		"MQ_SIZE=" + strconv.FormatInt(size, 10),
		"MQ_ATTEMPT=" + strconv.Itoa(attempt),
		"MQ_AUTH=" + env.Auth,
		"MQ_CLASS=" + env.Class,
		"MQ_ENVELOPE_FD=3",
	}
	for _, c := range f.rcpts {
		list = append(list, "MQ_RCPT_"+strings.ReplaceAll(c.num.String(), ".", "_")+"="+c.to.String())
	}
	return list
}

// run runs the program and fills the flight's answers. The loop does not look at them before it is told.
func (p *program) run(r *Runner) {
	defer p.file.Close()
	defer func() {
		if e := recover(); e != nil {
			p.all(status.Deferred, fmt.Sprint("panic: ", e))
		}
	}()
	stdout, code, err := p.exec()
	if err != nil {
		r.log.Warn("command "+p.argv[0]+" for "+p.flight.m.id, err)
	}
	p.lines(stdout)
	switch code {
	case 0:
	case 100:
		p.rest(status.Failed, "the program refused it")
	default: // 75, 111 and whatever we do not know
		p.rest(status.Deferred, fmt.Sprintf("the program ended with %d", code))
	}
	p.rest(status.Deferred, "the program said nothing of this recipient")
}

// exec starts the program with its descriptors and waits, no longer than its time. Code -1: it did not run to its end.
func (p *program) exec() (stdout []byte, code int, err error) {
	message, err := reopen(p.file)
	if err != nil {
		return nil, -1, err
	}
	defer message.Close()
	if _, err := message.Seek(p.header, io.SeekStart); err != nil {
		return nil, -1, err
	}
	envelope, err := memory(p.envelope)
	if err != nil {
		return nil, -1, err
	}
	defer envelope.Close()
	ctx, cancel := context.WithTimeout(context.Background(), p.time)
	defer cancel()
	var out, errs limited
	out.left, errs.left = commandOutput, commandOutput
	cmd := exec.CommandContext(ctx, p.argv[0], p.argv[1:]...)
	cmd.Stdin, cmd.ExtraFiles = message, []*os.File{envelope}
	cmd.Stdout, cmd.Stderr = &out, &errs
	cmd.Env, cmd.Dir = p.env, "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = time.Second
	err = cmd.Run()
	if cmd.Process != nil {
		syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // what it left behind
	}
	var exit *exec.ExitError
	switch {
	case err == nil:
		return out.Bytes(), 0, nil
	case errors.As(err, &exit) && exit.Exited():
		err = nil
		if errs.Len() > 0 {
			err = errors.New(strings.TrimSpace(errs.String()))
		}
		return out.Bytes(), exit.ExitCode(), err
	}
	return out.Bytes(), -1, err
}

// reopen gives the program an offset of its own.
func reopen(f durable.File) (*os.File, error) {
	return os.Open("/proc/self/fd/" + strconv.Itoa(int(f.Fd())))
}

// memory is a file that exists only as a descriptor, at its beginning.
func memory(b []byte) (*os.File, error) {
	fd, err := unix.MemfdCreate("envelope", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), "envelope")
	if _, err = f.Write(b); err == nil {
		_, err = f.Seek(0, io.SeekStart)
	}
	return f, err
}

// limited keeps the first octets written to it and takes the rest.
type limited struct {
	bytes.Buffer
	left int
}

func (l *limited) Write(p []byte) (int, error) {
	n := min(len(p), l.left)
	l.left -= n
	l.Buffer.Write(p[:n])
	return len(p), nil
}

// lines reads what a program said: "K NUM status code text", the text as it is.
func (p *program) lines(out []byte) {
	for line := range bytes.Lines(out) {
		words := strings.SplitN(strings.TrimRight(string(line), "\r\n"), " ", 5)
		if words[0] == "S" {
			p.flight.siteText, p.flight.siteDown = strings.Join(words[1:], " "), true
			continue
		}
		if len(words) < 4 || len(words[0]) != 1 {
			continue
		}
		num, err := queue.ParseNum(words[1])
		code, err2 := strconv.Atoi(words[3])
		if err != nil || err2 != nil {
			continue
		}
		a := order.Answer{Kind: words[0][0], Num: num, Result: status.Result{Enhanced: words[2], Code: code}}
		if len(words) == 5 {
			a.Result.Text = words[4]
		}
		switch a.Kind {
		case 'K':
		case 'Z':
			a.Result.Outcome = status.Deferred
		case 'D':
			a.Result.Outcome = status.Failed
		default:
			continue
		}
		p.flight.take(&a)
	}
}

func (p *program) all(o status.Outcome, text string) {
	for i := range p.flight.got {
		p.flight.got[i].said = false
	}
	p.rest(o, text)
}

// rest answers for the recipients nothing was said of.
func (p *program) rest(o status.Outcome, text string) {
	res := status.Result{Outcome: o, Code: 451, Enhanced: "4.3.0", Text: text}
	if o == status.Failed {
		res.Code, res.Enhanced = 554, "5.3.0"
	}
	for i := range p.flight.got {
		if g := &p.flight.got[i]; !g.said {
			g.said, g.result = true, res
		}
	}
}
