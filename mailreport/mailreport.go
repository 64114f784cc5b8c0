/*
Package mailreport reads the reports others send about our mail, and says what they add up to: mailreport(1).

	DIR/dmarc/2026-11-25.tsv   who sent in our name: one line for each source in each report
	DIR/tls/2026-11-25.tsv     how TLS to us went: one line for each policy, and one for each way it failed
	DIR/arf/2026-11-25.tsv     complaints: one line for each
	DIR/dsn/2026-11-25.tsv     bounces: one line for each recipient
	DIR/lock                   held while files are written

A file has the reports that begin on its day (UTC), a head line with the names of its columns, and fields with tabs between;
an empty field is "-". What came from outside is escaped when it is written, so cut, awk and a terminal may have it.

The first column is a hash of the report. One that is there is not written again, so a Maildir may be read every day. A file is
written whole under a name with a dot in front and then renamed: a crash leaves the old file or the new one, and never half a report.

	message.go  finds reports in a message    unpack.go  gzip and zip, within bounds (S092)
	dmarc.go tls.go arf.go dsn.go             one kind each: its row, how it is read
	store.go    the files                     senders.go reach.go ready.go others.go  what is shown

A report is a claim by whoever sent it. Nothing here acts on one.
*/
package mailreport

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"pennypost/internal/escape"
)

// Bounds of what is read (S092).
const (
	MaxMessage = 25 << 20 // octets of a message
	MaxReport  = 10 << 20 // octets of a report when it is unpacked
	MaxRows    = 50_000   // of a report
	maxField   = 200      // octets kept of a value
	maxCount   = 1e12     // of messages or sessions in one row
)

var (
	// ErrNone says that a message has no report in it.
	ErrNone = errors.New("no report in it")

	errLarge = fmt.Errorf("more than %d octets", MaxReport)
	errRows  = fmt.Errorf("more than %d rows", MaxRows)
)

// Kinds are the names of the kinds of reports, which are the names of their directories.
var Kinds = []string{"dmarc", "tls", "arf", "dsn"}

// row is a line of a file: the columns of its kind, in order, the first of which is the report's hash.
type row interface{ columns() []column }

// column is one field: text, or a number.
type column struct {
	name string
	text *string
	num  *int64
}

// Report is what one report says.
type Report struct {
	Kind string
	Day  time.Time
	rows []row
}

// Rows is the number of its lines.
func (r *Report) Rows() int { return len(r.rows) }

// seal writes the hash of the report into its rows: of the id its sender gave it and of all they say, so that who borrows the id of
// another report hides nothing.
func (r *Report) seal(id string) *Report {
	h := sha256.New()
	h.Write([]byte(r.Kind + "\t" + id))
	for _, row := range r.rows {
		for _, c := range row.columns()[1:] {
			h.Write([]byte{'\t'})
			h.Write([]byte(c.value()))
		}
	}
	sum := hex.EncodeToString(h.Sum(nil)[:8])
	for _, row := range r.rows {
		*row.columns()[0].text = sum
	}
	return r
}

// value is the field as it is written.
func (c column) value() string {
	switch {
	case c.num != nil:
		return strconv.FormatInt(*c.num, 10)
	case *c.text == "":
		return "-"
	}
	return *c.text
}

// set reads a field.
func (c column) set(s string) (err error) {
	if c.num != nil {
		*c.num, err = strconv.ParseInt(s, 10, 64)
		return err
	}
	if s != "-" {
		*c.text = s
	}
	return nil
}

// clean makes a value from outside one that may be kept and shown.
func clean(s string) string {
	s = strings.TrimSpace(s)
	if len(s) > maxField {
		s = strings.ToValidUTF8(s[:maxField], "")
	}
	return escape.Terminal(s)
}

// domain is a value that is a domain: small letters, no dot at its end.
func domain(s string) string { return strings.TrimSuffix(strings.ToLower(clean(s)), ".") }

// word is a value that is a word of a list.
func word(s string) string { return strings.ToLower(clean(s)) }

// count reads a number of messages or sessions.
func count(s string) (int64, error) {
	n, err := strconv.ParseInt(strings.TrimSpace(s), 10, 64)
	if err != nil || n < 0 || n > maxCount {
		return 0, fmt.Errorf("%q is no count", clean(s))
	}
	return n, nil
}

// date checks that a day can be a name: reports begin in some year of ours.
func date(t time.Time) (time.Time, error) {
	if t = t.UTC(); t.Year() < 1970 || t.Year() > 2200 {
		return t, errors.New("it begins in no year of ours")
	}
	return t, nil
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }
