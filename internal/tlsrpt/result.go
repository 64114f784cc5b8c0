/*
Package tlsrpt keeps how TLS with other hosts went, session by session, until it is told to the domains that ask for it (RFC 8460).

	STATE/reports/tls/2026-11-25     one line for each session     written by deliver-remote, told and removed by mailreport send

	1764038400 domain=example.org type=sts result=certificate-expired mx=mx1.example.org to=192.0.2.7 policy=version:%20STSv1 policy=mode:%20enforce

domain is the recipient's; type is the policy that was applied, and policy its lines; result is missing where TLS was as the policy wants it.

A busy day is bounded by internal/dayfile: 64 MiB, whatever other hosts do. Equal lines are one number of the report.
*/
package tlsrpt

import (
	"net/netip"
	"strings"
	"time"

	"pennypost/internal/dayfile"
)

// Type is the policy of a domain (RFC 8460 section 4.4).
type Type string

const (
	TLSA Type = "tlsa" // DANE
	STS  Type = "sts"
	None Type = "no-policy-found"
)

// Failure is a result type of RFC 8460 section 4.3; "" is a session that went well.
type Failure string

const (
	OK Failure = ""

	STARTTLSNotSupported    Failure = "starttls-not-supported"
	CertificateHostMismatch Failure = "certificate-host-mismatch"
	CertificateExpired      Failure = "certificate-expired"
	CertificateNotTrusted   Failure = "certificate-not-trusted"
	ValidationFailure       Failure = "validation-failure" // none of the others

	TLSAInvalid   Failure = "tlsa-invalid"   // section 4.3.2.1
	DNSSECInvalid Failure = "dnssec-invalid" // the MX or TLSA records are bogus
	DANERequired  Failure = "dane-required"  // we insist on DANE, and there is none
	STSFetch      Failure = "sts-policy-fetch-error"
	STSInvalid    Failure = "sts-policy-invalid"
	STSWebPKI     Failure = "sts-webpki-invalid" // the web server's certificate
)

// Failures are all of them.
var Failures = []Failure{STARTTLSNotSupported, CertificateHostMismatch, CertificateExpired, CertificateNotTrusted, ValidationFailure,
	TLSAInvalid, DNSSECInvalid, DANERequired, STSFetch, STSInvalid, STSWebPKI}

// Result is how one session went.
type Result struct {
	Domain  string   // of the recipient, an A-label
	Type    Type     // policy that was applied
	Policy  []string // its lines: those of the STS policy, or the TLSA records as in a zone ("3 1 1 AB…")
	Hosts   []string // mx: of the STS policy
	Failure Failure  // OK where it went well
	MX      string   // the host
	HELO    string   // what it said after 220 or 250, if that differs
	Local   netip.Addr
	Remote  netip.Addr
	Reason  string // for a person: the error of TLS; only with Failure
}

// Dir is where the results are, below the directory of mail.toml's state.
const Dir = "reports/tls"

// Bounds of what a policy and a host may write.
const (
	maxLines = 20
	maxName  = 253
	maxText  = 120
	maxWords = 3 << 10 // octets of the line after which no more of the policy is kept
)

// Append counts a session, in the directory of State.
func Append(dir string, at time.Time, r Result) error { return dayfile.Append(dir, at, r.words()) }

func cut(s string, most int) string {
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most], "")
	}
	return s
}

// words writes the result so that like ones are equal. A session that went well does not say where it went: the report has only their number.
func (r *Result) words() []byte {
	line := make([]byte, 0, 512)
	add := func(name, value string, most int) { line = dayfile.Add(line, name, cut(value, most)) }
	add("domain", r.Domain, maxName)
	add("type", string(r.Type), 32)
	if r.Failure != OK {
		add("result", string(r.Failure), 64)
		add("mx", r.MX, maxName)
		add("helo", r.HELO, maxText)
		if r.Local.IsValid() {
			add("from", r.Local.Unmap().WithZone("").String(), 64)
		}
		if r.Remote.IsValid() {
			add("to", r.Remote.Unmap().WithZone("").String(), 64)
		}
		add("reason", r.Reason, maxText)
	}
	for _, list := range []struct {
		name  string
		lines []string
	}{{"policy", r.Policy}, {"host", r.Hosts}} {
		for _, l := range list.lines[:min(len(list.lines), maxLines)] {
			if len(line) < maxWords-3*maxName { // escaped, an octet takes three
				add(list.name, l, maxName)
			}
		}
	}
	return line
}

// parse reads words again.
func parse(words string) (r Result, ok bool) {
	for name, value := range dayfile.Words(words) {
		switch name {
		case "domain":
			r.Domain = value
		case "type":
			r.Type = Type(value)
		case "result":
			r.Failure = Failure(value)
		case "mx":
			r.MX = value
		case "helo":
			r.HELO = value
		case "from":
			r.Local, _ = netip.ParseAddr(value)
		case "to":
			r.Remote, _ = netip.ParseAddr(value)
		case "reason":
			r.Reason = value
		case "policy":
			r.Policy = append(r.Policy, value)
		case "host":
			r.Hosts = append(r.Hosts, value)
		}
	}
	return r, r.Domain != "" && (r.Type == TLSA || r.Type == STS || r.Type == None)
}
