package login

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/xdg-go/scram"
	"golang.org/x/sys/unix"

	"pennypost/internal/listen"
)

// serve runs a Service on a socket until stop.
func serve(t testing.TB, c Verifier, socket string) (stop func()) {
	t.Helper()
	on, err := listen.Open([]string{"unix:" + socket})
	must(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		(&Service{Checker: c}).ServeAll(ctx, on)
	}()
	stop = sync.OnceFunc(func() { cancel(); <-done })
	t.Cleanup(stop)
	return stop
}

// A server that asks gets what a server that checks gets, with every mechanism; and has read no credential.
func TestService(t *testing.T) {
	dir := house(t)
	checks, _ := checker(dir)
	socket := filepath.Join(t.TempDir(), "s")
	stop := serve(t, checks, socket)
	asks := &Client{Socket: socket, Domains: checks.Domains}
	if got, want := fmt.Sprint(asks.Offers(true, false)), fmt.Sprint(checks.Offers(true, false)); got != want || fmt.Sprint(asks.Offers(false, false)) == got {
		t.Errorf("%s, want %s", got, want)
	}
	for _, k := range []struct{ name, password, want string }{
		{"alice", "wonderland", "main"}, {"alice", "looking glass", "phone"}, {"alice", "no", ""}, {"bob", "x", ""}, {"n o%b=ody\x01ü", "pass word%00", ""}, {"alice", "", ""},
		{"", "x", ""}, {"-", "-", ""},
	} {
		id, err := asks.Check(context.Background(), request("imap", k.name, k.password))
		got := ""
		if err == nil {
			got = id.Credential
		}
		if got != k.want || err != nil && err != ErrCredentials {
			t.Errorf("%q: %q %v", k, got, err)
		}
	}
	bound := here
	bound.Bindings = map[string][]byte{tlsExporter: []byte("this connection")}
	binding := scram.ChannelBinding{Type: tlsExporter, Data: []byte("this connection")}
	id, err := prove(t, asks, bound, "SCRAM-SHA-256-PLUS", "", "alice", "wonderland", binding)
	if err != nil || id.Credential != "main" || id.Account.User != "alice" || id.Authcid != "alice" {
		t.Fatalf("%+v %v", id, err)
	}
	if _, err := prove(t, asks, bound, "SCRAM-SHA-256-PLUS", "", "alice", "no", binding); err != ErrCredentials {
		t.Error(err)
	}
	if _, err := prove(t, asks, bound, "SCRAM-SHA-256-PLUS", "", "alice", "wonderland", scram.ChannelBinding{}); err == nil || err == ErrCredentials {
		t.Errorf("no binding where one must be: %v", err)
	}
	if _, ok := asks.Start("GSSAPI", bound); ok {
		t.Error("a mechanism nobody has")
	}
	if !asks.Still(id.Token()) || asks.Still("x") {
		t.Error("still")
	}
	must(t, os.Remove(filepath.Join(dir, "example.org/users/alice/credentials/main")))
	if asks.Still(id.Token()) {
		t.Error("the credential is gone")
	}
	stop()
	if _, err := asks.Check(context.Background(), request("imap", "alice", "looking glass")); err == nil || err == ErrCredentials {
		t.Errorf("nobody is there: %v", err)
	}
	if !asks.Still(id.Token()) {
		t.Error("nobody is there, and sessions end")
	}
	if _, ok := asks.Start("SCRAM-SHA-1", here); ok {
		t.Error("an exchange with nobody")
	}
	serve(t, checks, socket) // again: kept connections are dead, and made anew
	if _, err := asks.Check(context.Background(), request("imap", "alice", "looking glass")); err != nil {
		t.Error(err)
	}
	var all sync.WaitGroup
	for i := range 64 {
		all.Go(func() {
			password, want := "looking glass", error(nil)
			if i%2 == 1 {
				password, want = "no", ErrCredentials
			}
			if _, err := asks.Check(context.Background(), request("imap", "alice", password)); err != want {
				t.Errorf("%d: %v", i, err)
			}
		})
	}
	all.Wait()
}

// S131: what is no request ends its connection and nothing else.
func TestS131NoRequest(t *testing.T) {
	c, _ := checker(house(t))
	socket := filepath.Join(t.TempDir(), "s")
	serve(t, c, socket)
	asks := &Client{Socket: socket, Domains: c.Domains}
	for _, said := range []string{
		"\n", "\x00\n", "check\n", "check imap\n", "check imap 192.0.2.9 - alice wonderland too many\n", "check imap nowhere - alice wonderland\n", "check imap %zz - a b\n",
		"next AAAA\n", "start imap 192.0.2.9 SCRAM-SHA-256 tls-exporter=zz\n", "still\n", "offers\n", "shutdown now\n", strings.Repeat("x", longestRequest+1), "check  imap - - a b\n",
		"start imap - SCRAM-SHA-256\nnext !!!\n",
	} {
		conn, err := net.Dial("unix", socket)
		must(t, err)
		conn.SetDeadline(time.Now().Add(5 * time.Second))
		io.WriteString(conn, said)
		text, err := io.ReadAll(conn)
		if strings.TrimPrefix(string(text), "go\n") != "" || err != nil && strings.Contains(err.Error(), "timeout") {
			t.Errorf("%.40q is answered %q, %v", said, text, err)
		}
		conn.Close()
	}
	for range 200 { // silent, or gone in the middle
		conn, err := net.Dial("unix", socket)
		must(t, err)
		io.WriteString(conn, "check imap")
		conn.Close()
	}
	if _, err := asks.Check(context.Background(), request("imap", "alice", "wonderland")); err != nil {
		t.Error("it does not live: ", err)
	}
}

// S131: another uid is turned away before it has said anything.
func TestS131WrongUID(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can be somebody else")
	}
	dir, err := os.MkdirTemp("", "pennypost-login-")
	must(t, err)
	defer os.RemoveAll(dir)
	must(t, os.Chmod(dir, 0o755))
	c, _ := checker(house(t))
	serve(t, c, dir+"/s")
	must(t, os.Chmod(dir+"/s", 0o777))
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	must(t, err)
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		if _, _, e := unix.RawSyscall(unix.SYS_SETRESUID, ^uintptr(0), 65534, ^uintptr(0)); e != 0 {
			done <- e
			return
		}
		done <- unix.Connect(fd, &unix.SockaddrUnix{Name: dir + "/s"})
	}()
	must(t, <-done)
	f := os.NewFile(uintptr(fd), "socket")
	defer f.Close()
	io.WriteString(f, "offers plain\n")
	if text, err := io.ReadAll(f); len(text) > 0 {
		t.Errorf("answered %q, %v", text, err)
	}
}

// Who speaks with strangers for one service tries no passwords for another, and what it asks of others ends its connection.
func TestServicesOfAClient(t *testing.T) {
	c, _ := checker(house(t))
	for _, k := range []struct {
		services []string
		line     string
		want     bool
	}{
		{nil, "check smtp - - alice wonderland", true},
		{[]string{"imap", "pop3"}, "check imap - - alice wonderland", true},
		{[]string{"imap", "pop3"}, "check smtp - - alice wonderland", false},
		{[]string{"smtp"}, "start smtp - SCRAM-SHA-256", true},
		{[]string{"smtp"}, "start imap - SCRAM-SHA-256", false},
		{[]string{"smtp"}, "check imap - - alice wonderland", false},
		{[]string{"smtp"}, "offers plain", true},
	} {
		d := &dialogue{s: &Service{Checker: c}, services: k.services}
		if answer, ok := d.answer(context.Background(), k.line); ok != k.want || !ok && answer != "" {
			t.Errorf("%q of who may ask about %v: %q %v", k.line, k.services, answer, ok)
		}
	}
}

// Anything may come over the socket.
func FuzzService(f *testing.F) {
	c, _ := checker(house(f))
	f.Add("offers bound\ncheck imap 192.0.2.9 - alice no\nstill x\n")
	f.Add("start imap - SCRAM-SHA-256\nnext -\nnext %3Dbiwsbj1hLHI9YQ==\n")
	f.Fuzz(func(t *testing.T, said string) {
		d := &dialogue{s: &Service{Checker: c}}
		for line := range strings.Lines(said) {
			answer, ok := d.answer(context.Background(), strings.TrimSuffix(line, "\n"))
			if !ok {
				return
			}
			if strings.ContainsAny(answer, "\n\r\x00") || strings.HasPrefix(answer, "ok ") && !strings.HasPrefix(line, "offers") {
				t.Errorf("%q: %q", line, answer)
			}
		}
	})
}

// A3: a checkpassword program is asked on descriptor 3; only 1 is no.
func TestCheckpassword(t *testing.T) {
	c, _ := checker(house(t))
	program := filepath.Join(t.TempDir(), "checkpassword")
	must(t, os.WriteFile(program, []byte(`#!/bin/sh
IFS= read -r said <<EOF
$(tr '\0' '|' <&3)
EOF
case $said in
"alice@example.org|wonder land|Y"*"|") shift; exec "$@" ;;
*"|busy|Y"*) exit 111 ;;
*"|slow|Y"*) exec sleep 100 ;;
esac
[ "$SERVICE $TCPREMOTEIP" = "imap 192.0.2.9" ] || exit 100
exit 1
`), 0o755))
	c.Program = []string{program, "an argument"}
	for _, k := range []struct{ name, password, want string }{
		{"alice", "wonder land", ""},
		{"Alice@Example.org", "wonder land", ""},
		{"alice", "wonderland", ErrCredentials.Error()},
		{"nobody", "x", ErrCredentials.Error()},
		{"alice", "", ErrCredentials.Error()},
		{"alice", strings.Repeat("x", 600), ErrCredentials.Error()},
		{"alice", "a\x00b", ErrCredentials.Error()},
		{"alice", "busy", program + ": exit status 111"},
	} {
		said := ""
		id, err := c.Check(context.Background(), request("imap", k.name, k.password))
		if err != nil {
			said = err.Error()
		} else if !c.Still(id.Token()) {
			t.Error("not still")
		}
		if said != k.want {
			t.Errorf("%s %.20q: %s, want %s", k.name, k.password, said, k.want)
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	if _, err := c.Check(ctx, request("imap", "alice", "slow")); err == nil || err == ErrCredentials {
		t.Error(err)
	}
	if got := fmt.Sprint(c.Offers(true, true)); got != "[PLAIN LOGIN]" {
		t.Error(got)
	}
	c.Program = []string{"/nowhere/checkpassword"}
	if _, err := c.Check(context.Background(), request("imap", "alice", "x")); err == nil || err == ErrCredentials {
		t.Error(err)
	}
}

// A login by way of the socket costs at most a millisecond more.
func BenchmarkService(b *testing.B) {
	c, _ := checker(house(b))
	socket := filepath.Join(b.TempDir(), "s")
	serve(b, c, socket)
	asks := &Client{Socket: socket, Domains: c.Domains}
	for b.Loop() {
		if _, err := asks.Check(context.Background(), request("imap", "alice", "wonderland")); err != nil {
			b.Fatal(err)
		}
	}
}

// A session is served for who has just logged in on the connection, once, and with its one descriptor; for nobody else.
func TestS131Session(t *testing.T) {
	checks, _ := checker(house(t))
	socket := filepath.Join(t.TempDir(), "s")
	on, err := listen.Open([]string{"unix:" + socket})
	must(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	var served []string
	s := &Service{Checker: checks, Serve: func(_ context.Context, s *Session, id *Identity, client *os.File) error {
		if _, err := client.WriteString("hello"); err != nil {
			t.Error(err)
		}
		if served = append(served, s.User+" "+id.Credential+" "+s.Tag+" "+string(s.Early)); s.Tag == "full" {
			return ErrSessions
		}
		return nil
	}}
	var group sync.WaitGroup
	group.Go(func() { s.ServeAll(ctx, on) })
	defer group.Wait()
	defer cancel()
	login, line := "check imap 192.0.2.9 - alice wonderland", "session mechanism=PLAIN tls=- tag=a sasl=- early=aGk"
	for _, k := range []struct {
		what  string
		files int // with the last line
		lines []string
		want  string
	}{
		{"after a login", 1, []string{login, line}, "ok"},
		{"one too many", 1, []string{login, "session mechanism=PLAIN tls=- tag=full sasl=- early=-"}, "limit"},
		{"before any", 1, []string{line}, ""},
		{"without a descriptor", 0, []string{login, line}, ""},
		{"with two", 2, []string{login, line}, ""},
		{"twice", 1, []string{login, line, line}, ""},
		{"after a wrong password", 1, []string{"check imap 192.0.2.9 - alice no", line}, ""},
		{"after another's question", 1, []string{login, "still x", line}, ""},
		{"with fields of its own", 1, []string{login, line + " user=bob@example.org"}, ""},
		{"for somebody else", 1, []string{login, "session user=bob@example.org mechanism=PLAIN tls=- tag=a sasl=- early=-"}, ""},
		{"with too much", 1, []string{login, "session mechanism=PLAIN tls=- tag=a sasl=- early=" + strings.Repeat("QUJD", 3000)}, ""},
	} {
		conn, err := net.Dial("unix", socket)
		must(t, err)
		in := bufio.NewReader(conn)
		got := ""
		for i, text := range k.lines {
			r, w, err := os.Pipe()
			must(t, err)
			var rights []byte
			if i > 0 || len(k.lines) == 1 {
				rights = unix.UnixRights([]int{int(w.Fd()), int(w.Fd())}[:k.files]...)
			}
			conn.(*net.UnixConn).WriteMsgUnix([]byte(text+"\n"), rights, nil)
			conn.SetDeadline(time.Now().Add(20 * time.Second))
			got, _ = in.ReadString('\n')
			w.Close()
			r.Close()
		}
		conn.Close()
		if got = strings.TrimSpace(got); got != k.want {
			t.Errorf("%s: %q, want %q", k.what, got, k.want)
		}
	}
	if got, want := strings.Join(served, ", "), "alice@example.org main a hi, alice@example.org main full , alice@example.org main a hi"; got != want {
		t.Errorf("served %s, want %s", got, want)
	}
}

func FuzzParseSession(f *testing.F) {
	f.Add((&Session{Service: "imap", User: "alice@example.org", Opening: Opening{Tag: "a", Early: []byte("b NOOP\r\n")}}).String())
	f.Fuzz(func(t *testing.T, line string) {
		s, err := ParseSession(line)
		if err != nil {
			return
		}
		again, err := ParseSession(s.String())
		if err != nil || again.String() != s.String() {
			t.Errorf("%q is written as %q, which is %v", line, s, err)
		}
	})
}
