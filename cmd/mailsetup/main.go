// Command mailsetup makes the directories of an installation; mailsetup(8).
package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/urfave/cli/v2"

	"pennypost/internal/config"
	"pennypost/internal/durable"
	"pennypost/internal/uids"
	"pennypost/setup"
)

func main() {
	durable.ClearUmask()
	app := &cli.App{Name: "mailsetup", Usage: "make the directories of an installation", HideHelpCommand: true, Action: run, Flags: []cli.Flag{
		&cli.PathFlag{Name: "config", Aliases: []string{"c"}, Usage: "mail.toml", Value: config.DefaultFile},
		&cli.BoolFlag{Name: "check", Aliases: []string{"n"}, Usage: "say what would be done, do nothing"},
		&cli.BoolFlag{Name: "user-mode", Usage: "everything belongs to the caller"},
		&cli.PathFlag{Name: "sample", Usage: "what a missing mail.toml is copied from"},
		&cli.BoolFlag{Name: "names", Usage: "print all users and groups, and leave"},
		&cli.BoolFlag{Name: "users", Usage: "print the commands that make missing users and groups, and leave"},
	}}
	err := app.Run(os.Args)
	if err != nil {
		fmt.Fprintln(os.Stderr, "mailsetup:", err)
	}
	switch {
	case err == nil:
		return
	case errors.Is(err, fs.ErrPermission), errors.Is(err, setup.ErrRoot):
		os.Exit(77) // EX_NOPERM
	case errors.Is(err, setup.ErrUsers):
		os.Exit(67) // EX_NOUSER
	case durable.IsDisk(err):
		os.Exit(74) // EX_IOERR
	}
	os.Exit(78) // EX_CONFIG
}

func run(c *cli.Context) error {
	if c.Bool("names") {
		setup.Names(c.App.Writer)
		return nil
	}
	if c.Bool("users") {
		setup.Users(c.App.Writer, setup.System)
		return nil
	}
	s := &setup.Setup{Config: c.Path("config"), Sample: c.Path("sample"), UserMode: c.Bool("user-mode"), DryRun: c.Bool("check"), Out: c.App.Writer, IDs: uids.System}
	if program, err := os.Executable(); err == nil && s.Sample == "" {
		s.Sample = filepath.Join(filepath.Dir(program), "../share/pennypost/mail.toml")
	}
	n, err := s.Run()
	if err == nil && n > 0 && s.DryRun {
		os.Exit(1)
	}
	return err
}
