package smtpd

import (
	"context"
	"crypto/tls"
	"time"

	"pennypost/internal/certs"
)

// startTLS answers STARTTLS (RFC 3207).
func (s *session) startTLS(arg string) reply {
	switch {
	case arg != "":
		return reply{501, "5.5.4", "STARTTLS takes no argument"}
	case s.srv.TLS == nil:
		return reply{502, "5.5.1", "no TLS here"}
	case s.protocol != (secured{}):
		return reply{503, "5.5.1", "this is TLS"}
	case s.in.Buffered() > 0:
		// What stands behind STARTTLS in the clear would be taken for something said under TLS (S025).
		s.closing = true
		return reply{554, "5.5.0", "nothing may follow STARTTLS before the handshake"}
	}
	s.add(reply{220, "2.0.0", "ready for TLS"}, ' ')
	s.flush()
	if !s.handshake() {
		s.closing = true
	}
	return reply{}
}

// handshake puts TLS on the connection. Whatever was said before it is forgotten (section 4.2).
func (s *session) handshake() bool {
	if s.broken != nil {
		return false
	}
	s.raw.SetDeadline(time.Now().Add(handshakeTime))
	s.clock.until = time.Time{}
	c := tls.Server(certs.Watch(s.raw), s.srv.TLS)
	if err := c.HandshakeContext(context.Background()); err != nil {
		s.srv.Log.TLSFail(s.ip, err)
		s.broken = err
		return false
	}
	state := c.ConnectionState()
	s.conn = c
	s.protocol = secured{versions[state.Version], tls.CipherSuiteName(state.CipherSuite)}
	s.srv.Log.TLS(s.ip, s.protocol.version, s.protocol.cipher, state.ServerName)
	s.reset()
	s.state, s.helo, s.esmtp, s.user = fresh, "", false, nil
	return true
}

var versions = map[uint16]string{tls.VersionTLS12: "TLSv1.2", tls.VersionTLS13: "TLSv1.3"}
