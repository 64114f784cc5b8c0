package check

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pennypost/maildir"
	"pennypost/maildir/mailbox"
)

func put(t *testing.T, name, text string) {
	t.Helper()
	os.MkdirAll(filepath.Dir(name), 0o700)
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// uids is what a client sees of INBOX.
func uids(t *testing.T, root string) string {
	t.Helper()
	a, err := mailbox.OpenAccount(root, mailbox.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	f, err := a.Folder("INBOX")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	v, err := f.Look(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	out := fmt.Sprint("next ", v.Counts().UIDNext)
	for i := range v.Len() {
		out += fmt.Sprint(" ", v.UID(i))
	}
	return out
}

func TestCheck(t *testing.T) {
	root := filepath.Join(t.TempDir(), "Maildir")
	for _, dir := range []string{"new", "cur", "tmp"} {
		os.MkdirAll(filepath.Join(root, dir), 0o700)
	}
	for i := range 3 {
		put(t, fmt.Sprintf("%s/cur/%d.m:2,S", root, i+1), "x\n")
	}
	var out bytes.Buffer
	check := func(c Check) (string, error) {
		t.Helper()
		out.Reset()
		c.Out, c.Layout, c.Days = &out, maildir.PlusPlus, 14
		err := c.Maildir(context.Background(), root)
		return strings.ReplaceAll(out.String(), root, "M"), err
	}
	if got, err := check(Check{}); got != "M: INBOX: mb-uids: none: 3 messages have no UID yet; would take the UIDs of another server over, or give new ones\n" || !errors.Is(err, ErrFound) {
		t.Errorf("%v\n%s", err, got)
	}
	if got, err := check(Check{Fix: true}); err != nil || !strings.Contains(got, "done:") {
		t.Errorf("%v\n%s", err, got)
	}
	if got, err := check(Check{}); got != "" || err != nil {
		t.Errorf("a sound Maildir: %v\n%s", err, got)
	}
	want := uids(t, root)
	// Everything at once.
	text, _ := os.ReadFile(root + "/mb-uids")
	put(t, root+"/mb-uids", string(text)+"9 :half")
	put(t, root+"/tmp/old", "x")
	old := time.Now().Add(-48 * time.Hour)
	os.Chtimes(root+"/tmp/old", old, old)
	put(t, root+"/mb-index", "garbage that is longer than sixteen octets")
	put(t, root+"/mb-cache", "garbage")
	put(t, root+"/new/3.m", "another\n")
	put(t, root+"/cur/5.s,S=99:2,", "x\n")
	os.Symlink("/etc/passwd", root+"/cur/6.link\x1b[2J")
	os.Remove(root + "/cur/1.m:2,S")
	got, err := check(Check{})
	for _, w := range []string{"mb-uids: 7 octets behind the last whole batch", "tmp/old: its writer died", "mb-index: it is damaged", "mb-cache: it is damaged",
		"another file has this key", "says 99 octets", `cur/6.link\x1b[2J: it is no regular file`, "1 UIDs have no file", "1 messages have no UID"} {
		if !strings.Contains(got, w) {
			t.Errorf("%q is not said", w)
		}
	}
	if !errors.Is(err, ErrFound) || strings.Contains(got, "done") || strings.Contains(got, "\x1b") {
		t.Errorf("%v\n%s", err, got)
	}
	if got, err := check(Check{Fix: true}); err != nil {
		t.Errorf("%v\n%s", err, got)
	}
	got, err = check(Check{JSON: true})
	if err != nil || strings.Count(got, "\n") != 2 || !strings.Contains(got, `"file":"cur/5.s,S=99:2,"`) {
		t.Errorf("after --fix: %v\n%s", err, got)
	}
	if bad, _ := os.ReadFile(root + "/mb-uids.bad"); !strings.Contains(string(bad), "9 :half") {
		t.Errorf("mb-uids.bad: %q", bad)
	}
	after := uids(t, root)
	if !strings.Contains(after, " 2 3 ") || strings.Contains(after, " 1 ") {
		t.Errorf("UIDs were %s and are %s", want, after)
	}
	if got, err := check(Check{Restored: true}); err != nil || !strings.Contains(got, "done: leave UIDs unused") {
		t.Errorf("%v\n%s", err, got)
	}
	if got := uids(t, root); !strings.HasPrefix(got, "next 1000") || !strings.Contains(got, " 2 3 ") {
		t.Errorf("restored: %s", got)
	}
}

func TestPurge(t *testing.T) {
	root := filepath.Join(t.TempDir(), "Maildir")
	os.MkdirAll(root+"/cur", 0o700)
	for _, day := range []string{"2026-11-01", "2026-11-09", "2026-11-10", "2026-11-24", "notes"} {
		put(t, root+".expunged/"+day+"/cur/1.m:2,S", "x\n")
	}
	var out bytes.Buffer
	c := Check{Purge: true, Days: 14, Out: &out, Now: func() time.Time { return time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC) }}
	if err := c.Maildir(context.Background(), root); err != nil && !errors.Is(err, ErrFound) {
		t.Fatal(err)
	}
	left, _ := filepath.Glob(root + ".expunged/*")
	names := ""
	for _, l := range left {
		names += filepath.Base(l) + " "
	}
	if names != "2026-11-10 2026-11-24 notes " {
		t.Errorf("left %s\n%s", names, out.String())
	}
}
