package msgauth

import (
	"bytes"
	"strings"
	"testing"
)

func TestS057Strip(t *testing.T) {
	names := []string{"mx.example.net", "example.net"}
	forged := "Authentication-Results: mx.example.net;\n\tspf=pass\n"
	other := "Authentication-Results: mx.other.example;\n\tspf=pass\n"
	for _, test := range []struct{ in, want string }{
		{forged + letter, letter},
		{other + letter, other + letter},
		{other + forged + letter, other + letter},
		{"authentication-results :EXAMPLE.net; none\n" + letter, letter},
		{strings.Replace(letter, "\n\n", "\n"+forged+"\n", 1), letter},
		{strings.Replace(letter, "\n\n", "\n"+forged+other+forged+"\n", 1), strings.Replace(letter, "\n\n", "\n"+other+"\n", 1)},
		{letter + forged, letter + forged}, // the body is nobody's business
		{forged, ""},
		{strings.TrimSuffix(forged, "\n"), ""},
		{strings.TrimSuffix(other, "\n"), strings.TrimSuffix(other, "\n")},
		{forged + "\n", "\n"},
		{other + "\n" + forged, other + "\n" + forged},
		{"Subject: x\n" + forged + "To: y", "Subject: x\nTo: y"},
		{"Authentication-Results:" + strings.Repeat(" ", 70000) + "mx.example.net; none\nTo: x\n\n", "To: x\n\n"},
		{"Authentication-Results: x;\n" + strings.Repeat("\tspf=none;\n", 7000) + "To: x\n\n", "To: x\n\n"},
		{"", ""},
		{"x", "x"},
		{"Authentication-Results", "Authentication-Results"},
	} {
		for _, crlf := range []bool{false, true} {
			in, want := test.in, test.want
			if crlf {
				in, want = strings.ReplaceAll(in, "\n", "\r\n"), strings.ReplaceAll(want, "\n", "\r\n")
			}
			for _, size := range []int{1, 2, 3, 7, 50, 1 << 20} {
				var out bytes.Buffer
				s := &Stripper{Out: &out, Names: names}
				for rest := in; rest != ""; {
					n := min(size, len(rest))
					if _, err := s.Write([]byte(rest[:n])); err != nil {
						t.Fatal(err)
					}
					rest = rest[n:]
				}
				if err := s.Close(); err != nil || out.String() != want {
					t.Errorf("%.60q in pieces of %d: %.200q, want %.200q", in, size, out.String(), want)
				}
			}
		}
	}
}

func TestHeaderOf(t *testing.T) {
	r := judge(t, exampleZone(), stranger, signed(t, letter, testKeys()...)+"changed\n")
	for size := 200; size < 2000; size++ {
		text := r.HeaderOf(size)
		back, err := ParseResults(strings.TrimPrefix(text, "Authentication-Results:"))
		if len(text) != size || err != nil || back.Host != "mx.example.net" || !strings.HasSuffix(text, "\n") || strings.Contains(text, "\n\n") {
			t.Fatalf("%d: %d octets, %v\n%s", size, len(text), err, text)
		}
		if m, ok := back.Find("dmarc"); size > 300 && (!ok || m.Result != Fail) {
			t.Fatalf("%d: %+v", size, back)
		}
	}
}

func FuzzStrip(f *testing.F) {
	f.Add("Authentication-Results: mx.example.net; none\nA: b\n\nbody", 3)
	f.Fuzz(func(t *testing.T, in string, size int) {
		strip := func(size int) string {
			var out bytes.Buffer
			s := &Stripper{Out: &out, Names: []string{"mx.example.net"}}
			for rest := in; rest != ""; {
				n := min(size, len(rest))
				s.Write([]byte(rest[:n]))
				rest = rest[n:]
			}
			s.Close()
			return out.String()
		}
		if len(in) < 60000 && strip(max(1, size%100)) != strip(len(in)+1) {
			t.Errorf("%q: the pieces matter", in)
		}
	})
}
