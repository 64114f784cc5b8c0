package run

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pennypost/internal/config"
	"pennypost/internal/order"
	"pennypost/internal/status"
	"pennypost/queue"
	"pennypost/queue/route"
)

// newSenderBench is a bench where mallory@example.org may send little.
func newSenderBench(t *testing.T, l config.Outbound) *bench {
	b := newBench(t)
	b.run.Routes = &route.Table{Domains: directory{"mallory@example.org": "", "postmaster@example.org": "", "bob@example.org": ""}, Origin: "example.org", MaxExpansion: 100}
	b.run.Outbound = l
	return b
}

// send submits a message of an account.
func (b *bench) send(auth string, to ...string) string {
	b.t.Helper()
	env := &queue.Envelope{ID: b.spool.NewID(), Time: time.Now(), Via: "submit esmtpsa ip=192.0.2.7", From: path(auth), Auth: auth}
	for i, t := range to {
		env.Rcpts = append(env.Rcpts, queue.Rcpt{N: i + 1, To: path(t)})
	}
	w, err := b.spool.Begin("submit", env)
	if err == nil {
		w.Write([]byte("Subject: hi\n\nhi\n"))
		err = w.Commit()
	}
	if err != nil {
		b.t.Fatal(err)
	}
	w.Hint()
	return env.ID
}

// notices are the deliveries of reports to a recipient.
func (b *bench) notices(to string) (n int) {
	for _, o := range b.delivers() {
		for _, rc := range o.Rcpts {
			if rc.To == path(to) {
				n++
			}
		}
	}
	return n
}

// TestS121StolenAccount: an account that writes to many new people has its further mail held; user and postmaster are told once; others are not
// affected; it stays so over a restart, and ends when the file goes.
func TestS121StolenAccount(t *testing.T) {
	t.Parallel()
	limits := config.Outbound{NewRecipients: config.Rate{N: 5, Per: 24 * time.Hour}}
	b := newSenderBench(t, limits)
	routes := b.run.Routes
	b.begin()
	for i := range 10 {
		b.send("mallory@example.org", fmt.Sprintf("victim%d@example.net", i))
		if i == 0 {
			b.eventually("the first one", func() bool { return len(b.delivers()) == 1 })
		}
	}
	b.send("bob@example.org", "friend@example.net")
	b.eventually("holds", func() bool { return len(b.held()) == 5 })
	b.eventually("notices", func() bool {
		return b.notices("mallory@example.org") == 1 && b.notices("postmaster@example.org") == 1 && b.notices("friend@example.net") == 1
	})
	held := filepath.Join(b.dir, "outbound/held:mallory@example.org")
	b.eventually("the file", func() bool {
		text, _ := os.ReadFile(held)
		return strings.Contains(string(text), "outbound.new_recipients")
	})
	if text, _ := os.ReadFile(filepath.Join(b.dir, "hold", b.held()[0]+".why")); !strings.Contains(string(text), "mallory@example.org") {
		t.Errorf("why: %q", text)
	}
	b.end()
	if n := strings.Count(b.log.String(), "outbound user=mallory@example.org state=held"); n != 1 {
		t.Errorf("told %d times: %s", n, b.log)
	}

	b.run.Routes, b.run.Outbound = routes, limits
	b.begin()
	b.send("mallory@example.org", "victim0@example.net")
	b.eventually("a hold after a restart", func() bool { return len(b.held()) == 6 })
	id := b.held()[0]
	if err := b.spool.Release(id); err != nil { // one that a person has looked at
		t.Fatal(err)
	}
	b.eventually("its delivery", func() bool {
		for _, o := range b.delivers() {
			if o.ID == id {
				return true
			}
		}
		return false
	})
	os.Remove(held)
	b.eventually("a new beginning", func() bool {
		text, _ := os.ReadFile(filepath.Join(b.dir, "outbound/count:mallory@example.org"))
		return strings.Contains(string(text), "new_recipients 0.00")
	})
	before := b.notices("victim1@example.net")
	b.send("mallory@example.org", "victim1@example.net") // known, from before the restart
	b.eventually("mail again", func() bool { return b.notices("victim1@example.net") > before })
	b.end()
	if !strings.Contains(b.log.String(), "outbound user=mallory@example.org state=released") {
		t.Errorf("log %s", b.log)
	}
	if b.notices("mallory@example.org") != 1 {
		t.Errorf("%d notices", b.notices("mallory@example.org"))
	}
}

// TestS121BounceRatio: many refusals hold further mail, and what waits for another try.
func TestS121BounceRatio(t *testing.T) {
	t.Parallel()
	limits := config.Outbound{BounceRatio: 30}
	b := newSenderBench(t, limits)
	ok := b.mail
	b.mail = func(o *order.Order) []order.Answer {
		switch {
		case o.Verb == "deliver" && strings.HasPrefix(o.Rcpts[0].To.Local, "dead"):
			return say(status.Result{Outcome: status.Failed, Code: 550, Enhanced: "5.1.1", Text: "no such user"})(o)
		case o.Verb == "deliver" && o.Rcpts[0].To.Local == "later":
			return say(status.Result{Outcome: status.Deferred, Code: 450, Enhanced: "4.2.0", Text: "later"})(o)
		}
		return ok(o)
	}
	b.begin()
	waiting := b.send("mallory@example.org", "later@example.com")
	b.eventually("deferral", func() bool { return len(b.events(waiting)) == 1 })
	var to []string
	for i := range 60 {
		to = append(to, fmt.Sprintf("dead%d@example.net", i))
	}
	b.send("mallory@example.org", to...)
	b.eventually("hold of what waited", func() bool { h := b.held(); return len(h) == 1 && h[0] == waiting })
	b.send("mallory@example.org", "friend@example.net")
	b.eventually("hold of what comes", func() bool { return len(b.held()) == 2 })
	b.end()
}
