package aggregate

import (
	"encoding/xml"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"pennypost/internal/dayfile"
)

// Feedback is the report on one day to one policy domain.
type Feedback struct {
	Policy Policy // the last one that was seen: a report has one (RFC 9990 section 3.1)
	Rows   []Count
	Missed bool // not all were counted: the day was full, or had more rows than a report may have

	text int // octets that the rows will have, about
}

// Count is a row, and how many messages were so.
type Count struct {
	Row
	N int64
}

// A report has at most so many different rows, and so much text: readers, ours too, refuse what is larger (S092). What is beyond is said to be missed.
const (
	maxRows = 50_000
	maxText = 9 << 20
)

// Collect reads a day: the report for each domain.
func Collect(day dayfile.Day) (map[string]*Feedback, error) {
	counts := map[string]map[string]int64{} // policy domain → words without the policy → how many
	all := map[string]*Feedback{}
	err := day.Lines(func(words string) {
		r, ok := parse(words)
		if !ok {
			return
		}
		f := all[r.Policy.Domain]
		if f == nil {
			f = &Feedback{Missed: day.Full}
			all[r.Policy.Domain], counts[r.Policy.Domain] = f, map[string]int64{}
		}
		f.Policy = r.Policy
		r.Policy = Policy{}
		key := string(r.words())
		known := counts[f.Policy.Domain]
		if _, ok := known[key]; !ok {
			if f.text += 600 + 2*len(key); len(known) >= maxRows || f.text > maxText {
				f.Missed = true
				return
			}
		}
		known[key]++
	})
	for domain, f := range all {
		for _, key := range slices.Sorted(maps.Keys(counts[domain])) { // the same day makes the same report
			r, _ := parse("policy=x p=none " + key)
			f.Rows = append(f.Rows, Count{r, counts[domain][key]})
		}
	}
	return all, err
}

// Meta is who reports, and on when.
type Meta struct {
	Organization, Email, Contact string
	ID                           string
	Begin, End                   time.Time // the first and the last second
	Generator                    string
}

// Namespace is that of RFC 9990; readers of RFC 7489's reports look at names only. With it no report is valid by RFC 7489's own schema, so nothing is
// gained by a pct, which that schema wants and RFC 9990's has no place for.
const Namespace = "urn:ietf:params:xml:ns:dmarc-2.0"

// The elements in the order of the schema (RFC 9990 appendix A), which is that of RFC 7489 appendix C where both have them.
type (
	xmlFeedback struct {
		XMLName xml.Name    `xml:"urn:ietf:params:xml:ns:dmarc-2.0 feedback"`
		Version string      `xml:"version"`
		Meta    xmlMeta     `xml:"report_metadata"`
		Policy  xmlPolicy   `xml:"policy_published"`
		Records []xmlRecord `xml:"record"`
	}
	xmlMeta struct {
		Organization string `xml:"org_name"`
		Email        string `xml:"email"`
		Contact      string `xml:"extra_contact_info,omitempty"`
		ID           string `xml:"report_id"`
		Begin        int64  `xml:"date_range>begin"`
		End          int64  `xml:"date_range>end"`
		Error        string `xml:"error,omitempty"`
		Generator    string `xml:"generator,omitempty"`
	}
	xmlPolicy struct {
		Domain    string `xml:"domain"`
		Discovery string `xml:"discovery_method"`
		P         string `xml:"p"`
		SP        string `xml:"sp,omitempty"`
		NP        string `xml:"np,omitempty"`
		FO        string `xml:"fo,omitempty"`
		ADKIM     string `xml:"adkim,omitempty"`
		ASPF      string `xml:"aspf,omitempty"`
		Testing   string `xml:"testing"`
	}
	xmlRecord struct {
		Source   string      `xml:"row>source_ip"`
		Count    int64       `xml:"row>count"`
		Do       string      `xml:"row>policy_evaluated>disposition"`
		DKIM     string      `xml:"row>policy_evaluated>dkim"`
		SPF      string      `xml:"row>policy_evaluated>spf"`
		Reasons  []xmlReason `xml:"row>policy_evaluated>reason"`
		From     string      `xml:"identifiers>header_from"`
		Envelope string      `xml:"identifiers>envelope_from"` // there where it is empty, too: the null sender
		Signed   []xmlSigned `xml:"auth_results>dkim"`
		Sent     xmlSent     `xml:"auth_results>spf"` // always: RFC 7489 wants it, and strict readers by it refuse the whole report without
	}
	xmlReason struct {
		Type    string `xml:"type"`
		Comment string `xml:"comment,omitempty"`
	}
	xmlSigned struct {
		Domain   string `xml:"domain"`
		Selector string `xml:"selector"`
		Result   string `xml:"result"`
	}
	xmlSent struct {
		Domain string `xml:"domain"`
		Scope  string `xml:"scope"`
		Result string `xml:"result"`
	}
)

// WriteXML writes the report.
func (f *Feedback) WriteXML(w io.Writer, m Meta) error {
	p := &f.Policy
	x := xmlFeedback{
		Version: "1.0",
		Meta:    xmlMeta{m.Organization, m.Email, m.Contact, m.ID, m.Begin.Unix(), m.End.Unix(), "", m.Generator},
		Policy:  xmlPolicy{p.Domain, "treewalk", p.P, p.SP, p.NP, p.FO, p.ADKIM, p.ASPF, "n"},
	}
	if p.Testing {
		x.Policy.Testing = "y"
	}
	if p.SP == "" {
		x.Policy.SP = p.P // its default; RFC 7489 wants it there
	}
	if f.Missed {
		x.Meta.Error = "there was more mail than is counted here"
	}
	for _, c := range f.Rows {
		x.Records = append(x.Records, c.element())
	}
	if _, err := io.WriteString(w, xml.Header); err != nil {
		return err
	}
	e := xml.NewEncoder(w)
	e.Indent("", " ")
	if err := e.Encode(x); err != nil {
		return fmt.Errorf("report to %s: %w", p.Domain, err)
	}
	_, err := io.WriteString(w, "\n")
	return err
}

func (c *Count) element() xmlRecord {
	r := xmlRecord{Source: c.Source.String(), Count: c.N, Do: c.Do, DKIM: passed(c.DKIM), SPF: passed(c.SPF), From: text(c.From), Envelope: text(c.Envelope),
		Sent: xmlSent{text(c.Sent.Domain), "mfrom", text(c.Sent.Result)}}
	for _, reason := range c.Reasons {
		if !oneOf(reason.Type, "local_policy mailing_list policy_test_mode trusted_forwarder") {
			reason.Type = "other"
		}
		r.Reasons = append(r.Reasons, xmlReason{reason.Type, text(reason.Comment)})
	}
	for _, s := range c.Signed {
		r.Signed = append(r.Signed, xmlSigned{text(s.Domain), text(s.Selector), text(s.Result)})
	}
	if r.Sent.Result == "" {
		r.Sent.Result = "none"
	}
	return r
}

// text is what XML may hold: strangers wrote it, and a control character would make the whole report unreadable.
func text(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r == 0xFFFE || r == 0xFFFF {
			return '?'
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
}
