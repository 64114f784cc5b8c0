package run

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"pennypost/internal/order"
	"pennypost/internal/status"
	"pennypost/queue"
)

var (
	refused  = status.Result{Outcome: status.Failed, Code: 550, Enhanced: "5.1.1", Text: "no such user"}
	deferred = status.Result{Outcome: status.Deferred, Code: 451, Enhanced: "4.0.0", Text: "not now"}
	taken    = status.Result{Code: 250, Enhanced: "2.0.0", Text: "ok"}
)

// accept puts a message with any envelope into the spool.
func (b *bench) accept(env queue.Envelope) string {
	b.t.Helper()
	if env.ID == "" {
		env.ID = b.spool.NewID()
	}
	if env.Time.IsZero() {
		env.Time = time.Now()
	}
	producer, _, _ := strings.Cut(env.Via, " ")
	w, err := b.spool.Begin(producer, &env)
	if err == nil {
		_, err = w.Write([]byte("Subject: hi\n\nhi\n"))
	}
	if err == nil {
		err = w.Commit()
	}
	if err != nil {
		b.t.Fatal(err)
	}
	w.Hint()
	return env.ID
}

// to are recipients, each an address and the parameters of its RCPT.
func to(list ...string) (rcpts []queue.Rcpt) {
	for i, s := range list {
		addr, params, _ := strings.Cut(s, " ")
		rcpts = append(rcpts, queue.Rcpt{N: i + 1, To: path(addr), Params: params})
	}
	return rcpts
}

// reports are what was delivered of mail with the null sender, as "ID to ADDRESS".
func (b *bench) reports() (list []string) {
	for _, o := range b.delivers() {
		if strings.Contains(o.ID, ".") {
			list = append(list, o.ID+" to "+o.Rcpts[0].To.String())
		}
	}
	slices.Sort(list)
	return list
}

// held are the messages in hold/.
func (b *bench) held() (ids []string) {
	for _, name := range b.files() {
		if base, ok := strings.CutPrefix(name, "hold/"); ok && filepath.Ext(base) != ".s" && filepath.Ext(base) != ".why" {
			ids = append(ids, base)
		}
	}
	return ids
}

// queued are the messages that are on their way.
func (b *bench) queued() (n int) {
	for _, name := range b.files() {
		if !strings.HasPrefix(name, "hold/") && filepath.Ext(name) != ".s" {
			n++
		}
	}
	return n
}

// TestS072Backscatter: a report goes to an outside sender only if somebody vouches for him; else the message is held.
func TestS072Backscatter(t *testing.T) {
	for _, c := range []struct {
		name, unverified string
		env              queue.Envelope
		held             bool
	}{
		{"outside", "hold", queue.Envelope{Via: "mx esmtp", From: path("ann@example.com")}, true},
		{"outside, send", "send", queue.Envelope{Via: "mx esmtp", From: path("ann@example.com")}, false},
		{"SPF", "hold", queue.Envelope{Via: "mx esmtp", From: path("ann@example.com"), Checks: "spf=pass dkim=none"}, false},
		{"SPF failed", "hold", queue.Envelope{Via: "mx esmtp", From: path("ann@example.com"), Checks: "spf=fail dkim=none"}, true},
		{"DKIM", "hold", queue.Envelope{Via: "mx esmtp", From: path("ann@news.example.com"), Checks: "spf=none dkim=pass:example.com"}, false},
		{"a machine of ours", "hold", queue.Envelope{Via: "mx esmtp", From: path("ann@example.com"), Checks: "client=pass"}, false},
		{"DKIM of another", "hold", queue.Envelope{Via: "mx esmtp", From: path("ann@example.com"), Checks: "spf=none dkim=pass:example.net"}, true},
		{"DKIM of a name that ends alike", "hold", queue.Envelope{Via: "mx esmtp", From: path("ann@badexample.com"), Checks: "dkim=pass:example.com"}, true},
		{"logged in", "hold", queue.Envelope{Via: "submit esmtpsa", From: path("ann@example.com"), Auth: "bob@example.org"}, false},
		{"a program here", "hold", queue.Envelope{Via: "local uid 1000", From: path("ann@example.com")}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			b.run.Conf.BounceUnverified = c.unverified
			b.mail = func(o *order.Order) []order.Answer {
				if len(o.Rcpts) > 0 && o.Rcpts[0].To == path("dave@example.net") {
					return say(refused)(o)
				}
				return say(taken)(o)
			}
			b.begin()
			c.env.Rcpts = to("dave@example.net", "bob@example.org")
			id := b.accept(c.env)
			b.eventually("end", func() bool {
				return b.queued() == 0 && (c.held && len(b.held()) == 1 || !c.held && len(b.reports()) == 1)
			})
			b.end()
			switch {
			case c.held && (!slices.Equal(b.held(), []string{id}) || len(b.reports()) > 0):
				t.Errorf("held %v, reports %v", b.held(), b.reports())
			case !c.held && (len(b.held()) > 0 || b.reports()[0] != queue.Derived(id, 'b', 1)+" to "+c.env.From.String()):
				t.Errorf("held %v, reports %v", b.held(), b.reports())
			}
			if why, _ := os.ReadFile(filepath.Join(b.dir, "hold", id+".why")); c.held && !strings.Contains(string(why), "bounce_unverified") {
				t.Errorf("ID.why says %q", why)
			}
		})
	}
}

// TestS072BounceRate: a flood of bounces to one address stops at queue.bounce_rate; what is beyond is held, not lost.
func TestS072BounceRate(t *testing.T) {
	b := newBench(t)
	b.run.Conf.BounceRate = 3
	b.begin()
	for range 5 {
		b.accept(queue.Envelope{Via: "mx esmtp", From: path("ann@example.com"), Rcpts: to("nobody@example.org")})
	}
	other := b.accept(queue.Envelope{Via: "mx esmtp", From: path("eve@example.com"), Rcpts: to("nobody@example.org")})
	b.eventually("end", func() bool { return b.queued() == 0 && len(b.reports()) == 4 && len(b.held()) == 2 })
	b.end()
	if !slices.Contains(b.reports(), queue.Derived(other, 'b', 1)+" to eve@example.com") {
		t.Errorf("reports %v", b.reports())
	}
}

// TestS069DoubleBounce: nobody gets a report of a report, except queue.double_bounce, once.
func TestS069DoubleBounce(t *testing.T) {
	lost := func(o *order.Order) []order.Answer { return say(refused)(o) }
	for _, c := range []struct {
		name, postmaster string
		via              string
		local            func(*order.Order) []order.Answer
		reports, held    int
	}{
		{"outside", "", "mx esmtp", lost, 0, 0},
		{"ours", "", "bounce of another", lost, 0, 1},
		{"ours, told", "carol@example.org", "bounce of another", nil, 1, 0},
		{"outside, told", "carol@example.org", "mx esmtp", nil, 1, 0},
		{"nor does postmaster take it", "carol@example.org", "bounce of another", lost, 1, 1},
		{"nobody there", "nobody@example.org", "mx esmtp", nil, 0, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			b.run.Conf.DoubleBounce = c.postmaster
			if b.local = say(taken); c.local != nil {
				b.local = c.local
			}
			b.begin()
			env := queue.Envelope{Via: c.via, Rcpts: to("nobody@example.org")}
			if strings.HasPrefix(c.via, "bounce") {
				env.ID = queue.Derived(b.spool.NewID(), 'b', 1)
			}
			id := b.accept(env)
			b.eventually("end", func() bool { return b.queued() == 0 && len(b.reports()) == c.reports && len(b.held()) == c.held })
			b.end()
			if c.reports == 1 && b.reports()[0] != queue.Derived(id, 'b', 1)+" to carol@example.org" {
				t.Errorf("reports %v", b.reports())
			}
		})
	}
}

// TestNotify is RFC 3461 section 4.1: who asked for what gets it, and nobody else anything.
func TestNotify(t *testing.T) {
	for _, c := range []struct {
		rcpt   string
		result status.Result
		passed bool // the next hop knows DSN
		want   string
	}{
		{"dave@example.net", taken, false, ""},
		{"dave@example.net NOTIFY=NEVER", refused, false, ""},
		{"dave@example.net NOTIFY=SUCCESS", refused, false, ""},
		{"dave@example.net NOTIFY=DELAY", refused, false, ""},
		{"dave@example.net", refused, false, "failed"},
		{"dave@example.net NOTIFY=FAILURE", refused, false, "failed"},
		{"dave@example.net NOTIFY=SUCCESS,FAILURE", refused, false, "failed"},
		{"dave@example.net NOTIFY=SUCCESS", taken, false, "relayed"},
		{"dave@example.net NOTIFY=SUCCESS", taken, true, ""},
		{"dave@example.net NOTIFY=FAILURE", taken, false, ""},
		{"dave@example.net notify=success", taken, false, "relayed"},
		{"bob@example.org NOTIFY=SUCCESS", taken, false, "delivered"},
		{"both@example.org NOTIFY=SUCCESS", taken, false, "expanded"},
		{"dave@example.net", deferred, false, "delayed"},
		{"dave@example.net NOTIFY=DELAY", deferred, false, "delayed"},
		{"dave@example.net NOTIFY=FAILURE", deferred, false, ""},
		{"dave@example.net NOTIFY=NEVER", deferred, false, ""},
	} {
		t.Run(c.rcpt+" "+c.result.Outcome.String(), func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			b.run.Conf.DelayDSN = time.Nanosecond
			answer := func(o *order.Order) []order.Answer {
				if strings.Contains(o.ID, ".") || o.Verb == "resolve" {
					return say(taken)(o)
				}
				list := say(c.result)(o)
				for i := range list {
					list[i].DSN = c.passed
				}
				return list
			}
			b.mail, b.local = answer, answer
			b.begin()
			id := b.accept(queue.Envelope{ID: idAt(time.Now().Add(-time.Minute), 1), Via: "submit esmtpsa", From: path("carol@example.org"), Auth: "carol@example.org", Rcpts: to(c.rcpt)})
			left, want := 0, 0
			if c.result.Outcome == status.Deferred {
				left = 1
			}
			if c.want != "" {
				want = 1
			}
			b.eventually("end", func() bool { return len(b.events(id)) > 0 && b.queued() == left && len(b.reports()) >= want })
			b.end()
			kinds := map[string]byte{"failed": 'b', "relayed": 's', "delivered": 's', "expanded": 'x', "delayed": 'w'}
			var expect []string
			if c.want != "" {
				expect = []string{queue.Derived(id, kinds[c.want], 1) + " to carol@example.org"}
			}
			if !slices.Equal(b.reports(), expect) {
				t.Errorf("reports %v, want %v", b.reports(), expect)
			}
		})
	}
}

// TestDelayNoticeOnce: one notice for a message, whatever its recipients do, for this runner and the next, with its checkpoint and without.
func TestDelayNoticeOnce(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.mail = func(o *order.Order) []order.Answer {
		if strings.Contains(o.ID, ".") || o.Verb == "resolve" {
			return say(taken)(o)
		}
		return say(deferred)(o)
	}
	var id string
	for life := range 3 {
		b.run.Conf.DelayDSN = time.Nanosecond
		if life == 2 {
			os.Remove(filepath.Join(b.dir, checkpointFile))
		}
		b.begin()
		if life == 0 {
			id = b.accept(queue.Envelope{ID: idAt(time.Now().Add(-time.Hour), 1), Via: "submit esmtpsa", From: path("carol@example.org"), Auth: "carol@example.org",
				Time: time.Now().Add(-time.Hour), Rcpts: to("dave@example.net", "erin@example.com", "frank@example.com")})
		}
		tried := func() (n int) {
			for _, o := range b.delivers() {
				if o.ID == id {
					n++
				}
			}
			return n
		}
		before := tried()
		if life > 0 {
			b.eventually("another attempt", func() bool {
				os.WriteFile(filepath.Join(b.dir, "kick/try:"+id), nil, 0o644)
				time.Sleep(100 * time.Millisecond)
				return tried() >= before+2
			})
		}
		b.eventually("notice", func() bool { return len(b.reports()) > 0 && b.queued() == 1 })
		b.end()
	}
	if got := b.reports(); !slices.Equal(got, []string{queue.Derived(id, 'w', 1) + " to carol@example.org"}) {
		t.Errorf("notices %v", got)
	}
}

// TestDelayNoticeParked: mail that was never tried itself, as its site is down, is late all the same, and its sender is told why.
func TestDelayNoticeParked(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.run.Conf.DelayDSN = time.Second
	b.mail = func(o *order.Order) []order.Answer {
		if o.Verb == "resolve" {
			return say(taken)(o)
		}
		return []order.Answer{{Kind: 'S', Seq: o.Seq, Result: status.Result{Text: "mx.example.net: connection refused"}}, {Kind: 'E', Seq: o.Seq}}
	}
	var text string
	b.local = func(o *order.Order) []order.Answer {
		names, _ := filepath.Glob(filepath.Join(b.dir, "in/bounce/new", o.ID))
		for _, name := range names {
			t, _ := os.ReadFile(name)
			text += string(t)
		}
		return say(taken)(o)
	}
	b.begin()
	var ids []string
	for i := range 3 {
		ids = append(ids, b.accept(queue.Envelope{Via: "submit esmtpsa", From: path("carol@example.org"), Auth: "carol@example.org", Rcpts: to(fmt.Sprintf("u%d@example.net", i))}))
	}
	b.eventuallyIn(15*time.Second, "notices", func() bool { return len(b.reports()) == len(ids) })
	b.end()
	b.mu.Lock()
	defer b.mu.Unlock()
	if n := strings.Count(text, "connection refused"); n < len(ids) {
		t.Errorf("the notices give the reason %d times:\n%s", n, text)
	}
}

// TestExpireAfterOutage: mail that grew too old while we did not run is tried once before it is given up.
func TestExpireAfterOutage(t *testing.T) {
	for _, c := range []struct {
		name   string
		result status.Result
		want   []string
	}{
		{"delivered", taken, []string{"deliver 1", "end 0"}},
		{"given up", deferred, []string{"defer 1", "expire 1", "bounce 1", "end 0"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			b.mail = func(o *order.Order) []order.Answer {
				if strings.Contains(o.ID, ".") || o.Verb == "resolve" {
					return say(taken)(o)
				}
				return say(c.result)(o)
			}
			at := time.Now().Add(-6 * 24 * time.Hour)
			id := b.accept(queue.Envelope{ID: idAt(at, 1), Time: at, Via: "submit esmtpsa", From: path("carol@example.org"), Auth: "carol@example.org", Rcpts: to("dave@example.net")})
			b.begin()
			b.eventually("end", b.empty)
			b.end()
			if got := b.events(id); !slices.Equal(got, c.want) {
				t.Errorf("journal %v, want %v", got, c.want)
			}
		})
	}
}
