package tlsrpt

import (
	"encoding/json"
	"maps"
	"slices"
	"time"

	"pennypost/internal/dayfile"
)

// Summary is a day of one domain.
type Summary struct {
	Policies []Policy
	Missed   bool // not all were counted
}

// Policy is one policy that was applied, and how sessions under it went.
type Policy struct {
	Type     Type
	Lines    []string
	Hosts    []string
	Good     int64
	Failures []Failed
}

// Failed is one way to fail, and how many sessions did.
type Failed struct {
	Result
	N int64
}

// maxFailures is how many different failures a report has (S092).
const maxFailures = 10_000

// Collect reads a day: the summary for each domain.
func Collect(day dayfile.Day) (map[string]*Summary, error) {
	counts := map[string]map[string]int64{}
	all := map[string]*Summary{}
	err := day.Lines(func(words string) {
		r, ok := parse(words)
		if !ok {
			return
		}
		s := all[r.Domain]
		if s == nil {
			s = &Summary{Missed: day.Full}
			all[r.Domain], counts[r.Domain] = s, map[string]int64{}
		}
		key, known := string(r.words()), counts[r.Domain]
		if _, ok := known[key]; !ok && len(known) >= maxFailures {
			s.Missed = true
			return
		}
		known[key]++
	})
	for domain, s := range all {
		for _, key := range slices.Sorted(maps.Keys(counts[domain])) {
			if r, ok := parse(key); ok {
				s.add(r, counts[domain][key])
			}
		}
	}
	return all, err
}

// add puts a result to those of its policy.
func (s *Summary) add(r Result, n int64) {
	i := slices.IndexFunc(s.Policies, func(p Policy) bool {
		return p.Type == r.Type && slices.Equal(p.Lines, r.Policy) && slices.Equal(p.Hosts, r.Hosts)
	})
	if i < 0 {
		i = len(s.Policies)
		s.Policies = append(s.Policies, Policy{Type: r.Type, Lines: r.Policy, Hosts: r.Hosts})
	}
	if r.Failure == OK {
		s.Policies[i].Good += n
	} else {
		s.Policies[i].Failures = append(s.Policies[i].Failures, Failed{r, n})
	}
}

// Sessions is how many there were.
func (s *Summary) Sessions() (n int64) {
	for _, p := range s.Policies {
		n += p.Good
		for _, f := range p.Failures {
			n += f.N
		}
	}
	return n
}

// Meta is who reports, and on when.
type Meta struct {
	Organization, Contact string
	ID                    string
	Begin, End            time.Time
}

// The members of RFC 8460 section 4.4.
type (
	jsonReport struct {
		Organization string       `json:"organization-name"`
		Range        jsonRange    `json:"date-range"`
		Contact      string       `json:"contact-info"`
		ID           string       `json:"report-id"`
		Policies     []jsonPolicy `json:"policies"`
	}
	jsonRange struct {
		Start string `json:"start-datetime"`
		End   string `json:"end-datetime"`
	}
	jsonPolicy struct {
		Policy struct {
			Type   Type     `json:"policy-type"`
			Lines  []string `json:"policy-string,omitempty"`
			Domain string   `json:"policy-domain"`
			Hosts  []string `json:"mx-host,omitempty"`
		} `json:"policy"`
		Summary struct {
			Good int64 `json:"total-successful-session-count"`
			Bad  int64 `json:"total-failure-session-count"`
		} `json:"summary"`
		Failures []jsonFailure `json:"failure-details,omitempty"`
	}
	jsonFailure struct {
		Type   Failure `json:"result-type"`
		From   string  `json:"sending-mta-ip,omitempty"`
		MX     string  `json:"receiving-mx-hostname,omitempty"`
		HELO   string  `json:"receiving-mx-helo,omitempty"`
		To     string  `json:"receiving-ip,omitempty"`
		N      int64   `json:"failed-session-count"`
		Reason string  `json:"failure-reason-code,omitempty"`
	}
)

// JSON is the report to a domain.
func (s *Summary) JSON(domain string, m Meta) ([]byte, error) {
	stamp := func(t time.Time) string { return t.UTC().Format(time.RFC3339) }
	r := jsonReport{m.Organization, jsonRange{stamp(m.Begin), stamp(m.End)}, m.Contact, m.ID, nil}
	for _, p := range s.Policies {
		var j jsonPolicy
		j.Policy.Type, j.Policy.Lines, j.Policy.Domain, j.Policy.Hosts = p.Type, p.Lines, domain, p.Hosts
		j.Summary.Good = p.Good
		for _, f := range p.Failures {
			j.Summary.Bad += f.N
			d := jsonFailure{Type: f.Failure, MX: f.MX, HELO: f.HELO, N: f.N, Reason: f.Reason}
			if f.Local.IsValid() {
				d.From = f.Local.String()
			}
			if f.Remote.IsValid() {
				d.To = f.Remote.String()
			}
			j.Failures = append(j.Failures, d)
		}
		r.Policies = append(r.Policies, j)
	}
	return json.MarshalIndent(r, "", " ")
}
