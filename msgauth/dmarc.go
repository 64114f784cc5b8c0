package msgauth

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"pennypost/internal/dns"
	"pennypost/msgauth/aggregate"
)

// DMARC is the verdict on the author's domain (RFC 9989). The RFC was not at hand: this was compared, sentence by sentence, with sections
// 4.7 (tags), 4.10 (tree walk, discovery, alignment) and 5.3 (what a receiver does) of the last draft of it, draft-ietf-dmarc-dmarcbis.
type DMARC struct {
	Result       Result   `json:"result"`
	Why          string   `json:"why"`
	Domain       string   `json:"domain,omitempty"`        // the author's
	Organization string   `json:"organization,omitempty"`  // its organizational domain
	PolicyDomain string   `json:"policy_domain,omitempty"` // where the record stands
	Record       string   `json:"record,omitempty"`
	Policy       Policy   `json:"policy,omitempty"`    // what the record asks for in this case
	Do           Policy   `json:"do,omitempty"`        // what is to be done with the message: "none", "quarantine", "reject"
	Testing      bool     `json:"testing,omitempty"`   // t=y made Do milder than Policy
	Override     string   `json:"override,omitempty"`  // why Do is milder all the same
	Aligned      []string `json:"aligned,omitempty"`   // what speaks for the author: "dkim example.org", "spf example.org"
	Reporters    []string `json:"reporters,omitempty"` // rua= of the record

	published aggregate.Policy // the record, in the words of reports
}

// maxWalk is how many names a tree walk asks for.
const maxWalk = 8

// walk is what a tree walk found (RFC 9989 section 4.10).
type walk struct {
	start   string
	records []*dmarcRecord // from the start towards the root
}

// treeWalk goes from a domain towards the root.
func (l *lookup) treeWalk(ctx context.Context, domain string) (walk, error) {
	w := walk{start: domain}
	for target := domain; target != ""; target = above(domain, target) {
		r, err := l.dmarcAt(ctx, target)
		if err != nil {
			return w, err
		}
		if r == nil {
			continue
		}
		w.records = append(w.records, r)
		if r.psd == 'n' || r.psd == 'y' { // steps 2 and 6: also where the walk starts
			break
		}
	}
	return w, nil
}

// above is the target after this one: a label less, and after the start never more than seven.
func above(start, target string) string {
	labels := strings.Split(target, ".")
	if drop := len(labels) - (maxWalk - 1); target == start && drop > 1 {
		return strings.Join(labels[drop:], ".")
	}
	return strings.Join(labels[1:], ".")
}

// organization is the organizational domain (section 4.10.2).
func (w walk) organization() string {
	for _, r := range w.records {
		switch {
		case r.psd == 'n':
			return r.domain
		case r.psd == 'y' && r.domain != w.start:
			below := strings.TrimSuffix(w.start, "."+r.domain)
			return below[strings.LastIndexByte(below, '.')+1:] + "." + r.domain
		}
	}
	if n := len(w.records); n > 0 {
		return w.records[n-1].domain
	}
	return w.start
}

// at is the record of a domain.
func (w walk) at(domain string) *dmarcRecord {
	for _, r := range w.records {
		if r.domain == domain {
			return r
		}
	}
	return nil
}

// record is the one that applies: the author's, that of the organization, that of the public suffix (section 4.10.1).
func (w walk) record() *dmarcRecord {
	if r := w.at(w.start); r != nil {
		return r
	}
	if r := w.at(w.organization()); r != nil {
		return r
	}
	if n := len(w.records); n > 0 && w.records[n-1].psd == 'y' {
		return w.records[n-1]
	}
	return nil
}

// dmarc judges.
func (l *lookup) dmarc(ctx context.Context, author Author, from SPF, signatures []DKIM) DMARC {
	d := DMARC{Domain: author.Domain, Do: PolicyNone}
	if author.Why != "" {
		d.Result, d.Why = PermError, author.Why
		return d
	}
	w, err := l.treeWalk(ctx, author.Domain)
	if err != nil {
		d.Result, d.Why = TempError, err.Error()
		return d
	}
	r := w.record()
	d.Organization = w.organization()
	if r == nil {
		d.Result, d.Why = None, author.Domain+" has no DMARC record, nor has a domain above it"
		return d
	}
	d.PolicyDomain, d.Record, d.Reporters, d.published = r.domain, r.text, r.rua, r.published()
	if d.Policy, err = l.policy(ctx, r, author.Domain); err != nil {
		d.Result, d.Why = TempError, err.Error()
		return d
	}
	if err := l.align(ctx, &d, r, from, signatures); err != nil && len(d.Aligned) == 0 {
		d.Result, d.Why = TempError, err.Error()
		return d
	}
	d.judge(r, from, signatures)
	return d
}

// policy is what the record asks for: of its own domain, of one below it, of one below it that does not exist.
func (l *lookup) policy(ctx context.Context, r *dmarcRecord, domain string) (Policy, error) {
	if r.domain == domain {
		return r.p, nil
	}
	below := r.p
	if r.sp != "" {
		below = r.sp
	}
	if r.np == "" || r.np == below {
		return below, nil
	}
	switch _, err := l.TXT(ctx, domain); {
	case errors.Is(err, dns.ErrNoName): // RFC 8020: neither the name nor anything below it exists
		return r.np, nil
	case err != nil && !dns.Absent(err):
		return "", err
	}
	return below, nil
}

// align collects what passed and belongs to the author's domain (section 4.4).
func (l *lookup) align(ctx context.Context, d *DMARC, r *dmarcRecord, from SPF, signatures []DKIM) (failure error) {
	seen := make(map[string]bool)
	try := func(what, domain string, strict bool) {
		if domain == "" || seen[what+domain] {
			return
		}
		seen[what+domain] = true
		ok, err := l.aligned(ctx, d, domain, strict)
		if err != nil {
			failure = err
		}
		if ok {
			d.Aligned = append(d.Aligned, what+" "+domain)
		}
	}
	for _, s := range signatures {
		if s.Result == Pass {
			try("dkim", s.Domain, r.strictDKIM)
		}
	}
	if from.Result == Pass {
		try("spf", from.Domain, r.strictSPF)
	}
	return failure
}

func (l *lookup) aligned(ctx context.Context, d *DMARC, domain string, strict bool) (bool, error) {
	switch {
	case domain == d.Domain:
		return true, nil
	case strict || !within(domain, d.Organization): // an organizational domain is never below the name it is of
		return false, nil
	}
	w, err := l.treeWalk(ctx, domain)
	return err == nil && w.organization() == d.Organization, err
}

// judge fills in the result, when alignment is known.
func (d *DMARC) judge(r *dmarcRecord, from SPF, signatures []DKIM) {
	if len(d.Aligned) > 0 {
		d.Result, d.Why = Pass, "for "+d.Domain+" speaks "+strings.Join(d.Aligned, ", ")
		return
	}
	for _, s := range signatures { // it might have been
		if s.Result == TempError && within(s.Domain, d.Organization) {
			d.Result, d.Why = TempError, "the key of "+s.Domain+": "+s.Why
			return
		}
	}
	if from.Result == TempError && within(from.Domain, d.Organization) {
		d.Result, d.Why = TempError, from.Why
		return
	}
	d.Result = Fail
	d.Why = fmt.Sprintf("nothing that passed is of %s: %s; %s asks for %s", d.Organization, passed(from, signatures), d.PolicyDomain, d.Policy)
	if d.Do = d.Policy; !r.testing {
		return
	}
	d.Testing = true // section 4.7, t=: one step milder
	switch d.Policy {
	case PolicyReject:
		d.Do = PolicyQuarantine
	case PolicyQuarantine:
		d.Do = PolicyNone
	}
	d.Why += fmt.Sprintf(", is testing (t=y), so %s", d.Do)
}

// passed says in words what passed.
func passed(from SPF, signatures []DKIM) string {
	var list []string
	if from.Result == Pass {
		list = append(list, "SPF is of "+from.Domain)
	}
	for _, s := range signatures {
		if s.Result == Pass {
			list = append(list, "a signature is of "+s.Domain)
		}
	}
	if len(list) == 0 {
		return "neither SPF nor a signature passed"
	}
	return strings.Join(list, ", ")
}
