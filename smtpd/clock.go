package smtpd

import (
	"errors"
	"time"
)

var (
	errSlow     = errors.New("client too slow")
	errStopping = errors.New("shutting down")
	errForeign  = errors.New("client speaks another protocol")
)

// Times nobody needs to configure. Tests shorten them.
var (
	handshakeTime = 30 * time.Second // S031
	stressTime    = 10 * time.Second // for a command, when connections are scarce (S076)
	slowAfter     = time.Minute      // of data, before its average counts
)

// clock holds the deadline of a session. Deadlines are for a whole command line, or for silence within a message, so
// that a client gains nothing by sending an octet now and then.
type clock struct {
	until   time.Time // the deadline the connection has
	content bool      // within a message
	begun   time.Time // when the message began
	octets  int64     // of it
}

// begin and end stand round the reading of content. The chunks of one message are one content.
func (c *clock) begin(next bool) {
	c.content = true
	if !next {
		c.begun, c.octets = time.Now(), 0
	}
}

func (c *clock) end() { c.content = false }

// wait sets the deadline before the connection is read, if it has to be another one. It is seldom so: a deadline
// may be later than it should be by a sixteenth, which saves two timers per command.
func (s *session) wait() error {
	c := &s.clock
	now := time.Now()
	if s.squeezed.Swap(false) {
		c.until = time.Time{}
	}
	if !c.content {
		if s.in.Buffered() > 0 {
			return nil // in the middle of a line: its time runs
		}
		if s.state == chunk && now.Sub(c.begun) > s.set.MessageTime {
			return errSlow
		}
		patience := s.set.CommandTime
		if s.stress() {
			patience = min(patience, stressTime)
		}
		return s.deadline(now, patience, patience/16)
	}
	if c.octets == 0 && c.until.Sub(now) > s.set.DataTime/2 {
		// Most messages come in one piece at once. The deadline of the command serves for it: another one would cost
		// two timers and the waking of the poller.
		return nil
	}
	age := now.Sub(c.begun)
	left := s.set.MessageTime - age
	if left <= 0 || age > slowAfter && float64(c.octets) < float64(s.set.SlowRate)*age.Seconds() {
		return errSlow
	}
	return s.deadline(now, min(s.set.DataTime, left), time.Second)
}

func (s *session) deadline(now time.Time, patience, slack time.Duration) error {
	until := now.Add(patience)
	if d := s.clock.until.Sub(until); d >= -slack && d <= slack {
		return nil
	}
	s.clock.until = until.Add(slack / 2)
	return s.raw.SetDeadline(s.clock.until)
}
