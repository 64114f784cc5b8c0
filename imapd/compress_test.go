package imapd

import (
	"bufio"
	"compress/flate"
	"io"
	"net"
	"strings"
	"testing"
)

// deflated is a client's side of COMPRESS, by the standard library.
type deflated struct {
	net.Conn
	w *flate.Writer
	r io.Reader
}

func (d *deflated) Read(b []byte) (int, error) { return d.r.Read(b) }
func (d *deflated) Write(b []byte) (int, error) {
	n, err := d.w.Write(b)
	if err == nil {
		err = d.w.Flush()
	}
	return n, err
}

func (c *client) compress() {
	c.Helper()
	c.want("z COMPRESS DEFLATE", "z OK")
	w, _ := flate.NewWriter(c.Conn, 9)
	c.Conn = &deflated{Conn: c.Conn, w: w, r: flate.NewReader(c.Conn)}
	c.in = bufio.NewReader(c.Conn)
}

// RFC 4978 over TLS: commands, long answers, literals, and news that interrupt the reading.
func TestCompress(t *testing.T) {
	h := newHouse(t)
	h.open()
	c := h.enter("alice")
	c.compress()
	c.want("a COMPRESS DEFLATE", "a NO [COMPRESSIONACTIVE]")
	text := strings.Repeat("a line that is like the others\r\n", 2000)
	io.WriteString(c.Conn, "b APPEND INBOX {64000+}\r\n"+text+"\r\n")
	if line := c.line(); !strings.HasPrefix(line, "b OK") {
		t.Fatal(line)
	}
	c.want("c SELECT INBOX", "c OK")
	if got := strings.Join(c.want("d FETCH 1 BODY.PEEK[]", "d OK"), "\r\n"); !strings.Contains(got, text) {
		t.Error("the message came back as something else")
	}
	other := h.enter("alice")
	io.WriteString(c.Conn, "e IDLE\r\n")
	if line := c.line(); line != "+ idling" {
		t.Fatal(line)
	}
	for range 20 {
		io.WriteString(other.Conn, "f APPEND INBOX {5+}\r\nx: y\n\r\n")
		other.line()
		if line := c.line(); !strings.HasSuffix(line, "EXISTS") {
			t.Fatal(line)
		}
		c.line()
	}
	io.WriteString(c.Conn, "DONE\r\n")
	if line := c.line(); line != "e OK idled" {
		t.Error(line)
	}
}

// S098: limits are those of what comes out.
func TestS098CompressionBomb(t *testing.T) {
	h := newHouse(t)
	h.open()
	c := h.enter("alice")
	c.compress()
	go io.WriteString(c.Conn, "a "+strings.Repeat("x", 100<<20)+"\r\n")
	if line := c.line(); !strings.HasPrefix(line, "* BYE") {
		t.Error(line)
	}
}
