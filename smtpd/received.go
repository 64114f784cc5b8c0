package smtpd

import (
	"strings"
	"time"

	"pennypost/internal/escape"
	"pennypost/queue"
)

// with is the protocol as RFC 3848 and RFC 6531 section 4.3 name it: SMTP, ESMTPSA, UTF8LMTPS.
func (s *session) with() string {
	i := 0
	if s.tx.utf8 {
		i |= 1
	}
	if s.protocol != (secured{}) {
		i |= 2
	}
	if s.user != nil {
		i |= 4
	}
	switch {
	case s.lmtp:
		return withLMTP[i]
	case s.esmtp || s.user != nil:
		return withESMTP[i]
	}
	return "SMTP"
}

var withESMTP = [8]string{"ESMTP", "UTF8SMTP", "ESMTPS", "UTF8SMTPS", "ESMTPA", "UTF8SMTPA", "ESMTPSA", "UTF8SMTPSA"}
var withLMTP = [8]string{"LMTP", "UTF8LMTP", "LMTPS", "UTF8LMTPS", "LMTPA", "UTF8LMTPA", "LMTPSA", "UTF8LMTPSA"}

// envelope appends what stands before a message in the link-ready form: the lines that are its envelope.
func (s *session) envelope(b []byte) []byte {
	b = append(b, "Return-Path: <"...)
	b = s.tx.from.Append(b)
	b = append(b, ">\nDelivered-To: "...)
	b = append(s.tx.rcpts[0].To.Append(b), '\n')
	if s.tx.checks != "" {
		b = append(append(append(b, queue.ChecksField...), s.tx.checks...), '\n')
	}
	return b
}

// trace appends Received (RFC 5321 section 4.4).
//
//	Received: from mx.example.net ([192.0.2.7])
//		by mx.example.org (Pennypost) with ESMTPS (TLSv1.3 TLS_AES_128_GCM_SHA256)
//		id 0fk2v9qk3x7m2c000-a
//		for <bob@example.org>; Tue, 3 Mar 2026 10:11:12 +0000
func (s *session) trace(b []byte) []byte {
	b = append(b, "Received: from "...)
	if s.user != nil && s.set.HideClient {
		b = append(append(b, s.srv.Hostname...), " (a user of ours)"...)
	} else {
		b = appendName(b, s.helo)
		b = append(b, " ("...)
		b = s.appendPeer(b)
		b = append(b, ')')
	}
	b = append(append(b, "\n\tby "...), s.srv.Hostname...)
	b = append(append(b, " (Pennypost) with "...), s.with()...)
	if s.protocol != (secured{}) {
		b = append(append(b, " ("...), s.protocol.version...)
		b = append(append(append(b, ' '), s.protocol.cipher...), ')')
	}
	b = append(append(b, "\n\tid "...), s.tx.id...)
	if len(s.tx.rcpts) == 1 { // more would tell each of the others, section 7.2
		b = append(b, "\n\tfor <"...)
		b = s.tx.rcpts[0].To.Append(b)
		b = append(b, '>')
	}
	b = append(b, "; "...)
	b = append(b, s.srv.date()...)
	return append(b, '\n')
}

// appendPeer is the client's address as an address literal.
func (s *session) appendPeer(b []byte) []byte {
	switch {
	case !s.peer.IsValid():
		return append(b, "local"...)
	case s.peer.Is6():
		b = append(b, "[IPv6:"...)
	default:
		b = append(b, '[')
	}
	return append(s.peer.WithZone("").AppendTo(b), ']')
}

// appendName is the client's name for a header: what stands for something there is replaced (S060).
func appendName(b []byte, name string) []byte {
	for i := range len(name) {
		if c := name[i]; strings.IndexByte(`()<>,;\"@`, c) >= 0 {
			b = append(b, '?')
		} else {
			b = append(b, c)
		}
	}
	return b
}

// via is what the envelope says of where the message came from, spool(5).
func (s *session) via() string {
	b := s.text[:0]
	b = append(append(append(b, s.producer...), ' '), strings.ToLower(s.with())...)
	if s.protocol != (secured{}) {
		b = append(append(b, " tls="...), s.protocol.version...)
		b = append(append(b, ','), s.protocol.cipher...)
	}
	if s.peer.IsValid() {
		b = s.peer.AppendTo(append(b, " ip="...))
	}
	b = append(b, " helo="...)
	b = escape.Append(b, s.helo)
	s.text = b[:0]
	return string(b)
}

// second is a second as a date of RFC 5322.
type second struct {
	unix int64
	text string
}

// date is now. It is put into words once a second.
func (srv *Server) date() string {
	now := time.Now()
	if d := srv.second.Load(); d != nil && d.unix == now.Unix() {
		return d.text
	}
	d := &second{now.Unix(), now.Format("Mon, 2 Jan 2006 15:04:05 -0700")}
	srv.second.Store(d)
	return d.text
}
