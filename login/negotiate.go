package login

import (
	"net"
	"net/netip"
	"slices"
	"strings"
)

// Peer is who speaks a SASL exchange, and over what.
type Peer struct {
	Service     string // smtp, pop3, imap
	Remote      netip.Addr
	Bindings    map[string][]byte // channel bindings by name (RFC 5056)
	Certificate []byte            // hash of the client's public key, nil without a certificate
}

// A Negotiator is a checker with mechanisms that verify by themselves. Their Request carries the outcome, and its Check gives it.
type Negotiator interface {
	Offers(bound, certificate bool) []string // the connection has a channel binding; the client has shown a certificate
	Start(mechanism string, p Peer) (x Exchange, ok bool)
}

// Offer is the mechanisms to advertise on a connection that may log in, strongest first.
func Offer(checker any, conn net.Conn) []string {
	if n, ok := checker.(Negotiator); ok {
		return n.Offers(bound(conn), certificateOf(conn) != nil)
	}
	return Mechanisms
}

// Begin starts an exchange on a connection; ok is false for a mechanism that was not offered.
func Begin(checker any, mechanism, service string, remote netip.Addr, conn net.Conn) (x Exchange, ok bool) {
	n, is := checker.(Negotiator)
	if !is {
		return Start(mechanism)
	}
	return n.Start(strings.ToUpper(mechanism), Peer{service, remote, Bindings(conn), certificateOf(conn)})
}

// All are the mechanisms we have, strongest first; those of SCRAM have a form with -PLUS besides, where there is a channel binding.
var All = []string{"SCRAM-SHA-256", "SCRAM-SHA-1", "PLAIN", "LOGIN"}

const plus = "-PLUS"

// Offers are the mechanisms of a Checker.
func (c *Checker) Offers(bound, certificate bool) (names []string) {
	if certificate && c.Certificates && len(c.Program) == 0 {
		names = append(names, "EXTERNAL")
	}
	for _, name := range All {
		if (len(c.Program) > 0 || c.asksPAM()) && scramOf(name) != nil { // they have no verifiers, and a client that chose SCRAM chooses nothing else
			continue
		}
		if len(c.Mechanisms) > 0 && !slices.Contains(c.Mechanisms, name) {
			continue
		}
		if bound && scramOf(name) != nil {
			names = append(names, name+plus)
		}
		names = append(names, name)
	}
	return names
}

// Start begins an exchange.
func (c *Checker) Start(mechanism string, p Peer) (Exchange, bool) {
	c.once.Do(c.setup)
	if !slices.Contains(c.Offers(len(p.Bindings) > 0, len(p.Certificate) > 0), mechanism) {
		return nil, false
	}
	if mechanism == "EXTERNAL" {
		return &external{c: c, peer: p}, true
	}
	if hash := scramOf(strings.TrimSuffix(mechanism, plus)); hash != nil {
		return &scramExchange{c: c, peer: p, hash: hash, plus: strings.HasSuffix(mechanism, plus)}, true
	}
	return Start(mechanism)
}
