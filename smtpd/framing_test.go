package smtpd

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"runtime"
	"strings"
	"testing"
	"unicode/utf8"
)

// The corpus of threats.md section F: line ends of all kinds round a dot, then a second transaction. By DATA, BDAT and LMTP, cut at
// every octet, the verdict is always the same, and the second transaction is never carried out unless CRLF.CRLF came before it.
func TestS001ToS006Smuggling(t *testing.T) {
	ends := []string{"\r\n", "\n", "\r", "\r\r\n", "\n\r", "\r\x00\n", "\r\n "}
	var bodies []string
	for _, a := range ends {
		for _, b := range ends {
			bodies = append(bodies, "Subject: x\r\n\r\nbody"+a+"."+b)
		}
	}
	for _, odd := range []string{".", "..\r\n", ". \r\n", ".\t\r\n", ".\x00\r\n", strings.Repeat("x", 997) + ".\r\n"} {
		bodies = append(bodies, odd)
	}
	const second = "MAIL FROM:<evil@example.net>\r\nRCPT TO:<bob@example.org>\r\nDATA\r\n"
	for _, service := range []string{"mx", "lmtp"} {
		for _, how := range []string{"DATA", "BDAT"} {
			for _, body := range bodies {
				framing(t, service, how, body, second)
			}
		}
	}
}

func framing(t *testing.T, service, how, body, second string) {
	t.Helper()
	hello := "EHLO"
	if service == "lmtp" {
		hello = "LHLO"
	}
	head := hello + " c.example.net\r\nMAIL FROM:<good@example.net>\r\nRCPT TO:<bob@example.org>\r\n"
	wire := body + second + "\r\n.\r\nQUIT\r\n"
	ends := strings.Contains("\r\n"+body, "\r\n.\r\n") // the message ends where it seems to
	if how == "BDAT" {
		content := body + second
		head += fmt.Sprintf("BDAT %d LAST\r\n", len(content))
		wire = content + "QUIT\r\n"
		ends = false
	} else {
		head += "DATA\r\n"
	}
	verdict := ""
	for cut := range len(wire) {
		srv, spool, _ := newServer(t)
		heard := play(t, srv, service, head, wire[:cut], wire[cut:])
		evil := 0
		for _, text := range spool.files {
			if strings.Contains(text, "from: evil@example.net\n") {
				evil++
			}
			if i := strings.Index(text, "\n\n"); strings.ContainsAny(text[i:], "\r\x00") {
				t.Fatalf("%s %s %q cut at %d: kept %q", service, how, body, cut, text)
			}
		}
		if !ends && evil > 0 {
			t.Fatalf("%s %s %q cut at %d: smuggled", service, how, body, cut)
		}
		if spool.open != 0 {
			t.Fatalf("%s %s %q cut at %d: %d messages neither kept nor given up", service, how, body, cut, spool.open)
		}
		got := codes(heard) + fmt.Sprint(len(spool.files))
		if strings.Contains(got, "554") && ends {
			continue // what follows a real end is pipelined, and DATA in it depends on the cut (S016)
		}
		if verdict == "" {
			verdict = got
		}
		if got != verdict && !ends {
			t.Fatalf("%s %s %q cut at %d: %s, else %s", service, how, body, cut, got, verdict)
		}
	}
}

// A message by chunks of one octet costs time in proportion, and no memory.
func TestS011TinyChunks(t *testing.T) {
	srv, spool, _ := newServer(t)
	spool.none = true
	n := 200_000
	var b strings.Builder
	for range n {
		b.WriteString("BDAT 1\r\nx")
	}
	heard := play(t, srv, "mx", "EHLO c\r\nMAIL FROM:<>\r\nRCPT TO:<bob@example.org>\r\nBDAT 2\r\n\r\n"+b.String()+"BDAT 0 LAST\r\nQUIT\r\n")
	if got := strings.Count(heard, "\r\n250 2.0.0 "); got != n+2 {
		t.Errorf("%d chunks taken, want %d", got, n+2)
	}
}

// A line beyond all bounds is refused, and one without end ends the session after 64 KiB more.
func TestS020LongLines(t *testing.T) {
	for _, c := range []struct{ say, want string }{
		{"NOOP " + strings.Repeat("x", 505) + "\r\nQUIT\r\n", "220 250 221"},
		{"NOOP " + strings.Repeat("x", 506) + "\r\nQUIT\r\n", "220 500 221"},
		{"MAIL FROM:<" + strings.Repeat("x", 2100) + ">\r\nQUIT\r\n", "220 500 221"},
		{strings.Repeat("x", 60000) + "\r\nQUIT\r\n", "220 500 221"},
		{strings.Repeat("x", 1_000_000), "220 421"},
	} {
		srv, _, _ := newServer(t)
		if got := codes(play(t, srv, "mx", c.say)); got != c.want {
			t.Errorf("%.20q… (%d): %s, want %s", c.say, len(c.say), got, c.want)
		}
	}
}

// endless gives the same octets again and again, n of them, without holding them.
type endless struct {
	*script
	n    int64
	unit []byte
	done []byte // what comes last
}

func (e *endless) Read(p []byte) (int, error) {
	for len(e.say) > 0 && e.say[0] == "" {
		e.say = e.say[1:]
	}
	if len(e.say) > 0 {
		return e.script.Read(p)
	}
	if e.n <= 0 {
		n := copy(p, e.done)
		e.done = e.done[n:]
		if n == 0 {
			return e.script.Read(p)
		}
		return n, nil
	}
	n := 0
	for n+len(e.unit) <= len(p) && e.n > 0 {
		n += copy(p[n:], e.unit)
		e.n -= int64(len(e.unit))
	}
	return n, nil
}

// A message of 50 MB never sits in memory.
func TestBigMessageIsStreamed(t *testing.T) {
	srv, spool, _ := newServer(t)
	spool.none = true
	srv.Settings.MaxSize = 60 << 20
	srv.prepare()
	unit := []byte(strings.Repeat("x", 76) + "\r\n")
	for _, service := range []string{"mx", "lmtp"} {
		svc, _ := serviceNamed(service)
		hello := map[string]string{"mx": "EHLO", "lmtp": "LHLO"}[service]
		c := &endless{script: &script{say: []string{hello + " c\r\nMAIL FROM:<>\r\nRCPT TO:<bob@example.org>\r\nDATA\r\n", "Subject: big\r\n\r\n"}},
			n: 50 << 20, unit: unit, done: []byte(".\r\nQUIT\r\n")}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		srv.serve(svc, c)
		runtime.ReadMemStats(&after)
		if got := codes(c.heard.String()); !strings.HasSuffix(got, "354 250 221") {
			t.Fatal(got)
		}
		if used := after.TotalAlloc - before.TotalAlloc; used > 1<<20 {
			t.Errorf("%s: %d octets allocated for a message of 50 MB", service, used)
		}
	}
}

// A connection that has said no DATA costs little.
func TestIdleConnectionsAreSmall(t *testing.T) {
	srv, _, _ := newServer(t)
	srv.prepare()
	const n = 200
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	for range n {
		c := connect(t, srv, "mx")
		buf := make([]byte, 1000)
		c.Read(buf)
		c.Write([]byte("EHLO c\r\nMAIL FROM:<a@example.net>\r\nRCPT TO:<bob@example.org>\r\n"))
		for got := []byte{}; !bytes.Contains(got, []byte("250 2.1.5")); {
			k, err := c.Read(buf)
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, buf[:k]...)
		}
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	each := (int64(after.HeapAlloc) - int64(before.HeapAlloc)) / n
	if each > 64<<10 {
		t.Errorf("%d octets of heap for each connection", each)
	}
	t.Logf("%d octets of heap for each connection, both ends", each)
}

func FuzzCommand(f *testing.F) {
	for _, seed := range []string{"EHLO x", "MAIL FROM:<a@b.example> SIZE=1", "RCPT TO:<\"a>b\"@example.org> NOTIFY=NEVER", "RCPT TO:<@a,@b:c@d.example>", "BDAT 3 LAST", "AUTH PLAIN AA==", "STARTTLS"} {
		f.Add([]byte(seed + "\r\n"))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		srv, spool, _ := newServer(t)
		for _, service := range []string{"mx", "submission", "lmtp"} {
			heard := play(t, srv, service, "EHLO c\r\nLHLO c\r\nMAIL FROM:<>\r\n", string(text), "\r\n.\r\nRSET\r\n")
			for l := range strings.SplitAfterSeq(heard, "\r\n") {
				if l != "" && (len(l) > 512 || !strings.HasSuffix(l, "\r\n") || !utf8.ValidString(l) || strings.ContainsAny(l[:len(l)-2], "\r\n\x00")) {
					t.Fatalf("reply %q to %q", l, text)
				}
			}
		}
		if spool.open != 0 {
			t.Fatalf("%q: %d messages left open", text, spool.open)
		}
	})
}

// Under TLS each octet in a record of its own: the verdict is that of the clear text, by DATA and by BDAT.
func TestS006TLSRecords(t *testing.T) {
	ends := []string{"\r\n", "\n", "\r", "\r\r\n", "\r\n "}
	for _, a := range ends {
		for _, b := range ends {
			content := "Subject: x\r\n\r\nbody" + a + "." + b
			clean := !strings.ContainsAny(strings.ReplaceAll(content, "\r\n", ""), "\r\n")
			want := map[bool]string{true: "250", false: "550"}
			ended := strings.Contains(content, "\r\n.\r\n")
			if !ended {
				end := content + "more\r\n.\r\n"
				if got := codes(overTLS(t, "DATA\r\n", end)); got != "220 250 250 250 354 "+want[clean]+" 221" {
					t.Errorf("DATA %q: %s", end, got)
				}
			}
			size := fmt.Sprintf("BDAT %d\r\n", len(content))
			if got := codes(overTLS(t, "", size+content+"BDAT 0 LAST\r\n")); got != "220 250 250 250 250 "+want[clean]+" 221" {
				t.Errorf("BDAT %q: %s", content, got)
			}
		}
	}
}

// overTLS sends a message on a connection where TLS has begun, command first, then octet by octet.
func overTLS(t *testing.T, command, octets string) string {
	t.Helper()
	srv, _, _ := newServer(t)
	c := tls.Client(connect(t, srv, "mx"), &tls.Config{InsecureSkipVerify: true})
	raw := c.NetConn()
	in := bufio.NewReader(raw)
	next := func(in *bufio.Reader) string {
		var reply strings.Builder
		for {
			l, err := in.ReadString('\n')
			if reply.WriteString(l); err != nil || len(l) > 3 && l[3] == ' ' {
				return reply.String()
			}
		}
	}
	next(in)
	raw.Write([]byte("EHLO c\r\n"))
	next(in)
	raw.Write([]byte("STARTTLS\r\n"))
	next(in)
	heard := "220 \r\n"
	in = bufio.NewReader(c)
	say := []string{"EHLO c\r\n", "MAIL FROM:<>\r\n", "RCPT TO:<bob@example.org>\r\n"}
	if command != "" {
		say = append(say, command)
	}
	for _, l := range say {
		c.Write([]byte(l))
		heard += next(in)
	}
	for i := range len(octets) {
		c.Write([]byte(octets[i : i+1]))
	}
	c.Write([]byte("QUIT\r\n"))
	rest, _ := io.ReadAll(in)
	return heard + string(rest)
}
