package imapd

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"
)

// RFC 5256 section 3 and the examples of its BASE.6.4.SORT, RFC 5957, RFC 5267 section 3.
func TestSort(t *testing.T) {
	root, srv := newStore(t)
	for i, m := range []struct{ received, from, to, subject, date, body string }{
		{"2030-01-05", `"Zoe" <anna@example.org>`, "x@example.org", "b", "Sat, 5 Jan 2030 10:00:00 +0000", "22"},
		{"2030-01-04", "bob@example.org", `"Alice" <z@example.org>`, "Re: a", "Sat, 5 Jan 2030 11:00:00 +0200", "1"},
		{"2030-01-03", "Adam <carl@example.org>", "m@example.org", "A", "", "333"},
		{"2030-01-02", "", "", "[list] b (fwd)", "Sun, 6 Jan 2030 00:00:00 +0000", "1"},
	} {
		text := ""
		for _, f := range [][2]string{{"From", m.from}, {"To", m.to}, {"Cc", m.to}, {"Subject", m.subject}, {"Date", m.date}} {
			if f[1] != "" {
				text += f[0] + ": " + f[1] + "\n"
			}
		}
		for len(text) < 200 {
			text += "X-Pad: 0\n"
		}
		name := fmt.Sprintf("cur/%d.m:2,", i+1)
		put(t, root, name, text[:200]+"\n\n"+strings.Repeat(m.body, 100)+"\n")
		at, _ := time.Parse("2006-01-02", m.received)
		os.Chtimes(root+"/"+name, at, at)
	}
	c := talk(t, srv)
	c.say("SELECT INBOX")
	for _, test := range []struct{ criteria, want string }{
		{"ARRIVAL", "4 3 2 1"}, {"REVERSE ARRIVAL", "1 2 3 4"}, {"DATE", "3 2 1 4"}, {"REVERSE DATE", "4 1 2 3"},
		{"FROM", "4 1 2 3"}, {"DISPLAYFROM", "4 3 2 1"}, {"TO", "4 3 1 2"}, {"CC", "4 3 1 2"}, {"DISPLAYTO", "4 2 3 1"},
		{"SUBJECT", "2 3 1 4"}, {"SUBJECT REVERSE ARRIVAL", "2 3 1 4"}, {"SUBJECT ARRIVAL", "3 2 4 1"}, {"REVERSE SUBJECT", "1 4 2 3"}, // REVERSE is of the next key, and equal stays equal
		{"SIZE", "2 4 1 3"}, {"REVERSE SIZE DATE", "3 1 4 2"},
	} {
		c.wants("SORT ("+test.criteria+") UTF-8 ALL", "* SORT "+test.want+"|. OK sorted")
	}
	for _, test := range []struct{ command, want string }{
		{"SORT (DATE) UTF-8 NOT ALL", "* SORT|. OK sorted"},
		{"UID SORT (ARRIVAL) US-ASCII 1:2", "* SORT 2 1|. OK sorted"},
		{"SORT RETURN (ALL COUNT MIN MAX) (ARRIVAL) UTF-8 2:4", `* ESEARCH (TAG ".") MIN 2 MAX 4 COUNT 3 ALL 4,3,2|. OK sorted`},
		{"SORT RETURN () (REVERSE ARRIVAL) UTF-8 ALL", `* ESEARCH (TAG ".") ALL 1:4|. OK sorted`},
		{"UID SORT RETURN (PARTIAL 2:3) (ARRIVAL) UTF-8 ALL", `* ESEARCH (TAG ".") UID PARTIAL (2:3 3,2)|. OK sorted`},
		{"SORT (ARRIVAL) UTF-8 MODSEQ 1", `* SORT 4 3 2 1 (MODSEQ …)|. OK sorted`},
		{"SORT (RELEVANCY) UTF-8 ALL", ". BAD …"},
		{`SORT (RELEVANCY ARRIVAL) UTF-8 FUZZY TEXT "re: a"`, `* SORT 2|. OK sorted`},
		{"SORT RETURN (SAVE) (DATE) UTF-8 1:2", ". OK sorted"},
		{"SEARCH $", "* SEARCH 1 2|. OK searched"},
		{"SORT () UTF-8 ALL", ". BAD …"}, {"SORT (NAME) UTF-8 ALL", ". BAD …"}, {"SORT (DATE) ALL", ". BAD …"}, {"SORT (DATE) X-KLINGON ALL", ". NO [BADCHARSET …"},
		{"SORT (" + strings.Repeat("DATE ", 50) + "DATE) UTF-8 ALL", ". BAD …"},
	} {
		c.wants(test.command, test.want)
	}
}

// threads is an INBOX of messages given as "id: refs; subject", a minute after the other.
func threads(t *testing.T, list ...string) *talker {
	t.Helper()
	root, srv := newStore(t)
	for i, m := range list {
		id, rest, _ := strings.Cut(m, ": ")
		refs, subject, _ := strings.Cut(rest, ";")
		text := fmt.Sprintf("Date: Tue, 1 Jan 2030 10:%02d:00 +0000\n", i)
		if id != "" {
			text += "Message-ID: <" + id + ">\n"
		}
		if refs != "" {
			text += "References: <" + strings.ReplaceAll(refs, " ", "> <") + ">\n"
		}
		put(t, root, fmt.Sprintf("cur/%d.m:2,", i+1), text+"Subject: "+strings.TrimSpace(subject)+"\n\nx\n")
	}
	c := talk(t, srv)
	c.say("SELECT INBOX")
	return c
}

// RFC 5256 section 3, BASE.6.4.THREAD.
func TestThread(t *testing.T) {
	for _, test := range []struct {
		name, how string
		messages  []string
		want      string
	}{
		{"nothing", "REFERENCES", nil, "* THREAD"},
		{"one after the other", "REFERENCES", []string{"a: ;x", "b: a;Re: x", "c: a b;Re: x"}, "* THREAD (1 2 3)"},
		{"branches", "REFERENCES", []string{"a: ;x", "b: a;Re: x", "c: a;Re: x", "d: a c;Re: x", "e: a b;Re: x"}, "* THREAD (1 (2 5)(3 4))"},
		{"children come first", "REFERENCES", []string{"c: a b;Re: x", "b: a;Re: x", "a: ;x"}, "* THREAD (3 2 1)"},
		{"a missing message between", "REFERENCES", []string{"a: ;x", "c: a b;Re: x"}, "* THREAD (1 2)"},
		{"a missing root of one", "REFERENCES", []string{"b: a;y"}, "* THREAD (1)"},
		{"a missing root of two", "REFERENCES", []string{"b: a;y", "c: a;z"}, "* THREAD ((1)(2))"},
		{"gathered by subject, the original known", "REFERENCES", []string{"a: ;x", "b: ;Re: x"}, "* THREAD (1 2)"},
		{"gathered by subject, both replies", "REFERENCES", []string{"a: ;Re: x", "b: ;Re: x"}, "* THREAD ((1)(2))"},
		{"gathered by subject, three", "REFERENCES", []string{"a: ;Re: x", "b: ;Re: x", "c: ;Re: x"}, "* THREAD ((1)(2)(3))"},
		{"the reply came first", "REFERENCES", []string{"a: ;Re: x", "b: ;x"}, "* THREAD (2 1)"},
		{"no subject is none in common", "REFERENCES", []string{"a: ;", "b: ;"}, "* THREAD (1)(2)"},
		{"a loop", "REFERENCES", []string{"a: b;x", "b: a;y"}, "* THREAD (2 1)"},
		{"a loop through others", "REFERENCES", []string{"a: ;w", "b: a c;x", "c: b;y"}, "* THREAD (1)(3 2)"},
		{"what others say of its references", "REFERENCES", []string{"c: a b;x", "b: ;y", "a: ;z"}, "* THREAD (2 1)(3)"},
		{"a reference to itself", "REFERENCES", []string{"a: a;x"}, "* THREAD (1)"},
		{"two with one id", "REFERENCES", []string{"a: ;x", "a: ;y", "b: a;z"}, "* THREAD (1 3)(2)"},
		{"no ids", "REFERENCES", []string{": ;x", ": ;y"}, "* THREAD (1)(2)"},
		{"REFS does not look at subjects", "REFS", []string{"a: ;x", "b: ;Re: x", "c: a;Re: x"}, "* THREAD (2)(1 3)"},
		{"ORDEREDSUBJECT", "ORDEREDSUBJECT", []string{"a: ;x", "b: ;y", "c: ;Re: x", "d: ;x (fwd)", "e: ;Fwd: y"}, "* THREAD (1 (3)(4))(2 5)"},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := threads(t, test.messages...)
			c.wants("THREAD "+test.how+" UTF-8 ALL", test.want+"|. OK threaded")
		})
	}
	c := threads(t, "a: ;x", "b: a;Re: x", "c: a;Re: x")
	c.say(`STORE 1 +FLAGS.SILENT \Deleted`)
	c.say("EXPUNGE")
	c.wants("THREAD REFERENCES UTF-8 ALL", "* THREAD ((1)(2))|. OK threaded")
	c.wants("UID THREAD REFERENCES UTF-8 SUBJECT x UID 3", "* THREAD (3)|. OK threaded")
	c.wants("THREAD NONSENSE UTF-8 ALL", ". BAD …")
	c.wants("THREAD REFERENCES X-KLINGON ALL", ". NO [BADCHARSET …")
}

// A thread as deep as the mailbox is long, and references as many as there can be.
func TestThreadDeep(t *testing.T) {
	th := &threading{ids: map[uint64]int32{}, most: 1 << 20}
	const n = 200000
	hits := make([]hit, n)
	for i := range n {
		at := th.message(int32(i), uint64(i+1))
		th.nodes[at].sent = int64(i)
		hits[i] = hit{uid: uint32(i + 1), number: uint32(i + 1)}
		if i > 0 {
			th.refer(at, []byte{byte(i), byte(i >> 8), byte(i >> 16), 0, 0, 0, 0, 0})
		}
	}
	roots := th.prune()
	th.sortAll(roots)
	s := &session{}
	s.broken = errAbandoned
	s.sendThreads(th, roots, hits, false)
	if len(roots) != 1 {
		t.Errorf("%d roots", len(roots))
	}
}

// An order that is remembered is that of the messages that are there, for any of them.
func TestSortRemembered(t *testing.T) {
	c := threads(t, "m1: ;c", "m2: ;a", "m3: ;b", "m4: ;a")
	for range 2 {
		c.wants("SORT (SUBJECT) UTF-8 ALL", "* SORT 2 4 3 1|. OK sorted")
		c.wants("SORT (SUBJECT) UTF-8 NOT 2", "* SORT 4 3 1|. OK sorted")
		c.wants("SORT (REVERSE SUBJECT) UTF-8 ALL", "* SORT 1 3 2 4|. OK sorted")
	}
	c.say(`STORE 3 +FLAGS (\Deleted)`)
	c.wants("SORT (SUBJECT) UTF-8 UNDELETED", "* SORT 2 4 1|. OK sorted")
	c.say("EXPUNGE")
	c.wants("SORT (SUBJECT) UTF-8 ALL", "* SORT 2 3 1|. OK sorted")
	c.wants("SORT (SUBJECT) UTF-8 ALL", "* SORT 2 3 1|. OK sorted")
}
