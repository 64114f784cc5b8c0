package part

import (
	"fmt"
	"strings"
	"testing"
)

// described is all that a scan says of a message.
func described(p *Part) string {
	out := scanned(p, "")
	var each func(p *Part)
	each = func(p *Part) {
		for _, f := range p.Envelope {
			out += fmt.Sprintf("%s:%q\n", f.Name, f.Value)
		}
		out += fmt.Sprintf("%d %q %q %q\n", p.HeaderWire, p.Params, p.Encoding, p.Disposition)
		for _, child := range p.Parts {
			each(child)
		}
	}
	each(p)
	return out
}

// byOctets is the message scanned octet by octet: no header is ever whole.
func byOctets(text string) *Part {
	s := NewScanner()
	for i := range len(text) {
		s.Write([]byte{text[i]})
	}
	return s.Done()
}

var heads = []string{
	"", "\n", "a", "Subject: x\n\nhi\n", "Subject: x\r\n\r\nhi\r\n", "Subject: x\n y\n\tz\nTo: a@b\n\nhi\n", " folded\nSubject: x\n\nhi\n",
	"From x\nSubject: y\n\nhi\n", "Subject: x\n>From y\nTo: z\n\nhi\n", "Subject : x\n\nhi\n", "Subject: x\nno field\n\nhi\n", "Subject: x\n\r\nhi\n",
	"content-type: text/html; charset=x\nContent-Type: text/plain\n\nhi\n", mixed, strings.ReplaceAll(mixed, "\n", "\r\n"),
	"Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: text/plain\n--b\n\nx\n--b--\n", "Subject: x\n--\nhi\n",
	"Content-Type: message/rfc822\n\nSubject: x\nContent-Type: multipart/mixed; boundary=b\n\n--b\n\nx\n--b\nA: b\n\ny", "X: " + strings.Repeat("y", 70000) + "\n\nhi\n",
}

// TestWholeHeader: a header that comes in one piece says what one does that comes octet by octet.
func TestWholeHeader(t *testing.T) {
	for _, text := range heads {
		if is, want := described(scan(t, text)), described(byOctets(text)); is != want {
			t.Errorf("%.60q:\n%s\nwant\n%s", text, is, want)
		}
	}
}

// FuzzHead: the same for anything, and Head agrees with the scan where it can tell.
func FuzzHead(f *testing.F) {
	for _, text := range heads {
		f.Add([]byte(text))
	}
	some := NamesOf("Subject", "To", "Content-Type")
	f.Fuzz(func(t *testing.T, b []byte) {
		p := byOctets(string(b))
		s := NewScanner()
		s.Write(b)
		if is, want := described(s.Done()), described(p); is != want {
			t.Fatalf("whole:\n%s\noctet by octet:\n%s", is, want)
		}
		fields, body, ok := Head(nil, b, some)
		if !ok {
			return
		}
		if int64(body) != p.Body && len(p.Parts) == 0 {
			t.Fatalf("body at %d, not %d", body, p.Body)
		}
		for _, name := range []string{"Subject", "To", "Content-Type"} {
			if fields.Get(name) != p.Envelope.Get(name) {
				t.Fatalf("%s is %q, not %q", name, fields.Get(name), p.Envelope.Get(name))
			}
		}
	})
}

// TestHead: what it cannot tell it says so.
func TestHead(t *testing.T) {
	some := NamesOf("Subject", "To")
	for _, test := range []struct {
		text, want string
		body       int
		ok         bool
	}{
		{"Subject: x\nX-Other: y\nTo: a,\n b\n\nhi\n", "Subject= x To= a,\n b ", 33, true},
		{"SUBJECT: x\n\nhi\n", "SUBJECT= x ", 12, true},
		{"Subject: x\nTo: y\n", "", 0, false},
		{"Subject: x\r\n\r\n", "", 0, false},
		{"\nhi\n", "", 1, true},
	} {
		fields, body, ok := Head(nil, []byte(test.text), some)
		is := ""
		for _, f := range fields {
			is += fmt.Sprintf("%s=%s ", f.Name, f.Value)
		}
		if ok != test.ok || ok && (is != test.want || body != test.body) {
			t.Errorf("%q: %q %d %v", test.text, is, body, ok)
		}
	}
}
