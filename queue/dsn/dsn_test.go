package dsn

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"maps"
	"mime"
	"net/textproto"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-message"

	"pennypost/internal/address"
	"pennypost/internal/durable"
	"pennypost/internal/status"
	"pennypost/queue"
)

const id = "0fk2v9qk3x7m2c000-a"

var now = time.Date(2026, 11, 22, 4, 30, 0, 0, time.UTC)

func path(s string) address.Path {
	p, err := address.Parse(s)
	if err != nil {
		panic(err)
	}
	return p
}

// memory is a file that is only read.
type memory struct{ *strings.Reader }

func (memory) Write([]byte) (int, error)          { return 0, io.ErrClosedPipe }
func (memory) WriteAt([]byte, int64) (int, error) { return 0, io.ErrClosedPipe }
func (memory) Close() error                       { return nil }
func (memory) Sync() error                        { return nil }
func (memory) Stat() (durable.Info, error)        { return durable.Info{}, nil }
func (memory) Fd() uintptr                        { return ^uintptr(0) }

const letter = `From: Alice <alice@example.org>
To: bob@example.net
Subject: =?utf-8?q?gr=C3=BC=C3=9Fe?=
Message-ID: <1@example.org>

Hello Bob,
how are you?
`

func newReport(text, mailParams string, rcpts ...Recipient) *Report {
	const front = "envelope\n\n"
	return &Report{
		ID: id + ".b1", Host: "mx.example.org", From: Daemon("mx.example.org"), Now: now, Recipients: rcpts,
		Message: &queue.Message{
			ID: id, Name: "q/20261122/0430/" + id, Header: int64(len(front)), Size: int64(len(text)),
			File: memory{strings.NewReader(front + text)},
			Env:  &queue.Envelope{ID: id, Time: now.Add(-time.Hour), From: path("alice@example.org"), Mail: mailParams},
		},
	}
}

var noSuchUser = Recipient{
	To: path("bob@example.net"), Params: "ORCPT=rfc822;Bob+2Bx@example.net NOTIFY=FAILURE", Action: Failed,
	Result: status.Result{Outcome: status.Failed, Code: 550, Enhanced: "5.1.1", Text: "5.1.1 no such user here"},
	Host:   "mx1.example.net[192.0.2.5]", LastAttempt: now,
}

// parts is a report as go-message reads it.
type parts struct {
	header message.Header
	kinds  []string
	texts  []string
	blocks []textproto.MIMEHeader
}

func read(t *testing.T, text []byte) (p parts) {
	t.Helper()
	e, err := message.Read(bytes.NewReader(text))
	if err != nil {
		t.Fatalf("go-message: %v\n%s", err, text)
	}
	p.header = e.Header
	kind, params, _ := e.Header.ContentType()
	if kind != "multipart/report" || params["report-type"] != "delivery-status" {
		t.Fatalf("Content-Type %s, %v", kind, params)
	}
	m := e.MultipartReader()
	for {
		part, err := m.NextPart()
		if err == io.EOF {
			break
		} else if err != nil {
			t.Fatalf("go-message: %v\n%s", err, text)
		}
		kind, _, _ := part.Header.ContentType()
		body, err := io.ReadAll(part.Body)
		if err != nil {
			t.Fatal(err)
		}
		p.kinds = append(p.kinds, kind)
		p.texts = append(p.texts, string(body))
	}
	if len(p.kinds) != 3 {
		t.Fatalf("parts: %v\n%s", p.kinds, text)
	}
	r := textproto.NewReader(bufio.NewReader(strings.NewReader(p.texts[1] + "\n")))
	for {
		h, err := r.ReadMIMEHeader()
		if len(h) > 0 {
			p.blocks = append(p.blocks, h)
		}
		if err == io.EOF {
			break
		} else if err != nil {
			t.Fatalf("delivery-status: %v\n%s", err, p.texts[1])
		}
	}
	if len(p.blocks) < 2 {
		t.Fatalf("blocks: %v", p.blocks)
	}
	return p
}

func compose(t *testing.T, r *Report) (*queue.Envelope, parts, []byte) {
	t.Helper()
	env, text, err := r.compose()
	if err != nil {
		t.Fatal(err)
	}
	for n, line := range strings.Split(string(text), "\n") {
		if len(line) > 998 || strings.ContainsAny(line, "\r\x00\x1b") {
			t.Errorf("line %d: %q", n+1, line)
		}
	}
	again, same, _ := r.compose()
	if !bytes.Equal(text, same) || again.Via != env.Via {
		t.Errorf("composed again it is another")
	}
	return env, read(t, text), text
}

func TestFailure(t *testing.T) {
	r := newReport(letter, "RET=FULL ENVID=QQ+3D314", noSuchUser)
	env, p, text := compose(t, r)
	if env.ID != id+".b1" || !env.From.IsNull() || env.Via != "bounce" || env.Class != "dsn" || env.Mail != "" ||
		len(env.Rcpts) != 1 || env.Rcpts[0].To != path("alice@example.org") || env.Rcpts[0].Params != "NOTIFY=NEVER" {
		t.Errorf("envelope %+v", env)
	}
	for key, want := range map[string]string{
		"From": "Mail Delivery System <MAILER-DAEMON@mx.example.org>", "To": "<alice@example.org>", "Auto-Submitted": "auto-replied",
		"Message-Id": "<" + id + ".b1@mx.example.org>", "In-Reply-To": "<1@example.org>", "Mime-Version": "1.0",
		"Date": "Sun, 22 Nov 2026 04:30:00 +0000", "Subject": "Your message could not be delivered",
	} {
		if got := p.header.Get(key); got != want {
			t.Errorf("%s: %q, want %q", key, got, want)
		}
	}
	if want := []string{"text/plain", "message/delivery-status", "message/rfc822"}; !slices.Equal(p.kinds, want) {
		t.Errorf("parts %v", p.kinds)
	}
	if p.texts[2] != letter {
		t.Errorf("the message came back as %q", p.texts[2])
	}
	for i, want := range []map[string]string{
		{"Reporting-Mta": "dns; mx.example.org", "Original-Envelope-Id": "QQ=314", "Arrival-Date": "Sun, 22 Nov 2026 03:30:00 +0000", "X-Queue-Id": id},
		{"Original-Recipient": "rfc822; Bob+x@example.net", "Final-Recipient": "rfc822; bob@example.net", "Action": "failed", "Status": "5.1.1",
			"Remote-Mta": "dns; mx1.example.net", "Diagnostic-Code": "smtp; 550 5.1.1 no such user here", "Last-Attempt-Date": "Sun, 22 Nov 2026 04:30:00 +0000"},
	} {
		got := map[string]string{}
		for key := range p.blocks[i] {
			got[key] = p.blocks[i].Get(key)
		}
		if !maps.Equal(got, want) {
			t.Errorf("block %d is %v, want %v", i, got, want)
		}
	}
	for _, want := range []string{"bob@example.net", "(you wrote to Bob+x@example.net)", "The mail server mx1.example.net said:", "550 5.1.1 no such user here",
		"There is no such mailbox", "Subject:  grüße"} {
		if !strings.Contains(p.texts[0], want) {
			t.Errorf("the text for people lacks %q:\n%s", want, p.texts[0])
		}
	}
	golden(t, "failure.txt", text)
}

// golden compares with what a person has read; PENNYPOST_UPDATE=1 writes it anew.
func golden(t *testing.T, name string, text []byte) {
	t.Helper()
	name = filepath.Join("testdata", name)
	if os.Getenv("PENNYPOST_UPDATE") != "" {
		os.MkdirAll("testdata", 0o755)
		os.WriteFile(name, text, 0o644)
	}
	want, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(text, want) {
		t.Errorf("%s differs:\n%s", name, text)
	}
}

func TestActions(t *testing.T) {
	to := func(a Action, res status.Result, host string) Recipient {
		return Recipient{To: path("bob@example.net"), Action: a, Result: res, Host: host, LastAttempt: now, RetryUntil: now.Add(4 * 24 * time.Hour)}
	}
	for _, c := range []struct {
		name                          string
		to                            Recipient
		subject, status, diag, remote string
	}{
		{"delayed", to(Delayed, status.Result{Outcome: status.Deferred, Enhanced: "4.4.1", Text: "mx1.example.net: timed out"}, ""),
			"Your message is delayed", "4.4.1", "X-Pennypost; mx1.example.net: timed out", ""},
		{"delivered", to(Delivered, status.Result{Code: 250, Enhanced: "2.1.5", Text: "delivered"}, ""), "Your message was delivered", "2.1.5", "X-Pennypost; delivered", ""},
		{"relayed", to(Relayed, status.Result{Code: 250, Text: "ok"}, "mx"), "Your message was delivered", "2.0.0", "smtp; 250 ok", "dns; mx"},
		{"expanded", to(Expanded, status.Result{}, ""), "Your message was delivered", "2.0.0", "", ""},
		{"expired", to(Failed, status.Result{Outcome: status.Failed, Enhanced: "4.4.7", Text: "timed out"}, ""), "Your message could not be delivered", "4.4.7", "X-Pennypost; timed out", ""},
		{"no code", to(Failed, status.Result{Outcome: status.Failed, Code: 554, Enhanced: "no.no"}, "[192.0.2.1]"), "Your message could not be delivered", "5.0.0", "", "dns; [192.0.2.1]"},
		{"no answer", to(Failed, status.Result{Outcome: status.Failed, Code: 451, Enhanced: "4.4.1", Text: "connection refused"}, "mx"), "Your message could not be delivered", "4.4.1", "X-Pennypost; connection refused", "dns; mx"},
		{"future", to(Failed, status.Result{Outcome: status.Failed, Code: 554, Text: "no"}, "mx"), "Your message could not be delivered", "5.0.0", "smtp; 554 no", "dns; mx"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, p, _ := compose(t, newReport(letter, "RET=FULL HOLDFOR=3600", c.to))
			b := p.blocks[1]
			if p.header.Get("Subject") != c.subject || b.Get("Action") != string(c.to.Action) || b.Get("Status") != c.status ||
				b.Get("Diagnostic-Code") != c.diag || b.Get("Remote-MTA") != c.remote {
				t.Errorf("%q, %v", p.header.Get("Subject"), b)
			}
			if (b.Get("Will-Retry-Until") != "") != (c.to.Action == Delayed) {
				t.Errorf("Will-Retry-Until: %q", b.Get("Will-Retry-Until"))
			}
			if want := "text/rfc822-headers"; c.to.Action != Failed && p.kinds[2] != want {
				t.Errorf("third part is %s", p.kinds[2]) // RET is about failure alone
			}
			if p.blocks[0].Get("Future-Release-Request") != "for;3600" {
				t.Errorf("%v", p.blocks[0])
			}
		})
	}
}

func TestGlobal(t *testing.T) {
	r := newReport("Subject: grüße\nFrom: δ@example.org\n\nδ\n", "RET=FULL SMTPUTF8", Recipient{
		To: path("δοκιμή@bücher.example"), Params: `ORCPT=utf-8;\x{3B4}@example.net`, Action: Failed, Host: "mx.bücher.example",
		Result: status.Result{Outcome: status.Failed, Code: 550, Enhanced: "5.1.1", Text: "δ is unknown"}})
	env, p, text := compose(t, r)
	if env.Mail != "BODY=8BITMIME" {
		t.Errorf("MAIL parameters %q", env.Mail)
	}
	if want := []string{"text/plain", "message/global-delivery-status", "message/global"}; !slices.Equal(p.kinds, want) {
		t.Errorf("parts %v", p.kinds)
	}
	if b := p.blocks[1]; b.Get("Original-Recipient") != "utf-8; δ@example.net" || b.Get("Final-Recipient") != "utf-8; δοκιμή@bücher.example" ||
		b.Get("Diagnostic-Code") != "smtp; 550 5.1.1 δ is unknown" {
		t.Errorf("%v", b)
	}
	golden(t, "global.txt", text)

	r.Message.Env.Mail = "SMTPUTF8"
	r.Message.Env.From = path("δ@example.org")
	if env, p, _ = compose(t, r); env.Mail != "BODY=8BITMIME SMTPUTF8" || p.kinds[2] != "message/global-headers" || p.texts[2] != "Subject: grüße\nFrom: δ@example.org\n" {
		t.Errorf("%q, %v, %q", env.Mail, p.kinds, p.texts[2])
	}
}

// TestOriginal has the rules for the third part.
func TestOriginal(t *testing.T) {
	big := "Subject: big\n\n" + strings.Repeat(strings.Repeat("x", 70)+"\n", 1000)
	longHeader := "Subject: a\nX-Long: b\n" + strings.Repeat(" "+strings.Repeat("y", 70)+"\n", 1000)
	for _, c := range []struct{ name, text, mail, kind, want string }{
		{"asked for", letter, "RET=FULL", "message/rfc822", letter},
		{"not asked for", letter, "", "text/rfc822-headers", letter[:strings.Index(letter, "\n\n")+1]},
		{"not wanted", letter, "RET=HDRS", "text/rfc822-headers", letter[:strings.Index(letter, "\n\n")+1]},
		{"too large", big, "RET=FULL", "text/rfc822-headers", "Subject: big\n"},
		{"header too large", longHeader, "RET=FULL", "text/rfc822-headers", "Subject: a\n"},
		{"eight bits", "Subject: a\n\n\xff\n", "RET=FULL", "message/rfc822", "Subject: a\n\n\xff\n"},
		{"eight bits in the header", "Subject: \xff\n\n", "", "text/rfc822-headers", "Subject: \xff\n"},
		{"NUL", "Subject: a\n\n\x00\n", "RET=FULL", "text/rfc822-headers", "Subject: a\n"},
		{"no header", "\nhello\n", "", "text/rfc822-headers", ""},
		{"no body", "Subject: a\n", "", "text/rfc822-headers", "Subject: a\n"},
		{"boundary", "Subject: a\n\n--=_" + id + ".b1\n--=_" + id + ".b1_1--\n", "RET=FULL", "message/rfc822", "Subject: a\n\n--=_" + id + ".b1\n--=_" + id + ".b1_1--\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, p, _ := compose2(t, newReport(c.text, c.mail, noSuchUser))
			if p.kinds[2] != c.kind || p.texts[2] != c.want {
				t.Errorf("%s: %.200q", p.kinds[2], p.texts[2])
			}
		})
	}
}

// compose2 is compose for messages that have octets of their own.
func compose2(t *testing.T, r *Report) (*queue.Envelope, parts, []byte) {
	env, text, err := r.compose()
	if err != nil {
		t.Fatal(err)
	}
	return env, read(t, text), text
}

// S045: what a remote server says stays inside its field, whatever it is.
func TestS045RemoteWords(t *testing.T) {
	for _, said := range []string{
		"no\r\nAction: delivered\r\n\r\nFinal-Recipient: rfc822; eve@example.com", "\x1b]0;owned\a", "\u202etxt.exe", "\xff\xfe", strings.Repeat("x", 5000),
		strings.Repeat("ü", 5000), strings.Repeat(" ", 3000), "\n\n", "a\n", "--=_" + id + ".b1--", strings.Repeat("a b ", 400), "\u0085\u2028x",
	} {
		r := newReport(letter, "ENVID=a+0D+0AAction:+20delivered", Recipient{To: path(`"a>b"@example.net`), Action: Failed, Host: "mx\n.example",
			Params: "ORCPT=rfc822;a+0A+0Ab", Result: status.Result{Outcome: status.Failed, Code: 550, Enhanced: "5.1.1", Text: said}})
		_, p, text := compose(t, r)
		if len(p.blocks) != 2 || len(p.blocks[1]["Action"]) != 1 || len(p.blocks[0]["Action"]) != 0 {
			t.Errorf("%.40q: %v", said, p.blocks)
		}
		if !isASCII([]byte(p.texts[1])) {
			t.Errorf("%.40q: not ASCII", said)
		}
		if len(text) > 16<<10 {
			t.Errorf("%.40q: %d octets", said, len(text))
		}
	}
}

func TestWanted(t *testing.T) {
	m := &queue.Message{Env: &queue.Envelope{From: path("alice@example.org")}}
	for _, c := range []struct {
		params string
		want   string // actions
	}{
		{"", "failed delayed"},
		{"ORCPT=rfc822;x", "failed delayed"},
		{"NOTIFY=NEVER", ""},
		{"notify=never", ""},
		{"NOTIFY=FAILURE", "failed"},
		{"NOTIFY=delay", "delayed"},
		{"NOTIFY=SUCCESS,FAILURE", "failed delivered relayed expanded"},
	} {
		var all []Recipient
		for _, a := range []Action{Failed, Delayed, Delivered, Relayed, Expanded} {
			all = append(all, Recipient{Action: a, Params: c.params})
		}
		got := []string{}
		for _, r := range Wanted(m, all) {
			got = append(got, string(r.Action))
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("%s: %v, want %s", c.params, got, c.want)
		}
	}
	if got := Wanted(&queue.Message{Env: &queue.Envelope{}}, []Recipient{noSuchUser}); got != nil {
		t.Errorf("null sender: %v", got)
	}
}

// S069: a report of a report does not exist, and a report of a large message repeats little of it.
func TestS069Reports(t *testing.T) {
	r := newReport(letter, "RET=FULL", noSuchUser)
	r.Message.Env.From = path("")
	if Wanted(r.Message, r.Recipients) != nil {
		t.Error("a report is wanted for the null sender")
	}
	big := "Subject: " + strings.Repeat("long ", 100) + "\n\n" + strings.Repeat(strings.Repeat("x", 75)+"\n", 1<<20/76)
	_, p, text := compose(t, newReport(big, "RET=FULL", noSuchUser))
	if len(text) > 4096 || strings.Contains(p.texts[2], "xxx") {
		t.Errorf("a report of %d octets about a message of %d", len(text), len(big))
	}
	if p.header.Get("Auto-Submitted") != "auto-replied" {
		t.Error("a report that does not say it is one")
	}
}

func TestManyRecipients(t *testing.T) {
	var rcpts []Recipient
	for i := range 200 {
		r := noSuchUser
		r.To = path(fmt.Sprintf("user%d@example.net", i))
		rcpts = append(rcpts, r)
	}
	_, p, _ := compose(t, newReport(letter, "", rcpts...))
	if len(p.blocks) != 201 || !strings.Contains(p.texts[0], "and 150 more") {
		t.Errorf("%d blocks", len(p.blocks))
	}
}

func TestAdvice(t *testing.T) {
	for code, want := range map[string]string{"5.1.1": "no such mailbox", "4.2.2": "full", "5.1.99": "wrong with the address", "5.7.25": "does not want",
		"4.4.7": "as long as", "4.4.1": "cannot be reached", "5.0.0": "whoever runs", "5.3.0": "whoever runs"} {
		if got := advice(code); !strings.Contains(got, want) {
			t.Errorf("%s: %s", code, got)
		}
	}
}

// TestStyle compares the fields of our blocks with those of other systems' reports, where the
// collection is at hand: what nearly everybody has, ours has too.
func TestStyle(t *testing.T) {
	dir := os.Getenv("PENNYPOST_SUITES")
	if dir == "" {
		dir = "../../../shared/suites"
	}
	files, _ := filepath.Glob(filepath.Join(dir, "dsn/maildir/bsd/*.eml"))
	if len(files) == 0 {
		t.Skip("no collection of reports; set PENNYPOST_SUITES")
	}
	reports, seen := 0, map[string]int{}
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for key := range foreign(text) {
			if seen[key]++; key == "Final-Recipient" {
				reports++
			}
		}
	}
	if reports < 50 {
		t.Fatalf("only %d of %d files are reports", reports, len(files))
	}
	_, p, _ := compose(t, newReport(letter, "", noSuchUser))
	ours := map[string]bool{}
	for _, b := range p.blocks {
		for key := range b {
			ours[key] = true
		}
	}
	for key, n := range seen {
		if n*2 > reports && !ours[key] {
			t.Errorf("%d of %d reports have %s, ours has not", n, reports, key)
		}
	}
}

// foreign is the set of fields in a report's delivery-status part.
func foreign(text []byte) map[string]bool {
	fields := map[string]bool{}
	e, err := message.Read(bytes.NewReader(text))
	if err != nil && !message.IsUnknownCharset(err) {
		return fields
	}
	m := e.MultipartReader()
	for m != nil {
		part, err := m.NextPart()
		if err != nil {
			return fields
		}
		kind, _, _ := mime.ParseMediaType(part.Header.Get("Content-Type"))
		if kind != "message/delivery-status" {
			continue
		}
		body, _ := io.ReadAll(part.Body)
		for _, line := range strings.Split(string(body), "\n") {
			if key, _, ok := strings.Cut(line, ":"); ok && key != "" && key[0] != ' ' && key[0] != '\t' {
				fields[textproto.CanonicalMIMEHeaderKey(key)] = true
			}
		}
	}
	return fields
}
