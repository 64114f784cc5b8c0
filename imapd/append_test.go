package imapd

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// What a client sends as a message is what it gets back, whatever the pieces in which it came.
func TestLineEnds(t *testing.T) {
	for _, test := range []struct{ wire, disk string }{
		{"a\r\nb\r\n", "a\nb\n"},
		{"a\nb", "a\nb"},
		{"\r\r\r\n", "\r\r\r\n"},
		{"\r\n\r\n", "\n\n"},
		{"a\r\r\nb", "a\r\r\nb"},
		{"\r", "\r"},
		{"a\rb\r\n\r", "a\rb\n\r"},
		{"\n\r\n", "\n\n"},
		{"x\r\r\n\r\n", "x\r\r\n\n"},
		{strings.Repeat("0123456789abcdef\r\n", 9000), strings.Repeat("0123456789abcdef\n", 9000)},
	} {
		for _, step := range []int{1, 2, 3, 7, 1 << 20} {
			var b bytes.Buffer
			in := newIncoming(&b, false)
			for p := []byte(test.wire); len(p) > 0; {
				n := min(step, len(p))
				in.Write(p[:n])
				p = p[n:]
			}
			if err := in.finish(); err != nil || b.String() != test.disk {
				t.Errorf("%q in steps of %d: got %q, %v", test.wire, step, b.String(), err)
			}
		}
	}
}

// S099: a client that goes away in the middle of a message leaves nothing behind, neither a message nor a part of the quota.
func TestS099AbortedAppend(t *testing.T) {
	h := newHouse(t)
	h.quota = 1 << 20
	h.open()
	text := "a APPEND INBOX (\\Seen) {20+}\r\nSubject: x\r\n\r\nbody!\r\n (\\Draft) {4+}\r\n\r\n\r\n\r\n"
	for n := range len(text) - 1 {
		c := h.enter("alice")
		io.WriteString(c.Conn, text[:n])
		c.Conn.Close()
	}
	c := h.enter("alice")
	lines := c.want("z STATUS INBOX (MESSAGES)", "z OK")
	if lines[0] != "* STATUS INBOX (MESSAGES 0)" {
		t.Error(lines)
	}
	if lines := c.want(`z GETQUOTA ""`, "z OK"); lines[0] != `* QUOTA "" (STORAGE 0 1024)` {
		t.Error(lines)
	}
	for range 100 { // the last of them may just be tidying up
		if left, _ := filepath.Glob(h.maildir("alice") + "/tmp/*"); len(left) == 0 {
			return
		}
		c.want("z NOOP", "z OK")
	}
	left, _ := filepath.Glob(h.maildir("alice") + "/tmp/*")
	t.Error("left in tmp/:", left)
}

// RFC 9208: what is put in counts and what is expunged does not any more.
func TestQuotaFollows(t *testing.T) {
	h := newHouse(t)
	h.quota = 10 << 10
	h.open()
	c := h.enter("alice")
	message := strings.Repeat("x", 1022) + "\r\n"
	for i := range 4 {
		io.WriteString(c.Conn, fmt.Sprintf("a APPEND INBOX (\\Deleted) {%d+}\r\n%s\r\n", len(message), message))
		if line := c.line(); !strings.HasPrefix(line, "a OK") {
			t.Fatal(i, line)
		}
	}
	used := func(want string) {
		t.Helper()
		if lines := c.want(`q GETQUOTA ""`, "q OK"); lines[0] != `* QUOTA "" (STORAGE `+want+` 10)` {
			t.Error(lines[0], "and not", want)
		}
	}
	used("4")
	c.want("b SELECT INBOX", "b OK")
	c.want("c COPY 1:4 Drafts", "c OK")
	used("8")
	c.want("d COPY 1:4 Drafts", "d NO [OVERQUOTA]")
	c.want("e MOVE 1 Drafts", "e OK")
	used("8")
	c.want("f EXPUNGE", "f OK")
	used("5")
}

// FuzzAppend puts commands with literals to a session: whatever comes, it neither hangs nor breaks.
func FuzzAppend(f *testing.F) {
	f.Add("a APPEND INBOX {3+}\r\nabc\r\n")
	f.Add("a APPEND {5+}\r\nINBOX (\\Seen) \" 1-Jan-2030 00:00:00 +0000\" {1+}\r\nx {1+}\r\ny\r\n")
	f.Add("a APPEND INBOX UTF8 (~{3+}\r\nabc)\r\nb REPLACE 1 INBOX ~{0+}\r\n\r\n")
	dir, err := os.MkdirTemp("", "append")
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { os.RemoveAll(dir) })
	f.Fuzz(func(t *testing.T, text string) {
		if len(text) > 1<<16 {
			return
		}
		_, srv := newStore(t)
		srv.MaxSize = 1000
		c := talk(t, srv)
		go func() {
			io.WriteString(c.conn, text+"\r\nzz LOGOUT\r\n")
			c.conn.Close()
		}()
		io.Copy(io.Discard, c.in)
	})
}
