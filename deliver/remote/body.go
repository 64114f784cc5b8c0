package remote

import (
	"errors"
	"strconv"
	"time"

	"pennypost/internal/status"
)

// body is a message being sent, after DATA or as BDAT chunks (RFC 3030).
type body struct {
	s       *session
	m       *message
	chunked bool
	wire    wire
	chunk   *[]byte // what a block has become
	chunks  int     // BDAT commands sent
	read    int     // and answered
	until   time.Time
	vain    bool   // nobody is to have it: the chunks are refused, and that says nothing of the host
	bad     *reply // the first reply to a chunk that was not 250
}

func (s *session) newBody(m *message, chunked bool) *body {
	b := &body{s: s, m: m, chunked: chunked, wire: wire{stuff: !chunked}}
	// A peer that takes less than 1 KiB a second on the average is not taking the message.
	b.until = time.Now().Add(10*time.Minute + time.Duration((m.end-m.start)>>10)*time.Second)
	s.limit = b.until
	return b
}

// sendAll sends the message to its end. What is small enough stays in the session's buffer together with the commands before it.
func (b *body) sendAll() *trouble {
	var t *trouble
	b.chunk = blocks.Get().(*[]byte)
	defer blocks.Put(b.chunk)
	err := b.m.each(b.s.top(b.m), func(part []byte, last bool) error {
		if t = b.part(part, last); t != nil {
			return errStop
		}
		return nil
	})
	switch {
	case t != nil:
		return t
	case err != nil:
		b.s.broken = true // in the middle of a message: the connection is cut, and the peer forgets what it has
		b.s.close()
		return ours(err)
	}
	if b.chunked && b.s.ext.pipelining && b.s.next < len(b.s.ends) {
		return nil // goes out with the first reply that is waited for
	}
	return b.flush()
}

// errStop ends each early.
var errStop = errors.New("stop")

// part sends one block of the file.
func (b *body) part(part []byte, last bool) *trouble {
	s := b.s
	if time.Now().After(b.until) {
		s.broken = true
		return &trouble{Result: later(451, "4.4.2", "takes the message too slowly"), host: s.label, site: true, other: true}
	}
	if !b.chunked {
		s.out = b.wire.append(s.out, part)
		if last {
			s.out = append(b.wire.end(s.out), ".\r\n"...)
			return nil // flushed by sendAll
		}
		return b.flush()
	}
	if !b.m.raw {
		*b.chunk = b.wire.append((*b.chunk)[:0], part)
		if last {
			*b.chunk = b.wire.end(*b.chunk)
		}
		part = *b.chunk
	}
	s.out = append(s.out, "BDAT "...)
	s.out = strconv.AppendInt(s.out, int64(len(part)), 10)
	if last {
		s.out = append(s.out, " LAST"...)
	}
	s.out = append(append(s.out, '\r', '\n'), part...)
	b.chunks++
	if s.next < len(s.ends) { // replies to MAIL and RCPT are still to come: part of the flight
		if len(s.out)-s.sent < block {
			return nil
		}
		return b.flush()
	}
	if t := b.flush(); t != nil {
		return t
	}
	for !last && b.read < b.chunks-1 || !last && !s.ext.pipelining && b.read < b.chunks { // one behind
		if t := b.chunkReply(); t != nil {
			return t
		}
	}
	return nil
}

// flush sends what is in the buffer.
func (b *body) flush() *trouble {
	s := b.s
	if s.sent < len(s.out) {
		if t := s.write(s.out[s.sent:]); t != nil {
			return t
		}
	}
	if s.next == len(s.ends) {
		s.forget()
	} else {
		s.sent = len(s.out)
	}
	return nil
}

// chunkReply reads the reply to a chunk that is not the last.
func (b *body) chunkReply() *trouble {
	r, t := b.s.reply(b.s.c.conf.Remote.DataTime)
	if t != nil {
		return t
	}
	if b.read++; r.code/100 != 2 && b.bad == nil && !b.vain {
		b.bad = &r
		return b.noted()
	}
	return nil
}

// noted looks whether a host that offers CHUNKING cannot do it: it is then sent DATA, today and the next days.
func (b *body) noted() *trouble {
	if code := b.bad.code; code < 500 || code > 504 {
		return nil
	}
	b.s.c.memory.noBDAT(b.s.addr)
	b.s.broken = true
	return &trouble{Result: judge(*b.bad), host: b.s.label, data: true}
}

// finish reads what the host says to the end of the message: one reply, in LMTP one for each accepted recipient (RFC 2033
// section 4.2).
func (b *body) finish(accepted []*recipient) *trouble {
	s := b.s
	wait := s.c.conf.Remote.DataTime
	s.limit = time.Now().Add(wait)
	b.vain = len(accepted) == 0
	if t := b.flush(); t != nil {
		return t
	}
	for b.chunked && b.read < b.chunks-1 {
		if t := b.chunkReply(); t != nil {
			return b.after(t)
		}
	}
	replies := 1
	if s.lmtp {
		replies = len(accepted)
		if b.chunked && replies == 0 {
			replies = 1 // RFC 2033 says nothing of this; a server that counts the chunk as failed says so once
		}
	}
	for i := range replies {
		r, t := s.reply(wait)
		if t != nil {
			return b.after(t)
		}
		if b.bad != nil {
			r = *b.bad // the chunk that failed is the reason, not what followed from it
		}
		if b.chunked && i == 0 && r.code/100 != 2 && len(accepted) > 0 {
			if b.bad = &r; r.code >= 500 && r.code <= 504 {
				return b.noted()
			}
		}
		result := judge(r)
		if result.Outcome == status.Delivered {
			result.Text = told(result.Text, s.secure)
		}
		whom := accepted
		if s.lmtp && len(accepted) > 0 {
			whom = accepted[i : i+1]
		}
		for _, to := range whom {
			to.answer(s.label, result)
			to.passed = s.ext.dsn && result.Outcome == status.Delivered
		}
	}
	if len(accepted) > 0 {
		s.messages++
		s.dirty = b.bad != nil // RFC 3030 section 2: after a chunk that failed only RSET is certain
	}
	return nil
}

// after is trouble when the message was sent whole but its answer is missing. The host may have taken it, so no other host
// and no new connection is tried now: one copy too many later is enough.
func (b *body) after(t *trouble) *trouble {
	if t.data {
		return t
	}
	t.stale, t.other = false, false
	if t.Code == 451 && t.Enhanced == "4.4.2" {
		t.Text = "no answer to the end of the message, which may have arrived: " + t.Text
	}
	return t
}

// told is the host's answer, with what is to be said of the connection: the results journal keeps both.
func told(text, secure string) string {
	if text == "" {
		return "(" + secure + ")"
	}
	return text + " (" + secure + ")"
}
