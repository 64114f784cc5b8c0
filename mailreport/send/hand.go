package send

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"time"
)

// Sendmail hands a message to the program: the envelope's sender is From, so SPF is about it, and no report of a failure is wanted.
func Sendmail(program, config string) func(ctx context.Context, from, rcpt string, message []byte) error {
	return func(ctx context.Context, from, rcpt string, message []byte) error {
		args := []string{"-i", "-N", "never", "-f", from}
		if config != "" {
			args = append(args, "-C", config)
		}
		cmd := exec.CommandContext(ctx, program, append(args, "--", rcpt)...)
		cmd.Stdin = bytes.NewReader(message)
		out, err := cmd.CombinedOutput()
		if err != nil {
			return fmt.Errorf("sendmail: %w: %s", err, strings.TrimSpace(string(out[:min(len(out), 500)])))
		}
		return nil
	}
}

// Resolver finds the addresses of a web server.
type Resolver interface {
	Addresses(ctx context.Context, host string) (addrs []netip.Addr, secure bool, ttl time.Duration, err error)
}

// Bounds of S041.
const (
	maxAnswer = 64 << 10
	postTime  = 30 * time.Second
)

// Post sends reports by HTTPS to whoever DNS named, and to nobody else (S041).
func Post(dns Resolver, refused func(netip.Addr) bool, roots *x509.CertPool) func(ctx context.Context, url, mediaType string, body []byte) error {
	dial := func(ctx context.Context, network, addr string) (net.Conn, error) {
		host, port, err := net.SplitHostPort(addr)
		if err != nil {
			return nil, err
		}
		addrs := []netip.Addr{}
		if ip, err := netip.ParseAddr(host); err == nil {
			addrs = append(addrs, ip.Unmap())
		} else if addrs, _, _, err = dns.Addresses(ctx, host); err != nil {
			return nil, err
		}
		err = errors.New(host + " has no address")
		for _, a := range addrs {
			if refused(a) {
				err = fmt.Errorf("%s is at %s, where we connect to nobody", host, a)
				continue
			}
			var conn net.Conn
			if conn, err = (&net.Dialer{Timeout: 10 * time.Second}).DialContext(ctx, "tcp", net.JoinHostPort(a.String(), port)); err == nil {
				return conn, nil
			}
		}
		return nil, err
	}
	client := &http.Client{
		Timeout: postTime,
		Transport: &http.Transport{DialContext: dial, TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}, DisableKeepAlives: true,
			MaxResponseHeaderBytes: maxAnswer},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return func(ctx context.Context, url, mediaType string, body []byte) error {
		q, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
		if err != nil {
			return err
		}
		q.Header.Set("Content-Type", mediaType)
		q.Header.Set("User-Agent", "Pennypost")
		r, err := client.Do(q)
		if err != nil {
			return err
		}
		defer r.Body.Close()
		io.Copy(io.Discard, io.LimitReader(r.Body, maxAnswer))
		if r.StatusCode/100 != 2 { // RFC 8460 section 5.4: anything else is tried again
			return fmt.Errorf("the web server says %s", r.Status)
		}
		return nil
	}
}

// Roots are the authorities of the system, and those of a file.
func Roots(file string) (*x509.CertPool, error) {
	if file == "" {
		return nil, nil
	}
	pem, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool()
	}
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s: no certificate in it", file)
	}
	return pool, nil
}
