package roads

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pennypost/test/lab"
)

// TestS121Stolen: a user sends more than his account may. What is beyond is held, he and the postmaster read why, with samples; mailq shows
// it and lets it go; another user, whose file says so, may send more.
func TestS121Stolen(t *testing.T) {
	r := open(t, func(h *lab.Host) {
		h.Keys["outbound.messages"] = `"3/h"`
		if err := h.AddAlias("postmaster", "bob@demo.test"); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(h.Dir, "etc/domains/demo.test/users/bob/outbound"), []byte("messages none\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	})
	var marks []string
	for range 5 {
		marks = append(marks, r.submit("bob@demo.test"))
	}
	if _, _, err := lab.Find(20*time.Second, r.host.Maildir("bob"), marks[2], 1); err != nil {
		t.Fatal(err)
	}
	const subject = "Subject: Mail of alice@demo.test is held"
	_, texts, err := lab.Find(20*time.Second, r.host.Maildir("alice"), subject, 1)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(texts[0], "outbound.messages") || strings.Count(texts[0], "to bob@demo.test") != 4 {
		t.Errorf("the notice:\n%s", texts[0])
	}
	if _, _, err := lab.Find(20*time.Second, r.host.Maildir("bob"), subject, 1); err != nil {
		t.Errorf("the postmaster: %v", err)
	}
	held := func(n int) {
		t.Helper()
		err := lab.Until(20*time.Second, func() error {
			out, err := r.host.Run("", "mailq", "list", "held")
			if got := strings.Count(out, "outbound: alice@demo.test"); err == nil && got != n {
				err = fmt.Errorf("%d are held, want %d:\n%s", got, n, out)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	held(2)
	if out, err := r.host.Run("", "mailq", "accounts"); err != nil || !strings.HasPrefix(out, "alice@demo.test") || !strings.Contains(out, "held since") {
		t.Errorf("mailq accounts: %v\n%s", err, out)
	}
	for range 5 {
		if err := r.host.Submit("bob", "alice@demo.test", lab.Letter("bob@demo.test", "alice@demo.test", "road", "of bob")); err != nil {
			t.Fatal(err)
		}
	}
	if _, _, err := lab.Find(20*time.Second, r.host.Maildir("alice"), "of bob", 5); err != nil {
		t.Errorf("bob may send: %v", err)
	}
	if out, err := r.host.Run("", "mailq", "release", "auth:alice@demo.test"); err != nil || strings.Count(out, ": released") != 2 {
		t.Errorf("mailq release: %v\n%s", err, out)
	}
	for _, mark := range marks {
		if _, _, err := lab.Find(20*time.Second, r.host.Maildir("bob"), mark, 1); err != nil {
			t.Error(err)
		}
	}
	err = lab.Until(20*time.Second, func() error { // queue-run looks twice a second
		text, err := os.ReadFile(filepath.Join(r.host.Dir, "log"))
		if err == nil && !strings.Contains(string(text), "outbound user=alice@demo.test state=released") {
			err = os.ErrNotExist
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := lab.Find(20*time.Second, r.host.Maildir("bob"), r.submit("bob@demo.test"), 1); err != nil {
		t.Errorf("afterwards: %v", err)
	}
	if _, texts, _ := lab.Find(0, r.host.Maildir("alice"), subject, 1); len(texts) != 1 {
		t.Errorf("%d notices", len(texts))
	}
}
