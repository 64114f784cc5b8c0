package mailreport

import (
	"bytes"
	"strings"
	"time"

	"pennypost/internal/part"
)

// maxFields bounds the fields of one block.
const maxFields = 1000

// blocks reads header fields in blocks with blank lines between (RFC 3464 section 2.1, RFC 5965 section 3), and calls each for
// every block that has some. What is no field is passed over.
func blocks(text []byte, each func(part.Fields) error) error {
	var f part.Fields
	for len(text) > 0 {
		var line []byte
		line, text, _ = bytes.Cut(text, []byte("\n"))
		line = bytes.TrimRight(line, "\r")
		switch {
		case len(bytes.TrimSpace(line)) == 0:
			if len(f) > 0 {
				if err := each(f); err != nil {
					return err
				}
			}
			f = nil
		case line[0] == ' ' || line[0] == '\t':
			if n := len(f); n > 0 && len(f[n-1].Value) < part.MaxLine {
				f[n-1].Value = append(append(f[n-1].Value, '\n'), line...)
			}
		default:
			if name, value, ok := bytes.Cut(line, []byte(":")); ok && len(f) < maxFields {
				f = append(f, part.Field{Name: string(bytes.TrimSpace(name)), Value: bytes.Clone(value)})
			}
		}
	}
	if len(f) > 0 {
		return each(f)
	}
	return nil
}

// typed is a value such as "rfc822; bob@example.org" without its type (RFC 3464 section 2.1.2).
func typed(s string) string {
	if _, value, ok := strings.Cut(s, ";"); ok {
		s = value
	}
	return bare(s)
}

// bare is an address without its brackets.
func bare(s string) string {
	s = strings.TrimSpace(s)
	if strings.HasPrefix(s, "<") {
		s = strings.TrimSuffix(s[1:], ">")
	}
	return clean(s)
}

// domainOf is the domain of the first address of a field.
func domainOf(value string) string {
	for _, a := range part.Addresses([]byte(value)) {
		if a.Host != "" {
			return domain(a.Host)
		}
	}
	return ""
}

var dates = []string{time.RFC1123Z, "2 Jan 2006 15:04:05 -0700", "Mon, 2 Jan 2006 15:04:05 -0700", "Mon, _2 Jan 2006 15:04:05 -0700",
	"Mon, 2 Jan 2006 15:04:05 MST", "2 Jan 2006 15:04:05 MST", "Mon, 2 Jan 2006 15:04 -0700"}

// mailDate reads a date of a header, tolerantly; fallback is what it is when it cannot be read.
func mailDate(value string, fallback time.Time) time.Time {
	if i := strings.IndexByte(value, '('); i > 0 {
		value = value[:i]
	}
	value = strings.Join(strings.Fields(value), " ")
	for _, form := range dates {
		if at, err := time.Parse(form, value); err == nil {
			if at, err = date(at); err == nil {
				return at
			}
		}
	}
	return fallback.UTC()
}
