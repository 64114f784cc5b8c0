/*
Package pull fetches the mail of an account on another host by IMAP, mailbox by mailbox, and goes on where it was interrupted:
maildirimport(1). It is a client that says little: LOGIN or AUTHENTICATE PLAIN, LIST, LSUB, EXAMINE, UID FETCH.

	client.go   one connection: commands, answers, literals
	pull.go     what is fetched and where it goes
	journal.go  what has been fetched: the file mb-pull in the Maildir
*/
package pull

import (
	"bufio"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"time"
)

// longestAnswer bounds what the server may say between literals, and literals that are not messages.
const longestAnswer = 1 << 20

// silence is how long a server may say nothing.
const silence = 5 * time.Minute

// client is a connection.
type client struct {
	conn net.Conn
	in   *bufio.Reader
	tag  int
	can  map[string]bool
}

// token is a piece of an answer: an atom or string, or a list.
type token struct {
	text   string
	quoted bool
	list   []token
	isList bool
}

// answer is one untagged answer, "* …", in pieces.
type answer struct{ tokens []token }

func (a *answer) is(i int, word string) bool {
	return i < len(a.tokens) && !a.tokens[i].isList && strings.EqualFold(a.tokens[i].text, word)
}

// Refused is a NO or BAD.
type Refused struct{ Command, Text string }

func (r *Refused) Error() string { return r.Command + ": the server says " + strconv.Quote(r.Text) }

// dial connects and says who we are not yet.
func dial(host, port string, implicit, clear bool, conf *tls.Config) (*client, error) {
	conn, err := net.DialTimeout("tcp", net.JoinHostPort(host, port), time.Minute)
	if err != nil {
		return nil, err
	}
	conf = conf.Clone()
	if conf.ServerName == "" {
		conf.ServerName = host
	}
	c := &client{conn: conn}
	if implicit {
		c.conn = tls.Client(conn, conf)
	}
	c.in = bufio.NewReaderSize(c.conn, 64<<10)
	greeting, err := c.line()
	if err != nil {
		conn.Close()
		return nil, err
	}
	if !strings.HasPrefix(strings.ToUpper(greeting), "* OK") && !strings.HasPrefix(strings.ToUpper(greeting), "* PREAUTH") {
		conn.Close()
		return nil, &Refused{"connecting", greeting}
	}
	if err := c.capability(); err != nil {
		conn.Close()
		return nil, err
	}
	if implicit || clear {
		return c, nil
	}
	if !c.can["STARTTLS"] {
		conn.Close()
		return nil, errors.New("the server has no STARTTLS; imaps:// has TLS from the first octet")
	}
	if err := c.do("STARTTLS", nil); err != nil {
		conn.Close()
		return nil, err
	}
	if c.in.Buffered() > 0 { // said in the clear, meant to be believed (CVE-2011-0411 and its like)
		conn.Close()
		return nil, errors.New("the server spoke before the handshake")
	}
	c.conn = tls.Client(conn, conf)
	c.in = bufio.NewReaderSize(c.conn, 64<<10)
	return c, c.capability()
}

func (c *client) Close() error { return c.conn.Close() }

func (c *client) capability() error {
	c.can = map[string]bool{}
	return c.do("CAPABILITY", func(a *answer) error {
		if a.is(0, "CAPABILITY") {
			for _, t := range a.tokens[1:] {
				c.can[strings.ToUpper(t.text)] = true
			}
		}
		return nil
	})
}

// login says user and password in the way that needs no quoting, if the server can.
func (c *client) login(user, password string) error {
	if c.can["AUTH=PLAIN"] {
		text := base64.StdEncoding.EncodeToString([]byte("\x00" + user + "\x00" + password))
		if c.can["SASL-IR"] {
			if err := c.do("AUTHENTICATE PLAIN "+text, nil); err != nil {
				return hide(err)
			}
			return c.capability()
		}
		c.tag++
		if err := c.send(fmt.Sprintf("p%d AUTHENTICATE PLAIN", c.tag)); err != nil {
			return err
		}
		line, err := c.line()
		if err != nil {
			return err
		}
		if !strings.HasPrefix(line, "+") {
			return &Refused{"AUTHENTICATE", line}
		}
		if err := c.send(text); err != nil {
			return err
		}
		if err := c.finish("AUTHENTICATE", nil); err != nil {
			return err
		}
		return c.capability()
	}
	if err := c.do("LOGIN "+quote(user)+" "+quote(password), nil); err != nil {
		return hide(err)
	}
	return c.capability()
}

// hide keeps the password out of an error.
func hide(err error) error {
	var r *Refused
	if errors.As(err, &r) {
		r.Command = "logging in"
	}
	return err
}

func quote(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`
}

func (c *client) send(line string) error {
	if strings.ContainsAny(line, "\r\n\x00") {
		return errors.New("a line break in a name or password")
	}
	c.conn.SetDeadline(time.Now().Add(silence))
	_, err := io.WriteString(c.conn, line+"\r\n")
	return err
}

func (c *client) line() (string, error) {
	c.conn.SetDeadline(time.Now().Add(silence))
	var line []byte
	for {
		part, err := c.in.ReadSlice('\n')
		line = append(line, part...)
		if len(line) > longestAnswer {
			return "", errors.New("the server's answer is too long")
		}
		if err == bufio.ErrBufferFull {
			continue
		}
		if err != nil {
			return "", err
		}
		return strings.TrimRight(string(line), "\r\n"), nil
	}
}

// do says a command and hands its untagged answers to each.
func (c *client) do(command string, each func(*answer) error) error {
	c.tag++
	if err := c.send(fmt.Sprintf("p%d %s", c.tag, command)); err != nil {
		return err
	}
	word, _, _ := strings.Cut(command, " ")
	return c.finish(word, each)
}

// finish reads up to the tagged answer.
func (c *client) finish(word string, each func(*answer) error) error {
	tag := fmt.Sprintf("p%d ", c.tag)
	var failed error
	for {
		line, err := c.line()
		if err != nil {
			return err
		}
		if rest, ok := strings.CutPrefix(line, tag); ok {
			if state, _, _ := strings.Cut(rest, " "); !strings.EqualFold(state, "OK") {
				return &Refused{word, rest}
			}
			return failed
		}
		rest, ok := strings.CutPrefix(line, "* ")
		if !ok {
			if strings.HasPrefix(line, "+") {
				continue
			}
			return &Refused{word, line}
		}
		if strings.HasPrefix(strings.ToUpper(rest), "BYE") {
			return &Refused{word, rest}
		}
		p := &parser{c: c, s: rest}
		tokens, err := p.list(0)
		if err != nil {
			return err
		}
		if each != nil && failed == nil {
			failed = each(&answer{tokens})
		}
	}
}

// parser takes an answer apart, and reads on where it has a literal.
type parser struct {
	c     *client
	s     string
	total int
}

const deepestList = 50

// list reads up to the end of the answer, or, in a list, up to its ")".
func (p *parser) list(depth int) (out []token, err error) {
	if depth > deepestList {
		return nil, errors.New("the server's answer is too deep")
	}
	for {
		p.s = strings.TrimLeft(p.s, " ")
		if p.s == "" {
			if depth > 0 {
				return nil, errors.New("the server's answer ends in a list")
			}
			return out, nil
		}
		switch c := p.s[0]; {
		case c == ')':
			p.s = p.s[1:]
			if depth > 0 {
				return out, nil
			}
		case c == '(':
			p.s = p.s[1:]
			inner, err := p.list(depth + 1)
			if err != nil {
				return nil, err
			}
			out = append(out, token{list: inner, isList: true})
		case c == '"':
			t, err := p.quoted()
			if err != nil {
				return nil, err
			}
			out = append(out, t)
		case c == '{' || c == '~' && len(p.s) > 1 && p.s[1] == '{':
			t, err := p.literal()
			if err != nil {
				return nil, err
			}
			out = append(out, t)
		default:
			n := 0 // an atom; brackets belong to it, BODY[HEADER (X)]
			for square := 0; n < len(p.s); n++ {
				b := p.s[n]
				if b == '[' {
					square++
				} else if b == ']' && square > 0 {
					square--
				} else if square == 0 && (b == ' ' || b == '(' || b == ')') {
					break
				}
			}
			out = append(out, token{text: p.s[:n]})
			p.s = p.s[n:]
		}
	}
}

func (p *parser) quoted() (token, error) {
	var b strings.Builder
	for i := 1; i < len(p.s); i++ {
		switch p.s[i] {
		case '"':
			p.s = p.s[i+1:]
			return token{text: b.String(), quoted: true}, nil
		case '\\':
			if i++; i == len(p.s) {
				return token{}, errors.New("the server's answer ends in a string")
			}
		}
		b.WriteByte(p.s[i])
	}
	return token{}, errors.New("the server's answer ends in a string")
}

// longestMessage bounds a literal.
const longestMessage = 256 << 20

func (p *parser) literal() (token, error) {
	number := strings.TrimSuffix(strings.TrimPrefix(strings.TrimPrefix(p.s, "~"), "{"), "}")
	n, err := strconv.ParseInt(number, 10, 64)
	if err != nil || n < 0 || n > longestMessage {
		return token{}, fmt.Errorf("the server sends a literal of %q octets", number)
	}
	b := make([]byte, 0, min(n, 1<<20))
	for int64(len(b)) < n {
		p.c.conn.SetDeadline(time.Now().Add(silence))
		part := make([]byte, min(n-int64(len(b)), 1<<20))
		m, err := io.ReadFull(p.c.in, part)
		b = append(b, part[:m]...)
		if err != nil {
			return token{}, err
		}
	}
	line, err := p.c.line()
	if p.s = line; err != nil {
		return token{}, err
	}
	return token{text: string(b), quoted: true}, nil
}
