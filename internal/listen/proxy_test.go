package listen

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"
)

// header2 is a header of version 2.
func header2(command, family byte, addresses string) string {
	b := append([]byte(nil), proxy2...)
	b = append(b, 0x20|command, family)
	return string(binary.BigEndian.AppendUint16(b, uint16(len(addresses)))) + addresses
}

const v4 = "\xc0\x00\x02\x01\xc0\x00\x02\x19\x30\x39\x00\x19" // 192.0.2.1:12345 to 192.0.2.25:25

func TestReadProxy(t *testing.T) {
	for _, test := range []struct{ in, remote, local string }{
		{"PROXY TCP4 192.0.2.1 192.0.2.25 12345 25\r\n", "192.0.2.1:12345", "192.0.2.25:25"},
		{"PROXY TCP6 2001:db8::1 2001:db8::25 12345 25\r\n", "[2001:db8::1]:12345", "[2001:db8::25]:25"},
		{"PROXY UNKNOWN\r\n", "none", "none"},
		{"PROXY UNKNOWN ffff:f...f:ffff ffff:f...f:ffff 65535 65535\r\n", "none", "none"},
		{header2(1, 0x11, v4), "192.0.2.1:12345", "192.0.2.25:25"},
		{header2(1, 0x11, v4+"\x04\x00\x03abc"), "192.0.2.1:12345", "192.0.2.25:25"}, // with a TLV
		{header2(1, 0x21, string(netip.MustParseAddr("2001:db8::1").AsSlice())+string(netip.MustParseAddr("::ffff:192.0.2.25").AsSlice())+"\x30\x39\x00\x19"),
			"[2001:db8::1]:12345", "192.0.2.25:25"},
		{header2(0, 0x00, ""), "none", "none"},
		{header2(0, 0x11, v4), "none", "none"},
	} {
		r := strings.NewReader(test.in + "EHLO x\r\n")
		remote, local, err := readHeader(r, peeker(r))
		if err != nil {
			t.Errorf("%q: %v", test.in, err)
			continue
		}
		if got := text(remote) + " " + text(local); got != test.remote+" "+test.local {
			t.Errorf("%q: %s", test.in, got)
		}
		if rest, _ := io.ReadAll(r); string(rest) != "EHLO x\r\n" {
			t.Errorf("%q: left %q", test.in, rest)
		}
	}
}

func text(a netip.AddrPort) string {
	if !a.IsValid() {
		return "none"
	}
	return a.String()
}

// peeker is peek for a reader in memory.
func peeker(r *strings.Reader) func([]byte) (int, error) {
	return func(p []byte) (int, error) {
		n, err := r.ReadAt(p, r.Size()-int64(r.Len()))
		if n > 0 {
			err = nil
		}
		return n, err
	}
}

// Malformed headers are errors, before anything is believed (S067).
func TestS067Malformed(t *testing.T) {
	for _, in := range []string{
		"", "P", "PROXY ", "PROXY \r\n", "PROXY TCP4\r\n", "PROXY TCP4 192.0.2.1 192.0.2.25 12345 25\n", "PROXY TCP4 192.0.2.1 192.0.2.25 12345 65536\r\n",
		"PROXY TCP4 192.0.2.1 192.0.2.25 12345 -1\r\n", "PROXY TCP4 2001:db8::1 192.0.2.25 12345 25\r\n", "PROXY TCP6 ::1%lo ::1 1 1\r\n",
		"PROXY TCP4  192.0.2.1 192.0.2.25 12345 25\r\n", "PROXY UDP4 192.0.2.1 192.0.2.25 12345 25\r\n", "PROXY TCP4 192.0.2.1 192.0.2.25 12345 25 x\r\n",
		"PROXY TCP4 " + strings.Repeat("1", 200) + "\r\n", "EHLO client.example\r\n", "\x16\x03\x01\x02\x00\x01",
		string(proxy2), header2(1, 0x11, v4)[:20], header2(1, 0x11, v4[:8]), header2(2, 0x11, v4), header2(1, 0x12, v4), header2(1, 0x31, v4), header2(1, 0x00, v4),
		strings.Replace(header2(1, 0x11, v4), "\x21", "\x11", 1), header2(1, 0x11, strings.Repeat("x", proxyMost+1)),
	} {
		r := strings.NewReader(in)
		if remote, _, err := readHeader(r, peeker(r)); err == nil || remote.IsValid() {
			t.Errorf("%q: %v", in, remote)
		}
	}
}

// A header is required from the proxies and believed of nobody else; the client's address is what is counted (S067).
func TestS067Sources(t *testing.T) {
	on, err := Open([]string{"127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	proxies := []netip.Prefix{netip.MustParsePrefix("127.0.0.2/32")}
	done := make(chan error, 1)
	go func() {
		done <- Serve(ctx, on, Limits{Total: 50, PerIPv4: 2, Proxies: proxies, Tables: nil}, func(c net.Conn) {
			defer c.Close()
			fmt.Fprintf(c, "%s\n", Remote(c))
			io.Copy(c, c)
		}, func(c net.Conn) { io.WriteString(c, "refused\n") })
	}()
	dial := func(from, send string) (net.Conn, string) {
		d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}, Timeout: 5 * time.Second}
		c, err := d.Dial("tcp", on[0].Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		c.SetDeadline(time.Now().Add(10 * time.Second))
		io.WriteString(c, send)
		b := make([]byte, 100)
		n, _ := c.Read(b)
		return c, string(b[:n])
	}
	header := "PROXY TCP4 192.0.2.1 192.0.2.25 12345 25\r\n"
	first, said := dial("127.0.0.2", header)
	if said != "192.0.2.1\n" {
		t.Errorf("by the proxy: %q", said)
	}
	if _, said := dial("127.0.0.3", header); !strings.HasPrefix(said, "127.0.0.3\n") {
		t.Errorf("by somebody: %q", said)
	}
	if _, said := dial("127.0.0.2", "EHLO x\r\n"); said != "" {
		t.Errorf("the proxy without a header: %q", said)
	}
	if _, said := dial("127.0.0.2", header2(1, 0x11, v4)); said != "192.0.2.1\n" {
		t.Errorf("version 2: %q", said)
	}
	if _, said := dial("127.0.0.2", header); said != "refused\n" {
		t.Errorf("a third of one client: %q", said)
	}
	if _, said := dial("127.0.0.2", strings.Replace(header, ".2.1 ", ".2.2 ", 1)); said != "192.0.2.2\n" {
		t.Errorf("another client: %q", said)
	}
	first.Close()
	cancel()
}

func FuzzProxy(f *testing.F) {
	for _, s := range []string{"PROXY TCP4 192.0.2.1 192.0.2.25 12345 25\r\n", "PROXY UNKNOWN\r\n", header2(1, 0x11, v4), header2(0, 0, ""), "EHLO x\r\n"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		r := strings.NewReader(string(in))
		remote, local, err := readHeader(r, peeker(r))
		if used := len(in) - r.Len(); used > 16+proxyMost {
			t.Fatalf("read %d octets", used)
		} else if err == nil && !bytes.HasPrefix(in, []byte("PROXY ")) && !bytes.HasPrefix(in, proxy2) {
			t.Fatalf("%q is no header", in)
		}
		if err != nil && remote.IsValid() || remote.IsValid() != local.IsValid() {
			t.Fatalf("%v %v %v", remote, local, err)
		}
	})
}
