package mailq

import (
	"cmp"
	"slices"
	"time"
)

// ages are the upper ends of the columns of shape; the last column is everything older.
var ages = []time.Duration{5 * time.Minute, 20 * time.Minute, time.Hour, 4 * time.Hour, 12 * time.Hour, 24 * time.Hour, 3 * 24 * time.Hour}

// Shape is one line of shape: how many recipients wait for a site, by age.
type Shape struct {
	Site  string         `json:"site"`
	Total int            `json:"total"`
	Ages  map[string]int `json:"ages"` // "5m": up to five minutes old, … "older"
	Held  int            `json:"held"`

	counts []int
}

// shape counts recipients by site and age. Recipients that were not routed yet count under their domain.
func (t *Tool) shape(args []string) error {
	if len(args) > 0 {
		return usage("shape takes no arguments")
	}
	sites := map[string]*Shape{}
	total := &Shape{Site: "TOTAL", counts: make([]int, len(ages)+1)}
	err := t.entries(selection{}, func(e *Entry) error {
		age := t.now().Sub(e.Arrived)
		column, _ := slices.BinarySearch(ages, age)
		for i := range e.Recipients {
			r := &e.Recipients[i]
			if r.State != "waiting" {
				continue
			}
			key := cmp.Or(r.Site, r.domain, "local")
			s := sites[key]
			if s == nil {
				s = &Shape{Site: key, counts: make([]int, len(ages)+1)}
				sites[key] = s
			}
			for _, s := range []*Shape{s, total} {
				s.Total++
				s.counts[column]++
				if e.State == "held" {
					s.Held++
				}
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	rows := []*Shape{total}
	for _, s := range sites {
		rows = append(rows, s)
	}
	slices.SortFunc(rows[1:], func(a, b *Shape) int {
		return cmp.Or(cmp.Compare(b.Total, a.Total), cmp.Compare(a.Site, b.Site))
	})
	return t.table(rows)
}

func (t *Tool) table(rows []*Shape) error {
	if t.JSON {
		for _, s := range rows[1:] {
			s.Ages = map[string]int{"older": s.counts[len(ages)]}
			for i, a := range ages {
				s.Ages[span(a)] = s.counts[i]
			}
			if err := t.object(s); err != nil {
				return err
			}
		}
		return nil
	}
	if rows[0].Total == 0 {
		t.printf("Mail queue is empty")
		return nil
	}
	const numbers = 7
	room := 40
	if t.Width > 0 {
		room = max(12, t.Width-numbers*(len(ages)+3))
	}
	head := pad("", room)
	columns := append([]string{"T"}, make([]string, 0, len(ages)+2)...)
	for _, a := range ages {
		columns = append(columns, span(a))
	}
	for _, c := range append(columns, "older", "held") {
		head += lead(c, numbers)
	}
	t.printf("%s", head)
	for _, s := range rows {
		line := pad(cut(safe(s.Site), room), room) + number(s.Total, numbers)
		for _, n := range append(s.counts, s.Held) {
			line += number(n, numbers)
		}
		t.printf("%s", line)
	}
	return nil
}
