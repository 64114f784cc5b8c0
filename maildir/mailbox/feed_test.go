package mailbox

import (
	"fmt"
	"math/rand/v2"
	"os"
	"testing"
)

// A search that reads all text leaves a filter; one that leaves out messages has it made behind it.
func TestFeed(t *testing.T) {
	small(t)
	for _, skip := range []int{-1, 30} {
		root, _, f := box(t)
		rng := rand.New(rand.NewPCG(5, 6))
		for i := range 100 {
			write(t, root, fmt.Sprintf("new/%d.m", 1000+i), fmt.Sprintf("Subject: number%dx\n\n%s unique%dword\n", i, someWords(rng, 40), i))
		}
		v := look(t, f)
		n := NewNeedle("unique7word")
		_, ok, feed := v.Feeding(ctx, n)
		if ok || feed == nil {
			t.Fatal(ok, feed)
		}
		if _, _, second := v.Feeding(ctx, n); second != nil {
			t.Error("two feed at once")
		}
		r := v.Reader()
		for i := range v.Len() {
			if i == skip {
				continue
			}
			record, err := r.Get(i)
			if err != nil {
				t.Fatal(err)
			}
			parts := record.Parts()
			m, err := v.Open(i)
			if err != nil {
				t.Fatal(err)
			}
			for range 2 { // two texts are looked for
				if found, err := m.ContainsFeeding(parts, i%2 == 0, n, feed, i); found != (i == 7) || err != nil {
					t.Errorf("%d: %v %v", i, found, err)
				}
			}
			m.Close()
		}
		r.Close()
		feed.Close()
		f.digest(ctx)
		if skip < 0 {
			if _, err := os.Stat(root + "/" + ftsName); err != nil {
				t.Error(err)
			}
		}
		filtered(t, f)
		for _, text := range []string{"unique7word", "unique30word", "kalomi", "subject: number12"} {
			n := NewNeedle(text)
			uids, ok := v.Candidates(ctx, n)
			if truth := holds(t, v, n); !ok || len(truth.Without(uids)) > 0 {
				t.Errorf("%q: %v, filter has %v, %v", text, truth, uids, ok)
			}
		}
		if uids, _ := v.Candidates(ctx, n); uids.Intersect(v.uids()).Count() > ftsBlock {
			t.Errorf("%v", uids)
		}
	}
}
