package line

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
)

// pieces reads as the network may give it: one octet at a time, or cut at one place, or at once.
type pieces struct{ parts []string }

func (p *pieces) Read(b []byte) (int, error) {
	for len(p.parts) > 0 && p.parts[0] == "" {
		p.parts = p.parts[1:]
	}
	if len(p.parts) == 0 {
		return 0, io.EOF
	}
	n := copy(b, p.parts[0])
	p.parts[0] = p.parts[0][n:]
	return n, nil
}

// cuts calls each with every way to cut s in two, s in single octets, and s whole.
func cuts(s string, each func(*pieces)) {
	for i := range len(s) {
		each(&pieces{[]string{s[:i], s[i:]}})
	}
	each(&pieces{strings.Split(s, "")})
}

func TestLine(t *testing.T) {
	long := strings.Repeat("x", 3000)
	for _, c := range []struct {
		wire string
		want []any // string or error
	}{
		{"NOOP\r\nQUIT\r\n", []any{"NOOP", "QUIT"}},
		{"\r\n\n", []any{"", ErrBare}},
		{"a\nb\r\n", []any{ErrBare, "b"}},
		{"a\rb\r\nc\r\n", []any{ErrBare, "c"}},
		{"a\x00b\r\nc\r\n", []any{ErrNUL, "c"}},
		{strings.Repeat("y", 510) + "\r\n", []any{strings.Repeat("y", 510)}},
		{strings.Repeat("y", 511) + "\r\nNOOP\r\n", []any{ErrTooLong, "NOOP"}},
		{long + "\r\nNOOP\r\n", []any{ErrTooLong, "NOOP"}},
		{"QUI", []any{io.ErrUnexpectedEOF}},
		{"", []any{io.EOF}},
	} {
		cuts(c.wire, func(p *pieces) {
			r := NewReader(p, 1024)
			for i, want := range c.want {
				got, err := r.Line(510)
				if err, ok := want.(error); ok && !errors.Is(err, err) || !ok && string(got) != want {
					t.Fatalf("%.20q line %d: got %q %v, want %v", c.wire, i, got, err, want)
				} else if ok && got != nil {
					t.Fatalf("%.20q line %d: got %q, want %v", c.wire, i, got, err)
				}
				if want, ok := want.(error); ok && !errors.Is(err, want) {
					t.Fatalf("%.20q line %d: error %v, want %v", c.wire, i, err, want)
				}
			}
		})
	}
}

// An endless line costs a bounded number of octets.
func TestS020EndlessLine(t *testing.T) {
	src := &endless{}
	r := NewReader(src, usual)
	if _, err := r.Line(512); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Fatalf("endless line: %v", err)
	}
	if src.n > patience+2*usual {
		t.Fatalf("read %d octets of an endless line", src.n)
	}
}

type endless struct{ n int }

func (e *endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = 'x'
	}
	e.n += len(p)
	return len(p), nil
}

// The terminators of threats.md section F: of all pairs of line ends round a dot, CRLF.CRLF alone ends a message.
func TestS001ToS006Terminators(t *testing.T) {
	ends := []string{"\r\n", "\n", "\r", "\r\r\n", "\n\r", "\r\x00\n", "\r\n "}
	for _, before := range ends {
		for _, after := range ends {
			wire := "Subject: x\r\n\r\nbody" + before + "." + after + "MAIL FROM:<smuggled@example.net>\r\n.\r\nNOOP\r\n"
			real := strings.HasSuffix(before, "\r\n") && strings.HasPrefix(after, "\r\n")
			_, content, _ := strings.Cut(wire, "\r\n\r\n")
			if real {
				content = "body" + before
			} else {
				content, _, _ = strings.Cut(content, "\r\n.\r\n")
			}
			bare := strings.ContainsAny(strings.ReplaceAll(content, "\r\n", ""), "\r\n")
			cuts(wire, func(p *pieces) {
				r := NewReader(p, 1024)
				var out bytes.Buffer
				v, err := r.Data(&out, 1<<20)
				if err != nil {
					t.Fatalf("%q.%q: %v", before, after, err)
				}
				if smuggled := !strings.Contains(out.String(), "smuggled"); smuggled != real {
					t.Fatalf("%q.%q: ended there: %v, text %q", before, after, smuggled, out.String())
				}
				if v.Bare != bare {
					t.Fatalf("%q.%q: bare %v", before, after, v.Bare)
				}
				next, err := r.Line(512)
				if want := map[bool]string{true: "MAIL FROM:<smuggled@example.net>", false: "NOOP"}[real]; err != nil || strings.TrimPrefix(string(next), " ") != want {
					t.Fatalf("%q.%q: next line %q %v", before, after, next, err)
				}
			})
		}
	}
}

func TestData(t *testing.T) {
	long := strings.Repeat("l", 5000)
	for _, c := range []struct {
		name, wire, text string
		v                Verdict
	}{
		{"empty", ".\r\n", "", Verdict{}},
		{"dots", "..\r\n...x\r\n.a\r\n.\r\n", ".\n..x\na\n", Verdict{Size: 3 + 5 + 3}},
		{"eight bit", "\xc3\xa9\r\n.\r\n", "\xc3\xa9\n", Verdict{Size: 4, EightBit: true}},
		{"NUL", "a\x00\r\n.\r\n", "a\x00\n", Verdict{Size: 4, NUL: true}},
		{"bare LF", "a\n.\nb\r\n.\r\n", "a\n.\nb\n", Verdict{Size: 7, Bare: true}},
		{"bare CR", "a\rb\r\n.\r\n", "a\rb\n", Verdict{Size: 5, Bare: true, BareCR: true}},
		{"long", long + "\r\n.\r\n", long + "\n", Verdict{Size: 5002, Long: true}},
		{"long with a dot", "." + long + "\r\n.\r\n", long + "\n", Verdict{Size: 5002, Long: true}},
		{"998", long[:998] + "\r\n.\r\n", long[:998] + "\n", Verdict{Size: 1000}},
		{"999", long[:999] + "\r\n.\r\n", long[:999] + "\n", Verdict{Size: 1001, Long: true}},
	} {
		cuts(c.wire+"NOOP\r\n", func(p *pieces) {
			r := NewReader(p, 1024)
			var out bytes.Buffer
			v, err := r.Data(&out, 1<<20)
			if err != nil || out.String() != c.text || v != c.v {
				t.Fatalf("%s: %.40q %+v %v", c.name, out.String(), v, err)
			}
			if next, err := r.Line(512); err != nil || string(next) != "NOOP" {
				t.Fatalf("%s: next line %q %v", c.name, next, err)
			}
		})
	}
}

// Chunks say the same whatever their borders.
func TestChunk(t *testing.T) {
	for _, c := range []struct {
		wire, text string
		bare       bool
	}{
		{"a\r\nb\r\n", "a\nb\n", false},
		{"\r\n.\r\n\r\n", "\n.\n\n", false},
		{"a\nb\r\n", "", true},
		{"a\r\r\n", "", true},
		{"a\r", "", true},
		{"\n", "", true},
		{"\r\n\n", "", true},
	} {
		for i := range len(c.wire) + 1 {
			for j := i; j <= len(c.wire); j++ {
				r := NewReader(strings.NewReader(c.wire+"NOOP\r\n"), 1024)
				var out bytes.Buffer
				var v Verdict
				for _, n := range []int{i, j - i, len(c.wire) - j} {
					next, err := r.Chunk(&out, int64(n), true)
					if err != nil {
						t.Fatal(err)
					}
					v.Add(next)
				}
				if bare := r.EndChunks() || v.Bare; bare != c.bare || !bare && out.String() != c.text {
					t.Fatalf("%q cut at %d, %d: %q bare=%v", c.wire, i, j, out.String(), bare)
				}
				if v.Size != int64(len(c.wire)) {
					t.Fatalf("%q: size %d", c.wire, v.Size)
				}
				if next, err := r.Line(512); err != nil || string(next) != "NOOP" {
					t.Fatalf("%q: next line %q %v", c.wire, next, err)
				}
			}
		}
	}
}

func FuzzData(f *testing.F) {
	f.Add([]byte("a\r\n..\r\n.\r\n"), byte(3))
	f.Add([]byte("\n.\n\r\n.\r\n"), byte(1))
	f.Fuzz(func(t *testing.T, wire []byte, cut byte) {
		at := min(int(cut), len(wire))
		r := NewReader(&pieces{[]string{string(wire[:at]), string(wire[at:])}}, 1024)
		var out bytes.Buffer
		v, err := r.Data(&out, 1<<20)
		end := []byte("\r\n.\r\n")
		i := bytes.Index(append([]byte("\r\n"), wire...), end)
		if (i < 0) != (err != nil) {
			t.Fatalf("end found: %v, error %v", i >= 0, err)
		}
		if err != nil || v.Bare {
			return
		}
		// What was clean goes back to the same wire.
		back := strings.ReplaceAll(strings.ReplaceAll("\n"+out.String(), "\n.", "\n.."), "\n", "\r\n")[2:]
		want := string(wire[:i])
		if i == 0 {
			want = ""
		}
		if !strings.HasPrefix(want, ".") || strings.HasPrefix(want, "..") {
			if back != want && !strings.Contains("\r\n"+want, "\r\n.") {
				t.Fatalf("%q became %q", want, back)
			}
		}
	})
}

func FuzzChunk(f *testing.F) {
	f.Add([]byte("a\r\nb\r"), byte(2))
	f.Fuzz(func(t *testing.T, wire []byte, cut byte) {
		at := min(int(cut), len(wire))
		r := NewReader(bytes.NewReader(wire), 1024)
		var out bytes.Buffer
		v, err := r.Chunk(&out, int64(at), true)
		if err != nil {
			t.Fatal(err)
		}
		next, err := r.Chunk(&out, int64(len(wire)-at), true)
		if err != nil {
			t.Fatal(err)
		}
		v.Add(next)
		bare := r.EndChunks() || v.Bare
		clean := strings.ReplaceAll(string(wire), "\r\n", "")
		if want := strings.ContainsAny(clean, "\r\n"); bare != want {
			t.Fatalf("%q: bare %v", wire, bare)
		}
		if !bare && out.String() != strings.ReplaceAll(string(wire), "\r\n", "\n") {
			t.Fatalf("%q became %q", wire, out.String())
		}
	})
}
