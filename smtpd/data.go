package smtpd

import (
	"errors"
	"os"
)

// data answers DATA (RFC 5321 section 4.1.1.4).
func (s *session) data(arg string) reply {
	if arg != "" {
		return reply{501, "5.5.4", "DATA takes no argument"}
	}
	if s.in.Buffered() > 0 {
		// RFC 2920 section 3.1: DATA is the last command of a group. What is here already may be meant as commands or as
		// a message; nobody can tell, so it is neither (S016).
		s.closing = true
		return s.refuse(noPath, reply{554, "5.5.0", "wait for 354 before you send the message"})
	}
	if r := s.open(); r.code != 0 {
		s.reset()
		return r
	}
	s.add(reply{354, "", "send it, and end with a dot on a line of its own"}, ' ')
	s.clock.begin(false)
	v, err := s.in.Data(s.content(), s.set.MaxSize)
	s.clock.end()
	if err != nil {
		return s.cut(err)
	}
	s.tx.verdict = v
	return s.accept()
}

// cut ends a session whose connection broke within a message; of the message nothing is left.
func (s *session) cut(err error) reply {
	s.reset()
	s.closing = true
	if errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, errSlow) {
		return reply{421, "4.4.2", s.srv.Hostname + " waited long enough"}
	}
	s.broken = err
	return reply{}
}
