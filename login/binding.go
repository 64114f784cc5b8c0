package login

import (
	"crypto/sha256"
	"crypto/sha512"
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/netip"
	"slices"
)

// The channel bindings we know. tls-unique is none of them: TLS 1.3 has it not, and in 1.2 it can be forged (RFC 9266 section 1).
const (
	tlsExporter = "tls-exporter"         // RFC 9266
	tlsEndPoint = "tls-server-end-point" // RFC 5929 section 4
)

// Bindings are the channel bindings of a connection by name; none where it is not TLS.
func Bindings(conn net.Conn) map[string][]byte {
	t, ok := conn.(*tls.Conn)
	if !ok {
		return nil
	}
	found := map[string][]byte{}
	state := t.ConnectionState()
	// In TLS 1.2 the exporter is unique to the connection with the extended master secret only; without it this is an error.
	if key, err := state.ExportKeyingMaterial("EXPORTER-Channel-Binding", nil, 32); err == nil {
		found[tlsExporter] = key
	}
	if c, ok := t.NetConn().(interface{ Certificate() *x509.Certificate }); ok {
		if sum := endPoint(c.Certificate()); sum != nil {
			found[tlsEndPoint] = sum
		}
	}
	return found
}

// InClear reports whether a client may log in without TLS: one of these networks. It is never so by default (S029).
func InClear(networks []netip.Prefix, remote netip.Addr) bool {
	return slices.ContainsFunc(networks, func(p netip.Prefix) bool { return p.Contains(remote) })
}

// bound reports whether the connection has a channel binding, without making one.
func bound(conn net.Conn) bool {
	t, ok := conn.(*tls.Conn)
	if !ok {
		return false
	}
	if t.ConnectionState().Version >= tls.VersionTLS13 {
		return true
	}
	return len(Bindings(conn)) > 0
}

// endPoint hashes a certificate with the hash of its signature, SHA-256 in place of MD5 and SHA-1. Signatures without one, such as
// Ed25519's, have no such binding.
func endPoint(cert *x509.Certificate) []byte {
	if cert == nil {
		return nil
	}
	switch cert.SignatureAlgorithm {
	case x509.MD5WithRSA, x509.SHA1WithRSA, x509.ECDSAWithSHA1, x509.SHA256WithRSA, x509.SHA256WithRSAPSS, x509.ECDSAWithSHA256:
		sum := sha256.Sum256(cert.Raw)
		return sum[:]
	case x509.SHA384WithRSA, x509.SHA384WithRSAPSS, x509.ECDSAWithSHA384:
		sum := sha512.Sum384(cert.Raw)
		return sum[:]
	case x509.SHA512WithRSA, x509.SHA512WithRSAPSS, x509.ECDSAWithSHA512:
		sum := sha512.Sum512(cert.Raw)
		return sum[:]
	}
	return nil
}
