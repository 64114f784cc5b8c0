package mailreport

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
)

// DMARC is a row of an aggregate report: RFC 9990, and RFC 7489 appendix C, which most still send.
type DMARC struct {
	Report      string `json:"report"`
	Begin       string `json:"begin"`
	End         string `json:"end"`
	Reporter    string `json:"reporter"`
	Domain      string `json:"domain"` // whose policy it was
	Policy      string `json:"policy"`
	Subpolicy   string `json:"subpolicy"`
	Testing     string `json:"testing"` // t=y of RFC 9989, or pct=N below 100 of RFC 7489; "" the policy holds for all
	Source      string `json:"source"`  // address it came from
	Count       int64  `json:"count"`
	Disposition string `json:"disposition"`
	DKIM        string `json:"dkim"` // aligned: pass or fail
	SPF         string `json:"spf"`
	Reason      string `json:"reason"` // why another disposition than the policy's
	From        string `json:"from"`   // domain in From
	Envelope    string `json:"envelope"`
	Signed      string `json:"signed"` // DOMAIN:SELECTOR:RESULT …
	Sent        string `json:"sent"`   // DOMAIN:SCOPE:RESULT …
}

func (d *DMARC) columns() []column {
	return []column{{"report", &d.Report, nil}, {"begin", &d.Begin, nil}, {"end", &d.End, nil}, {"reporter", &d.Reporter, nil},
		{"domain", &d.Domain, nil}, {"policy", &d.Policy, nil}, {"subpolicy", &d.Subpolicy, nil}, {"testing", &d.Testing, nil},
		{"source", &d.Source, nil}, {"count", nil, &d.Count}, {"disposition", &d.Disposition, nil}, {"dkim", &d.DKIM, nil},
		{"spf", &d.SPF, nil}, {"reason", &d.Reason, nil}, {"from", &d.From, nil}, {"envelope", &d.Envelope, nil},
		{"signed", &d.Signed, nil}, {"sent", &d.Sent, nil}}
}

// Passed reports whether the mail was ours by DMARC: one of the two aligned.
func (d *DMARC) Passed() bool { return d.DKIM == "pass" || d.SPF == "pass" }

// aggregate is a report being read: head has what all rows share, row what this one has.
type aggregate struct {
	head, row  DMARC
	begin, end time.Time
	id         string
	auth       [3]string // domain, selector or scope, result: of the signature or the SPF check being read
	rows       []row
}

// Bounds of the XML itself.
const (
	maxXMLDepth = 32
	maxAuth     = 8 // results kept of a row
)

// elements says what each element that counts does. Names are without namespace: RFC 9990 has one, RFC 7489 has none, and
// reporters write either. Those of another namespace than the report's own are extensions (RFC 9990), and stand here as "?".
var elements = map[string]func(*aggregate, string) error{
	"report_metadata/org_name":         func(a *aggregate, s string) error { a.head.Reporter = clean(s); return nil },
	"report_metadata/report_id":        func(a *aggregate, s string) error { a.id = clean(s); return nil },
	"report_metadata/date_range/begin": func(a *aggregate, s string) (err error) { a.begin, err = unixTime(s); return },
	"report_metadata/date_range/end":   func(a *aggregate, s string) (err error) { a.end, err = unixTime(s); return },
	"policy_published/domain":          func(a *aggregate, s string) error { a.head.Domain = domain(s); return nil },
	"policy_published/p":               func(a *aggregate, s string) error { a.head.Policy = word(s); return nil },
	"policy_published/sp":              func(a *aggregate, s string) error { a.head.Subpolicy = word(s); return nil },
	"policy_published/testing": func(a *aggregate, s string) error {
		if word(s) == "y" {
			a.head.Testing = "t=y"
		}
		return nil
	},
	"policy_published/pct": func(a *aggregate, s string) error {
		if s = word(s); s != "" && s != "100" {
			a.head.Testing = "pct=" + s
		}
		return nil
	},
	"record/row/source_ip":                    source,
	"record/row/count":                        func(a *aggregate, s string) (err error) { a.row.Count, err = count(s); return },
	"record/row/policy_evaluated/disposition": func(a *aggregate, s string) error { a.row.Disposition = word(s); return nil },
	"record/row/policy_evaluated/dkim":        func(a *aggregate, s string) error { a.row.DKIM = word(s); return nil },
	"record/row/policy_evaluated/spf":         func(a *aggregate, s string) error { a.row.SPF = word(s); return nil },
	"record/row/policy_evaluated/reason/type": func(a *aggregate, s string) error { a.row.Reason = word(s); return nil },
	"record/identifiers/header_from":          func(a *aggregate, s string) error { a.row.From = domain(s); return nil },
	"record/identifiers/envelope_from":        func(a *aggregate, s string) error { a.row.Envelope = domain(s); return nil },
	"record/identities/header_from":           func(a *aggregate, s string) error { a.row.From = domain(s); return nil }, // of old drafts
	"record/auth_results/dkim/domain":         auth(0),
	"record/auth_results/dkim/selector":       auth(1),
	"record/auth_results/dkim/result":         auth(2),
	"record/auth_results/spf/domain":          auth(0),
	"record/auth_results/spf/scope":           auth(1),
	"record/auth_results/spf/result":          auth(2),
	"record/auth_results/dkim":                func(a *aggregate, _ string) error { a.endAuth(&a.row.Signed); return nil },
	"record/auth_results/spf":                 func(a *aggregate, _ string) error { a.endAuth(&a.row.Sent); return nil },
	"record":                                  (*aggregate).endRecord,
}

func auth(i int) func(*aggregate, string) error {
	return func(a *aggregate, s string) error { a.auth[i] = strings.ReplaceAll(word(s), " ", "_"); return nil }
}

func source(a *aggregate, s string) error {
	ip, err := netip.ParseAddr(strings.TrimSpace(s))
	if err != nil {
		return fmt.Errorf("source_ip %q is no address", clean(s))
	}
	a.row.Source = ip.Unmap().WithZone("").String()
	return nil
}

func unixTime(s string) (time.Time, error) {
	s, _, _ = strings.Cut(strings.TrimSpace(s), ".") // some write seconds with a fraction
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		return time.Time{}, fmt.Errorf("date_range %q is no time", clean(s))
	}
	return date(time.Unix(n, 0))
}

func (a *aggregate) endAuth(to *string) {
	if a.auth[0] != "" && strings.Count(*to, " ") < maxAuth-1 {
		*to = strings.TrimPrefix(*to+" "+strings.Join(a.auth[:], ":"), " ")
	}
	a.auth = [3]string{}
}

func (a *aggregate) endRecord(string) error {
	if len(a.rows) >= MaxRows {
		return errRows
	}
	if a.row.Source == "" {
		return errors.New("a record without source_ip")
	}
	r := a.row
	a.rows, a.row = append(a.rows, &r), DMARC{}
	return nil
}

// readDMARC reads an aggregate report. There are no entities but XML's own five, and a document that declares some is refused (S092).
func readDMARC(text []byte) (*Report, error) {
	d := xml.NewDecoder(bytes.NewReader(text))
	d.Strict = false // a bare & in the name of an organization is no reason not to read it
	d.CharsetReader = charset
	a := &aggregate{}
	if err := a.read(d); err != nil {
		return nil, err
	}
	switch {
	case a.begin.IsZero():
		return nil, errors.New("no date_range in it")
	case a.head.Domain == "":
		return nil, errors.New("no domain in policy_published")
	case len(a.rows) == 0:
		return nil, errors.New("no record in it")
	}
	for _, r := range a.rows {
		r := r.(*DMARC)
		r.Begin, r.End, r.Reporter, r.Domain = stamp(a.begin), stamp(a.end), a.head.Reporter, a.head.Domain
		r.Policy, r.Subpolicy, r.Testing = a.head.Policy, a.head.Subpolicy, a.head.Testing
	}
	return (&Report{Kind: "dmarc", Day: a.begin, rows: a.rows}).seal(a.id), nil
}

// read goes through the elements, keeping the path of names to where it is.
func (a *aggregate) read(d *xml.Decoder) error {
	var path []string
	var text []byte
	var own string // namespace
	for {
		token, err := d.Token()
		if err == io.EOF && len(path) == 0 {
			return nil
		}
		if err != nil {
			return fmt.Errorf("XML: %w", err)
		}
		switch t := token.(type) {
		case xml.Directive:
			return errors.New("XML: a document type is declared, and no report needs one")
		case xml.StartElement:
			if len(path) == 0 && t.Name.Local != "feedback" {
				return ErrNone
			}
			if len(path) == 0 {
				own = t.Name.Space
			}
			name := t.Name.Local
			if t.Name.Space != own && t.Name.Space != "" {
				name = "?"
			}
			if path = append(path, name); len(path) > maxXMLDepth {
				return fmt.Errorf("XML: more than %d elements deep", maxXMLDepth)
			}
			text = text[:0]
		case xml.CharData:
			if room := 4*maxField - len(text); room > 0 {
				text = append(text, t[:min(room, len(t))]...)
			}
		case xml.EndElement:
			if len(path) == 0 {
				return errors.New("XML: an element ends that did not begin")
			}
			if do := elements[strings.Join(path[1:], "/")]; do != nil {
				if err := do(a, string(text)); err != nil {
					return fmt.Errorf("record %d: %w", len(a.rows)+1, err)
				}
			}
			path, text = path[:len(path)-1], text[:0]
		}
	}
}

// charset reads what some reporters still write instead of UTF-8. Names of domains are ASCII in all of them.
func charset(name string, r io.Reader) (io.Reader, error) {
	if slices.Contains([]string{"us-ascii", "ascii", "utf8"}, strings.ToLower(name)) {
		return r, nil
	}
	if !slices.Contains([]string{"iso-8859-1", "iso-8859-15", "latin1", "windows-1252"}, strings.ToLower(name)) {
		return nil, fmt.Errorf("character set %q", clean(name))
	}
	text, err := inflate(r, MaxReport)
	if err != nil {
		return nil, err
	}
	var b strings.Builder
	for _, c := range text {
		b.WriteRune(rune(c))
	}
	return strings.NewReader(b.String()), nil
}
