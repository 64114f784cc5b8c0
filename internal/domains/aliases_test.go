package domains

import (
	"fmt"
	"sort"
	"strings"
	"testing"

	"pennypost/internal/address"
)

// Each case is a file, what it says, and what is wrong in it.
func TestAliases(t *testing.T) {
	for _, c := range []struct{ text, want, wrong string }{
		{"", "", ""},
		{"# nothing\n\n  # at all\n", "", ""},
		{"a: b", "a=b@d", ""},
		{"a: b,c@example.net\r\nb : c\r\n", "a=b@d,c@example.net b=c@d", ""},
		{"a: b,\n\tc,\n # between\n\n d\nx: y\n", "a=b@d,c@d,d@d x=y@d", ""},
		{"a:\n b\n", "a=b@d", ""},
		{"A.B: c # comment\n", "a.b=c@d", ""},
		{"a#b: c#d\n", "a#b=c#d@d", ""},
		{"\"a:b\": \"c,d # e\"@example.net\n", "a:b=\"c,d # e\"@example.net", ""},
		{"a: b@[IPv6:2001:db8::1]\n", "a=b@[IPv6:2001:db8::1]", ""},
		{"*: alice\n", "*=alice@d", ""},
		{"a: b\nb c\nd: e\n", "a=b@d d=e@d", "f:2: write NAME: ADDRESS, ADDRESS"},
		{"a: |/bin/sh\n", "", "f:1: programs and files are not addresses"},
		{"a: \"|/bin/sh -c x\"\n", "", "f:1: programs and files are not addresses"},
		{"a: b, /var/mail/x\n", "", "f:1: programs and files are not addresses"},
		{"a: :include:/etc/list\n", "", "f:1: programs and files are not addresses"},
		{"a: b,,c\n", "a=b@d,c@d", ""},
		{"a: \n", "", "f:1: no address after the colon"},
		{"a: b\na: c\n*: x\n*: y\n", "*=x@d a=b@d", "f:2: the name is there twice f:4: * is there twice"},
		{"a@d: b\n", "", "f:1: a name here is what stands before the @"},
		{": b\n", "", "f:1: no name before the colon"},
		{" b\n", "", "f:1: starts with a space, but there is no line to go on with"},
		{"a: b c\n", "", "f:1: local part has a character that must be quoted"},
	} {
		a, err := ParseAliases("f", c.text, "d")
		var got []string
		for name, targets := range a.Names {
			got = append(got, name+"="+join(targets))
		}
		if a.CatchAll != nil {
			got = append(got, "*="+join(a.CatchAll))
		}
		sort.Strings(got)
		wrong := ""
		if err != nil {
			wrong = strings.ReplaceAll(err.Error(), "\n", " ")
		}
		if strings.Join(got, " ") != c.want || wrong != c.wrong {
			t.Errorf("%q:\n got %v %s\nwant %s %s", c.text, got, wrong, c.want, c.wrong)
		}
	}
}

func join(targets []address.Path) string {
	var list []string
	for _, p := range targets {
		list = append(list, p.String())
	}
	return strings.Join(list, ",")
}

// A long file is read in one pass.
func TestAliasesLong(t *testing.T) {
	var text strings.Builder
	text.WriteString("all:")
	for i := range 50000 {
		fmt.Fprintf(&text, "\n u%d@example.net,", i)
	}
	a, err := ParseAliases("f", text.String(), "d")
	if err != nil || len(a.Names["all"]) != 50000 {
		t.Error(len(a.Names["all"]), err)
	}
}

func FuzzAliases(f *testing.F) {
	f.Add("a: b, c@example.net # x\n \"d e\"\n*: f\n")
	f.Add("\"a\\\"b:: [x")
	f.Add("a: |b\n\tc\r\n:include:")
	f.Fuzz(func(t *testing.T, text string) {
		a, err := ParseAliases("f", text, "example.org")
		for name, targets := range a.Names {
			if name != normalise(name) || len(targets) == 0 {
				t.Errorf("name %q %v", name, targets)
			}
			for _, p := range targets {
				again, err := address.Parse(p.String())
				if err != nil || again != p || p.Domain == "" || p.Local == "" {
					t.Errorf("%q leads to %#v: %v", name, p, err)
				}
			}
		}
		if err == nil && a.CatchAll == nil && len(a.Names) == 0 && strings.ContainsRune(text, ':') && !strings.ContainsRune(text, '#') {
			t.Errorf("lost without a word")
		}
	})
}
