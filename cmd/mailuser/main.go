// Command mailuser makes, shows and removes domains, accounts, credentials and aliases; mailuser(8).
package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/urfave/cli/v2"

	"pennypost/internal/config"
	"pennypost/internal/durable"
	"pennypost/mailuser"
)

// The exit codes of sysexits(3) that we use.
const (
	exUsage   = 64
	exIOErr   = 74
	exNoPerm  = 77
	exGeneral = 1
)

func main() {
	durable.ClearUmask()
	app := &cli.App{
		Name: "mailuser", Usage: "make, show and remove domains, accounts, credentials and aliases", HideHelpCommand: true,
		Flags: []cli.Flag{
			&cli.PathFlag{Name: "config", Aliases: []string{"c"}, Usage: "mail.toml"},
			&cli.BoolFlag{Name: "check", Aliases: []string{"n"}, Usage: "check the configuration and leave"},
		},
		Commands: commands,
		Action: func(c *cli.Context) error {
			if c.Bool("check") {
				_, err := config.Load(c.Path("config"), mailuser.Sections...)
				return err
			}
			return usage("say domain, user, credential or alias; mailuser --help tells more")
		},
		ExitErrHandler: func(*cli.Context, error) {},
	}
	if err := app.Run(flagsFirst(app, os.Args)); err != nil {
		fmt.Fprintln(os.Stderr, "mailuser:", err)
		os.Exit(exit(err))
	}
}

func exit(err error) int {
	var bad usage
	var unknown cli.ExitCoder // from cli: no such command
	var path *fs.PathError
	switch {
	case errors.As(err, &bad), errors.As(err, &unknown):
		return exUsage
	case errors.Is(err, fs.ErrPermission):
		return exNoPerm
	case errors.As(err, &path):
		return exIOErr
	}
	return exGeneral
}
