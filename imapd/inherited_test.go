package imapd

import (
	"context"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pennypost/internal/config"
)

// RFC 9051 section 7.1.4: who comes by ssh is known, and hears PREAUTH.
func TestPreauth(t *testing.T) {
	h := newHouse(t)
	h.open()
	conf := config.Default()
	conf.Origin = "example.org"
	id, err := owner(conf, filepath.Join(h.dir, "home/Maildir"))
	if err != nil {
		t.Fatal(err)
	}
	inRead, inWrite, _ := os.Pipe()
	outRead, outWrite, _ := os.Pipe()
	done := make(chan error)
	go func() { done <- h.srv.Preauth(context.Background(), &stdio{inRead, outWrite}, id) }()
	io.WriteString(inWrite, "a LOGIN alice \"secret word\"\r\nb STARTTLS\r\nc CREATE Work\r\nd LOGOUT\r\n")
	got, _ := io.ReadAll(outRead)
	if err := <-done; err != nil {
		t.Error(err)
	}
	lines := strings.Split(string(got), "\r\n")
	if !strings.HasPrefix(lines[0], "* PREAUTH [CAPABILITY ") || lines[1] != "a BAD you are logged in already" ||
		lines[2] != "b BAD you are logged in already" || !strings.HasPrefix(lines[3], "c OK") {
		t.Error(string(got))
	}
	if _, err := os.Stat(filepath.Join(h.dir, "home/Maildir/.Work/cur")); err != nil {
		t.Error(err)
	}
}

// A server that is told to end says BYE to who waits, in IDLE too.
func TestEnd(t *testing.T) {
	h := newHouse(t)
	h.open()
	ctx, stop := context.WithCancel(context.Background())
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error)
	go func() { served <- h.srv.Serve(ctx, map[string][]net.Listener{"imaps": {l}}) }()
	var waiting []*client
	for _, command := range []string{"b NOOP", "b IDLE", "b NOTIFY SET (inboxes (MessageNew MessageExpunge))"} {
		conn, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		c := &client{T: t, Conn: conn}
		c.SetDeadline(time.Now().Add(20 * time.Second))
		c.tls()
		c.line()
		c.want(`a LOGIN alice "secret word"`, "a OK")
		io.WriteString(c.Conn, command+"\r\n")
		c.line()
		waiting = append(waiting, c)
	}
	stop()
	if err := <-served; err != nil {
		t.Error(err)
	}
	for _, c := range waiting {
		line := c.line()
		if strings.HasPrefix(line, "b NO") {
			line = c.line()
		}
		if !strings.HasPrefix(line, "* BYE") {
			t.Error(line)
		}
	}
}
