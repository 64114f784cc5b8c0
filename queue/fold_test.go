package queue

import (
	"errors"
	"testing"
	"time"

	"pennypost/internal/address"
)

// events reads lines as a person writes them into a test.
func events(t *testing.T, lines ...string) (list []Event) {
	t.Helper()
	for _, l := range lines {
		ev, err := ParseEvent([]byte(l))
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, ev)
	}
	return list
}

func TestFold(t *testing.T) {
	const id = " 0fk2v9qk3x7m2c000-a "
	e := &Envelope{Rcpts: []Rcpt{{1, bob, "NOTIFY=NEVER"}, {2, alice, ""}, {3, address.Path{Local: "list"}, "ORCPT=x"}}}
	lines := events(t,
		"1"+id+"accept - from=- size=10",
		"2"+id+"route 1 to=robert@example.org site=mx.example.org",
		"3"+id+"expand 3 target=x@example.org target=y@example.org",
		"4"+id+"defer 1 site=mx.example.org code=450 status=4.2.0 why=greylist next=99.5 n=1 text=later",
		"5"+id+"deliver 2 site=local n=1 code=250 status=2.0.0",
		"6"+id+"deliver 3.1 n=1",
		"7"+id+"expand 3.2 target=z@example.org",
		"8"+id+"delay - dsn=0fk2v9qk3x7m2c000-a.b1",
		"9"+id+"bounce 3.3 dsn=0fk2v9qk3x7m2c000-a.b2 code=550 status=5.1.1",
		"10"+id+"expire 1 status=4.4.7",
	)
	twice := append(append([]Event(nil), lines...), lines...) // .s and the journal say the same
	for _, list := range [][]Event{lines, twice} {
		st := Fold(e, list)
		if len(st.Rcpts) != 6 || st.Attempts != 1 || st.Bounces != 2 || !st.Delayed || st.Ended || st.Owed() != 1 {
			t.Fatalf("%+v", st)
		}
		r := st.Find(Num{1, 0})
		if r.Done || r.To.Local != "robert" || r.Site != "mx.example.org" || !r.Next.Equal(time.UnixMicro(99500000)) || r.Attempts != 1 {
			t.Errorf("deferred: %+v", r)
		}
		if r := st.Find(Num{2, 0}); !r.Done || r.Last.Code != 250 {
			t.Errorf("delivered: %+v", r)
		}
		if r := st.Find(Num{3, 0}); !r.Expanded || r.Done {
			t.Errorf("expanded: %+v", r)
		}
		if r := st.Find(Num{3, 3}); !r.Done || r.To.Local != "z" || r.Params != "ORCPT=x" {
			t.Errorf("target of a target: %+v", r)
		}
	}
	if st := Fold(e, append(lines, events(t, "11"+id+"end -")...)); !st.Ended {
		t.Error("not ended")
	}
}

// A message that somebody moved to hold/ and back has not ended.
func TestMoved(t *testing.T) {
	ev := Event{ID: "0fk2v9qk3x7m2c000-a", Kind: Remove, Why: Moved}
	text := ev.Append(nil)
	ev, err := ParseEvent(text[:len(text)-1])
	if err != nil {
		t.Fatal(err)
	}
	e := &Envelope{Rcpts: []Rcpt{{1, bob, ""}}}
	if Fold(e, []Event{ev}).Ended {
		t.Error("ended")
	}
	if ev.Why = ""; !Fold(e, []Event{ev}).Ended {
		t.Error("removed, and not ended")
	}
}

// TestList keeps more recipients than an envelope holds.
func TestList(t *testing.T) {
	s := onDisk(t)
	id := s.NewID()
	var rcpts []Rcpt
	for n := 1; n <= 2500; n++ {
		rcpts = append(rcpts, Rcpt{n, address.Path{Local: "user", Domain: "example.org"}, "NOTIFY=NEVER"})
	}
	file, err := s.WriteRecipients("list", id, rcpts)
	if err != nil {
		t.Fatal(err)
	}
	w, err := s.Begin("list", &Envelope{ID: id, Via: "list", From: alice, RcptFile: file})
	if err != nil {
		t.Fatal(err)
	}
	w.Write([]byte(message))
	if err := w.Commit(); err != nil {
		t.Fatal(err)
	}
	name, err := s.Take(w.Name())
	if err != nil {
		t.Fatal(err)
	}
	m, err := s.Load(name, true)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	if err := s.CheckRecipients(m); err != nil {
		t.Error(err)
	}
	next := 1
	for {
		some, err := s.Recipients(m, next, 1000)
		if err != nil {
			t.Fatal(err)
		}
		if len(some) == 0 {
			break
		}
		if some[0].N != next || some[0].Params != "NOTIFY=NEVER" {
			t.Fatalf("%+v, want %d", some[0], next)
		}
		next += len(some)
	}
	if next != 2501 {
		t.Errorf("%d recipients", next-1)
	}
	// Without its recipients, or with fewer, it is bad: it must neither vanish nor go to some of them.
	side := QPath(id) + "/" + id + ".r"
	for what, damage := range map[string]func() error{
		"missing": func() error { return nil },
		"cut": func() error {
			f, err := s.Disk.Create(side, 0o660)
			if err == nil {
				_, err = f.Write([]byte("1 user@example.org NOTIFY=NEVER\n"))
				f.Close()
			}
			return err
		},
	} {
		if err := s.Disk.Rename(side, "run/aside"); err != nil {
			t.Fatal(err)
		}
		if err := damage(); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Recipients(m, 0, 3000); !errors.Is(err, ErrBad) {
			t.Errorf("%s: %v", what, err)
		}
		if other, err := s.Load(name, true); !errors.Is(err, ErrBad) {
			t.Errorf("%s: loaded, %v", what, err)
			other.Close()
		}
		s.Disk.Rename("run/aside", side)
	}
	if err := s.Remove(name); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Recipients(m, 0, 3000); !gone(err) {
		t.Errorf("after its removal: %v", err)
	}
	if names, _ := s.Disk.ReadDir(QPath(id)); len(names) > 0 {
		t.Errorf("left %q", names)
	}
}
