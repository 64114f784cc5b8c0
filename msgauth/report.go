package msgauth

import (
	"strconv"
	"strings"
)

// Header is the Authentication-Results field to put on top of the message, whole lines ending in LF.
func (r *Report) Header() string { return r.Results().String() }

// Results is the report in the form of RFC 8601.
func (r *Report) Results() Results {
	out := Results{Host: r.host}
	add := func(name string, result Result, reason string, props ...Prop) {
		if result == Pass || result == None {
			reason = ""
		}
		kept := props[:0]
		for _, p := range props {
			if p.Value != "" {
				kept = append(kept, p)
			}
		}
		out.Methods = append(out.Methods, Method{name, result, reason, kept})
	}
	if r.Client.Addr.IsValid() {
		if !r.Client.From.IsNull() {
			add("spf", r.From.Result, r.From.Why, Prop{"smtp", "mailfrom", r.From.Sender})
		}
		add("spf", r.HELO.Result, r.HELO.Why, Prop{"smtp", "helo", r.HELO.Sender})
		add("iprev", r.IPRev.Result, r.IPRev.Why, Prop{"policy", "iprev", r.Client.Addr.String()})
	}
	if len(r.DKIM) == 0 {
		add("dkim", None, "")
	}
	for _, d := range r.DKIM {
		add("dkim", d.Result, d.Why, Prop{"header", "d", d.Domain}, Prop{"header", "i", d.Identity}, Prop{"header", "s", d.Selector},
			Prop{"header", "a", d.Algorithm}, Prop{"header", "b", d.Signature})
	}
	if r.Skipped > 0 {
		add("dkim", Neutral, strconv.Itoa(r.Skipped)+" signatures more, not looked at")
	}
	if r.ARC.Result != None {
		arc := Prop{}
		if r.Client.Addr.IsValid() {
			arc = Prop{"smtp", "remote-ip", r.Client.Addr.String()}
		}
		add("arc", r.ARC.Result, r.ARC.Why, arc)
	}
	why := r.DMARC.Why
	if r.DMARC.Override != "" {
		why += "; " + r.DMARC.Override
	}
	add("dmarc", r.DMARC.Result, why, Prop{"header", "from", r.DMARC.Domain}, Prop{"policy", "dmarc", string(r.DMARC.Policy)},
		Prop{"policy", "display", r.Author.Claims}) // what somebody who sees only names would take for the author (S056)
	return out
}

// maxChecks is how long the line of Checks is at most: what does not fit is a signature, or the name of a domain.
const maxChecks = 480

// Checks is the report in one line, for the envelope and the log: spf=pass dkim=pass:example.org dmarc=pass.
func (r *Report) Checks() string {
	say := func(name string, result Result, of string) string {
		text := name + "=" + string(result)
		if of != "" && len(of) < 100 {
			text += ":" + of
		}
		return text
	}
	first := say("spf", r.From.Result, r.From.Domain)
	last := ""
	if r.ARC.Result != None {
		last += " " + say("arc", r.ARC.Result, r.ARC.Trusted)
	}
	last += " " + say("dmarc", r.DMARC.Result, r.DMARC.Domain)
	if r.DMARC.Do != "" && r.DMARC.Do != PolicyNone {
		last += " do=" + string(r.DMARC.Do)
	}
	last += " " + say("iprev", r.IPRev.Result, "")
	if len(r.DKIM) == 0 {
		return first + " dkim=none" + last
	}
	for _, d := range r.DKIM {
		if next := " " + say("dkim", d.Result, d.Domain); len(first)+len(next)+len(last) <= maxChecks {
			first += next
		}
	}
	return first + last
}

// HeaderOf is Header in exactly size octets, for who wrote the message before it could be judged, and left room on top of it. What is
// too long loses its reasons first, and then the signatures at the end; what is too short gets comments. A field takes 200 octets at least.
func (r *Report) HeaderOf(size int) string {
	results := r.Results()
	text := results.String()
	if len(text) > size {
		for i := range results.Methods {
			results.Methods[i].Reason = ""
		}
		text = results.String()
	}
	for len(text) > size && len(results.Methods) > 1 {
		last := len(results.Methods) - 2 // DMARC is the last, and stays
		results.Methods = append(results.Methods[:last], results.Methods[last+1:]...)
		text = results.String()
	}
	if len(text) > size {
		text = Results{Host: r.host}.String()
	}
	text = strings.TrimSuffix(text, "\n")
	for room := size - 1 - len(text); room > 0; room = size - 1 - len(text) {
		const shell = len("\n\t()")
		if room < shell {
			text += strings.Repeat(" ", room)
			continue
		}
		dots := min(room-shell, width-8)
		text += "\n\t(" + strings.Repeat(".", dots) + ")"
	}
	return text + "\n"
}
