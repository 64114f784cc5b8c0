package imapd

import (
	"bufio"
	"context"
	"io"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"pennypost/internal/config"
)

// Whoever tells of news may be late: the session has left IDLE and reads a command, or DONE comes in pieces. Neither may be cut off.
func TestLateNews(t *testing.T) {
	h := newHouse(t)
	h.open()
	conf := config.Default()
	conf.Origin = "example.org"
	id, err := owner(conf, filepath.Join(h.dir, "home/Maildir"))
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	client, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	server, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	s := newSession(h.srv, server)
	account, err := h.srv.open(id)
	if err != nil {
		t.Fatal(err)
	}
	s.enter(id, account)
	stop := make(chan struct{})
	var group sync.WaitGroup
	group.Go(func() {
		defer s.close()
		s.serve(context.Background(), "")
	})
	group.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				s.wake()
				time.Sleep(10 * time.Microsecond)
			}
		}
	})
	client.SetDeadline(time.Now().Add(20 * time.Second))
	in := bufio.NewReader(client)
	for i := range 60 {
		for _, step := range []struct{ say, want string }{{"a SELECT INBOX\r\n", "a OK"}, {"b IDLE\r\n", "+ "}, {"DO", ""}, {"NE\r\n", "b OK"}, {"c NO", ""}, {"OP\r\n", "c OK"}} {
			if _, err := io.WriteString(client, step.say); err != nil {
				t.Fatal(err)
			}
			if step.want == "" {
				time.Sleep(time.Millisecond)
				continue
			}
			for line := ""; !strings.HasPrefix(line, step.want); {
				if line, err = in.ReadString('\n'); err != nil {
					t.Fatalf("round %d, after %q: %v", i, step.say, err)
				}
				if strings.HasPrefix(line, "* BYE") {
					t.Fatalf("round %d, after %q: %s", i, step.say, line)
				}
			}
		}
	}
	close(stop)
	client.Close()
	group.Wait()
}
