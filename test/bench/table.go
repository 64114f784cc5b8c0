package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

// figure is one measurement of one server in one round.
type figure struct {
	row, server string
	rate        float64       // messages a second
	cpu         time.Duration // per message, 0 not known
	err         error
}

// report prints the medians side by side.
func report(w io.Writer, figures []figure, caption string) {
	fmt.Fprintf(w, "%s\n\n", caption)
	fmt.Fprintln(w, "| work | Pennypost msg/s | Postfix msg/s | ratio | CPU ms a message, Pennypost | Postfix | ratio |")
	fmt.Fprintln(w, "|---|---|---|---|---|---|---|")
	var rows []string
	for _, f := range figures {
		if !slices.Contains(rows, f.row) {
			rows = append(rows, f.row)
		}
	}
	for _, row := range rows {
		ours, theirs := of(figures, row, "pennypost"), of(figures, row, "postfix")
		fmt.Fprintf(w, "| %s | %s | %s | %s | %s | %s | %s |\n", row, spread(rates(ours)), spread(rates(theirs)), ratio(rates(ours), rates(theirs), "×"),
			spread(cpus(ours)), spread(cpus(theirs)), ratio(cpus(ours), cpus(theirs), "×"))
	}
	for _, f := range figures {
		if f.err != nil {
			fmt.Fprintf(w, "\n%s, %s failed: %v\n", f.row, f.server, f.err)
		}
	}
}

func of(figures []figure, row, server string) []figure {
	var found []figure
	for _, f := range figures {
		if f.row == row && f.server == server && f.err == nil {
			found = append(found, f)
		}
	}
	return found
}

func rates(figures []figure) []float64 {
	var v []float64
	for _, f := range figures {
		v = append(v, f.rate)
	}
	return v
}

func cpus(figures []figure) []float64 {
	var v []float64
	for _, f := range figures {
		if f.cpu > 0 {
			v = append(v, f.cpu.Seconds()*1000)
		}
	}
	return v
}

func median(v []float64) float64 {
	v = slices.Clone(v)
	slices.Sort(v)
	if n := len(v); n%2 == 0 {
		return (v[n/2-1] + v[n/2]) / 2
	}
	return v[len(v)/2]
}

// spread is "median (least–most)".
func spread(v []float64) string {
	if len(v) == 0 {
		return "–"
	}
	if len(v) == 1 {
		return number(v[0])
	}
	return fmt.Sprintf("%s (%s–%s)", number(median(v)), number(slices.Min(v)), number(slices.Max(v)))
}

func number(x float64) string {
	switch {
	case x >= 100:
		return fmt.Sprintf("%.0f", x)
	case x >= 10:
		return fmt.Sprintf("%.1f", x)
	}
	return strings.TrimRight(strings.TrimRight(fmt.Sprintf("%.3f", x), "0"), ".")
}

func ratio(ours, theirs []float64, sign string) string {
	if len(ours) == 0 || len(theirs) == 0 || median(theirs) == 0 {
		return "–"
	}
	return fmt.Sprintf("%.2f%s", median(ours)/median(theirs), sign)
}
