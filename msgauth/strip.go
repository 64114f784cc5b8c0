package msgauth

import (
	"bytes"
	"io"

	"pennypost/internal/header"
)

// Stripper passes a message on to Out less the Authentication-Results fields that bear one of Names: they came from outside, so they are
// forged (RFC 8601 section 5, S057). It takes LF or CRLF, in pieces of any size, and holds back one line, or such a field. What
// is judged is the message with them, for a signature may cover them.
type Stripper struct {
	Out   io.Writer
	Names []string // authserv-ids that are ours

	Removed int // fields

	held  []byte // a field that may be forged, then the line that began
	line  int    // where that line begins in held
	field bool   // held begins with an Authentication-Results field
	drop  bool   // such a field goes on that is too long to be held
	over  bool   // with the header
	size  int64
}

// Reset makes it ready for another message to out, and keeps its buffer.
func (s *Stripper) Reset(out io.Writer, names []string) {
	*s = Stripper{Out: out, Names: names, held: s.held[:0]}
}

var resultsName = []byte("authentication-results")

// Write passes p on. The error is that of Out.
func (s *Stripper) Write(p []byte) (int, error) {
	n := len(p)
	for len(p) > 0 && !s.over {
		i := bytes.IndexByte(p, '\n') + 1
		if i == 0 {
			i = len(p)
		}
		s.held = append(s.held, p[:i]...)
		whole := p[i-1] == '\n'
		p = p[i:]
		s.size += int64(i)
		if len(s.held) > header.MaxField && (s.field || s.drop || isResults(s.held)) {
			s.swallow(whole)
			continue
		}
		if !whole && len(s.held) <= header.MaxField {
			break
		}
		if err := s.endLine(); err != nil {
			return 0, err
		}
	}
	if len(p) == 0 {
		return n, nil
	}
	_, err := s.Out.Write(p)
	return n, err
}

// swallow drops a field that is longer than any, from where it began to where it will end: nobody wrote it in good faith.
func (s *Stripper) swallow(whole bool) {
	if !s.drop {
		s.Removed++
	}
	s.drop, s.field, s.line = true, false, 0
	if s.held = s.held[:0]; !whole {
		s.held = append(s.held, ' ') // the rest of the line belongs to it
	}
}

// endLine looks at the line that is whole now.
func (s *Stripper) endLine() error {
	line := s.held[s.line:]
	if s.drop {
		if line[0] == ' ' || line[0] == '\t' {
			s.held = s.held[:0]
			return nil
		}
		s.drop = false
	}
	switch {
	case line[0] == ' ' || line[0] == '\t':
		if s.field {
			s.line = len(s.held)
			return nil
		}
	case s.field:
		if err := s.endField(); err != nil {
			return err
		}
		line = s.held
	}
	text := bytes.TrimRight(line, "\r\n")
	s.over = s.over || len(text) == 0 || s.size > header.MaxHeader
	if !s.over && isResults(text) {
		s.field, s.line = true, len(s.held)
		return nil
	}
	return s.flush()
}

// endField drops or passes the field in front of the line that just came.
func (s *Stripper) endField() error {
	whole := s.held[:s.line]
	rest := s.held[s.line:]
	s.field = false
	_, value, _ := bytes.Cut(whole, []byte(":"))
	if Claims(string(value), s.Names...) {
		s.Removed++
	} else if _, err := s.Out.Write(whole); err != nil {
		return err
	}
	s.held, s.line = append(s.held[:0], rest...), 0
	return nil
}

func isResults(line []byte) bool {
	name, _, ok := bytes.Cut(line, []byte(":"))
	return ok && bytes.EqualFold(bytes.TrimRight(name, " \t"), resultsName)
}

func (s *Stripper) flush() error {
	_, err := s.Out.Write(s.held)
	s.held, s.line, s.field = s.held[:0], 0, false
	return err
}

// Close ends the message. It does not close Out.
func (s *Stripper) Close() error {
	if s.over || len(s.held) == 0 {
		return nil
	}
	last := s.held[s.line:]
	if s.drop && (last[0] == ' ' || last[0] == '\t') {
		return nil
	}
	if s.field && (len(last) == 0 || last[0] == ' ' || last[0] == '\t') {
		s.line = len(s.held)
		return s.endField()
	}
	if s.field {
		if err := s.endField(); err != nil {
			return err
		}
	}
	if isResults(s.held) {
		s.line = len(s.held)
		return s.endField()
	}
	return s.flush()
}
