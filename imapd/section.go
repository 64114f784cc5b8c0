package imapd

import (
	"bytes"
	"io"
	"slices"
	"strconv"
	"strings"

	"pennypost/internal/part"
	"pennypost/maildir/mailbox"
)

// span is a stretch of a message's file: offsets there, and its octets on the wire.
type span struct {
	from, to int64
	wire     int64
}

// section writes BODY[…] (RFC 9051 section 6.4.5).
func (m *fetched) section(it *item) error {
	if strings.HasPrefix(it.what, "HEADER.FIELDS") {
		return m.headerFields(it)
	}
	at, ok, err := m.span(it)
	if err != nil {
		return err
	}
	s := m.s
	s.out = append(append(s.out, it.label...), ' ')
	if !ok {
		s.out = append(s.out, "NIL"...)
		return nil
	}
	if at.from == at.to {
		s.out = append(s.out, `""`...)
		return nil
	}
	file, err := m.message()
	if err != nil {
		return err
	}
	return s.sendSpan(file, at, it)
}

// span finds the section in the message's file; ok is false when the message has no such part.
func (m *fetched) span(it *item) (at span, ok bool, err error) {
	if len(it.path) == 0 && it.what == "" {
		file, err := m.message()
		if err != nil {
			return at, false, err
		}
		return span{0, file.Size, file.Wire}, true, nil
	}
	p, err := m.part(it.path, it.what == "HEADER" || it.what == "TEXT" || strings.HasPrefix(it.what, "HEADER.FIELDS"))
	if p == nil || err != nil {
		return at, false, err
	}
	switch it.what {
	case "", "TEXT":
		return span{p.Body, p.End, p.BodyWire}, true, nil
	}
	return span{p.Header, p.Body, p.HeaderWire}, true, nil // HEADER, MIME
}

// part is the part of a path. inside wants the message in a message/rfc822 part: only such a part has a HEADER and a TEXT.
func (m *fetched) part(path []int, inside bool) (*mailbox.Part, error) {
	if m.parts == nil {
		r, err := m.parsed()
		if err != nil {
			return nil, err
		}
		m.parts = r.Parts()
	}
	if len(m.parts) == 0 {
		return nil, nil
	}
	if len(path) == 0 {
		return &m.parts[0], nil
	}
	if len(path) == 1 && path[0] == 1 && !strings.HasPrefix(strings.ToLower(m.parts[0].Type), "multipart/") { // of a message that is no multipart
		switch {
		case !inside:
			return &m.parts[0], nil
		case m.parts[0].Message:
			return &m.parts[1], nil
		}
		return nil, nil
	}
	for i := range m.parts {
		p := &m.parts[i]
		if !slices.Equal(p.Path, path) || i == 0 {
			continue
		}
		switch {
		case !inside:
			return p, nil
		case p.Message:
			return &m.parts[i+1], nil
		}
		return nil, nil
	}
	if n := len(path); n > 1 && path[n-1] == 1 && !inside { // part 1 of a plain message inside a message/rfc822
		for i := range m.parts {
			if p := &m.parts[i]; i > 0 && p.Message && slices.Equal(p.Path, path[:n-1]) && i+1 < len(m.parts) {
				return &m.parts[i+1], nil
			}
		}
	}
	return nil, nil
}

// sendSpan writes a stretch of a file as a literal with CRLF line ends, all of it or the part the client asked for.
func (s *session) sendSpan(file io.ReaderAt, at span, it *item) error {
	skip, n := int64(0), at.wire
	if it.partial {
		skip = min(it.from, at.wire)
		n = min(it.n, at.wire-skip)
	}
	if n == 0 {
		s.out = append(s.out, `""`...)
		return nil
	}
	s.out = append(s.out, '{')
	s.out = strconv.AppendInt(s.out, n, 10)
	s.out = append(s.out, "}\r\n"...)
	return s.copyWire(file, at, skip, n)
}

// copyWire sends n octets of a stretch in wire form, after skipping some. What does not add up to the announced size ends the
// connection: a literal is never padded.
func (s *session) copyWire(file io.ReaderAt, at span, skip, n int64) error {
	buf := inBlocks.Get().(*[blockLen]byte)
	defer inBlocks.Put(buf)
	raw := at.wire == at.to-at.from // no line end needs a CR
	if raw {
		at.from, skip = at.from+skip, 0
	}
	last := byte(0)
	for from := at.from; n > 0; {
		got, err := file.ReadAt(buf[:min(int64(blockLen), at.to-from)], from)
		if got == 0 {
			s.broken = io.ErrUnexpectedEOF
			return err
		}
		from += int64(got)
		b := buf[:got]
		for len(b) > 0 && n > 0 {
			line := b
			i := -1
			if !raw {
				if i = bytes.IndexByte(b, '\n'); i >= 0 {
					line = b[:i]
				}
			}
			b = b[len(line):]
			if len(line) > 0 {
				last = line[len(line)-1]
			}
			skip, n = s.part(line, skip, n)
			if i >= 0 {
				if last != '\r' {
					skip, n = s.part([]byte("\r\n"), skip, n)
				} else {
					skip, n = s.part([]byte("\n"), skip, n)
				}
				b, last = b[1:], '\n'
			}
		}
	}
	return nil
}

// part appends what is left of line after skip octets, at most n.
func (s *session) part(line []byte, skip, n int64) (int64, int64) {
	if skip > 0 {
		k := min(skip, int64(len(line)))
		line, skip = line[k:], skip-k
	}
	line = line[:min(int64(len(line)), n)]
	s.out = append(s.out, line...)
	s.spill()
	return skip, n - int64(len(line))
}

// headerFields writes BODY[HEADER.FIELDS (…)] and its NOT form.
func (m *fetched) headerFields(it *item) error {
	not := it.what == "HEADER.FIELDS.NOT"
	var header []byte
	if r, err := m.parsed(); err != nil {
		return err
	} else if it.fromHead() {
		header = r.Header
	} else {
		at, ok, err := m.span(it)
		if err != nil {
			return err
		}
		if !ok {
			m.s.out = append(append(m.s.out, it.label...), " NIL"...)
			return nil
		}
		file, err := m.message()
		if err != nil {
			return err
		}
		if header, err = readWire(file, at); err != nil {
			return err
		}
	}
	var out []byte
	for field := range fieldsOf(header) {
		name := field[:fieldName(field)]
		if len(name) > 0 && not != slices.ContainsFunc(it.fields, func(want string) bool { return strings.EqualFold(want, string(name)) }) {
			out = append(out, field...)
		}
	}
	out = append(out, "\r\n"...) // the blank line is part of it (RFC 9051 section 6.4.5)
	s := m.s
	s.out = append(append(s.out, it.label...), ' ')
	if it.partial {
		from := min(it.from, int64(len(out)))
		out = out[from:min(from+it.n, int64(len(out)))]
	}
	s.out = literal(s.out, out)
	return nil
}

func literal(b, text []byte) []byte {
	b = strconv.AppendInt(append(b, '{'), int64(len(text)), 10)
	return append(append(b, "}\r\n"...), text...)
}

// readWire is a stretch of a file with CRLF line ends; only for headers, which are short.
func readWire(file io.ReaderAt, at span) ([]byte, error) {
	raw := make([]byte, min(at.to-at.from, part.MaxHeader))
	n, err := file.ReadAt(raw, at.from)
	if n < len(raw) && err != io.EOF {
		return nil, err
	}
	raw = bytes.ReplaceAll(raw[:n], []byte("\r\n"), []byte("\n"))
	return bytes.ReplaceAll(raw, []byte("\n"), []byte("\r\n")), nil
}

// fieldsOf yields the header fields of a header with CRLF line ends, each with its folded lines.
func fieldsOf(header []byte) func(func([]byte) bool) {
	return func(yield func([]byte) bool) {
		for len(header) > 0 {
			end := 0
			for {
				i := bytes.IndexByte(header[end:], '\n')
				if i < 0 {
					end = len(header)
					break
				}
				end += i + 1
				if end == len(header) || header[end] != ' ' && header[end] != '\t' {
					break
				}
			}
			if !yield(header[:end]) {
				return
			}
			header = header[end:]
		}
	}
}

// fieldName is the length of the name of a field, 0 when it is none.
func fieldName(field []byte) int {
	i := bytes.IndexByte(field, ':')
	if i < 0 {
		return 0
	}
	return len(bytes.TrimRight(field[:i], " \t"))
}

// appendNil writes a string, or NIL when there is nothing.
func appendNil(b, text []byte) []byte {
	if text == nil {
		return append(b, "NIL"...)
	}
	return part.AppendString(b, text)
}
