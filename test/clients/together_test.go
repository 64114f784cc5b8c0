package clients

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"pennypost/test/lab"
)

// Mbsync over a tunnel, as "ssh host imapd": nobody logs in.
func TestMbsyncTunnel(t *testing.T) {
	h := host(t, "mbsync")
	c := newClient(t)
	s := imap(t, h, "pat")
	put(t, s, "INBOX", `\Flagged`, fmt.Sprintf(plain, "one"))
	os.MkdirAll(filepath.Join(c.home, "mail"), 0o700)
	imapd := filepath.Join(h.Lab().Bin, "imapd") + " -c " + h.Config() + " --user pat@demo.test"
	conf := c.file("mbsyncrc", fmt.Sprintf("IMAPStore far\nTunnel \"%s\"\n\nMaildirStore near\nInbox %[2]s/mail/INBOX\n\nChannel c\nFar :far:\nNear :near:\nSync All\nSyncState *\n", imapd, c.home))
	c.must("", "mbsync", "-c", conf, "c")
	inbox := filepath.Join(c.home, "mail/INBOX")
	file := seek(t, inbox, "body of one")
	if !strings.HasSuffix(file, ":2,F") {
		t.Errorf("it came as %s", file)
	}
	move(t, file, "FS")
	c.must("", "mbsync", "-c", conf, "c")
	if got := flags(t, s, "INBOX"); got["one"] != `\Flagged \Seen` {
		t.Errorf("the server has %v", got)
	}
	time.Sleep(1200 * time.Millisecond) // the next look verifies, and knows the message to be older than that
	c.must("", "mbsync", "-c", conf, "c")
	near, far := seek(t, inbox, "body of one"), seek(t, h.Maildir("pat"), "body of one")
	if err := os.Rename(far, filepath.Join(h.Maildir("pat"), "cur", "1.a-script.knows-better:2,S")); err != nil {
		t.Fatal(err)
	}
	c.must("", "mbsync", "-c", conf, "c")
	was, _, _ := strings.Cut(near, ":")
	if is, letters, _ := strings.Cut(seek(t, inbox, "body of one"), ":"); is != was || letters != "2,S" {
		t.Errorf("%s came anew, as %s:%s, after its base was renamed", near, is, letters)
	}
}

// Two clients and mutt work on one mailbox at the same time: mbsync with changes of its own, a client that stores and expunges over IMAP, and
// mutt on the Maildir. Each touches mail of its own; in the end all see the same, and nothing is lost or there twice.
func TestTwoClientsAndMutt(t *testing.T) {
	h := host(t, "mbsync", "mutt", "script")
	c, m := newClient(t), newClient(t)
	const rounds = 4
	s, other := imap(t, h, "quinn"), imap(t, h, "quinn")
	for _, who := range []string{"mbsync", "imap", "mutt"} {
		for i := range 2 * rounds {
			put(t, s, "INBOX", "", fmt.Sprintf(plain, fmt.Sprintf("%s-%d", who, i)))
		}
	}
	os.MkdirAll(filepath.Join(c.home, "mail"), 0o700)
	os.MkdirAll(filepath.Join(c.home, "state"), 0o700)
	_, port := split(t, h.Addr("IMAPS"))
	conf := c.isync(port, "quinn@demo.test", "SSLType IMAPS\nCertificateFile "+ca())
	c.must("", "mbsync", "-c", conf, "c")
	inbox := filepath.Join(c.home, "mail/INBOX")

	var group sync.WaitGroup
	group.Go(func() { // message 2i gets a flag, message 2i+1 goes
		for i := range rounds {
			move(t, seek(t, inbox, fmt.Sprintf("body of mbsync-%d\n", 2*i)), "F")
			os.Remove(seek(t, inbox, fmt.Sprintf("body of mbsync-%d\n", 2*i+1)))
			if out, err := c.run("", "mbsync", "-c", conf, "c"); err != nil {
				t.Errorf("mbsync: %v\n%s", err, out)
			}
		}
	})
	group.Go(func() {
		for i := range rounds {
			for _, say := range []string{"SELECT INBOX", fmt.Sprintf("UID STORE %d +FLAGS (\\Answered)", 2*rounds+2*i+1), fmt.Sprintf("UID STORE %d +FLAGS (\\Deleted)", 2*rounds+2*i+2), fmt.Sprintf("UID EXPUNGE %d", 2*rounds+2*i+2)} {
				if _, err := other.Do("%s", say); err != nil {
					t.Errorf("%s: %v", say, err)
				}
			}
		}
	})
	group.Go(func() {
		// mutt drops the keys that wait when it is told that others were at the Maildir: then it is asked again for what is left
		maildir, left := h.Maildir("quinn"), ""
		for range 12 {
			if left = muttKeys(maildir, rounds); left == "" {
				return
			}
			rc := m.file("muttrc", fmt.Sprintf("set folder=%s record=\"\" mbox_type=Maildir mark_old=no delete=yes quit=yes move=no wait_key=no resolve=no wrap_search=yes\npush \"%s<sync-mailbox><quit>\"\n", m.home, left))
			m.run("", "timeout", "-s", "KILL", "5", "script", "-qec", "TERM=xterm mutt -F "+rc+" -f "+maildir, "/dev/null")
		}
		t.Errorf("mutt does not come to %s", left)
	})
	group.Wait()

	c.must("", "mbsync", "-c", conf, "c")
	got := flags(t, imap(t, h, "quinn"), "INBOX")
	want := map[string]string{}
	for i := range rounds {
		want[fmt.Sprintf("mbsync-%d", 2*i)] = `\Flagged`
		want[fmt.Sprintf("imap-%d", 2*i)] = `\Answered`
		want[fmt.Sprintf("mutt-%d", 2*i)] = `\Flagged`
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("the server has\n%v\nnot\n%v", got, want)
	}
	if again := flags(t, s, "INBOX"); fmt.Sprint(again) != fmt.Sprint(got) {
		t.Errorf("who was there all the time sees\n%v\nwho comes now\n%v", again, got)
	}
	mails, err := lab.Mails(inbox)
	if err != nil {
		t.Fatal(err)
	}
	var here []string
	for _, text := range mails {
		subject, _, _ := strings.Cut(strings.TrimPrefix(text[strings.Index(text, "Subject: "):], "Subject: "), "\n")
		here = append(here, strings.TrimSpace(subject))
	}
	if slices.Sort(here); len(here) != len(want) || slices.ContainsFunc(here, func(name string) bool { _, ok := want[name]; return !ok }) {
		t.Errorf("mbsync has %v", here)
	}
}

// muttKeys is what is to be typed into mutt so that of two messages the first is flagged and the second goes, some at a time; "" when all is
// done.
func muttKeys(maildir string, rounds int) string {
	var keys strings.Builder
	for i, n := 0, 0; i < rounds && n < 2; i++ {
		before := keys.Len()
		if files, _, _ := lab.Find(0, maildir, fmt.Sprintf("body of mutt-%d\n", 2*i), 1); len(files) == 1 && !strings.HasSuffix(files[0], "F") {
			fmt.Fprintf(&keys, "<search>~s mutt-%d$<enter><set-flag>!", 2*i)
		}
		if files, _, _ := lab.Find(0, maildir, fmt.Sprintf("body of mutt-%d\n", 2*i+1), 1); len(files) == 1 {
			fmt.Fprintf(&keys, "<search>~s mutt-%d$<enter><delete-message>", 2*i+1)
		}
		if keys.Len() > before {
			n++
		}
	}
	return keys.String()
}
