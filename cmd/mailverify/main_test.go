package main

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

func TestFlagsFirst(t *testing.T) {
	for _, test := range []struct{ in, want string }{
		{"mailverify spf 192.0.2.1 h a@b --json", "mailverify --json -- spf 192.0.2.1 h a@b"},
		{"mailverify dkim --dns 127.0.0.1:5 file", "mailverify --dns 127.0.0.1:5 -- dkim file"},
		{"mailverify --dns=127.0.0.1:5 all -", "mailverify --dns=127.0.0.1:5 -- all -"},
		{"mailverify spf 192.0.2.1 h -- -x@b", "mailverify -- spf 192.0.2.1 h -x@b"},
		{"mailverify", "mailverify --"},
	} {
		if got := strings.Join(flagsFirst(strings.Fields(test.in)), " "); got != test.want {
			t.Errorf("%s: %s, want %s", test.in, got, test.want)
		}
	}
}

// Every flag is in the page, and none that is not there.
func TestPage(t *testing.T) {
	page, err := os.ReadFile("../../man/mailverify.1")
	if err != nil {
		t.Fatal(err)
	}
	source, err := os.ReadFile("main.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range regexp.MustCompile(`Flag\{Name: "([a-z]+)"`).FindAllStringSubmatch(string(source), -1) {
		if !strings.Contains(string(page), "Fl -"+m[1]) && !strings.Contains(string(page), ", -"+m[1]) {
			t.Errorf("--%s is not in the page", m[1])
		}
	}
	for _, m := range regexp.MustCompile(`Fl -([a-z]+)`).FindAllStringSubmatch(string(page), -1) {
		if !strings.Contains(string(source), `"`+m[1]+`"`) {
			t.Errorf("the page has --%s, which is no flag", m[1])
		}
	}
}
