package mailbox

import (
	"encoding/base64"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"

	"golang.org/x/text/unicode/norm"
)

// messageOf is a message in an INBOX of its own, and its parts.
func messageOf(t *testing.T, text string) (*Message, []Part) {
	t.Helper()
	root, _, f := box(t)
	write(t, root, "new/1.m", text)
	v := look(t, f)
	r := v.Reader()
	defer r.Close()
	record, err := r.Get(0)
	if err != nil {
		t.Fatal(err)
	}
	parts := record.Parts()
	m, err := v.Open(0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	return m, parts
}

// What TEXT and BODY look at (RFC 9051 section 6.4.4): decoded, without regard to case, and no headers for BODY.
func TestContains(t *testing.T) {
	mixed := `From: =?iso-8859-1?Q?Andr=E9?= <a@example.org>
Subject: folded
 subject
Content-Type: multipart/mixed; boundary=b

preamble
--b
Content-Type: text/plain; charset=iso-8859-1
Content-Transfer-Encoding: quoted-printable
X-Part: inner header

Gr=FC=DFe aus M=FC=
nchen, 1 =3D 1, =zz
--b
Content-Type: text/html; charset=utf-8
Content-Transfer-Encoding: base64

PGI+w4Bwcm9wb3M8L2I+IGRlIFJvbQ==
--b
Content-Type: application/octet-stream
Content-Transfer-Encoding: base64

aGlkZGVuIGlu
--b
Content-Type: message/rfc822

Subject: enclosed

deep inside
--b--
`
	m, parts := messageOf(t, mixed)
	for _, test := range []struct {
		needle     string
		text, body bool
	}{
		{"grüsse", false, false}, {"GRÜßE", true, true}, {"münchen, 1 = 1, =zz", true, true}, {"à propos", false, false}, {"àPROPOS</b> de rom", true, true},
		{"apropos", false, false}, {"hidden", false, false}, {"aGlkZGVu", false, false}, {"deep INSIDE", true, true}, {"enclosed", true, false}, {"inner header", true, false},
		{"from: andré", true, false}, {"folded subject", true, false}, {"preamble", false, false}, {"", true, true},
		{"grüße aus münchen", true, true},
	} {
		n := NewNeedle(test.needle)
		text, err := m.Contains(parts, true, n)
		body, err2 := m.Contains(parts, false, n)
		if text != test.text || body != test.body || err != nil || err2 != nil {
			t.Errorf("%q: TEXT %v, BODY %v, %v %v", test.needle, text, body, err, err2)
		}
	}
}

// A needle is found wherever the pieces of a long body are cut.
func TestContainsAcrossPieces(t *testing.T) {
	for _, pad := range []string{"x", "é", "word "} {
		for shift := range 12 {
			body := strings.Repeat(pad, (textBlock-6)/len(pad)) + strings.Repeat("y", shift) + "Straße needle" + strings.Repeat(pad, 50)
			m, parts := messageOf(t, "Content-Type: text/plain; charset=utf-8\n\n"+body+"\n")
			if ok, err := m.Contains(parts, false, NewNeedle("straSSe NEEDLE")); ok || err != nil {
				t.Errorf("%q %d: ss is no ß in casemap", pad, shift)
			}
			if ok, err := m.Contains(parts, false, NewNeedle("straße NEEDLE")); !ok || err != nil {
				t.Errorf("%q %d: not found, %v", pad, shift, err)
			}
		}
	}
}

// foldSlowly is what Fold is by definition (RFC 5051).
func foldSlowly(s string) string { return norm.NFKD.String(strings.ToUpper(s)) }

func TestFold(t *testing.T) {
	list := []string{"", "a", "abcXYZ019@[`{|}~\x7f", "Ünïcödé ﬁ", strings.Repeat("aZz{", 9) + "é", "e\u0301\u0323x", "\u0323\u0301", "é\u0323", "ﾊﾟ 가각 漢字 \U0001F600é",
		"a\xffb\xc3", "\xed\xa0\x80", "é" + strings.Repeat("\u0301", 40) + "z", strings.Repeat("\u0323\u0301", 30)}
	for c := range 128 {
		list = append(list, strings.Repeat(string(rune(c)), 9))
	}
	for r := rune(0x80); r < 0x3200; r++ {
		list = append(list, fmt.Sprintf("a%cb%c\u0323%c\u0301é%c", r, r, r, r))
	}
	random := rand.New(rand.NewPCG(1, 2))
	alphabet := []rune("aZ é\u0301\u0323\u0345ßﬁ½漢が\u3099각ᄀ\U0001D15Eά\u0f71")
	for range 3000 {
		var s []rune
		for range random.IntN(12) {
			s = append(s, alphabet[random.IntN(len(alphabet))])
		}
		list = append(list, string(s))
	}
	for _, s := range list {
		if got, want := Fold(s), foldSlowly(s); got != want {
			t.Fatalf("%+q: %+q, want %+q", s, got, want)
		}
	}
}

// What base64 says does not hang on how it comes.
func FuzzUnbased(f *testing.F) {
	f.Add("aGVsbG8=", 3)
	f.Add("aGV s\r\nbG8\x00h", 1)
	f.Fuzz(func(t *testing.T, s string, step int) {
		u := &unbased{}
		u.reset(strings.NewReader(s))
		whole, err := io.ReadAll(u)
		if err != nil || len(whole) > len(s) {
			t.Fatal(err)
		}
		u.reset(&slow{s, max(1, step%7)})
		if parts, _ := io.ReadAll(u); string(parts) != string(whole) {
			t.Fatalf("%q, in pieces %q", whole, parts)
		}
		if b, err := base64.StdEncoding.DecodeString(s); err == nil && string(b) != string(whole) {
			t.Fatalf("%q, want %q", whole, b)
		}
	})
}

func BenchmarkFold(b *testing.B) {
	text := []byte(strings.Repeat("Some words of a café in a München street — mostly ASCII, with “quotes” now and then.\n", 50))
	var room []byte
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		room = foldTo(room[:0], text)
	}
}

func FuzzUnquoted(f *testing.F) {
	f.Add("a=3Db=\nc= \t\r\nd=", 3)
	f.Fuzz(func(t *testing.T, s string, step int) {
		whole, err := io.ReadAll(&unquoted{r: strings.NewReader(s)})
		if err != nil || len(whole) > len(s) {
			t.Fatal(err)
		}
		parts, _ := io.ReadAll(&unquoted{r: &slow{s, max(1, step%7)}})
		if string(parts) != string(whole) {
			t.Fatalf("%q, in pieces %q", whole, parts)
		}
	})
}

// slow gives a few octets at a time.
type slow struct {
	s string
	n int
}

func (r *slow) Read(p []byte) (int, error) {
	if r.s == "" {
		return 0, io.EOF
	}
	n := copy(p[:min(len(p), r.n)], r.s)
	r.s = r.s[n:]
	return n, nil
}
