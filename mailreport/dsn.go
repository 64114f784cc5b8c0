package mailreport

import (
	"errors"
	"strings"
	"time"

	"pennypost/internal/part"
)

// DSN is one recipient of a delivery status notification (RFC 3464).
type DSN struct {
	Report     string `json:"report"`
	Date       string `json:"date"`
	Reporter   string `json:"reporter"` // reporting MTA
	To         string `json:"to"`
	Original   string `json:"original"` // as it was written, where it was forwarded since
	Action     string `json:"action"`   // failed, delayed, delivered, relayed, expanded
	Status     string `json:"status"`
	Host       string `json:"host"` // remote MTA
	Diagnostic string `json:"diagnostic"`
	Envelope   string `json:"envelope"` // ENVID
	MessageID  string `json:"message_id"`
}

func (d *DSN) columns() []column {
	return []column{{"report", &d.Report, nil}, {"date", &d.Date, nil}, {"reporter", &d.Reporter, nil}, {"to", &d.To, nil},
		{"original", &d.Original, nil}, {"action", &d.Action, nil}, {"status", &d.Status, nil}, {"host", &d.Host, nil},
		{"diagnostic", &d.Diagnostic, nil}, {"envelope", &d.Envelope, nil}, {"message-id", &d.MessageID, nil}}
}

// readDSN reads the blocks of a delivery status: the first is about the message, each of the others about a recipient.
func readDSN(text []byte, head, about part.Fields, now time.Time) (*Report, error) {
	var all DSN
	var rows []row
	at := mailDate(head.Get("Date"), now)
	first := true
	err := blocks(text, func(f part.Fields) error {
		recipient := f.Has("Final-Recipient") || f.Has("Original-Recipient") || f.Has("Action")
		if first || !recipient { // some write one block, others several about the message
			if first = false; f.Has("Reporting-MTA") {
				all.Reporter = typed(f.Get("Reporting-MTA"))
			}
			if f.Has("Original-Envelope-Id") {
				all.Envelope = clean(f.Get("Original-Envelope-Id"))
			}
		}
		if !recipient {
			return nil
		}
		if len(rows) >= MaxRows {
			return errRows
		}
		rows = append(rows, recipientRow(f))
		return nil
	})
	switch {
	case err != nil:
		return nil, err
	case len(rows) == 0:
		return nil, errors.New("no recipient in it")
	}
	for _, r := range rows {
		r := r.(*DSN)
		r.Date, r.Reporter, r.Envelope, r.MessageID = stamp(at), all.Reporter, all.Envelope, bare(about.Get("Message-ID"))
	}
	return (&Report{Kind: "dsn", Day: at, rows: rows}).seal(clean(head.Get("Message-ID"))), nil
}

func recipientRow(f part.Fields) *DSN {
	d := &DSN{To: typed(f.Get("Final-Recipient")), Original: typed(f.Get("Original-Recipient")), Host: typed(f.Get("Remote-MTA")),
		Diagnostic: diagnostic(f.Get("Diagnostic-Code"))}
	if d.To == "" {
		d.To, d.Original = d.Original, ""
	}
	d.Action, _, _ = strings.Cut(word(f.Get("Action")), " ")
	d.Status, _, _ = strings.Cut(clean(f.Get("Status")), " ") // "5.1.1 (unknown user)"
	return d
}

// diagnostic is "smtp; 550 no" without its type.
func diagnostic(s string) string {
	if kind, rest, ok := strings.Cut(s, ";"); ok && !strings.ContainsAny(strings.TrimSpace(kind), " \t") {
		s = rest
	}
	return clean(strings.Join(strings.Fields(s), " ")) // it was folded
}
