package mailreport

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"time"
)

// Sender is a source of mail in the name of a domain.
type Sender struct {
	Domain   string `json:"domain"`
	Source   string `json:"source"`
	Name     string `json:"name,omitempty"` // of the address in DNS, where it was asked for
	As       string `json:"as"`             // the domain its mail is signed with, or the domain of its reverse-path
	Messages int64  `json:"messages"`
	Pass     int64  `json:"pass"` // by DMARC
	DKIM     int64  `json:"dkim"`
	SPF      int64  `json:"spf"`
	Stopped  int64  `json:"stopped"`   // put into quarantine, or refused
	Excused  int64  `json:"forwarded"` // failed, and the receiver knew why: forwarded, a list …

	as map[string]int64
}

// Domain is what reports say of a domain in all.
type Domain struct {
	Domain    string   `json:"domain"`
	Policy    string   `json:"policy"` // in the latest report
	Testing   string   `json:"testing,omitempty"`
	Days      int      `json:"days"`
	Reporters int      `json:"reporters"`
	Messages  int64    `json:"messages"`
	Pass      int64    `json:"pass"`
	Senders   []Sender `json:"senders"` // most messages first

	latest          string
	days, reporters map[string]bool
	senders         map[string]*Sender
}

// maxSources is how many sources of a domain are told apart; others are one. Anybody can send reports.
const maxSources = 100_000

// Percent is how much of all n is; 100 of nothing.
func Percent(n, all int64) float64 {
	if all == 0 {
		return 100
	}
	return float64(n) * 100 / float64(all)
}

// Senders says who sends in the name of each domain, or of one.
func (s *Store) Senders(days Days, only string) ([]*Domain, error) {
	all := map[string]*Domain{}
	var r DMARC
	err := s.each("dmarc", days, &r, func() {
		if only == "" || r.Domain == only {
			d := all[r.Domain]
			if d == nil {
				d = &Domain{Domain: r.Domain, days: map[string]bool{}, reporters: map[string]bool{}, senders: map[string]*Sender{}}
				all[r.Domain] = d
			}
			d.add(&r)
		}
	})
	var list []*Domain
	for _, name := range slices.Sorted(maps.Keys(all)) {
		d := all[name]
		d.Days, d.Reporters = len(d.days), len(d.reporters)
		for _, one := range d.senders {
			one.As = most(one.as)
			d.Senders = append(d.Senders, *one)
		}
		slices.SortFunc(d.Senders, func(a, b Sender) int {
			return cmp.Or(cmp.Compare(b.Messages, a.Messages), cmp.Compare(a.Source, b.Source))
		})
		list = append(list, d)
	}
	return list, err
}

func (d *Domain) add(r *DMARC) {
	if r.Begin >= d.latest {
		d.latest, d.Policy, d.Testing = r.Begin, r.Policy, r.Testing
	}
	d.days[r.Begin[:min(len(time.DateOnly), len(r.Begin))]] = true
	d.reporters[r.Reporter] = true
	source := r.Source
	if d.senders[source] == nil && len(d.senders) >= maxSources {
		source = "others"
	}
	one := d.senders[source]
	if one == nil {
		one = &Sender{Domain: d.Domain, Source: source, as: map[string]int64{}}
		d.senders[source] = one
	}
	d.Messages += r.Count
	one.Messages += r.Count
	for _, n := range []struct {
		to *int64
		is bool
	}{{&d.Pass, r.Passed()}, {&one.Pass, r.Passed()}, {&one.DKIM, r.DKIM == "pass"}, {&one.SPF, r.SPF == "pass"},
		{&one.Stopped, r.Disposition == "quarantine" || r.Disposition == "reject"},
		{&one.Excused, !r.Passed() && excused(r.Reason)}} {
		if n.is {
			*n.to += r.Count
		}
	}
	if as := r.as(); len(one.as) < 20 || one.as[as] > 0 {
		one.as[as] += r.Count
	}
}

// as is whom the mail says it is from, by what verified: that names a service better than its addresses do.
func (r *DMARC) as() string {
	for _, list := range []string{r.Signed, r.Sent} {
		for auth := range strings.FieldsSeq(list) {
			if name, ok := strings.CutSuffix(auth, ":pass"); ok {
				name, _, _ = strings.Cut(name, ":")
				return name
			}
		}
	}
	return r.Envelope
}

// excused are the reasons by which a receiver took mail that failed (RFC 9990, PolicyOverrideType).
func excused(reason string) bool {
	return slices.Contains([]string{"forwarded", "trusted_forwarder", "mailing_list", "local_policy"}, reason)
}

// most is the key with the most.
func most(n map[string]int64) (name string) {
	for _, k := range slices.Sorted(maps.Keys(n)) {
		if n[k] > n[name] {
			name = k
		}
	}
	return name
}
