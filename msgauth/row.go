package msgauth

import (
	"context"
	"strings"

	"pennypost/msgauth/aggregate"
)

// published is the record in the words of a report.
func (r *dmarcRecord) published() aggregate.Policy {
	mode := func(strict bool) string {
		if strict {
			return "s"
		}
		return "r"
	}
	return aggregate.Policy{Domain: r.domain, P: string(r.p), SP: string(r.sp), NP: string(r.np), ADKIM: mode(r.strictDKIM), ASPF: mode(r.strictSPF),
		Testing: r.testing, FO: r.fo}
}

// Row is what the author's domain is told of the message (RFC 9990); false is that it does not ask, that nobody knows who it is, or that the message is a
// report. Do is
// DMARC.Do: who did something else with the message says so in Do, and why in Reasons.
func (r *Report) Row() (aggregate.Row, bool) {
	d := &r.DMARC
	if r.report || len(d.Reporters) == 0 || d.published.Domain == "" || !r.Client.Addr.IsValid() {
		return aggregate.Row{}, false
	}
	row := aggregate.Row{Policy: d.published, From: d.Domain, Source: r.Client.Addr, Do: string(PolicyNone)}
	if d.Do != "" {
		row.Do = string(d.Do)
	}
	if !r.Client.From.IsNull() {
		row.Envelope = r.From.Domain
	}
	for _, a := range d.Aligned {
		switch what, _, _ := strings.Cut(a, " "); what {
		case "dkim":
			row.DKIM = true
		case "spf":
			row.SPF = true
		}
	}
	if d.Testing {
		row.Reasons = append(row.Reasons, aggregate.Reason{Type: "policy_test_mode"})
	}
	if d.Override != "" {
		row.Reasons = append(row.Reasons, aggregate.Reason{Type: "trusted_forwarder", Comment: d.Override})
	}
	for _, s := range r.DKIM {
		if s.Domain != "" && s.Selector != "" {
			row.Signed = append(row.Signed, aggregate.Signed{Domain: s.Domain, Selector: s.Selector, Result: string(s.Result)})
		}
	}
	row.Sent = aggregate.Sent{Domain: r.From.Domain, Result: string(r.From.Result)}
	return row, true
}

// isReport reports whether the message is itself a report of DMARC or TLS: two hosts that count those have something to tell each other for ever.
func (m *message) isReport() bool {
	if len(m.find("tls-report-domain")) > 0 {
		return true
	}
	for _, f := range m.find("subject") {
		words := strings.Fields(string(f.value))
		if len(words) > 4 && strings.EqualFold(words[0]+words[1], "ReportDomain:") && strings.EqualFold(words[3], "Submitter:") {
			return true
		}
	}
	return false
}

// Organization is the organizational domain of a domain (RFC 9989 section 4.10.2).
func (c *Checker) Organization(ctx context.Context, domain string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, dnsTime)
	defer cancel()
	l := &lookup{resolver: c.DNS}
	w, err := l.treeWalk(ctx, domain)
	return w.organization(), err
}
