package smtpd

// each answers the end of the data. SMTP gives one reply; LMTP gives one for each accepted recipient, in their order
// (RFC 2033 section 4.2), which is the same for all: the spool takes the message for everybody or for nobody.
func (s *session) each(r reply) reply {
	if s.lmtp {
		for range len(s.tx.rcpts) - 1 {
			s.add(r, ' ')
		}
	}
	return r
}
