package main

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// boxRow is a row of the table.
type boxRow struct {
	name  string  // "" is preparation
	times float64 // how many times as fast as Dovecot DESIGN.md wants us; 0 it says nothing
	byCPU bool    // and it speaks of CPU time
	limit float64 // what it wants at most, in the unit; 0 nothing
	unit  string  // "" is ms
	most  int     // messages; bigger mailboxes are left out; 0 none are
	run   func(b *box) error
}

// boxFigure is one row of one server in one round.
type boxFigure struct {
	row     boxRow
	n       int
	server  string
	samples []sample
	err     error
}

func (f boxFigure) took() float64 { return f.middle(func(s sample) float64 { return ms(s.time) }) }
func (f boxFigure) cpu() float64  { return f.middle(func(s sample) float64 { return ms(s.cpu) }) }

func (f boxFigure) middle(of func(sample) float64) float64 {
	var v []float64
	for _, s := range f.samples {
		v = append(v, of(s))
	}
	if len(v) == 0 {
		return 0
	}
	return median(v)
}

func (f boxFigure) line() string {
	if f.err != nil {
		return f.err.Error()
	}
	if f.row.unit != "" {
		return fmt.Sprintf("%10.3f %s", f.took(), f.row.unit)
	}
	return fmt.Sprintf("%10.3f ms %10.3f ms CPU", f.took(), f.cpu())
}

// boxTable gathers figures.
type boxTable struct {
	want    *regexp.Regexp
	servers []*boxServer
	figures []boxFigure
}

// report is the table: a line for each row and size.
func (t *boxTable) report(caption string) string {
	courier := slices.ContainsFunc(t.servers, func(s *boxServer) bool { return s.name == "courier" })
	var b strings.Builder
	fmt.Fprintf(&b, "%s Milliseconds, of wall clock and of CPU of all processes of the server; “×” is how many times as fast as Dovecot, “wanted” what DESIGN.md asks.\n\n", caption)
	head := "| work | messages | Pennypost | Dovecot | × | CPU, Pennypost | Dovecot | × | wanted |"
	if courier {
		head += " Courier | CPU |"
	}
	fmt.Fprintf(&b, "%s\n%s|\n", head, strings.Repeat("|---", strings.Count(head, "|")-1))
	type key struct {
		name string
		n    int
	}
	var rows []key
	of := map[key][]boxFigure{}
	for _, f := range t.figures {
		k := key{f.row.name, f.n}
		if of[k] == nil {
			rows = append(rows, k)
		}
		of[k] = append(of[k], f)
	}
	for _, k := range rows {
		row := of[k][0].row
		took, cpu := columns(of[k], boxFigure.took), columns(of[k], boxFigure.cpu)
		size := ""
		if k.n > 0 {
			size = fmt.Sprint(k.n)
		}
		name := k.name
		if row.unit != "" {
			name += ", " + row.unit
		}
		wanted := row.verdict(took, cpu)
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s | %s | %s | %s | %s |", name, size, spread(took["pennypost"]), spread(took["dovecot"]), row.faster(took, row.unit == "/s"),
			spread(cpu["pennypost"]), spread(cpu["dovecot"]), row.faster(cpu, false), wanted)
		if courier {
			fmt.Fprintf(&b, " %s | %s |", spread(took["courier"]), spread(cpu["courier"]))
		}
		b.WriteByte('\n')
	}
	for _, f := range t.figures {
		if f.err != nil {
			fmt.Fprintf(&b, "\n%s, %d messages, %s failed: %v\n", f.row.name, f.n, f.server, f.err)
		}
	}
	for _, k := range rows { // a server that finds less is faster for a wrong reason
		found := map[string]int{}
		for _, f := range of[k] {
			if len(f.samples) > 0 && f.server != "courier" {
				found[f.server] = f.samples[len(f.samples)-1].found
			}
		}
		if p, ours := found["pennypost"], found["dovecot"]; len(found) == 2 && p != ours {
			fmt.Fprintf(&b, "\n%s, %d messages: Pennypost says %d, Dovecot %d\n", k.name, k.n, p, ours)
		}
	}
	return b.String()
}

func columns(figures []boxFigure, of func(boxFigure) float64) map[string][]float64 {
	c := map[string][]float64{}
	for _, f := range figures {
		if f.err != nil {
			continue
		}
		if x := of(f); x > 0 { // CPU is not known of everything
			c[f.server] = append(c[f.server], x)
		}
	}
	return c
}

// ratio is how many times as good as Dovecot we are, 0 not known.
func (r boxRow) ratio(v map[string][]float64) float64 {
	if len(v["pennypost"]) == 0 || len(v["dovecot"]) == 0 || median(v["pennypost"]) == 0 {
		return 0
	}
	x := median(v["dovecot"]) / median(v["pennypost"])
	return x
}

func (r boxRow) faster(v map[string][]float64, rate bool) string {
	x := r.ratio(v)
	if rate && x > 0 {
		x = 1 / x
	}
	if x > 0 {
		return fmt.Sprintf("%.2f", x)
	}
	return "–"
}

func (r boxRow) verdict(took, cpu map[string][]float64) string {
	switch {
	case r.times > 0:
		by, x := "", r.ratio(took)
		if r.unit == "/s" && x > 0 {
			x = 1 / x
		}
		if r.byCPU {
			by, x = " CPU", r.ratio(cpu)
		}
		word := "**missed**"
		if x >= r.times {
			word = "met"
		} else if x == 0 {
			word = "–"
		}
		return fmt.Sprintf("%.3g×%s %s", r.times, by, word)
	case r.limit > 0 && len(took["pennypost"]) > 0:
		word := "**missed**"
		if median(took["pennypost"]) <= r.limit {
			word = "met"
		}
		return fmt.Sprintf("≤ %.3g %s", r.limit, word)
	}
	return ""
}
