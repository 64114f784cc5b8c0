package imapd

import (
	"fmt"
	"io"
	"strings"
	"testing"
	"time"
)

// An octet now and then keeps no connection: a command has its time in all, literals too (S076).
func TestS076Slow(t *testing.T) {
	h := newHouse(t)
	h.open()
	h.srv.LoginTime = 300 * time.Millisecond
	for _, begin := range []string{"", "a LOGIN {20}\r\n", "a NO"} {
		c := h.dial(false)
		io.WriteString(c.Conn, begin)
		closed := make(chan string, 1)
		go func() {
			text, _ := io.ReadAll(c.Conn)
			closed <- string(text)
		}()
		for begun := time.Now(); ; time.Sleep(20 * time.Millisecond) {
			io.WriteString(c.Conn, "X")
			select {
			case text := <-closed:
				if !strings.Contains(text, "* BYE") && text != "" && !strings.Contains(text, "* OK") {
					t.Errorf("%q: %q", begin, text)
				}
			default:
				if time.Since(begun) < 15*time.Second {
					continue
				}
				t.Errorf("%q: an octet now and then goes on for ever", begin)
			}
			break
		}
		c.Conn.Close()
	}
}

// So many sessions of one account, and one more is told so; another account and, when one has left, the same are welcome (S081).
func TestS081Sessions(t *testing.T) {
	h := newHouse(t)
	h.open()
	h.srv.PerUser = 5
	var open []*client
	for range 5 {
		open = append(open, h.enter("alice"))
	}
	c := h.dial(true)
	c.line()
	c.want(`in LOGIN alice "secret word"`, "in NO [LIMIT]")
	c.want(`in LOGIN bob "secret word"`, "in OK")
	open[0].want("a LOGOUT", "a OK")
	for begun := time.Now(); ; time.Sleep(10 * time.Millisecond) {
		c := h.dial(true)
		c.line()
		answer := c.say(`in LOGIN alice "secret word"`)
		if strings.HasPrefix(answer[len(answer)-1], "in OK") {
			break
		}
		if time.Since(begun) > 10*time.Second {
			t.Fatal(answer)
		}
	}
}

// A storm of NOTIFY, of resynchronizations and of commands is answered one by one: nothing piles up (S081).
func TestS081Storm(t *testing.T) {
	h := newHouse(t)
	h.open()
	c := h.enter("alice")
	c.want("a ENABLE QRESYNC", "a OK")
	c.want("a SELECT INBOX", "a OK")
	const n = 2000
	go func() {
		var b strings.Builder
		for i := range n {
			switch i % 4 {
			case 0:
				fmt.Fprintf(&b, "n%d NOTIFY SET (SELECTED (MessageNew MessageExpunge)) (PERSONAL (MessageNew MessageExpunge))\r\n", i)
			case 1:
				fmt.Fprintf(&b, "n%d SELECT INBOX (QRESYNC (1 1 1:1000000000))\r\n", i)
			case 2:
				fmt.Fprintf(&b, "n%d NOTIFY NONE\r\n", i)
			default:
				fmt.Fprintf(&b, "n%d NOOP\r\n", i)
			}
		}
		io.WriteString(c.Conn, b.String())
	}()
	for i := 0; i < n; {
		line := c.line()
		if strings.HasPrefix(line, "(") {
			t.Fatalf("after %d: %s", i, line)
		}
		if strings.HasPrefix(line, fmt.Sprintf("n%d ", i)) {
			i++
		}
	}
}
