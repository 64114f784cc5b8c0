package queue

import (
	"bytes"
	"errors"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"pennypost/internal/address"
	"pennypost/internal/status"
)

// full is an envelope with every key.
func full() *Envelope {
	return &Envelope{
		ID: "0fk2v9qk3x7m2c000-a", Time: time.UnixMicro(1795321401123456).UTC(),
		Via: "mx esmtps tls=TLSv1.3 ip=192.0.2.7", Auth: "alice", Checks: "spf=pass", From: alice,
		Mail: "BODY=8BITMIME RET=HDRS ENVID=QQ", Class: "bulk", Flow: "list:go", HoldUntil: time.Unix(1795400000, 0).UTC(),
		Drop: "12.34", RcptFile: RcptFile{2000, 99999, zeroHash},
		Rcpts: []Rcpt{{1, bob, "NOTIFY=NEVER ORCPT=rfc822;x@y"}, {7, address.Path{Local: `"a b\" c"`, Domain: "example.org"}, ""}},
		Body:  Body{Length: 48213, Hash: zeroHash, Wire: 49000},
		Other: []Field{{"colour", " blue\nrcpt: 9 evil@example.org\t\\n\x01 "}, {"empty", ""}},
	}
}

func TestEnvelope(t *testing.T) {
	want := full()
	text := want.Append(nil)
	for cut := range len(text) {
		if _, _, more, err := Parse(text[:cut]); !more || err != nil {
			t.Fatalf("cut at %d: more %v, %v", cut, more, err)
		}
	}
	got, header, more, err := Parse(append(text, "Subject: hi\n"...))
	if err != nil || more || header != len(text) || !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v\n%v %v", got, want, more, err)
	}
	null := &Envelope{Rcpts: []Rcpt{{1, bob, ""}}, Body: Body{Length: -1}}
	if got, _, _, err := Parse(null.Append(nil)); err != nil || !reflect.DeepEqual(got, null) {
		t.Errorf("got %+v, %v", got, err)
	}
}

// TestS130Hostile: none of these is delivered, and each says what is wrong with it.
func TestS130Hostile(t *testing.T) {
	const from, rcpt = "from: a@b.example\n", "rcpt: 1 a@b.example\n"
	tests := []struct {
		text string
		want error
	}{
		{"\x00\x00\x00\x00", ErrBad},
		{"From: a\n\n", ErrBad},
		{"pennypost: 1 \n\n", ErrBad},
		{"pennypost: 9\n\n", ErrCritical},
		{"pennypost: 99999999999999999999\n\n", ErrBad},
		{magic + "\n", ErrBad},
		{magic + from + "\n", ErrBad},
		{magic + rcpt + "\n", ErrBad},
		{magic + from + from + rcpt + "\n", ErrBad},
		{magic + from + "rcpt: 1\n\n", ErrBad},
		{magic + from + "rcpt: 0 a@b.example\n\n", ErrBad},
		{magic + from + "rcpt: -1 a@b.example\n\n", ErrBad},
		{magic + from + "rcpt: 99999999999999999999 a@b.example\n\n", ErrBad},
		{magic + from + rcpt + rcpt + "\n", ErrBad},
		{magic + from + "rcpt: 1 \n\n", ErrBad},
		{magic + from + rcpt + "id: ../../etc/passwd\n\n", ErrBad},
		{magic + from + rcpt + "body: 18446744073709551616 lf " + zeroHash + "\n\n", ErrBad},
		{magic + from + rcpt + "body: -1 lf " + zeroHash + "\n\n", ErrBad},
		{magic + from + rcpt + "body: 1 lf short\n\n", ErrBad},
		{magic + from + rcpt + "rcpt-file: 999999999999 1 " + zeroHash + "\n\n", ErrBad},
		{magic + from + rcpt + "time: yesterday\n\n", ErrBad},
		{magic + from + rcpt + "no colon\n\n", ErrBad},
		{magic + from + rcpt + ": no key\n\n", ErrBad},
		{magic + from + rcpt + "!new: thing\n\n", ErrCritical},
		{magic + from + strings.Repeat("x", MaxEnvelope), ErrBad},
		{magic + from + rcpt + "class: root\n\n", ErrBad},
	}
	for _, tt := range tests {
		if _, _, more, err := Parse([]byte(tt.text)); !errors.Is(err, tt.want) || more {
			t.Errorf("%.80q: more %v, %v", tt.text, more, err)
		}
	}
}

// TestS130Files puts hostile files where messages are and lets them be loaded, checked and swept.
func TestS130Files(t *testing.T) {
	s := onDisk(t)
	id := s.NewID()
	good := &Envelope{ID: id, Via: "mx", From: alice, Rcpts: []Rcpt{{1, bob, ""}}, Body: Body{Length: 3, Hash: "98ea6e4f216f2fb4b69fff9b3a44842c", Wire: 4}}
	other := *good
	other.ID = s.NewID()
	via := *good
	via.Via = "submit esmtpsa"
	for what, text := range map[string]string{
		"empty": "", "torn envelope": string(good.Append(nil)[:40]), "no message": string(good.Append(nil)),
		"too long": string(good.Append(nil)) + "hi!\n", "zeros": string(good.Append(nil)) + "\x00\x00\x00",
		"another's id": string(other.Append(nil)) + "hi\n", "another's via": string(via.Append(nil)) + "hi\n",
	} {
		name := "in/mx/new/" + id
		put(t, s, name, text)
		_, err := s.Load(name, true)
		if !errors.Is(err, ErrBad) {
			t.Errorf("%s: %v", what, err)
			continue
		}
		if err := s.Bad(name, err.Error()); err != nil {
			t.Error(err)
		}
	}
	put(t, s, "in/mx/new/"+id, string(good.Append(nil))+"hi\n")
	if m, err := s.Load("in/mx/new/"+id, true); err != nil {
		t.Error(err)
	} else {
		m.Close()
	}
	ready := readyName(id, 3, 4, "98ea6e4f216f2fb4b69fff9b3a44842c")
	put(t, s, "in/list/new/"+ready, "hi\n")
	for _, name := range []string{"in/list/new/" + ready, "in/mx/new/../../../etc/passwd", "in/mx/new/" + id + ".s", "in/mx/new/.hidden"} {
		if _, err := s.Load(name, false); !errors.Is(err, ErrBad) {
			t.Errorf("%s: %v", name, err)
		}
	}
	put(t, s, "in/mx/new/what is this", "x")
	put(t, s, "in/mx/tmp/"+id, "half")
	put(t, s, "q/20200101/0000/"+s.IDFor(time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC), "x")+".s", "lone")
	if err := s.Sweep(time.Now().Add(48 * time.Hour)); err != nil {
		t.Error(err)
	}
	for _, gone := range []string{"in/mx/new/what is this", "in/mx/tmp/" + id, "q/20200101"} {
		if _, err := s.Disk.Stat(gone); err == nil {
			t.Errorf("%s is left", gone)
		}
	}
	if names, _ := s.Disk.ReadDir("bad"); len(names) != 16 {
		t.Errorf("bad/: %q", names)
	}
	if _, err := s.Load("in/mx/new/"+id, true); err != nil {
		t.Errorf("the sweep took a message: %v", err)
	}
}

func put(t *testing.T, s *Spool, name, text string) {
	t.Helper()
	var dir string
	for _, elem := range strings.Split(filepath.Dir(name), "/") {
		dir = filepath.Join(dir, elem)
		s.Disk.Mkdir(dir, 0o755)
	}
	f, err := s.Disk.Create(name, 0o660)
	if err != nil {
		t.Fatal(err)
	}
	f.Write([]byte(text))
	f.Close()
}

func FuzzEnvelope(f *testing.F) {
	f.Add(full().Append(nil))
	f.Add([]byte(magic + "from:\nrcpt: 1 root\nauth: -\nbody: 1 raw " + zeroHash + " wire=2 new=3\n\nx"))
	f.Add([]byte(magic + "from: \\x41\\q@b\nrcpt: 1 \"a b\"@c x y\n\n"))
	f.Add([]byte("pennypost: 2\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		e, header, more, err := Parse(b)
		if more || err != nil {
			if err != nil && !errors.Is(err, ErrBad) && !errors.Is(err, ErrCritical) {
				t.Errorf("error of no kind: %v", err)
			}
			return
		}
		if header > len(b) || !bytes.HasSuffix(b[:header], []byte("\n\n")) {
			t.Fatalf("the message begins at %d of %d", header, len(b))
		}
		text := e.Append(nil)
		again, _, more, err := Parse(text)
		if more || err != nil || !reflect.DeepEqual(again, e) {
			t.Errorf("%q\nfirst %+v\nagain %+v\n%v", b, e, again, err)
		}
	})
}

func FuzzEvent(f *testing.F) {
	ev := fullEvent()
	f.Add(ev.Append(nil))
	f.Add([]byte("1795321401.5 0fk2v9qk3x7m2c000-a gone - new=thing"))
	f.Add([]byte("1 0fk2v9qk3x7m2c000-a expand 1 target=%22a%20b%22@c target=d"))
	f.Fuzz(func(t *testing.T, line []byte) {
		line = bytes.TrimSuffix(line, []byte("\n"))
		if bytes.IndexByte(line, '\n') >= 0 {
			return
		}
		ev, err := ParseEvent(line)
		if err != nil {
			return
		}
		text := ev.Append(nil)
		if bytes.Count(text, []byte("\n")) != 1 {
			t.Fatalf("not one line: %q", text)
		}
		again, err := ParseEvent(text[:len(text)-1])
		if err != nil || !reflect.DeepEqual(again, ev) {
			t.Errorf("%q\nfirst %+v\nagain %+v\n%v", line, ev, again, err)
		}
		Fold(&Envelope{Rcpts: []Rcpt{{1, bob, ""}}}, []Event{ev, ev, again})
	})
}

func fullEvent() *Event {
	return &Event{
		Time: time.UnixMicro(1795321401940000).UTC(), ID: "0fk2v9qk3x7m2c000-a", Kind: Bounce, Num: Num{2, 1}, To: bob,
		Site: "mx.example.org+0a1b2c3d", Host: "mx1.example.org[192.0.2.5]", TLS: "opportunistic-verified", Why: "policy", Attempt: 3, DSN: "0fk2v9qk3x7m2c000-a.b1",
		Next: time.Unix(1795321999, 0).UTC(), Size: 99, Delay: 1500 * time.Millisecond, Targets: []address.Path{alice, bob},
		Status: status.Result{Outcome: status.Failed, Code: 550, Enhanced: "5.1.1", Text: "no such user\nid=x \x1b[31m\xff"},
	}
}

func TestEvent(t *testing.T) {
	want := fullEvent()
	text := want.Append(nil)
	got, err := ParseEvent(text[:len(text)-1])
	if err != nil || !reflect.DeepEqual(&got, want) {
		t.Errorf("got  %+v\nwant %+v\n%v\n%s", got, want, err, text)
	}
	for _, line := range []string{"", "x", "1 2 3", "1 0fk2v9qk3x7m2c000-a deliver", "1 nonsense deliver 1", "1 0fk2v9qk3x7m2c000-a deliver 1.0", "x 0fk2v9qk3x7m2c000-a deliver 1",
		"1 0fk2v9qk3x7m2c000-a deliver 1 code=-1", "1 0fk2v9qk3x7m2c000-a deliver 1 torn", "1 0fk2v9qk3x7m2c000-a defer 1 next=x", "1 0fk2v9qk3x7m2c000-a bounce 1 dsn=../x"} {
		if _, err := ParseEvent([]byte(line)); !errors.Is(err, ErrBad) {
			t.Errorf("%q: %v", line, err)
		}
	}
}

// FuzzState reads whole .s files: what cannot be read is skipped, and the rest is folded.
func FuzzState(f *testing.F) {
	ev := fullEvent()
	text := ev.Append(nil)
	f.Add(append(text, text[:20]...))
	f.Add([]byte("1 0fk2v9qk3x7m2c000-a expand 1 target=a@b\n2 0fk2v9qk3x7m2c000-a expand 1.1 target=c@d\n3 0fk2v9qk3x7m2c000-a deliver 1.2\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		events, err := readEvents(bytes.NewReader(b))
		if err != nil {
			t.Fatal(err)
		}
		st := Fold(&Envelope{Rcpts: []Rcpt{{1, bob, ""}}}, events)
		for i := 1; i < len(st.Rcpts); i++ {
			if st.Rcpts[i-1].Num.Compare(st.Rcpts[i].Num) >= 0 {
				t.Fatalf("recipients out of order: %+v", st.Rcpts)
			}
		}
	})
}
