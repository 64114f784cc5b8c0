/*
Package demo is what maildemo(1) does: it brings up the lab with two hosts, sends a few messages round, shows where each is and
how to try it by hand; and it checks that all of it is true.
*/
package demo

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"os/user"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"pennypost/test/lab"
)

const (
	here  = "demo.test"    // 127.0.0.1
	there = "partner.test" // 127.0.0.2
	dead  = "dead.test"    // 127.0.0.9, where nothing listens

	elsewhere = "elsewhere.test" // there too, and nothing is published about who may send for it
	careful   = "careful.test"   // there too, and what is not its own should be put aside
)

// Options are the flags of maildemo.
type Options struct {
	Dir    string
	Base   int
	Detach bool
	Quiet  bool // send no mail and print little
	Out    io.Writer
}

// build makes the lab of the demo, in the simple form, where one uid runs everything, or with each program apart; nothing runs yet.
func build(dir string, base int, apart bool) (*lab.Lab, error) {
	bin, err := lab.Bin()
	if err != nil {
		return nil, err
	}
	if apart {
		if bin, err = programs(bin, dir); err != nil {
			return nil, err
		}
	}
	l, err := lab.New(dir, bin, base)
	if err != nil {
		return nil, err
	}
	for name, ip := range map[string]string{here: "127.0.0.1", there: "127.0.0.2"} {
		h, err := l.AddHost(name, ip, "alice", "bob")
		if err != nil {
			return l, err
		}
		h.Apart = apart
		if err := errors.Join(h.AddAlias("team", "alice", "bob"), h.AddAlias("postmaster", "alice")); err != nil {
			return l, err
		}
		if err := errors.Join(h.Judge(), l.Protect(name)); err != nil {
			return l, err
		}
	}
	if apart {
		if err := l.Host(here).AddUnix(lab.Unix{Domain: unixHost, Users: []string{carol}, PAM: pam()}); err != nil {
			return l, err
		}
		if err := l.DNS.Load(unixHost + " MX 10 mx." + here); err != nil {
			return l, err
		}
	}
	return l, errors.Join(published(l), signed(l), l.Name(dead, "127.0.0.9"), l.Name(elsewhere, "127.0.0.9"),
		l.Name(careful, "127.0.0.9"), l.DNS.Load("_dmarc."+careful+` TXT "v=DMARC1; p=quarantine"`))
}

// Up is maildemo up.
func Up(o Options) error {
	if o.Detach {
		return detach(o)
	}
	dir, err := filepath.Abs(o.Dir)
	if err != nil {
		return err
	}
	apart, why := ownUsers(dir)
	fmt.Fprintln(o.Out, form(apart, why))
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	l, err := build(dir, o.Base, apart)
	if l != nil {
		defer l.Down()
	}
	if err != nil {
		return err
	}
	up := make(chan error, 1)
	go func() { up <- l.Up() }()
	select {
	case err := <-up:
		if err != nil {
			return err
		}
	case <-ended:
		return nil
	}
	if !o.Quiet {
		s := &story{lab: l, out: o.Out, here: l.Host(here), there: l.Host(there)}
		go s.tell()
	}
	<-ended
	fmt.Fprintln(o.Out, "\nstopping")
	return nil
}

// form says which of the two forms this is.
func form(apart bool, why string) string {
	if apart {
		return "As installed: each program has its own uid, and only become is root's. The users are there for these processes only."
	}
	me := fmt.Sprintf("uid %d", os.Getuid())
	if u, err := user.Current(); err == nil {
		me = u.Username
	}
	return "The simple form: " + me + " runs everything; " + why + "."
}

// detach starts maildemo up again in a session of its own and returns when every port answers.
func detach(o Options) error {
	dir, err := filepath.Abs(o.Dir)
	if err != nil {
		return err
	}
	if pid := lab.RunningAt(dir); pid != 0 {
		return fmt.Errorf("%s is up already, its pid is %d", dir, pid)
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	logFile := filepath.Join(dir, "maildemo.log")
	log, err := os.Create(logFile)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := exec.Command(self, "up", "--quiet", "--dir", dir, "--base", fmt.Sprint(o.Base))
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return err
	}
	died := make(chan error, 1)
	go func() { died <- cmd.Wait() }()
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(30 * time.Millisecond) {
		if lab.RunningAt(dir) == cmd.Process.Pid && lab.ReadyAt(dir) {
			text, _ := os.ReadFile(logFile)
			which, _, _ := strings.Cut(string(text), "\n")
			fmt.Fprintln(o.Out, which)
			fmt.Fprintf(o.Out, "up, pid %d; maildemo env --dir %s names everything, maildemo down --dir %s ends it\n", cmd.Process.Pid, dir, dir)
			return nil
		}
		select {
		case <-died:
			text, _ := os.ReadFile(logFile) // the reason, if it had the time to write one
			return fmt.Errorf("it did not come up: %s", strings.TrimSpace(string(text)))
		default:
		}
		if time.Now().After(deadline) {
			cmd.Process.Signal(syscall.SIGTERM)
			return fmt.Errorf("not every port answered in 30 s, see %s and the file log of each host", logFile)
		}
	}
}

// Down is maildemo down: it returns when everything has ended.
func Down(o Options) error {
	pid := lab.RunningAt(o.Dir)
	if pid == 0 {
		return fmt.Errorf("no lab is up in %s", o.Dir)
	}
	if err := syscall.Kill(pid, syscall.SIGTERM); err != nil {
		return err
	}
	return lab.Until(15*time.Second, func() error {
		if syscall.Kill(pid, 0) == nil && lab.RunningAt(o.Dir) != 0 {
			return fmt.Errorf("pid %d still runs", pid)
		}
		return nil
	})
}

// Env is maildemo env: shell assignments.
func Env(o Options) error {
	dir, err := filepath.Abs(o.Dir)
	if err != nil {
		return err
	}
	base, err := lab.BaseAt(dir)
	if err != nil {
		return err
	}
	set := func(name, value string) { fmt.Fprintf(o.Out, "%s=%s\n", name, shell(value)) }
	hosts := []struct{ prefix, name, ip string }{{"", here, "127.0.0.1"}, {"PARTNER_", there, "127.0.0.2"}}
	for _, h := range hosts {
		for _, s := range lab.Services {
			set(h.prefix+s.Name, fmt.Sprintf("%s:%d", h.ip, base+s.Port))
		}
		host := filepath.Join(dir, h.name)
		set(h.prefix+"CONFIG", filepath.Join(host, "etc/mail.toml"))
		set(h.prefix+"LOG", filepath.Join(host, "log"))
		set(h.prefix+"SPOOL", filepath.Join(host, "spool"))
		set(h.prefix+"MAILDIR_ALICE", filepath.Join(host, "mail", h.name, "alice/Maildir"))
		set(h.prefix+"MAILDIR_BOB", filepath.Join(host, "mail", h.name, "bob/Maildir"))
		pids := lab.Pids(dir, h.name)
		for _, program := range append(slices.Clone(victims), guards...) {
			pid := ""
			if pids[program] != 0 {
				pid = fmt.Sprint(pids[program])
			}
			set(h.prefix+"PID_"+strings.ToUpper(strings.ReplaceAll(program, "-", "_")), pid)
		}
	}
	form, maildir := "simple", ""
	if lab.ApartAt(dir) {
		form, maildir = "apart", filepath.Join(dir, "home", carol, "Maildir")
	}
	set("FORM", form)
	set("MAILDIR_CAROL", maildir)
	set("CA", filepath.Join(dir, "ca/ca.pem"))
	set("DNS", lab.DNSAt(dir))
	set("PID_MAILDEMO", fmt.Sprint(lab.RunningAt(dir)))
	return nil
}

// shell quotes a value where it must be.
func shell(value string) string {
	if strings.Trim(value, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/.:_-+@,=") == "" {
		return value
	}
	return "'" + strings.ReplaceAll(value, "'", `'\''`) + "'"
}
