package local

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"pennypost/internal/domains"
	"pennypost/internal/durable"
	"pennypost/internal/passwd"
	"pennypost/internal/status"
)

// asUnixUser makes the agent one that delivers for the Unix user we are, whom become(8) made of us; or, on a host of one person, did not need to.
func (a *Agent) asUnixUser(who *passwd.User) {
	a.Unix = who
	if unix.Access(filepath.Join(a.State, "over"), unix.W_OK) != nil {
		a.State = ""       // whose mailbox is full is for vmail's deliver-local to say
		a.Store.Stamp = "" // a home that is there is mounted
		a.Store.Open = durable.OpenOwn
		hide()
	}
}

// hide keeps the descriptors we are handed, envelopes with everybody's name among them, from other processes of our uid.
func hide() { unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0) }

// person is the account of an order for the Unix user we are. nil: it is not for us, or for nobody.
func (a *Agent) person(rc *recipient) (account *domains.Account, detail string, err error) {
	if a.Unix == nil {
		return nil, "", nil
	}
	account, detail, err = a.Directory.Mailbox(rc.to)
	if account == nil || account.Unix == nil || account.Unix.UID != a.Unix.UID {
		return nil, "", err
	}
	return account, detail, nil
}

// notUs is the answer where mail for a Unix user comes to somebody else's deliver-local.
func (a *Agent) notUs(rc *recipient, account *domains.Account) (status.Result, bool) {
	if account.Unix == nil || int(account.Unix.UID) == os.Getuid() {
		return status.Result{}, false
	}
	return a.trouble(rc, fmt.Errorf("mail for uid %d, and we are %d: queue-run asks become(8) for such orders", account.Unix.UID, os.Getuid())), true
}

// planForUnix reads ~/.forward.
func (a *Agent) planForUnix(rc *recipient) (plan, error) {
	account := rc.account
	if err := homeOf(account); err != nil {
		return plan{}, err
	}
	lines, err := dotForward(account)
	if err == nil && slices.ContainsFunc(lines, func(l domains.ForwardLine) bool { return l.Kind == '|' }) {
		err = a.mayRun(account)
	}
	if errors.Is(err, errUnsafe) {
		a.Log.Warn("forward of "+account.Unix.Name, err)
		lines, err = nil, nil
	}
	if err != nil {
		return plan{}, err
	}
	p := plan{keep: len(lines) == 0}
	for _, line := range lines {
		switch line.Kind {
		case '/':
			p.maildirs = append(p.maildirs, line.Arg)
		case '|':
			p.programs = append(p.programs, line.Arg)
		case '\\':
			p.keep = true
		case '0':
			p.nothing = true
		case '&':
			if sameAddress(line.Target, account.Path()) || sameAddress(line.Target, rc.to) {
				p.keep = true
			} else {
				p.forward = append(p.forward, line.Target)
			}
		}
	}
	return p, nil
}

// shells is where the shells are that people have; sendmail too lets nobody else run commands.
var shells = "/etc/shells"

// mayRun says why a user's .forward may not have commands: whose shell is none for people runs none. become(8) does not tell us which it is.
func (a *Agent) mayRun(account *domains.Account) error {
	who := account.Unix
	if a.shellOf != nil {
		var err error
		if who, err = a.shellOf(who.Name); err != nil {
			return err
		}
	}
	text, err := domains.ReadFile(shells, 64<<10)
	if err != nil {
		return err
	}
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); line != "" && line == who.Shell {
			return nil
		}
	}
	return fmt.Errorf("%s/.forward: a command, and the shell of %s is not in %s: %w", who.Home, who.Name, shells, errUnsafe)
}

// shellWords are what makes a command one for the shell.
const shellWords = "~|&;<>()$`*?[]{}\\'\"=%!#\n"

// unixCommand is a command of a .forward: by itself where it is words, else by the shell, as Postfix has it.
func unixCommand(line string) (argv []string) {
	argv = strings.Fields(line)
	builtin := len(argv) > 0 && slices.Contains([]string{"exec", "exit", "cd", "test", "[", ".", ":", "eval", "export", "if", "read", "set", "trap", "umask", "unset", "wait"}, argv[0])
	if strings.ContainsAny(line, shellWords) || builtin {
		return []string{"/bin/sh", "-c", line}
	}
	return argv
}

// tame replaces what a shell might take for more than a word in text that came with the message (S114).
func tame(s string) string {
	return strings.Map(func(r rune) rune {
		if r < 0x80 && strings.ContainsRune("1234567890!@%-_=+:,./abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ", r) {
			return r
		}
		return '_'
	}, s)
}

// unixEnvironment is what a command of a .forward gets.
func (a *Agent) unixEnvironment(rc *recipient) []string {
	who := rc.account.Unix
	env := []string{
		"PATH=" + searchPath,
		"HOME=" + who.Home,
		"USER=" + who.Name,
		"LOGNAME=" + who.Name,
		"SHELL=/bin/sh",
		"SENDER=" + tame(rc.job.from().String()),
		"RECIPIENT=" + tame(rc.to.String()),
		"ORIGINAL_RECIPIENT=" + tame(rc.to.String()),
		"LOCAL=" + tame(rc.to.Unquoted()),
		"EXTENSION=" + tame(rc.detail),
		"DOMAIN=" + rc.account.Domain,
		"ID=" + rc.job.order.ID,
	}
	for _, name := range a.Programs.Environment {
		if value, ok := os.LookupEnv(name); ok && name != "PATH" {
			env = append(env, name+"="+value)
		}
	}
	return env
}

// prepare makes cmd one of the Unix user we are: in the home directory, in a session of its own.
func (a *Agent) prepareUnix(rc *recipient, cmd *exec.Cmd) {
	cmd.Dir = rc.account.Unix.Home
	cmd.Env = a.unixEnvironment(rc)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
}
