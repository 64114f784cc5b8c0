package takeover

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pennypost/internal/sequence"
	"pennypost/maildir/mailbox"
)

var ctx = context.Background()

func put(t *testing.T, name, text string) {
	t.Helper()
	os.MkdirAll(filepath.Dir(name), 0o700)
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// account is root as a process opens it.
func account(t *testing.T, root string) *mailbox.Account {
	t.Helper()
	a, err := mailbox.OpenAccount(root, mailbox.Options{Host: "test"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Close() })
	return a
}

// seen is what a client sees of a mailbox.
func seen(t *testing.T, a *mailbox.Account, name string) string {
	t.Helper()
	f, err := a.Folder(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	v, err := f.Look(ctx)
	if err != nil {
		t.Fatal(err)
	}
	out := fmt.Sprintf("%d next %d", v.Counts().UIDValidity, v.Counts().UIDNext)
	for i := range v.Len() {
		out += fmt.Sprintf("; %d %s", v.UID(i), v.UIDL(i))
		for _, flag := range []struct {
			f    mailbox.Flags
			name string
		}{{mailbox.Seen, "S"}, {mailbox.Flagged, "F"}, {mailbox.Forwarded, "P"}} {
			if v.Flags(i)&flag.f != 0 {
				out += " " + flag.name
			}
		}
		for n, word := range f.Keywords() {
			if v.Flags(i)&mailbox.Keyword(n) != 0 {
				out += " " + word
			}
		}
	}
	return out
}

// Courier's Maildir, taken over and handed to Dovecot, and taken over again: nothing a client knows changes.
func TestCourierToUsToDovecotToUs(t *testing.T) {
	root := filepath.Join(t.TempDir(), "Maildir")
	for _, dir := range []string{"", "/.Sent"} {
		for _, sub := range []string{"cur", "new", "tmp"} {
			os.MkdirAll(root+dir+"/"+sub, 0o700)
		}
	}
	put(t, root+"/cur/1.c:2,S", "x\n")
	put(t, root+"/cur/2.c:2,FP", "x\n")
	put(t, root+"/.Sent/cur/3.c:2,S", "x\n")
	put(t, root+"/courierimapuiddb", "1 1100000000 17\n12 1.c\n14 2.c\n")
	put(t, root+"/.Sent/courierimapuiddb", "1 1100000001 5\n4 3.c\n")
	put(t, root+"/courierimapkeywords/:list", "Work\nTodo\n\n1.c:0 1\n9.gone:1\n")
	put(t, root+"/courierimapsubscribed", "INBOX\nINBOX.Sent\n")
	put(t, root+"/.Sent/dovecot-acl", "user=carol lrs\nowner lrwstipekxa\ngroup=staff l\n")
	a := account(t, root)
	var out strings.Builder
	if err := From(ctx, a, true, &out); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(root + "/mb-uids"); err == nil {
		t.Error("a dry run made mb-uids")
	}
	if err := From(ctx, a, false, &out); err != nil {
		t.Fatal(err)
	}
	for _, w := range []string{"INBOX: 2 UIDs of Courier (courierimapuiddb), UIDVALIDITY 1100000000", "Sent: 1 UIDs of Courier", "rights (dovecot-acl)", "group=staff are not", "subscription of Courier: Sent"} {
		if !strings.Contains(out.String(), w) {
			t.Errorf("%q is not said:\n%s", w, out.String())
		}
	}
	want := "1100000000 next 17; 12 1.c S Work Todo; 14 2.c F P"
	if got := seen(t, a, "INBOX"); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	list, _ := a.List()
	if len(list) != 2 || !list[1].Subscribed {
		t.Errorf("%+v", list)
	}
	f, err := a.Folder("Sent")
	if err != nil {
		t.Fatal(err)
	}
	meta, _ := f.Meta()
	if acl := mailbox.ACL(meta); acl["carol"] != "lrs" || len(acl) != 1 {
		t.Errorf("rights %v", acl)
	}
	f.Close()
	if err := ToDovecot(ctx, a, false, &out); err != nil {
		t.Fatal(err)
	}
	text, _ := os.ReadFile(root + "/dovecot-uidlist")
	if got := string(text); !strings.HasPrefix(got, "3 V1100000000 N17 G") || !strings.Contains(got, "\n12 ") || !strings.Contains(got, " P1.c :1.c\n14 ") || !strings.Contains(got, " P2.c :2.c\n") {
		t.Errorf("dovecot-uidlist %q", got)
	}
	words, _ := os.ReadFile(root + "/dovecot-keywords")
	if got := string(words); got != "0 Work\n1 Todo\n25 $Forwarded\n" {
		t.Errorf("dovecot-keywords %q", got)
	}
	for _, file := range []string{"/cur/1.c:2,Sab", "/cur/2.c:2,Fz", "/mb-uids.handed-over"} {
		if _, err := os.Stat(root + file); err != nil {
			t.Error(err)
		}
	}
	again := account(t, root) // Dovecot gave it back
	if got := seen(t, again, "INBOX"); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	box, _ := again.Folder("INBOX")
	defer box.Close()
	if _, err := box.Store(ctx, sequence.Set{{Lo: 12, Hi: 12}}, mailbox.Add, mailbox.Flagged, mailbox.Unconditional); err != nil {
		t.Error(err)
	}
}

// A keyword that came after the takeover has no letter in a folder with letters of its own; Dovecot gets one for it, and the letters it
// knew mean what they meant.
func TestBackWithNewWords(t *testing.T) {
	root := t.TempDir()
	for _, dir := range []string{"cur", "new", "tmp"} {
		os.MkdirAll(filepath.Join(root, dir), 0o700)
	}
	put(t, filepath.Join(root, "dovecot-uidlist"), "3 V7 N5 G00\n1 :1.a\n2 :2.b\n3 :3.c\n")
	put(t, filepath.Join(root, "dovecot-keywords"), "0 $Forwarded\n1 Work\n")
	for _, name := range []string{"1.a:2,Fa", "2.b:2,Sb", "3.c:2,"} {
		put(t, filepath.Join(root, "cur", name), "Subject: x\n\nx\n")
	}
	a := account(t, root)
	f, err := a.Folder("INBOX")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Look(ctx); err != nil {
		t.Fatal(err)
	}
	n, err := f.KeywordNumber("Later", true)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Store(ctx, sequence.Set{{Lo: 2, Hi: 3}}, mailbox.Add, mailbox.Keyword(n)|mailbox.Forwarded, mailbox.Unconditional); err != nil {
		t.Fatal(err)
	}
	if _, unsaid, err := f.ToDovecot(ctx); err != nil || unsaid != 0 {
		t.Fatal(unsaid, err)
	}
	f.Close()
	var got []string
	list, err := os.ReadDir(filepath.Join(root, "cur"))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range list {
		got = append(got, e.Name())
	}
	words, err := os.ReadFile(filepath.Join(root, "dovecot-keywords"))
	if err != nil {
		t.Fatal(err)
	}
	if want := "1.a:2,Fa 2.b:2,Sabz 3.c:2,az"; strings.Join(got, " ") != want || string(words) != "0 $Forwarded\n1 Work\n25 Later\n" {
		t.Errorf("%q, not %q, with\n%s", got, want, words)
	}
}

// Dovecot ends the head of its file with an empty line, and so must we.
func TestSubscriptionsOfDovecot(t *testing.T) {
	root := t.TempDir()
	put(t, filepath.Join(root, "subscriptions"), "V\t2\n\nSent\nLists\tgo\n")
	a := account(t, root)
	for _, s := range []struct {
		name string
		on   bool
	}{{"Lists/go/nuts", true}, {"Sent", false}} {
		if err := a.Subscribe(s.name, s.on); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(filepath.Join(root, "subscriptions"))
	if err != nil || string(text) != "V\t2\n\nLists\tgo\nLists\tgo\tnuts\n" {
		t.Errorf("%q, %v", text, err)
	}
}
