// Package certs holds the certificates of a server: chosen by SNI, reloaded within seconds when their files change, the old one kept when the
// new one is half written or does not fit its key (S036).
package certs

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// every is how often a handshake has the files looked at.
const every = 2 * time.Second

// Pair is a certificate chain and its key, PEM files.
type Pair struct{ Cert, Key string }

// Store is the current certificates.
type Store struct {
	pairs   []Pair
	onError func(error)
	now     atomic.Pointer[chains]

	mu     sync.Mutex
	looked time.Time
	stamps []stamp // of the files as they were last read or refused, in the order of pairs
}

// chains are certificates ready for use: what a handshake reads, and nobody writes.
type chains struct {
	all    []*tls.Certificate
	byName map[string]*tls.Certificate // "mx.example.org", "*.example.org"; lower case
}

// stamp is when and how the files of a pair were changed.
type stamp struct{ cert, key fileStamp }

type fileStamp struct {
	modified time.Time
	size     int64
}

// Load reads the pairs; the first is the default for unknown names.
func Load(pairs []Pair, onError func(error)) (*Store, error) {
	if len(pairs) == 0 {
		return nil, fmt.Errorf("no certificate")
	}
	if onError == nil {
		onError = func(error) {}
	}
	s := &Store{pairs: pairs, onError: onError, stamps: make([]stamp, len(pairs)), looked: time.Now()}
	all := make([]*tls.Certificate, len(pairs))
	for i, p := range pairs {
		var err error
		s.stamps[i] = p.stamp()
		if all[i], err = p.load(); err != nil {
			return nil, err
		}
	}
	s.use(all)
	return s, nil
}

func (p Pair) load() (*tls.Certificate, error) {
	c, err := tls.LoadX509KeyPair(p.Cert, p.Key)
	if err != nil {
		return nil, fmt.Errorf("certificate %s: %w", p.Cert, err)
	}
	if c.Leaf == nil {
		if c.Leaf, err = x509.ParseCertificate(c.Certificate[0]); err != nil {
			return nil, fmt.Errorf("certificate %s: %w", p.Cert, err)
		}
	}
	return &c, nil
}

func (p Pair) stamp() stamp {
	of := func(name string) (s fileStamp) {
		if info, err := os.Stat(name); err == nil {
			s = fileStamp{info.ModTime(), info.Size()}
		}
		return
	}
	return stamp{of(p.Cert), of(p.Key)}
}

// use makes certificates the current ones.
func (s *Store) use(all []*tls.Certificate) {
	c := &chains{all: all, byName: map[string]*tls.Certificate{}}
	for _, cert := range all {
		for _, name := range append([]string{cert.Leaf.Subject.CommonName}, cert.Leaf.DNSNames...) {
			name = strings.ToLower(name)
			if _, taken := c.byName[name]; !taken && name != "" {
				c.byName[name] = cert
			}
		}
	}
	s.now.Store(c)
}

// Reload looks at the files now (SIGHUP). A pair that cannot be read stays what it was.
func (s *Store) Reload() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.look()
}

func (s *Store) look() {
	s.looked = time.Now()
	all := append([]*tls.Certificate(nil), s.now.Load().all...)
	changed := false
	for i, p := range s.pairs {
		stamp := p.stamp()
		if stamp == s.stamps[i] {
			continue
		}
		s.stamps[i] = stamp
		cert, err := p.load()
		if err != nil {
			s.onError(err)
			continue
		}
		all[i], changed = cert, true
	}
	if changed {
		s.use(all)
	}
}

// choose is the certificate for a client that asks for name. Nothing about the name is kept (S032).
func (s *Store) choose(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	if s.mu.TryLock() { // one handshake looks, the others need not wait for it
		if time.Since(s.looked) > every {
			s.look()
		}
		s.mu.Unlock()
	}
	c := s.now.Load()
	name := strings.TrimSuffix(strings.ToLower(hello.ServerName), ".")
	cert := c.byName[name]
	if _, parent, ok := strings.Cut(name, "."); ok && cert == nil {
		cert = c.byName["*."+parent]
	}
	if cert == nil {
		cert = c.all[0]
	}
	if watched, ok := hello.Conn.(*Conn); ok {
		watched.leaf = cert.Leaf
	}
	return cert, nil
}

// Conn is a connection that remembers which certificate its handshake chose, for tls-server-end-point (RFC 5929 section 4).
type Conn struct {
	net.Conn
	leaf *x509.Certificate
}

// Watch is what to do TLS on.
func Watch(c net.Conn) *Conn { return &Conn{Conn: c} }

// Certificate is ours, after the handshake; nil where a Store did not choose it.
func (c *Conn) Certificate() *x509.Certificate { return c.leaf }

// suites are those of TLS 1.2 with forward secrecy and authenticated encryption; TLS 1.3 has no others (S030).
var suites = []uint16{
	tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
	tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
	tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
}

// Config is a server configuration: TLS 1.2 and later, no tickets, certificate by SNI. alpn may be empty; where it is not, a client
// that asks for another protocol fails its handshake (S018).
func (s *Store) Config(alpn ...string) *tls.Config {
	return &tls.Config{
		MinVersion:             tls.VersionTLS12,
		CipherSuites:           suites,
		SessionTicketsDisabled: true,
		NextProtos:             alpn,
		GetCertificate:         s.choose,
	}
}
