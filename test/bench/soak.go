package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"pennypost/test/demo"
)

// soak repeats maildemo's facts, with kill -9 of every program among them, on one lab after the other; then nothing of a lab may
// be left: no process, no temporary file in a spool.
func soak(o options) error {
	os.Setenv("PENNYPOST_BIN", o.bin)
	end := time.Now().Add(time.Duration(o.minutes) * time.Minute)
	for round := 1; time.Now().Before(end); round++ {
		begun := time.Now()
		var said strings.Builder
		if err := demo.Check(&said, false); err != nil {
			return fmt.Errorf("round %d: %w\n%s", round, err, said.String())
		}
		left, _ := filepath.Glob(filepath.Join(os.TempDir(), "maildemo-*"))
		fmt.Printf("round %d: all facts so, %.0f s, %d directories left\n", round, time.Since(begun).Seconds(), len(left))
	}
	return nil
}
