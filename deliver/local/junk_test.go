package local

import (
	"path/filepath"
	"strings"
	"testing"

	"pennypost/queue"
)

// What smtpd marked lands in the folder for such, whatever detail it was sent to; an account without that folder has it in its INBOX.
func TestJunk(t *testing.T) {
	for _, c := range []struct {
		folder, to, where string
		ready             bool
	}{
		{"Junk", "bob@example.org", ".Junk", false},
		{"Junk", "bob@example.org", ".Junk", true},
		{"Junk", "bob+lists@example.org", ".Junk", false},
		{"", "bob@example.org", "", false},
		{"", "bob+lists@example.org", ".lists", true},
	} {
		b := newBench(t)
		b.bob.Junk, b.bob.DetailFolders = c.folder, []string{"lists"}
		o := b.order(c.to)
		o.Junk = true
		checks := "spf=pass:example.net do=quarantine"
		text := strings.Replace(plain("X-Pennypost-Checks: forged\n"+letter), "\nfrom: ", "\nchecks: "+checks+"\nfrom: ", 1)
		want := "Return-Path: <alice@example.net>\nDelivered-To: " + c.to + "\n" + queue.ChecksField + checks + "\n" + letter
		if c.ready {
			o.Ready, o.Size = true, int64(len(want))
			text = want
		}
		b.one(b.deliver(o, text), 'K', "2.0.0")
		mail := b.mail(filepath.Join(b.bob.Maildir, c.where))
		if len(mail) != 1 {
			t.Fatal(c, mail)
		}
		for _, text := range mail {
			if text != want {
				t.Errorf("%+v: %s", c, text)
			}
		}
	}
}
