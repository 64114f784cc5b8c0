package pamcheck

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"

	"golang.org/x/sys/unix"

	"pennypost/internal/passwd"
)

// mostOnce is how much a checkpassword program reads on descriptor 3; theirs is 512, which is short for long passwords.
const mostOnce = 1200

// Once is the checkpassword form (https://cr.yp.to/checkpwd/interface.html): name, password and time stamp on descriptor 3, each with a
// NUL behind it. If the password is right it becomes the program in args, where there is one, with USER, HOME and SHELL set; as who it is
// started, for to become another takes root. With account it asks only
// whether the account is good; the password is not looked at.
func Once(args []string, account bool) (exit int) {
	unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0)
	in := os.NewFile(3, "descriptor 3")
	text, err := io.ReadAll(io.LimitReader(in, mostOnce))
	in.Close()
	words := bytes.Split(text, []byte{0})
	if err != nil || len(words) < 3 || len(words[0]) == 0 {
		fmt.Fprintln(os.Stderr, "pamcheck: wants name and password on descriptor 3, see pamcheck(8)")
		return ExitMisused
	}
	name := string(words[0])
	if !passwd.Valid(name) {
		return ExitNo
	}
	yes, err := authenticate(name, string(words[1]), os.Getenv("TCPREMOTEIP"), account)
	switch {
	case err != nil:
		fmt.Fprintln(os.Stderr, "pamcheck:", err)
		return ExitLater
	case !yes:
		return ExitNo
	case len(args) == 0:
		return ExitYes
	}
	who, err := new(passwd.Lookup).User(name)
	if errors.Is(err, passwd.ErrUnknown) {
		return ExitNo
	}
	if err == nil {
		var path string
		if path, err = exec.LookPath(args[0]); err == nil {
			err = unix.Exec(path, args, append(os.Environ(), "USER="+who.Name, "HOME="+who.Home, "SHELL="+who.Shell))
		}
	}
	fmt.Fprintln(os.Stderr, "pamcheck:", err)
	return ExitLater
}
