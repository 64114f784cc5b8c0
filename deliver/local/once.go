package local

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"

	"pennypost/internal/address"
	"pennypost/internal/domains"
	"pennypost/internal/durable"
	"pennypost/internal/order"
	"pennypost/internal/status"
	"pennypost/queue"
)

// Exit statuses of the one-shot form (interfaces.md): what stands on stdout in one number.
const (
	exitSaid   = 0
	exitUsage  = 64
	exitAgain  = 75
	exitFailed = 100
)

// Once delivers the message on in to user: the form for people, scripts and one-shot transports.
// args are USER and ADDRESS; the envelope may be on descriptor 3. It prints one line,
// "K|Z|D 1 status code text", with "F 1 ADDRESS" before K where the user's forward file sends it on.
func (a *Agent) Once(sender string, args []string, in *os.File, out io.Writer) (exit int) {
	a.init()
	o := order.Order{Verb: "deliver", Seq: 1, ID: (&queue.Spool{Node: "x"}).NewID(), Attempt: 1, Rcpts: make([]order.Rcpt, 1)}
	rc := &o.Rcpts[0]
	rc.Num = queue.Num{N: 1}
	if len(args) != 2 {
		fmt.Fprintln(os.Stderr, "deliver-local: wants USER and ADDRESS, see deliver-local(8)")
		return exitUsage
	}
	from, err := address.Parse(unbracket(sender))
	if err == nil {
		o.Sender = &from
		rc.To, err = address.Parse(unbracket(args[1]))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "deliver-local:", err)
		return exitUsage
	}
	if env := envelope(3); env != nil {
		o.ID, o.Repeat, o.Junk = env.ID, true, env.Marked()
		for _, r := range env.Rcpts {
			if sameAddress(r.To, rc.To) {
				rc.Num.N = r.N
			}
		}
	}
	r := newRound(a, func(answers []order.Answer) error {
		exit = say(out, answers)
		return nil
	})
	file, start, err := message0(in)
	if err != nil {
		fmt.Fprintln(os.Stderr, "deliver-local:", err)
		fmt.Fprintln(out, "Z", rc.Num, "4.3.0 451 cannot read the message")
		return exitAgain
	}
	o.Header = start
	a.one(r, o, file, args[0])
	return exit
}

// one is take for one recipient whose account is named.
func (a *Agent) one(r *round, o order.Order, file durable.File, user string) {
	rc := &recipient{job: &job{order: o, file: file, open: 1}, num: o.Rcpts[0].Num, to: o.Rcpts[0].To, copies: 1}
	r.pending = 1
	account, err := a.Directory.Login(user)
	switch {
	case err != nil && !errors.Is(err, domains.ErrNoAccount):
		rc.fail(a.trouble(rc, err))
	case err != nil:
		rc.fail(status.Result{Outcome: status.Failed, Code: 550, Enhanced: "5.1.1", Text: "no such user here"})
	default:
		detail := ""
		if found, err := a.Directory.Lookup(rc.to); err == nil && found.Account != nil && found.Account.Path() == account.Path() {
			detail = found.Detail
		}
		a.deliver(r, rc, account, detail, r.now())
	}
	r.copied(a, rc)
	r.commit(r.group())
	r.wait()
	r.flush()
	a.boxes.closeAll()
}

// say prints answers and gives the exit status that goes with them.
func say(out io.Writer, answers []order.Answer) int {
	w := bufio.NewWriter(out)
	defer w.Flush()
	exit := exitSaid
	for _, ans := range answers {
		switch ans.Kind {
		case 'F':
			fmt.Fprintln(w, "F", ans.Num, ans.Target)
		case 'K', 'Z', 'D':
			fmt.Fprintf(w, "%c %s %s %d %s\n", ans.Kind, ans.Num, ans.Result.Enhanced, ans.Result.Code, ans.Result.Text)
			exit = map[byte]int{'K': exitSaid, 'Z': exitAgain, 'D': exitFailed}[ans.Kind]
		}
	}
	return exit
}

func unbracket(s string) string {
	if len(s) >= 2 && s[0] == '<' && s[len(s)-1] == '>' {
		return s[1 : len(s)-1]
	}
	return s
}

// envelope reads the envelope on descriptor fd, if there is one.
func envelope(fd int) *queue.Envelope {
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err != nil {
		return nil
	}
	unix.CloseOnExec(fd)
	var text bytes.Buffer
	for b := make([]byte, 4096); text.Len() < queue.MaxEnvelope; {
		n, err := unix.Read(fd, b)
		if n <= 0 || err != nil {
			break
		}
		text.Write(b[:n])
		if env, _, more, err := queue.Parse(text.Bytes()); err == nil && !more && queue.ValidID(env.ID) {
			return env
		}
	}
	return nil
}

// message0 is the message on in, from where it stands, as a file. What comes through a pipe is put
// into a file without a name first.
func message0(in *os.File) (durable.File, int64, error) {
	fd, err := unix.FcntlInt(in.Fd(), unix.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		return nil, 0, os.NewSyscallError("dup", err)
	}
	if at, err := unix.Seek(fd, 0, io.SeekCurrent); err == nil {
		if file, err := durable.FromFd(uintptr(fd), "message"); err == nil {
			return file, at, nil
		}
		return nil, 0, errors.New("descriptor 0 is no file and no pipe")
	}
	unix.Close(fd)
	if fd, err = unix.Open(os.TempDir(), unix.O_TMPFILE|unix.O_RDWR|unix.O_CLOEXEC, 0o600); err != nil {
		if fd, err = unix.MemfdCreate("message", unix.MFD_CLOEXEC); err != nil {
			return nil, 0, os.NewSyscallError("memfd_create", err)
		}
	}
	file, err := durable.FromFd(uintptr(fd), "message")
	if err == nil {
		if _, err = io.Copy(file, in); err == nil {
			file.Stat() // the size FromFd saw is not that of now
			return file, 0, nil
		}
		file.Close()
	}
	return nil, 0, err
}
