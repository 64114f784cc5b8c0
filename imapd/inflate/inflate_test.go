package inflate

import (
	"bytes"
	"compress/flate"
	"errors"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
)

// dribble gives one octet at a time, and an error of its own between any two: what a deadline does.
type dribble struct {
	b     []byte
	pause bool
}

var errPause = errors.New("pause")

func (d *dribble) Read(p []byte) (int, error) {
	if d.pause = !d.pause; d.pause {
		return 0, errPause
	}
	if len(d.b) == 0 {
		return 0, io.EOF
	}
	p[0] = d.b[0]
	d.b = d.b[1:]
	return 1, nil
}

// readAll reads to the end, over pauses.
func readAll(r io.Reader) (out []byte, err error) {
	buf := make([]byte, 300)
	for {
		n, err := r.Read(buf)
		out = append(out, buf[:n]...)
		if err == io.EOF {
			return out, nil
		}
		if err != nil && err != errPause {
			return out, err
		}
	}
}

// texts are of all kinds: repetitive, random, long, short.
func texts() [][]byte {
	random := make([]byte, 100_000)
	r := rand.New(rand.NewPCG(1, 2))
	for i := range random {
		random[i] = byte(r.Uint32())
	}
	far := append(append([]byte("needle"), random[:32768-6]...), "needle"...)
	return [][]byte{nil, []byte("a NOOP\r\n"), []byte(strings.Repeat("a UID FETCH 1:* (FLAGS)\r\n", 5000)), random, far, bytes.Repeat([]byte{0}, 1<<20)}
}

func TestLikeTheStandardLibrary(t *testing.T) {
	for _, text := range texts() {
		for level := flate.HuffmanOnly; level <= 9; level++ {
			var b bytes.Buffer
			w, _ := flate.NewWriter(&b, level)
			w.Write(text)
			w.Close()
			for _, r := range []io.Reader{bytes.NewReader(b.Bytes()), &dribble{b: b.Bytes()}} {
				if got, err := readAll(NewReader(r)); err != nil || !bytes.Equal(got, text) {
					t.Fatalf("level %d, %d octets: got %d, %v", level, len(text), len(got), err)
				}
			}
		}
	}
}

// asked fails the test when it is asked for more than there is.
type asked struct {
	bytes.Buffer
	more bool
}

func (a *asked) Read(p []byte) (int, error) {
	if a.Len() == 0 {
		a.more = true
		return 0, errPause
	}
	return a.Buffer.Read(p)
}

// RFC 4978 section 4: what a flush has brought is given out before anything more is asked for.
func TestNothingIsHeldBack(t *testing.T) {
	in := &asked{}
	z := NewReader(in)
	w, _ := flate.NewWriter(in, 9)
	r := rand.New(rand.NewPCG(3, 4))
	for i := range 500 {
		text := []byte(strings.Repeat("a STORE 1 +FLAGS (\\Seen)\r\n", 1+i%40))[:1+r.IntN(20)]
		w.Write(text)
		w.Flush()
		in.more = false
		got := make([]byte, 0, len(text))
		for len(got) < len(text) {
			n, err := z.Read(got[len(got):cap(got)])
			if err != nil {
				t.Fatalf("command %d: %v after %d of %d octets", i, err, len(got), len(text))
			}
			got = got[:len(got)+n]
		}
		if !bytes.Equal(got, text) || in.more {
			t.Fatalf("command %d: %q, asked for more: %v", i, got, in.more)
		}
	}
	if len(z.window) > 16<<10 {
		t.Errorf("after so little it keeps %d octets", len(z.window))
	}
}

// A writer that ends each flush without memory of the ones before, and every kind of block by itself.
func TestCorrupt(t *testing.T) {
	for _, text := range []string{"\x07", "\x01\x01\x00\x00\x00", "\x05\xff", "\x4b\x04\x02", "\xff\xff"} {
		want, wantErr := io.ReadAll(flate.NewReader(strings.NewReader(text)))
		got, err := readAll(NewReader(strings.NewReader(text)))
		if (err == nil) != (wantErr == nil) || !bytes.Equal(got, want) {
			t.Errorf("%x: got %x %v, want %x %v", text, got, err, want, wantErr)
		}
	}
}

func FuzzInflate(f *testing.F) {
	for _, text := range texts() {
		if len(text) > 4000 {
			text = text[:4000]
		}
		for _, level := range []int{0, 1, 9} {
			var b bytes.Buffer
			w, _ := flate.NewWriter(&b, level)
			w.Write(text)
			w.Flush()
			w.Write(text)
			w.Close()
			f.Add(b.Bytes())
			f.Add(b.Bytes()[:b.Len()/2])
		}
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		want, wantErr := io.ReadAll(io.LimitReader(flate.NewReader(bytes.NewReader(in)), 1<<20))
		if len(want) == 1<<20 {
			return
		}
		for _, r := range []io.Reader{bytes.NewReader(in), &dribble{b: in}} {
			got, err := readAll(NewReader(r))
			if (err == nil) != (wantErr == nil) {
				t.Fatalf("got %v, the standard library %v", err, wantErr)
			}
			if wantErr == nil && !bytes.Equal(got, want) || !bytes.HasPrefix(got, want) {
				t.Fatalf("got %d octets, want %d", len(got), len(want))
			}
		}
	})
}

func BenchmarkInflate(b *testing.B) {
	var c bytes.Buffer
	w, _ := flate.NewWriter(&c, 6)
	text := bytes.Repeat([]byte("From: alice@example.org\r\nSubject: words that are not all the same\r\n\r\nbody 12345\r\n"), 2000)
	w.Write(text)
	w.Close()
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		io.Copy(io.Discard, NewReader(bytes.NewReader(c.Bytes())))
	}
}
