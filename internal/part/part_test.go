package part

import (
	"bytes"
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// scanned is a structure as a test writes it down: type, file offsets of body, wire size, lines.
func scanned(p *Part, indent string) string {
	out := fmt.Sprintf("%s%s/%s header=%d body=%d..%d wire=%d lines=%d\n",
		indent, p.Type, p.Subtype, p.Header, p.Body, p.End, p.BodyWire, p.Lines)
	for _, child := range p.Parts {
		out += scanned(child, indent+"  ")
	}
	return out
}

func scan(t *testing.T, text string) *Part {
	t.Helper()
	p, err := Scan(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

const mixed = `From: a@example.org
Content-Type: multipart/mixed; boundary="b 1"

preamble
--b 1
Content-Type: text/plain

one
two
--b 1
Content-Type: message/rfc822

Subject: inner
Content-Type: multipart/alternative; boundary=in

--in

x
--in--
--b 1--
epilogue
`

func TestStructure(t *testing.T) {
	for _, test := range []struct{ name, text, want string }{
		{"plain, RFC 2045 section 5.2", "Subject: x\n\nhi\nho\n", "text/plain header=0 body=12..18 wire=8 lines=2\n"},
		{"no header at all", "\nhi\n", "text/plain header=0 body=1..4 wire=4 lines=1\n"},
		{"no body", "Subject: x\n", "text/plain header=0 body=11..11 wire=0 lines=0\n"},
		{"no blank line, and no line end", "Subject: x", "text/plain header=0 body=10..10 wire=0 lines=0\n"},
		{"a line that is no header ends it", "Subject: x\nno field\n\nhi\n", "text/plain header=0 body=11..24 wire=16 lines=3\n"},
		{"mbox line first (S012)", "From a@b Mon\nContent-Type: text/html\n\nhi\n", "text/html header=0 body=38..41 wire=4 lines=1\n"},
		{"CRLF in the file", "A: b\r\n\r\nhi\r\n", "text/plain header=0 body=8..12 wire=4 lines=1\n"},
		{"nested, RFC 2046 section 5.1.1", mixed, `multipart/mixed header=0 body=67..249 wire=200 lines=18
  text/plain header=82 body=108..115 wire=8 lines=1
  message/rfc822 header=122 body=152..231 wire=85 lines=6
    multipart/alternative header=152 body=217..231 wire=17 lines=3
      text/plain header=222 body=223..224 wire=1 lines=0
`},
		{"never closed", "Content-Type: multipart/mixed; boundary=b\n\n--b\n\nhi\n",
			"multipart/mixed header=0 body=43..51 wire=11 lines=3\n  text/plain header=47 body=48..51 wire=4 lines=1\n"},
		{"the blank line was forgotten", "Content-Type: multipart/mixed; boundary=b\n--b\n\nhi\n--b--\n",
			"multipart/mixed header=0 body=42..56 wire=18 lines=4\n  text/plain header=46 body=47..49 wire=2 lines=0\n"},
		{"digest, RFC 2046 section 5.1.5", "Content-Type: multipart/digest; boundary=b\n\n--b\n\nSubject: y\n\nhi\n--b--",
			"multipart/digest header=0 body=44..69 wire=30 lines=5\n  message/rfc822 header=48 body=49..63 wire=16 lines=2\n    text/plain header=49 body=61..63 wire=2 lines=0\n"},
		{"boundary that is a prefix of another", "Content-Type: multipart/mixed; boundary=b\n\n--bb\nx\n--b\n\nhi\n--b--\n",
			"multipart/mixed header=0 body=43..64 wire=27 lines=6\n  text/plain header=54 body=55..57 wire=2 lines=0\n"},
		{"a base64 message is not looked into", "Content-Type: message/rfc822\nContent-Transfer-Encoding: base64\n\nQQ==\n",
			"message/rfc822 header=0 body=64..69 wire=6 lines=1\n"},
	} {
		p := scan(t, test.text)
		if got := scanned(p, ""); got != test.want {
			t.Errorf("%s:\n%swant:\n%s", test.name, got, test.want)
		}
	}
}

// However a message comes in pieces, the structure is the same.
func TestPieces(t *testing.T) {
	for _, text := range []string{mixed, strings.ReplaceAll(mixed, "\n", "\r\n")} {
		want := scanned(scan(t, text), "")
		for size := 1; size < len(text); size++ {
			s := NewScanner()
			for b := []byte(text); len(b) > 0; b = b[min(size, len(b)):] {
				s.Write(b[:min(size, len(b))])
			}
			if got := scanned(s.Done(), ""); got != want {
				t.Fatalf("pieces of %d:\n%swant:\n%s", size, got, want)
			}
		}
	}
}

func TestIMAPForms(t *testing.T) {
	p := scan(t, `Date: Tue, 1 Jan 2030 00:00:00 +0000
Subject: a "quoted"
  subject
From: Ann Example <ann@example.org>, bare@example.net (Bare Name)
To: friends: x@example.org, "Y, Z" <y@example.org>;
Message-ID: <1@example.org>
Content-Type: text/plain; charset=utf-8; format=flowed

hi
`)
	env := string(AppendEnvelope(nil, p.Envelope))
	from := `(("Ann Example" NIL "ann" "example.org")("Bare Name" NIL "bare" "example.net"))`
	want := `("Tue, 1 Jan 2030 00:00:00 +0000" "a \"quoted\"  subject" ` + from + " " + from + " " + from +
		` ((NIL NIL "friends" NIL)(NIL NIL "x" "example.org")("Y, Z" NIL "y" "example.org")(NIL NIL NIL NIL)) NIL NIL NIL "<1@example.org>")`
	if env != want {
		t.Errorf("envelope\n got %s\nwant %s", env, want)
	}
	if got, want := string(AppendStructure(nil, p, true)),
		`("TEXT" "PLAIN" ("CHARSET" "utf-8" "FORMAT" "flowed") NIL NIL "7BIT" 4 1 NIL NIL NIL NIL)`; got != want {
		t.Errorf("bodystructure\n got %s\nwant %s", got, want)
	}
	got := string(AppendStructure(nil, scan(t, mixed), false))
	want = `(("TEXT" "PLAIN" NIL NIL NIL "7BIT" 8 1)("MESSAGE" "RFC822" NIL NIL NIL "7BIT" 85 (NIL "inner" NIL NIL NIL NIL NIL NIL NIL NIL) (("TEXT" "PLAIN" NIL NIL NIL "7BIT" 1 0) "ALTERNATIVE") 6) "MIXED")`
	if got != want {
		t.Errorf("body\n got %s\nwant %s", got, want)
	}
}

// Addresses as mail has them; go-message yields nothing at all for some of these.
func TestAddresses(t *testing.T) {
	for _, test := range []struct{ text, want string }{
		{"a@b", "[||a|b]"},
		{"Foo Bar a@b", "[Foo Bar||a|b]"},
		{"a@b;c@d", "[||a|b][||c|d]"},
		{"a..b@c.d", "[||a..b|c.d]"},
		{"<@relay:a@b>", "[|@relay|a|b]"},
		{"x <a@b", "[x||a|b]"},
		{"undisclosed-recipients:;", "{undisclosed-recipients}"},
		{"g: a@b, c@d", "{g[||a|b][||c|d]}"},
		{`"a \"b\"" <c@d>`, `[a "b"||c|d]`},
		{`"a b"@c`, `[||a b|c]`},
		{"a@b <c@d>", "[a@b||c|d]"},
		{"a@b (c (d) e), f@g", "[c (d) e||a|b][||f|g]"},
		{"q, One Two <a@b>, One\tTwo  Three <c@d>", "[||q|][One Two||a|b][One Two Three||c|d]"},
		{`A "B" (c) D.E <a@b>, A"B" <c@d>, A (c) <e@f>`, "[A B D.E||a|b][AB||c|d][A||e|f]"},
		{"<>", ""},
		{",,;:<(\"", "{}"},
	} {
		got := ""
		for _, a := range Addresses([]byte(test.text)) {
			switch a.Group {
			case '{':
				got += "{" + a.Mailbox
			case '}':
				got += "}"
			default:
				got += "[" + a.Name + "|" + a.Route + "|" + a.Mailbox + "|" + a.Host + "]"
			}
		}
		if got != test.want {
			t.Errorf("%q: got %s, want %s", test.text, got, test.want)
		}
	}
}

// S086: nesting, parts and boundaries without end are opaque beyond the bounds, and cost no more than their octets.
func TestS086Bombs(t *testing.T) {
	var deep bytes.Buffer
	for i := range 10000 {
		fmt.Fprintf(&deep, "Content-Type: multipart/mixed; boundary=b%d\n\n--b%d\n", i, i)
	}
	p, _ := Scan(&deep)
	depth := 0
	for at := p; len(at.Parts) > 0; at = at.Parts[0] {
		depth++
	}
	if depth > MaxDepth {
		t.Errorf("depth %d", depth)
	}
	many := "Content-Type: multipart/mixed; boundary=b\n\n" + strings.Repeat("--b\n\nx\n", 1000000/7)
	if n := len(scan(t, many).Parts); n >= MaxParts {
		t.Errorf("%d parts", n)
	}
	cyclic := strings.Repeat("Content-Type: message/rfc822\n\n", 5000)
	scan(t, cyclic)
}

// S087: RFC 2231 continuations beyond reason are not kept.
func TestS087Continuations(t *testing.T) {
	text := "Content-Disposition: attachment"
	for i := range 100000 {
		text += fmt.Sprintf(";\n filename*%d*=x", i)
		if len(text) > 2*MaxLine {
			break
		}
	}
	if n := len(scan(t, text+"\n\n").DispParams); n > maxParams {
		t.Errorf("%d parameters", n)
	}
}

// S085: one endless header line and half a million fields.
func TestS085Headers(t *testing.T) {
	p := scan(t, "Subject: "+strings.Repeat("x", 10<<20)+"\n\nhi\n")
	if n := len(p.Envelope.Get("Subject")); n > MaxLine {
		t.Errorf("kept %d octets of a field", n)
	}
	p = scan(t, strings.Repeat("X: y\n", 500000)+"\nhi\n")
	if p.BodyWire != 4 || len(p.Envelope) > MaxHeader/4 {
		t.Errorf("body %d, %d fields", p.BodyWire, len(p.Envelope))
	}
}

// check holds for whatever was scanned: parts lie inside their parents, in order, and sizes add up.
func check(t *testing.T, text []byte, p *Part) {
	t.Helper()
	if p.Header > p.Body || p.Body > p.End || p.End > int64(len(text)) {
		t.Fatalf("header %d body %d end %d of %d", p.Header, p.Body, p.End, len(text))
	}
	body := text[p.Body:p.End]
	if want := wire(body); p.BodyWire != want {
		t.Fatalf("wire size %d, counted %d: %q", p.BodyWire, want, body)
	}
	if want := int64(bytes.Count(body, []byte{'\n'})); p.Lines != want {
		t.Fatalf("lines %d, counted %d", p.Lines, want)
	}
	at := p.Body
	for _, child := range p.Parts {
		if child.Header < at || child.End > p.End {
			t.Fatalf("part %d..%d outside %d..%d", child.Header, child.End, at, p.End)
		}
		at = child.End
		check(t, text, child)
	}
}

func wire(b []byte) int64 {
	return int64(len(b) + bytes.Count(b, []byte{'\n'}) - bytes.Count(b, []byte("\r\n")))
}

// Other people's messages, odd and broken: where the suites are laid beside the checkout, each is scanned whole and in pieces.
func TestSuites(t *testing.T) {
	var files []string
	for _, pattern := range []string{"mime/*/*", "mime/*/*/*", "spam/*", "dsn/maildir/*/*"} {
		found, _ := filepath.Glob(filepath.Join("../../../shared/suites", pattern))
		files = append(files, found...)
	}
	if len(files) == 0 {
		t.Skip("no ../shared/suites beside this checkout")
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			continue // a directory
		}
		p := scan(t, string(text))
		check(t, text, p)
		s := NewScanner()
		for b := text; len(b) > 0; b = b[min(97, len(b)):] {
			s.Write(b[:min(97, len(b))])
		}
		if a, b := scanned(p, ""), scanned(s.Done(), ""); a != b {
			t.Errorf("%s: in pieces\n%s, whole\n%s", file, b, a)
		}
		AppendStructure(AppendEnvelope(nil, p.Envelope), p, true)
	}
}

func FuzzScan(f *testing.F) {
	f.Add([]byte(mixed), uint8(7))
	f.Add([]byte("a: b\n\n-\n---x\n\n--y\n- --\n--"), uint8(3))
	f.Add([]byte("Content-Type: multipart/digest; boundary=b\n--b\r\n\r\nx: y\n\n--b--"), uint8(1))
	f.Fuzz(func(t *testing.T, text []byte, piece uint8) {
		p, _ := Scan(bytes.NewReader(text))
		check(t, text, p)
		s := NewScanner()
		n := int(piece) + 1
		for b := text; len(b) > 0; b = b[min(n, len(b)):] {
			s.Write(b[:min(n, len(b))])
		}
		if a, b := scanned(p, ""), scanned(s.Done(), ""); a != b {
			t.Fatalf("in pieces of %d:\n%swhole:\n%s", n, b, a)
		}
		s.Again(false) // in the room of the one before
		s.Write(text)
		if a, b := scanned(p, ""), scanned(s.Done(), ""); a != b {
			t.Fatalf("again:\n%sfirst:\n%s", b, a)
		}
		if at := 1 + bytes.Index(text, []byte("\n--")); len(text) > 0 && dashed(text) != cmp.Or(at, len(text)) {
			t.Fatalf("the first line with hyphens is at %d, not %d", dashed(text), at)
		}
		AppendStructure(AppendEnvelope(nil, p.Envelope), p, true)
	})
}

func BenchmarkScan(b *testing.B) {
	text := []byte(strings.Replace(mixed, "one\n", strings.Repeat("a line of text as long as lines are, more or less, in a mail\n", 200), 1))
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for b.Loop() {
		s := NewScanner()
		s.Write(text)
		s.Done()
	}
}
