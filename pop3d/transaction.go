package pop3d

import (
	"io"
	"strconv"
)

const noSuch = "-ERR no such message"

func (s *session) noop([]string) string { return "+OK" }

// stat answers STAT: messages that are not deleted, and their octets.
func (s *session) stat([]string) string {
	messages, octets, err := s.sum()
	if err != nil {
		return s.trouble(err)
	}
	return "+OK " + strconv.Itoa(messages) + " " + strconv.FormatInt(octets, 10)
}

// sum counts what STAT and LIST say. A message somebody else has removed still has its number, and a size.
func (s *session) sum() (messages int, octets int64, err error) {
	for i := range s.drop.messages {
		if s.drop.messages[i].deleted {
			continue
		}
		size, err := s.drop.octets(i)
		if err != nil && !s.vanished(i, err) {
			return 0, 0, err
		}
		messages++
		octets += size
	}
	return messages, octets, nil
}

// vanished reports whether err means that message i is not there any more; its size is 0 then.
func (s *session) vanished(i int, err error) bool {
	if expunged(err) || s.drop.messages[i].gone {
		s.drop.messages[i].gone = true
		s.drop.messages[i].wire = 0
		return true
	}
	return false
}

// list answers LIST [number].
func (s *session) list(args []string) string {
	if len(args) == 1 {
		i := s.drop.number(args[0])
		if i < 0 {
			return noSuch
		}
		size, err := s.drop.octets(i)
		if err != nil && !s.vanished(i, err) {
			return s.trouble(err)
		}
		return "+OK " + strconv.Itoa(i+1) + " " + strconv.FormatInt(size, 10)
	}
	messages, octets, err := s.sum()
	if err != nil {
		return s.trouble(err)
	}
	s.ok(strconv.Itoa(messages) + " messages (" + strconv.FormatInt(octets, 10) + " octets)")
	for i := range s.drop.messages {
		if m := &s.drop.messages[i]; !m.deleted {
			s.out = strconv.AppendInt(s.out, int64(i+1), 10)
			s.out = strconv.AppendInt(append(s.out, ' '), m.wire, 10)
			s.out = append(s.out, "\r\n"...)
			s.spill()
		}
	}
	return "."
}

// uidl answers UIDL [number] (RFC 1939 section 7).
func (s *session) uidl(args []string) string {
	if len(args) == 1 {
		i := s.drop.number(args[0])
		if i < 0 {
			return noSuch
		}
		return "+OK " + strconv.Itoa(i+1) + " " + s.drop.uidl(i)
	}
	s.ok("unique-ids follow")
	for i := range s.drop.messages {
		if !s.drop.messages[i].deleted {
			s.out = strconv.AppendInt(s.out, int64(i+1), 10)
			s.out = append(append(s.out, ' '), s.drop.uidl(i)...)
			s.out = append(s.out, "\r\n"...)
			s.spill()
		}
	}
	return "."
}

// spill sends what waits once it is much, in the middle of a long answer.
func (s *session) spill() {
	if len(s.out) > mostPending && s.broken == nil {
		s.broken = s.flush()
	}
}

// retr answers RETR number.
func (s *session) retr(args []string) string {
	i := s.drop.number(args[0])
	if i < 0 {
		return noSuch
	}
	return s.send(i, -1)
}

// top answers TOP number lines: the header, the empty line and so many lines of the text.
func (s *session) top(args []string) string {
	i := s.drop.number(args[0])
	if i < 0 {
		return noSuch
	}
	lines, err := strconv.ParseUint(args[1], 10, 31)
	if err != nil {
		return "-ERR not a number of lines"
	}
	return s.send(i, int(lines))
}

// send sends message i, or its header and so many lines where lines is not negative.
func (s *session) send(i, lines int) string {
	size, err := s.drop.octets(i)
	if err != nil {
		return s.missing(i, err)
	}
	f, err := s.drop.open(i)
	if err != nil {
		return s.missing(i, err)
	}
	defer f.Close()
	if lines < 0 {
		s.ok(strconv.FormatInt(size, 10) + " octets")
		s.fetched++
	} else {
		s.ok("header and lines follow")
	}
	if err := s.copy(io.NewSectionReader(f, 0, f.Size), lines); err != nil {
		// In the middle of a message nothing can be said but the end of the connection.
		s.broken = err
	}
	return ""
}

// missing answers for a message that cannot be opened.
func (s *session) missing(i int, err error) string {
	if s.vanished(i, err) {
		return "-ERR message " + strconv.Itoa(i+1) + " was removed by another session"
	}
	return s.trouble(err)
}

// trouble answers for an error of ours; the log has it, the client learns what to do.
func (s *session) trouble(err error) string {
	s.srv.Log.Warn("mailbox of "+s.identity.Account.Path().String(), err)
	return "-ERR [SYS/TEMP] cannot read the mailbox now, try later"
}

// dele answers DELE number: a mark, nothing more.
func (s *session) dele(args []string) string {
	i := s.drop.number(args[0])
	if i < 0 {
		return noSuch
	}
	s.drop.messages[i].deleted = true
	return "+OK message " + strconv.Itoa(i+1) + " will be deleted"
}

// rset answers RSET: the marks go.
func (s *session) rset([]string) string {
	for i := range s.drop.messages {
		s.drop.messages[i].deleted = false
	}
	return "+OK nothing will be deleted"
}
