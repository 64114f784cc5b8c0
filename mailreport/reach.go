package mailreport

import (
	"cmp"
	"maps"
	"slices"
	"time"
)

// Reach is how TLS to a domain went.
type Reach struct {
	Domain    string    `json:"domain"`
	Policies  []string  `json:"policies"` // that senders found: "sts enforce", "tlsa", "no-policy-found"
	Days      int       `json:"days"`
	Reporters int       `json:"reporters"`
	Successes int64     `json:"successes"`
	Failures  int64     `json:"failures"`
	Troubles  []Trouble `json:"troubles"` // most sessions first

	mode            string // of the policy in the latest report that had one
	latest          string
	days, reporters map[string]bool
	policies        map[string]bool
	troubles        map[Trouble]int64
}

// Trouble is who could not reach us, where, and why.
type Trouble struct {
	Reporter string `json:"reporter"`
	Policy   string `json:"policy"`
	Result   string `json:"result"`
	MX       string `json:"mx"`
	Reason   string `json:"reason,omitempty"`
	Sessions int64  `json:"sessions"`
	Means    string `json:"means"` // the result in words
}

// results are RFC 8460 section 4.3 in words.
var results = map[string]string{
	"starttls-not-supported":        "no STARTTLS offered: port 25 without a certificate, or something between takes it out",
	"certificate-host-mismatch":     "the certificate is for another name than the MX",
	"certificate-expired":           "the certificate is out of date",
	"certificate-not-trusted":       "the chain leads to no root they know: self-signed, or an intermediate is missing",
	"validation-failure":            "it did not verify, for another reason",
	"tlsa-invalid":                  "the TLSA records fit no certificate: see mailkey check",
	"dnssec-invalid":                "DNSSEC of the zone is broken",
	"dane-required":                 "they want DANE, and found no TLSA they may trust",
	"sts-policy-fetch-error":        "the policy could not be fetched from https://mta-sts.DOMAIN",
	"sts-policy-invalid":            "the policy cannot be understood",
	"sts-webpki-invalid":            "the web server of the policy has a certificate that does not verify",
	"sts-policy-failure-validation": "the MX is not in the policy",
}

// Reach says who cannot reach each domain, or one, by TLS.
func (s *Store) Reach(days Days, only string) ([]*Reach, error) {
	all := map[string]*Reach{}
	var r TLS
	err := s.each("tls", days, &r, func() {
		if only == "" || r.Domain == only {
			d := all[r.Domain]
			if d == nil {
				d = &Reach{Domain: r.Domain, days: map[string]bool{}, reporters: map[string]bool{}, policies: map[string]bool{}, troubles: map[Trouble]int64{}}
				all[r.Domain] = d
			}
			d.add(&r)
		}
	})
	var list []*Reach
	for _, name := range slices.Sorted(maps.Keys(all)) {
		d := all[name]
		d.Days, d.Reporters, d.Policies = len(d.days), len(d.reporters), slices.Sorted(maps.Keys(d.policies))
		for t, n := range d.troubles {
			t.Sessions, t.Means = n, results[t.Result]
			d.Troubles = append(d.Troubles, t)
		}
		slices.SortFunc(d.Troubles, func(a, b Trouble) int {
			return cmp.Or(cmp.Compare(b.Sessions, a.Sessions), cmp.Compare(a.Result, b.Result), cmp.Compare(a.MX, b.MX),
				cmp.Compare(a.Reporter, b.Reporter), cmp.Compare(a.Reason, b.Reason))
		})
		list = append(list, d)
	}
	return list, err
}

func (d *Reach) add(r *TLS) {
	if r.Result != "" {
		t := Trouble{Reporter: r.Reporter, Policy: r.Policy, Result: r.Result, MX: r.MX, Reason: r.Reason}
		if _, there := d.troubles[t]; !there && len(d.troubles) >= maxSources {
			t = Trouble{Reporter: "others", Result: r.Result}
		}
		d.troubles[t] += r.Count
		return
	}
	d.days[r.Begin[:min(len(time.DateOnly), len(r.Begin))]] = true
	d.reporters[r.Reporter] = true
	policy := r.Policy
	if r.Mode != "" {
		policy += " " + r.Mode
	}
	d.policies[policy] = true
	if r.Policy == "sts" && r.Begin >= d.latest {
		d.latest, d.mode = r.Begin, r.Mode
	}
	d.Successes += r.Successes
	d.Failures += r.Failures
}
