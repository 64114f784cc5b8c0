package imapd

import (
	"fmt"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"pennypost/imapd/wire"
)

// searchable is an INBOX of messages that differ in what searches ask for.
func searchable(t *testing.T) (root string, srv *Server, c *talker) {
	root, srv = newStore(t)
	for i, m := range []struct{ flags, date, text string }{
		{"", "2030-01-01T12:00:00Z", "From: Alice Adams <alice@example.org>\nTo: bob@example.net\nSubject: Lunch on friday\nDate: Tue, 01 Jan 2030 23:30:00 -0500\nX-Colour: Blue\n\nshall we eat\n"},
		{"S", "2030-01-02T00:00:00Z", "From: bob@example.net\nTo: Alice <alice@example.org>\nCc: carol@example.com\nSubject: Re: Lunch on Friday\nDate: Wed, 02 Jan 2030 10:00:00 +0000\nX-Empty:\n\nYes, the café is =3D open\n"},
		{"FS", "2030-01-03T23:59:59Z", "From: =?utf-8?B?SsO8cmdlbg==?= <j@example.de>\nSubject: =?iso-8859-1?Q?Gr=FC=DFe?=\nContent-Type: text/plain; charset=iso-8859-1\nContent-Transfer-Encoding: quoted-printable\nDate: nonsense\n\nM=FCnchen\n"},
		{"DT", "2030-01-04T10:00:00Z", "Subject: draft\nBcc: dave@example.com\n\n" + strings.Repeat("long line of words\n", 100)},
		{"RT", "2030-01-05T10:00:00Z", "Subject: last\nX-Colour: dark\n blue\n\nlast words\n"},
	} {
		name := fmt.Sprintf("cur/%d.m:2,%s", i+1, m.flags)
		if m.flags == "" { // the recent one
			name = fmt.Sprintf("new/%d.m", i+1)
		}
		put(t, root, name, m.text)
		at, _ := time.Parse(time.RFC3339, m.date)
		os.Chtimes(root+"/"+name, at, at)
	}
	c = talk(t, srv)
	c.say("SELECT INBOX")
	c.say(`STORE 2,4 +FLAGS.SILENT ($Work)`)
	return root, srv, c
}

// RFC 9051 section 6.4.4, RFC 3501 section 6.4.4, RFC 5032, RFC 8514, RFC 8474.
func TestSearchKeys(t *testing.T) {
	_, srv, c := searchable(t)
	for _, test := range []struct{ keys, want string }{
		{"ALL", "1 2 3 4 5"},
		{"SEEN", "2 3"}, {"UNSEEN", "1 4 5"}, {"ANSWERED", "5"}, {"UNANSWERED", "1 2 3 4"}, {"FLAGGED", "3"}, {"UNFLAGGED", "1 2 4 5"},
		{"DELETED", "4 5"}, {"UNDELETED", "1 2 3"}, {"DRAFT", "4"}, {"UNDRAFT", "1 2 3 5"}, {"RECENT", "1"}, {"OLD", "2 3 4 5"}, {"NEW", "1"},
		{"KEYWORD $work", "2 4"}, {"UNKEYWORD $Work", "1 3 5"}, {"KEYWORD unheard", ""}, {"UNKEYWORD unheard", "1 2 3 4 5"}, {"KEYWORD $Forwarded", ""},
		{"2:3", "2 3"}, {"4:*", "4 5"}, {"*", "5"}, {"9:*", "5"}, {"7", ""}, {"UID 2,4:9", "2 4 5"}, {"UID 99:*", "5"}, {"1:3 UNSEEN", "1"},
		{"NOT SEEN", "1 4 5"}, {"NOT NOT SEEN", "2 3"}, {"OR SEEN DRAFT", "2 3 4"}, {"OR SEEN OR DRAFT ANSWERED", "2 3 4 5"}, {"(UNSEEN UNDELETED)", "1"},
		{"NOT (SEEN FLAGGED)", "1 2 4 5"}, {"OR (1 UNSEEN) (5 SEEN)", "1"},
		{"LARGER 1000", "4"}, {"SMALLER 1000", "1 2 3 5"}, {"LARGER 0", "1 2 3 4 5"},
		{"BEFORE 2-Jan-2030", "1"}, {"ON 2-Jan-2030", "2"}, {"SINCE 3-Jan-2030", "3 4 5"}, {`SINCE "3-Jan-2030" BEFORE 5-Jan-2030`, "3 4"},
		{"SENTON 1-Jan-2030", "1"}, {"SENTBEFORE 3-Jan-2030", "1 2"}, {"SENTSINCE 2-Jan-2030", "2"}, // the time zone is disregarded; no Date, no match
		{"YOUNGER 3600", "1 2 3 4 5"}, {"OLDER 3600", ""}, // they come from the future
		{"SAVEDSINCE 1-Jan-2001", "1 2 3 4 5"}, {"SAVEDBEFORE 1-Jan-2001", ""}, {"SAVEDATESUPPORTED", "1 2 3 4 5"}, {"SAVEDON 1-Jan-2001", ""},
		{"FROM alice", "1"}, {"FROM ADAMS", "1"}, {"TO Alice", "2"}, {"CC carol@", "2"}, {"BCC dave", "4"}, {`FROM "jürgen"`, "3"}, {`FROM ""`, "1 2 3"},
		{"SUBJECT lunch", "1 2"}, {`SUBJECT "LUNCH ON F"`, "1 2"}, {`SUBJECT "grüße"`, "3"}, {`SUBJECT ""`, "1 2 3 4 5"},
		{"HEADER X-Colour blue", "1 5"}, {`HEADER X-Colour "dark blue"`, "5"}, {`HEADER x-colour ""`, "1 5"}, {`HEADER X-Empty ""`, "2"}, {`HEADER X-None ""`, ""},
		{`HEADER Subject "re:"`, "2"}, {"HEADER MESSAGE-ID x", ""},
		{"BODY words", "4 5"}, {"BODY last", "5"}, {"TEXT last", "5"}, {"BODY subject", ""}, {"TEXT subject", "1 2 3 4 5"}, {`BODY "münchen"`, "3"},
		{`BODY "CAFÉ"`, "2"}, {`BODY "= open"`, ""}, {`BODY ""`, "1 2 3 4 5"}, {`TEXT "jürgen"`, "3"}, {"NOT BODY words", "1 2 3"}, {"NOT TEXT lunch UNSEEN", "4 5"},
		{"FUZZY SUBJECT \"friday lunch\"", "1 2"}, {"FUZZY BODY last", "5"}, {"FUZZY SEEN", "2 3"},
		{"EMAILID Enone", ""}, {"THREADID T1", ""},
		{`CHARSET UTF-8 SUBJECT "grüße"`, "3"}, {"CHARSET US-ASCII SEEN", "2 3"}, {"CHARSET ISO-8859-1 SUBJECT {5+}\r\ngr\xfc\xdfe", "3"},
		{"OR SUBJECT lunch NOT TEXT line", "1 2 3 5"},
	} {
		want := "* SEARCH"
		if test.want != "" {
			want += " " + test.want
		}
		c.wants("SEARCH "+test.keys, want+"|. OK searched")
	}
	id := c.say("FETCH 3 EMAILID")[0]
	c.wants("SEARCH EMAILID "+id[strings.Index(id, "(E")+10:strings.Index(id, "))")], "* SEARCH 3|. OK searched")
	c.say("ENABLE UTF8=ACCEPT")
	c.wants("SEARCH CHARSET UTF-8 ALL", ". BAD …")
	other := talk(t, srv)
	other.say("ENABLE IMAP4rev2")
	other.say("SELECT INBOX")
	other.wants("SEARCH SEEN", `* ESEARCH (TAG ".") ALL 2:3|. OK searched`)
	other.wants("UID SEARCH CHARSET UTF-8 NOT ALL", `* ESEARCH (TAG ".") UID|. OK searched`)
}

func TestSearchRefusals(t *testing.T) {
	_, _, c := searchable(t)
	for _, test := range []struct{ command, want string }{
		{"SEARCH", ". BAD …"}, {"SEARCH NONSENSE", ". BAD …"}, {"SEARCH ()", ". BAD …"}, {"SEARCH (SEEN", ". BAD …"}, {"SEARCH SEEN)", ". BAD …"},
		{"SEARCH OR SEEN", ". BAD …"}, {"SEARCH NOT", ". BAD …"}, {"SEARCH HEADER X", ". BAD …"}, {"SEARCH BEFORE yesterday", ". BAD …"},
		{"SEARCH ALL CHARSET UTF-8", ". BAD …"}, {"SEARCH YOUNGER 0", ". BAD …"}, {"SEARCH LARGER x", ". BAD …"}, {"SEARCH RETURN (EVERYTHING) ALL", ". BAD …"}, {"SEARCH 0", ". BAD …"},
	} {
		c.wants(test.command, test.want)
		c.say("NOOP")
	}
	c.wants("SEARCH CHARSET X-KLINGON SUBJECT x", ". NO [BADCHARSET (US-ASCII UTF-8 …)] …")
	c.wants("SEARCH RETURN (ALL PARTIAL 1:2) ALL", ". BAD …")
	c.wants("SEARCH RETURN (RELEVANCY) ALL", ". BAD …")
}

// Programs that only cost (S097).
func TestS097SearchDepth(t *testing.T) {
	_, _, c := searchable(t)
	c.wants("SEARCH "+strings.Repeat("NOT ", 10000)+"SEEN", "* SEARCH 2 3|. OK searched")
	c.wants("SEARCH "+strings.Repeat("OR SEEN ", 10000)+"SEEN", ". BAD …")
	c.wants("SEARCH "+strings.Repeat("OR SEEN ", 500)+"DRAFT", "* SEARCH 2 3 4|. OK searched")
	c.wants("SEARCH "+strings.Repeat("OR NOT ", 1000)+"SEEN", ". BAD …")
	c.say("NOOP")
	c.wants("SEARCH "+strings.Repeat("(", 10000)+"SEEN"+strings.Repeat(")", 10000), ". BAD …")
	c.wants("SEARCH "+strings.Repeat("SEEN ", 5000)+"SEEN", ". BAD …")
	c.say("NOOP")
	c.wants("SEARCH "+strings.Repeat("OR ", 3000), ". BAD …")
}

// RFC 4731 section 3.1, RFC 9394 section 3, RFC 7162 section 3.1.5, RFC 6203.
func TestESearch(t *testing.T) {
	_, _, c := searchable(t)
	for _, test := range []struct{ command, want string }{
		{"SEARCH RETURN (MIN MAX COUNT ALL) UNSEEN", `* ESEARCH (TAG ".") MIN 1 MAX 5 COUNT 3 ALL 1,4:5|. OK searched`},
		{"UID SEARCH RETURN () UNSEEN", `* ESEARCH (TAG ".") UID ALL 1,4:5|. OK searched`},
		{"SEARCH RETURN (MIN MAX COUNT ALL) NOT ALL", `* ESEARCH (TAG ".") COUNT 0|. OK searched`},
		{"SEARCH RETURN (MIN) DELETED", `* ESEARCH (TAG ".") MIN 4|. OK searched`},
		{"SEARCH RETURN (MAX) DELETED", `* ESEARCH (TAG ".") MAX 5|. OK searched`},
		{"SEARCH RETURN (MIN MAX) DRAFT", `* ESEARCH (TAG ".") MIN 4 MAX 4|. OK searched`},
		{"SEARCH RETURN (MAX) NOT ALL", `* ESEARCH (TAG ".")|. OK searched`},
		{"SEARCH RETURN (COUNT) TEXT e", `* ESEARCH (TAG ".") COUNT 5|. OK searched`},
		{"SEARCH RETURN (PARTIAL 1:2) ALL", `* ESEARCH (TAG ".") PARTIAL (1:2 1:2)|. OK searched`},
		{"UID SEARCH RETURN (PARTIAL -1:-2 COUNT) ALL", `* ESEARCH (TAG ".") UID COUNT 5 PARTIAL (-1:-2 4:5)|. OK searched`},
		{"SEARCH RETURN (PARTIAL 10:20) ALL", `* ESEARCH (TAG ".") PARTIAL (10:20 NIL)|. OK searched`},
		{"SEARCH RETURN (PARTIAL 2:1) UNSEEN", `* ESEARCH (TAG ".") PARTIAL (1:2 1,4)|. OK searched`},
		{"SEARCH RETURN (ALL RELEVANCY) FUZZY SUBJECT \"on friday\"", `* ESEARCH (TAG ".") ALL 1:2 RELEVANCY (100 100)|. OK searched`},
		{"SEARCH RETURN (ALL RELEVANCY) FUZZY SUBJECT \"friday lunch\"", `* ESEARCH (TAG ".") ALL 1:2 RELEVANCY (50 50)|. OK searched`},
		{"SEARCH MODSEQ 1", `* SEARCH 1 2 3 4 5 (MODSEQ …)|. OK searched`},
		{`SEARCH MODSEQ "/flags/\\draft" all 1 SEEN`, `* SEARCH 2 3 (MODSEQ …)|. OK searched`},
		{"SEARCH MODSEQ 9223372036854775807", `* SEARCH|. OK searched`},
		{"SEARCH RETURN (MIN) MODSEQ 1", `* ESEARCH (TAG ".") MIN 1 MODSEQ …|. OK searched`},
	} {
		c.wants(test.command, test.want)
	}
	c.say(`STORE 3 +FLAGS.SILENT \Answered`)
	all := c.say("SEARCH RETURN (ALL) MODSEQ 1")[0]
	least := c.say("SEARCH RETURN (MIN) MODSEQ 1")[0]
	third := c.say("SEARCH RETURN (ALL) MODSEQ 1 3")[0]
	last := func(l string) string { return l[strings.LastIndexByte(l, ' ')+1:] }
	if last(all) != last(third) || last(least) == last(all) {
		t.Error(all, least, third)
	}
}

// RFC 5182.
func TestSavedResult(t *testing.T) {
	_, srv, c := searchable(t)
	c.wants("UID SEARCH $", "* SEARCH|. OK searched")
	c.wants("SEARCH RETURN (SAVE) DELETED", ". OK searched")
	c.wants("FETCH $ UID", "* 4 FETCH (UID 4)|* 5 FETCH (UID 5)|. OK fetched")
	c.wants("SEARCH $ DRAFT", "* SEARCH 4|. OK searched")
	c.wants("UID SEARCH UID $", "* SEARCH 4 5|. OK searched")
	c.wants("SEARCH RETURN (SAVE MIN) ALL", `* ESEARCH (TAG ".") MIN 1|. OK searched`)
	c.wants("SEARCH $", "* SEARCH 1|. OK searched")
	c.wants("SEARCH RETURN (SAVE MIN MAX COUNT) UNSEEN", `* ESEARCH (TAG ".") MIN 1 MAX 5 COUNT 3|. OK searched`)
	c.wants("SEARCH $", "* SEARCH 1 4 5|. OK searched")
	c.wants("SEARCH RETURN (SAVE PARTIAL -1:-1) $", `* ESEARCH (TAG ".") PARTIAL (-1:-1 5)|. OK searched`)
	c.wants("SEARCH $", "* SEARCH 5|. OK searched")
	c.wants("SEARCH RETURN (SAVE) NONSENSE", ". BAD …") // leaves it alone
	c.wants("SEARCH $", "* SEARCH 5|. OK searched")
	c.wants("SEARCH RETURN (SAVE) CHARSET X-KLINGON TEXT x", ". NO [BADCHARSET …")
	c.wants("SEARCH $", "* SEARCH|. OK searched")
	c.say("SEARCH RETURN (SAVE) ALL")
	other := talk(t, srv)
	other.say("SELECT INBOX")
	other.say("EXPUNGE")
	c.say("NOOP")
	c.wants("UID SEARCH $", "* SEARCH 1 2 3|. OK searched") // what is expunged leaves it
	c.wants(`STORE $ +FLAGS.SILENT \Deleted`, ". OK stored")
	c.wants("MOVE $ Nowhere", ". NO [TRYCREATE] …")
	c.wants("UID EXPUNGE $", "* 3 EXPUNGE|* 2 EXPUNGE|* 1 EXPUNGE|. OK expunged")
	c.say("SELECT INBOX")
	c.wants("SEARCH $", "* SEARCH|. OK searched")
}

// Numbers are those of the client's view while another expunges (RFC 9051 section 7.5.1).
func TestSearchDuringExpunge(t *testing.T) {
	_, srv, c := searchable(t)
	other := talk(t, srv)
	other.say("SELECT INBOX")
	c.say(`STORE 2 +FLAGS.SILENT \Deleted`)
	c.say(`UID EXPUNGE 2`)
	other.say("FETCH 1 UID") // it learns nothing of it
	other.wants("SEARCH DELETED", "* SEARCH 4 5|. OK searched")
	other.wants("SEARCH 2:3", "* SEARCH 3|. OK searched")
	other.wants("SEARCH RETURN (MAX) ALL", `* ESEARCH (TAG ".") MAX 5|. OK searched`)
	other.wants("UID SEARCH DELETED", "* SEARCH 4 5|* 2 EXPUNGE|. OK searched")
	other.wants("SEARCH DELETED", "* SEARCH 3 4|. OK searched")
}

// RFC 9585, and a client that goes away.
func TestLongSearch(t *testing.T) {
	root, srv := newStore(t)
	for i := range 64 {
		put(t, root, fmt.Sprintf("cur/%d.m:2,", i+1), "Subject: x\n\nbody\n")
	}
	c := talk(t, srv)
	c.say("SELECT INBOX")
	defer func(was time.Duration) { progressEvery = was }(progressEvery)
	progressEvery = 0
	got := strings.Join(c.say("SEARCH BODY nothing"), "|")
	progressEvery = time.Hour
	if !like(got, `* OK [INPROGRESS ("." 15 64)] …|* OK [INPROGRESS ("." 63 64)] …|* SEARCH|. OK searched`) {
		t.Error(got)
	}
	ours, theirs := net.Pipe()
	s := &session{srv: srv, conn: theirs, ctx: t.Context(), state: selectedState}
	s.newReader(theirs)
	if s.abandoned() {
		t.Error("a silent client is gone")
	}
	go ours.Write([]byte("x NOOP\r\n"))
	for s.reader.Buffered() == 0 {
		if s.abandoned() {
			t.Error("a client that talks is gone")
		}
	}
	if next, err := s.reader.Next(nil, nil); err != nil || string(next.Text) != "x NOOP" {
		t.Errorf("%q, %v", next.Text, err)
	}
	ours.Close()
	if !s.abandoned() {
		t.Error("a client that is gone is not")
	}
}

// RFC 9586 section 3, and with it RFC 10022.
func TestUIDOnlySearch(t *testing.T) {
	_, _, c := searchable(t)
	c.say("ENABLE UIDONLY")
	c.wants("SEARCH ALL", ". BAD [UIDREQUIRED] …")
	c.wants("SORT (DATE) UTF-8 ALL", ". BAD [UIDREQUIRED] …")
	c.wants("THREAD REFERENCES UTF-8 ALL", ". BAD [UIDREQUIRED] …")
	c.wants("UID SEARCH 1:2", ". BAD [UIDREQUIRED] …")
	c.say("NOOP")
	c.wants("UID SEARCH UID 1:2", "* SEARCH 1 2|. OK searched")
}

func TestUIDBatches(t *testing.T) {
	root, srv := newStore(t)
	c := talk(t, srv)
	c.say("SELECT INBOX")
	c.wants("UIDBATCHES 500", `* UIDBATCHES (TAG ".")|. OK batches`)
	for i := range 1201 {
		put(t, root, fmt.Sprintf("cur/%d.m:2,", i+1), "x\n")
	}
	c.say("NOOP")
	c.say(`UID STORE 3,700:702,1201 +FLAGS.SILENT \Deleted`)
	c.say("EXPUNGE")
	for _, test := range []struct{ command, want string }{
		{"UIDBATCHES 500", `* UIDBATCHES (TAG ".") 1200:698,697:198,197:1|. OK batches`},
		{"UIDBATCHES 500 2:3", `* UIDBATCHES (TAG ".") 697:198,197:1|. OK batches`},
		{"UIDBATCHES 500 3:9", `* UIDBATCHES (TAG ".") 197:1|. OK batches`},
		{"UIDBATCHES 500 4:9", `* UIDBATCHES (TAG ".")|. OK batches`},
		{"UIDBATCHES 5000 1:1", `* UIDBATCHES (TAG ".") 1200:1|. OK batches`},
		{"UIDBATCHES 10", ". NO [TOOFEW] …"}, {"UIDBATCHES 500 3:2", ". BAD [CLIENTBUG] …"}, {"UIDBATCHES 500 0:2", ". BAD …"}, {"UIDBATCHES x", ". BAD …"},
	} {
		c.wants(test.command, test.want)
	}
}

// RFC 7377.
func TestMultiSearch(t *testing.T) {
	root, _, c := searchable(t)
	for _, name := range []string{"Work", "Work.Old", "Work.Old.Older", "Empty"} {
		for _, dir := range []string{"cur", "new", "tmp"} {
			os.MkdirAll(root+"/."+name+"/"+dir, 0o700)
		}
	}
	put(t, root, ".Work/cur/1.w:2,S", "Subject: lunch at work\n\nx\n")
	put(t, root, ".Work/cur/2.w:2,", "Subject: other\n\nx\n")
	put(t, root, ".Work.Old/cur/1.o:2,S", "Subject: lunch long ago\n\nx\n")
	put(t, root, ".Work.Old.Older/cur/1.p:2,S", "Subject: lunch longer ago\n\nx\n")
	inbox, work, old, older := `* ESEARCH (TAG ".") UID ALL 1:2|`, `* ESEARCH (TAG "." MAILBOX Work UIDVALIDITY …) UID ALL 1|`, `* ESEARCH (TAG "." MAILBOX Work/Old UIDVALIDITY …) UID ALL 1|`,
		`* ESEARCH (TAG "." MAILBOX Work/Old/Older UIDVALIDITY …) UID ALL 1|`
	named := `* ESEARCH (TAG "." MAILBOX INBOX UIDVALIDITY …) UID ALL 1:2|`
	for _, test := range []struct{ command, want string }{
		{`ESEARCH SUBJECT lunch`, inbox},
		{`ESEARCH IN (selected) SUBJECT lunch`, named},
		{`ESEARCH IN (personal) SUBJECT lunch`, named + work + old + older},
		{`ESEARCH IN (inboxes) SUBJECT lunch`, named},
		{`ESEARCH IN (subtree Work) SUBJECT lunch`, work + old + older},
		{`ESEARCH IN (subtree-one Work) SUBJECT lunch`, work + old},
		{`ESEARCH IN (mailboxes (Work/Old Work Nowhere) subtree Work/Old) SUBJECT lunch`, work + old + older},
		{`ESEARCH IN (mailboxes Empty) ALL`, ""},
		{`ESEARCH IN (subscribed) ALL`, ""},
		{`ESEARCH IN (mailboxes Work) RETURN (COUNT MIN) UNSEEN`, `* ESEARCH (TAG "." MAILBOX Work UIDVALIDITY …) UID MIN 2 COUNT 1|`},
	} {
		c.wants(test.command, test.want+". OK searched")
	}
	c.wants(`ESEARCH IN (personal) RETURN (SAVE) ALL`, ". BAD …")
	c.wants(`ESEARCH IN (personal) 1:2`, ". BAD …")
	c.wants(`ESEARCH IN () ALL`, ". BAD …")
	c.wants(`ESEARCH IN (selected) RETURN (SAVE) SEEN`, ". OK searched")
	c.wants(`UID SEARCH $`, "* SEARCH 2 3|. OK searched")
	c.say("UNSELECT")
	c.wants(`ESEARCH IN (mailboxes Work) SUBJECT lunch`, work+". OK searched")
	c.wants(`ESEARCH SUBJECT lunch`, ". BAD …")
}

// A search in the text of a large folder: the same with a filter and without.
func TestSearchWithFilter(t *testing.T) {
	root, srv := newStore(t)
	for i := range 2100 {
		put(t, root, fmt.Sprintf("cur/%d.m:2,", i+1), fmt.Sprintf("Subject: n\n\nmessage number%dx\n", i+1))
	}
	c := talk(t, srv)
	c.say("SELECT INBOX")
	c.wants("SEARCH BODY number777x", "* SEARCH 777|. OK searched")
	made := func() { // the filter, behind the search
		for range 1000 {
			if _, err := os.Stat(root + "/mb-fts"); err == nil {
				break
			}
			time.Sleep(10 * time.Millisecond)
		}
	}
	made()
	c.wants("SEARCH BODY NUMBER777x", "* SEARCH 777|. OK searched")
	c.wants("SEARCH RETURN (COUNT) NOT TEXT number777x", `* ESEARCH (TAG ".") COUNT 2099|. OK searched`)
	put(t, root, "cur/new.m:2,", "Subject: n\n\nlast number777x\n")
	c.say("NOOP")
	c.wants("UID SEARCH OR BODY number777x BODY number3x", "* SEARCH 3 777 2101|. OK searched")
	os.Remove(root + "/mb-fts")
	c.wants("UID SEARCH OR BODY number777x BODY number3x", "* SEARCH 3 777 2101|. OK searched")
	made()
}

// FETCH that only costs (S098).
func TestS098FetchBounds(t *testing.T) {
	_, _, c := searchable(t)
	c.wants("FETCH 1 BODY.PEEK[]<4294967295.4294967295>", `* 1 FETCH (BODY[]<4294967295> "")|. OK fetched`)
	c.wants("FETCH 1 BODY.PEEK[TEXT]<2.4294967295>", "* 1 FETCH (BODY[TEXT]<2> {12}|all we eat|)|. OK fetched")
	c.wants("FETCH 1 ("+strings.Repeat("BODY.PEEK[] ", 2000)+"UID)", ". BAD …")
}

func FuzzSearchProgram(f *testing.F) {
	for _, seed := range []string{"CHARSET UTF-8 OR SEEN NOT (SUBJECT x 1:*)", `HEADER "a" {1+}` + "\r\nx FUZZY TEXT \"a b\"", "MODSEQ \"/flags/x\" all 1 $ UID $", "OR OR OR SEEN SEEN SEEN SEEN"} {
		f.Add(seed)
	}
	s := &session{}
	f.Fuzz(func(t *testing.T, text string) {
		c := &command{Decoder: wire.NewDecoder([]byte(text), afterLimits.Depth)}
		p := s.parseProgram(c)
		var count func(k *key, depth int) int
		count = func(k *key, depth int) (n int) {
			if depth > 3*afterLimits.Depth {
				t.Fatal("too deep")
			}
			for _, kid := range k.kids {
				n += count(kid, depth+1)
			}
			return n + 1
		}
		if c.Err() == nil && count(p.root, 0) > 50*mostKeys {
			t.Fatal("too many keys")
		}
	})
}
