/*
Package login says who is there: it reads SASL exchanges (RFC 4616 PLAIN, and LOGIN) and checks them against the credential files
of an account. It is what mailauthd will serve; for now it runs in the servers' own processes.
*/
package login

import (
	"context"
	"errors"
	"net/netip"

	"pennypost/internal/domains"
)

// ErrCredentials is "no": wrong name, wrong password, expired, out of scope. The peer may not learn which.
var ErrCredentials = errors.New("wrong name or password")

// ErrBusy and other errors are temporary.
var ErrBusy = errors.New("too many logins at once")

// Identity is who logged in.
type Identity struct {
	Account    *domains.Account
	Authcid    string // whose credentials they were
	Credential string // file name of the credential: "main", "phone"
}

// Request is one attempt.
type Request struct {
	Service  string // smtp, pop3, imap: what scope: speaks of
	Authzid  string // "" is the same as Authcid
	Authcid  string
	Password string
	Remote   netip.Addr
}

// Checker checks. It is safe for concurrent use; argon2id runs are bounded in number.
type Checker struct {
	Domains *domains.Domains
	// …
}

// Check takes as long for a name that does not exist as for one that does.
func (c *Checker) Check(ctx context.Context, r Request) (*Identity, error) { panic("unwritten") }

// Exchange is a SASL mechanism's server side: it is given responses and gives challenges until it has a Request.
type Exchange interface {
	// Next takes a decoded response (nil when there was no initial response). done: the request is complete.
	Next(response []byte) (challenge []byte, done bool, r Request, err error)
}

// Mechanisms are the names to advertise under TLS, strongest first.
var Mechanisms = []string{"PLAIN", "LOGIN"}

// Start begins an exchange; ok is false for a mechanism we do not have.
func Start(mechanism string) (x Exchange, ok bool) { panic("unwritten") }
