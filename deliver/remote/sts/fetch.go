package sts

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/netip"
	"net/textproto"
	"strconv"
	"strings"
	"time"

	"pennypost/internal/dns"
)

// Path is where a policy lies.
const Path = "/.well-known/mta-sts.txt"

const (
	fetchTime = 30 * time.Second // all of it, S041
	maxHeader = 16 << 10         // octets of the HTTP header
	maxTried  = 4                // addresses
)

// ErrNotFetched marks an answer that is no policy: HTTP, time, size. An error of crypto/x509 is the certificate's.
var ErrNotFetched = errors.New("policy not fetched")

// Fetcher gets policies by HTTPS: from the host that RFC 8461 names and no other, so without redirects; with a certificate that
// is valid for it; from no address that Refused names; 64 KiB and 30 seconds at most (S041).
//
// It is an HTTP client for this one question: net/http would be most of the program.
type Fetcher struct {
	DNS     *dns.Resolver
	Refused func(netip.Addr) bool
	Roots   *x509.CertPool // nil: the system's
	Port    int            // 443
}

// Get fetches the policy of domain.
func (f *Fetcher) Get(ctx context.Context, domain string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, fetchTime)
	defer cancel()
	name := "mta-sts." + domain
	conn, err := f.dial(ctx, name)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	host := name
	if f.Port != 443 {
		host = net.JoinHostPort(name, strconv.Itoa(f.Port))
	}
	_, err = io.WriteString(conn, "GET "+Path+" HTTP/1.1\r\nHost: "+host+"\r\nUser-Agent: Pennypost\r\nAccept: text/plain\r\nConnection: close\r\n\r\n")
	if err != nil {
		return "", fmt.Errorf("%w: %w", ErrNotFetched, err)
	}
	text, err := response(conn)
	if err != nil {
		return "", fmt.Errorf("%w: %w", ErrNotFetched, err)
	}
	return text, nil
}

// dial connects to one of the addresses of name.
func (f *Fetcher) dial(ctx context.Context, name string) (net.Conn, error) {
	addrs, _, _, err := f.DNS.Addresses(ctx, name)
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrNotFetched, name, err)
	}
	last := errors.New("it has only addresses we never connect to")
	deadline, _ := ctx.Deadline()
	tried := 0
	for _, addr := range addrs {
		if f.Refused(addr) || tried == maxTried {
			continue
		}
		tried++
		d := net.Dialer{Timeout: fetchTime / maxTried}
		conn, err := d.DialContext(ctx, "tcp", netip.AddrPortFrom(addr, uint16(f.Port)).String())
		if err != nil {
			last = err
			continue
		}
		conn.SetDeadline(deadline)
		secure := tls.Client(conn, &tls.Config{ServerName: name, RootCAs: f.Roots, MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1"}})
		if err := secure.HandshakeContext(ctx); err != nil {
			conn.Close()
			return nil, fmt.Errorf("%s: %w", name, err) // another address would have the same
		}
		return secure, nil
	}
	return nil, fmt.Errorf("%w: %s: %w", ErrNotFetched, name, last)
}

// response reads an HTTP/1.1 response (RFC 9112): 200, text/plain, and all of it.
func response(from io.Reader) (string, error) {
	limited := &io.LimitedReader{R: from, N: maxHeader}
	r := bufio.NewReaderSize(limited, 4096)
	var header textproto.MIMEHeader
	for interim := 0; ; interim++ {
		text := textproto.NewReader(r)
		line, err := text.ReadLine()
		if err != nil {
			return "", err
		}
		version, rest, _ := strings.Cut(line, " ")
		code, _, _ := strings.Cut(rest, " ")
		if version != "HTTP/1.1" && version != "HTTP/1.0" || len(code) != 3 {
			return "", errors.New("not HTTP/1.1")
		}
		if header, err = text.ReadMIMEHeader(); err != nil {
			return "", err
		}
		if code[0] == '1' && interim < 5 {
			continue
		}
		if code != "200" { // section 3.3: no redirects
			return "", fmt.Errorf("HTTP status %q", code)
		}
		break
	}
	if kind, _, _ := mime.ParseMediaType(header.Get("Content-Type")); kind != "text/plain" {
		return "", fmt.Errorf("Content-Type %.40q is not text/plain", header.Get("Content-Type"))
	}
	if coding := header.Get("Content-Encoding"); coding != "" && !strings.EqualFold(coding, "identity") {
		return "", fmt.Errorf("Content-Encoding %.40q", coding)
	}
	limited.N = 3 * MaxPolicy // with what chunks cost; the policy itself is measured below
	return body(r, header)
}

// body reads what follows the header.
func body(r *bufio.Reader, header textproto.MIMEHeader) (string, error) {
	var from io.Reader = r
	transfer, length := header.Get("Transfer-Encoding"), header.Get("Content-Length")
	want := int64(-1)
	switch {
	case strings.EqualFold(transfer, "chunked"):
		from = &chunks{r: r}
	case transfer != "":
		return "", fmt.Errorf("Transfer-Encoding %.40q", transfer)
	case length != "":
		n, err := strconv.ParseUint(length, 10, 31)
		if err != nil || n > MaxPolicy {
			return "", fmt.Errorf("Content-Length %.40q", length)
		}
		want = int64(n)
		from = io.LimitReader(r, want)
	}
	text, err := io.ReadAll(io.LimitReader(from, MaxPolicy+1))
	switch {
	case err != nil:
		return "", err
	case len(text) > MaxPolicy:
		return "", fmt.Errorf("more than %d octets", MaxPolicy)
	case want >= 0 && int64(len(text)) < want:
		return "", io.ErrUnexpectedEOF
	}
	return string(text), nil
}

// chunks reads the chunked coding (RFC 9112 section 7.1). What follows the last chunk is nobody's business.
type chunks struct {
	r    *bufio.Reader
	left int64
	last bool
	some bool // a chunk has been read: its CRLF comes next
}

func (c *chunks) Read(b []byte) (int, error) {
	for c.left == 0 && !c.last {
		if err := c.next(); err != nil {
			return 0, err
		}
	}
	if c.last {
		return 0, io.EOF
	}
	n, err := c.r.Read(b[:min(int64(len(b)), c.left)])
	if c.left -= int64(n); err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

// next reads the line with the size of a chunk.
func (c *chunks) next() error {
	if c.some {
		if line, err := c.line(); err != nil || line != "" {
			return errors.Join(errors.New("chunk without end"), err)
		}
	}
	line, err := c.line()
	if err != nil {
		return err
	}
	size, _, _ := strings.Cut(line, ";")
	n, err := strconv.ParseUint(strings.Trim(size, " \t"), 16, 31)
	if err != nil {
		return fmt.Errorf("chunk of size %.20q", size)
	}
	c.left, c.last, c.some = int64(n), n == 0, true
	return nil
}

func (c *chunks) line() (string, error) {
	line, err := c.r.ReadSlice('\n') // at most the reader's buffer
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return strings.TrimRight(string(line), "\r\n"), err
}
