package imapd

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
)

// S103: mail that is delivered while its mailbox is renamed and deleted is in one of the mailboxes, or in the undelete area.
func TestS103DeliveryMeetsRename(t *testing.T) {
	h := newHouse(t)
	h.open()
	c := h.enter("alice")
	root := h.maildir("alice")
	c.want("a CREATE Box", "a OK")
	stop, delivered := make(chan struct{}), make(chan []string)
	go func() { // a script that knows nothing of us
		var there []string
		for n := 0; ; n++ {
			select {
			case <-stop:
				delivered <- there
				return
			default:
			}
			name := fmt.Sprintf("%d.script", n)
			temp := filepath.Join(root, "tmp", name)
			os.WriteFile(temp, []byte("Subject: x\n\nx\n"), 0o600)
			if os.Rename(temp, filepath.Join(root, ".Box/new", name)) == nil {
				there = append(there, name)
			}
			os.Remove(temp)
		}
	}()
	for range 20 {
		c.want("b RENAME Box Other", "b OK")
		c.want("c STATUS Other (MESSAGES)", "c OK")
		c.want("d CREATE Box", "d OK")
		c.want("e DELETE Other", "e OK")
	}
	close(stop)
	there := <-delivered
	found := map[string]bool{}
	filepath.WalkDir(filepath.Dir(root), func(_ string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			base, _, _ := strings.Cut(d.Name(), ":")
			found[base] = true
		}
		return nil
	})
	for _, name := range there {
		if !found[name] {
			t.Errorf("%s was delivered and is nowhere", name)
		}
	}
}

// S107: exchanges that are broken off end their connection and leave nothing.
func TestS107BrokenLogins(t *testing.T) {
	h := newHouse(t)
	h.open()
	h.enter("alice") // whatever is made once is made
	before := runtime.NumGoroutine()
	for i := range 200 {
		c := h.dial(false)
		c.line()
		io.WriteString(c.Conn, "a STARTTLS\r\n")
		c.line()
		c.tls()
		switch i % 4 {
		case 0:
			io.WriteString(c.Conn, "b AUTHENTICATE PLAIN\r\n")
		case 1:
			io.WriteString(c.Conn, "b AUTHENTICATE PLAIN\r\n***\r\n*\r\n")
		case 2:
			io.WriteString(c.Conn, "b AUTHENTICATE SCRAM-SHA-256 biwsbj1hLHI9eA==\r\n")
		case 3:
			io.WriteString(c.Conn, "b AUTHENTICATE LOGIN\r\nYWxpY2U=\r\n")
		}
		c.line()
		c.Close()
	}
	for range 500 {
		if runtime.NumGoroutine() <= before+2 {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Errorf("%d goroutines before, %d after", before, runtime.NumGoroutine())
}

// S104, S105: sessions of two users that take turns see their own mail, and each other's only where it is shared.
func TestS105SessionsAreTheirOwn(t *testing.T) {
	h := newHouse(t)
	h.open()
	users := []string{"alice", "bob", "carol.x"}
	for _, user := range users {
		c := h.enter(user)
		c.want("a CREATE "+strings.ToUpper(user[:1]), "a OK")
		c.want(`b SETMETADATA INBOX (/private/comment "`+user+`")`, "b OK")
	}
	done := make(chan error, len(users))
	for _, user := range users {
		c := h.enter(user)
		go func() {
			for range 50 {
				if got := c.say("a GETMETADATA INBOX /private/comment")[0]; got != `* METADATA INBOX (/private/comment "`+user+`")` {
					done <- fmt.Errorf("%s: %s", user, got)
					return
				}
				if got := c.say("b LIST \"\" (A B C)"); len(got) != 2 || !strings.HasSuffix(got[0], " "+strings.ToUpper(user[:1])) {
					done <- fmt.Errorf("%s: %s", user, got)
					return
				}
			}
			done <- nil
		}()
	}
	for range users {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}
