package wire

import (
	"bytes"
	"strconv"
	"strings"
	"time"

	"pennypost/internal/sequence"
	"pennypost/maildir"
)

// Decoder takes a command apart from left to right. A method that finds something else than it wants leaves the
// place unchanged, notes a SyntaxError, and gives zero values from then on: ask Err once, at the end.
type Decoder struct {
	text  []byte
	at    int
	depth int
	max   int
	err   error
}

// NewDecoder starts at the beginning of text; depth bounds its parentheses.
func NewDecoder(text []byte, depth int) *Decoder { return &Decoder{text: text, max: depth} }

// Err is the first thing that was not as it should be.
func (d *Decoder) Err() error { return d.err }

// Fail notes an error, unless there is one.
func (d *Decoder) Fail(want string) {
	if d.err == nil {
		d.err = &SyntaxError{want}
	}
}

func (d *Decoder) rest() []byte {
	if d.err != nil {
		return nil
	}
	return d.text[d.at:]
}

// End wants nothing more to follow.
func (d *Decoder) End() {
	if d.err == nil && d.at < len(d.text) {
		d.Fail("the end of the command")
	}
}

// More reports whether something follows.
func (d *Decoder) More() bool { return len(d.rest()) > 0 }

// Peek is the next octet, 0 at the end.
func (d *Decoder) Peek() byte {
	if r := d.rest(); len(r) > 0 {
		return r[0]
	}
	return 0
}

// Take steps over c if it comes next.
func (d *Decoder) Take(c byte) bool {
	if d.Peek() != c || d.err != nil || !d.More() {
		return false
	}
	d.at++
	return true
}

// Expect wants c.
func (d *Decoder) Expect(c byte) {
	if !d.Take(c) {
		d.Fail(strconv.QuoteRune(rune(c)))
	}
}

// SP wants one space.
func (d *Decoder) SP() {
	if !d.Take(' ') {
		d.Fail("a space")
	}
}

// Word steps over a keyword, whatever its case, if it comes next and ends there.
func (d *Decoder) Word(w string) bool {
	r := d.rest()
	if len(r) < len(w) || !EqualFold(r[:len(w)], w) || len(r) > len(w) && atomChar(r[len(w)]) {
		return false
	}
	d.at += len(w)
	return true
}

// EqualFold compares ASCII without regard to case.
func EqualFold(b []byte, s string) bool {
	if len(b) != len(s) {
		return false
	}
	for i := range b {
		x, y := b[i], s[i]
		if x != y && (x|0x20 != y|0x20 || x|0x20 < 'a' || x|0x20 > 'z') {
			return false
		}
	}
	return true
}

// atomChar is ATOM-CHAR of RFC 9051 section 9.
func atomChar(c byte) bool {
	switch c {
	case '(', ')', '{', ' ', '%', '*', '"', '\\', ']':
		return false
	}
	return c > ' ' && c < 0x7f
}

func (d *Decoder) run(ok func(byte) bool, want string) string {
	r := d.rest()
	i := 0
	for i < len(r) && ok(r[i]) {
		i++
	}
	if i == 0 {
		d.Fail(want)
		return ""
	}
	d.at += i
	return string(r[:i])
}

// Atom wants an atom.
func (d *Decoder) Atom() string { return d.run(atomChar, "an atom") }

// Keyword wants an atom and gives it in upper case: a command, a search key, an option.
func (d *Decoder) Keyword(want string) string {
	s := []byte(d.run(atomChar, want))
	for i, c := range s {
		if c >= 'a' && c <= 'z' {
			s[i] = c - 0x20
		}
	}
	return string(s)
}

// Tag wants a tag: an astring without "+".
func (d *Decoder) Tag() string {
	return d.run(func(c byte) bool { return (atomChar(c) || c == ']') && c != '+' }, "a tag")
}

// AString wants an atom with ], a quoted string or a literal.
func (d *Decoder) AString() string {
	switch d.Peek() {
	case '"', '{':
		return d.String()
	case '~':
		if len(d.rest()) > 1 && d.rest()[1] == '{' { // a literal8, and not an atom such as ~foo
			return d.String()
		}
	}
	return d.run(func(c byte) bool { return atomChar(c) || c == ']' }, "a string")
}

// String wants a quoted string or a literal.
func (d *Decoder) String() string {
	b, ok := d.str()
	if !ok {
		d.Fail("a string")
	}
	return b
}

// NString wants a string or NIL, which gives ok = false.
func (d *Decoder) NString() (s string, ok bool) {
	if d.Word("NIL") {
		return "", false
	}
	return d.String(), d.err == nil
}

func (d *Decoder) str() (string, bool) {
	r := d.rest()
	if len(r) == 0 {
		return "", false
	}
	if r[0] == '"' {
		out := make([]byte, 0, 32)
		for i := 1; i < len(r); i++ {
			switch c := r[i]; {
			case c == '"':
				d.at += i + 1
				return string(out), true
			case c == '\\':
				if i++; i == len(r) || r[i] != '"' && r[i] != '\\' {
					return "", false
				}
				out = append(out, r[i])
			case c == 0 || c == '\r' || c == '\n':
				return "", false
			default:
				out = append(out, c)
			}
		}
		return "", false
	}
	brace := r
	if r[0] == '~' {
		brace = r[1:]
	}
	if len(brace) == 0 || brace[0] != '{' {
		return "", false
	}
	eol := bytes.Index(brace, []byte("}\r\n"))
	if eol < 0 {
		return "", false
	}
	n, _, _, ok := literalAt(brace[:eol+1])
	body := brace[eol+3:]
	if !ok || n > int64(len(body)) {
		return "", false
	}
	if r[0] != '~' && bytes.IndexByte(body[:n], 0) >= 0 { // NUL only in literal8
		return "", false
	}
	d.at += len(r) - len(body) + int(n)
	return string(body[:n]), true
}

// Number wants a 32-bit number.
func (d *Decoder) Number() uint32 {
	n := d.Number64()
	if n > 1<<32-1 {
		d.Fail("a number below 4294967296")
		return 0
	}
	return uint32(n)
}

// Number64 wants a 63-bit number (a mod-sequence, a size).
func (d *Decoder) Number64() uint64 {
	s := d.run(func(c byte) bool { return c >= '0' && c <= '9' }, "a number")
	if s == "" {
		return 0
	}
	n, err := strconv.ParseUint(s, 10, 63)
	if err != nil {
		d.Fail("a number below 2^63")
	}
	return n
}

// Set wants a sequence set; saved is "$", the saved result of a search (RFC 5182).
func (d *Decoder) Set() (s sequence.Set, saved bool) {
	if d.Take('$') {
		return nil, true
	}
	r := d.rest()
	i := 0
	for i < len(r) && (r[i] >= '0' && r[i] <= '9' || r[i] == ':' || r[i] == ',' || r[i] == '*') {
		i++
	}
	s, ok := sequence.Parse(r[:i])
	if !ok {
		d.Fail("a set of message numbers")
		return nil, false
	}
	d.at += i
	return s, false
}

// List wants ( … ) and calls each for every element, with the spaces between them read.
func (d *Decoder) List(each func()) {
	d.Expect('(')
	if d.depth++; d.depth > d.max {
		d.Fail("fewer parentheses")
	}
	if !d.Take(')') {
		for d.err == nil {
			before := d.at
			each()
			if d.Take(')') {
				break
			}
			d.SP()
			if d.at == before {
				d.Fail("a list")
			}
		}
	}
	d.depth--
}

// Enter and Leave count a nesting that is no list, such as NOT NOT NOT.
func (d *Decoder) Enter() {
	if d.depth++; d.depth > d.max {
		d.Fail("less nesting")
	}
}

func (d *Decoder) Leave() { d.depth-- }

// Flag wants \Name or a keyword.
func (d *Decoder) Flag() string {
	if d.Take('\\') {
		return "\\" + d.Atom()
	}
	return d.Atom()
}

// ListPattern wants the pattern of LIST: an astring that may hold * and %.
func (d *Decoder) ListPattern() string {
	switch d.Peek() {
	case '"', '{':
		return d.String()
	}
	return d.run(func(c byte) bool { return atomChar(c) || c == ']' || c == '*' || c == '%' }, "a mailbox pattern")
}

// Date wants a day: 1-Jan-2030, quoted or not.
func (d *Decoder) Date() time.Time {
	quoted := d.Take('"')
	s := d.run(func(c byte) bool { return c == '-' || c >= '0' && c <= '9' || c|0x20 >= 'a' && c|0x20 <= 'z' }, "a date")
	if quoted {
		d.Expect('"')
	}
	t, err := time.Parse("2-Jan-2006", s)
	if err != nil {
		d.Fail("a date such as 1-Jan-2030")
	}
	return t
}

// DateTime wants a quoted date-time of APPEND: " 1-Jan-2030 00:00:00 +0000".
func (d *Decoder) DateTime() time.Time {
	s, ok := "", false
	if d.Peek() == '"' {
		s, ok = d.str()
	}
	t, err := time.Parse("_2-Jan-2006 15:04:05 -0700", s)
	if !ok || err != nil {
		d.Fail(`a date-time such as " 1-Jan-2030 00:00:00 +0000"`)
	}
	return t
}

// Rest is what is left of the command, as it stands.
func (d *Decoder) Rest() string {
	r := d.rest()
	d.at = len(d.text)
	return string(r)
}

// Mailbox wants a mailbox name: modified UTF-7 (RFC 3501 section 5.1.3), or UTF-8 where the client has said so. The answer is UTF-8; a
// name that is neither is no mailbox's, and nobody will find it (S101).
func (d *Decoder) Mailbox(utf8 bool) string {
	name := d.AString()
	if !utf8 {
		if text, ok := maildir.DecodeName(name); ok {
			return text
		}
		return "\x00" + name
	}
	return name
}

// ItemName wants the name of a FETCH item, in upper case: an atom up to a bracket.
func (d *Decoder) ItemName() string {
	return strings.ToUpper(d.run(func(c byte) bool { return atomChar(c) && c != '[' && c != '<' }, "an item"))
}

// Ahead is what comes, not taken.
func (d *Decoder) Ahead() string { return string(d.rest()) }
