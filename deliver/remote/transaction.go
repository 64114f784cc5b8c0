package remote

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"pennypost/internal/address"
	"pennypost/internal/status"
)

// oneFlight is how large a message may be to go out with its MAIL and RCPT in one flight; of a larger one we want to know
// first that somebody will have it.
const oneFlight = 256 << 10

// send takes m to as many of rcpts as the session allows, one transaction after the other. Recipients that are judged are
// done afterwards; trouble is the lot of the others.
func (s *session) send(m *message, rcpts []*recipient) *trouble {
	if !s.lmtp {
		if t := s.c.sign(m); t != nil {
			return t
		}
	}
	if t := s.suits(m, rcpts); t != nil {
		t.host = s.label
		return t
	}
	for len(rcpts) > 0 {
		most := maxRcpts
		if s.ext.rcptMax > 0 {
			most = s.ext.rcptMax
		}
		now := rcpts[:s.together(rcpts, most)]
		rest := rcpts[len(now):]
		again, t := s.transact(m, now)
		if t != nil {
			if t.host == "" {
				t.host = s.label
			}
			return t
		}
		s.again = false
		if rcpts = rest; len(again) > 0 {
			rcpts = append(again[:len(again):len(again)], rest...)
		}
		if len(rcpts) > 0 && s.ext.mailMax > 0 && s.messages >= s.ext.mailMax {
			return &trouble{Result: later(451, "4.5.3", "the host takes no more messages in this session"), host: s.label, stale: true}
		}
	}
	return nil
}

// together is how many of rcpts, at most, one transaction may have. Where the host limits the domains too, those of one
// domain are brought together.
func (s *session) together(rcpts []*recipient, most int) int {
	most = min(most, len(rcpts))
	if s.ext.domainMax == 0 {
		return most
	}
	slices.SortStableFunc(rcpts, func(a, b *recipient) int { return strings.Compare(a.to.DomainUnicode(), b.to.DomainUnicode()) })
	domains, last := 0, ""
	for i, r := range rcpts[:most] {
		if d := r.to.DomainUnicode(); i == 0 || d != last {
			if domains++; domains > s.ext.domainMax {
				return i
			}
			last = d
		}
	}
	return most
}

// suits checks that the host can carry the message (RFC 1870 section 6, RFC 6152 section 3, RFC 6531 section 3.5). If not,
// another may; if none can, the message fails.
func (s *session) suits(m *message, rcpts []*recipient) *trouble {
	fails := func(r status.Result) *trouble { return &trouble{Result: r, other: true} }
	if m.require && !s.here && (s.conn == s.tcp || !s.ext.requireTLS) {
		return notRequired(s.label + " does not offer it")
	}
	if !s.ext.utf8 && m.needsUTF8(rcpts) {
		return fails(never(553, "5.6.7", "the message needs SMTPUTF8, which "+s.label+" does not offer"))
	}
	if (m.wire == 0 || m.declared == "" || m.declared == "7BIT") && !m.measured {
		if err := m.measure(); err != nil {
			return ours(err)
		}
	}
	if size := s.size(m); s.ext.maxSize > 0 && size > s.ext.maxSize {
		return fails(never(552, "5.3.4", fmt.Sprintf("the message has %d octets, %s takes %d", size, s.label, s.ext.maxSize)))
	}
	if m.raw && !(s.ext.binary && s.chunks()) {
		if err := m.measure(); err != nil {
			return ours(err)
		}
		if !m.clean {
			return fails(never(554, "5.6.3", "the message is binary, which "+s.label+" does not take"))
		}
	}
	if !s.ext.eightBit && !s.ext.binary {
		if err := m.measure(); err != nil {
			return ours(err)
		}
		if m.eight && !(s.ext.utf8 && m.needsUTF8(rcpts)) {
			return fails(never(554, "5.6.3", "the message has 8-bit text, which "+s.label+" does not take"))
		}
	}
	return nil
}

// top is what goes on top of the message here: signatures are for other hosts, and not for a program of ours behind LMTP.
func (s *session) top(m *message) []byte {
	if s.lmtp {
		return nil
	}
	if m.raw {
		return bytes.ReplaceAll(m.top, []byte("\n"), []byte("\r\n"))
	}
	return m.top
}

// size is the octets of the message here.
func (s *session) size(m *message) int64 {
	if s.lmtp {
		return m.wire
	}
	return m.wire + m.topWire
}

// ours is trouble with the message's file: not the host's fault, and no reason to try another.
func ours(error) *trouble {
	return &trouble{Result: later(451, "4.3.0", "the message could not be read")}
}

// needsUTF8 reports whether only a host with SMTPUTF8 can have the message. A domain alone is no reason: it has A-labels.
func (m *message) needsUTF8(rcpts []*recipient) bool {
	if !isASCII(m.from.Local) || m.asksUTF8 && m.header8() {
		return true
	}
	for _, r := range rcpts {
		if !isASCII(r.to.Local) {
			return true
		}
	}
	return false
}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}

func (s *session) chunks() bool {
	_, noBDAT := s.c.memory.quirks(s.addr)
	return s.ext.chunking && !noBDAT
}

// transact is one transaction. It returns the recipients the host did not want in this one but may in the next.
func (s *session) transact(m *message, rcpts []*recipient) (again []*recipient, t *trouble) {
	if m.gone != nil && m.gone.Load() {
		return nil, &trouble{Result: later(451, "4.3.2", "deliver-remote is stopping")}
	}
	conf := &s.c.conf.Remote
	s.limit = time.Now().Add(10 * time.Minute)
	s.forget()
	if s.dirty {
		s.queue("RSET")
	}
	s.mailCommand(m, rcpts)
	for _, r := range rcpts {
		s.rcptCommand(m, r)
	}
	chunks := s.chunks()
	early := chunks && s.ext.pipelining && m.end-m.start <= oneFlight
	var body *body
	if early {
		body = s.newBody(m, true)
		if t := body.sendAll(); t != nil {
			return nil, t
		}
	} else if !chunks {
		s.queue("DATA")
	}

	if s.dirty {
		if _, t := s.answer(conf.CommandTime, nil); t != nil {
			return nil, t
		}
	}
	s.dirty = true
	sender, t := s.answer(conf.CommandTime, nil)
	if t != nil {
		return nil, t
	}
	if sender.code/100 != 2 && !s.ext.pipelining {
		s.forget() // nothing else is said in a transaction that was refused
		return nil, s.refusedSender(sender)
	}
	accepted, again, t := s.readRcpts(rcpts, sender)
	if t != nil {
		return nil, t
	}
	switch {
	case early:
		t = body.finish(accepted)
	case len(accepted) == 0 && (chunks || !s.ext.pipelining):
		s.forget()
	case chunks:
		body = s.newBody(m, true)
		if t = body.sendAll(); t == nil {
			t = body.finish(accepted)
		}
	default:
		t = s.data(m, accepted)
	}
	if t == nil && sender.code/100 != 2 {
		t = s.refusedSender(sender)
	}
	return again, t
}

// refusedSender is what a reply to MAIL other than 2yz means: for all recipients. A deferral may be only this host's.
func (s *session) refusedSender(r reply) *trouble {
	result := judge(r)
	return &trouble{Result: result, host: s.label, other: result.Outcome == status.Deferred}
}

// readRcpts reads the replies to RCPT.
func (s *session) readRcpts(rcpts []*recipient, sender reply) (accepted, again []*recipient, t *trouble) {
	accepted = make([]*recipient, 0, len(rcpts))
	for _, r := range rcpts {
		rep, t := s.answer(s.c.conf.Remote.CommandTime, nil)
		switch {
		case t != nil:
			return nil, nil, t
		case sender.code/100 != 2:
			// "503 MAIL first" is no judgement about the recipient
		case rep.code/100 == 2:
			accepted = append(accepted, r)
		case (rep.code == 452 || rep.code == 552) && len(accepted) > 0:
			// RFC 5321 section 4.5.3.1.10: too many for one transaction; some servers say 552.
			again = append(again, r)
		default:
			r.answer(s.label, judge(rep))
		}
	}
	return accepted, again, nil
}

// data reads the reply to DATA and sends the message after it.
func (s *session) data(m *message, accepted []*recipient) *trouble {
	rep, t := s.answer(s.c.conf.Remote.CommandTime, nil) // RFC 5321 section 4.5.3.2.4 wants 2 minutes at least
	switch {
	case t != nil:
		return t
	case rep.code != 354:
		if len(accepted) == 0 {
			return nil // as it should be
		}
		result := judge(rep)
		if rep.code/100 < 4 {
			s.broken = true // it may now wait for data
			result = later(451, "4.5.0", "unexpected reply to DATA: "+rep.text)
		}
		for _, r := range accepted {
			r.answer(s.label, result)
		}
		return nil
	case len(accepted) == 0: // RFC 2920 section 3.1: it wants an end, and must not get the message
		if t := s.write([]byte(".\r\n")); t != nil {
			return t
		}
		if s.lmtp { // RFC 2033 section 4.2: no reply without recipients
			return nil
		}
		_, t := s.reply(s.c.conf.Remote.DataTime)
		return t
	}
	if m.gone != nil && m.gone.Load() {
		s.broken = true
		return &trouble{Result: later(451, "4.3.2", "deliver-remote is stopping")}
	}
	body := s.newBody(m, false)
	if t := body.sendAll(); t != nil {
		return t
	}
	return body.finish(accepted)
}

// mailCommand queues MAIL with the parameters the host offers.
func (s *session) mailCommand(m *message, rcpts []*recipient) {
	utf8 := s.ext.utf8 && (m.needsUTF8(rcpts) || !m.from.ASCII() || beyondASCII(rcpts))
	s.out = append(s.out, "MAIL FROM:<"...)
	s.out = appendPath(s.out, m.from, utf8)
	s.out = append(s.out, '>')
	if s.ext.size && m.wire > 0 {
		s.out = append(s.out, " SIZE="...)
		s.out = strconv.AppendInt(s.out, s.size(m), 10)
	}
	switch {
	case m.raw && !m.clean && s.ext.binary:
		s.out = append(s.out, " BODY=BINARYMIME"...)
	case s.ext.eightBit && (m.eight || m.declared == "8BITMIME" || m.declared == "BINARYMIME"):
		s.out = append(s.out, " BODY=8BITMIME"...)
	}
	if utf8 {
		s.out = append(s.out, " SMTPUTF8"...)
	}
	if m.require && s.ext.requireTLS && s.conn != s.tcp { // RFC 8689 section 2
		s.out = append(s.out, " REQUIRETLS"...)
	}
	if s.ext.dsn && !m.from.IsNull() { // RFC 3461 section 4.3, 4.4: to whom should a report go without a sender?
		s.parameter(" RET=", m.ret)
		s.parameter(" ENVID=", m.envid)
	}
	s.endCommand()
}

// rcptCommand queues RCPT. NOTIFY and ORCPT are passed on as they came (RFC 3461 section 5.2.1), except that a target of an
// alias is not asked for a success report: our "expanded" has been that (section 5.2.7.3).
func (s *session) rcptCommand(m *message, r *recipient) {
	s.out = append(s.out, "RCPT TO:<"...)
	s.out = appendPath(s.out, r.to, s.ext.utf8)
	s.out = append(s.out, '>')
	if s.ext.dsn && r.params != "" {
		for word := range strings.FieldsSeq(r.params) {
			key, value, _ := strings.Cut(word, "=")
			switch strings.ToUpper(key) {
			case "NOTIFY":
				if r.num.Sub > 0 {
					value = withoutSuccess(value)
				}
				s.parameter(" NOTIFY=", value)
			case "ORCPT":
				s.parameter(" ORCPT=", value)
			}
		}
	}
	s.endCommand()
}

// parameter adds an ESMTP parameter if its value can be one (RFC 5321 section 4.1.2, RFC 6531 for what is not ASCII).
func (s *session) parameter(key, value string) {
	for i := range len(value) {
		if c := value[i]; c <= ' ' || c == 0x7f || c >= 0x80 && !s.ext.utf8 {
			return
		}
	}
	if value != "" {
		s.out = append(append(s.out, key...), value...)
	}
}

func withoutSuccess(notify string) string {
	var kept []string
	for word := range strings.SplitSeq(notify, ",") {
		if !strings.EqualFold(word, "SUCCESS") {
			kept = append(kept, word)
		}
	}
	if len(kept) == 0 {
		return "NEVER"
	}
	return strings.Join(kept, ",")
}

func beyondASCII(rcpts []*recipient) bool {
	for _, r := range rcpts {
		if !r.to.ASCII() {
			return true
		}
	}
	return false
}

// appendPath writes a path; without SMTPUTF8 its domain in A-labels.
func appendPath(b []byte, p address.Path, utf8 bool) []byte {
	if !utf8 && !isASCII(p.Domain) {
		if domain, err := p.DomainASCII(); err == nil {
			p.Domain = domain
		}
	}
	return p.Append(b)
}
