package lab

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"os/exec"
	"strconv"
	"strings"
	"time"
)

// IMAP is an IMAP client that knows nothing: it says what it is told and reads lines, with the literals in them.
type IMAP struct {
	Greeting string
	Octets   int64 // received so far

	conn net.Conn
	r    *bufio.Reader
	tags int
}

// IMAP logs in as the user, under TLS.
func (h *Host) IMAP(user string) (*IMAP, error) {
	conn, err := tls.Dial("tcp", h.Addr("IMAPS"), &tls.Config{ServerName: "mx." + h.Name, RootCAs: h.lab.CA.Pool()})
	if err != nil {
		return nil, err
	}
	return LoginIMAP(conn, h.account(user))
}

// LoginIMAP is an IMAP session on the connection, logged in.
func LoginIMAP(conn net.Conn, user string) (*IMAP, error) {
	c, err := NewIMAP(conn)
	if err != nil {
		return nil, err
	}
	if _, err := c.Do("LOGIN %s %s", user, Password); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// NewIMAP reads the greeting.
func NewIMAP(conn net.Conn) (c *IMAP, err error) {
	if c, err = TalkIMAP(conn); err != nil {
		return nil, err
	}
	if c.Greeting, err = c.Line(); err != nil {
		conn.Close()
		return nil, err
	}
	return c, nil
}

// TalkIMAP goes on where there is no greeting: after STARTTLS.
func TalkIMAP(conn net.Conn) (*IMAP, error) {
	c := &IMAP{conn: conn}
	c.r = bufio.NewReader(countReader{conn, &c.Octets})
	return c, conn.SetDeadline(time.Now().Add(20 * time.Second))
}

type countReader struct {
	io.Reader
	n *int64
}

func (r countReader) Read(b []byte) (int, error) {
	n, err := r.Reader.Read(b)
	*r.n += int64(n)
	return n, err
}

func (c *IMAP) Close() error { return c.conn.Close() }

// Line reads one line and the literals that belong to it; its own CRLF is left away.
func (c *IMAP) Line() (string, error) {
	var all strings.Builder
	for {
		text, err := c.r.ReadString('\n')
		if err != nil {
			return "", err
		}
		text = strings.TrimRight(text, "\r\n")
		all.WriteString(text)
		open := strings.LastIndexByte(text, '{')
		if open < 0 || !strings.HasSuffix(text, "}") {
			return all.String(), nil
		}
		n, err := strconv.Atoi(text[open+1 : len(text)-1])
		if err != nil {
			return all.String(), nil
		}
		all.WriteString("\r\n")
		if _, err := io.CopyN(&all, c.r, int64(n)); err != nil {
			return "", err
		}
	}
}

// Do sends a command and returns the untagged lines that come with its OK, and the OK itself as the last; NO and BAD are errors. What is
// longer than a line goes as a literal that need not be asked for, {12+}.
func (c *IMAP) Do(format string, args ...any) ([]string, error) {
	c.tags++
	tag := fmt.Sprintf("t%d", c.tags)
	c.conn.SetDeadline(time.Now().Add(20 * time.Second))
	if _, err := fmt.Fprintf(c.conn, tag+" "+format+"\r\n", args...); err != nil {
		return nil, err
	}
	return c.until(tag, format)
}

func (c *IMAP) until(tag, what string) (lines []string, err error) {
	for {
		line, err := c.Line()
		if err != nil {
			return lines, fmt.Errorf("after %.40q: %w", what, err)
		}
		rest, ours := strings.CutPrefix(line, tag+" ")
		if !ours {
			lines = append(lines, line)
			continue
		}
		if !strings.HasPrefix(rest, "OK") {
			return lines, fmt.Errorf("%.40q: %s", what, rest)
		}
		return append(lines, rest), nil
	}
}

// Idle begins IDLE (RFC 2177).
func (c *IMAP) Idle() error {
	c.tags++
	c.conn.SetDeadline(time.Now().Add(20 * time.Second))
	if _, err := fmt.Fprintf(c.conn, "t%d IDLE\r\n", c.tags); err != nil {
		return err
	}
	_, err := c.Await(10*time.Second, "+ ")
	return err
}

// Await reads until a line has the text.
func (c *IMAP) Await(limit time.Duration, text string) (string, error) {
	c.conn.SetReadDeadline(time.Now().Add(limit))
	for {
		line, err := c.Line()
		if err != nil {
			return "", fmt.Errorf("waiting for %q: %w", text, err)
		}
		if strings.Contains(line, text) {
			return line, nil
		}
	}
}

// Done ends IDLE and returns what came meanwhile.
func (c *IMAP) Done() ([]string, error) {
	c.conn.SetDeadline(time.Now().Add(20 * time.Second))
	if _, err := io.WriteString(c.conn, "DONE\r\n"); err != nil {
		return nil, err
	}
	return c.until(fmt.Sprintf("t%d", c.tags), "DONE")
}

// RunIMAP starts a program that speaks IMAP on its descriptors 0 and 1, as ssh would, and ends with the session.
func RunIMAP(argv ...string) (*IMAP, error) {
	c, _, err := RunIMAPPid(argv...)
	return c, err
}

// RunIMAPPid also says which process it is.
func RunIMAPPid(argv ...string) (*IMAP, int, error) {
	client, server := net.Pipe()
	cmd := exec.Command(argv[0], argv[1:]...)
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, 0, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, 0, err
	}
	if err := cmd.Start(); err != nil {
		return nil, 0, err
	}
	go func() { io.Copy(in, server); in.Close() }()
	go func() { io.Copy(server, out); cmd.Wait(); server.Close() }()
	c, err := NewIMAP(client)
	return c, cmd.Process.Pid, err
}
