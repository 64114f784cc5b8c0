package mailq

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"pennypost/internal/address"
	"pennypost/internal/status"
	"pennypost/queue"
)

func TestMain(m *testing.M) {
	time.Local = time.UTC
	os.Exit(m.Run())
}

func path(s string) address.Path {
	p, err := address.Parse(s)
	if err != nil {
		panic(err)
	}
	return p
}

// bench is a spool and a mailq that looks at it an hour later.
type bench struct {
	t   *testing.T
	dir string
	s   *queue.Spool
	now time.Time
}

func newBench(t *testing.T) *bench {
	b := &bench{t: t, dir: t.TempDir(), now: time.Now().Add(time.Hour).Truncate(time.Second)}
	if err := queue.Make(b.dir, "a"); err != nil {
		t.Fatal(err)
	}
	var err error
	if b.s, err = queue.Open(b.dir); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.s.Close() })
	return b
}

// put accepts a message; in the queue if place is q.
func (b *bench) put(place string, env queue.Envelope, text string) string {
	b.t.Helper()
	env.Via = "submit esmtpsa ip=192.0.2.7"
	w, err := b.s.Begin("submit", &env)
	if err == nil {
		w.Write([]byte(text))
		err = w.Commit()
	}
	name := w.Name()
	if err == nil && place != "in" {
		name, err = b.s.Take(name)
	}
	if err == nil && place == "hold" {
		err = b.s.Hold(name, "looks like spam")
	}
	if err != nil {
		b.t.Fatal(err)
	}
	return env.ID
}

func (b *bench) event(id string, ev queue.Event) {
	b.t.Helper()
	ev.ID, ev.Time = id, time.Now()
	if err := b.s.AppendState(queue.QPath(id)+"/"+id, false, &ev); err != nil {
		b.t.Fatal(err)
	}
}

// run is mailq with a command line; --json, reason= and until= as a person would write them.
func (b *bench) run(args ...string) (out string, notes string, err error) {
	var o, n bytes.Buffer
	t := &Tool{Spool: b.s, Out: &o, Notes: &n, Now: func() time.Time { return b.now }}
	var rest []string
	for _, a := range args {
		switch {
		case a == "--json":
			t.JSON = true
		case strings.HasPrefix(a, "--width="):
			fmt.Sscan(a[8:], &t.Width)
		case strings.HasPrefix(a, "--reason="):
			t.Reason = a[9:]
		case strings.HasPrefix(a, "--until="):
			t.Until = a[8:]
		default:
			rest = append(rest, a)
		}
	}
	command := Commands[0]
	if len(rest) > 0 {
		for _, c := range Commands {
			if c.Name == rest[0] {
				command, rest = c, rest[1:]
				break
			}
		}
	}
	err = command.Run(t, rest)
	return o.String(), n.String(), err
}

func (b *bench) want(want string, args ...string) {
	b.t.Helper()
	out, notes, err := b.run(args...)
	if err != nil {
		b.t.Fatalf("mailq %v: %v", args, err)
	}
	if want = strings.TrimPrefix(want, "\n"); out != want {
		b.t.Errorf("mailq %v:\n%s\nwant:\n%s", args, out, want)
	}
	if notes != "" {
		b.t.Errorf("mailq %v: notes %s", args, notes)
	}
}

func (b *bench) fails(code int, args ...string) {
	b.t.Helper()
	out, _, err := b.run(args...)
	if ExitCode(err) != code {
		b.t.Errorf("mailq %v: %v (exit %d, want %d)\n%s", args, err, ExitCode(err), code, out)
	}
}

func (b *bench) there(name string) bool {
	_, err := os.Lstat(filepath.Join(b.dir, name))
	return err == nil
}

var greylisted = queue.Event{Kind: queue.Defer, Num: queue.Num{N: 1}, Site: "mx1.example.net+0a1b2c3d", Host: "mx1.example.net[192.0.2.5]",
	Status: status.Result{Outcome: status.Deferred, Code: 450, Enhanced: "4.2.0", Text: "come back later"}, Why: "greylist", Attempt: 3}

func TestList(t *testing.T) {
	b := newBench(t)
	b.want("Mail queue is empty\n")
	b.want("", "--json")
	b.want("Nothing is paused or limited\n", "pause")
	at := b.now.Add(-time.Hour).UTC().Truncate(time.Second)
	when := at.Format("Mon Jan _2 15:04:05")
	one := b.put("q", queue.Envelope{Time: at, From: path("alice@example.org"), Rcpts: []queue.Rcpt{{N: 1, To: path("bob@example.net")}, {N: 2, To: path("carol@example.net")}}}, "Subject: one\n\nhi\n")
	ev := greylisted
	ev.Next = b.now.Add(12 * time.Minute)
	b.event(one, ev)
	b.event(one, queue.Event{Kind: queue.Deliver, Num: queue.Num{N: 2}, Status: status.Result{Code: 250}, Attempt: 1})
	b.want(fmt.Sprintf(`
-Queue ID-             --Size-- ----Arrival Time---- -Sender/Recipient-------
%-22s       17  %s alice@example.org
    (host mx1.example.net[192.0.2.5] said: 450 4.2.0 come back later; next try in 12m)
                                                     bob@example.net

-- 1 Kbytes in 1 Request.
`, one, when))
	b.want(fmt.Sprintf(`
-Queue ID-             --Size-- ----Arr…
%-22s       17  %.6s…
    (host mx1.example.net[192.0.2.5] sa…
                                       …

-- 1 Kbytes in 1 Request.
`, one, when), "list", "--width=40")
	two := b.put("in", queue.Envelope{Time: at, Rcpts: []queue.Rcpt{{N: 1, To: path("bob@example.net")}}}, "\nhi\n")
	three := b.put("hold", queue.Envelope{Time: at, From: path("x@example.org"), Rcpts: []queue.Rcpt{{N: 1, To: path("bob@example.net")}}}, "\nhi\n")
	out, _, _ := b.run()
	for _, want := range []string{two + "*", "MAILER-DAEMON", three + "!", "(held: looks like spam)", "in 3 Requests."} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
	for arg, n := range map[string]int{"from:alice@example.org": 1, "from:<ALICE@example.org>": 1, "from:example.org": 2, "from:@EXAMPLE.org": 2, "to:bob@example.net": 3,
		"to:example.net": 3, "to:carol@example.net": 0, "site:mx1.example.net": 1, "site:mx1.example.net+0a1b2c3d": 1, "held": 1, "all": 3, one: 1, three + "!": 1, "from:example.com": 0} {
		out, _, err := b.run("--json", "list", arg)
		if err != nil || strings.Count(out, "\n") != n {
			t.Errorf("%s: %d, %v, want %d\n%s", arg, strings.Count(out, "\n"), err, n, out)
		}
	}
	b.want("No such messages\n", "list", "from:example.com")
	b.fails(exUsage, "list", "nonsense")
	b.fails(exUsage, "list", "from:")
	b.fails(exNoInput, "show", "0fk2v9qk3x7m2c000-a")
	b.fails(exUsage, "show")
	b.fails(exUsage, "show", "../../etc/passwd")
}

func TestJSON(t *testing.T) {
	b := newBench(t)
	at := b.now.Add(-time.Hour).UTC().Truncate(time.Second)
	id := b.put("q", queue.Envelope{Time: at, From: path("alice@example.org"), Auth: "alice", Rcpts: []queue.Rcpt{{N: 1, To: path("bob@example.net")}}}, "Subject: one\n\nhi\n")
	ev := greylisted
	ev.Next = b.now.Add(12 * time.Minute).UTC().Truncate(time.Second)
	b.event(id, ev)
	b.want(`{"id":"`+id+`","state":"waiting","file":"`+queue.QPath(id)+`/`+id+`","arrived":"`+at.Format(time.RFC3339)+`","size":17,"from":"alice@example.org","user":"alice",`+
		`"via":"submit esmtpsa ip=192.0.2.7","attempts":3,"owed":1,"recipients":[{"n":"1","to":"bob@example.net","state":"waiting","site":"mx1.example.net+0a1b2c3d",`+
		`"host":"mx1.example.net[192.0.2.5]","attempts":3,"next":"`+ev.Next.Format(time.RFC3339)+`","status":"4.2.0","code":450,"text":"come back later","cause":"greylist"}]}`+"\n", "--json", "list")
	out, _, err := b.run("--json", "show", id)
	var e Entry
	if err != nil || json.Unmarshal([]byte(out), &e) != nil || len(e.Header) != 1 || e.Header[0] != "Subject: one" {
		t.Errorf("%v, %s", err, out)
	}
	out, _, err = b.run("--json", "shape")
	if err != nil || out != `{"site":"mx1.example.net+0a1b2c3d","total":1,"ages":{"12h":0,"1d":0,"1h":1,"20m":0,"3d":0,"4h":0,"5m":0,"older":0},"held":0}`+"\n" {
		t.Errorf("%v, %s", err, out)
	}
}

func TestShowAndWhy(t *testing.T) {
	b := newBench(t)
	at := b.now.Add(-time.Hour)
	id := b.put("q", queue.Envelope{Time: at, From: path("alice@example.org"), Mail: "RET=FULL", Rcpts: []queue.Rcpt{{N: 1, To: path("bob@example.net")}, {N: 2, To: path("team@example.org")}}},
		"Subject: one\nTo: bob@example.net\n\nhi\n")
	ev := greylisted
	ev.Next = b.now.Add(12 * time.Minute)
	b.event(id, ev)
	b.event(id, queue.Event{Kind: queue.Expand, Num: queue.Num{N: 2}, Targets: []address.Path{path("dora@example.org")}})
	out, _, err := b.run("show", id)
	for _, want := range []string{"state:     waiting; 2 of 3 recipients owed, 3 attempts\n", "from:      <alice@example.org>\n", "mail:      RET=FULL\n",
		"to 1:      <bob@example.net> waiting, 3 attempts, next try in 12m\n           site mx1.example.net+0a1b2c3d\n           host mx1.example.net[192.0.2.5] said: 450 4.2.0 come back later\n",
		"to 2:      <team@example.org> expanded\n", "to 2.1:    <dora@example.org> waiting\n", "\n    Subject: one\n    To: bob@example.net\n"} {
		if err != nil || !strings.Contains(out, want) {
			t.Errorf("%v: no %q in\n%s", err, want, out)
		}
	}
	os.WriteFile(filepath.Join(b.dir, "site/mx1.example.net+0a1b2c3d"), []byte("site: mx1.example.net+0a1b2c3d\nstate: parked\nqueued: 7\nused: 1\nnext-probe: "+
		b.now.Add(3*time.Minute).UTC().Format(time.RFC3339)+"\nlast-error: timed out\n"), 0o644)
	b.want("site:mx1.example.net: paused\n", "pause", "site:mx1.example.net", "their disk is full", "--until=2d2h")
	out, _, err = b.run("why", id)
	for _, want := range []string{id + " from <alice@example.org>, here for 1h\n", "queue-run is not running", "It was tried 3 times.", "Last: host mx1.example.net[192.0.2.5] said: 450 4.2.0 come back later\n",
		"at the second try only", "(in 12m)", "It is paused: site:mx1.example.net, their disk is full, until ", "Site mx1.example.net+0a1b2c3d: parked, 7 queued, 1 being tried; asked again ",
		"Its last error: timed out\n", "dora@example.org\n    It was not tried yet.\n"} {
		if err != nil || !strings.Contains(out, want) {
			t.Errorf("%v: no %q in\n%s", err, want, out)
		}
	}
	held := b.put("hold", queue.Envelope{Rcpts: []queue.Rcpt{{N: 1, To: path("bob@example.net")}}}, "\nhi\n")
	if out, _, _ := b.run("why", held); !strings.Contains(out, "looks like spam") || !strings.Contains(out, "mailq release "+held) {
		t.Error(out)
	}
	later := b.put("q", queue.Envelope{HoldUntil: b.now.Add(time.Hour), Rcpts: []queue.Rcpt{{N: 1, To: path("bob@example.net")}}}, "\nhi\n")
	if out, _, _ := b.run("why", later); !strings.Contains(out, "It is scheduled for") {
		t.Error(out)
	}
}

// TestGone asks for a message that is done: the journal knows, and without a journal mailq says so.
func TestGone(t *testing.T) {
	b := newBench(t)
	id := b.s.NewID()
	b.fails(exNoInput, "why", id)
	j := b.s.OpenJournal(nil)
	j.Add(&queue.Event{Time: time.Now(), ID: id, Kind: queue.Deliver, Num: queue.Num{N: 1}, To: path("bob@example.net"), Host: "mx", Status: status.Result{Code: 250, Enhanced: "2.0.0", Text: "ok\x1b[2J"}})
	j.Add(&queue.Event{Time: time.Now(), ID: id, Kind: queue.End})
	j.Close()
	out, _, err := b.run("why", id)
	if err != nil || !strings.Contains(out, "not in the queue any more") || !strings.Contains(out, `deliver <bob@example.net>: host mx said: 250 2.0.0 ok\x1b[2J`) {
		t.Errorf("%v: %s", err, out)
	}
	out, _, err = b.run("why", id, "--json")
	if err != nil || strings.Count(out, "\n") != 2 || !json.Valid([]byte(strings.Split(out, "\n")[0])) {
		t.Errorf("%v: %s", err, out)
	}
	os.RemoveAll(filepath.Join(b.dir, "results"))
	b.fails(exNoInput, "why", id)
	b.want("Mail queue is empty\n")
}

// TestSaid: what we found out ourselves is not put into the host's mouth.
func TestSaid(t *testing.T) {
	for r, want := range map[*Recipient]string{
		{Host: "mx[192.0.2.1]", Code: 451, Status: "4.4.1", Text: "connection refused"}: "host mx[192.0.2.1]: 451 4.4.1 connection refused",
		{Host: "mx[192.0.2.1]", Code: 550, Status: "5.1.1", Text: "no such user"}:       "host mx[192.0.2.1] said: 550 5.1.1 no such user",
		{Code: 451, Status: "4.4.3", Text: "DNS: timed out"}:                            "451 4.4.3 DNS: timed out",
	} {
		if got := r.last(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

func TestBad(t *testing.T) {
	b := newBench(t)
	id := b.put("q", queue.Envelope{From: path("a@example.net"), Rcpts: []queue.Rcpt{{N: 1, To: path("b@example.org")}}}, "\n")
	if err := b.s.Bad(queue.QPath(id)+"/"+id, "hash 00, should be 11"); err != nil {
		t.Fatal(err)
	}
	os.WriteFile(filepath.Join(b.dir, "bad", "core\x1b.why"), nil, 0o644) // the why of nothing is a file like any other
	for _, args := range [][]string{{}, {"list", "all"}, {"list", "bad"}} {
		out, _, err := b.run(args...)
		for _, want := range []string{id + "?", "(bad: " + queue.QPath(id) + "/" + id + ": hash 00, should be 11)", `core\x1b.why?`, "in 2 Requests"} {
			if err != nil || !strings.Contains(out, want) {
				t.Errorf("%q: %v, no %q in\n%s", args, err, want, out)
			}
		}
	}
	b.want(id+" was put into bad/, as it is no message: "+queue.QPath(id)+"/"+id+": hash 00, should be 11\n", "why", id)
	if out, _, err := b.run("list", "held"); err != nil || strings.Contains(out, id) {
		t.Errorf("held: %s%v", out, err)
	}
	if out, _, _ := b.run("--json", "list", "bad"); !strings.Contains(out, `"state":"bad"`) || !isJSON(strings.Split(out, "\n")[0]) {
		t.Errorf("JSON: %s", out)
	}
	b.fails(exUsage, "remove", "bad")
	b.fails(exNoInput, "remove", "all")
	if !b.there("bad/" + id) {
		t.Error("it is gone")
	}
}

func TestShape(t *testing.T) {
	b := newBench(t)
	b.want("Mail queue is empty\n", "shape")
	for i, age := range []time.Duration{time.Minute, 10 * time.Minute, 2 * time.Hour, 5 * 24 * time.Hour} {
		rcpts := []queue.Rcpt{{N: 1, To: path("bob@example.net")}}
		if i == 0 {
			rcpts = append(rcpts, queue.Rcpt{N: 2, To: path("carol@example.com")})
		}
		place := "q"
		if i == 3 {
			place = "hold"
		}
		b.put(place, queue.Envelope{Time: b.now.Add(-age), Rcpts: rcpts}, "\nhi\n")
	}
	b.want(`
                       T     5m    20m     1h     4h    12h     1d     3d  older   held
TOTAL                  5      2      1      .      1      .      .      .      1      1
example.net            4      1      1      .      1      .      .      .      1      1
example.com            1      1      .      .      .      .      .      .      .      .
`, "shape", "--width=87")
}

// TestSteer steers a queue whose runner is stopped: what can be done is done, the rest is asked for.
func TestSteer(t *testing.T) {
	b := newBench(t)
	put := func() string {
		return b.put("q", queue.Envelope{From: path("alice@example.org"), Rcpts: []queue.Rcpt{{N: 1, To: path("bob@example.net")}}}, "\nhi\n")
	}
	id := put()
	b.want(id+": held\n", "hold", id, "--reason=not now")
	if !b.there("hold/"+id) || b.there(queue.QPath(id)+"/"+id) {
		t.Error("not held")
	}
	b.want(id+": is held already\n", "hold", id)
	b.want(id+": is held; release it first\n", "retry", id)
	b.want(id+": released\n", "release", "held")
	if !b.there("in/adopt/new/" + id) {
		t.Error("not released")
	}
	b.want(id+": queue-run will try it when it is started\n", "retry", id)
	b.want("all: queue-run will try it when it is started\n", "retry", "all")
	b.want("mx1.example.net: queue-run will try it when it is started\n", "retry", "site:mx1.example.net")
	b.want(id+": queue-run will give it up when it is started\n", "bounce", id)
	for _, kick := range []string{"try:" + id, "all", "site:mx1.example.net", "bounce:" + id} {
		if !b.there("kick/" + kick) {
			t.Errorf("no kick/%s", kick)
		}
	}
	two := put()
	b.want(id+": removed\n"+two+": removed\n", "remove", "from:alice@example.org")
	if b.there("in/adopt/new/"+id) || b.there(queue.QPath(two)+"/"+two) {
		t.Error("not removed")
	}
	b.fails(exNoInput, "remove", "all")
	b.fails(exUsage, "remove")
	b.fails(exNoInput, "remove", id)
}

// TestRunning steers a queue whose runner is there: it reads the FIFOs.
func TestRunning(t *testing.T) {
	b := newBench(t)
	id := b.put("q", queue.Envelope{From: path("alice@example.org"), Rcpts: []queue.Rcpt{{N: 1, To: path("bob@example.net")}}}, "\nhi\n")
	c, err := b.s.Hints(make(chan []queue.Found, 100))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	b.want(id+": queue-run will hold it\n", "hold", id, "--reason=not now")
	b.want(id+": queue-run will remove it\n", "remove", id)
	b.want(id+": queue-run will try it\n", "retry", id)
	for _, kick := range []string{"hold:" + id, "remove:" + id, "try:" + id} {
		if !b.there("kick/" + kick) {
			t.Errorf("no kick/%s", kick)
		}
	}
	if text, _ := os.ReadFile(filepath.Join(b.dir, "kick/hold:"+id)); string(text) != "not now\n" {
		t.Errorf("reason %q", text)
	}
	if !b.there(queue.QPath(id) + "/" + id) {
		t.Error("mailq moved what is queue-run's")
	}
	if out, _, _ := b.run("why", id); strings.Contains(out, "not running") {
		t.Error(out)
	}
}

func TestCancel(t *testing.T) {
	b := newBench(t)
	rcpts := []queue.Rcpt{{N: 1, To: path("bob@example.net")}}
	due := b.put("q", queue.Envelope{HoldUntil: b.now.Add(-time.Minute), Rcpts: rcpts}, "\nhi\n")
	later := b.put("q", queue.Envelope{HoldUntil: b.now.Add(time.Hour), Rcpts: rcpts}, "\nhi\n")
	plain := b.put("in", queue.Envelope{Rcpts: rcpts}, "\nhi\n")
	b.fails(exUsage, "cancel", due)
	b.fails(exUsage, "cancel", plain)
	b.want(later+": cancelled\n", "cancel", later)
	if b.there(queue.QPath(later) + "/" + later) {
		t.Error("still there")
	}
}

func TestPause(t *testing.T) {
	b := newBench(t)
	id := b.put("q", queue.Envelope{From: path("alice@example.org"), Rcpts: []queue.Rcpt{{N: 1, To: path("bob@example.net")}}}, "\nhi\n")
	state := func() string {
		var e Entry
		out, _, _ := b.run("--json", "list")
		json.Unmarshal([]byte(out), &e)
		return e.State + " " + e.Reason
	}
	for _, c := range []struct{ target, reason, state string }{
		{"all", "moving house", "paused all, moving house"},
		{"from:alice@example.org", "", "paused from:alice@example.org"},
		{"from:example.org", "", "paused from:example.org"},
		{"from:eve@example.org", "", "new "},
		{"site:example.net", "", "paused site:example.net"},
		{"site:other.example", "", "new "},
	} {
		b.want(c.target+": paused\n", "pause", c.target, c.reason)
		if got := state(); got != c.state {
			t.Errorf("%s: %s", c.target, got)
		}
		b.want(c.target+": resumed\n", "resume", c.target)
		if got := state(); got != "new " {
			t.Errorf("resumed: %s", got)
		}
		b.fails(exNoInput, "resume", c.target)
	}
	b.want("all: paused\n", "pause", "all", "--until=2h30m", "over", "lunch")
	b.want("paused all  over lunch until "+b.now.Add(150*time.Minute).UTC().Truncate(time.Second).Format("2006-01-02 15:04:05")+" (in 2h30m)\n", "pause")
	b.want("site:mx.example.net: limited\n", "limit", "site:mx.example.net", "conns=2", "rate=10/m")
	out, _, err := b.run("--json", "pause")
	if err != nil || strings.Count(out, "\n") != 2 || !strings.Contains(out, `{"what":"limited","kind":"site","name":"mx.example.net","limit":"conns=2 rate=10/m"}`) {
		t.Errorf("%v %s", err, out)
	}
	b.want("site:mx.example.net: not limited any more\n", "limit", "site:mx.example.net")
	for _, bad := range [][]string{{"pause", "nonsense"}, {"pause", "all", "--untill", "2h"}, {"why", "-x"}, {"hold", "--now"}, {"pause", "site:"}, {"pause", "all", "--until=tomorrow"}, {"resume"}, {"limit"}, {"limit", "site:x", "speed=1"}, {"retry"}, {"shape", "x"}} {
		b.fails(exUsage, bad...)
	}
	_ = id
}

// S159: whatever a stranger has put into an address, a reply, a header, a file name or a reason, the terminal
// sees escapes, each answer stays on its line, and JSON stays JSON.
func TestS159Terminal(t *testing.T) {
	b := newBench(t)
	evil := "\x1b]52;c;AAAA\a\x1b[2J\r\u009b31m\u0085\u202egnp.exe\u2066\xff\xfe\u2028\u200b\x7f\U000e0041"
	id := b.put("q", queue.Envelope{From: path("alice@example.org"), Auth: "al" + evil, Checks: evil, Flow: evil, Mail: evil,
		Rcpts: []queue.Rcpt{{N: 1, To: path("bob@example.net")}}}, "Subject: a"+evil+"\nX: "+evil+"\n\nhi\n")
	ev := greylisted
	ev.Site, ev.Host, ev.Status.Text, ev.Why, ev.Next = "mx"+evil, "h"+evil, evil, evil, b.now.Add(time.Minute)
	b.event(id, ev)
	os.WriteFile(filepath.Join(b.dir, "pause/site:x"), []byte(evil), 0o644)
	os.WriteFile(filepath.Join(b.dir, "pause/all"), []byte(evil), 0o644)
	os.WriteFile(filepath.Join(b.dir, "pause/non"+strings.ReplaceAll(evil, "/", "")), nil, 0o644)
	b.put("hold", queue.Envelope{Rcpts: []queue.Rcpt{{N: 1, To: path("bob@example.net")}}}, "\nhi\n")
	filepath.Walk(filepath.Join(b.dir, "hold"), func(name string, info fs.FileInfo, err error) error {
		if strings.HasSuffix(name, ".why") {
			os.WriteFile(name, []byte(evil), 0o644)
		}
		return nil
	})
	os.WriteFile(filepath.Join(b.dir, queue.QPath(id), b.s.NewID()), []byte("pennypost: 1\nfrom"+evil), 0o644)
	j := b.s.OpenJournal(nil)
	gone := b.s.NewID()
	ev.Kind, ev.ID, ev.Time = queue.Deliver, gone, time.Now()
	j.Add(&ev)
	j.Close()
	for _, args := range [][]string{{"list"}, {"show", "all"}, {"why", id}, {"why", gone}, {"shape"}, {"pause"}, {"hold", "all"}, {"list", "--width=50"}} {
		for _, json := range []bool{false, true} {
			if json {
				args = append(args, "--json")
			}
			out, notes, err := b.run(args...)
			if err != nil {
				t.Errorf("mailq %v: %v", args, err)
				notes += err.Error() + "\n"
			}
			for _, r := range out + notes {
				if r != '\n' && (r == utf8.RuneError && !json || !unicode.IsPrint(r)) {
					t.Errorf("mailq %v prints %q:\n%q", args, r, out+notes)
					break
				}
			}
			for _, line := range strings.Split(strings.TrimSuffix(out, "\n"), "\n") {
				if json && out != "" && !isJSON(line) {
					t.Errorf("mailq %v: no JSON: %s", args, line)
				}
			}
		}
	}
	b.fails(exUsage, "why", evil)
	_, _, err := b.run("list", evil)
	if err == nil || strings.ContainsAny(err.Error(), "\x1b\a\r\x7f") {
		t.Errorf("%q", err)
	}
}

func isJSON(s string) bool { return json.Valid([]byte(s)) }

// TestLostPermissions looks at a spool in which new mail may not be seen.
func TestLostPermissions(t *testing.T) {
	if os.Getuid() == 0 {
		t.Skip("root may see everything")
	}
	b := newBench(t)
	os.Chmod(filepath.Join(b.dir, "in/mx/new"), 0)
	defer os.Chmod(filepath.Join(b.dir, "in/mx/new"), 0o700)
	if out, notes, err := b.run(); err != nil || out != "Mail queue is empty\n" || !strings.Contains(notes, "not shown") {
		t.Errorf("%q %q %v", out, notes, err)
	}
}

func TestSpan(t *testing.T) {
	for d, want := range map[time.Duration]string{0: "0s", time.Second: "1s", 90 * time.Second: "1m30s", 12 * time.Minute: "12m", 200 * time.Minute: "3h20m", 12*time.Hour + time.Minute: "12h",
		50 * time.Hour: "2d2h", -time.Minute: "1m", 400 * 24 * time.Hour: "400d"} {
		if got := span(d); got != want {
			t.Errorf("%v: %s, want %s", d, got, want)
		}
	}
}
