package wire

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
)

func reader(input string, limits Limits) (*Reader, *int) {
	continued := new(int)
	r := NewReader(strings.NewReader(input), limits, func() []byte { return make([]byte, 0, 4096) }, func([]byte) {})
	r.Continue = func() error { *continued++; return nil }
	return r, continued
}

// What is read as one command, RFC 9051 sections 2.2.1 and 4.3, RFC 7888.
func TestCommands(t *testing.T) {
	for _, test := range []struct {
		name, input string
		want        []string
		continued   int
		err         error
	}{
		{"two lines", "a NOOP\r\nb NOOP\r\n", []string{"a NOOP", "b NOOP"}, 0, io.EOF},
		{"synchronising literal", "a LOGIN {3}\r\nbob {2}\r\npw\r\n", []string{"a LOGIN {3}\r\nbob {2}\r\npw"}, 2, io.EOF},
		{"LITERAL+", "a LOGIN {3+}\r\nbob {2+}\r\npw\r\n", []string{"a LOGIN {3+}\r\nbob {2+}\r\npw"}, 0, io.EOF},
		{"a literal may hold line ends", "a X {4+}\r\n\r\n\r\n\r\nb NOOP\r\n", []string{"a X {4+}\r\n\r\n\r\n", "b NOOP"}, 0, io.EOF},
		{"braces inside a line are no literal", "a X {3} y\r\n", []string{"a X {3} y"}, 0, io.EOF},
		{"S094: too big, the client waits", "a X {99999999999999999999}\r\nb NOOP\r\n", nil, 0, ErrTooBig},
		{"S094: too big and sent anyway", "a X {4294967295+}\r\n", nil, 0, ErrDesync},
		{"S094: negative", "a X {-1}\r\n", []string{"a X {-1}"}, 0, io.EOF},
		{"S095: a million small literals", "a X " + strings.Repeat("{0+}\r\n", 2000) + "\r\nb NOOP\r\n", nil, 0, ErrDesync},
		{"S095: a line too long", "a " + strings.Repeat("x", 70000) + "\r\nb NOOP\r\n", nil, 0, ErrTooBig},
		{"bare LF", "a NOOP\nb NOOP\r\n", nil, 0, ErrBareLine},
		{"bare CR", "a NO\rOP\r\n", nil, 0, ErrBareLine},
	} {
		r, continued := reader(test.input, AfterLogin)
		var got []string
		var err error
		for {
			var c Command
			if c, err = r.Next(nil, nil); err != nil {
				break
			}
			got = append(got, string(c.Text))
		}
		if !errors.Is(err, test.err) || strings.Join(got, "|") != strings.Join(test.want, "|") || *continued != test.continued {
			t.Errorf("%s: got %q, %d times +, %v", test.name, got, *continued, err)
		}
	}
}

// After a literal that was too big the next command is found again (RFC 7888 section 4).
func TestTooBigAndOn(t *testing.T) {
	r, _ := reader("a X {300000+}\r\n"+strings.Repeat("y", 300000)+" z\r\nb NOOP\r\n", AfterLogin)
	if _, err := r.Next(nil, nil); err != ErrTooBig {
		t.Fatal(err)
	}
	if c, err := r.Next(nil, nil); err != nil || string(c.Text) != "b NOOP" {
		t.Fatalf("%q, %v", c.Text, err)
	}
}

// The long literal of APPEND stays on the connection; MULTIAPPEND goes on behind it.
func TestPending(t *testing.T) {
	r, _ := reader("a APPEND x {5+}\r\nhello (\\Seen) {3+}\r\nyou\r\nb NOOP\r\n", AfterLogin)
	long := func(text []byte) bool { return bytes.Contains(text, []byte("APPEND")) }
	c, err := r.Next(nil, long)
	if err != nil || c.Pending != 5 || c.Sync || string(c.Text) != "a APPEND x {5+}" {
		t.Fatalf("%+v %v", c, err)
	}
	var body bytes.Buffer
	if _, err := r.Literal(&body, c.Pending); err != nil || body.String() != "hello" {
		t.Fatal(body.String(), err)
	}
	c, err = r.More(nil, func([]byte) bool { return true })
	if err != nil || c.Pending != 3 || string(c.Text) != ` (\Seen) {3+}` {
		t.Fatalf("%q %v", c.Text, err)
	}
	r.Literal(io.Discard, 3)
	if c, err = r.More(nil, nil); err != nil || len(c.Text) != 0 || c.Pending != -1 {
		t.Fatalf("%+v %v", c, err)
	}
	if c, _ = r.Next(nil, nil); string(c.Text) != "b NOOP" {
		t.Fatalf("%q", c.Text)
	}
}

func TestDecode(t *testing.T) {
	d := NewDecoder([]byte("a1 STORE 1:*,7 +FLAGS (\\Seen $Work) \"q\\\"x\" {3}\r\nab) NIL"), 8)
	tag := d.Tag()
	d.SP()
	if !d.Word("store") {
		t.Error("STORE")
	}
	d.SP()
	set, _ := d.Set()
	d.SP()
	d.Take('+')
	d.Word("FLAGS")
	d.SP()
	var flags []string
	d.List(func() { flags = append(flags, d.Flag()) })
	d.SP()
	q := d.AString()
	d.SP()
	lit := d.AString()
	d.SP()
	_, some := d.NString()
	d.End()
	if tag != "a1" || set.String() != "1:*,7" || strings.Join(flags, " ") != `\Seen $Work` || q != `q"x` || lit != "ab)" || some || d.Err() != nil {
		t.Error(tag, set, flags, q, lit, some, d.Err())
	}
	deep := NewDecoder(bytes.Repeat([]byte("("), 1000000), 32) // S095
	var nest func()
	nest = func() { deep.List(nest) }
	nest()
	if deep.Err() == nil {
		t.Error("a million parentheses")
	}
}

func FuzzCommand(f *testing.F) {
	f.Add([]byte("a LOGIN {3+}\r\nbob \"x\"\r\nb UID FETCH 1:* (FLAGS)\r\n"))
	f.Add([]byte("a APPEND x (\\Seen) \" 1-Jan-2030 00:00:00 +0000\" {1}\r\nx\r\n"))
	f.Fuzz(func(t *testing.T, input []byte) {
		r, _ := reader(string(input), BeforeLogin)
		for {
			c, err := r.Next(nil, nil)
			if err != nil {
				return
			}
			if int64(len(c.Text)) > BeforeLogin.Command+int64(BeforeLogin.Line) {
				t.Fatalf("a command of %d octets", len(c.Text))
			}
			d := NewDecoder(c.Text, 8)
			d.Tag()
			var any func()
			any = func() {
				switch {
				case d.Peek() == '(':
					d.List(any)
				case d.Peek() == '"' || d.Peek() == '{':
					_ = d.String()
				case d.Peek() == '\\':
					d.Flag()
				default:
					d.Atom()
				}
			}
			for d.Err() == nil && d.More() {
				d.SP()
				any()
			}
		}
	})
}
