package queue

import (
	"bytes"
	"testing"
)

// BenchmarkAccept is what smtpd does for a message of 4 KiB: open, write, rename, fsync, close.
func BenchmarkAccept(b *testing.B) {
	s := onDisk(b)
	body := bytes.Repeat([]byte("0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcde\n"), 64)
	to := path(b, "bob@example.org")
	for b.Loop() {
		w, err := s.Begin("mx", &Envelope{Via: "mx esmtp ip=192.0.2.7", From: path(b, "alice@example.net"), Rcpts: []Rcpt{{N: 1, To: to}}})
		if err == nil {
			_, err = w.Write(body)
		}
		if err == nil {
			err = w.Commit()
		}
		if err != nil {
			b.Fatal(err)
		}
		w.Hint()
		if err := s.Remove(w.Name()); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkEnvelope is the reading of one.
func BenchmarkEnvelope(b *testing.B) {
	e := Envelope{ID: "0fk2v9qk3x7m2c000-a", Via: "mx esmtp ip=192.0.2.7", From: path(b, "alice@example.net"),
		Rcpts: []Rcpt{{N: 1, To: path(b, "bob@example.org")}}, Body: Body{Length: 4096, Hash: zeroHash, Wire: 4160}}
	text := e.Append(nil)
	for b.Loop() {
		if _, _, _, err := Parse(text); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkEvent writes one line of the journal and reads it back.
func BenchmarkEvent(b *testing.B) {
	ev := Event{ID: "0fk2v9qk3x7m2c000-a", Kind: Deliver, Num: Num{N: 1}, To: path(b, "bob@example.org"), Site: "local", Attempt: 1}
	ev.Status.Enhanced, ev.Status.Code, ev.Status.Text = "2.0.0", 250, "delivered to the mailbox"
	var buf []byte
	b.Run("append", func(b *testing.B) {
		for b.Loop() {
			buf = ev.Append(buf[:0])
		}
	})
	b.Run("parse", func(b *testing.B) {
		for b.Loop() {
			if _, err := ParseEvent(buf[:len(buf)-1]); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkTake is the way of a message whose first attempt was not enough: loaded, taken, its state noted.
func BenchmarkTake(b *testing.B) {
	s := onDisk(b)
	s.Disk.Hold(NewDirs()...)
	to := path(b, "bob@example.org")
	for b.Loop() {
		b.StopTimer()
		id := s.NewID()
		e := Envelope{ID: id, Via: "mx", From: to, Rcpts: []Rcpt{{N: 1, To: to}}, Body: Body{Length: -1}}
		f, err := s.Disk.Create("in/mx/new/"+id, 0o660)
		if err != nil {
			b.Fatal(err)
		}
		f.Write(e.Append(nil))
		f.Close()
		b.StartTimer()
		m, err := s.Load("in/mx/new/"+id, false)
		if err != nil {
			b.Fatal(err)
		}
		m.Close()
		name, err := s.Take(m.Name)
		if err == nil {
			err = s.AppendState(name, false, &Event{ID: id, Kind: Defer, Num: Num{N: 1}, Attempt: 1})
		}
		if err == nil {
			err = s.Remove(name)
		}
		if err != nil {
			b.Fatal(err)
		}
	}
}
