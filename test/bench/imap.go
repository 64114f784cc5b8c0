package main

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"time"
)

// imapConn is an IMAP client that reads and throws away as fast as it can.
type imapConn struct {
	conn  net.Conn
	r     *bufio.Reader
	tag   int
	caps  string
	limit time.Duration // of a command
	long  []byte        // a line longer than the reader's buffer
}

// answer is what a command brought.
type answer struct {
	lines  int    // untagged
	exists int    // of the last EXISTS
	first  string // the first untagged line that is no OK
	status string // the tagged line without its tag
}

// tlsClient asks for the same of everybody.
var tlsClient = &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS13, CurvePreferences: []tls.CurveID{tls.X25519}}

// dialIMAP connects, with TLS at once or not at all, and reads the greeting; hello is said before that.
func dialIMAP(addr string, secure bool, hello string) (*imapConn, error) {
	conn, err := net.DialTimeout("tcp", addr, 20*time.Second)
	if err != nil {
		return nil, err
	}
	if secure {
		conn = tls.Client(conn, tlsClient)
	}
	c := &imapConn{conn: conn, limit: 5 * time.Minute}
	conn.SetDeadline(time.Now().Add(30 * time.Second))
	c.r = bufio.NewReaderSize(conn, 64<<10)
	io.WriteString(conn, hello)
	line, err := c.line()
	if err == nil && !bytes.HasPrefix(line, []byte("* OK")) && !bytes.HasPrefix(line, []byte("* PREAUTH")) {
		err = fmt.Errorf("greeting %q", line)
	}
	if err != nil {
		conn.Close()
		return nil, err
	}
	return c, nil
}

// line is one line, literals skipped; what follows a literal is not kept.
func (c *imapConn) line() ([]byte, error) {
	first, err := c.physical()
	if err != nil {
		return nil, err
	}
	n := literal(first)
	if n < 0 {
		return first, nil
	}
	first = append([]byte(nil), first...)
	for n >= 0 {
		if _, err := c.r.Discard(n); err != nil {
			return nil, err
		}
		rest, err := c.physical()
		if err != nil {
			return nil, err
		}
		n = literal(rest)
	}
	return first, nil
}

func (c *imapConn) physical() ([]byte, error) {
	line, err := c.r.ReadSlice('\n')
	if err != bufio.ErrBufferFull {
		return line, err
	}
	c.long = append(c.long[:0], line...)
	for err == bufio.ErrBufferFull {
		line, err = c.r.ReadSlice('\n')
		c.long = append(c.long, line...)
	}
	return c.long, err
}

// literal is the size of the literal that the line announces, -1 none.
func literal(line []byte) int {
	if !bytes.HasSuffix(line, []byte("}\r\n")) {
		return -1
	}
	open := bytes.LastIndexByte(line, '{')
	if open < 0 {
		return -1
	}
	n, err := strconv.Atoi(string(line[open+1 : len(line)-3]))
	if err != nil {
		return -1
	}
	return n
}

// do sends a command and reads to its tagged answer; NO and BAD are errors.
func (c *imapConn) do(format string, args ...any) (answer, error) {
	tag, err := c.start(format, args...)
	if err != nil {
		return answer{}, err
	}
	return c.finish(tag)
}

func (c *imapConn) start(format string, args ...any) (string, error) {
	c.tag++
	tag := "a" + strconv.Itoa(c.tag)
	c.conn.SetDeadline(time.Now().Add(c.limit))
	_, err := fmt.Fprintf(c.conn, tag+" "+format+"\r\n", args...)
	return tag, err
}

func (c *imapConn) finish(tag string) (answer, error) {
	var a answer
	for {
		line, err := c.line()
		if err != nil {
			return a, err
		}
		if rest, ok := bytes.CutPrefix(line, []byte(tag+" ")); ok {
			if a.status = strings.TrimSpace(string(rest)); !strings.HasPrefix(a.status, "OK") {
				return a, fmt.Errorf("%.200s", a.status)
			}
			return a, nil
		}
		a.lines++
		if a.first == "" && !bytes.HasPrefix(line, []byte("* OK")) { // some say how far they are
			a.first = string(line)
		}
		if bytes.HasSuffix(line, []byte(" EXISTS\r\n")) {
			a.exists, _ = strconv.Atoi(string(bytes.Fields(line)[1]))
		}
	}
}

func (c *imapConn) login(user, password string) error {
	if _, err := c.do("LOGIN %s %s", user, password); err != nil {
		return fmt.Errorf("LOGIN %s: %w", user, err)
	}
	return nil
}

func (c *imapConn) can(name string) bool {
	if c.caps == "" {
		a, _ := c.do("CAPABILITY") // none: nothing can be done
		c.caps = " " + strings.ToUpper(strings.TrimSpace(a.first)) + " "
	}
	return strings.Contains(c.caps, " "+name+" ")
}

// append puts a message into a mailbox, in one write where the server lets us.
func (c *imapConn) append(mailbox string, text []byte) error {
	if c.can("LITERAL+") || c.can("LITERAL-") && len(text) <= 4096 {
		_, err := c.do("APPEND %s (\\Seen) {%d+}\r\n%s", mailbox, len(text), text)
		return err
	}
	tag, err := c.start("APPEND %s (\\Seen) {%d}", mailbox, len(text))
	if err != nil {
		return err
	}
	line, err := c.line()
	if err != nil {
		return err
	}
	if line[0] != '+' {
		return fmt.Errorf("APPEND: %s", line)
	}
	if _, err := fmt.Fprintf(c.conn, "%s\r\n", text); err != nil {
		return err
	}
	_, err = c.finish(tag)
	return err
}

// idle begins IDLE.
func (c *imapConn) idle() error {
	if _, err := c.start("IDLE"); err != nil {
		return err
	}
	line, err := c.line()
	if err == nil && line[0] != '+' {
		err = fmt.Errorf("IDLE: %s", line)
	}
	return err
}

// await reads lines until one ends so.
func (c *imapConn) await(end string, limit time.Duration) error {
	c.conn.SetDeadline(time.Now().Add(limit))
	for {
		line, err := c.line()
		if err != nil {
			return err
		}
		if bytes.HasSuffix(bytes.TrimSpace(line), []byte(end)) {
			return nil
		}
	}
}

func (c *imapConn) close() {
	c.limit = 10 * time.Second
	c.do("LOGOUT") // it may be gone
	c.conn.Close()
}
