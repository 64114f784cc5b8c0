package sendmail

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
)

// Mailq becomes mailq(8), the program beside us or the one in PATH. It returns only with an error.
func Mailq(f *Flags) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	program := filepath.Join(filepath.Dir(self), "mailq")
	if _, err := os.Stat(program); err != nil {
		if program, err = exec.LookPath("mailq"); err != nil {
			return err
		}
	}
	if real, err := filepath.EvalSymlinks(program); err == nil && real == self {
		return errors.New("mailq is a name of sendmail here: mailq(8) is not installed")
	}
	args := []string{"mailq"}
	if f.Config != "" {
		args = append(args, "-c", f.Config)
	}
	return syscall.Exec(program, args, os.Environ())
}
