package demo

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"net"
	"strings"
	"time"
)

// talker is a client that says what it is told and reads one reply at a time.
type talker struct {
	net.Conn
	r *bufio.Reader
}

func dial(addr string) (net.Conn, error) { return net.DialTimeout("tcp", addr, 5*time.Second) }

func talk(addr string) (*talker, error) {
	conn, err := dial(addr)
	if err != nil {
		return nil, err
	}
	return newTalker(conn)
}

func talkTLS(addr string, roots *x509.CertPool) (*talker, error) {
	conn, err := tls.Dial("tcp", addr, &tls.Config{ServerName: "mx." + here, RootCAs: roots})
	if err != nil {
		return nil, err
	}
	return newTalker(conn)
}

func newTalker(conn net.Conn) (*talker, error) {
	conn.SetDeadline(time.Now().Add(20 * time.Second))
	t := &talker{conn, bufio.NewReader(conn)}
	if reply, err := t.reply(); err != nil || !strings.HasPrefix(reply, "220") {
		conn.Close()
		return nil, fmt.Errorf("greeting %q: %v", reply, err)
	}
	return t, nil
}

// reply reads one reply, all its lines.
func (t *talker) reply() (string, error) {
	var all strings.Builder
	for {
		line, err := t.r.ReadString('\n')
		all.WriteString(line)
		if err != nil || len(line) < 4 || line[3] != '-' {
			return strings.TrimSpace(all.String()), err
		}
	}
}

// Do says something and reads the reply.
func (t *talker) Do(say string) (string, error) {
	if _, err := t.Write([]byte(say + "\r\n")); err != nil {
		return "", err
	}
	return t.reply()
}

// Want is Do, and an error unless the reply begins with want.
func (t *talker) Want(say, want string) error {
	reply, err := t.Do(say)
	if err == nil && !strings.HasPrefix(reply, want) {
		return fmt.Errorf("%.60q was answered %q, not %s", say, reply, want)
	}
	return err
}

// Login is EHLO and AUTH PLAIN.
func (t *talker) Login(user, password string) error {
	if err := t.Want("EHLO check.test", "250"); err != nil {
		return err
	}
	return t.Want("AUTH PLAIN "+base64.StdEncoding.EncodeToString([]byte("\x00"+user+"\x00"+password)), "235")
}

// Transaction sends one message.
func (t *talker) Transaction(from, to, text string) error {
	for _, step := range []struct{ say, want string }{
		{"MAIL FROM:<" + from + ">", "250"}, {"RCPT TO:<" + to + ">", "250"}, {"DATA", "354"}, {text + ".", "250"},
	} {
		if err := t.Want(step.say, step.want); err != nil {
			return err
		}
	}
	return nil
}
