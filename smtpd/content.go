package smtpd

import (
	"errors"
	"io"
	"strings"

	"golang.org/x/sys/unix"

	"pennypost/internal/address"
	"pennypost/internal/header"
	"pennypost/queue"
)

// open starts the spool file of the transaction, with what stands before the message.
func (s *session) open() reply {
	t := &s.tx
	t.id = s.srv.Spool.NewID()
	t.ready = s.mayLink()
	var err error
	if t.ready {
		t.w, err = s.srv.Spool.BeginReady(s.producer, t.id)
	} else {
		t.env = queue.Envelope{ID: t.id, Via: s.via(), From: t.from, Mail: t.mail, HoldUntil: t.hold, Rcpts: t.rcpts}
		t.env.Auth, t.env.Checks = s.userName(), t.checks
		t.w, err = s.srv.Spool.Begin(s.producer, &t.env)
	}
	if err != nil {
		t.w = nil
		return s.disk(err)
	}
	s.filter.Reset(t.w)
	if !s.lmtp { // who speaks LMTP is beside us, and may have been given our own mail to look at
		s.strip.Reset(t.w, s.srv.names)
		s.filter.Out = &s.strip
	}
	if t.ready {
		s.filter.Drop = header.ReturnPath | header.Checks // RFC 5321 section 4.4: ours replaces it
	}
	if s.login {
		s.filter.Drop |= header.Bcc | header.ResentBcc
		s.filter.Keep = s.set.CheckSender
		s.filter.Missing = s.missing
	}
	if t.ready {
		s.text = s.envelope(s.text[:0])
		if _, err := t.w.Write(s.text); err != nil {
			return s.disk(err)
		}
	}
	if t.judging != nil {
		t.w.Later(verdictRoom)
	}
	s.text = s.trace(s.text[:0])
	if _, err := t.w.Write(s.text); err != nil {
		return s.disk(err)
	}
	return reply{}
}

// content is where the message goes as it comes.
func (s *session) content() io.Writer {
	if s.tx.judging != nil {
		return tee{s.tx.judging.check, &s.filter}
	}
	return &s.filter
}

// endContent lets go of what was held back of the message.
func (s *session) endContent() error {
	err := s.filter.Close()
	if err == nil && !s.lmtp {
		err = s.strip.Close()
	}
	return err
}

// mayLink reports whether the message can be kept in the form that is linked into the one mailbox it is for: an
// envelope would have nothing more to say than the two lines that form begins with.
func (s *session) mayLink() bool {
	t := &s.tx
	return s.srv.Ready && !s.lmtp && t.bare && len(t.rcpts) == 1 && t.account != nil && t.rcpts[0].To.Domain != ""
}

// accept decides about the message that has come, and makes it ours: the moment of RFC 5321 section 6.1.
func (s *session) accept() reply {
	defer s.reset()
	t := &s.tx
	if t.verdict.Write == nil {
		t.verdict.Write = s.endContent()
	}
	r := s.judge()
	if r.code == 0 {
		r = s.judged()
	}
	if r.code != 0 {
		return s.each(s.refuse(t.rcpts[0].To, r))
	}
	if err := t.w.Commit(); err != nil {
		return s.each(s.refuse(t.rcpts[0].To, s.disk(err)))
	}
	if s.counted() && !s.known.Load() {
		s.welcome()
	}
	s.sent = append(s.sent, taken{t.w, t.id, t.from, len(t.rcpts), t.verdict.Size, s.with(), t.checks, t.why})
	s.messages++
	s.junk = 0
	return s.each(reply{250, "2.0.0", t.id + " accepted"})
}

// taken is a message that is ours. Its log line and the word to queue-run are for after the reply: the client need not
// wait for them.
type taken struct {
	w     Writer
	id    string
	from  address.Path
	rcpts int
	size  int64
	with  string

	checks, why string
}

func (m *taken) tell(s *session) {
	m.w.Hint()
	s.srv.Log.Accept(m.id, m.from, m.rcpts, m.size, s.producer+" "+strings.ToLower(m.with), s.ip, s.userName(), m.checks, m.why)
}

// userName is who logged in, "" for nobody.
func (s *session) userName() string {
	if s.user == nil {
		return ""
	}
	return s.user.Account.Path().String()
}

// judge says what is wrong with a message; the zero reply is nothing.
func (s *session) judge() reply {
	v, f := &s.tx.verdict, &s.filter.Facts
	switch {
	case v.Write != nil:
		return s.disk(v.Write)
	case v.TooBig:
		return reply{552, "5.3.4", "larger than a message may be here"}
	case v.NUL:
		return reply{550, "5.6.0", "NUL in the message"}
	case v.Bare && (v.BareCR || !contains(s.set.BareLFNetworks, s.peer)):
		return reply{550, "5.6.11", "bare CR or LF in the message, lines end with CR LF"}
	case f.Err != nil:
		return reply{552, "5.3.4", "the header is larger than one may be here"}
	case f.Received > s.set.MaxReceived:
		return reply{554, "5.4.6", "the message goes round in circles: too many Received lines"}
	case s.tx.local && len(s.tx.rcpts) == 1 && s.delivered():
		return reply{554, "5.4.6", "the message goes round in circles: it was delivered to that address before"}
	}
	return s.fromOwned()
}

// delivered reports whether the one recipient is in a Delivered-To line already.
func (s *session) delivered() bool {
	if len(s.filter.DeliveredTo) == 0 {
		return false
	}
	to := s.tx.rcpts[0].To.String()
	for _, d := range s.filter.DeliveredTo {
		if strings.EqualFold(strings.Trim(d, "<>"), to) {
			return true
		}
	}
	return false
}

// disk is what the client hears of an error of the disk; the log hears all of it. After an I/O error the disk
// cannot be trusted with more: a failed fsync may succeed the next time without having written anything (S136).
func (s *session) disk(err error) reply {
	s.srv.Log.Warn("spool", err)
	switch {
	case errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EDQUOT):
		return reply{452, "4.3.1", "not enough space now, try later"}
	case errors.Is(err, unix.EIO), errors.Is(err, unix.EROFS):
		s.srv.broken.Store(true)
	}
	return reply{451, "4.3.0", "cannot keep the message now, try later"}
}
