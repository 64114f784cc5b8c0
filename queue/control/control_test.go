package control

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"pennypost/queue"
)

func spool(t *testing.T) (*queue.Spool, string) {
	dir := t.TempDir()
	if err := queue.Make(dir, "a"); err != nil {
		t.Fatal(err)
	}
	s, err := queue.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s, dir
}

// TestByHand makes the control files as a person does: with echo and touch.
func TestByHand(t *testing.T) {
	s, dir := spool(t)
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	for name, text := range map[string]string{
		"pause/site:mx.example.org":  "their disk is full, until=2026-11-22T13:00\n",
		"pause/from:a@example.org":   "",
		"pause/list:go":              "over, until=2026-11-22T11:59:00Z",
		"pause/transport:remote":     "until=tomorrow",
		"pause/nonsense":             "",
		"pause/all.swp":              "",
		"limit/site:mx.example.org":  "conns=2 rate=30/m until=2026-11-22T12:30:00Z\n",
		"limit/site:old.example.org": "conns=2 until=2026-11-22T11:30\n",
		"limit/site:bad.example.org": "speed=2\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	st, err := ReadAt(s, now)
	if err != nil {
		t.Fatal(err)
	}
	if p, ok := st.Paused("site", "MX.example.org"); !ok || p.Reason != "their disk is full" || p.Until.Hour() != 13 {
		t.Errorf("pause of the site: %+v, %v", p, ok)
	}
	if _, ok := st.Paused("list", "go"); ok {
		t.Error("a pause that is over still stands")
	}
	if _, ok := st.Paused("transport", "remote"); !ok {
		t.Error("a pause with an end nobody understands does not stand")
	}
	if l, ok := st.Limited("site", "mx.example.org"); !ok || l.Conns != 2 || l.Rate != 0.5 {
		t.Errorf("limit of the site: %+v, %v", l, ok)
	}
	if len(st.Limits) != 1 || len(st.Bad) != 4 {
		t.Errorf("%d limits, complaints %v", len(st.Limits), st.Bad)
	}
}

func TestKicks(t *testing.T) {
	s, dir := spool(t)
	id := s.NewID()
	for _, k := range []Kick{{"try", id, ""}, {"hold", id, "looks like spam"}, {"site", "mx/../x", ""}, {"all", "", ""}} {
		if err := Ask(s, k); err != nil {
			t.Fatal(err)
		}
	}
	if err := Ask(s, Kick{Verb: "bounce", Name: "../../etc/passwd"}); err == nil {
		t.Error("a kick with a path for an id is taken")
	}
	os.WriteFile(filepath.Join(dir, "kick/nonsense"), nil, 0o644)
	want := []Kick{{"all", "", ""}, {"hold", id, "looks like spam"}, {"site", "mx/../x", ""}, {"try", id, ""}}
	for _, obeyed := range []bool{false, true} { // what is not obeyed, for a crash or for want of a message, is there again
		var got []Kick
		err := Obey(s, func(k Kick) bool {
			if names, _ := s.Disk.ReadDir("kick"); !slices.Contains(names, file(k.Verb, k.Name)) {
				t.Errorf("%v was removed before it was obeyed", k)
			}
			got = append(got, k)
			return obeyed
		})
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("got %v, %v", got, err)
		}
	}
	if names, _ := s.Disk.ReadDir("kick"); len(names) > 0 {
		t.Errorf("left: %q", names)
	}
}

// TestDeadlyKick: a kick that hits a mistake of ours costs one start of the program, not all.
func TestDeadlyKick(t *testing.T) {
	s, _ := spool(t)
	if err := Ask(s, Kick{Verb: "try", Name: s.NewID()}); err != nil {
		t.Fatal(err)
	}
	func() {
		defer func() { recover() }()
		Obey(s, func(Kick) bool { panic("a mistake") })
	}()
	if names, _ := s.Disk.ReadDir("kick"); len(names) > 0 {
		t.Errorf("left %q", names)
	}
}

func TestPauseAndResume(t *testing.T) {
	s, _ := spool(t)
	until := time.Now().Add(time.Hour).Truncate(time.Second)
	for _, p := range []Pause{{Kind: "all"}, {Kind: "from", Name: "\"a b\"@example.org", Reason: "two\nlines", Until: until}} {
		if err := SetPause(s, p); err != nil {
			t.Fatal(err)
		}
		st, err := Read(s)
		if err != nil || len(st.Bad) > 0 {
			t.Fatal(err, st.Bad)
		}
		if got, ok := st.Paused(p.Kind, p.Name); !ok || !got.Until.Equal(p.Until) {
			t.Errorf("set %+v, read %+v", p, got)
		}
		if err := Resume(s, p.Kind, p.Name); err != nil {
			t.Error(err)
		}
		if st, _ := Read(s); len(st.Pauses) > 0 {
			t.Error("resumed, and paused still")
		}
	}
}
