// Package login runs the servers with mailauthd beside them.
package login

import (
	"bufio"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"pennypost/test/lab"
)

const domain = "auth.test"

// up is a host whose servers ask at a socket.
func up(t *testing.T) (l *lab.Lab, h *lab.Host, socket string) {
	t.Helper()
	if testing.Short() {
		t.Skip("not with -short")
	}
	bin, err := lab.Bin()
	if err != nil {
		t.Skip(err)
	}
	dir, err := os.MkdirTemp("", "pennypost-login-") // short enough for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if l, err = lab.New(dir, bin, lab.FreeBase()); err != nil {
		t.Fatal(err)
	}
	if h, err = l.AddHost(domain, "127.0.0.1", "alice", "bob"); err != nil {
		t.Fatal(err)
	}
	socket = filepath.Join(dir, "login.sock")
	h.Keys["login.socket"] = fmt.Sprintf("%q", socket)
	h.Keys["login.certificates"] = "true"
	if err := l.Up(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.Down)
	return l, h, socket
}

// mailauthd runs it until stop.
func mailauthd(t *testing.T, l *lab.Lab, h *lab.Host, socket string) (stop func()) {
	t.Helper()
	cmd := exec.Command(filepath.Join(l.Bin, "mailauthd"), "-c", h.Config())
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	stop = func() {
		if cmd.ProcessState == nil {
			cmd.Process.Signal(syscall.SIGTERM)
			cmd.Wait()
		}
	}
	t.Cleanup(stop)
	err := lab.Until(5*time.Second, func() error {
		c, err := net.Dial("unix", socket)
		if err == nil {
			c.Close()
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return stop
}

// attempt logs in and gives the last line that was said.
func attempt(t *testing.T, h *lab.Host, service, user, password string) (string, net.Conn) {
	t.Helper()
	conn, err := tls.Dial("tcp", h.Addr(service), &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(20 * time.Second))
	plain := base64.StdEncoding.EncodeToString([]byte("\x00" + user + "\x00" + password))
	say := map[string][]string{
		"IMAPS":       {"a AUTHENTICATE PLAIN " + plain},
		"POP3S":       {"AUTH PLAIN " + plain},
		"SUBMISSIONS": {"EHLO x", "AUTH PLAIN " + plain},
	}[service]
	last := map[string]string{"IMAPS": "a ", "POP3S": "", "SUBMISSIONS": ""}[service]
	in := bufio.NewReader(conn)
	line := func() string {
		text, err := in.ReadString('\n')
		if err != nil {
			t.Fatalf("%s: %v", service, err)
		}
		return strings.TrimSpace(text)
	}
	line()
	for i, s := range say {
		fmt.Fprintf(conn, "%s\r\n", s)
		for {
			text := line()
			if i < len(say)-1 && strings.HasPrefix(text, "250 ") || i == len(say)-1 && strings.HasPrefix(text, last) {
				if i == len(say)-1 {
					return text, conn
				}
				break
			}
		}
	}
	return "", nil
}

// The servers ask mailauthd: right, wrong, nobody there, there again; a credential that is removed ends the session it opened.
func TestMailauthd(t *testing.T) {
	l, h, socket := up(t)
	stop := mailauthd(t, l, h, socket)
	services := []string{"IMAPS", "POP3S", "SUBMISSIONS"}
	expect := func(password string, want ...string) {
		t.Helper()
		for i, service := range services {
			if said, _ := attempt(t, h, service, "alice@"+domain, password); !strings.Contains(said, want[i]) {
				t.Errorf("%s: %s, want %s", service, said, want[i])
			}
		}
	}
	expect(lab.Password, "a OK", "+OK", "235 ")
	expect("wrong", "AUTHENTICATIONFAILED", "-ERR [AUTH]", "535 5.7.8")
	stop()
	expect(lab.Password, "UNAVAILABLE", "-ERR [SYS/TEMP]", "454 4.7.0")
	mailauthd(t, l, h, socket)
	expect(lab.Password, "a OK", "+OK", "235 ")
	for _, service := range services {
		said, conn := attempt(t, h, service, "bob@"+domain, lab.Password)
		file := filepath.Join(h.Dir, "etc/domains", domain, "users/bob/credentials/main")
		text, err := os.ReadFile(file)
		if err == nil {
			err = os.Remove(file)
		}
		if err != nil || conn == nil {
			t.Fatal(said, err)
		}
		conn.SetDeadline(time.Now().Add(5 * time.Second))
		for err == nil {
			_, err = conn.Read(make([]byte, 4096))
		}
		if timeout, ok := err.(net.Error); ok && timeout.Timeout() {
			t.Errorf("%s goes on", service)
		}
		os.WriteFile(file, text, 0o600)
	}
	if _, err := os.Stat(filepath.Join(h.Dir, "state/auth/alice@"+domain+"/logins")); err != nil {
		t.Error(err)
	}
}

// As from inetd: one connection on descriptor 0.
func TestInherited(t *testing.T) {
	l, h, _ := up(t)
	pair, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	ours, theirs := os.NewFile(uintptr(pair[0]), "ours"), os.NewFile(uintptr(pair[1]), "theirs")
	cmd := exec.Command(filepath.Join(l.Bin, "mailauthd"), "-c", h.Config())
	cmd.Stdin, cmd.Stderr = theirs, os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	theirs.Close()
	in := bufio.NewReader(ours)
	for _, k := range [][2]string{
		{"check imap 127.0.0.1 - alice@" + domain + " " + lab.Password, "ok alice@" + domain + " alice@" + domain + " - main "},
		{"check imap 127.0.0.1 - alice@" + domain + " wrong", "no alice@" + domain},
		{"offers plain", "ok SCRAM-SHA-256 SCRAM-SHA-1 PLAIN LOGIN"},
	} {
		fmt.Fprintln(ours, k[0])
		if line, err := in.ReadString('\n'); err != nil || !strings.HasPrefix(line, k[1]) {
			t.Errorf("%s: %s %v", k[0], line, err)
		}
	}
	ours.Close()
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
}
