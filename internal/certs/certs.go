// Package certs holds the certificates of a server: chosen by SNI, reloaded within seconds when their files change, the old one kept when the
// new one is half written or does not fit its key (S036).
package certs

import "crypto/tls"

// Pair is a certificate chain and its key, PEM files.
type Pair struct{ Cert, Key string }

// Store is the current certificates.
type Store struct {
	// …
}

// Load reads the pairs; the first is the default for unknown names.
func Load(pairs []Pair, onError func(error)) (*Store, error) { panic("unwritten") }

// Config is a server configuration: TLS 1.2 and later, no tickets, certificate by SNI. alpn may be empty.
func (s *Store) Config(alpn ...string) *tls.Config { panic("unwritten") }

// Reload looks at the files now (SIGHUP).
func (s *Store) Reload() { panic("unwritten") }
