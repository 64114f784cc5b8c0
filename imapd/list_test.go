package imapd

import (
	"math/rand/v2"
	"regexp"
	"strings"
	"testing"
)

// A pattern matches what the regular expression of the same meaning does.
func TestPatterns(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	word := func(letters string, n int) string {
		b := make([]byte, r.IntN(n))
		for i := range b {
			b[i] = letters[r.IntN(len(letters))]
		}
		return string(b)
	}
	for range 20000 {
		text, name := word("ab/*%%*", 9), word("ab/", 9)
		want := regexp.MustCompile("^(?s:" + strings.NewReplacer("*", ".*", "%", "[^/]*").Replace(text) + ")$").MatchString(name)
		if got := compile(text, '/').match(name); got != want {
			t.Fatalf("%q and %q: %v", text, name, got)
		}
		root := word("ab/", 6)
		if strings.HasPrefix(name, root) && want && !compile(text, '/').mayStart(root) {
			t.Fatalf("%q matches %q, and nothing with %q", text, name, root)
		}
	}
}

// S102: many wildcards cost no more than their number times the length of a name.
func TestS102Wildcards(t *testing.T) {
	p := compile(strings.Repeat("*a%", 1000)+"b", '/')
	for range 10000 {
		if p.match(strings.Repeat("a", 200)) {
			t.Fatal("cannot be")
		}
	}
	q := compile(strings.Repeat("*%a", 60)+"b", '/')
	for range 1000 {
		if q.match(strings.Repeat("a", 200)) {
			t.Fatal("cannot be")
		}
	}
}

func FuzzPattern(f *testing.F) {
	f.Add("a*%b", "a/b")
	f.Add("INBOX*", "INBOX")
	f.Fuzz(func(t *testing.T, text, name string) { compile(text, '/').match(name) })
}
