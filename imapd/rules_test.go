package imapd

import (
	"fmt"
	"io"
	"os"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"pennypost/maildir/mailbox"
)

// Match data of many millions of numbers is looked at as far as the mailbox goes (S096; RFC 7162 section 3.2.5.2).
func TestS096MatchData(t *testing.T) {
	_, _, c := five(t)
	c.say("ENABLE QRESYNC")
	validity := after(t, strings.Join(c.say("SELECT INBOX"), "|"), "UIDVALIDITY ")
	var before, now runtime.MemStats
	runtime.ReadMemStats(&before)
	c.wants("SELECT INBOX (QRESYNC ("+validity+" 1 (1:200000000 1:200000000)))", "…. OK [READ-WRITE] selected")
	runtime.ReadMemStats(&now)
	if got := now.TotalAlloc - before.TotalAlloc; got > 16<<20 {
		t.Errorf("%d MiB were allocated", got>>20)
	}
}

// after is the word that follows in a text.
func after(t *testing.T, text, key string) string {
	t.Helper()
	_, rest, ok := strings.Cut(text, key)
	end := strings.IndexAny(rest, " ])")
	if !ok || end < 0 {
		t.Fatalf("no %s in %s", key, text)
	}
	return rest[:end]
}

// What makes a session one that hears mod-sequences, and that it does from then on, of changes that others make; RFC 7162 sections 3.1 and 3.2.4.
func TestCondstoreBegins(t *testing.T) {
	for _, row := range []struct{ say, told string }{
		{"NOOP", `* 2 FETCH (FLAGS (\Flagged))`},
		{"SELECT INBOX (CONDSTORE)", `* 2 FETCH (FLAGS (\Flagged) MODSEQ (…))`},
		{"STATUS INBOX (HIGHESTMODSEQ)", `* 2 FETCH (FLAGS (\Flagged) MODSEQ (…))`},
		{"FETCH 1 (MODSEQ)", `* 2 FETCH (FLAGS (\Flagged) MODSEQ (…))`},
		{"FETCH 1 FLAGS (CHANGEDSINCE 1)", `* 2 FETCH (FLAGS (\Flagged) MODSEQ (…))`},
		{`STORE 1 (UNCHANGEDSINCE 1) +FLAGS \Seen`, `* 2 FETCH (FLAGS (\Flagged) MODSEQ (…))`},
		{"SEARCH MODSEQ 1", `* 2 FETCH (FLAGS (\Flagged) MODSEQ (…))`},
		{"ENABLE CONDSTORE", `* 2 FETCH (FLAGS (\Flagged) MODSEQ (…))`},
		{"ENABLE QRESYNC", `* 2 FETCH (UID 2 FLAGS (\Flagged) MODSEQ (…))`},
		{"ENABLE UIDONLY", `* 2 UIDFETCH (FLAGS (\Flagged))`},
	} {
		root, _, c := five(t)
		if got := c.say("%s", row.say); !strings.HasPrefix(got[len(got)-1], ". OK") {
			t.Errorf("%s: %s", row.say, got)
		}
		if err := os.Rename(root+"/cur/2.m:2,", root+"/cur/2.m:2,F"); err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(c.say("NOOP"), "|"); !like(got, row.told+"|. OK done") {
			t.Errorf("%s: %s", row.say, got)
		}
	}
}

// The macros, with times; RFC 3501 section 6.4.5, RFC 8514 section 4.2.
func TestMacros(t *testing.T) {
	_, _, c := five(t)
	c.wants("FETCH 1 FAST", `* 1 FETCH (FLAGS () INTERNALDATE "…" RFC822.SIZE 22)|. OK fetched`)
	c.wants("FETCH 1 all", `* 1 FETCH (FLAGS () INTERNALDATE "…" RFC822.SIZE 22 ENVELOPE (NIL "1" NIL NIL NIL NIL NIL NIL NIL NIL))|. OK fetched`)
	c.wants("FETCH 1 Full", `* 1 FETCH (FLAGS () INTERNALDATE "…" RFC822.SIZE 22 ENVELOPE (…) BODY ("TEXT" "PLAIN" …))|. OK fetched`)
	c.wants("FETCH 1 SAVEDATE", `* 1 FETCH (SAVEDATE "…")|. OK fetched`)
	c.wants("FETCH 1:5 (SAVEDATE BODY.PEEK[]<0.3>)", `* 1 FETCH (SAVEDATE "…" BODY[]<0> {3}|Sub)|…. OK fetched`)
}

// A mailbox that is made again has a higher UIDVALIDITY, at once, and what UIDs it gave before it gives again only under that; RFC 9051 section 2.3.1.1.
func TestUIDValidityGrows(t *testing.T) {
	_, srv := newStore(t)
	c := talk(t, srv)
	last := 0
	for i := range 5 {
		c.wants("CREATE Box", ". OK …")
		n, err := strconv.Atoi(after(t, c.say("STATUS Box (UIDVALIDITY)")[0], "UIDVALIDITY "))
		if err != nil || n <= last || n >= 1<<32 {
			t.Errorf("UIDVALIDITY %d after %d", n, last)
		}
		last = n
		if i%2 == 0 {
			c.wants("RENAME Box "+fmt.Sprint("Old", i), ". OK …")
		} else {
			c.wants("DELETE Box", ". OK …")
		}
	}
}

// When the account has as many keywords as there can be, PERMANENTFLAGS loses \*, and one more is refused; RFC 9051 section 7.1.
func TestKeywordsFull(t *testing.T) {
	_, _, c := five(t)
	for i := range mailbox.MaxKeywords {
		c.say("STORE 1 +FLAGS.SILENT (word%d)", i)
	}
	c.wants("STORE 1 +FLAGS (one-more)", ". NO [LIMIT] …")
	c.wants("STORE 2 +FLAGS.SILENT (word57)", ". OK stored")
	if got := strings.Join(c.say("SELECT INBOX"), "|"); strings.Contains(got, `\*`) || !strings.Contains(got, "word57)] ") {
		t.Error(got)
	}
	c.wants("SEARCH KEYWORD word57", "* SEARCH 1 2|. OK searched")
	c.wants("SEARCH KEYWORD one-more", "* SEARCH|. OK searched")
}

// Who says nothing for as long as we wait, in a command, between two, or in IDLE, hears BYE before the connection is closed; RFC 9051 section 5.4.
func TestAutologout(t *testing.T) {
	for _, say := range []string{"", "a NOO", "a APPEND INBOX {10+}\r\nab", "a IDLE\r\n", "a NOTIFY SET (selected (MessageNew MessageExpunge))\r\n"} {
		_, srv := newStore(t)
		srv.IdleTime = 50 * time.Millisecond
		c := talk(t, srv)
		if strings.Contains(say, "APPEND") {
			appendSilence, say = 50*time.Millisecond, say+"c"
			defer func() { appendSilence = 5 * time.Minute }()
		}
		if say != "" {
			io.WriteString(c.conn, say)
		}
		rest, _ := io.ReadAll(c.in)
		if !strings.Contains(string(rest), "* BYE ") || !strings.HasSuffix(string(rest), "\r\n") {
			t.Errorf("%q: %q", say, rest)
		}
	}
}

// A LIST of more patterns than anybody needs is refused (S102).
func TestS102ManyPatterns(t *testing.T) {
	_, srv := newStore(t)
	c := talk(t, srv)
	c.wants(`LIST "" (`+strings.Repeat("x ", mostPatterns-1)+"INBOX)", `* LIST (\HasNoChildren) "/" INBOX|. OK listed`)
	c.wants(`LIST "" (`+strings.Repeat("x ", mostPatterns)+"INBOX)", ". BAD …")
}
