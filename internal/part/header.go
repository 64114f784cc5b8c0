package part

import (
	"bytes"
	"strings"
)

// headerLine takes one line of the header of s.in; begin is where it starts. A line that can be no part of a header
// ends it (real mail has these): it is the first line of the body then.
func (s *Scanner) headerLine(text []byte, begin mark) {
	switch {
	case len(text) == 0: // the blank line
		s.endField()
		s.endHeader(s.now)
	case text[0] == ' ' || text[0] == '\t':
		s.more(text)
	case s.in.header == begin && bytes.HasPrefix(text, []byte("From ")), bytes.HasPrefix(text, []byte(">From ")):
		s.endField() // an mbox line that came along; part of the header, no field
	case fieldName(text) == 0:
		s.endField()
		s.endHeader(begin)
		if bytes.HasPrefix(text, []byte("--")) { // a multipart that forgot the blank line
			s.boundary(text, begin)
		}
	default:
		s.endField()
		s.more(text)
	}
}

// more adds a line to the field, within the bounds.
func (s *Scanner) more(text []byte) {
	room := min(MaxLine-len(s.field), MaxHeader-s.kept)
	if room <= 0 {
		return
	}
	if len(s.field) > 0 {
		s.field = append(s.field, '\n')
	}
	s.field = append(s.field, text[:min(room, len(text))]...)
	s.kept += min(room, len(text))
}

// fieldName is the length of the field name at the beginning of a line, 0 when there is none (RFC 5322 section 3.6.8;
// white space before the colon is obsolete syntax, section 4.5, and still read).
func fieldName(text []byte) int {
	colon := bytes.IndexByte(text, ':')
	if colon <= 0 {
		return 0
	}
	n := len(bytes.TrimRight(text[:colon], " \t"))
	for _, c := range text[:n] {
		if c <= ' ' || c == 0x7f {
			return 0
		}
	}
	return n
}

// endField files the field that was put together, if there is one.
func (s *Scanner) endField() {
	text := s.field
	s.field = s.field[:0]
	n := 0
	if len(text) > 0 {
		n = fieldName(text)
	}
	if n == 0 {
		return
	}
	name, known := names[string(text[:n])]
	if !known {
		name = string(text[:n])
	}
	value := text[bytes.IndexByte(text, ':')+1:]
	p := s.in
	if p.Envelope != nil {
		if cap(p.Envelope) == 0 {
			p.Envelope = make(Fields, 0, 24)
		}
		p.Envelope = append(p.Envelope, Field{name, s.hold(value)})
	}
	if len(name) > 8 && equalFold(name[:8], "Content-") {
		p.content(name[8:], value)
	}
}

// hold is a copy of a value, many in one piece.
func (s *Scanner) hold(value []byte) []byte {
	if len(value) > cap(s.held)-len(s.held) {
		if len(value) > heldPiece/4 {
			return bytes.Clone(value)
		}
		s.held = make([]byte, 0, heldPiece)
	}
	at := len(s.held)
	s.held = append(s.held, value...)
	return s.held[at:len(s.held):len(s.held)]
}

// heldPiece is what values are put together to.
const heldPiece = 2 << 10

// names are those that most headers are made of.
var names = func() map[string]string {
	m := map[string]string{}
	for _, name := range strings.Fields(`Return-Path Delivered-To Received Date From To Cc Bcc Sender Reply-To Subject Message-ID Message-Id In-Reply-To References
		MIME-Version Mime-Version Content-Type Content-Transfer-Encoding Content-Disposition Content-Language User-Agent X-Mailer DKIM-Signature
		Authentication-Results ARC-Seal ARC-Message-Signature ARC-Authentication-Results Received-SPF List-Id List-ID List-Post List-Help List-Archive
		List-Subscribe List-Unsubscribe List-Unsubscribe-Post List-Owner Precedence Importance X-Priority Errors-To Feedback-ID`) {
		m[name] = name
	}
	return m
}()

// content reads a Content- field; the first of a name counts.
func (p *Part) content(name string, value []byte) {
	first := func(field *string, s string) {
		if *field == "" {
			*field = s
		}
	}
	switch {
	case equalFold(name, "Type") && p.Params == nil:
		typ, sub, params, ok := parseType(value)
		if ok {
			p.Type, p.Subtype = typ, sub
		}
		p.Params = params
	case equalFold(name, "Transfer-Encoding"):
		word, _ := token(Unfold(value))
		first(&p.Encoding, word)
	case equalFold(name, "Disposition") && p.Disposition == "":
		p.Disposition, p.DispParams = parseDisposition(value)
	case equalFold(name, "ID"):
		first(&p.ID, string(Unfold(value)))
	case equalFold(name, "Description"):
		first(&p.Description, string(Unfold(value)))
	case equalFold(name, "MD5"):
		first(&p.MD5, string(Unfold(value)))
	case equalFold(name, "Location"):
		first(&p.Location, string(Unfold(value)))
	case equalFold(name, "Language") && p.Language == nil:
		p.Language = parseLanguages(value)
	}
}

// endHeader ends the header of s.in; its body starts at body. What the body is decides what comes next.
func (s *Scanner) endHeader(body mark) {
	p := s.in
	p.body, s.header = body, false
	switch {
	case p.depth() >= MaxDepth:
	case p.Is("multipart", ""):
		if b := param(p.Params, "boundary"); b != "" && len(b) <= 1000 {
			s.open = append(s.open, bound{append([]byte("--"), b...), p})
		}
	case isMessage(p) && s.parts < MaxParts && !encoded(p.Encoding):
		s.parts++
		inside := &Part{Parent: p, Envelope: Fields{}}
		p.Parts = []*Part{inside}
		begin := s.now
		s.now = body // a line that ended the header stands in the body already
		s.begin(inside)
		s.now = begin
		if body != begin {
			s.endHeader(body)
		}
	}
}

// encoded reports a transfer encoding that hides what is inside.
func encoded(encoding string) bool {
	return equalFold(encoding, "base64") || equalFold(encoding, "quoted-printable")
}

func (p *Part) depth() int {
	n := 0
	for at := p.Parent; at != nil; at = at.Parent {
		n++
	}
	return n
}
