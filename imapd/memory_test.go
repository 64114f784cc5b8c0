package imapd

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"io"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"pennypost/imapd/wire"
)

// live is the heap after a collection.
func live() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// Who has not logged in costs 64 KiB at most, with as much of a command unfinished as is taken (S095).
func TestS095MemoryBeforeLogin(t *testing.T) {
	h := newHouse(t)
	h.open()
	for name, begin := range map[string]string{
		"nothing":  "",
		"a line":   "a ID (" + strings.Repeat("x", wire.BeforeLogin.Line-100),
		"literals": "a LOGIN " + strings.Repeat("{1000+}\r\n"+strings.Repeat("x", 1000)+" ", 38) + "{900+}\r\nx",
	} {
		const n = 50
		before := live()
		var open []*client
		for range n {
			c := h.dial(false)
			c.line()
			io.WriteString(c.Conn, begin)
			open = append(open, c)
		}
		time.Sleep(100 * time.Millisecond) // they have read what there is
		if each := (live() - before) / n; each > 64<<10 {
			t.Errorf("%s: %d octets each", name, each)
		}
		for _, c := range open {
			c.Conn.Close()
		}
	}
}

// A session that asks for what costs most has 64 MiB at most: large messages, many parts, long programs, a large command not finished.
func TestMemoryOfSession(t *testing.T) {
	if testing.Short() {
		t.Skip("writes large messages")
	}
	root, srv := newStore(t)
	line := strings.Repeat("QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVphYmNkZWZnaGlqa2xtbm9wcXJz", 1) + "\n"
	put(t, root, "cur/1.m:2,", "Subject: large\nContent-Transfer-Encoding: base64\n\n"+strings.Repeat(line, 100<<20/len(line)))
	put(t, root, "cur/2.m:2,", "Subject: one line\n\n"+strings.Repeat("x", 60<<20))
	put(t, root, "cur/3.m:2,", "Subject: parts\nContent-Type: multipart/mixed; boundary=b\n\n"+strings.Repeat("--b\nContent-Type: text/plain; name=\"long name of a file\"\n\nx\n", 200000)+"--b--\n")
	put(t, root, "cur/4.m:2,", "Subject: fields\n"+strings.Repeat("References: <a@b> <c@d>\nTo: a@b, c@d\n", 300000)+"\nx\n")
	for i := range 2000 {
		put(t, root, fmt.Sprintf("cur/1%05d.m:2,", i), fmt.Sprintf("Subject: s\nMessage-ID: <%d@x>\nReferences: %s\n\nx\n", i, strings.Repeat(fmt.Sprintf("<%d@x> ", i/2), 50)))
	}
	c := talk(t, srv)
	c.say("SELECT INBOX")
	var most atomic.Int64
	stop, stopped := make(chan struct{}), make(chan struct{})
	base := live()
	go func() {
		defer close(stopped)
		for {
			select {
			case <-stop:
				return
			case <-time.After(5 * time.Millisecond):
				var m runtime.MemStats
				runtime.ReadMemStats(&m)
				most.Store(max(most.Load(), int64(m.HeapAlloc)-base))
			}
		}
	}()
	for _, say := range []string{
		"FETCH 1:4 (ENVELOPE BODYSTRUCTURE RFC822.SIZE)", "SEARCH TEXT nowhere", "SEARCH BODY " + strings.Repeat("y", 50000), "FETCH 1:4 (PREVIEW)", "FETCH 3 BINARY.SIZE[1]",
		"THREAD REFERENCES UTF-8 ALL", "SORT (SUBJECT FROM DATE) UTF-8 ALL", "SEARCH " + strings.Repeat("OR SUBJECT x ", 900) + "ALL", "FETCH 1:* (BODY.PEEK[HEADER])",
	} {
		most.Store(0)
		answered := c.drink(say)
		if most := most.Load(); most > 64<<20 {
			t.Errorf("%.40s: %d MiB", say, most>>20)
		} else {
			t.Logf("%.40s: %d MiB, %d octets", say, most>>20, answered)
		}
	}
	for _, say := range []string{"FETCH 1 BODY.PEEK[]", "FETCH 2 BODY.PEEK[]", "FETCH 1 BINARY.PEEK[1]"} {
		most.Store(0)
		answered := c.drink(say)
		if most := most.Load(); most > 64<<20 {
			t.Errorf("%.40s: %d MiB", say, most>>20)
		} else {
			t.Logf("%.40s: %d MiB, %d octets", say, most>>20, answered)
		}
	}
	most.Store(0)
	io.WriteString(c.conn, "last SEARCH "+strings.Repeat("SUBJECT {1000+}\r\n"+strings.Repeat("x", 1000)+" ", 990))
	time.Sleep(50 * time.Millisecond)
	if most := most.Load(); most > 64<<20 {
		t.Errorf("a command of a mebibyte: %d MiB", most>>20)
	}
	close(stop)
	<-stopped
}

// drink says a command and counts what is answered, without keeping it.
func (c *talker) drink(say string) (octets int) {
	c.t.Helper()
	c.n++
	tag := fmt.Sprintf("t%d", c.n)
	go fmt.Fprintf(c.conn, "%s %s\r\n", tag, say)
	c.conn.SetReadDeadline(time.Now().Add(60 * time.Second))
	start := true
	for {
		piece, err := c.in.ReadSlice('\n')
		octets += len(piece)
		if start && strings.HasPrefix(string(piece[:min(len(piece), 20)]), tag+" ") {
			return octets
		}
		start = err == nil
		if err != nil && !strings.Contains(err.Error(), "buffer full") {
			c.t.Fatalf("%.40s: %v", say, err)
		}
	}
}

// A part that is not kept in memory is decoded as a short one is, whole and from anywhere (RFC 3516 section 4).
func TestBinaryLong(t *testing.T) {
	root, srv := newStore(t)
	octets := make([]byte, 700_001)
	for i := range octets {
		octets[i] = byte(i*i>>8 + i)
	}
	text := base64.StdEncoding.EncodeToString(octets)
	var body strings.Builder
	for len(text) > 76 {
		body.WriteString(text[:76] + "\n")
		text = text[76:]
	}
	put(t, root, "cur/1.m:2,", "Subject: x\nContent-Transfer-Encoding: base64\n\n"+body.String()+text+"\n")
	c := talk(t, srv)
	c.say("SELECT INBOX")
	c.wants("FETCH 1 BINARY.SIZE[1]", "* 1 FETCH (BINARY.SIZE[1] 700001)|. OK fetched")
	for _, row := range []struct{ partial, label string }{{"", ""}, {"<0.10>", "<0>"}, {"<200000.300000>", "<200000>"}, {"<700000.5>", "<700000>"}, {"<700001.5>", "<700001>"}} {
		from, n := 0, len(octets)
		fmt.Sscanf(row.partial, "<%d.%d>", &from, &n)
		want := octets[from:min(from+n, len(octets))]
		fmt.Fprintf(c.conn, "b FETCH 1 BINARY.PEEK[1]%s\r\n", row.partial)
		if line, want := c.line(), fmt.Sprintf("* 1 FETCH (BINARY[1]%s ~{%d}", row.label, len(want)); line != want {
			t.Fatalf("%s, not %s", line, want)
		}
		got := make([]byte, len(want))
		if _, err := io.ReadFull(c.in, got); err != nil || !bytes.Equal(got, want) {
			t.Fatalf("%s: other octets, %v", row.partial, err)
		}
		if line := c.line(); line != ")" {
			t.Fatal(line)
		}
		c.line()
	}
}
