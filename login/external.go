package login

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"net"
	"strings"
	"unicode/utf8"
)

/*
EXTERNAL (RFC 4422 appendix A): the client has proved in the TLS handshake that it has a key, and a credential of the account it names
lists that key. Who signed the certificate, and what it says, makes no difference; nothing of it stands in for a name that was not said
(S034).

	certificate: sha256:…    the hash of the public key, as openssl prints it
*/

// certificateOf is the hash of the public key that a client has shown; nil for none.
func certificateOf(conn net.Conn) []byte {
	t, ok := conn.(*tls.Conn)
	if !ok {
		return nil
	}
	chain := t.ConnectionState().PeerCertificates
	if len(chain) == 0 {
		return nil
	}
	sum := sha256.Sum256(chain[0].RawSubjectPublicKeyInfo)
	return sum[:]
}

func parseCertificate(text string) ([]byte, error) {
	digits, ok := strings.CutPrefix(text, "sha256:")
	sum, err := hex.DecodeString(digits)
	if !ok || err != nil || len(sum) != sha256.Size {
		return nil, errors.New("certificate: write sha256: and the 64 digits of the hash of its public key")
	}
	return sum, nil
}

// ClientTLS makes a server ask for certificates, where mail.toml wants them. They are not verified here: a credential names the key.
func ClientTLS(c *tls.Config, wanted bool) *tls.Config {
	if c != nil && wanted {
		c.ClientAuth = tls.RequestClientCert
	}
	return c
}

// external is one response: whose account.
type external struct {
	c     *Checker
	peer  Peer
	asked bool
	over  bool
}

func (x *external) Next(response []byte) ([]byte, bool, Request, error) {
	switch {
	case x.over:
		return nil, false, Request{}, errFinished
	case response == nil && !x.asked:
		x.asked = true
		return askForAnyone, false, Request{}, nil
	}
	x.over = true
	switch {
	case len(response) > maxName:
		return nil, false, Request{}, errTooLong
	case !utf8.Valid(response) || strings.ContainsRune(string(response), 0):
		return nil, false, Request{}, errNotUTF8
	case len(response) == 0:
		return nil, false, Request{}, errNoName
	}
	r := Request{Service: x.peer.Service, Remote: x.peer.Remote, Authcid: string(response), mechanism: "EXTERNAL"}
	id, err := x.c.attempt(context.Background(), r, x.c.find(r), func(who finding) (fits Credential, err error) {
		err = ErrCredentials
		for _, k := range who.credentials {
			if sum, bad := parseCertificate(k.Certificate); bad == nil && subtle.ConstantTimeCompare(sum, x.peer.Certificate) == 1 && err != nil {
				fits, err = k, nil
			}
		}
		return fits, err
	})
	r.outcome = &outcome{id, err}
	return nil, true, r, nil
}

var errNoName = errors.New("say which account, the certificate does not")
