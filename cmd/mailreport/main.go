// Command mailreport reads reports about our mail, and says what they add up to; mailreport(1).
package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"pennypost/internal/durable"
	"pennypost/internal/escape"
)

// The exit codes of sysexits(3) that we use.
const (
	exCrossed = 1 // a threshold was passed
	exUsage   = 64
	exDataErr = 65
	exIOErr   = 74
	exNoPerm  = 77
	exConfig  = 78
)

func main() {
	durable.ClearUmask()
	err := newApp().Run(flagsFirst(os.Args))
	if err != nil && !errors.Is(err, errCrossed) && !errors.Is(err, errUnread) {
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
	case errors.Is(err, errUnread):
		return exDataErr
	case errors.Is(err, fs.ErrPermission):
		return exNoPerm
	case errors.As(err, &path):
		return exIOErr
	}
	return exConfig
}
