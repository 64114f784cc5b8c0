package pop3d

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"pennypost/internal/domains"
	"pennypost/maildir"
)

func (h *house) names() (all []string) {
	for _, dir := range []string{"new", "cur", "tmp"} {
		entries, _ := os.ReadDir(filepath.Join(h.root, dir))
		for _, e := range entries {
			all = append(all, dir+"/"+e.Name())
		}
	}
	return all
}

func (h *house) move(from, to string) {
	h.Helper()
	if err := os.Rename(filepath.Join(h.root, from), filepath.Join(h.root, to)); err != nil {
		h.Fatal(err)
	}
}

// Names other programs left: each is listed under a unique-id that RFC 1939 section 7 allows, and can be read.
func TestS108OddNames(t *testing.T) {
	h := newHouse(t)
	odd := []string{
		"new/1795321401.plain",
		"new/with space",
		"new/escape\x1b[31mred",
		"new/line\nbreak",
		"cur/latin\xe9\xff:2,S",
		"cur/" + strings.Repeat("x", 71) + ":2,",
		"cur/" + strings.Repeat("y", 250) + ":2,",
		"cur/1795321499.flags:2,ZZZ",
		"cur/1795321498.experimental:1,abc",
		"cur/,S=3",
		"cur/:2,S",
		"new/twice,S=1",
		"cur/twice,S=2:2,S",
		"cur/99999999999999999999999999.future",
		"cur/W=1,S=-1,W=99999999999999999999:2,",
	}
	for i, name := range odd {
		h.put(name, fmt.Sprintf("Subject: %d\n\n%d\n", i, i))
	}
	h.put("new/.nfs000001", "x")
	h.put("cur/.hidden", "x")
	uidls := func() []string {
		c := h.enter()
		c.say("UIDL", "+OK")
		list := c.rest()
		if len(list) != len(odd) {
			t.Fatalf("%d of %d messages: %q", len(list), len(odd), list)
		}
		var ids []string
		for n, l := range list {
			number, id, _ := strings.Cut(l, " ")
			if number != fmt.Sprint(n+1) || len(id) < 1 || len(id) > 70 || strings.ContainsFunc(id, func(r rune) bool { return r < 0x21 || r > 0x7e }) {
				t.Errorf("unique-id %q", l)
			}
			var octets int
			fmt.Sscanf(c.say("LIST "+number, "+OK"), "+OK %d %d", &n, &octets)
			c.say("RETR "+number, "+OK")
			if text := strings.Join(c.rest(), "\r\n") + "\r\n"; len(text) != octets {
				t.Errorf("%q has %d octets, LIST says %d", l, len(text), octets)
			}
			ids = append(ids, id)
		}
		c.say("QUIT", "+OK")
		sorted := slices.Sorted(slices.Values(ids))
		if len(slices.Compact(sorted)) != len(odd) {
			t.Errorf("not unique: %q", ids)
		}
		return ids
	}
	before := uidls()
	h.move("new/with space", "cur/with space:2,S") // read by mutt
	h.move("cur/1795321499.flags:2,ZZZ", "cur/1795321499.flags:2,S")
	if after := uidls(); !slices.Equal(slices.Sorted(slices.Values(before)), slices.Sorted(slices.Values(after))) {
		t.Errorf("unique-ids changed:\n%q\n%q", before, after)
	}
}

// Two sessions at once: what one removes is gone for the other, message by message, and numbers stay.
func TestS108TwoSessions(t *testing.T) {
	h := newHouse(t)
	for i := range 4 {
		h.put(fmt.Sprintf("new/%d.x", i+1), fmt.Sprintf("Subject: %d\n\n", i+1))
	}
	a, b := h.enter(), h.enter()
	b.say("LIST", "+OK 4")
	b.rest()
	a.say("DELE 2", "+OK")
	b.say("RETR 2", "+OK") // a mark is not a removal
	b.rest()
	h.move("new/3.x", "cur/3.x:2,S") // and mutt is there as well
	a.say("QUIT", "+OK bye, 1")
	b.say("RETR 2", "-ERR message 2 was removed by another session")
	b.say("RETR 3", "+OK")
	if text := b.rest(); text[0] != "Subject: 3" {
		t.Error(text)
	}
	b.say("DELE 2", "+OK")
	b.say("DELE 3", "+OK")
	b.say("STAT", "+OK 2 ")
	b.say("QUIT", "+OK bye, 1")
	if left := h.names(); !slices.Equal(left, []string{"new/1.x", "new/4.x"}) {
		t.Errorf("left: %q", left)
	}
}

// DELE and then nothing: a dropped connection, a time out and RSET remove no message.
func TestS108DroppedConnection(t *testing.T) {
	h := newHouse(t)
	h.put("new/1.x", "Subject: 1\n\n")
	c := h.enter()
	c.say("DELE 1", "+OK")
	c.Conn.Close()
	c = h.enter()
	c.say("DELE 1", "+OK")
	c.say("RSET", "+OK")
	c.say("QUIT", "+OK bye, 0")
	if left := h.names(); len(left) != 1 {
		t.Errorf("left: %q", left)
	}
}

// lines is a log that can be read while it is written.
type lines struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// S124: what is no regular file is passed over with a line in the log, and nobody waits for it.
func TestS124NotRegular(t *testing.T) {
	h := newHouse(t)
	var log lines
	h.srv.Log.Out = &log
	secret := filepath.Join(t.TempDir(), "secret")
	os.WriteFile(secret, []byte("secret"), 0o600)
	os.Symlink(secret, filepath.Join(h.root, "new/1.link"))
	unix.Mkfifo(filepath.Join(h.root, "cur/2.fifo:2,"), 0o600)
	os.Mkdir(filepath.Join(h.root, "cur/3.dir:2,"), 0o700)
	h.put("new/4.mail", "Subject: 4\n\n")
	os.Link(filepath.Join(h.root, "new/4.mail"), filepath.Join(h.root, "cur/5.linked:2,")) // is normal
	c := h.enter()
	c.say("STAT", "+OK 2 ")
	c.say("DELE 1", "+OK")
	c.say("QUIT", "+OK")
	c.line() // the end of the connection
	for _, name := range []string{"1.link", "2.fifo", "3.dir"} {
		if strings.Count(log.String(), name) != 1 {
			t.Errorf("%s: log is\n%s", name, log.String())
		}
	}
	// It can also come between login and RETR.
	h.put("new/6.mail", "Subject: 6\n\n")
	c = h.enter()
	os.Remove(filepath.Join(h.root, "new/6.mail"))
	os.Symlink(secret, filepath.Join(h.root, "new/6.mail"))
	for _, n := range []string{"1", "2"} {
		if _, err := fmt.Fprintf(c, "RETR %s\r\n", n); err != nil {
			t.Fatal(err)
		}
		if got := c.line(); strings.HasPrefix(got, "+OK") {
			if text := strings.Join(c.rest(), " "); strings.Contains(text, "secret") {
				t.Error(text)
			}
		}
	}
}

// What POP3 removes makes room: maildirsize and the mark for smtpd follow.
func TestQuotaFollows(t *testing.T) {
	h := newHouse(t)
	h.srv.State = t.TempDir()
	os.Mkdir(filepath.Join(h.srv.State, "over"), 0o755)
	over := filepath.Join(h.srv.State, "over", "bob@example.org")
	os.WriteFile(over, []byte("500"), 0o644)
	h.srv.Checker = ward{&domains.Account{User: "bob", Domain: "example.org", Maildir: h.root, Layout: maildir.PlusPlus, Quota: 1000}}
	h.put("new/1.x", strings.Repeat("x", 400)+"\n")
	h.put("new/2.x", strings.Repeat("x", 300)+"\n")
	c := h.enter()
	c.say("DELE 1", "+OK")
	c.say("QUIT", "+OK")
	if _, err := os.Stat(over); err == nil {
		t.Error("still marked")
	}
	if text, _ := os.ReadFile(filepath.Join(h.root, "maildirsize")); string(text) != "1000S\n301 1\n" {
		t.Errorf("maildirsize %q", text)
	}
	os.WriteFile(over, []byte("500"), 0o644)
	h.srv.Checker = ward{&domains.Account{User: "bob", Domain: "example.org", Maildir: h.root, Layout: maildir.PlusPlus, QuotaMessages: 1}}
	c = h.enter()
	c.say("DELE 1", "+OK")
	c.say("QUIT", "+OK")
	if _, err := os.Stat(over); err == nil {
		t.Error("still marked, with room for a message")
	}
}

func TestNotMounted(t *testing.T) {
	h := newHouse(t)
	os.RemoveAll(filepath.Dir(h.root))
	h.srv.Stamp = ".store"
	c := h.dial(true)
	c.line()
	c.say("USER bob", "+OK")
	c.say("PASS secret word", "-ERR [SYS/TEMP]")
	if _, err := os.Stat(filepath.Dir(h.root)); err == nil {
		t.Error("made a mailbox on the wrong disk")
	}
	os.WriteFile(filepath.Join(filepath.Dir(filepath.Dir(h.root)), ".store"), nil, 0o600)
	c.say("USER bob", "+OK")
	c.say("PASS secret word", "+OK")
	c.say("STAT", "+OK 0 0")
}

func TestWireBlocks(t *testing.T) {
	const text = ".a\n..b\r\n\n.\r\nc\r\rd\n.e\r\n\r"
	for cut := 1; cut < len(text); cut++ {
		w := wire{atStart: true, header: true, lines: -1}
		var out []byte
		for at := 0; at < len(text); at += cut {
			out = w.append(out, []byte(text[at:min(at+cut, len(text))]))
		}
		if got := string(w.end(out)); got != "..a\r\n...b\r\n\r\n..\r\nc\r\rd\r\n..e\r\n\r\r\n.\r\n" {
			t.Fatalf("blocks of %d: %q", cut, got)
		}
	}
}

// The server before us gave unique-ids; they stay. What QUIT removes lies in the undelete area.
func TestTakenOverAndUndelete(t *testing.T) {
	h := newHouse(t)
	h.srv.ExpungedDays = 14
	h.put("cur/1.a:2,S", "Subject: 1\n\n")
	h.put("cur/2.b:2,S", "Subject: 2\n\n")
	h.put("cur/3.c:2,S", "Subject: 3\n\n")
	h.put("dovecot-uidlist", "3 V1275660208 N25022 G3085f01b7f11094c501100008c4a11c1\n25006 P0000aaaa :1.a\n25007 P0000aaaa :2.b\n")
	c := h.enter()
	c.say("UIDL", "+OK")
	if got := strings.Join(c.rest(), ";"); got != "1 0000aaaa;2 1275660208.25007;3 3.c" {
		t.Error(got)
	}
	c.say("DELE 2", "+OK")
	c.say("QUIT", "+OK bye, 1")
	if left := h.names(); !slices.Equal(left, []string{"cur/1.a:2,S", "cur/3.c:2,S"}) {
		t.Errorf("left: %q", left)
	}
	if old, _ := filepath.Glob(h.root + ".expunged/*/cur/2.b*"); len(old) != 1 {
		t.Error("not in the undelete area")
	}
	c = h.enter()
	c.say("UIDL", "+OK")
	if got := strings.Join(c.rest(), ";"); got != "1 0000aaaa;2 3.c" {
		t.Error(got)
	}
}
