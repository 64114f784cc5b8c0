package clients

import (
	"bufio"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pennypost/test/lab"
)

// S118: sessions of all three protocols end within five seconds when the credential that opened them is removed.
func TestRevoked(t *testing.T) {
	h := host(t)
	if err := h.AddUser("revoked"); err != nil {
		t.Fatal(err)
	}
	secret := base64.StdEncoding.EncodeToString([]byte("\x00revoked@demo.test\x00" + lab.Password))
	var open []net.Conn
	for _, s := range []struct {
		service string
		say     []string
		good    string
	}{
		{"IMAPS", []string{"a LOGIN revoked@demo.test " + lab.Password}, "a OK"},
		{"POP3S", []string{"AUTH PLAIN " + secret}, "+OK logged in"},
		{"SUBMISSIONS", []string{"EHLO x", "AUTH PLAIN " + secret}, "235 "},
	} {
		conn, err := tls.Dial("tcp", h.Addr(s.service), &tls.Config{InsecureSkipVerify: true})
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		conn.SetDeadline(time.Now().Add(20 * time.Second))
		for _, line := range s.say {
			fmt.Fprintf(conn, "%s\r\n", line)
		}
		for in := bufio.NewReader(conn); ; {
			line, err := in.ReadString('\n')
			if err != nil {
				t.Fatalf("%s: %v", s.service, err)
			}
			if strings.HasPrefix(line, s.good) {
				break
			}
		}
		open = append(open, conn)
	}
	if err := os.Remove(filepath.Join(h.Dir, "etc/domains/demo.test/users/revoked/credentials/main")); err != nil {
		t.Fatal(err)
	}
	for i, conn := range open {
		conn.SetDeadline(time.Now().Add(5 * time.Second))
		_, err := conn.Read(make([]byte, 1))
		if timeout, ok := err.(net.Error); err == nil || ok && timeout.Timeout() {
			t.Errorf("session %d goes on: %v", i, err)
		}
	}
}
