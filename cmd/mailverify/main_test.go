package main

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

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
