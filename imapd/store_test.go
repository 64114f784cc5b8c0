package imapd

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

// five is an INBOX of five messages, n of them seen.
func five(t *testing.T) (root string, srv *Server, c *talker) {
	root, srv = newStore(t)
	for i := range 5 {
		put(t, root, fmt.Sprintf("cur/%d.m:2,", i+1), fmt.Sprintf("Subject: %d\n\nbody %d\n", i+1, i+1))
	}
	c = talk(t, srv)
	c.say("SELECT INBOX")
	return root, srv, c
}

// RFC 9051 section 6.4.6.
func TestStore(t *testing.T) {
	_, _, c := five(t)
	c.wants(`STORE 1:2 +FLAGS (\Seen)`, `* 1 FETCH (FLAGS (\Seen))|* 2 FETCH (FLAGS (\Seen))|. OK stored`)
	c.wants(`STORE 1 +FLAGS \Seen`, `* 1 FETCH (FLAGS (\Seen))|. OK stored`) // nothing changes, and it is said
	c.wants(`STORE 1 FLAGS (\Flagged $Work)`, `* FLAGS (…$Work)|* OK [PERMANENTFLAGS (…$Work \*)]…|* 1 FETCH (FLAGS (\Flagged $Work))|. OK stored`)
	c.wants(`STORE 1 -FLAGS.SILENT \Flagged`, `. OK stored`)
	c.wants(`STORE 1 +FLAGS \Recent`, `* 1 FETCH (FLAGS ($Work))|. OK stored`)
	c.wants(`STORE 1 +FLAGS \Nonsense`, `. BAD …`)
	c.wants(`STORE 6 +FLAGS \Seen`, `. BAD …`)
	c.wants(`UID STORE 5:99 +FLAGS \Deleted`, `* 5 FETCH (UID 5 FLAGS (\Deleted))|. OK stored`)
	c.wants(`UID STORE 77 +FLAGS \Seen`, `. OK stored`)
	c.wants(`UID STORE 1:4294967295 FLAGS.SILENT ()`, `. OK stored`)
	c.wants(`FETCH 1:* FLAGS`, `* 1 FETCH (FLAGS ())|…|* 5 FETCH (FLAGS ())|. OK fetched`)
	c.wants(`STORE 1 FLAGS`, `. BAD …`)
	c.wants(`STORE 1 FLAGZ (\Seen)`, `. BAD …`)
	c.say("EXAMINE INBOX")
	c.wants(`STORE 1 +FLAGS \Seen`, `. NO [READ-ONLY] …`)
}

// A silent store hides its own change and no other's.
func TestSilentStoreShowsOthers(t *testing.T) {
	root, _, c := five(t)
	os.Rename(root+"/cur/2.m:2,", root+"/cur/2.m:2,R")
	c.wants(`STORE 1:2 +FLAGS.SILENT \Flagged`, `* 2 FETCH (FLAGS (\Answered \Flagged))|. OK stored`)
}

// RFC 7162 section 3.1.3.
func TestConditionalStore(t *testing.T) {
	_, srv, c := five(t)
	other := talk(t, srv)
	other.say("SELECT INBOX")
	c.say("FETCH 1 (MODSEQ)")
	since := modseqOf(t, c.say("FETCH 1 (MODSEQ)")[0])
	other.say(`STORE 2 +FLAGS \Answered`)
	got := c.say(`STORE 1:3 (UNCHANGEDSINCE %s) +FLAGS.SILENT (\Flagged)`, since)
	if len(got) != 4 || !strings.HasPrefix(got[3], ". OK [MODIFIED 2] ") || !like(got[0], `* 1 FETCH (MODSEQ (…))`) || !like(got[1], `* 2 FETCH (FLAGS (\Answered) MODSEQ (…))`) && !like(got[1], `* 2 FETCH (FLAGS (\Answered \Recent) MODSEQ (…))`) {
		t.Error(strings.Join(got, "\n"))
	}
	c.wants(`UID STORE 4 (UNCHANGEDSINCE 0) +FLAGS (\Seen)`, `* 4 FETCH (UID 4 FLAGS () MODSEQ (…))|. OK [MODIFIED 4] …`)
	c.wants(`STORE 4 (UNCHANGEDSINCE 0) +FLAGS.SILENT ($New)`, `* FLAGS …|* 4 FETCH (MODSEQ (…))|. OK stored`)
	c.wants(`STORE 4:5 (UNCHANGEDSINCE 0) +FLAGS.SILENT ($New)`, `* 5 FETCH (MODSEQ (…))|. OK [MODIFIED 4] …`)
	before := modseqOf(t, c.say("FETCH 5 (MODSEQ)")[0])
	c.say(`STORE 5 +FLAGS ($New)`) // changes nothing, section 3.1.11
	if after := modseqOf(t, c.say("FETCH 5 (MODSEQ)")[0]); after != before {
		t.Errorf("MODSEQ %s, then %s", before, after)
	}
}

func modseqOf(t *testing.T, line string) string {
	_, rest, ok := strings.Cut(line, "MODSEQ (")
	n, _, _ := strings.Cut(rest, ")")
	if !ok {
		t.Fatal(line)
	}
	return n
}

// RFC 9051 section 6.4.3, RFC 4315 section 2.1, RFC 7162 section 3.2.7.
func TestExpunge(t *testing.T) {
	_, srv, c := five(t)
	other := talk(t, srv)
	other.say("ENABLE QRESYNC")
	other.say("SELECT INBOX")
	c.say(`STORE 1,3,5 +FLAGS.SILENT \Deleted`)
	c.wants(`UID EXPUNGE 1:2`, `* 1 EXPUNGE|. OK expunged`)
	c.wants(`EXPUNGE`, `* 4 EXPUNGE|* 2 EXPUNGE|. OK expunged`)
	c.wants(`EXPUNGE`, `. OK expunged`)
	other.say(`FETCH 1 FLAGS`)
	other.wants(`FETCH 1 FLAGS`, `. NO [EXPUNGEISSUED] …`) // it keeps its number until it was told
	other.wants(`FETCH 2 UID`, `* 2 FETCH (UID 2)|. OK fetched`)
	other.wants(`STORE 1:2 +FLAGS.SILENT \Deleted`, `* 2 FETCH (UID 2 MODSEQ (…))|. NO [EXPUNGEISSUED] …`)
	other.wants(`COPY 1:2 INBOX`, `* VANISHED 1,3,5|. NO [EXPUNGEISSUED] …`)
	other.wants(`NOOP`, `. OK done`)
	other.wants(`EXPUNGE`, `* VANISHED 2|. OK [HIGHESTMODSEQ …] expunged`)
}

// RFC 4315 section 3, RFC 6851, RFC 9051 section 6.4.7.
func TestCopyMove(t *testing.T) {
	root, _, c := five(t)
	c.wants(`COPY 1 Nowhere`, `. NO [TRYCREATE] …`)
	os.MkdirAll(root+"/.Work/cur", 0o700)
	os.Mkdir(root+"/.Work/new", 0o700)
	os.Mkdir(root+"/.Work/tmp", 0o700)
	c.wants(`COPY 5,2:3 Work`, `. OK [COPYUID … 2:3,5 1:3] copied`)
	c.wants(`UID COPY 99 Work`, `. OK nothing to copy`)
	c.wants(`UID MOVE 4,1 Work`, `* OK [COPYUID … 1,4 4:5] moved|* 4 EXPUNGE|* 1 EXPUNGE|. OK moved`)
	c.wants(`MOVE 1 INBOX`, `* OK [COPYUID … 2 6] moved|* 1 EXPUNGE|* 3 EXISTS|* 1 RECENT|. OK moved`)
	c.wants(`COPY 1 INBOX`, `* 4 EXISTS|* 2 RECENT|. OK [COPYUID … 3 7] copied`)
	c.say("ENABLE QRESYNC")
	c.wants(`MOVE 1 Work`, `* OK [COPYUID … 3 6] moved|* VANISHED 3|. OK [HIGHESTMODSEQ …] moved`)
	c.say("EXAMINE INBOX")
	c.wants(`MOVE 1 Work`, `. NO [READ-ONLY] …`)
}

// RFC 9586 section 3.
func TestUIDOnly(t *testing.T) {
	_, _, c := five(t)
	c.say("ENABLE UIDONLY")
	for _, command := range []string{`FETCH 1 FLAGS`, `STORE 1 +FLAGS \Seen`, `COPY 1 INBOX`, `MOVE 1 INBOX`} {
		c.wants(command, `. BAD [UIDREQUIRED] …`)
	}
	c.wants(`UID STORE 2 +FLAGS (\Deleted)`, `* 2 UIDFETCH (FLAGS (\Deleted))|. OK stored`)
	c.wants(`EXPUNGE`, `* VANISHED 2|. OK expunged`)
}
