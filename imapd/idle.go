package imapd

import (
	"bytes"
	"errors"
	"net"
	"sync"
	"time"

	"pennypost/imapd/wire"
)

var idleVerbs = append([]verb{
	{"IDLE", loggedIn, (*session).idle, nothing, false},
}, append(notifyVerbs, compressVerbs...)...)

// idle is RFC 2177: until DONE the client hears what happens as it happens.
func (s *session) idle(c *command) reply {
	if c.End(); c.Err() != nil {
		return syntax(c.Err())
	}
	if s.goOn("idling") != nil {
		return no("", "gone")
	}
	if s.box != nil {
		stop := s.box.folder.OnChange(s.wake)
		defer stop()
	}
	until := time.Now().Add(s.srv.IdleTime)
	for s.ended == "" && s.broken == nil {
		if s.box != nil && s.watched() {
			s.tell(true)
		}
		if s.news != nil {
			s.news.follow(s)
			s.tellNews()
		}
		s.flush()
		s.rest()
		err := s.await(until)
		s.need()
		switch {
		case errors.Is(err, errNews):
			continue
		case err != nil:
			return s.silent(err)
		}
		line, err := s.reader.Line(mostAfterIdle)
		switch {
		case errors.Is(err, wire.ErrTooBig), errors.Is(err, wire.ErrBareLine):
		case err != nil:
			return s.silent(err)
		case bytes.EqualFold(line, []byte("DONE")):
			return ok("idled")
		}
		return bad("DONE ends IDLE, and nothing else does")
	}
	return no("NONEXISTENT", s.ended)
}

// mostAfterIdle bounds the line that ends IDLE.
const mostAfterIdle = 1024

// silent ends a session whose client went away, or said nothing for too long.
func (s *session) silent(err error) reply {
	var timeout net.Error
	switch {
	case s.ctx.Err() != nil:
		s.ended = "the server stops"
	case errors.As(err, &timeout) && timeout.Timeout():
		s.ended = "you were silent for too long"
	default:
		s.ended, s.broken = "gone", err
	}
	return no("", "gone")
}

// errNews ends a wait for the client, because there is something to tell.
var errNews = errors.New("news")

// alarm lets others interrupt a session that waits, and only one that waits: a call that comes when the wait is over, and somebody is always
// late, must not cut off the command that is being read.
type alarm struct {
	mu      sync.Mutex
	rung    bool // there is news
	waiting bool
}

// wake has the session look for news. It is called by others.
func (s *session) wake() {
	s.alarm.mu.Lock()
	defer s.alarm.mu.Unlock()
	s.alarm.rung = true
	if s.alarm.waiting {
		s.conn.SetReadDeadline(time.Now())
	}
}

// await waits until the client has sent something, or until wake was called: errNews. A wait that ends so has taken nothing off the connection.
func (s *session) await(until time.Time) error {
	for {
		if !s.listen(until) {
			return errNews
		}
		var err error
		if s.reader.Buffered() == 0 {
			err = s.reader.Peek()
		}
		s.turnAway(until)
		if s.ctx.Err() != nil {
			return s.ctx.Err()
		}
		var timeout net.Error
		if errors.As(err, &timeout) && timeout.Timeout() && time.Now().Before(until) {
			continue
		}
		return err
	}
}

// listen begins a wait, unless there is news.
func (s *session) listen(until time.Time) bool {
	s.alarm.mu.Lock()
	defer s.alarm.mu.Unlock()
	if s.alarm.rung {
		s.alarm.rung = false
		return false
	}
	s.alarm.waiting = true
	s.conn.SetReadDeadline(until)
	if s.ctx.Err() != nil { // the server stopped just now, and the line above has undone it
		s.interrupt()
	}
	return true
}

// turnAway ends a wait; what is read next has the time that is left.
func (s *session) turnAway(until time.Time) {
	s.alarm.mu.Lock()
	defer s.alarm.mu.Unlock()
	s.alarm.waiting = false
	s.conn.SetReadDeadline(until)
}

// watched reports whether the selected mailbox is there and may be read; else the session ends, for there is nothing more to tell (RFC 2180
// section 3.3). One that was renamed goes on.
func (s *session) watched() bool {
	switch {
	case !s.stillShared():
		s.ended = "its owner does not share the mailbox any more"
	case s.box.folder.Gone() && !s.box.folder.Moved():
		s.ended = "the mailbox was deleted"
	}
	return s.ended == ""
}
