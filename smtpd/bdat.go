package smtpd

import (
	"strings"
)

// bdat answers BDAT size [LAST] (RFC 3030 section 2). The chunk follows the command at once, so it is read whatever the
// answer is; only when nobody can say how long it is the connection ends.
func (s *session) bdat(arg string) reply {
	word, last, more := strings.Cut(arg, " ")
	n, ok := number(word)
	if !ok || more && !strings.EqualFold(last, "LAST") {
		s.closing = true
		return reply{501, "5.5.4", "BDAT wants a size, and perhaps LAST"}
	}
	s.clock.begin(s.state == chunk)
	defer s.clock.end()
	r := s.mayChunk(n)
	if r.code != 0 && more {
		r = s.each(r)
	}
	if r.code != 0 && n > s.set.MaxSize {
		s.closing = true // rather than read on for nothing
		s.reset()
		return r
	}
	if r.code != 0 {
		if _, err := s.in.Chunk(nil, n, false); err != nil {
			return s.cut(err)
		}
		s.reset()
		return r
	}
	v, err := s.in.Chunk(s.content(), n, true)
	if err != nil {
		return s.cut(err)
	}
	s.tx.verdict.Add(v)
	if more {
		if s.in.EndChunks() {
			s.tx.verdict.Bare, s.tx.verdict.BareCR = true, true
		}
		return s.accept()
	}
	if s.tx.verdict.Write != nil {
		r := s.disk(s.tx.verdict.Write)
		s.reset()
		return r
	}
	return reply{250, "2.0.0", word + " octets taken"}
}

// mayChunk says whether a chunk of n octets is welcome, and opens the message with the first one.
func (s *session) mayChunk(n int64) reply {
	switch {
	case s.state&(rcpt|chunk) == 0 && s.state == fresh:
		return reply{503, "5.5.1", "say EHLO first"}
	case s.state&(rcpt|chunk) == 0:
		return reply{503, "5.5.1", "say MAIL and RCPT first"}
	case n > s.set.MaxSize-s.tx.verdict.Size:
		return s.refuse(noPath, reply{552, "5.3.4", "larger than a message may be here"})
	case s.state == rcpt:
		if r := s.open(); r.code != 0 {
			return r
		}
		s.state = chunk
	}
	return reply{}
}
