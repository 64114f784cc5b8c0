package mailcert

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/mholt/acmez/v3"
	"github.com/mholt/acmez/v3/acme"

	"pennypost/internal/dns"
	"pennypost/internal/escape"
)

// newSolver is what answers challenges, and how it ends.
func newSolver(ctx context.Context, s *Settings, resolver *dns.Resolver) (acmez.Solver, func(), error) {
	if s.Challenge == "dns-01" {
		return &hook{program: s.Hook, resolver: resolver}, func() {}, nil
	}
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", s.Listen)
	if err != nil {
		return nil, nil, err
	}
	t := &tokens{of: map[string]acme.Challenge{}}
	if s.Challenge == "tls-alpn-01" {
		go t.serveTLS(l)
		return t, func() { l.Close() }, nil
	}
	srv := &http.Server{Handler: http.HandlerFunc(t.serveHTTP), ReadTimeout: 10 * time.Second, WriteTimeout: 10 * time.Second,
		MaxHeaderBytes: 8 << 10, ErrorLog: log.New(io.Discard, "", 0)}
	srv.SetKeepAlivesEnabled(false)
	go srv.Serve(l)
	return t, func() { srv.Close() }, nil
}

// tokens are the challenges that are answered now, by the name they are for.
type tokens struct {
	mu sync.Mutex
	of map[string]acme.Challenge
}

func (t *tokens) Present(_ context.Context, c acme.Challenge) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.of[c.Identifier.Value] = c
	return nil
}

func (t *tokens) CleanUp(_ context.Context, c acme.Challenge) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.of, c.Identifier.Value)
	return nil
}

func (t *tokens) find(name string) (acme.Challenge, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	c, ok := t.of[strings.ToLower(strings.TrimSuffix(name, "."))]
	return c, ok
}

// serveHTTP answers http-01 (RFC 8555 section 8.3), and nothing else.
func (t *tokens) serveHTTP(w http.ResponseWriter, r *http.Request) {
	host := r.Host
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	c, ok := t.find(host)
	if !ok || r.Method != http.MethodGet || r.URL.Path != c.HTTP01ResourcePath() {
		http.Error(w, "nothing here", http.StatusNotFound)
		return
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	io.WriteString(w, c.KeyAuthorization)
}

// serveTLS answers tls-alpn-01 (RFC 8737), and nothing else.
func (t *tokens) serveTLS(l net.Listener) {
	conf := &tls.Config{MinVersion: tls.VersionTLS12, NextProtos: []string{acmez.ACMETLS1Protocol}, GetCertificate: func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
		c, ok := t.find(hello.ServerName)
		if !ok || !slices.Contains(hello.SupportedProtos, acmez.ACMETLS1Protocol) {
			return nil, errors.New("nothing here")
		}
		return acmez.TLSALPN01ChallengeCert(c)
	}}
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer c.Close()
			c.SetDeadline(time.Now().Add(10 * time.Second))
			tls.Server(c, conf).Handshake()
		}()
	}
}

// hook answers dns-01 (RFC 8555 section 8.4) by a program that can change DNS:
//
//	HOOK present _acme-challenge.example.org VALUE
//	HOOK cleanup _acme-challenge.example.org VALUE
type hook struct {
	program  string
	resolver *dns.Resolver
}

// Times of a hook: of one call, and between and for the questions to DNS after it.
const (
	hookTime = 2 * time.Minute
	askEvery = 2 * time.Second
	askFor   = 5 * time.Minute
)

func (h *hook) Present(ctx context.Context, c acme.Challenge) error { return h.call(ctx, "present", c) }
func (h *hook) CleanUp(ctx context.Context, c acme.Challenge) error { return h.call(ctx, "cleanup", c) }

func (h *hook) call(ctx context.Context, verb string, c acme.Challenge) error {
	ctx, cancel := context.WithTimeout(ctx, hookTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, h.program, verb, c.DNS01TXTRecordName(), c.DNS01KeyAuthorization())
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + os.Getenv("HOME")}
	cmd.WaitDelay = time.Second
	out, err := cmd.CombinedOutput()
	if err != nil {
		said := strings.TrimSpace(string(out))
		return fmt.Errorf("%s %s: %w: %s", h.program, verb, err, escape.Terminal(said[max(0, len(said)-500):]))
	}
	return nil
}

// Wait is until DNS has the record: a question too early is remembered as a no by whoever asked it.
func (h *hook) Wait(ctx context.Context, c acme.Challenge) error {
	if h.resolver == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, askFor)
	defer cancel()
	for {
		texts, _, err := h.resolver.TXT(ctx, c.DNS01TXTRecordName())
		if err == nil && slices.Contains(texts, c.DNS01KeyAuthorization()) {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("DNS does not have %s after %s", c.DNS01TXTRecordName(), askFor)
		case <-time.After(askEvery):
		}
	}
}
