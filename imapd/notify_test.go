package imapd

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// More mailboxes than a session may watch: it is told so, at once or when they have become too many, and hears of nothing more
// (RFC 5465 section 5.8).
func TestNotifyOverflow(t *testing.T) {
	was := mostNoted
	mostNoted = 20
	t.Cleanup(func() { mostNoted = was })
	h := newHouse(t)
	h.open()
	c := h.enter("alice")
	c.want("a LIST \"\" *", "a OK") // INBOX and the special ones are made
	have := len(c.say("b LIST \"\" *")) - 1
	for i := range mostNoted - have {
		for _, dir := range []string{"cur", "new", "tmp"} {
			if err := os.MkdirAll(filepath.Join(h.maildir("alice"), fmt.Sprintf(".Box%d", i), dir), 0o700); err != nil {
				t.Fatal(err)
			}
		}
	}
	all := "NOTIFY SET (personal (MessageNew MessageExpunge MailboxName))"
	c.want("c "+all, "c OK")
	other := h.enter("alice")
	other.want("d CREATE More", "d OK")
	told := false
	for range 100 {
		for _, line := range c.say("e NOOP") {
			told = told || strings.HasPrefix(line, "* OK [NOTIFICATIONOVERFLOW]")
		}
		if told {
			break
		}
	}
	if !told {
		t.Error("nobody is told that there are too many mailboxes now")
	}
	c.want("f "+all, "f NO [NOTIFICATIONOVERFLOW]")
	other.want("g CREATE Evenmore", "g OK")
	if lines := c.say("h NOOP"); len(lines) != 1 {
		t.Errorf("it hears of mailboxes still: %q", lines)
	}
	c.want("i NOTIFY NONE", "i OK")
}
