/*
Package header is what a mail program needs to know of a message's header while its octets pass: how often it was received,
where it was delivered before, whether Date, Message-ID and From are there, and whether it keeps within bounds.

It reads text with LF line ends, in pieces of any size, in time linear in its length, and keeps no more of it than one
line and the fields it was asked for.
*/
package header

import (
	"bytes"
	"errors"
	"io"
)

// Bounds of a header (S085).
const (
	MaxField  = 64 << 10 // octets of one field with its continuation lines
	MaxHeader = 1 << 20  // octets of all of them
	MaxFields = 2000
	maxLoops  = 100 // Delivered-To lines that are kept
)

// ErrTooBig is a header beyond the bounds; what passes is then no longer looked at.
var ErrTooBig = errors.New("header too large")

// Facts is what a header says of itself.
type Facts struct {
	Fields      int
	Size        int64    // octets, with the blank line
	Received    int      // Received lines
	Date        int      // Date fields
	MessageID   int      // Message-ID fields
	From        int      // From fields
	Sender      int      // Sender fields
	FromText    []byte   // value of the first From field, unfolded; only with Filter.Keep
	SenderText  []byte   // the same of Sender
	DeliveredTo []string // values of Delivered-To fields
	Err         error    // ErrTooBig
	Done        bool     // the header is over
}

// Filter passes a message on to Out and learns the facts of its header. The fields it is told to are left out, and
// those Missing returns are added at the end of the header. Of a message without a header, whose first line is no field, the
// header is empty: a blank line is put before the body, so that fields written before it never touch it (S012).
type Filter struct {
	Out     io.Writer
	Drop    Names               // fields left out
	Keep    bool                // keep FromText and SenderText
	Missing func(*Facts) []byte // fields to add, whole lines; may be nil

	Facts
	part  []byte // start of a line whose end has not come
	field int    // octets of the current field
	is    Name   // which field the current line belongs to
}

// Name is a field this package knows.
type Name uint16

// Names is a set of them.
type Names = Name

const (
	Received Name = 1 << iota
	DeliveredTo
	ReturnPath
	Date
	MessageID
	From
	Sender
	Bcc
	ResentBcc
	Checks
	mbox // a "From " line before the header, left over from an mbox
)

// names by length, then by letters: a field costs one comparison or none.
var names = []struct {
	text string
	name Name
}{
	{"received", Received}, {"delivered-to", DeliveredTo}, {"return-path", ReturnPath}, {"date", Date}, {"message-id", MessageID},
	{"from", From}, {"sender", Sender}, {"bcc", Bcc}, {"resent-bcc", ResentBcc}, {"x-pennypost-checks", Checks},
}

// Reset makes the filter ready for another message to out, and keeps its buffers.
func (f *Filter) Reset(out io.Writer) {
	*f = Filter{Out: out, part: f.part[:0], Facts: Facts{FromText: f.FromText[:0], SenderText: f.SenderText[:0]}}
}

// Write passes p on. The error is that of Out.
func (f *Filter) Write(p []byte) (int, error) {
	if f.Done {
		return f.Out.Write(p)
	}
	all := len(p)
	for len(f.part) > 0 && len(p) > 0 && !f.Done { // the line that began earlier
		i := bytes.IndexByte(p, '\n')
		f.part = append(f.part, p[:i+1]...)
		if i < 0 {
			f.part = append(f.part, p...)
			if len(f.part) > MaxField {
				f.end(ErrTooBig)
				err := f.release()
				return all, err
			}
			return all, nil
		}
		p = p[i+1:]
		line := f.part
		f.part = f.part[:0]
		if err := f.lines(line); err != nil {
			return 0, err
		}
	}
	if f.Done {
		return all, f.write(p)
	}
	return all, f.lines(p)
}

// release writes the held start of a line as it is.
func (f *Filter) release() error {
	line := f.part
	f.part = f.part[:0]
	if len(line) == 0 {
		return nil
	}
	_, err := f.Out.Write(line)
	return err
}

// lines passes on the lines of p, in as few writes as can be, and holds the last one back if it is not whole.
func (f *Filter) lines(p []byte) error {
	start := 0 // of what is to be written
	for at := 0; at < len(p); {
		i := bytes.IndexByte(p[at:], '\n')
		if i < 0 {
			f.part = append(f.part[:0], p[at:]...)
			p = p[:at]
			if len(f.part) > MaxField {
				f.end(ErrTooBig)
			}
			break
		}
		line := p[at : at+i]
		was := f.Fields
		keep := f.line(line)
		if f.Done { // line is the blank one, or the first of a body without a header
			if err := f.write(p[start:at]); err != nil {
				return err
			}
			if f.Err == nil {
				if err := f.finish(was == 0 && len(line) > 0); err != nil {
					return err
				}
			}
			return f.write(p[at:])
		}
		at += i + 1
		if !keep {
			if err := f.write(p[start : at-i-1]); err != nil {
				return err
			}
			start = at
		}
	}
	err := f.write(p[start:])
	if err == nil && f.Done {
		err = f.release()
	}
	return err
}

func (f *Filter) write(p []byte) error {
	if len(p) == 0 {
		return nil
	}
	_, err := f.Out.Write(p)
	return err
}

// finish adds what is missing when the header is over; bare: no blank line follows.
func (f *Filter) finish(bare bool) error {
	if f.Missing != nil {
		if err := f.write(f.Missing(&f.Facts)); err != nil {
			return err
		}
	}
	if bare {
		return f.write([]byte{'\n'})
	}
	return nil
}

// Close ends a message: what is held back is written, and what is missing is added if it was all header.
func (f *Filter) Close() error {
	if f.Done {
		return nil
	}
	if len(f.part) > 0 { // a last line without an end
		line := append(f.part, '\n')
		f.part = f.part[:0]
		if err := f.lines(line); err != nil {
			return err
		}
		if f.Done {
			return nil
		}
	}
	f.Done = true
	return f.finish(false)
}

// end stops looking.
func (f *Filter) end(err error) { f.Done, f.Err = true, err }

// line takes a line of the header into account and reports whether it passes.
func (f *Filter) line(line []byte) (keep bool) {
	f.Size += int64(len(line)) + 1
	if f.Size > MaxHeader {
		f.end(ErrTooBig)
		return true
	}
	switch {
	case len(line) == 0:
		f.Done = true
		return true
	case line[0] == ' ' || line[0] == '\t':
		if f.Fields == 0 && f.is != mbox {
			f.Done = true // a continuation of nothing: no header
			return true
		}
		f.field += len(line) + 1
		f.more(line)
	case f.Fields == 0 && f.is == 0 && (bytes.HasPrefix(line, []byte("From ")) || bytes.HasPrefix(line, []byte(">From "))):
		f.is = mbox
		return false
	default:
		n := fieldName(line)
		if n == 0 {
			if f.Fields == 0 {
				f.Done = true
				return true
			}
			f.is = 0 // an odd line among fields passes, and counts
			n = 0
		}
		f.Fields++
		f.field = len(line) + 1
		f.begin(line, n)
	}
	if f.field > MaxField || f.Fields > MaxFields {
		f.end(ErrTooBig)
		return true
	}
	return f.is&f.Drop == 0 && f.is != mbox
}

// fieldName is the length of the field name at the beginning of a line, 0 when there is none (RFC 5322 section 3.6.8).
func fieldName(line []byte) int {
	for i, c := range line {
		if c == ':' {
			return i
		}
		if c <= ' ' || c == 0x7f {
			// White space before the colon is obsolete syntax (section 4.5) and still read.
			if rest := bytes.TrimLeft(line[i:], " \t"); len(rest) > 0 && rest[0] == ':' {
				return i
			}
			return 0
		}
	}
	return 0
}

// begin notes which field a line begins, and what it says.
func (f *Filter) begin(line []byte, n int) {
	f.is = lookup(line[:n])
	switch f.is {
	case Received:
		f.Received++
	case Date:
		f.Date++
	case MessageID:
		f.MessageID++
	case Sender:
		f.Sender++
		f.more(value(line))
	case From:
		f.From++
		f.more(value(line))
	case DeliveredTo:
		if len(f.DeliveredTo) < maxLoops {
			f.DeliveredTo = append(f.DeliveredTo, string(bytes.TrimSpace(value(line))))
		}
	}
}

// more keeps a line of the first From or Sender field.
func (f *Filter) more(text []byte) {
	switch {
	case !f.Keep:
	case f.is == From && f.From == 1:
		f.FromText = append(f.FromText, text...)
	case f.is == Sender && f.Sender == 1:
		f.SenderText = append(f.SenderText, text...)
	}
}

func value(line []byte) []byte { return line[bytes.IndexByte(line, ':')+1:] }

func lookup(name []byte) Name {
	for i := range names {
		if n := &names[i]; len(n.text) == len(name) && equalFold(name, n.text) {
			return n.name
		}
	}
	return 0
}

// equalFold compares letters of ASCII; lower is in lower case.
func equalFold(name []byte, lower string) bool {
	for i, c := range name {
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		if c != lower[i] {
			return false
		}
	}
	return true
}
