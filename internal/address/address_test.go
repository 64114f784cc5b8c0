package address

import (
	"strings"
	"testing"
	"unicode/utf8"
)

func TestParse(t *testing.T) {
	long := strings.Repeat("a", 65)
	for _, c := range []struct {
		in, local, domain string
		err               error
	}{
		{"", "", "", nil},
		{"bob@example.net", "bob", "example.net", nil},
		{"Bob@Example.NET", "Bob", "example.net", nil},
		{"postmaster", "postmaster", "", nil},
		{"bob+list=a/b@example.net", "bob+list=a/b", "example.net", nil},
		{long + "@example.net", long, "example.net", nil}, // RFC 5321 section 4.5.3.1: larger objects are not to be refused for nothing
		{"-f@example.net", "-f", "example.net", nil},
		{`"bob"@example.net`, "bob", "example.net", nil},
		{`"b\ob"@example.net`, "bob", "example.net", nil},
		{`"a b"@example.net`, `"a b"`, "example.net", nil},
		{`"a\"b"@example.net`, `"a\"b"`, "example.net", nil},
		{`"a\\b"@example.net`, `"a\\b"`, "example.net", nil},
		{`"a>b"@example.net`, `"a>b"`, "example.net", nil},
		{`"a@b"@example.net`, `"a@b"`, "example.net", nil},
		{`""@example.net`, `""`, "example.net", nil},
		{`""`, `""`, "", nil},
		{"a..b@example.net", `"a..b"`, "example.net", nil},
		{".a@example.net", `".a"`, "example.net", nil},
		{"a.@example.net", `"a."`, "example.net", nil},
		{"bob@[192.0.2.1]", "bob", "[192.0.2.1]", nil},
		{"bob@[IPV6:2001:DB8::1]", "bob", "[IPv6:2001:db8::1]", nil},
		{"bob@[ipv6:::ffff:192.0.2.1]", "bob", "[IPv6:::ffff:192.0.2.1]", nil},
		{"bob@under_score.example.net", "bob", "under_score.example.net", nil},
		{"bob@xn--bcher-kva.example", "bob", "xn--bcher-kva.example", nil},
		{"bob@Bücher.example", "bob", "bücher.example", nil},
		{"bob@bu\u0308cher.example", "bob", "bücher.example", nil},
		{"bob@bücher。example", "bob", "bücher.example", nil},
		{"re\u0301sume\u0301@example.net", "résumé", "example.net", nil},
		{"δοκιμή@παράδειγμα.test", "δοκιμή", "παράδειγμα.test", nil},
		{`"δ δ"@example.net`, `"δ δ"`, "example.net", nil},

		{"@example.net", "", "", errNoLocal},
		{"@a,@b:bob@example.net", "", "", errNoLocal},
		{"bob@", "", "", errNoDomain},
		{"bob@.", "", "", errLabel},
		{"bob@example.net.", "", "", errDot},
		{"bob@example..net", "", "", errLabel},
		{"bob@.example.net", "", "", errLabel},
		{"bob@-example.net", "", "", errHyphen},
		{"bob@example-.net", "", "", errHyphen},
		{"bob@" + strings.Repeat("a", 64) + ".net", "", "", errLabel},
		{"bob@exa mple.net", "", "", errDomain},
		{"bob@example.net>", "", "", errDomain},
		{"bob@example.net SIZE=1", "", "", errDomain},
		{"bob@a@b", "", "", errTwo},
		{"bob@bücher@x.example", "", "", errIDN},
		{"bob@example.net\r\nDATA", "", "", errControl},
		{"bo b@example.net", "", "", errLocal},
		{"bob>@example.net", "", "", errLocal},
		{"bob\r\n@example.net", "", "", errControl},
		{`b"o"b@example.net`, "", "", errLocal},
		{`"bob"x@example.net`, "", "", errAfter},
		{`"bob`, "", "", errQuote},
		{`"bob\`, "", "", errQuote},
		{`"bob\"`, "", "", errQuote},
		{`"`, "", "", errQuote},
		{"\"a\nb\"@example.net", "", "", errControl},
		{"\"a\\\nb\"@example.net", "", "", errControl},
		{"\"a\\\x00b\"@example.net", "", "", errControl},
		{"\xff@example.net", "", "", errUTF8},
		{"a\u0085b@example.net", "", "", errControl},
		{"a\u202eb@example.net", "", "", errControl},
		{"a\u037eb@example.net", "", "", errLocal}, // NFC makes it a semicolon
		{"bob@\u202ebücher.example", "", "", errControl},
		{"\u0338a@example.net", "", "", errMark},
		{"\"\u0338a\"@example.net", "", "", errMark},
		{"bob@" + strings.Repeat("a.", 130) + "net", "", "", errLong},
		{"bob@[192.0.2.1", "", "", errLiteral},
		{"bob@[192.0.2.999]", "", "", errLiteral},
		{"bob@[192.0.2.01]", "", "", errLiteral},
		{"bob@[::1]", "", "", errLiteral},
		{"bob@[IPv6:192.0.2.1]", "", "", errLiteral},
		{"bob@[IPv6:fe80::1%eth0]", "", "", errLiteral},
		{"bob@[]", "", "", errLiteral},
		{"bob@[", "", "", errLiteral},
		{"bob@[x25:1234]", "", "", errLiteral},
	} {
		p, err := Parse(c.in)
		if p.Local != c.local || p.Domain != c.domain || err != c.err {
			t.Errorf("Parse(%q) = %q, %q, %v; want %q, %q, %v", c.in, p.Local, p.Domain, err, c.local, c.domain, c.err)
			continue
		}
		if err != nil {
			if strings.ContainsAny(err.Error(), "\r\n") {
				t.Errorf("Parse(%q): error of more than a line", c.in)
			}
			continue
		}
		if again, err := Parse(p.String()); again != p || err != nil {
			t.Errorf("Parse(%q) and again: %q, %v", c.in, again, err)
		}
	}
}

// S061: the ways to write a relay address are addresses of the domain they end in, or none.
func TestS061RelayForms(t *testing.T) {
	for in, domain := range map[string]string{
		"user%x@us.example":            "us.example",
		"x!user@us.example":            "us.example",
		`"u@x.example"@us.example`:     "us.example",
		`"u@x.example@"@us.example`:    "us.example",
		`u\@x.example@us.example`:      "",
		"u@x.example@us.example":       "",
		"@us.example:u@x.example":      "",
		"@us.example,@b:u@x.example":   "",
		"u@us.example.":                "",
		"u%x.example.@us.example":      "us.example",
		"u@[127.0.0.1]":                "[127.0.0.1]",
		"u@[IPv6:::1]":                 "[IPv6:::1]",
		"u@US.EXAMPLE":                 "us.example",
		`"\u"@us.example`:              "us.example",
		`""@us.example`:                "us.example",
		`"u@x.example"`:                "",
		"u@127.0.0.1":                  "127.0.0.1",
		"u@us.example\x00.x.example":   "",
		"u@us.example,v@x.example":     "",
		"u@us.example;v@x.example":     "",
		"u%x.example%y.example@us.exa": "us.exa",
		"<u@x.example>@us.example":     "",
		"u@<x.example>":                "",
		"u@(us.example)x.example":      "",
		"u@us.example/x.example":       "",
		"relay:u@x.example":            "",
		"u@ us.example":                "",
		" u@us.example":                "",
		"u@us。example":                 "us.example", // an ideographic full stop is a dot (UTS 46)
		"u＠us.example":                 "",
	} {
		p, err := Parse(in)
		if p.Domain != domain || err == nil && p.IsNull() {
			t.Errorf("Parse(%q).Domain = %q, %v; want %q", in, p.Domain, err, domain)
		}
	}
}

// wire takes <path> and what follows it apart as a peer does: quotes, quoted pairs, then the bracket.
func wire(s string) (path, rest string, ok bool) {
	quoted := false
	for i := 1; i < len(s); i++ {
		switch {
		case quoted && s[i] == '\\':
			i++
		case s[i] == '"':
			quoted = !quoted
		case !quoted && s[i] == '>':
			return s[1:i], s[i+1:], true
		}
	}
	return "", "", false
}

func check(t *testing.T, p Path) {
	t.Helper()
	s := p.String()
	got, rest, ok := wire("<" + s + "> SIZE=1")
	if !ok || got != s || rest != " SIZE=1" {
		t.Fatalf("%q on the wire is read as %q, %q", s, got, rest)
	}
	if again, err := Parse(got); err != nil || again != p {
		t.Fatalf("%q is read back as %q, %v", p, again, err)
	}
	for i := 0; i < len(s); i++ {
		if s[i] < ' ' || s[i] == 0x7f {
			t.Fatalf("%q has a control", s)
		}
	}
	if !utf8.ValidString(s) || len(s) > MaxPath {
		t.Fatalf("%q is too long or no UTF-8", s)
	}
	if p.Domain != "" && strings.ContainsAny(p.Domain, " <>\"\\@,;()") {
		t.Fatalf("domain %q", p.Domain)
	}
	p.DomainASCII()
	p.DomainUnicode()
}

// S063: an address we write to the wire is read back as itself and nothing more, whatever its local part is.
func TestS063WireForm(t *testing.T) {
	for _, name := range []string{"bob", "", " ", ">", `\`, `"`, `\"`, `"\`, `x> SIZE=9`, "a@b", "a b", ".", "..", "-", "δ>", "a\\", "=", "%", "<>", "[", "a,b", "a:b", "a;b", "(a)"} {
		p, err := Make(name, "example.net")
		if err != nil {
			t.Errorf("Make(%q): %v", name, err)
			continue
		}
		check(t, p)
		if p.Unquoted() != name {
			t.Errorf("Make(%q).Unquoted() = %q", name, p.Unquoted())
		}
	}
	for _, name := range []string{"a\nb", "a\rb", "\x00", "\x1b[2J", "\xff"} {
		if p, err := Make(name, "example.net"); err == nil {
			t.Errorf("Make(%q) = %q", name, p)
		}
	}
}

func TestDomainForms(t *testing.T) {
	for _, c := range []struct{ in, a, u string }{
		{"x@example.net", "example.net", "example.net"},
		{"x@xn--bcher-kva.example", "xn--bcher-kva.example", "bücher.example"},
		{"x@bücher.example", "xn--bcher-kva.example", "bücher.example"},
		{"x@xn--99999999.example", "xn--99999999.example", "xn--99999999.example"},
		{"x@[192.0.2.1]", "[192.0.2.1]", "[192.0.2.1]"},
		{"x", "", ""},
	} {
		p, err := Parse(c.in)
		if err != nil {
			t.Errorf("%s: %v", c.in, err)
			continue
		}
		if a, err := p.DomainASCII(); a != c.a || err != nil {
			t.Errorf("%s: DomainASCII %q, %v", c.in, a, err)
		}
		if u := p.DomainUnicode(); u != c.u {
			t.Errorf("%s: DomainUnicode %q", c.in, u)
		}
	}
}

func TestPlainIsFree(t *testing.T) {
	p, _ := Parse("alice@example.org")
	for name, f := range map[string]func(){
		"Parse":         func() { Parse("alice.b+c@mail.example.org") },
		"Unquoted":      func() { p.Unquoted() },
		"DomainUnicode": func() { p.DomainUnicode() },
		"DomainASCII":   func() { p.DomainASCII() },
		"refusing":      func() { Parse("alice@exa mple.org") },
	} {
		if n := testing.AllocsPerRun(100, f); n != 0 {
			t.Errorf("%s allocates %v times", name, n)
		}
	}
}

func FuzzAddress(f *testing.F) {
	for _, s := range []string{"", "bob@example.net", `"a b"@[192.0.2.1]`, `""@x`, `"\"\\>"@x`, "a..b@x", "δ@bücher.example", "x@xn--bcher-kva.x", "@a:b@c", "a\u037eb@x", "x@[IPv6:::1]"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		p, err := Parse(s)
		if err != nil {
			if !p.IsNull() {
				t.Fatalf("%q and %v", p, err)
			}
			return
		}
		check(t, p)
		if made, err := Make(p.Unquoted(), p.Domain); p.Domain != "" && (err != nil || made != p) {
			t.Fatalf("%q made again is %q, %v", p, made, err)
		}
	})
}
