/*
Package pamcheck checks passwords of Unix users by PAM: pamcheck(8).

	run/pam/sock     a packet NAME NUL PASSWORD NUL SERVICE NUL ADDRESS NUL, and its answer: yes | no | later WHY
	                 a packet NAME NUL: whether there is such a user still, whose account has not expired

Modules of PAM are other people's code, and may do what they like in the process that loads them. So each check is a process of its own
(pamcheck --once, which reads what a checkpassword program reads), bounded in number and time; this one holds nothing and listens. Its user
is mailpam, with the group shadow besides: that is what pam_unix needs, and pam_sss and pam_ldap need nothing.

A "no" comes at the next full second, whatever it is for: who does not exist takes as long as a wrong password (S111).
PAM's own delay is left out, for mailauthd(8) counts guesses.
*/
package pamcheck

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"pennypost/internal/config"
	"pennypost/internal/escape"
	"pennypost/internal/listen"
	"pennypost/internal/maillog"
	"pennypost/internal/packet"
	"pennypost/internal/uids"
	"pennypost/pamcheck/ask"
)

const (
	atOnce    = 16               // checks
	checkTime = 30 * time.Second // for one; a directory service may be slow
	waitTime  = 5 * time.Second  // for one of them to end, when there are as many
	evenTime  = time.Second      // a "no" comes at its multiples
)

// Exit statuses of a check, as checkpassword programs have them.
const (
	ExitYes     = 0
	ExitNo      = 1
	ExitMisused = 2
	ExitLater   = 111
)

// Server answers at the socket.
type Server struct {
	Socket string
	Ours   map[uint32]bool // uids that may ask
	Check  []string        // the program that does one check; "" is ourselves
	Log    *maillog.Log

	slots chan struct{}
}

// Load is the server mail.toml describes.
func Load(file string) (*Server, error) {
	conf, err := config.Load(file, "log")
	if err != nil {
		return nil, err
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	s := &Server{Socket: ask.Socket(conf.Run), Check: []string{self, "--once"}, Ours: map[uint32]bool{0: true, uint32(os.Getuid()): true}}
	s.Log = &maillog.Log{Program: "pamcheck", Times: conf.Log.Times}
	if uid, err := uids.Lookup("mailauth"); err == nil {
		s.Ours[uid] = true
	}
	return s, nil
}

// Listen answers at the socket a supervisor passed, else at its own; a connection on descriptor 0 is answered to its end.
func (s *Server) Listen(ctx context.Context) error {
	unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0) // passwords pass through here
	s.slots = make(chan struct{}, atOnce)
	return listen.Packets(ctx, s.Socket, 0o750, 256, s.Log, s.handle)
}

// handle answers the questions of one connection.
func (s *Server) handle(c net.Conn) {
	defer c.Close()
	_, err := packet.From(c, s.Ours)
	b := make([]byte, 2048)
	for err == nil {
		c.SetDeadline(time.Now().Add(2 * time.Minute))
		var n int
		if n, err = c.Read(b); n == 0 || errors.Is(err, os.ErrDeadlineExceeded) {
			return
		}
		var q ask.Question
		if err == nil {
			q, err = ask.Parse(b[:n])
		}
		clear(b)
		if err == nil {
			_, err = c.Write([]byte(s.answer(q)))
		}
	}
	s.Log.Refuse("pamcheck", "local", err.Error())
}

// answer has one check made. A "no" waits for its second without holding up others.
func (s *Server) answer(q ask.Question) string {
	began := time.Now()
	yes, err := s.check(q)
	switch {
	case err != nil:
		s.Log.Warn("check", err)
		why := err.Error()
		return "later " + string(escape.Append(nil, why[:min(len(why), 500)]))
	case yes:
		return "yes"
	}
	took := time.Since(began)
	time.Sleep((took/evenTime+1)*evenTime - took)
	return "no"
}

// check runs a process that says it by its exit status.
func (s *Server) check(q ask.Question) (yes bool, err error) {
	select {
	case s.slots <- struct{}{}:
		defer func() { <-s.slots }()
	case <-time.After(waitTime):
		return false, errors.New("too many checks at once")
	}
	in, out, err := os.Pipe()
	if err != nil {
		return false, err
	}
	defer in.Close()
	_, err = out.WriteString(q.Name + "\x00" + q.Password + "\x00\x00") // a pipe takes as much without waiting
	if err = errors.Join(err, out.Close()); err != nil {
		return false, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), checkTime)
	defer cancel()
	argv := s.Check
	if q.Account {
		argv = append(argv[:len(argv):len(argv)], "--account")
	}
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.ExtraFiles = []*os.File{in}
	cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C", "TCPREMOTEIP=" + q.Remote, "SERVICE=" + q.Service}
	cmd.Dir = "/"
	said := &capped{}
	cmd.Stderr = said
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // S134: what a module starts ends with it
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = time.Second
	err = cmd.Run()
	if cmd.Process != nil {
		syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
	}
	var exit *exec.ExitError
	switch {
	case err == nil || errors.Is(err, exec.ErrWaitDelay): // it ended well; something it started had its standard error
		return true, nil
	case ctx.Err() != nil:
		return false, fmt.Errorf("no answer in %v", checkTime)
	case errors.As(err, &exit) && exit.ExitCode() == ExitNo:
		return false, nil
	}
	return false, fmt.Errorf("%w: %s", err, strings.TrimSpace(said.String()))
}

// capped keeps the beginning of what is written to it.
type capped struct{ text bytes.Buffer }

func (c *capped) Write(p []byte) (int, error) {
	c.text.Write(p[:min(len(p), 1000-min(1000, c.text.Len()))])
	return len(p), nil
}

func (c *capped) String() string { return c.text.String() }
