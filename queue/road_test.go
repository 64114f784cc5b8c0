package queue

import (
	"io"
	"strings"
	"testing"
	"time"

	"pennypost/internal/address"
)

func path(t testing.TB, s string) address.Path {
	p, err := address.Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// onDisk is a spool on a real disk.
func onDisk(t testing.TB) *Spool {
	t.Helper()
	dir := t.TempDir()
	if err := Make(dir, "a"); err != nil {
		t.Fatal(err)
	}
	s, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// TestRoad takes small, large and link-ready messages from a producer to their end.
func TestRoad(t *testing.T) {
	s := onDisk(t)
	batches := make(chan []Found, 10)
	hints, err := s.Hints(batches)
	if err != nil {
		t.Fatal(err)
	}
	defer hints.Close()
	for _, body := range []string{"", "Subject: hi\n\nhello\n", strings.Repeat("0123456789abcde\n", 20000)} {
		for _, ready := range []bool{false, true} {
			var w *Writer
			head := ""
			if ready {
				w, err = s.BeginReady("mx", "")
				head = "Return-Path: <alice@example.net>\nDelivered-To: bob@example.org\n"
			} else {
				w, err = s.Begin("mx", &Envelope{Via: "mx esmtp", From: path(t, "alice@example.net"), Rcpts: []Rcpt{{1, path(t, "bob@example.org"), ""}}})
			}
			if err != nil {
				t.Fatal(err)
			}
			if _, err := io.WriteString(w, head+body); err != nil {
				t.Fatal(err)
			}
			if err := w.Commit(); err != nil {
				t.Fatal(err)
			}
			w.Hint()
			f := (<-batches)[0]
			if f.ID != w.ID() || f.Name != w.Name() {
				t.Fatalf("hint of %v, want %s", f, w.Name())
			}
			m, err := s.Load(f.Name, true)
			if err != nil {
				t.Fatal(err)
			}
			got := make([]byte, m.Size)
			m.File.ReadAt(got, m.Header)
			if string(got) != head+body || m.Wire != m.Size+int64(strings.Count(head+body, "\n")) {
				t.Errorf("read back %d octets, %d on the wire", m.Size, m.Wire)
			}
			if m.Env.Rcpts[0].To.String() != "bob@example.org" || m.Env.From.String() != "alice@example.net" {
				t.Errorf("envelope %+v", m.Env)
			}
			m.Close()
			name, err := s.Take(f.Name)
			if err != nil {
				t.Fatal(err)
			}
			ev := &Event{Time: time.Now(), ID: f.ID, Kind: Defer, Num: Num{N: 1}, Why: "greylist", Attempt: 1}
			if err := s.AppendState(name, true, ev); err != nil {
				t.Fatal(err)
			}
			events, err := s.ReadState(name)
			if err != nil || len(events) != 1 || events[0].Why != "greylist" {
				t.Errorf("state %v, %v", events, err)
			}
			if err := s.Hold(name, "a person"); err != nil {
				t.Fatal(err)
			}
			if err := s.Release(f.ID); err != nil {
				t.Fatal(err)
			}
			f = (<-batches)[0]
			if events, err := s.ReadState(f.Name); err != nil || len(events) != 1 {
				t.Errorf("state after release %v, %v", events, err)
			}
			if err := s.Remove(f.Name); err != nil {
				t.Fatal(err)
			}
		}
	}
	left := 0
	s.Scan(func(f Found) error { left++; t.Error(f.Name); return nil }, append(NewDirs(), "q", "hold")...)
}

var (
	alice = address.Path{Local: "alice", Domain: "example.net"}
	bob   = address.Path{Local: "bob", Domain: "example.org"}
)
