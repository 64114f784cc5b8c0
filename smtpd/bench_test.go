package smtpd

import (
	"io"
	"strings"
	"testing"

	"pennypost/internal/maillog"
)

// loop is a client that sends the same transaction again and again, a read for each thing it has to wait for.
type loop struct {
	*script
	n    int
	at   int
	part []string
}

func (l *loop) Read(p []byte) (int, error) {
	if l.at == len(l.part) {
		l.at = 0
		if l.n--; l.n <= 0 {
			return 0, io.EOF
		}
	}
	n := copy(p, l.part[l.at])
	l.at++
	return n, nil
}

// BenchmarkMessage is the work of smtpd for a message of 4 KiB, without network and disk.
func BenchmarkMessage(b *testing.B) {
	srv, spool, _ := newServer(b)
	spool.none = true
	srv.Ready = true
	srv.Log = &maillog.Log{Out: io.Discard}
	srv.Settings.MaxMessages = 1 << 60
	srv.prepare()
	text := "From: a@example.net\r\nTo: bob@example.org\r\nSubject: x\r\nDate: Tue, 3 Mar 2026 10:11:12 +0000\r\nMessage-ID: <1@example.net>\r\n\r\n" +
		strings.Repeat(strings.Repeat("x", 70)+"\r\n", 56) + ".\r\n"
	c := &loop{script: &script{mute: true}, n: b.N + 1, part: []string{"MAIL FROM:<a@example.net>\r\nRCPT TO:<bob@example.org>\r\nDATA\r\n", text}}
	svc, _ := serviceNamed("mx")
	b.ReportAllocs()
	b.ResetTimer()
	hello := &hello{c, []byte("EHLO c.example.net\r\n")}
	srv.serve(svc, hello)
}

// BenchmarkJudged is the same with SPF, two signatures, DMARC and iprev, all that DNS says being known.
func BenchmarkJudged(b *testing.B) {
	srv, spool, _ := newServer(b)
	spool.none = true
	judge(b, srv)
	srv.Ready = true
	srv.Log = &maillog.Log{Out: io.Discard}
	srv.Settings.MaxMessages = 1 << 60
	srv.prepare()
	text := signedBy(b, letterFrom("a@example.net")+strings.Repeat(strings.Repeat("x", 70)+"\n", 56), "example.net", "example.net")
	text = strings.ReplaceAll(text, "\n", "\r\n") + ".\r\n"
	c := &loop{script: &script{mute: true}, n: b.N + 1, part: []string{"MAIL FROM:<a@example.net>\r\nRCPT TO:<bob@example.org>\r\nDATA\r\n", text}}
	svc, _ := serviceNamed("mx")
	b.ReportAllocs()
	b.ResetTimer()
	srv.serve(svc, &hello{c, []byte("EHLO mx.example.net\r\n")})
}

// hello says something first.
type hello struct {
	*loop
	first []byte
}

func (h *hello) Read(p []byte) (int, error) {
	if len(h.first) > 0 {
		n := copy(p, h.first)
		h.first = h.first[n:]
		return n, nil
	}
	return h.loop.Read(p)
}

// BenchmarkConnection is a connection that brings nothing.
func BenchmarkConnection(b *testing.B) {
	srv, _, _ := newServer(b)
	srv.Log = &maillog.Log{Out: io.Discard}
	srv.prepare()
	svc, _ := serviceNamed("mx")
	b.ReportAllocs()
	for b.Loop() {
		srv.serve(svc, &script{mute: true, say: []string{"EHLO c\r\n", "QUIT\r\n"}})
	}
}
