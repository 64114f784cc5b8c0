/*
Package send tells other domains, once a day, what we found of mail in their name (DMARC, RFC 9990) and how TLS with them went
(TLSRPT, RFC 8460), if they ask for it: mailreport send.

	STATE/reports/dmarc/2026-11-25   what smtpd found            read when the day is over, removed when all of it is told
	STATE/reports/tls/2026-11-25     what deliver-remote found   the same
	STATE/reports/sent/2026-11-25    one line for each report and address that was sent that day or never will be; synced line by line
	STATE/reports/sent/lock          held while reports are sent
	ETC/noreport                     domains that are told nothing, one a line; .example.org is all below it

	day file ─▶ one report a domain ─▶ whom? ─▶ gzip ─▶ sendmail, signed by deliver-remote
	                                   DNS now            or POST by HTTPS (TLSRPT)

What is to be sent follows from the day's file alone: the id of a report, its file name and the moment at which it is due are made from
domain and day. So who is interrupted begins again, and passes over what the sent file has. A crash between the hand-over and its line sends a report
twice, under one id and name, by which readers know it again.

A report that could not be sent is tried again at each run until it is two days old. No reports are sent about reports: mail that is one is not counted
(msgauth), and a TLS report that would count only the sessions of our own reports is none.

A domain says where its reports go, and strangers have domains: an address outside of the organization must have agreed (RFC 9990 section 4), and
a web server is reached as S041 wants: no other place than the one named, no address of our own networks, no more than 64 KiB of answer in 30 s.
Who has a thousand names has a thousand reports: no more go to one host in a run, nor ten times as many in all (S092).
*/
package send

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"pennypost/internal/address"
	"pennypost/internal/dayfile"
	"pennypost/internal/tlsrpt"
	"pennypost/msgauth/aggregate"
)

// Sender is one run.
type Sender struct {
	State        string // of mail.toml
	Host         string // our name: the submitter
	Organization string
	From         string // address
	Contact      string
	NoReport     string // file
	DMARC, TLS   bool
	Delay        time.Duration // reports are due within this time after midnight UTC
	Now          func() time.Time
	Wait         func(context.Context, time.Time) error // until a report is due; nil: all are due
	DryRun       bool                                   // only say what would be sent

	DNS       TXT
	Organizer func(ctx context.Context, domain string) (string, error) // organizational domain
	Mail      func(ctx context.Context, from, rcpt string, message []byte) error
	Post      func(ctx context.Context, url, mediaType string, body []byte) error

	sent  *sent
	off   []string
	given map[string]int // host → reports of this run
}

// TXT asks DNS; internal/dns.Resolver is one.
type TXT interface {
	TXT(ctx context.Context, name string) (texts []string, secure bool, err error)
}

// Outcome is what became of one report to one address.
type Outcome struct {
	Kind   string `json:"kind"` // dmarc or tls
	Day    string `json:"day"`
	Domain string `json:"domain"`
	ID     string `json:"id"`
	To     string `json:"to,omitempty"`
	State  string `json:"state"` // sent, would-send, later, never
	Text   string `json:"text,omitempty"`
	Rows   int    `json:"rows"`
	Bytes  int    `json:"bytes,omitempty"` // as it is sent
}

// The states of an outcome.
const (
	Sent      = "sent"
	WouldSend = "would-send"
	Later     = "later" // tried again at the next run
	Never     = "never" // and Text says why

	AsksForNone = "it asks for no reports" // a Text
)

// Bounds of a run.
const (
	maxReports = 10_000
	maxPerHost = 1_000
)

// keepDays is how long a report that cannot be sent is tried (RFC 8460 section 3: 24 hours).
const keepDays = 2

// report is one to be sent.
type report struct {
	kind   string
	domain string // whose it is
	day    time.Time
	id     string
	rows   int
	due    time.Time
	make   func(id string) ([]byte, error)
}

func (r *report) end() time.Time { return r.day.Add(24*time.Hour - time.Second) }

// Run sends what is to be sent, and calls say for each outcome. later: something is left for the next run.
func (s *Sender) Run(ctx context.Context, say func(Outcome)) (later bool, err error) {
	if s.off, err = readOff(s.NoReport); err != nil {
		return false, err
	}
	if s.sent, err = openSent(s.State, s.DryRun); err != nil {
		return false, err
	}
	defer s.sent.close()
	s.given = map[string]int{}
	days, reports, err := s.collect()
	if err != nil {
		return false, err
	}
	if more := len(reports) - maxReports; more > 0 { // those about much mail first
		slices.SortStableFunc(reports, func(a, b *report) int { return b.rows - a.rows })
		reports = reports[:maxReports]
		say(Outcome{State: Never, Text: fmt.Sprintf("%d reports more than the %d of a run", more, maxReports)})
	}
	slices.SortStableFunc(reports, func(a, b *report) int { return a.due.Compare(b.due) })
	left := map[string]bool{} // files with reports that are still to be sent
	for _, r := range reports {
		if s.Wait != nil && !s.DryRun {
			if err := s.Wait(ctx, r.due); err != nil {
				return true, err
			}
		}
		for _, o := range s.tell(ctx, r) {
			if o.State == Later {
				left[fileOf(s.State, r.kind, r.day)], later = true, true
			}
			say(o)
		}
	}
	if !s.DryRun {
		for _, d := range days {
			if !left[d.File] {
				err = errors.Join(err, remove(d.File))
			}
		}
		err = errors.Join(err, s.sent.sweep(s.Now()))
	}
	return later, err
}

func fileOf(state, kind string, day time.Time) string {
	dir := aggregate.Dir
	if kind == "tls" {
		dir = tlsrpt.Dir
	}
	return filepath.Join(state, dir, day.Format(time.DateOnly))
}

// collect reads the days that are over.
func (s *Sender) collect() (over []dayfile.Day, reports []*report, err error) {
	for _, kind := range []struct {
		name, dir string
		on        bool
		collect   func(dayfile.Day) ([]*report, error)
	}{{"dmarc", aggregate.Dir, s.DMARC, s.dmarc}, {"tls", tlsrpt.Dir, s.TLS, s.tls}} {
		days, err := dayfile.Days(filepath.Join(s.State, kind.dir))
		if err != nil {
			return nil, nil, err
		}
		for _, d := range days {
			if !d.Date.Before(s.Now().UTC().Truncate(24 * time.Hour)) {
				continue
			}
			over = append(over, d)
			if !kind.on || s.Now().Sub(d.Date) > (keepDays+1)*24*time.Hour {
				continue // removed untold
			}
			list, err := kind.collect(d)
			if err != nil {
				return nil, nil, err
			}
			reports = append(reports, list...)
		}
	}
	return over, reports, nil
}

// newReport names a report, and says when it is due: the same each time it is asked.
func (s *Sender) newReport(kind, domain string, day time.Time, rows int) *report {
	sum := sha256.Sum256([]byte(kind + " " + s.Host + " " + domain + " " + day.Format(time.DateOnly)))
	r := &report{kind: kind, domain: domain, day: day, rows: rows, id: hex.EncodeToString(sum[:12])}
	at := binary.BigEndian.Uint32(sum[12:])
	r.due = day.Add(24*time.Hour + time.Duration(float64(s.Delay)*float64(at)/(1<<32)))
	return r
}

func (s *Sender) dmarc(day dayfile.Day) (list []*report, err error) {
	all, err := aggregate.Collect(day)
	for _, domain := range slices.Sorted(maps.Keys(all)) {
		f := all[domain]
		r := s.newReport("dmarc", domain, day.Date, len(f.Rows))
		r.make = func(id string) ([]byte, error) {
			var b bytes.Buffer
			err := f.WriteXML(&b, aggregate.Meta{Organization: s.Organization, Email: s.From, Contact: s.Contact, ID: id, Begin: r.day, End: r.end(), Generator: "Pennypost"})
			return b.Bytes(), err
		}
		list = append(list, r)
	}
	return list, err
}

func (s *Sender) tls(day dayfile.Day) (list []*report, err error) {
	all, err := tlsrpt.Collect(day)
	for _, domain := range slices.Sorted(maps.Keys(all)) {
		t := all[domain]
		if t.Sessions() <= s.sent.mailed(day.Date, domain) {
			continue // it would tell of our own reports
		}
		r := s.newReport("tls", domain, day.Date, len(t.Policies))
		r.make = func(id string) ([]byte, error) {
			contact := s.Contact
			if contact == "" {
				contact = s.From
			}
			return t.JSON(domain, tlsrpt.Meta{Organization: s.Organization, Contact: contact, ID: id, Begin: r.day, End: r.end()})
		}
		list = append(list, r)
	}
	return list, err
}

// tell sends one report to all that are to have it.
func (s *Sender) tell(ctx context.Context, r *report) (list []Outcome) {
	outcome := func(to, state, text string, n int) {
		list = append(list, Outcome{r.kind, r.day.Format(time.DateOnly), r.domain, r.id, to, state, text, r.rows, n})
	}
	if s.isOff(r.domain) {
		outcome("", Never, "noreport has it", 0)
		return list
	}
	targets, err := s.targets(ctx, r)
	if err != nil {
		outcome("", Later, err.Error(), 0)
		return list
	}
	if len(targets) == 0 {
		outcome("", Never, AsksForNone, 0)
		return list
	}
	var packed []byte
	for _, t := range targets {
		switch {
		case s.sent.has(r, t.uri):
			continue
		case t.why == "" && s.isOff(t.host):
			t.why = "noreport has " + t.host
		}
		if t.why != "" {
			outcome(t.uri, Never, t.why, 0)
			continue
		}
		if packed == nil {
			if packed, err = r.pack(); err != nil {
				outcome(t.uri, Never, err.Error(), 0)
				return list
			}
		}
		state, text, n := s.give(ctx, r, t, packed)
		outcome(t.uri, state, text, n)
	}
	return list
}

// give hands a report over, and writes down that it did.
func (s *Sender) give(ctx context.Context, r *report, t target, packed []byte) (state, text string, n int) {
	var message []byte
	n = len(packed)
	if t.mail() {
		message = s.message(r, t, packed)
		n = len(message)
	}
	switch {
	case t.limit > 0 && int64(n) > t.limit:
		return Never, fmt.Sprintf("%d octets are more than the %d it takes", n, t.limit), n
	case s.given[t.host] >= maxPerHost:
		return Never, fmt.Sprintf("%s has had %d reports", t.host, maxPerHost), n
	case s.DryRun:
		return WouldSend, "", n
	}
	s.given[t.host]++
	var err error
	if t.mail() {
		err = s.Mail(ctx, s.From, t.address, message)
	} else {
		err = s.Post(ctx, t.uri, "application/tlsrpt+gzip", packed)
	}
	if err != nil {
		return Later, err.Error(), n
	}
	if err := s.sent.add(s.Now(), r, t); err != nil {
		return Sent, "sent, but not written down: " + err.Error(), n
	}
	return Sent, "", n
}

// pack makes the file and packs it.
func (r *report) pack() ([]byte, error) {
	text, err := r.make(r.id)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	z, _ := gzip.NewWriterLevel(&b, gzip.BestCompression)
	z.Write(text)
	err = z.Close()
	return b.Bytes(), err
}

// isOff reports whether noreport has the domain.
func (s *Sender) isOff(domain string) bool {
	for _, off := range s.off {
		if domain == off || strings.HasPrefix(off, ".") && strings.HasSuffix(domain, off) {
			return true
		}
	}
	return false
}

// ascii is a domain as DNS has it.
func ascii(domain string) (string, error) {
	p, err := address.Parse("x@" + domain)
	if err != nil {
		return "", err
	}
	name, err := p.DomainASCII()
	return strings.ToLower(name), err
}
