package queue

import (
	"errors"
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"pennypost/internal/durable/faultdisk"
)

const message = "Subject: hi\n\nhello\n"

// empty is a spool on a disk of its own, all of it durable.
func empty(t testing.TB, disk *faultdisk.Disk) *Spool {
	t.Helper()
	if err := MakeOn(disk, "a"); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{".", "drop", "in", "archive"} {
		disk.SyncDir(dir)
	}
	for _, p := range Producers {
		disk.SyncDir("in/" + p)
	}
	s, err := OpenOn(disk)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// accept is what a producer does with one message.
func accept(s *Spool, id, body string, ready bool) error {
	var w *Writer
	var err error
	if ready {
		if w, err = s.BeginReady("mx", id); err == nil {
			_, err = w.Write([]byte("Return-Path: <alice@example.net>\nDelivered-To: bob@example.org\n"))
		}
	} else {
		w, err = s.Begin("mx", &Envelope{ID: id, Via: "mx", From: alice, Rcpts: []Rcpt{{N: 1, To: bob}}})
	}
	if err != nil {
		return err
	}
	if _, err := w.Write([]byte(body)); err != nil {
		w.Abort()
		return err
	}
	return w.Commit()
}

// acceptJudged is accept of a message whose verdict stands before it and is known after it.
func acceptJudged(s *Spool, id, body string, ready bool) error {
	var w *Writer
	var err error
	if ready {
		if w, err = s.BeginReady("mx", id); err == nil {
			_, err = w.Write([]byte("Return-Path: <alice@example.net>\nDelivered-To: bob@example.org\n"))
		}
	} else {
		w, err = s.Begin("mx", &Envelope{ID: id, Via: "mx", From: alice, Rcpts: []Rcpt{{N: 1, To: bob}}})
	}
	if err != nil {
		return err
	}
	w.Later(300)
	for i := 0; err == nil && i < len(body); i += 1000 {
		_, err = w.Write([]byte(body[i:min(i+1000, len(body))]))
	}
	if err == nil {
		err = w.Fill("spf=pass dmarc=pass", func(size int) []byte {
			b := ""
			if ready {
				b = ChecksField + "spf=pass dmarc=pass\n"
			}
			return []byte(b + "X: " + strings.Repeat(".", max(size-len(b)-4, 5)) + "\n")
		})
	}
	if err != nil {
		w.Abort()
		return err
	}
	return w.Commit()
}

// TestJudgedCut: what is filled in later survives a cut as everything else does, in small and large messages and both forms.
func TestJudgedCut(t *testing.T) {
	id := "0fk2v9qk3x7m2c000-a"
	for _, ready := range []bool{false, true} {
		for _, body := range []string{message, strings.Repeat(message, 5000)} {
			cuts(t, func(s *Spool) error { return acceptJudged(s, id, body, ready) },
				func(t *testing.T, after *Spool, err error) {
					text, there := whole(t, after)[id]
					if err == nil && !there {
						t.Error("acknowledged, then lost")
					}
					if there && (!strings.HasPrefix(text, "X: .") || !strings.HasSuffix(text, ".\n"+body)) {
						t.Errorf("%d octets: %.300q", len(text), text)
					}
					if !there {
						return
					}
					err = after.Scan(func(f Found) error {
						m, err := after.Load(f.Name, true)
						if err == nil {
							defer m.Close()
							var wire int64
							b := make([]byte, m.Size)
							m.File.ReadAt(b, m.Header)
							if wire = m.Size + int64(strings.Count(string(b), "\n")); m.Env.Checks != "spf=pass dmarc=pass" || m.Wire != wire {
								t.Errorf("checks %q, wire %d for %d", m.Env.Checks, m.Wire, wire)
							}
						}
						return err
					}, NewDirs()...)
					if err != nil {
						t.Error(err)
					}
				})
		}
	}
}

// cuts runs work once for every step at which the power may go, with every kind of luck, and gives
// the disk afterwards to check.
func cuts(t *testing.T, work func(s *Spool) error, check func(t *testing.T, after *Spool, err error)) {
	for _, make := range []func() *faultdisk.Disk{faultdisk.New, faultdisk.NewStrict} {
		for luck := range 8 {
			for n := 1; ; n++ {
				disk := make().Luck(luck)
				s := empty(t, disk)
				disk.CrashAt(n)
				err := work(s)
				crashed := disk.Crashed()
				after, oerr := OpenOn(disk.Restart())
				if oerr != nil {
					t.Fatal(oerr)
				}
				check(t, after, err)
				if t.Failed() {
					t.Fatalf("cut at step %d (%s), luck %d", n, disk.LastStep(), luck)
				}
				if !crashed {
					break
				}
			}
		}
	}
}

// whole lists the messages that are there and whole, by id; what a scan finds is checked before it is used.
func whole(t *testing.T, s *Spool) map[string]string {
	found := map[string]string{}
	err := s.Scan(func(f Found) error {
		m, err := s.Load(f.Name, true)
		if errors.Is(err, ErrBad) {
			return s.Bad(f.Name, err.Error())
		}
		if err != nil {
			return err
		}
		defer m.Close()
		text := make([]byte, m.Size-(m.Bare-m.Header))
		m.File.ReadAt(text, m.Bare)
		found[f.ID] += string(text)
		return nil
	}, append(NewDirs(), "q", "hold")...)
	if err != nil {
		t.Error(err)
	}
	return found
}

// TestS138AcceptCut: after Commit the message survives any cut, and no cut shows half a message.
func TestS138AcceptCut(t *testing.T) {
	id := "0fk2v9qk3x7m2c000-a"
	for _, ready := range []bool{false, true} {
		for _, body := range []string{message, strings.Repeat(message, 5000)} {
			cuts(t, func(s *Spool) error { return accept(s, id, body, ready) },
				func(t *testing.T, after *Spool, err error) {
					text, there := whole(t, after)[id]
					if err == nil && !there {
						t.Error("acknowledged, then lost")
					}
					if there && text != body {
						t.Errorf("%d octets of %d", len(text), len(body))
					}
				})
		}
	}
}

// TestS138MoveCut: whatever is done with an accepted message, one whole copy of it is left.
func TestS138MoveCut(t *testing.T) {
	id := "0fk2v9qk3x7m2c000-a"
	start := "in/mx/new/" + id
	moves := map[string]func(s *Spool) error{
		"take": func(s *Spool) error { _, err := s.Take(start); return err },
		"hold": func(s *Spool) error { return s.Hold(start, "a rule") },
		"state": func(s *Spool) error {
			name, err := s.Take(start)
			if err == nil {
				err = s.AppendState(name, true, &Event{ID: id, Kind: Deliver, Num: Num{N: 1}})
			}
			return err
		},
		"release": func(s *Spool) error {
			if err := s.Hold(start, "a person"); err != nil {
				return err
			}
			return s.Release(id)
		},
		"archive": func(s *Spool) error { return s.Archive(start) },
		"sweep":   func(s *Spool) error { return s.Sweep(time.Now()) },
	}
	for what, move := range moves {
		t.Run(what, func(t *testing.T) {
			cuts(t, func(s *Spool) error {
				if err := accept(s, id, message, false); err != nil {
					return errBefore
				}
				return move(s)
			}, func(t *testing.T, after *Spool, err error) {
				if err == errBefore {
					return
				}
				text, there := whole(t, after)[id]
				if !there || after.Disk.SyncsRename() && text != message {
					t.Errorf("found %q", text)
				}
			})
		})
	}
}

var errBefore = errors.New("cut before it was accepted")

// TestS138StateCut: a synced line of ID.s survives, a torn one is not read.
func TestS138StateCut(t *testing.T) {
	id := "0fk2v9qk3x7m2c000-a"
	name := QPath(id) + "/" + id
	cuts(t, func(s *Spool) error {
		if err := accept(s, id, message, false); err != nil {
			return err
		}
		if _, err := s.Take("in/mx/new/" + id); err != nil {
			return err
		}
		for i := range 3 {
			err := s.AppendState(name, true, &Event{ID: id, Kind: Defer, Num: Num{N: 1}, Attempt: i + 1, Why: "dns"})
			if err != nil {
				return err
			}
		}
		return nil
	}, func(t *testing.T, after *Spool, err error) {
		events, rerr := after.ReadState(name)
		if rerr != nil {
			t.Error(rerr)
		}
		if err == nil && len(events) != 3 && after.Disk.SyncsRename() {
			t.Errorf("%d lines of 3", len(events))
		}
		for i, ev := range events {
			if ev.Attempt != i+1 || ev.Why != "dns" {
				t.Errorf("line %d: %+v", i, ev)
			}
		}
	})
}

// TestS138JournalCut: what Sync has said is on disk is read again.
func TestS138JournalCut(t *testing.T) {
	id := "0fk2v9qk3x7m2c000-a"
	cuts(t, func(s *Spool) error {
		s.SyncEvery = time.Hour
		j := s.OpenJournal(nil)
		for i := range 2 {
			if err := j.AddAll([]*Event{
				{Time: time.Now(), ID: id, Kind: Deliver, Num: Num{N: i + 1}},
				{Time: time.Now(), ID: id, Kind: End},
			}); err != nil {
				return err
			}
		}
		return j.Close()
	}, func(t *testing.T, after *Spool, err error) {
		n := 0
		rerr := after.Results(time.Now().Add(-time.Hour), func(ev *Event) error { n++; return nil })
		if rerr != nil || err == nil && n != 4 {
			t.Errorf("%d lines of 4, %v", n, rerr)
		}
	})
}

// TestS135Full: a disk that refuses any one step of accept gives an error or a whole message, and no litter.
func TestS135Full(t *testing.T) {
	id := "0fk2v9qk3x7m2c000-a"
	for _, cause := range []error{syscall.ENOSPC, syscall.EDQUOT, syscall.EIO, syscall.EROFS} {
		for _, ready := range []bool{false, true} {
			for _, body := range []string{message, strings.Repeat(message, 5000)} {
				for n := 1; ; n++ {
					disk := faultdisk.New()
					s := empty(t, disk)
					before := len(disk.Files())
					disk.FailAt(n, cause)
					err := accept(s, id, body, ready)
					failed := disk.Failed()
					step := fmt.Sprintf("%v at step %d (%s)", cause, n, disk.LastStep())
					if failed && !errors.Is(err, cause) {
						t.Errorf("%s: error %v", step, err)
					}
					if left := len(disk.Files()) - before; err != nil && left != 0 {
						t.Errorf("%s: %d files left: %v", step, left, disk.Files())
					}
					disk.FailAt(0, nil)
					if err := accept(s, s.NewID(), body, ready); err != nil {
						t.Errorf("%s: does not recover: %v", step, err)
					}
					if !failed {
						break
					}
				}
			}
		}
	}
}

// TestS136Fsync: a message whose fsync failed is not accepted, and its file is not synced again.
func TestS136Fsync(t *testing.T) {
	disk := faultdisk.New()
	s := empty(t, disk)
	disk.FailAt(4, syscall.EIO) // create write rename sync
	id := s.NewID()
	err := accept(s, id, message, false)
	if !strings.HasPrefix(disk.LastStep(), "sync ") {
		t.Fatalf("step 4 is %s", disk.LastStep())
	}
	if err == nil {
		t.Error("accepted what is not on disk")
	}
	if name, _ := s.Find(id); name != "" {
		t.Errorf("left as %s", name)
	}
}

// TestS135Moves: a disk that refuses any one step of a move leaves one message, its state, and no litter;
// the same move succeeds later.
func TestS135Moves(t *testing.T) {
	id := "0fk2v9qk3x7m2c000-a"
	moves := map[string]func(s *Spool, name string) error{
		"take":  func(s *Spool, name string) error { _, err := s.Take(name); return err },
		"hold":  func(s *Spool, name string) error { return s.Hold(name, "a rule") },
		"bad":   func(s *Spool, name string) error { return s.Bad(name, "a test") },
		"state": func(s *Spool, name string) error { return s.AppendState(name, true, &Event{ID: id, Kind: Delay}) },
	}
	for what, move := range moves {
		for _, cause := range []error{syscall.ENOSPC, syscall.EDQUOT, syscall.EIO} {
			for n := 1; ; n++ {
				disk := faultdisk.New()
				s := empty(t, disk)
				if err := accept(s, id, message, false); err != nil {
					t.Fatal(err)
				}
				start := "in/mx/new/" + id
				if err := s.AppendState(start, true, &Event{ID: id, Kind: Defer, Num: Num{N: 1}, Attempt: 1}); err != nil {
					t.Fatal(err)
				}
				disk.FailAt(n, cause)
				err := move(s, start)
				failed := disk.Failed()
				step := fmt.Sprintf("%s: %v at step %d (%s)", what, cause, n, disk.LastStep())
				disk.FailAt(0, nil)
				if failed && err != nil {
					if found := whole(t, s); len(found) != 1 || found[id] != message {
						t.Errorf("%s: found %q", step, found)
					}
					if events, err := s.ReadState(start); err != nil || len(events) == 0 || events[0].Attempt != 1 {
						t.Errorf("%s: state %v, %v", step, events, err)
					}
					for name := range disk.Files() {
						if strings.HasSuffix(name, ".why") || strings.Contains(name, "/tmp/") {
							t.Errorf("%s: left %s", step, name)
						}
					}
					name, err := s.Find(id)
					if err == nil {
						err = move(s, name)
					}
					if err != nil {
						t.Errorf("%s: later: %v", step, err)
					}
				}
				if !failed {
					break
				}
			}
		}
	}
}

// TestS135Journal: a line that could not be written whole does not spoil the next one.
func TestS135Journal(t *testing.T) {
	for n := 1; ; n++ {
		disk := faultdisk.New()
		s := empty(t, disk)
		s.SyncEvery = time.Hour
		j := s.OpenJournal(nil)
		disk.FailAt(n, syscall.ENOSPC)
		lost := 0
		for i := range 3 {
			if err := j.Add(&Event{Time: time.Now(), ID: "0fk2v9qk3x7m2c000-a", Kind: Deliver, Num: Num{N: i + 1}}); err != nil {
				lost++
			}
		}
		failed := disk.Failed()
		disk.FailAt(0, nil)
		got := 0
		err := s.Results(time.Time{}, func(*Event) error { got++; return nil })
		if err != nil || got != 3-lost || lost > 1 {
			t.Errorf("step %d (%s): %d lines, %d lost, %v", n, disk.LastStep(), got, lost, err)
		}
		j.Close()
		if !failed {
			break
		}
	}
}
