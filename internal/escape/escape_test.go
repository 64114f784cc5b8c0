package escape

import (
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

var forms = []struct{ in, word, file, value, terminal string }{
	{"", "-", "%", `""`, ""},
	{"-", "%2D", "%2D", "-", "-"},
	{"--", "--", "%2D-", "--", "--"},
	{"bob@example.net", "bob@example.net", "bob@example.net", "bob@example.net", "bob@example.net"},
	{"a b", "a%20b", "a%20b", `"a b"`, "a b"},
	{"a=b", "a%3Db", "a%3Db", `"a=b"`, "a=b"},
	{`"a"`, "%22a%22", "%22a%22", `"\"a\""`, `"a"`},
	{`a\b`, `a\b`, `a\b`, `"a\\b"`, `a\b`},
	{"100%", "100%25", "100%25", "100%", "100%"},
	{"a/b", "a/b", "a%2Fb", "a/b", "a/b"},
	{".a", ".a", "%2Ea", ".a", ".a"},
	{"..", "..", "%2E.", "..", ".."},
	{"/", "/", "%2F", "/", "/"},
	{"-/-", "-/-", "%2D%2F-", "-/-", "-/-"},
	{"bücher", "bücher", "bücher", "bücher", "bücher"},
	{"a\r\nb", "a%0D%0Ab", "a%0D%0Ab", `"a\r\nb"`, `a\r\nb`},
	{"\x1b[2J\a", "%1B[2J%07", "%1B[2J%07", `"\x1b[2J\x07"`, `\x1b[2J\x07`},
	{"\u0085\u009b", "%C2%85%C2%9B", "%C2%85%C2%9B", `"\xc2\x85\xc2\x9b"`, `\xc2\x85\xc2\x9b`},
	{"a\u202eb", "a%E2%80%AEb", "a%E2%80%AEb", `"a\xe2\x80\xaeb"`, `a\xe2\x80\xaeb`},
	{"\xff\xc3", "%FF%C3", "%FF%C3", `"\xff\xc3"`, `\xff\xc3`},
	{"\x7f\x00", "%7F%00", "%7F%00", `"\x7f\x00"`, `\x7f\x00`},
	{"a\u00a0b\u2028c", "a%C2%A0b%E2%80%A8c", "a%C2%A0b%E2%80%A8c", `"a\xc2\xa0b\xe2\x80\xa8c"`, `a\xc2\xa0b\xe2\x80\xa8c`},
}

func TestForms(t *testing.T) {
	for _, c := range forms {
		if got := string(Append(nil, c.in)); got != c.word {
			t.Errorf("Append(%q) = %s, want %s", c.in, got, c.word)
		}
		if got, err := Parse(c.word); got != c.in || err != nil {
			t.Errorf("Parse(%q) = %q, %v", c.word, got, err)
		}
		if got := File(c.in); got != c.file {
			t.Errorf("File(%q) = %s, want %s", c.in, got, c.file)
		}
		if got := string(Quote(nil, c.in, 1024)); got != c.value {
			t.Errorf("Quote(%q) = %s, want %s", c.in, got, c.value)
		}
		if got := Terminal(c.in); got != c.terminal {
			t.Errorf("Terminal(%q) = %s, want %s", c.in, got, c.terminal)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	for _, word := range []string{"", "%", "%4", "%4g", "%g4", "a%", "a b", "a\nb", "%\xff\xff"} {
		if s, err := Parse(word); err == nil {
			t.Errorf("Parse(%q) = %q", word, s)
		}
	}
}

func TestLong(t *testing.T) {
	for _, s := range []string{strings.Repeat("a", 500), strings.Repeat("ü", 300), strings.Repeat("\n", 300), "." + strings.Repeat("/", 100)} {
		f := File(s)
		if len(f) > longest || !utf8.ValidString(f) || f == File(s+"x") {
			t.Errorf("File of %d octets: %q", len(s), f)
		}
	}
	if got := string(Quote(nil, "abcüd", 4)); got != `"abc…"` {
		t.Errorf("cut inside a letter: %s", got)
	}
	if got := string(Quote(nil, "\xff\xff\xff\xff\xff\xff", 5)); got != `"\xff\xff\xff\xff\xff…"` {
		t.Errorf("cut in octets that are no letters: %s", got)
	}
}

func TestPlainIsFree(t *testing.T) {
	b := make([]byte, 0, 100)
	for name, f := range map[string]func(){
		"Append":   func() { Append(b, "bob@example.net") },
		"Quote":    func() { Quote(b, "bob@example.net", 1024) },
		"Parse":    func() { Parse("bob@example.net") },
		"File":     func() { File("bob@example.net") },
		"Terminal": func() { Terminal("bob@example.net") },
	} {
		if n := testing.AllocsPerRun(100, f); n != 0 {
			t.Errorf("%s allocates %v times", name, n)
		}
	}
}

func FuzzEscape(f *testing.F) {
	for _, c := range forms {
		f.Add(c.in)
	}
	f.Fuzz(func(t *testing.T, s string) {
		word := string(Append(nil, s))
		if back, err := Parse(word); back != s || err != nil {
			t.Fatalf("%q became %q became %q, %v", s, word, back, err)
		}
		file := File(s)
		if strings.ContainsAny(file, "/\x00 ") || file[0] == '.' || file[0] == '-' || len(file) > longest {
			t.Fatalf("File(%q) = %q", s, file)
		}
		for _, out := range []string{word, file, string(Quote(nil, s, 64)), Terminal(s)} {
			for _, r := range out {
				if r == utf8.RuneError && !strings.ContainsRune(s, r) || !unicode.IsPrint(r) {
					t.Fatalf("%q became %q", s, out)
				}
			}
		}
		Parse(s)
	})
}
