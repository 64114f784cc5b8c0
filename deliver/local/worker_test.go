package local

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"pennypost/internal/order"
)

// TestMain lets the tests start themselves as a worker, to be killed.
func TestMain(m *testing.M) {
	if dir := os.Getenv("WORKER_OF"); dir != "" {
		b := &bench{dir: dir}
		b.fill()
		conn, err := order.NewConn(0)
		if err != nil {
			panic(err)
		}
		b.agent.SyncEvery = 2 * time.Millisecond
		b.agent.Work(context.Background(), conn)
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// send gives the worker the order of one message, ready or plain.
func (b *bench) send(conn *order.Conn, seq int, id string, ready, repeat bool, text string) {
	b.Helper()
	o := b.order("bob@example.org")
	o.Seq, o.ID, o.Repeat, o.Ready = uint64(seq), id, repeat, ready
	if ready {
		o.Size, o.Wire = int64(len(text)), int64(len(text)+strings.Count(text, "\n"))
	} else {
		text = plain(text)
	}
	name := filepath.Join(b.dir, "spool-"+id)
	if _, err := os.Stat(name); err != nil {
		os.WriteFile(name, []byte(text), 0o600)
	}
	f, err := os.Open(name)
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	conn.SendOrders([]order.Order{o}, []int{int(f.Fd())}) // an error: the worker was killed, the order comes again
}

// Orders over a socket: answers come in groups, each with its E, and the worker finishes what it has begun.
func TestWorker(t *testing.T) {
	b := newBench(t)
	ours, theirs, err := order.Pair()
	if err != nil {
		t.Fatal(err)
	}
	fd, _ := syscall.Dup(int(theirs.Fd()))
	theirs.Close()
	conn, err := order.NewConn(fd)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error)
	go func() { done <- b.agent.Work(context.Background(), conn) }()
	const many = 100
	for i := range many {
		b.send(ours, i, fmt.Sprintf("0fk2v9qk3x7m2c%03d-a", i), i%2 == 0, false, letter)
	}
	ours.SendOrders([]order.Order{{Verb: "next", Seq: 777}}, []int{-1})
	got := map[byte]int{}
	for got['E'] < many+1 {
		answers, err := ours.ReceiveAnswers()
		if err != nil {
			t.Fatal(err)
		}
		for _, a := range answers {
			got[a.Kind]++
		}
	}
	if got['K'] != many || len(b.mail(b.bob.Maildir)) != many {
		t.Errorf("answers %v, %d messages", got, len(b.mail(b.bob.Maildir)))
	}
	ours.SendOrders([]order.Order{{Verb: "quit"}}, []int{-1})
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// S137: kill -9 of a worker at any moment, again and again. Every message arrives once, whole.
func TestS137Kill(t *testing.T) {
	if testing.Short() {
		t.Skip("starts processes")
	}
	b := newBench(t)
	const many, kills = 300, 8
	answered := map[uint64]bool{}
	id := func(i int) string { return fmt.Sprintf("0fk2v9qk3x7m2c%03d-a", i) }
	for kill := range kills {
		ours, theirs, err := order.Pair()
		if err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), "WORKER_OF="+b.dir)
		cmd.Stdin = theirs
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		theirs.Close()
		sent := make(chan struct{})
		go func() {
			defer close(sent)
			for i := range many {
				if !answered[uint64(i)] { // nobody writes it before this loop is over: answers wait
					b.send(ours, i, id(i), i%2 == 0, kill > 0, fmt.Sprintf("Subject: %d\n\n%s\n", i, strings.Repeat("x", 1000)))
				}
			}
			ours.SendOrders([]order.Order{{Verb: "quit"}}, []int{-1}) // should it live to see it
		}()
		var all []order.Answer
		for {
			answers, err := ours.ReceiveAnswers()
			all = append(all, answers...)
			if kill < kills-1 && len(all) > 0 { // it is at work: now, or a little later
				time.AfterFunc(time.Duration(kill)*time.Millisecond/2, func() { cmd.Process.Kill() })
			}
			if err != nil {
				break
			}
		}
		cmd.Wait()
		<-sent
		ours.Close()
		t.Logf("%d answers", len(all)/2)
		for _, a := range all {
			if a.Kind == 'K' {
				answered[a.Seq] = true
			} else if a.Kind != 'E' {
				t.Errorf("%+v", a)
			}
		}
	}
	count := map[string]int{}
	for name, text := range b.mail(b.bob.Maildir) {
		base, _, _ := strings.Cut(name, ",")
		count[base]++
		if !strings.HasSuffix(text, strings.Repeat("x", 1000)+"\n") {
			t.Errorf("%s is partial", name)
		}
	}
	if len(answered) != many || len(count) != many {
		t.Errorf("%d answered, %d there", len(answered), len(count))
	}
	for name, n := range count {
		if n != 1 {
			t.Errorf("%s is there %d times", name, n)
		}
	}
}

// The form for people: a message on a descriptor, one line back.
func TestOnce(t *testing.T) {
	for _, c := range []struct {
		sender, user, to string
		exit             int
		out              string
	}{
		{"<alice@example.net>", "bob", "<bob@example.org>", 0, "K 1 2.0.0 250 delivered to mailbox\n"},
		{"<>", "bob@example.org", "bob+x@example.org", 0, "K 1 2.0.0 250 delivered to mailbox\n"},
		{"alice@example.net", "eve", "eve@example.org", 100, "D 1 5.1.1 550 no such user here\n"},
		{"alice@@", "bob", "bob@example.org", 64, ""},
	} {
		for _, pipe := range []bool{false, true} {
			b := newBench(t)
			in := b.file("skipped\n" + letter)
			in.Seek(int64(len("skipped\n")), io.SeekStart)
			if pipe {
				r, w, _ := os.Pipe()
				w.WriteString(letter)
				w.Close()
				in.Close()
				in = r
			}
			var out bytes.Buffer
			exit := b.agent.Once(c.sender, []string{c.user, c.to}, in, &out)
			if exit != c.exit || out.String() != c.out {
				t.Errorf("%s %s: exit %d, %q", c.user, c.to, exit, out.String())
			}
			for _, text := range b.mail(b.bob.Maildir) {
				sender := strings.Trim(c.sender, "<>")
				to := strings.Trim(c.to, "<>")
				if text != "Return-Path: <"+sender+">\nDelivered-To: "+to+"\n"+letter {
					t.Errorf("delivered %q", text)
				}
			}
			in.Close()
		}
	}
}
