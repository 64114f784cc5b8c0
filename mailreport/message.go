package mailreport

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"mime/quotedprintable"
	"strings"
	"time"

	"pennypost/internal/part"
)

// Read reads the reports of a message, or a report as it is: XML, JSON, or a gzip or zip file of either. now dates what has no date.
func Read(r io.Reader, now time.Time) ([]*Report, error) {
	text, err := io.ReadAll(io.LimitReader(r, MaxMessage+1))
	switch {
	case err != nil:
		return nil, err
	case len(text) > MaxMessage:
		return nil, fmt.Errorf("more than %d octets", MaxMessage)
	}
	m := &message{text: text, now: now}
	if plain := bytes.TrimLeft(text, " \t\r\n\ufeff"); bytes.HasPrefix(plain, []byte("<")) || bytes.HasPrefix(plain, []byte("{")) ||
		bytes.HasPrefix(text, []byte{0x1f, 0x8b}) || bytes.HasPrefix(text, []byte("PK\x03\x04")) {
		err = m.aggregate(text)
		return m.found, err
	}
	s := part.NewScanner()
	s.Write(text)
	root := s.Done()
	m.head = root.Envelope
	m.walk(root, nil)
	if len(m.found) == 0 && len(m.errs) == 0 {
		return nil, ErrNone
	}
	return m.found, errors.Join(m.errs...)
}

// message is a message being read.
type message struct {
	text  []byte
	now   time.Time
	head  part.Fields
	found []*Report
	errs  []error
}

// walk looks at the parts, but not at those of messages that came along: these are what a report is about. about is the header of
// the one beside the part.
func (m *message) walk(p *part.Part, about part.Fields) {
	switch {
	case p.Multipart():
		for _, child := range p.Parts {
			if f := m.enclosed(child); f != nil {
				about = f
			}
		}
		for _, child := range p.Parts {
			m.walk(child, about)
		}
	case p.Is("message", "feedback-report"):
		m.add(p, func(text []byte) (*Report, error) { return readARF(text, m.head, about, m.now) })
	case p.Is("message", "delivery-status"), p.Is("message", "global-delivery-status"):
		m.add(p, func(text []byte) (*Report, error) { return readDSN(text, m.head, about, m.now) })
	case carries(p):
		text, err := m.body(p)
		if err == nil {
			err = m.aggregate(text)
		}
		if err != nil && !errors.Is(err, ErrNone) {
			m.errs = append(m.errs, err)
		}
	}
}

func (m *message) add(p *part.Part, read func([]byte) (*Report, error)) {
	text, err := m.body(p)
	if err == nil {
		var r *Report
		if r, err = read(text); err == nil {
			m.found = append(m.found, r)
		}
	}
	if err != nil {
		m.errs = append(m.errs, fmt.Errorf("%s/%s: %w", clean(p.Type), word(p.Subtype), err))
	}
}

// enclosed is the header of a message, or of its header alone, that came along; nil for other parts.
func (m *message) enclosed(p *part.Part) part.Fields {
	switch {
	case p.Message():
		return p.Parts[0].Envelope
	case p.Is("message", "rfc822"), p.Is("text", "rfc822-headers"), p.Is("message", "global-headers"), p.Is("message", "global"):
		text, err := m.body(p)
		if err != nil {
			return nil
		}
		s := part.NewScanner()
		s.Write(text)
		return s.Done().Envelope
	}
	return nil
}

// carries reports whether an aggregate report may be in a part. Reporters say all kinds of types; what it is its content decides.
func carries(p *part.Part) bool {
	switch kind := word(p.Type) + "/" + word(p.Subtype); kind {
	case "application/gzip", "application/x-gzip", "application/zip", "application/x-zip", "application/x-zip-compressed",
		"application/xml", "text/xml", "application/tlsrpt+gzip", "application/tlsrpt+json", "application/json", "application/x-gzip-compressed":
		return true
	}
	name := word(p.Param("name"))
	for _, d := range p.DispParams {
		if strings.EqualFold(d.Name, "filename") {
			name = word(d.Value)
		}
	}
	for _, end := range []string{".xml", ".json", ".gz", ".zip"} {
		if strings.HasSuffix(name, end) {
			return true
		}
	}
	return false
}

// body is a part's body without its transfer encoding.
func (m *message) body(p *part.Part) ([]byte, error) {
	text := m.text[p.Body:p.End]
	switch word(p.Encoding) {
	case "base64":
		clean := make([]byte, 0, len(text))
		for _, c := range text {
			if c > ' ' && c != '=' { // some wrap lines with odd blanks, and padding may be forgotten
				clean = append(clean, c)
			}
		}
		out := make([]byte, base64.RawStdEncoding.DecodedLen(len(clean)))
		n, err := base64.RawStdEncoding.Decode(out, clean)
		if err != nil {
			return nil, fmt.Errorf("base64: %w", err)
		}
		return out[:n], nil
	case "quoted-printable":
		out, err := io.ReadAll(quotedprintable.NewReader(bytes.NewReader(text)))
		if err != nil {
			return nil, fmt.Errorf("quoted-printable: %w", err)
		}
		return out, nil
	}
	return text, nil
}

// aggregate reads what may be a report of many messages.
func (m *message) aggregate(data []byte) error {
	return unpack(data, func(text []byte) (err error) {
		var r *Report
		text = bytes.TrimLeft(text, " \t\r\n\ufeff")
		switch {
		case bytes.HasPrefix(text, []byte("<")):
			r, err = readDMARC(text)
		case bytes.HasPrefix(text, []byte("{")):
			r, err = readTLS(text, m.head.Get("TLS-Report-Domain"))
		default:
			return ErrNone
		}
		if err == nil {
			m.found = append(m.found, r)
		}
		return err
	})
}
