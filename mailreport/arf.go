package mailreport

import (
	"errors"
	"strconv"
	"strings"
	"time"

	"pennypost/internal/part"
)

// ARF is a complaint: a feedback report (RFC 5965, RFC 6591), about one message or several alike.
type ARF struct {
	Report    string `json:"report"`
	Date      string `json:"date"`
	Reporter  string `json:"reporter"` // domain in From
	Type      string `json:"type"`     // abuse, fraud, auth-failure, not-spam …
	Count     int64  `json:"count"`
	Domain    string `json:"domain"` // reported
	Source    string `json:"source"`
	From      string `json:"from"` // reverse-path
	To        string `json:"to"`
	Failure   string `json:"failure"` // of auth-failure: dkim, spf, dmarc …
	Feedback  string `json:"feedback"`
	List      string `json:"list"`
	MessageID string `json:"message_id"`
	Agent     string `json:"agent"`
}

func (a *ARF) columns() []column {
	return []column{{"report", &a.Report, nil}, {"date", &a.Date, nil}, {"reporter", &a.Reporter, nil}, {"type", &a.Type, nil},
		{"count", nil, &a.Count}, {"domain", &a.Domain, nil}, {"source", &a.Source, nil}, {"from", &a.From, nil}, {"to", &a.To, nil},
		{"failure", &a.Failure, nil}, {"feedback", &a.Feedback, nil}, {"list", &a.List, nil}, {"message-id", &a.MessageID, nil},
		{"agent", &a.Agent, nil}}
}

// readARF reads a feedback report; about is the header of the message it is about, nil where it did not come along.
func readARF(text []byte, head, about part.Fields, now time.Time) (*Report, error) {
	var f part.Fields
	err := blocks(text, func(b part.Fields) error { f = append(f, b...); return nil }) // one block, by the RFC; some have a blank line in it
	if err != nil {
		return nil, err
	}
	a := &ARF{Type: word(f.Get("Feedback-Type")), Count: 1, Agent: clean(f.Get("User-Agent")), Reporter: domainOf(head.Get("From"))}
	if a.Type == "" {
		return nil, errors.New("no Feedback-Type in it")
	}
	if n, err := strconv.ParseInt(strings.TrimSpace(f.Get("Incidents")), 10, 64); err == nil && n > 0 && n <= maxCount {
		a.Count = n
	}
	a.Domain = domain(f.Get("Reported-Domain"))
	if a.Domain == "" {
		a.Domain = domainOf(about.Get("From"))
	}
	a.Source, a.Failure = clean(f.Get("Source-IP")), word(f.Get("Auth-Failure"))
	a.From, a.To = bare(f.Get("Original-Mail-From")), typed(f.Get("Original-Rcpt-To"))
	a.Feedback, a.List, a.MessageID = clean(about.Get("Feedback-ID")), clean(about.Get("List-ID")), bare(about.Get("Message-ID"))
	when := f.Get("Arrival-Date")
	if when == "" {
		when = f.Get("Received-Date") // of the drafts
	}
	at := mailDate(when, mailDate(head.Get("Date"), now))
	a.Date = stamp(at)
	return (&Report{Kind: "arf", Day: at, rows: []row{a}}).seal(clean(head.Get("Message-ID"))), nil
}
