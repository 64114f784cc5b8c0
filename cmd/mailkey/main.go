// Command mailkey makes, changes and shows DKIM keys, says which records a domain needs, and signs for others; mailkey(8).
package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"pennypost/cmd/internal/argv"
	"pennypost/internal/durable"
)

// The exit codes of sysexits(3) that we use.
const (
	exGeneral  = 1
	exUsage    = 64
	exIOErr    = 74
	exTempFail = 75
	exNoPerm   = 77
)

func main() {
	durable.ClearUmask()
	app := newApp()
	if err := app.Run(argv.Sort(app, os.Args)); err != nil {
		if !errors.Is(err, errSaid) && !errors.Is(err, errLater) {
			fmt.Fprintln(os.Stderr, "mailkey:", err)
		}
		os.Exit(exit(err))
	}
}

func exit(err error) int {
	var bad usage
	var path *fs.PathError
	switch {
	case errors.As(err, &bad):
		return exUsage
	case errors.Is(err, errLater):
		return exTempFail
	case errors.Is(err, fs.ErrPermission):
		return exNoPerm
	case errors.As(err, &path):
		return exIOErr
	}
	return exGeneral
}
