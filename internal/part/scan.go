package part

import (
	"bytes"
	"io"
)

// mark is a place in the message with what has been counted up to it, so that the wire size and the lines of any
// stretch are a subtraction.
type mark struct {
	at   int64 // offset in the file
	lf   int64 // line ends before it
	bare int64 // of these, LF without CR
}

func (m mark) wire(from mark) int64 { return m.at - from.at + m.bare - from.bare }

// Scanner is a scan under way: write the message to it, then ask for its structure.
type Scanner struct {
	root  *Part
	in    *Part   // the part whose header or body we are in
	open  []bound // boundaries that may end something, outermost first
	parts int

	now  mark // the end of what was looked at: always the beginning of a line
	last mark // the same without the line end before it
	prev mark // last, as it was before the line being looked at

	line   []byte // the beginning of a line that came in pieces, at most MaxLine octets
	length int64  // octets of that line so far; 0: none is pending
	cr     bool   // its last octet so far is CR

	header bool   // in the header of in
	kept   int    // octets kept of it
	field  []byte // the field being put together
	held   []byte // values of the fields before
	lines  []line // room for a header
}

// bound is an open multipart: its delimiter without the line end, and whose it is.
type bound struct {
	delimiter []byte // --boundary
	part      *Part
}

// NewScanner starts a scan at the first octet of a message.
func NewScanner() *Scanner {
	s := &Scanner{}
	s.Again(false)
	return s
}

// Again starts the scan of another message in the room of the one before, whose structure stays as it is. It leaves the message's own
// Envelope out where that is known. A Scanner may begin so.
func (s *Scanner) Again(known bool) {
	*s = Scanner{parts: 1, root: &Part{}, open: s.open[:0], line: s.line[:0], field: s.field[:0], lines: s.lines[:0]}
	if !known {
		s.root.Envelope = Fields{}
	}
	s.begin(s.root)
}

// Scan reads a whole message.
func Scan(r io.Reader) (*Part, error) {
	s := NewScanner()
	if _, err := io.Copy(s, r); err != nil {
		return nil, err
	}
	return s.Done(), nil
}

// Write takes the next octets of the message. It never fails.
func (s *Scanner) Write(p []byte) (int, error) {
	n := len(p)
	for len(p) > 0 {
		if s.length == 0 {
			look := s.plain
			if s.header {
				look = s.headerOf
			}
			if skip := look(p); skip > 0 {
				p = p[skip:]
				continue
			}
		}
		i := bytes.IndexByte(p, '\n')
		switch {
		case i < 0:
			s.keep(p)
			return n, nil
		case s.length == 0:
			crlf := i > 0 && p[i-1] == '\r'
			s.whole(p[:i], int64(i+1), crlf)
		default:
			s.keep(p[:i])
			text, octets, crlf := s.line, s.length+1, s.cr
			s.length, s.cr = 0, false
			s.whole(text, octets, crlf)
		}
		p = p[i+1:]
	}
	return n, nil
}

// keep holds a piece of a line until its end comes.
func (s *Scanner) keep(p []byte) {
	if len(p) == 0 {
		return
	}
	if s.length == 0 {
		s.line = s.line[:0]
	}
	s.line = append(s.line, p[:min(MaxLine-len(s.line), len(p))]...)
	s.length += int64(len(p))
	s.cr = p[len(p)-1] == '\r'
}

// plain takes whole body lines that cannot be boundaries in one go and says how many octets they were.
func (s *Scanner) plain(p []byte) int {
	stop := bytes.LastIndexByte(p, '\n') + 1
	if stop == 0 {
		return 0
	}
	if len(s.open) > 0 {
		if p[0] == '-' && p[1] == '-' {
			return 0
		}
		stop = dashed(p[:stop])
	}
	lf := int64(bytes.Count(p[:stop], []byte{'\n'}))
	bare := lf
	if bytes.IndexByte(p[:stop], '\r') >= 0 {
		bare -= int64(bytes.Count(p[:stop], []byte("\r\n")))
	}
	s.advance(int64(stop), lf, bare, stop > 1 && p[stop-2] == '\r')
	return stop
}

// dashed is where the first line of b that begins with two hyphens lies, but for the very first; the end of b when there is none. It looks
// for the hyphens, since a body has many more line ends.
func dashed(b []byte) int {
	for at := 1; at < len(b); {
		i := bytes.Index(b[at:], []byte("--"))
		if i < 0 {
			break
		}
		at += i
		if b[at-1] == '\n' {
			return at
		}
		for at < len(b) && b[at] == '-' {
			at++
		}
	}
	return len(b)
}

// advance counts lines; crlf says how the last of them ended.
func (s *Scanner) advance(octets, lf, bare int64, crlf bool) {
	s.now.at += octets
	s.now.lf += lf
	s.now.bare += bare
	s.last = s.now
	s.last.lf--
	s.last.at--
	if crlf {
		s.last.at--
	} else {
		s.last.bare--
	}
}

// whole looks at one line: its text (the beginning of it, when it is long), the octets it has in the file, and whether
// CR stood before LF.
func (s *Scanner) whole(text []byte, octets int64, crlf bool) {
	if crlf && int64(len(text)) == octets-1 {
		text = text[:len(text)-1]
	}
	s.prev = s.last
	begin := s.now
	bare := int64(1)
	if crlf {
		bare = 0
	}
	s.advance(octets, 1, bare, crlf)
	if len(text) >= 2 && text[0] == '-' && text[1] == '-' && s.boundary(text, begin) {
		return
	}
	if s.header {
		s.headerLine(text, begin)
	}
}

// boundary acts on a delimiter line and says whether the line is one (RFC 2046 section 5.1.1). The innermost boundary
// that fits wins; parts inside it that were not closed end here too. begin is where the line starts; the line end in
// front of it belongs to the delimiter.
func (s *Scanner) boundary(text []byte, begin mark) bool {
	for i := len(s.open) - 1; i >= 0; i-- {
		b := s.open[i]
		if !bytes.HasPrefix(text, b.delimiter) {
			continue
		}
		rest := text[len(b.delimiter):]
		closing := bytes.HasPrefix(rest, []byte("--"))
		if closing {
			rest = rest[2:]
		}
		if len(trim(rest)) > 0 {
			continue
		}
		s.close(b.part, begin)
		s.in, s.header = b.part, false // where the epilogue is, if it was the last
		s.open = s.open[:i+1]
		if closing {
			s.open = s.open[:i]
		} else if s.parts < MaxParts {
			child := &Part{Parent: b.part}
			b.part.Parts = append(b.part.Parts, child)
			s.parts++
			s.begin(child)
		}
		return true
	}
	return false
}

// begin starts the header of a part at the line that comes now.
func (s *Scanner) begin(p *Part) {
	p.Type, p.Subtype = "text", "plain" // RFC 2045 section 5.2
	if p.Parent != nil && p.Parent.Is("multipart", "digest") {
		p.Type, p.Subtype = "message", "rfc822" // RFC 2046 section 5.1.5
	}
	p.header, p.body, p.end = s.now, s.now, s.now
	s.in, s.header, s.kept, s.field = p, true, 0, s.field[:0]
}

// close ends the part we are in and those around it, up to but not including until.
func (s *Scanner) close(until *Part, begin mark) {
	if s.header && s.in != until {
		s.endField()
		s.in.body = begin // a header without a blank line: the body is empty
		s.header = false
	}
	end := s.prev
	for p := s.in; p != until && p != nil; p = p.Parent {
		if end.at < p.body.at { // nothing is left of it: the line end was its header's
			end = p.body
		}
		p.end = end
	}
}

// Done ends the message and gives its structure. The Scanner is not used again.
func (s *Scanner) Done() *Part {
	if s.length > 0 { // a last line without its end
		text, octets := s.line, s.length
		begin := s.now
		s.prev = s.last
		s.now.at += octets
		delimiter := len(text) >= 2 && text[0] == '-' && text[1] == '-' && s.boundary(text, begin)
		if s.header && !delimiter {
			s.headerLine(text, begin)
		}
	}
	if s.header {
		s.endField()
		s.in.body = s.now
	}
	for p := s.in; p != nil; p = p.Parent {
		p.end = s.now
	}
	s.root.settle()
	return s.root
}

// settle turns marks into what the fields of Part say.
func (p *Part) settle() {
	p.Header, p.Body, p.End = p.header.at, p.body.at, p.end.at
	p.HeaderWire, p.BodyWire = p.body.wire(p.header), p.end.wire(p.body)
	p.Lines = p.end.lf - p.body.lf
	for _, child := range p.Parts {
		child.settle()
	}
}
