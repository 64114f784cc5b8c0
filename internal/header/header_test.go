package header

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
)

func add(f *Facts) []byte {
	if f.Date == 0 {
		return []byte("Date: now\n")
	}
	return nil
}

func TestFilter(t *testing.T) {
	for _, c := range []struct {
		name, in, out string
		drop          Names
		missing       func(*Facts) []byte
		facts         string
	}{
		{"plain", "Received: a\nreceived: b\nFrom: x\n\nReceived: body\n", "Received: a\nreceived: b\nFrom: x\n\nReceived: body\n", 0, nil, "3 fields 2 received"},
		{"empty", "", "", 0, nil, "0 fields 0 received"},
		{"header only", "From: x\n", "From: x\nDate: now\n", 0, add, "1 fields 0 received"},
		{"no header", "hello\nworld\n", "\nhello\nworld\n", 0, nil, "0 fields 0 received"},
		{"no header, missing", "hello\n", "Date: now\n\nhello\n", 0, add, "0 fields 0 received"},
		{"blank first", "\nhello\n", "Date: now\n\nhello\n", 0, add, "0 fields 0 received"},
		{"there already", "DATE : then\n\nhello\n", "DATE : then\n\nhello\n", 0, add, "1 fields 0 received"},
		{"Bcc", "To: a\nBcc: b,\n c,\n\td\nSubject: s\n\nBcc: stays\n", "To: a\nSubject: s\n\nBcc: stays\n", Bcc, nil, "3 fields 0 received"},
		{"Bcc last", "To: a\nBcc: b\n c", "To: a\n", Bcc, nil, "2 fields 0 received"},
		{"mbox", "From me Tue\nTo: a\n\nx\n", "To: a\n\nx\n", 0, nil, "1 fields 0 received"},
		{"quoted mbox", ">From me Tue\nTo: a\n\nx\n", "To: a\n\nx\n", 0, nil, "1 fields 0 received"},
		{"odd line", "To: a\nodd one\nReceived: b\n\nx\n", "To: a\nodd one\nReceived: b\n\nx\n", 0, nil, "3 fields 1 received"},
		{"continuation first", " x\nTo: a\n\n", "\n x\nTo: a\n\n", 0, nil, "0 fields 0 received"},
		{"no last LF", "To: a\n\nx", "To: a\n\nx", 0, nil, "1 fields 0 received"},
		{"no last LF, no header", "x", "\nx\n", 0, nil, "0 fields 0 received"},
	} {
		for i := range len(c.in) + 1 {
			var out bytes.Buffer
			f := Filter{Out: &out, Drop: c.drop, Missing: c.missing}
			for _, piece := range []string{c.in[:i], c.in[i:]} {
				if n, err := f.Write([]byte(piece)); n != len(piece) || err != nil {
					t.Fatal(c.name, n, err)
				}
			}
			if err := f.Close(); err != nil {
				t.Fatal(err)
			}
			if facts := fmt.Sprintf("%d fields %d received", f.Fields, f.Received); out.String() != c.out || facts != c.facts {
				t.Fatalf("%s, cut at %d: %q, want %q; %s", c.name, i, out.String(), c.out, facts)
			}
		}
	}
}

func TestFacts(t *testing.T) {
	in := "From: Alice\n <alice@example.org>\nDelivered-To: bob@example.org \nDelivered-To: carol@example.org\nMessage-Id: <1@x>\nSender: y\n\n"
	var out bytes.Buffer
	f := Filter{Out: &out, Keep: true}
	for _, c := range in {
		f.Write([]byte(string(c)))
	}
	if string(f.FromText) != " Alice <alice@example.org>" || len(f.DeliveredTo) != 2 || f.DeliveredTo[0] != "bob@example.org" || f.MessageID != 1 || f.Sender != 1 {
		t.Fatalf("%+v %q", f.Facts, f.FromText)
	}
	f.Reset(&out)
	if f.Fields != 0 || f.Done || len(f.FromText) != 0 {
		t.Fatalf("after Reset: %+v", f.Facts)
	}
}

// Headers beyond the bounds are found, those below cost time in proportion to their length, and all pass unchanged.
func TestS085HeaderBounds(t *testing.T) {
	for _, c := range []struct {
		name, in string
		tooBig   bool
	}{
		{"one header of 10 MiB", "Subject: " + strings.Repeat("x", 10<<20) + "\n\n", true},
		{"500,000 headers", strings.Repeat("X: y\n", 500_000) + "\n", true},
		{"500,000 addresses", "To: a@b.example" + strings.Repeat(",\n a@b.example", 500_000) + "\n\n", true},
		{"100,000 folded lines", "Subject: a" + strings.Repeat("\n b", 100_000) + "\n\n", true},
		{"2,000 headers", strings.Repeat("X: y\n", 2000) + "\n", false},
		{"60 KiB of addresses", "To: a@b.example" + strings.Repeat(",\n a@b.example", 4000) + "\n\n", false},
		{"16 fields of 60 KiB", strings.Repeat("Subject: "+strings.Repeat("x", 60<<10)+"\n", 16) + "\n", false},
		{"18 fields of 60 KiB", strings.Repeat("Subject: "+strings.Repeat("x", 60<<10)+"\n", 18) + "\n", true},
	} {
		for _, size := range []int{16 << 10, 100, 1 << 30} {
			var out bytes.Buffer
			f := Filter{Out: &out}
			for in := []byte(c.in); len(in) > 0; {
				n := min(size, len(in))
				f.Write(in[:n])
				in = in[n:]
			}
			f.Close()
			if (f.Err != nil) != c.tooBig {
				t.Errorf("%s in pieces of %d: %v", c.name, size, f.Err)
			}
			if out.String() != c.in {
				t.Errorf("%s in pieces of %d: changed", c.name, size)
			}
			if cap(f.part) > 2*MaxField+2*size && size < 1<<20 {
				t.Errorf("%s: held %d octets", c.name, cap(f.part))
			}
		}
	}
}

func FuzzFilter(f *testing.F) {
	f.Add([]byte("To: a\nBcc: b\n\nx\n"), byte(3))
	f.Add([]byte("From x\nfoo"), byte(7))
	f.Fuzz(func(t *testing.T, in []byte, cut byte) {
		run := func(at int) string {
			var out bytes.Buffer
			f := Filter{Out: &out, Drop: Bcc, Missing: add, Keep: true}
			f.Write(bytes.Clone(in[:at]))
			f.Write(bytes.Clone(in[at:]))
			f.Close()
			return out.String()
		}
		if whole, parts := run(0), run(min(int(cut), len(in))); whole != parts {
			t.Fatalf("whole %q, in parts %q", whole, parts)
		}
	})
}
