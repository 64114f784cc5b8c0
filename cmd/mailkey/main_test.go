package main

import (
	"os"
	"strings"
	"testing"
)

// Every flag and every verb is in the page.
func TestPage(t *testing.T) {
	page, err := os.ReadFile("../../man/mailkey.8")
	if err != nil {
		t.Fatal(err)
	}
	app := newApp()
	flags := app.Flags
	for _, c := range app.Commands {
		if !strings.Contains(string(page), ".It Cm "+c.Name+"\n") {
			t.Errorf("%s is not in the page", c.Name)
		}
		flags = append(flags, c.Flags...)
	}
	for _, f := range flags {
		if !strings.Contains(string(page), "Fl -"+f.Names()[0]) && !strings.Contains(string(page), ", -"+f.Names()[0]) {
			t.Errorf("--%s is not in the page", f.Names()[0])
		}
	}
}

func TestExit(t *testing.T) {
	for _, test := range []struct {
		err  error
		want int
	}{{usage("x"), exUsage}, {errLater, exTempFail}, {errSaid, exGeneral}, {os.ErrPermission, exNoPerm}, {&os.PathError{Op: "open", Path: "x", Err: os.ErrNotExist}, exIOErr}} {
		if got := exit(test.err); got != test.want {
			t.Errorf("%v: %d, want %d", test.err, got, test.want)
		}
	}
}
