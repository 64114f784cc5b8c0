// Command mailuser makes, shows and removes domains, accounts, credentials and aliases; mailuser(8).
package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/urfave/cli/v2"

	"pennypost/cmd/internal/argv"
	"pennypost/internal/durable"
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
	app := newApp()
	if err := app.Run(argv.Sort(app, os.Args)); err != nil {
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
