package front

import (
	"strings"
	"testing"

	"pennypost/imapd/wire"
)

// RFC 2971: the syntax of section 4, the bounds of section 3.3.
func TestReadID(t *testing.T) {
	pairs := func(n int) string { return " (" + strings.TrimSpace(strings.Repeat(`"k" "v" `, n)) + ")" }
	quoted := func(n int) string { return `"` + strings.Repeat("x", n) + `"` }
	for _, c := range []struct {
		args string
		want string // of the error
	}{
		{" NIL", ""},
		{" ()", ""}, // section 4: # may be none
		{` ("name" NIL)`, ""},
		{` ("name" "")`, ""},
		{pairs(30), ""},
		{pairs(31), "expected at most 30 pairs"},
		{" (" + quoted(30) + " NIL)", ""},
		{" (" + quoted(31) + " NIL)", "expected at most 30 octets of a field"},
		{` ("name" ` + quoted(1024) + ")", ""},
		{` ("name" ` + quoted(1025) + ")", "expected at most 1024 octets of a value"},
		{` ("name")`, "expected a space"},
		{` ("name" "a" "version")`, "expected a space"},
		{` (NIL "x")`, "expected a string"},
		{` (name "x")`, "expected a string"},
		{"", "expected a space"},
		{" ", "expected '('"},
		{" NIL NIL", "expected the end of the command"},
	} {
		got := ""
		if err := ReadID(wire.NewDecoder([]byte(c.args), 2)); err != nil {
			got = err.Error()
		}
		if got != c.want {
			t.Errorf("ID%.80s: %q, want %q", c.args, got, c.want)
		}
	}
}
