package imapd

import (
	"runtime"
	"strings"
	"testing"
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
