package remote

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"pennypost/internal/address"
	"pennypost/internal/config"
	"pennypost/internal/dns/fixture"
	"pennypost/internal/maillog"
	"pennypost/internal/order"
	"pennypost/queue"
)

// peer is a server that does as it is told: a function for each connection, and a record of what it read and said.
type peer struct {
	t    *testing.T
	addr string
	port int

	mu    sync.Mutex
	conns int
	log   bytes.Buffer // the dialogue, as a transcript
}

// dialogue is one connection of a peer.
type dialogue struct {
	p *peer
	net.Conn
	r *bufio.Reader
	n int // which connection
}

func newPeer(t *testing.T, network, addr string, each func(d *dialogue)) *peer {
	t.Helper()
	l, err := net.Listen(network, addr)
	if err != nil {
		t.Fatal(err)
	}
	p := &peer{t: t, addr: l.Addr().String()}
	if at, ok := l.Addr().(*net.TCPAddr); ok {
		p.port = at.Port
	}
	var wait sync.WaitGroup
	t.Cleanup(func() { l.Close(); wait.Wait() })
	wait.Add(1)
	go func() {
		defer wait.Done()
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			p.mu.Lock()
			p.conns++
			d := &dialogue{p, conn, bufio.NewReader(conn), p.conns}
			p.mu.Unlock()
			wait.Add(1)
			go func() {
				defer wait.Done()
				defer conn.Close()
				conn.SetDeadline(time.Now().Add(10 * time.Second))
				each(d)
			}()
		}
	}()
	return p
}

func (p *peer) note(who, line string) {
	p.mu.Lock()
	fmt.Fprintf(&p.log, "%s: %s\n", who, line)
	p.mu.Unlock()
}

func (p *peer) transcript() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.log.String()
}

func (p *peer) connections() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.conns
}

// line reads a command.
func (d *dialogue) line() string {
	line, err := d.r.ReadString('\n')
	if err != nil {
		return ""
	}
	if !strings.HasSuffix(line, "\r\n") {
		d.p.t.Errorf("S009: a line on the wire ends in a bare LF: %q", line)
	}
	line = strings.TrimRight(line, "\r\n")
	d.p.note("C", line)
	return line
}

// say sends lines, CRLF added.
func (d *dialogue) say(lines ...string) {
	for _, line := range lines {
		d.p.note("S", line)
	}
	io.WriteString(d.Conn, strings.Join(lines, "\r\n")+"\r\n")
}

// data reads up to the lone dot and checks every octet (S009).
func (d *dialogue) data() string {
	var all bytes.Buffer
	for {
		line, err := d.r.ReadString('\n')
		if err != nil {
			return all.String()
		}
		if line == ".\r\n" {
			checkWire(d.p.t, all.Bytes())
			return all.String()
		}
		all.WriteString(strings.TrimPrefix(line, "."))
	}
}

// checkWire is S009: no CR or LF stands alone.
func checkWire(t *testing.T, wire []byte) {
	t.Helper()
	for i, c := range wire {
		if c == '\n' && (i == 0 || wire[i-1] != '\r') || c == '\r' && (i+1 == len(wire) || wire[i+1] != '\n') {
			t.Errorf("S009: bare %q at octet %d of %q", c, i, wire[max(0, i-20):min(len(wire), i+20)])
			return
		}
	}
}

// smtp is a well-behaved session; ext is what EHLO offers, replies maps the beginning of a command to another reply.
func (d *dialogue) smtp(ext []string, replies map[string]string) (messages []string) {
	answer := func(command, usual string) string {
		for prefix, other := range replies {
			if strings.HasPrefix(command, prefix) {
				usual = other
			}
		}
		if usual != "" {
			d.say(strings.Split(usual, "\n")...)
		}
		return usual
	}
	answer("greeting", "220 mx.test ESMTP")
	var chunks bytes.Buffer
	rcpts := 0
	for {
		line := d.line()
		verb, _, _ := strings.Cut(line, " ")
		switch verb {
		case "":
			return messages
		case "EHLO", "LHLO":
			lines := append([]string{"mx.test"}, ext...)
			for i := range lines {
				lines[i] = "250" + map[bool]string{true: " ", false: "-"}[i == len(lines)-1] + lines[i]
			}
			answer(line, strings.Join(lines, "\n"))
		case "DATA":
			if answer(line, "354 go on")[0] != '3' {
				break
			}
			text := d.data()
			messages = append(messages, text)
			d.p.note("C", fmt.Sprintf("(%d octets)", len(text)))
			answer(".", "250 2.6.0 taken")
		case "BDAT":
			var n int
			fmt.Sscanf(line, "BDAT %d", &n)
			io.CopyN(&chunks, d.r, int64(n))
			if strings.HasSuffix(line, " LAST") {
				messages = append(messages, chunks.String())
				chunks.Reset()
			}
			answer(line, "250 2.6.0 chunk taken")
		case "RCPT":
			rcpts++
			answer(line, "250 2.1.5 recipient accepted")
		case "QUIT":
			answer(line, "221 2.0.0 bye")
			return messages
		default:
			answer(line, "250 2.0.0 so be it")
		}
	}
}

// modern is what today's servers offer.
var modern = []string{"PIPELINING", "SIZE 1000000", "8BITMIME", "SMTPUTF8", "DSN", "CHUNKING", "ENHANCEDSTATUSCODES"}

func without(ext []string, names ...string) (left []string) {
	for _, e := range ext {
		keep := true
		for _, name := range names {
			keep = keep && !strings.HasPrefix(e, name)
		}
		if keep {
			left = append(left, e)
		}
	}
	return left
}

// newClient is a client whose DNS is the zone, and whose remote.port is port.
func newClient(t *testing.T, zone string, port int, change func(*config.Config)) (*Client, *fixture.Server) {
	t.Helper()
	server, err := fixture.Start("127.0.0.1:0", zone)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Close)
	conf := config.Default()
	conf.Hostname = "we.test"
	conf.DNS.Servers = []string{server.Addr()}
	conf.DNS.Timeout = time.Second
	conf.Remote.Port = port
	conf.Remote.RefuseNetworks = nil
	conf.Remote.ConnectTime = 2 * time.Second
	conf.Remote.CommandTime = 3 * time.Second
	conf.Remote.DataTime = 3 * time.Second
	conf.SMTPD.MX = nil
	conf.Remote.Sign = ""
	conf.State = t.TempDir()
	conf.DNS.Probe = ""
	if change != nil {
		change(conf)
	}
	c, err := New(conf, &maillog.Log{Program: "deliver-remote", Out: io.Discard})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c, server
}

// letter is a message to be delivered.
type letter struct {
	from, mail, text string
	via              string // "submit"
	raw              bool
	rcpts            []string // "bob@example.test" or "bob@example.test NOTIFY=NEVER"
}

// file writes the letter as a spool file and makes the order for it.
func (l letter) file(t *testing.T, site string) (*order.Order, *os.File) {
	t.Helper()
	env := &queue.Envelope{ID: "0fk2v9qk3x7m2c000-a", Time: time.Unix(1800000000, 0), Via: "submit", From: path(l.from), Mail: l.mail,
		Body: queue.Body{Length: int64(len(l.text)), Raw: l.raw, Hash: strings.Repeat("0", 32)}}
	o := &order.Order{Verb: "deliver", Seq: 7, ID: env.ID, Attempt: 1, Site: site, Size: int64(len(l.text))}
	for i, r := range l.rcpts {
		to, params, _ := strings.Cut(r, " ")
		env.Rcpts = append(env.Rcpts, queue.Rcpt{N: i + 1, To: path(to), Params: params})
		o.Rcpts = append(o.Rcpts, order.Rcpt{Num: queue.Num{N: i + 1}, To: path(to)})
	}
	if l.via != "" {
		env.Via = l.via
	}
	text := env.Append(nil)
	o.Header = int64(len(text))
	name := filepath.Join(t.TempDir(), "m")
	if err := os.WriteFile(name, append(text, l.text...), 0600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return o, f
}

func path(s string) address.Path {
	p, err := address.Parse(s)
	if err != nil {
		panic(err)
	}
	return p
}

// deliver carries out one order, and shows the answers as lines.
func deliver(t *testing.T, c *Client, site string, l letter) string {
	t.Helper()
	if l.from == "" {
		l.from = "alice@we.test"
	}
	if l.from == "<>" {
		l.from = ""
	}
	if l.text == "" {
		l.text = "Subject: hi\n\nhi\n"
	}
	o, f := l.file(t, site)
	return show(c.Deliver(context.Background(), o, int(f.Fd()), nil, nil))
}

func show(answers []order.Answer) string {
	var lines []string
	for _, a := range answers {
		switch a.Kind {
		case 'K', 'Z', 'D':
			lines = append(lines, fmt.Sprintf("%c %s %d %s %s", a.Kind, a.Num, a.Result.Code, a.Result.Enhanced, a.Result.Text))
		case 'S':
			lines = append(lines, "S "+a.Result.Text)
		case 'R':
			lines = append(lines, "site "+a.Site)
		case 'E':
			lines = append(lines, "E")
		}
	}
	return strings.Join(lines, "\n")
}

// zone has example.test at 127.0.0.1.
const zone = `
	example.test  MX 10 mx.example.test
	mx.example.test A 127.0.0.1
`
