package mailreport

import (
	"cmp"
	"slices"
)

// Complaint is how often somebody complained about mail of a domain.
type Complaint struct {
	Domain   string `json:"domain"`
	Type     string `json:"type"`
	Reporter string `json:"reporter"`
	List     string `json:"list"`
	Feedback string `json:"feedback"`
	Count    int64  `json:"count"`
	Last     string `json:"last"`
}

// Complaints are the feedback reports, most first.
func (s *Store) Complaints(days Days, only string) ([]*Complaint, error) {
	var r ARF
	sum := newTally(func(c *Complaint) int64 { return c.Count })
	err := s.each("arf", days, &r, func() {
		if only != "" && r.Domain != only {
			return
		}
		c := sum.of(Complaint{Domain: r.Domain, Type: r.Type, Reporter: r.Reporter, List: r.List, Feedback: r.Feedback})
		c.Count += r.Count
		c.Last = max(c.Last, r.Date)
	})
	return sum.sorted(), err
}

// Bounce is how often a host said no in one way.
type Bounce struct {
	Action     string `json:"action"`
	Status     string `json:"status"`
	Host       string `json:"host"`
	Count      int64  `json:"count"`
	Last       string `json:"last"`
	Diagnostic string `json:"diagnostic"` // the last
}

// Bounces are the recipients of delivery status notifications, most first.
func (s *Store) Bounces(days Days) ([]*Bounce, error) {
	var r DSN
	sum := newTally(func(b *Bounce) int64 { return b.Count })
	err := s.each("dsn", days, &r, func() {
		b := sum.of(Bounce{Action: r.Action, Status: r.Status, Host: cmp.Or(r.Host, r.Reporter)})
		b.Count++
		if r.Date >= b.Last {
			b.Last, b.Diagnostic = r.Date, r.Diagnostic
		}
	})
	return sum.sorted(), err
}

// tally counts by what stays the same.
type tally[T comparable] struct {
	all   map[T]*T
	list  []*T
	count func(*T) int64
}

func newTally[T comparable](count func(*T) int64) *tally[T] {
	return &tally[T]{all: map[T]*T{}, count: count}
}

// of is the entry of a key, which is the entry itself with nothing counted yet.
func (t *tally[T]) of(key T) *T {
	if t.all[key] == nil {
		var other T
		if len(t.list) >= maxSources {
			key = other
			if t.all[key] != nil {
				return t.all[key]
			}
		}
		entry := key
		t.all[key] = &entry
		t.list = append(t.list, &entry)
	}
	return t.all[key]
}

func (t *tally[T]) sorted() []*T {
	slices.SortStableFunc(t.list, func(a, b *T) int { return cmp.Compare(t.count(b), t.count(a)) })
	return t.list
}
