package mailreport

import (
	"fmt"
	"slices"
)

// Bar is what a domain must have shown before a stricter policy is advised.
type Bar struct {
	Days    int     // on which reports came
	Count   int64   // messages, or sessions
	Percent float64 // that pass
}

// The bars unless another is said. MTA-STS has the higher one: with enforce, what fails is not delivered.
var (
	DMARCBar = Bar{14, 100, 98}
	STSBar   = Bar{14, 100, 99.9}
)

// States of an advice.
const (
	Ready = "ready" // take the next policy
	Look  = "look"  // ready, if what the reason names is none of ours
	Wait  = "wait"  // not yet
	Done  = "done"  // there is none stricter
)

// Advice says whether a domain can take a stricter policy.
type Advice struct {
	Domain string `json:"domain"`
	What   string `json:"what"` // dmarc, mta-sts
	Policy string `json:"policy"`
	Next   string `json:"next,omitempty"`
	State  string `json:"state"`
	Why    string `json:"why"`
}

// stricter is the next policy.
var stricter = map[string]string{"none": "quarantine", "quarantine": "reject"}

// Advice is DMARC's for a domain: none, then quarantine, then reject (RFC 9989 section 8).
func (d *Domain) Advice(bar Bar) Advice {
	a := Advice{Domain: d.Domain, What: "dmarc", Policy: "p=" + d.Policy, Next: "p=" + stricter[d.Policy], State: Wait}
	switch {
	case d.Testing != "":
		a.Policy, a.Next = a.Policy+" "+d.Testing, "p="+d.Policy+" without "+d.Testing
	case stricter[d.Policy] == "":
		a.Next, a.State, a.Why = "", Done, "there is none stricter"
		return a
	}
	if d.Days < bar.Days || d.Messages < bar.Count {
		a.Why = fmt.Sprintf("reports of %d days on %d messages; it takes %d days and %d messages", d.Days, d.Messages, bar.Days, bar.Count)
		return a
	}
	all := Percent(d.Pass, d.Messages)
	if all >= bar.Percent {
		a.State, a.Why = Ready, fmt.Sprintf("%.1f%% of %d messages in %d days pass", all, d.Messages, d.Days)
		return a
	}
	var known, strange, sources int64
	var worst Sender // of those that are ours by what they send at other times
	for _, one := range d.Senders {
		if one.Pass == 0 {
			strange, sources = strange+one.Messages, sources+1
			continue
		}
		known += one.Messages
		if one.Messages-one.Pass > worst.Messages-worst.Pass {
			worst = one
		}
	}
	if known >= bar.Count && Percent(d.Pass, known) >= bar.Percent {
		a.State = Look
		a.Why = fmt.Sprintf("%.1f%% pass of what comes from sources that ever do; %d messages come from %d that never do: if none of these is yours (mailreport senders %s), it is time",
			Percent(d.Pass, known), strange, sources, d.Domain)
		return a
	}
	a.Why = fmt.Sprintf("%.1f%% of %d messages pass, it takes %g%%", all, d.Messages, bar.Percent)
	if worst.Source != "" {
		a.Why += fmt.Sprintf("; %s fails most often, %d times of %d", worst.Source, worst.Messages-worst.Pass, worst.Messages)
	}
	return a
}

// Advice is MTA-STS's for a domain: a policy in mode testing, then enforce (RFC 8461 section 3.2).
func (d *Reach) Advice(bar Bar) Advice {
	a := Advice{Domain: d.Domain, What: "mta-sts", Policy: "mode: " + d.mode, Next: "mode: enforce", State: Wait}
	all := d.Successes + d.Failures
	switch {
	case d.mode == "enforce":
		a.Next, a.State, a.Why = "", Done, "there is none stricter"
	case d.mode == "" && slices.Contains(d.Policies, "tlsa"):
		a.Policy, a.Next, a.State, a.Why = "tlsa", "", Done, "DANE does more than MTA-STS would"
	case d.mode == "":
		a.Policy, a.Next, a.State, a.Why = "none found", "mode: testing", Ready, "it changes nothing but what is reported"
	case d.Days < bar.Days || all < bar.Count:
		a.Why = fmt.Sprintf("reports of %d days on %d sessions; it takes %d days and %d sessions", d.Days, all, bar.Days, bar.Count)
	case Percent(d.Successes, all) < bar.Percent:
		a.Why = fmt.Sprintf("%.2f%% of %d sessions succeed, it takes %g%%; see mailreport tls %s", Percent(d.Successes, all), all, bar.Percent, d.Domain)
	default:
		a.State, a.Why = Ready, fmt.Sprintf("%.2f%% of %d sessions in %d days succeed", Percent(d.Successes, all), all, d.Days)
	}
	return a
}
