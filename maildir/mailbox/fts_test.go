package mailbox

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pennypost/internal/sequence"
)

// filtered waits until nobody makes a filter any more.
func filtered(t *testing.T, f *Folder) {
	t.Helper()
	for range 1000 {
		f.account.mu.Lock()
		busy := f.filtering
		f.account.mu.Unlock()
		if !busy {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
	t.Fatal("the filter is never done")
}

// small makes a filter worth while for few messages.
func small(t *testing.T) {
	was := ftsLeast
	ftsLeast = 20
	t.Cleanup(func() { ftsLeast = was })
}

var syllables = strings.Fields("ka lo mi ner tus vol Grü ße wort été 東京 x")

func someWords(rng *rand.Rand, n int) string {
	var b strings.Builder
	for range n {
		for range 1 + rng.IntN(3) {
			b.WriteString(syllables[rng.IntN(len(syllables))])
		}
		b.WriteByte(" \n"[rng.IntN(2)])
	}
	return b.String()
}

// holds is the truth: who has the needle.
func holds(t *testing.T, v *View, n *Needle) (out sequence.Set) {
	t.Helper()
	r := v.Reader()
	defer r.Close()
	for i := range v.Len() {
		record, err := r.Get(i)
		if err != nil {
			t.Fatal(err)
		}
		parts := record.Parts()
		m, err := v.Open(i)
		if err != nil {
			t.Fatal(err)
		}
		ok, err := m.Contains(parts, true, n)
		m.Close()
		if err != nil {
			t.Fatal(err)
		}
		if ok {
			out.Add(v.UID(i))
		}
	}
	return out
}

// The filter lets through whatever has the needle, whatever was done to its file; and it does filter.
func TestFilter(t *testing.T) {
	small(t)
	root, _, f := box(t)
	rng := rand.New(rand.NewPCG(1, 2))
	add := func(from, to int) {
		for i := from; i < to; i++ {
			write(t, root, fmt.Sprintf("new/%d.m", 1000+i), fmt.Sprintf("Subject: number%dx\nContent-Type: text/plain; charset=utf-8\n\n%s unique%dword\n", i, someWords(rng, 40), i))
		}
	}
	file := filepath.Join(root, "mb-fts")
	exact := func(when string) {
		t.Helper()
		v := look(t, f)
		for _, text := range []string{"unique7word", "unique120WORD", "grüße", "été ", "東京", "number3x", "kalomi", "tusvol", "zzz", "wort wort", "unique", "subject: number12"} {
			n := NewNeedle(text)
			uids, ok := v.Candidates(ctx, n)
			truth := holds(t, v, n)
			if ok && len(truth.Without(uids)) > 0 {
				t.Errorf("%s: %q: %v, filter has %v", when, text, truth, uids)
			}
		}
	}
	few := func(when, text string, most uint64) {
		t.Helper()
		v := look(t, f)
		uids, ok := v.Candidates(ctx, NewNeedle(text))
		if n := uids.Intersect(v.uids()).Count(); !ok || n > most {
			t.Errorf("%s: %q: %d candidates, %v", when, text, n, ok)
		}
	}
	add(0, 100)
	if _, ok := look(t, f).Candidates(ctx, NewNeedle("unique7word")); ok {
		t.Error("a filter before it was made")
	}
	filtered(t, f)
	exact("made")
	few("made", "unique7word", ftsBlock)
	few("made", "no such words", 0)
	add(100, 105) // a tail
	exact("with a tail")
	few("with a tail", "no such words", 5)
	add(105, 140)
	exact("longer")
	filtered(t, f)
	exact("two segments")
	few("two segments", "unique120word", ftsBlock)
	if _, ok := look(t, f).Candidates(ctx, NewNeedle("ka")); ok {
		t.Error("two octets are no trigram")
	}

	whole, _ := os.ReadFile(file)
	for k := range 300 { // an octet flipped anywhere
		b := bytes.Clone(whole)
		b[rng.IntN(len(b))] ^= byte(1 + k%255)
		os.WriteFile(file, b, 0o600)
		v := look(t, f)
		n := NewNeedle(fmt.Sprintf("unique%dword", k%140))
		if uids, ok := v.Candidates(ctx, n); ok && !uids.Has(v.UID(k%140)) {
			t.Fatalf("flip %d: not found", k)
		}
		filtered(t, f)
	}
	os.WriteFile(file, whole[:len(whole)-3], 0o600) // torn
	exact("torn")
	filtered(t, f)
	exact("made again")
	few("made again", "unique120word", ftsBlock)
	os.Remove(file)
	exact("removed")
	filtered(t, f)
	few("and made", "unique120word", ftsBlock)
	os.WriteFile(file, []byte(ftsMagic+"somebody else's"), 0o600)
	exact("of another folder")
	filtered(t, f)
	few("and ours again", "unique120word", ftsBlock)
	t.Logf("%d octets", len(whole))
}

// Text that is built to cost: more trigrams than a block may have.
func TestFilterBounds(t *testing.T) {
	small(t)
	root, _, f := box(t)
	noise := make([]byte, 1<<20)
	rng := rand.New(rand.NewPCG(3, 4))
	for i := range noise {
		noise[i] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789abcdefghijklmnopqrstuvwxyz!$%&/()=?*+#'-_.:,;<>|^~"[rng.IntN(85)]
	}
	for i := range 40 {
		text := "quiet\n"
		if i == 3 || i == 4 {
			text = strings.Repeat(string(noise), 1) + "\nneedle here\n"
		}
		write(t, root, fmt.Sprintf("new/%d.m", 100+i), "Subject: x\n\n"+text)
	}
	v := look(t, f)
	v.Candidates(ctx, NewNeedle("needle"))
	filtered(t, f)
	uids, ok := v.Candidates(ctx, NewNeedle("needle here"))
	if !ok || !uids.Has(4) || !uids.Has(5) || uids.Has(30) {
		t.Errorf("%v %v", uids, ok)
	}
}

// The first address of a field, RFC 5256 section 3 and RFC 5957: of a group, its name.
func TestFirstAddress(t *testing.T) {
	for _, test := range []struct{ to, mailbox, display string }{
		{"foo bar <a@b.c>", "A", "FOO BAR"}, {"b@c.d", "B", "B@C.D"}, {"d", "D", "D"}, {"=?iso-8859-1?q?foo_=E5?= <e@f.g>", "E", Fold("foo å")},
		{"z: aa@aa.org, bb@bb.org;", "Z", "Z"}, {"empty:;", "EMPTY", "EMPTY"}, {"", "", ""},
	} {
		root, _, f := box(t)
		write(t, root, "new/1.m", "To: "+test.to+"\n\nx\n")
		r := look(t, f).Reader()
		record, err := r.SortKeys(0)
		if err != nil || string(record.To) != test.mailbox || string(record.DisplayTo) != test.display {
			t.Errorf("%q: %q %q, %v", test.to, record.To, record.DisplayTo, err)
		}
		r.Close()
	}
}
