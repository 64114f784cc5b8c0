package run

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pennypost/internal/config"
	"pennypost/internal/order"
	"pennypost/internal/status"
	"pennypost/queue"
)

// TestArchive: before its first attempt every message, reports too, has a second name in archive/new, and only then. It stays when
// the message has gone.
func TestArchive(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.run.Archive = config.Archive{Enabled: true}
	fail := true
	missing := ""
	b.local = func(o *order.Order) []order.Answer {
		if _, err := os.Stat(filepath.Join(b.dir, "archive/new", o.ID)); err != nil && fail {
			missing += " " + o.ID
		}
		if fail {
			return say(deferred)(o)
		}
		return say(taken)(o)
	}
	b.begin()
	id := b.accept(queue.Envelope{Via: "submit esmtpsa", From: path("carol@example.org"), Auth: "carol@example.org", Rcpts: to("bob@example.org", "nobody@example.org")})
	b.eventually("deferrals", func() bool { return len(b.delivers()) == 2 && b.queued() == 2 })
	report := queue.Derived(id, 'b', 1)
	names, _ := filepath.Glob(filepath.Join(b.dir, "archive/new/*"))
	if len(names) != 2 || filepath.Base(names[0]) != id || filepath.Base(names[1]) != report {
		t.Errorf("archive/new has %v", names)
	}
	b.end()
	if missing != "" {
		t.Errorf("tried before they were archived:%s", missing)
	}
	text, err := os.ReadFile(names[0])
	if err != nil || !strings.Contains(string(text), "from: carol@example.org\n") {
		t.Errorf("in the archive: %q, %v", text, err)
	}
	for _, name := range names { // the archive has taken them
		os.Remove(name)
	}
	fail = false
	b.run.Archive = config.Archive{Enabled: true, Required: true}
	b.begin()
	b.eventually("delivery", func() bool {
		os.WriteFile(filepath.Join(b.dir, "kick/all"), nil, 0o644)
		return b.empty()
	})
	b.end()
	if names, _ := filepath.Glob(filepath.Join(b.dir, "archive/new/*")); len(names) > 0 {
		t.Errorf("archived again: %v", names)
	}
}

// TestArchiveRequired: what cannot be linked is not delivered where archive.required says so, and is where it does not; it is delivered
// when the archive is back.
func TestArchiveRequired(t *testing.T) {
	t.Parallel()
	for _, required := range []bool{true, false} {
		b := newBench(t)
		b.run.Archive = config.Archive{Enabled: true, Required: required}
		b.local = say(status.Result{Code: 250, Enhanced: "2.0.0", Text: "ok"})
		if err := os.Remove(filepath.Join(b.dir, "archive/new")); err != nil {
			t.Fatal(err)
		}
		b.begin()
		id := b.accept(queue.Envelope{Via: "mx esmtp", From: path("ann@example.com"), Rcpts: to("bob@example.org")})
		if required {
			b.eventually("warning", func() bool { b.run.Log.Flush(); return b.run.now() > 3e9 }) // longer than what is new stays in in/
			if files := b.files(); len(files) != 1 || files[0] != "in/mx/new/"+id || len(b.delivers()) > 0 {
				t.Errorf("spool %v, orders %v", files, b.delivers())
			}
			if err := os.Mkdir(filepath.Join(b.dir, "archive/new"), 0o755); err != nil {
				t.Fatal(err)
			}
			os.WriteFile(filepath.Join(b.dir, "kick/try:"+id), nil, 0o644)
		}
		b.eventually("delivery", b.empty)
		b.end()
		_, err := os.Stat(filepath.Join(b.dir, "archive/new", id))
		if (err == nil) != required {
			t.Errorf("required=%v: %v", required, err)
		}
		if warned := strings.Contains(b.log.String(), "archive"); !warned {
			t.Errorf("required=%v: no warning in the log:\n%s", required, b.log)
		}
	}
}
