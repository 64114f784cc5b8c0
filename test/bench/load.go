package main

import (
	"bufio"
	"bytes"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// load is clients that send messages as fast as they are taken.
type load struct {
	addr    string
	from    string
	rcpt    func(i int) string
	n       int // messages
	clients int
	size    int           // octets of a message
	perConn int           // messages on one connection, 0 all
	pause   time.Duration // of a client before each message
	whole   []byte        // every message is this, header and all; nil: made here
}

// taken is what came of a load.
type taken struct {
	time      time.Duration
	latencies []time.Duration // of MAIL to the 250 after the dot, sorted
}

func (t taken) percentile(p float64) time.Duration {
	if len(t.latencies) == 0 {
		return 0
	}
	return t.latencies[min(len(t.latencies)-1, int(p*float64(len(t.latencies))))]
}

func (t taken) sort() { slices.Sort(t.latencies) }

// run sends everything; the first error ends it.
func (l load) run() (taken, error) {
	var next atomic.Int64
	var failed atomic.Pointer[error]
	latencies := make([][]time.Duration, l.clients)
	body := l.body()
	begun := time.Now()
	var all sync.WaitGroup
	for c := range l.clients {
		all.Go(func() {
			var conn *client
			defer func() {
				if conn != nil {
					conn.quit()
				}
			}()
			for done := 0; failed.Load() == nil; done++ {
				i := int(next.Add(1)) - 1
				if i >= l.n {
					return
				}
				if l.pause > 0 {
					time.Sleep(l.pause)
				}
				start := time.Now()
				var err error
				if conn == nil {
					conn, err = connect(l.addr)
				}
				switch {
				case err != nil:
				case l.whole != nil:
					err = conn.bring(l.from, l.rcpt(i), "", l.whole)
				default:
					err = conn.send(l.from, l.rcpt(i), i, body)
				}
				if err != nil {
					err = fmt.Errorf("message %d: %w", i, err)
					failed.CompareAndSwap(nil, &err)
					return
				}
				latencies[c] = append(latencies[c], time.Since(start))
				if l.perConn > 0 && (done+1)%l.perConn == 0 {
					conn.quit()
					conn = nil
				}
			}
		})
	}
	all.Wait()
	t := taken{time: time.Since(begun), latencies: slices.Concat(latencies...)}
	t.sort()
	if err := failed.Load(); err != nil {
		return t, *err
	}
	return t, nil
}

// body is text to fill the message up to its size, the same every time.
func (l load) body() []byte {
	var b bytes.Buffer
	for n := 0; b.Len() < l.size-400; n++ {
		fmt.Fprintf(&b, "%06d the quick brown fox jumps over the lazy dog and comes back for more\r\n", n)
	}
	return b.Bytes()
}

// client is one SMTP connection.
type client struct {
	conn net.Conn
	r    *bufio.Reader
	buf  []byte
}

// connect greets. A server at its limit may cut the connection before it greets: that is tried again.
func connect(addr string) (*client, error) {
	var last error
	for try := range 20 {
		time.Sleep(time.Duration(try) * 5 * time.Millisecond)
		conn, err := net.DialTimeout("tcp", addr, 10*time.Second)
		if err != nil {
			last = err
			continue
		}
		conn.SetDeadline(time.Now().Add(5 * time.Minute))
		c := &client{conn: conn, r: bufio.NewReader(conn)}
		if last = c.want("220"); last != nil {
			conn.Close()
			continue
		}
		if _, last = conn.Write([]byte("EHLO bench.test\r\n")); last == nil {
			last = c.want("250")
		}
		if last == nil {
			return c, nil
		}
		conn.Close()
	}
	return nil, last
}

// want reads one reply.
func (c *client) want(code string) error {
	for {
		line, err := c.r.ReadSlice('\n')
		if err != nil {
			return err
		}
		if len(line) < 4 || string(line[:3]) != code {
			return fmt.Errorf("%s instead of %s", strings.TrimSpace(string(line)), code)
		}
		if line[3] != '-' {
			return nil
		}
	}
}

// send is one transaction with a header made here.
func (c *client) send(from, to string, i int, body []byte) error {
	header := fmt.Sprintf("From: <%s>\r\nTo: <%s>\r\nSubject: number %d\r\nDate: Tue, 24 Nov 2026 12:00:00 +0000\r\nMessage-ID: <%d.%d@bench.test>\r\n\r\n",
		from, to, i, i, time.Now().UnixNano())
	return c.bring(from, to, header, body)
}

// bring is one transaction: MAIL, RCPT and DATA in one write, for all servers offer PIPELINING.
func (c *client) bring(from, to, header string, body []byte) error {
	c.buf = fmt.Appendf(c.buf[:0], "MAIL FROM:<%s>\r\nRCPT TO:<%s>\r\nDATA\r\n", from, to)
	if _, err := c.conn.Write(c.buf); err != nil {
		return err
	}
	for _, code := range []string{"250", "250", "354"} {
		if err := c.want(code); err != nil {
			return err
		}
	}
	c.buf = append(append(append(c.buf[:0], header...), body...), ".\r\n"...)
	if _, err := c.conn.Write(c.buf); err != nil {
		return err
	}
	return c.want("250")
}

func (c *client) quit() {
	c.conn.Write([]byte("QUIT\r\n"))
	c.want("221") // the server has finished with us; that it said something else changes nothing
	c.conn.Close()
}
