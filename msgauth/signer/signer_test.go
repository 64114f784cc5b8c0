package signer

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"pennypost/msgauth"
)

// TestMain is also the process at the other end of the pipe.
func TestMain(m *testing.M) {
	switch os.Getenv("SIGNER_TEST") {
	case "":
		os.Exit(m.Run())
	case "serve":
		if err := Serve(os.Stdin, os.Stdout, echo); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
	case "die": // after the first
		r, w := io.Pipe()
		go Serve(os.Stdin, w, echo)
		buf := make([]byte, 4096)
		n, _ := r.Read(buf)
		os.Stdout.Write(buf[:n])
	case "hang":
		time.Sleep(time.Minute)
	}
	os.Exit(0)
}

// echo answers with what it was asked; later questions are sometimes ready before earlier ones.
func echo(r Request) ([]byte, error) {
	switch {
	case r.Domain == "nobody.example":
		return nil, fmt.Errorf("%w: %s has no key", ErrNone, r.Domain)
	case r.Domain == "broken.example":
		return nil, errors.New("disk:\nbroken")
	case len(r.Digest.Header)%3 == 0:
		time.Sleep(time.Millisecond)
	}
	return fmt.Appendf(nil, "X: %v %s %s %s %d\n", r.Seal, r.Domain, r.Host, r.Lifetime, len(r.Digest.Header)), nil
}

func client(t *testing.T, how string) *Client {
	t.Setenv("SIGNER_TEST", how)
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	c := &Client{Path: exe}
	t.Cleanup(func() { c.Close() })
	return c
}

func digest(header string) msgauth.Digest {
	sum := sha256.Sum256([]byte(header))
	return msgauth.Digest{Header: []byte(header), Body: sum[:]}
}

func TestAskManyAtOnce(t *testing.T) {
	c := client(t, "serve")
	var wait sync.WaitGroup
	for i := range 200 {
		wait.Add(1)
		go func() {
			defer wait.Done()
			r := Request{Domain: fmt.Sprintf("d%d.example", i), Lifetime: time.Duration(i) * time.Second, Digest: digest(strings.Repeat("x", i))}
			want := fmt.Sprintf("X: false d%d.example  %s %d\n", i, r.Lifetime, i)
			if i%5 == 0 {
				r.Seal, r.Host = true, "mx.example"
				want = fmt.Sprintf("X: true d%d.example mx.example 0s %d\n", i, i)
			}
			got, err := c.Ask(context.Background(), r)
			if err != nil || string(got) != want {
				t.Errorf("%q %v, want %q", got, err, want)
			}
		}()
	}
	wait.Wait()
}

func TestNoneAndError(t *testing.T) {
	c := client(t, "serve")
	if _, err := c.Ask(context.Background(), Request{Domain: "nobody.example", Digest: digest("a")}); !errors.Is(err, ErrNone) || err.Error() != "not signed: nobody.example has no key" {
		t.Errorf("none: %v", err)
	}
	if _, err := c.Ask(context.Background(), Request{Domain: "broken.example", Digest: digest("a")}); err == nil || errors.Is(err, ErrNone) || err.Error() != "disk: broken" {
		t.Errorf("error: %v", err)
	}
	for _, r := range []Request{{Domain: "a b"}, {Domain: "a\nsign"}, {Seal: true, Domain: "a.example"}, {Seal: true, Host: "h"}, {Domain: strings.Repeat("x", 2000)}} {
		if _, err := c.Ask(context.Background(), r); err == nil {
			t.Errorf("%+v was asked", r)
		}
	}
	if got, err := c.Ask(context.Background(), Request{Digest: digest("a")}); err != nil || !strings.HasPrefix(string(got), "X: false  ") {
		t.Errorf("after them: %q %v", got, err)
	}
}

// A signer that dies is started again, and who waited asks the next one.
func TestRestart(t *testing.T) {
	c := client(t, "die")
	for i := range 10 {
		if _, err := c.Ask(context.Background(), Request{Domain: "a.example", Digest: digest("a")}); err != nil {
			t.Errorf("%d: %v", i, err)
		}
	}
	c = &Client{Path: "/nowhere/mailkey"}
	if _, err := c.Ask(context.Background(), Request{Domain: "a.example"}); err == nil {
		t.Error("no program, no error")
	}
}

// One that dies without an answer is not started again and again by a queue full of mail.
func TestDiesAtOnce(t *testing.T) {
	c := &Client{Path: "/bin/false"}
	for range 100 {
		if _, err := c.Ask(context.Background(), Request{Domain: "a.example", Digest: digest("a")}); err == nil || errors.Is(err, ErrNone) {
			t.Fatal(err)
		}
	}
	first := c.started
	c.Ask(context.Background(), Request{Domain: "a.example", Digest: digest("a")})
	if !c.started.Equal(first) && time.Since(first) < pause {
		t.Error("started again at once")
	}
}

// One that answers nothing is ended, so that those who wait behind the first do not wait as long again.
func TestHangs(t *testing.T) {
	c := client(t, "hang")
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	if _, err := c.Ask(ctx, Request{Keys: true, Domain: "a.example"}); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
	<-c.process.dead
}

// Nor does one that reads nothing hold anybody up, though the question does not fit into the pipe.
func TestReadsNothing(t *testing.T) {
	c := client(t, "hang")
	var wait sync.WaitGroup
	for range 3 {
		wait.Add(1)
		go func() {
			defer wait.Done()
			ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
			defer cancel()
			if _, err := c.Ask(ctx, Request{Domain: "a.example", Digest: digest(strings.Repeat("x", 300_000))}); err == nil {
				t.Error("an answer")
			}
		}()
	}
	wait.Wait()
}

// At a socket it is the same.
func TestSocket(t *testing.T) {
	socket := t.TempDir() + "/sign"
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			Serve(conn, conn, echo)
			conn.Close()
		}
	}()
	c := &Client{Socket: socket}
	for range 3 {
		got, err := c.Ask(context.Background(), Request{Domain: "a.example", Digest: digest("abc")})
		if err != nil || !strings.HasPrefix(string(got), "X: false a.example") {
			t.Errorf("%q %v", got, err)
		}
		if got, err := c.Ask(context.Background(), Request{Keys: true, Domain: "nobody.example"}); !errors.Is(err, ErrNone) {
			t.Errorf("%q %v", got, err)
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestGivenUp(t *testing.T) {
	c := client(t, "serve")
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	c.Ask(ctx, Request{Domain: "a.example", Digest: digest("abc")})
	if _, err := c.Ask(context.Background(), Request{Domain: "a.example", Digest: digest("a")}); err != nil {
		t.Errorf("one who gives up spoils it for others: %v", err)
	}
}

// What is no request ends the service, and is not taken for a header.
func TestBadRequests(t *testing.T) {
	hash := " n4bQgYhMfWWaL+qgxVrQFaO/TxsrC4Is0V1sFbDwCgg="
	for _, in := range []string{"hello\n", "sign a.example 0 5\n", "sign a.example 0 99999999999" + hash + "\n", "sign a.example 0 -1" + hash + "\n", "sign a.example x 1" + hash + "\na",
		"sign a.example 0 1 AAAA\na", "sign a.example 0 10" + hash + "\nshort", strings.Repeat("x", 70000), "sign"} {
		var out bytes.Buffer
		if err := Serve(strings.NewReader(in), &out, echo); err == nil {
			t.Errorf("%.50q: %s", in, &out)
		}
	}
}

func FuzzRequest(f *testing.F) {
	f.Add([]byte("sign a.example 0 1 n4bQgYhMfWWaL+qgxVrQFaO/TxsrC4Is0V1sFbDwCgg=\nx"))
	f.Add([]byte("keys a.example\n"))
	f.Add([]byte("seal a.example mx.example 0 n4bQgYhMfWWaL+qgxVrQFaO/TxsrC4Is0V1sFbDwCgg=\n"))
	f.Fuzz(func(t *testing.T, in []byte) {
		Serve(bytes.NewReader(in), io.Discard, echo)
	})
}
