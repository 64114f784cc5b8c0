/*
Package aggregate keeps what DMARC found, message by message, until it is told to the domains that ask for it (RFC 9990).

	STATE/reports/dmarc/2026-11-25     one line for each judged message     written by smtpd, told and removed by mailreport send

	1764038400 policy=example.org p=reject sp=none adkim=r aspf=r fo=0 from=example.org envelope=example.org source=192.0.2.7
	    do=none dkim=pass spf=pass signed=example.org:r202611:pass sent=example.org:pass

(one line). policy is where the record stands; p, sp, np, adkim, aspf, t, fo are what it says; do is what became of the message, and reason why that
is not what the policy asks; dkim and spf say whether they speak for the author; signed and sent are what was found, aligned or not. There is
neither a local part nor a subject in it.

Only mail of domains that ask for reports is counted, so others cost nothing. What one stranger can write is bounded by internal/dayfile: 4 KiB
a message, 64 MiB a day, whatever they send. Equal lines are one row of the report with a count.

	err := aggregate.Append(filepath.Join(conf.State, aggregate.Dir), now, row) // row, ok := report.Row()
*/
package aggregate

import (
	"net/netip"
	"strings"
	"time"

	"pennypost/internal/dayfile"
)

// Row is what was found of one message.
type Row struct {
	Policy   Policy
	From     string // domain in From
	Envelope string // domain of the reverse-path, "" for the null sender
	Source   netip.Addr
	Do       string // none, quarantine, reject: what became of it; none where it passed, too, for readers by RFC 7489 know no "pass"
	DKIM     bool   // a signature that passed is aligned
	SPF      bool
	Reasons  []Reason // why Do is not what the policy asks
	Signed   []Signed
	Sent     Sent
}

// Policy is the record that was applied.
type Policy struct {
	Domain      string // where it stands
	P, SP, NP   string // none, quarantine, reject; SP and NP "" where it does not say
	ADKIM, ASPF string // r or s
	Testing     bool   // t=y
	FO          string // "" is 0
}

// Reason is why a policy was not followed: a type of RFC 9990 and a comment.
type Reason struct {
	Type    string // local_policy mailing_list policy_test_mode trusted_forwarder other
	Comment string
}

// Signed is the verdict on one signature, in the words of RFC 8601.
type Signed struct{ Domain, Selector, Result string }

// Sent is the verdict of SPF on the reverse-path.
type Sent struct{ Domain, Result string }

// maxSigned and the others bound what a message may write: 8 signatures are looked at, and a name has 253 octets.
const (
	maxSigned  = 8
	maxReasons = 4
	maxName    = 253
	maxComment = 120
)

// Append counts a message, in the directory of State.
func Append(dir string, at time.Time, row Row) error { return dayfile.Append(dir, at, row.words()) }

// Dir is where the rows are, below the directory of mail.toml's state.
const Dir = "reports/dmarc"

func cut(s string, most int) string {
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most], "")
	}
	return s
}

// words writes the row so that like ones are equal.
func (r *Row) words() []byte {
	line := make([]byte, 0, 512)
	add := func(name, value string) { line = dayfile.Add(line, name, cut(value, maxName)) }
	p := &r.Policy
	add("policy", p.Domain)
	add("p", p.P)
	add("sp", p.SP)
	add("np", p.NP)
	add("adkim", p.ADKIM)
	add("aspf", p.ASPF)
	if p.Testing {
		add("t", "y")
	}
	add("fo", cut(p.FO, 16))
	add("from", r.From)
	add("envelope", r.Envelope)
	add("source", r.Source.Unmap().WithZone("").String())
	add("do", r.Do)
	add("dkim", passed(r.DKIM))
	add("spf", passed(r.SPF))
	if r.Sent.Domain != "" || r.Sent.Result != "" {
		add("sent", cut(r.Sent.Domain, maxName-len(":permerror"))+":"+r.Sent.Result)
	}
	for _, reason := range r.Reasons[:min(len(r.Reasons), maxReasons)] {
		line = fit(line, "reason", reason.Type+":"+cut(reason.Comment, maxComment))
	}
	for _, s := range r.Signed[:min(len(r.Signed), maxSigned)] {
		line = fit(line, "signed", s.Domain+":"+s.Selector+":"+s.Result)
	}
	return line
}

// fit adds what is of use, and is left out where there is no room.
func fit(line []byte, name, value string) []byte {
	longer := dayfile.Add(line, name, value)
	if len(value) > 2*maxName || len(longer) > dayfile.MaxLine-32 {
		return line
	}
	return longer
}

func passed(ok bool) string {
	if ok {
		return "pass"
	}
	return "fail"
}

// parse reads words again; ok is false where something is missing or is none of its words.
func parse(words string) (r Row, ok bool) {
	p := &r.Policy
	for name, value := range dayfile.Words(words) {
		switch name {
		case "policy":
			p.Domain = value
		case "p":
			p.P = value
		case "sp":
			p.SP = value
		case "np":
			p.NP = value
		case "adkim":
			p.ADKIM = value
		case "aspf":
			p.ASPF = value
		case "t":
			p.Testing = value == "y"
		case "fo":
			p.FO = value
		case "from":
			r.From = value
		case "envelope":
			r.Envelope = value
		case "source":
			r.Source, _ = netip.ParseAddr(value)
		case "do":
			r.Do = value
		case "dkim":
			r.DKIM = value == "pass"
		case "spf":
			r.SPF = value == "pass"
		case "reason":
			kind, comment, _ := strings.Cut(value, ":")
			r.Reasons = append(r.Reasons, Reason{kind, comment})
		case "signed":
			if f := strings.Split(value, ":"); len(f) == 3 {
				r.Signed = append(r.Signed, Signed{f[0], f[1], f[2]})
			}
		case "sent":
			r.Sent.Domain, r.Sent.Result, _ = strings.Cut(value, ":")
		}
	}
	return r, p.Domain != "" && r.From != "" && r.Source.IsValid() && oneOf(p.P, policies) && (p.SP == "" || oneOf(p.SP, policies)) &&
		(p.NP == "" || oneOf(p.NP, policies)) && oneOf(r.Do, policies)
}

const policies = "none quarantine reject"

// oneOf reports whether word is one of a list.
func oneOf(word, list string) bool {
	for w := range strings.FieldsSeq(list) {
		if w == word {
			return true
		}
	}
	return false
}
