package login

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"syscall"
	"time"
)

/*
A checkpassword program (https://cr.yp.to/checkpwd/interface.html) may say who is there in our place. It reads on descriptor 3

	alice@example.org NUL password NUL Y1764000000 NUL

at most 512 octets in all, and runs the program that stands in its arguments after its own if the password is right: we give it true(1).
Exit 0 is yes, 1 is no, anything else "come again". The account must be one of ours all the same.
*/

const (
	checkpasswordLimit = 512
	checkpasswordTime  = 30 * time.Second
	checkpasswordName  = "checkpassword" // of the credential
)

// program asks the checkpassword program.
func (c *Checker) program(ctx context.Context, r Request, who finding) (Credential, error) {
	k := Credential{Name: checkpasswordName, Argon2id: checkpasswordName}
	said := c.nameOf(r.Authcid) + "\x00" + r.Password + "\x00Y" + strconv.FormatInt(c.now().Unix(), 10) + "\x00"
	if len(said) > checkpasswordLimit || bytes.Count([]byte(said), []byte{0}) != 3 || r.Password == "" {
		return k, ErrCredentials
	}
	release, err := c.slot(ctx)
	if err != nil {
		return k, err
	}
	defer release()
	yes, err := exec.LookPath("true")
	if err != nil {
		return k, err
	}
	in, out, err := os.Pipe()
	if err != nil {
		return k, err
	}
	defer in.Close()
	_, err = out.WriteString(said) // a pipe takes 512 octets without waiting
	if err = errors.Join(err, out.Close()); err != nil {
		return k, err
	}
	ctx, cancel := context.WithTimeout(ctx, checkpasswordTime)
	defer cancel()
	argv := append(append([]string{}, c.Program...), yes)
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.ExtraFiles = []*os.File{in}
	cmd.Env = []string{"PATH=/usr/bin:/bin:/usr/sbin:/sbin", "PROTO=TCP", "TCPREMOTEIP=" + ipOf(r.Remote), "SERVICE=" + r.Service}
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // S134: what it starts ends with it
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = time.Second
	err = cmd.Run()
	var exit *exec.ExitError
	switch {
	case err == nil:
		if who.owner == nil {
			return k, ErrCredentials
		}
		return k, nil
	case errors.As(err, &exit) && exit.ExitCode() == 1:
		return k, ErrCredentials
	}
	return k, fmt.Errorf("%s: %w", argv[0], err)
}
