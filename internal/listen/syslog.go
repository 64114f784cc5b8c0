package listen

import (
	"bytes"
	"net"
	"os"
	"strconv"
)

// Syslog is a writer of log lines to /dev/log, for a server whose stderr is the connection: one datagram a line,
// facility mail, severity info. Where nobody listens there, lines are lost: a log stops no mail.
func Syslog(program string) *Syslogger {
	return &Syslogger{head: "<22>" + program + "[" + strconv.Itoa(os.Getpid()) + "]: "}
}

// Syslogger writes to /dev/log.
type Syslogger struct {
	conn net.Conn
	head string
}

// Write sends one line. Lines begin with "program: ", which syslog has a place of its own for.
func (s *Syslogger) Write(text []byte) (int, error) {
	if s.conn == nil {
		c, err := net.Dial("unixgram", "/dev/log")
		if err != nil {
			return 0, err
		}
		s.conn = c
	}
	message := bytes.TrimRight(text, "\n")
	if _, rest, ok := bytes.Cut(message, []byte(": ")); ok {
		message = rest
	}
	if _, err := s.conn.Write(append([]byte(s.head), message...)); err != nil {
		return 0, err
	}
	return len(text), nil
}
