// Command mailreport reads reports about our mail, says what they add up to, and sends such reports to others; mailreport(1).
package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"pennypost/cmd/internal/argv"
	"pennypost/internal/durable"
	"pennypost/internal/escape"
)

// The exit codes of sysexits(3) that we use.
const (
	exCrossed = 1 // a threshold was passed
	exUsage   = 64
	exDataErr = 65
	exIOErr   = 74
	exTemp    = 75
	exNoPerm  = 77
	exConfig  = 78
)

func main() {
	durable.ClearUmask()
	app := newApp()
	err := app.Run(argv.Sort(app, os.Args))
	if err != nil && !errors.Is(err, errCrossed) && !errors.Is(err, errUnread) && !errors.Is(err, errLeft) {
		fmt.Fprintln(os.Stderr, "mailreport:", escape.Terminal(err.Error()))
	}
	os.Exit(exit(err))
}

func exit(err error) int {
	var bad usage
	var path *fs.PathError
	switch {
	case err == nil:
		return 0
	case errors.Is(err, errCrossed):
		return exCrossed
	case errors.As(err, &bad):
		return exUsage
	case errors.Is(err, errLeft):
		return exTemp
	case errors.Is(err, errUnread):
		return exDataErr
	case errors.Is(err, fs.ErrPermission):
		return exNoPerm
	case errors.As(err, &path):
		return exIOErr
	}
	return exConfig
}
