// Command mailcert gets certificates, renews them and shows when they end; mailcert(8).
package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"pennypost/cmd/internal/argv"
	"pennypost/internal/durable"
	"pennypost/mailcert"
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
	err := app.Run(argv.Sort(app, os.Args))
	if err != nil && !errors.Is(err, errSaid) && !errors.Is(err, errLater) {
		fmt.Fprintln(os.Stderr, "mailcert:", err)
	}
	os.Exit(exit(err))
}

func exit(err error) int {
	var bad usage
	switch {
	case err == nil:
		return 0
	case errors.As(err, &bad):
		return exUsage
	case errors.Is(err, errLater), errors.Is(err, mailcert.ErrEarly):
		return exTempFail
	case errors.Is(err, fs.ErrPermission):
		return exNoPerm
	case durable.IsDisk(err):
		return exIOErr
	}
	return exGeneral
}
