package mbox

import (
	"context"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"testing"

	"pennypost/maildir/mailbox"
)

const from = "From alice@example.org Sat Jan  3 01:05:34 1996\n"

// all is every message of a file as text.
func all(t *testing.T, text string, kind Kind) string {
	t.Helper()
	r := NewReader(strings.NewReader(text), kind)
	out := ""
	for {
		m, err := r.Next()
		if err == io.EOF {
			return out
		}
		if err != nil {
			return out + "error: " + err.Error()
		}
		out += fmt.Sprintf("%q\n", m.Text)
	}
}

func TestKinds(t *testing.T) {
	for _, row := range []struct {
		kind       Kind
		text, want string
	}{
		{O, from + "A: 1\n\n>From x\n>>From y\n\n" + from + "A: 2\n\nz\n\n", `"A: 1\n\nFrom x\n>>From y\n"|"A: 2\n\nz\n"|`},
		{RD, from + "A: 1\n\n>From x\n>>From y\n> From\n\n" + from + "A: 2\n\nz\n", `"A: 1\n\nFrom x\n>From y\n> From\n"|"A: 2\n\nz\n"|`},
		{CL, from + "Content-Length: 9\nA: 1\n\n>From x\n\n\n" + from + "A: 2\n\nz\n", `"A: 1\n\nFrom x\n\n"|"A: 2\n\nz\n"|`},
		{CL2, from + "Content-Length: " + fmt.Sprint(2*len(from)+1) + "\nA: 1\n\n" + from + "\n" + from + "\n" + from + "A: 2\n\nz\n", `"A: 1\n\n` + strings.ReplaceAll(from+"\n"+from, "\n", `\n`) + `"|"A: 2\n\nz\n"|`},
		{Guess, from + "Content-Length: 16\nA: 1\n\nFrom x\n>From z\n\n\n" + from + "A: 2\n\n>>From z\n", `"A: 1\n\nFrom x\n>From z\n\n"|"A: 2\n\n>From z\n"|`},
		{Guess, from + "Content-Length: 9999\nA: 1\n\nx\n\n" + from + "A: 2\n\nz\n", `"A: 1\n\nx\n"|"A: 2\n\nz\n"|`}, // a lie
		{Guess, from + "Content-Length: 1\nA: 1\n\nxyz\n\n" + from + "A: 2\n\nz\n", `"A: 1\n\nxyz\n"|"A: 2\n\nz\n"|`},
		{Guess, strings.ReplaceAll(from+"A: 1\n\nx\n\n"+from+"A: 2\n\nz\n", "\n", "\r\n"), `"A: 1\n\nx\n"|"A: 2\n\nz\n"|`},
		{Guess, "\n\n" + from + "A: 1\n\nFrom here on it is text\n\nFrom the heart\n", `"A: 1\n\nFrom here on it is text\n\nFrom the heart\n"|`},
		{Guess, from + "A: 1\n" + from + "A: 2\n", `"A: 1\n"|"A: 2\n"|`},
		{Guess, from + "A: 1\n\nno end", `"A: 1\n\nno end"|`},
		{Guess, "", ``},
		{Guess, "Subject: x\n\n", `error: no mbox: it does not begin with a From line`},
	} {
		if got := strings.ReplaceAll(all(t, row.text, row.kind), "\n", "|"); got != row.want {
			t.Errorf("%s of\n%s\ngot  %s\nwant %s", row.kind, row.text, got, row.want)
		}
	}
}

func TestFromLines(t *testing.T) {
	for line, want := range map[string]string{
		"From MAILER-DAEMON Fri Jul  8 12:08:34 2011":        "MAILER-DAEMON 2011-07-08 12:08:34",
		"From a b c Fri Jul 08 12:08:34 2011":                "a b c 2011-07-08 12:08:34",
		"From x@y Fri Jul  8 12:08:34 UTC 2011":              "x@y 2011-07-08 12:08:34",
		"From x@y Fri Jul  8 12:08:34 +0200 2011":            "x@y 2011-07-08 10:08:34",
		"From x@y Fri Jul  8 12:08 2011":                     "x@y 2011-07-08 12:08:00",
		"From 1234567890@xxx Thu Jan 01 00:00:00 +0000 2009": "1234567890@xxx 2009-01-01 00:00:00",
	} {
		sender, at := parseFrom([]byte(line + "\n"))
		if got := sender + " " + at.UTC().Format("2006-01-02 15:04:05"); got != want {
			t.Errorf("%s: %s", line, got)
		}
	}
}

func TestImport(t *testing.T) {
	a, err := mailbox.OpenAccount(filepath.Join(t.TempDir(), "Maildir"), mailbox.Options{Host: "test"})
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	f, err := a.Folder("INBOX")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	text := from + "From: Mail System Internal Data <MAILER-DAEMON@x>\nSubject: DON'T DELETE THIS MESSAGE -- FOLDER INTERNAL DATA\nX-IMAP: 1 2\nStatus: RO\n\ninner\n\n" +
		from + "Subject: one\nStatus: RO\nX-Status: AF\nX-Keywords: Work\n $Todo\nX-UID: 7\n\n1\n\n" + from + "Subject: two\nStatus: O\nX-Keywords: $Todo $Forwarded\n\n2\n"
	n, err := Import(context.Background(), NewReader(strings.NewReader(text), Guess), f)
	if n != 2 || err != nil {
		t.Fatal(n, err)
	}
	v, err := f.Look(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	todo, _ := f.KeywordNumber("$Todo", false)
	work, _ := f.KeywordNumber("Work", false)
	if v.Len() != 2 || v.Flags(0) != mailbox.Seen|mailbox.Answered|mailbox.Flagged|mailbox.Keyword(work)|mailbox.Keyword(todo) {
		t.Errorf("%d messages, flags %x", v.Len(), v.Flags(0))
	}
	if v.Flags(1) != mailbox.Keyword(todo)|mailbox.Forwarded {
		t.Errorf("flags %x", v.Flags(1))
	}
	if at, _ := v.Received(0); at.UTC().Format("2006-01-02 15:04:05") != "1996-01-03 01:05:34" {
		t.Error(at)
	}
	if size, _ := v.Size(0); size != int64(len("Subject: one\r\n\r\n1\r\n")) {
		t.Error(size)
	}
}

func FuzzReader(f *testing.F) {
	f.Add(from+"Content-Length: 3\nA: 1\n\n>From x\n\n"+from+"\n\n", 0)
	f.Fuzz(func(t *testing.T, text string, kind int) {
		r := NewReader(strings.NewReader(text), append(Kinds, Guess)[(kind%5+5)%5])
		for range len(text) + 2 {
			if _, err := r.Next(); err != nil {
				return
			}
		}
		t.Fatal("it does not end")
	})
}
