package mailreport

import (
	"bufio"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
)

// PrintJSON writes one object a line.
func PrintJSON[T any](w io.Writer, list []T) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	for _, one := range list {
		if err := e.Encode(one); err != nil {
			return err
		}
	}
	return nil
}

// PrintSenders writes who sends as each domain. Values were escaped when they were read.
func PrintSenders(w io.Writer, list []*Domain) error {
	b := bufio.NewWriter(w)
	for i, d := range list {
		if i > 0 {
			fmt.Fprintln(b)
		}
		fmt.Fprintf(b, "%s: %d messages, %.1f%% pass; policy %s%s; %d days, %d reporters\n", d.Domain, d.Messages, Percent(d.Pass, d.Messages),
			dash(d.Policy), space(d.Testing), d.Days, d.Reporters)
		fmt.Fprintf(b, "%10s %7s %7s %7s %8s  %-24s  %s\n", "messages", "pass", "dkim", "spf", "stopped", "source", "as")
		for _, s := range d.Senders {
			fmt.Fprintf(b, "%10d %6.1f%% %6.1f%% %6.1f%% %8d  %-24s  %s\n", s.Messages, Percent(s.Pass, s.Messages), Percent(s.DKIM, s.Messages),
				Percent(s.SPF, s.Messages), s.Stopped, s.Source, whom(s))
		}
	}
	return b.Flush()
}

// whom is the name of an address, with the domain it sends as behind it.
func whom(s Sender) string {
	if s.Name == "" {
		return dash(s.As)
	}
	return s.Name + space(paren(s.As))
}

func paren(s string) string {
	if s == "" {
		return ""
	}
	return "(" + s + ")"
}

// PrintReach writes who cannot reach each domain by TLS.
func PrintReach(w io.Writer, list []*Reach) error {
	b := bufio.NewWriter(w)
	for i, d := range list {
		if i > 0 {
			fmt.Fprintln(b)
		}
		fmt.Fprintf(b, "%s: %d sessions, %d failed (%.2f%%); %d days, %d reporters; policies", dash(d.Domain), d.Successes+d.Failures, d.Failures,
			100-Percent(d.Successes, d.Successes+d.Failures), d.Days, d.Reporters)
		for j, p := range d.Policies {
			fmt.Fprint(b, map[bool]string{true: " ", false: ", "}[j == 0], dash(p))
		}
		fmt.Fprintln(b)
		for _, t := range d.Troubles {
			fmt.Fprintf(b, "%10d  %s at %s, from %s%s\n", t.Sessions, t.Result, dash(t.MX), dash(t.Reporter), space(paren(t.Reason)))
			if t.Means != "" {
				fmt.Fprintf(b, "%10s  %s\n", "", t.Means)
			}
		}
	}
	return b.Flush()
}

// PrintAdvice writes what each domain may do next.
func PrintAdvice(w io.Writer, list []Advice) error {
	b := bufio.NewWriter(w)
	for _, a := range list {
		fmt.Fprintf(b, "%-5s  %s %s: %s", a.State, a.Domain, a.What, a.Policy)
		if a.Next != "" {
			fmt.Fprintf(b, ", next %s", a.Next)
		}
		fmt.Fprintf(b, "\n       %s\n", a.Why)
	}
	return b.Flush()
}

// PrintComplaints writes the complaints.
func PrintComplaints(w io.Writer, list []*Complaint) error {
	b := bufio.NewWriter(w)
	if len(list) > 0 {
		fmt.Fprintf(b, "%8s  %-10s %-14s %-24s %-24s %s\n", "count", "last", "type", "domain", "reporter", "list or Feedback-ID")
	}
	for _, c := range list {
		fmt.Fprintf(b, "%8d  %-10.10s %-14s %-24s %-24s %s\n", c.Count, c.Last, c.Type, dash(c.Domain), dash(c.Reporter), dash(cmp.Or(c.List, c.Feedback)))
	}
	return b.Flush()
}

// PrintBounces writes the bounces.
func PrintBounces(w io.Writer, list []*Bounce) error {
	b := bufio.NewWriter(w)
	if len(list) > 0 {
		fmt.Fprintf(b, "%8s  %-10s %-9s %-7s %-32s %s\n", "count", "last", "action", "status", "host", "the last said")
	}
	for _, r := range list {
		fmt.Fprintf(b, "%8d  %-10.10s %-9s %-7s %-32s %s\n", r.Count, r.Last, dash(r.Action), dash(r.Status), dash(r.Host), r.Diagnostic)
	}
	return b.Flush()
}

func dash(s string) string { return cmp.Or(s, "-") }

func space(s string) string {
	if s == "" {
		return ""
	}
	return " " + s
}
