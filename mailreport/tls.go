package mailreport

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
)

// TLS is a row of a TLS report (RFC 8460): the totals of one policy, or one way in which TLS failed.
type TLS struct {
	Report    string `json:"report"`
	Begin     string `json:"begin"`
	End       string `json:"end"`
	Reporter  string `json:"reporter"`
	Domain    string `json:"domain"`
	Policy    string `json:"policy"` // sts, tlsa, no-policy-found
	Mode      string `json:"mode"`   // of sts: testing, enforce, none
	Successes int64  `json:"successes"`
	Failures  int64  `json:"failures"`
	Result    string `json:"result"` // "" in the row of totals
	Count     int64  `json:"count"`  // sessions that failed so
	MX        string `json:"mx"`
	From      string `json:"from"` // address of the sender
	To        string `json:"to"`   // ours
	Reason    string `json:"reason"`
}

func (t *TLS) columns() []column {
	return []column{{"report", &t.Report, nil}, {"begin", &t.Begin, nil}, {"end", &t.End, nil}, {"reporter", &t.Reporter, nil},
		{"domain", &t.Domain, nil}, {"policy", &t.Policy, nil}, {"mode", &t.Mode, nil}, {"successes", nil, &t.Successes},
		{"failures", nil, &t.Failures}, {"result", &t.Result, nil}, {"count", nil, &t.Count}, {"mx", &t.MX, nil},
		{"from", &t.From, nil}, {"to", &t.To, nil}, {"reason", &t.Reason, nil}}
}

// tlsReport is a report being read. It is read piece by piece, so that ten megabytes of empty objects are refused at their
// 50,000th and not kept (S092).
type tlsReport struct {
	*json.Decoder
	id, reporter string
	begin, end   time.Time
	rows         []row
}

// readTLS reads a TLS report. fallback is the domain it is about, for reporters that leave policy-domain out.
func readTLS(text []byte, fallback string) (*Report, error) {
	t := &tlsReport{Decoder: json.NewDecoder(bytes.NewReader(text))}
	t.UseNumber()
	known := false
	err := t.object(func(key string) error {
		switch key {
		case "organization-name":
			return t.text(&t.reporter)
		case "report-id":
			return t.text(&t.id)
		case "date-range":
			return t.object(t.dateRange)
		case "policies":
			known = true
			return t.array(func() error { return t.policy(domain(fallback)) })
		}
		return t.skip(0)
	})
	switch {
	case err == nil && !known:
		return nil, ErrNone
	case err != nil:
		return nil, fmt.Errorf("JSON: %w", err)
	case t.begin.IsZero():
		return nil, errors.New("no date-range in it")
	case len(t.rows) == 0:
		return nil, errors.New("no policy in it")
	}
	for _, r := range t.rows {
		r := r.(*TLS)
		r.Begin, r.End, r.Reporter = stamp(t.begin), stamp(t.end), clean(t.reporter)
	}
	return (&Report{Kind: "tls", Day: t.begin, rows: t.rows}).seal(clean(t.id)), nil
}

func (t *tlsReport) dateRange(key string) (err error) {
	var s string
	switch key {
	case "start-datetime":
		if err = t.text(&s); err == nil {
			t.begin, err = dateTime(s)
		}
	case "end-datetime":
		if err = t.text(&s); err == nil {
			t.end, err = dateTime(s)
		}
	default:
		err = t.skip(0)
	}
	return err
}

func dateTime(s string) (time.Time, error) {
	at, err := time.Parse(time.RFC3339, strings.TrimSpace(s))
	if err != nil {
		return at, fmt.Errorf("date-range %q is no time", clean(s))
	}
	return date(at)
}

// policy reads one element of policies: its totals come first among its rows.
func (t *tlsReport) policy(fallback string) error {
	total := &TLS{}
	first := len(t.rows)
	if err := t.add(total); err != nil {
		return err
	}
	err := t.object(func(key string) error {
		switch key {
		case "policy":
			return t.object(func(key string) error { return t.policyField(total, key) })
		case "summary":
			return t.object(func(key string) error {
				switch key {
				case "total-successful-session-count":
					return t.number(&total.Successes)
				case "total-failure-session-count":
					return t.number(&total.Failures)
				}
				return t.skip(0)
			})
		case "failure-details":
			return t.array(t.detail)
		}
		return t.skip(0)
	})
	if total.Domain == "" {
		total.Domain = fallback
	}
	for _, r := range t.rows[first:] {
		r := r.(*TLS)
		r.Domain, r.Policy, r.Mode = total.Domain, total.Policy, total.Mode
	}
	return err
}

func (t *tlsReport) policyField(total *TLS, key string) (err error) {
	var s string
	switch key {
	case "policy-type":
		err = t.text(&s)
		total.Policy = word(s)
	case "policy-domain":
		err = t.text(&s)
		total.Domain = domain(s)
	case "policy-string":
		return t.texts(func(line string) {
			for line := range strings.Lines(line) { // some write all lines as one
				if name, value, _ := strings.Cut(line, ":"); word(name) == "mode" {
					total.Mode = word(value)
				}
			}
		})
	default:
		err = t.skip(0)
	}
	return err
}

func (t *tlsReport) detail() error {
	r := &TLS{}
	if err := t.add(r); err != nil {
		return err
	}
	return t.object(func(key string) (err error) {
		to, ok := map[string]*string{"result-type": &r.Result, "receiving-mx-hostname": &r.MX, "sending-mta-ip": &r.From,
			"receiving-ip": &r.To, "failure-reason-code": &r.Reason}[key]
		switch {
		case key == "failed-session-count":
			err = t.number(&r.Count)
		case ok:
			err = t.text(to)
			*to = clean(*to)
		default:
			err = t.skip(0)
		}
		if key == "result-type" && r.Result == "" {
			r.Result = "unknown" // the empty one is for totals
		}
		return err
	})
}

func (t *tlsReport) add(r *TLS) error {
	if len(t.rows) >= MaxRows {
		return errRows
	}
	t.rows = append(t.rows, r)
	return nil
}

// object reads an object; each reads the value of one key. A null is an empty one.
func (t *tlsReport) object(each func(key string) error) error {
	return t.inside('{', func() error {
		key, err := t.Token()
		if err != nil {
			return err
		}
		name, _ := key.(string)
		if err := each(name); err != nil {
			return fmt.Errorf("%s: %w", clean(name), err)
		}
		return nil
	})
}

// array reads an array; each reads one element.
func (t *tlsReport) array(each func() error) error { return t.inside('[', each) }

func (t *tlsReport) inside(open json.Delim, each func() error) error {
	token, err := t.Token()
	if err != nil || token == nil {
		return end(err)
	}
	if token != open {
		return fmt.Errorf("%q where %q should be", clean(fmt.Sprint(token)), open.String())
	}
	for t.More() {
		if err := each(); err != nil {
			return end(err)
		}
	}
	_, err = t.Token()
	return end(err)
}

// end says that a text stops in the middle: the decoder says EOF.
func end(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

func (t *tlsReport) text(to *string) error {
	token, err := t.Token()
	if err != nil || token == nil {
		return end(err)
	}
	s, ok := token.(string)
	if !ok {
		return fmt.Errorf("%q is no text", clean(fmt.Sprint(token)))
	}
	*to = s
	return nil
}

// texts reads a text, or an array of them.
func (t *tlsReport) texts(each func(string)) error {
	token, err := t.Token()
	if s, ok := token.(string); ok {
		each(s)
		return nil
	}
	if err != nil || token == nil {
		return end(err)
	}
	if token != json.Delim('[') {
		return fmt.Errorf("%q is no text", clean(fmt.Sprint(token)))
	}
	for t.More() {
		var s string
		if err := t.text(&s); err != nil {
			return err
		}
		each(s)
	}
	_, err = t.Token()
	return end(err)
}

func (t *tlsReport) number(to *int64) error {
	token, err := t.Token()
	if err != nil || token == nil {
		return end(err)
	}
	*to, err = count(fmt.Sprint(token)) // a number in quotes is one, too
	return err
}

// maxJSONDepth bounds what is skipped.
const maxJSONDepth = 32

// skip reads a value nobody asked for.
func (t *tlsReport) skip(depth int) error {
	token, err := t.Token()
	if err != nil {
		return end(err)
	}
	if _, ok := token.(json.Delim); !ok {
		return nil
	}
	if depth >= maxJSONDepth {
		return fmt.Errorf("more than %d values deep", maxJSONDepth)
	}
	for t.More() {
		if token == json.Delim('{') {
			if _, err := t.Token(); err != nil {
				return end(err)
			}
		}
		if err := t.skip(depth + 1); err != nil {
			return err
		}
	}
	_, err = t.Token()
	return end(err)
}
