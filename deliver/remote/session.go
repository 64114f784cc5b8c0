package remote

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
)

// session is one connection, from the greeting on.
type session struct {
	c      *Client
	conn   net.Conn // with TLS, once that is on
	tcp    net.Conn // without
	r      *bufio.Reader
	label  string         // mx1.example.org[192.0.2.5]
	addr   netip.AddrPort // zero for a unix socket
	name   string         // of the host, as TLS is to prove it
	host   *host
	lmtp   bool
	here   bool // a program on this machine
	ext    extensions
	need   demand
	secure string // what is said of TLS in answers: "in clear", "TLSv1.3, certificate verified", …

	verdict    string   // what TLS did: dane mta-sts verified opportunistic-verified opportunistic none; "" for a program here
	unverified error    // why no authority vouches for the certificate
	counted    []string // domains whose reports have the session
	opened     time.Time
	timer      *time.Timer // while idle

	messages int       // taken in this session
	again    bool      // it was idle before this order
	dirty    bool      // a transaction may be open: RSET first
	broken   bool      // of no use for another message
	limit    time.Time // until when all of the dialogue before the data must be over (S044)

	out  []byte // commands to be sent
	ends []int  // where each ends
	sent int    // octets of out that are sent
	next int    // which command's reply is read next
}

// extensions are what EHLO offered.
type extensions struct {
	pipelining, chunking, eightBit, utf8, dsn, binary, starttls, requireTLS, size bool
	maxSize                                                                       int64 // 0: no limit known
	auth                                                                          []string
	rcptMax, mailMax, domainMax                                                   int // RFC 9422; 0: not said
}

// open connects to a host and gets the session to where MAIL may be said.
func (c *Client) open(ctx context.Context, d *destination, h *host) (*session, *trouble) {
	began := time.Now()
	need, t := c.demandOf(d, h)
	if t != nil {
		t.host = h.label(h.first())
		c.report(d, h, netip.AddrPort{}, t)
		return nil, t
	}
	conn, at, t := c.dial(ctx, h)
	if t != nil {
		c.log.OpenFail(d.site, t.host, errors.New(t.Text))
		return nil, t
	}
	s := &session{need: need, here: d.here(h), verdict: "none", c: c, conn: conn, tcp: conn, r: bufio.NewReaderSize(conn, 4096), label: h.label(at), addr: at, name: h.name, host: h,
		lmtp: d.lmtp, secure: "in clear", opened: time.Now(), limit: time.Now().Add(helloTime)}
	t = s.greet(d)
	s.count(d, h, t)
	if t != nil {
		t.host = s.label
		if !s.broken {
			c.pool.leave(s)
		} else {
			s.close()
		}
		c.log.OpenFail(d.site, s.label, errors.New(t.Text))
		return nil, t
	}
	if s.conn == s.tcp && s.here {
		s.verdict = ""
	}
	c.log.Open(d.site, s.label, s.verdict, time.Since(began))
	return s, nil
}

// greet is everything before the first MAIL: greeting, EHLO, STARTTLS, EHLO again, AUTH.
func (s *session) greet(d *destination) *trouble {
	if d.implicitTLS {
		if t := s.handshake(d); t != nil {
			return t
		}
	}
	r, t := s.reply(s.c.conf.Remote.CommandTime)
	if t != nil {
		return t
	}
	if r.code != 220 {
		return s.unwelcome("greeting", r)
	}
	if t := s.hello(d); t != nil {
		return t
	}
	if t := s.maybeTLS(d); t != nil {
		return t
	}
	if d.login.user != "" {
		return s.authenticate(d)
	}
	return nil
}

// unwelcome is a host that refuses to talk; another may do better. 521 and 556 say that it never takes mail, which is final if
// all hosts of the domain say so (RFC 7504 section 3). Any other 5yz, 554 among them, is about us rather than the message, and
// often passes.
func (s *session) unwelcome(to string, r reply) *trouble {
	t := &trouble{Result: judge(r), said: true, site: true, other: true}
	if r.code/100 != 4 && r.code/100 != 5 {
		t.Result = later(451, "4.5.0", "unexpected reply: "+r.text)
	}
	t.Text = to + " refused: " + t.Text
	if r.code/100 == 5 && r.code != 521 && r.code != 556 {
		t.Result, t.said = later(451, "4.3.0", strconv.Itoa(r.code)+" "+t.Text), false
	}
	return t
}

// hello says EHLO, or HELO to a host that does not know it (RFC 5321 section 4.1.1.1), and reads what is offered.
func (s *session) hello(d *destination) *trouble {
	verb := "EHLO"
	if s.lmtp {
		verb = "LHLO"
	}
	s.ext = extensions{}
	s.queue(verb, " ", s.c.helo)
	first := true
	r, t := s.answer(s.c.conf.Remote.CommandTime, func(line []byte) {
		if !first {
			s.ext.add(line)
		}
		first = false
	})
	if t != nil {
		return t
	}
	if r.code/100 == 2 {
		// A host that DNS sent us to and that has our name is us, behind an address we do not know of. One that mail.toml names
		// may well be a filter on this machine.
		if who, _, _ := strings.Cut(r.text, " "); d.name == "" && d.unix == "" && strings.EqualFold(who, s.c.conf.Hostname) {
			return &trouble{Result: never(554, "5.4.6", "the host greets with our own name: mail would loop"), other: true}
		}
		return nil
	}
	if s.ext = (extensions{}); r.code/100 == 5 && r.code != 554 && !s.lmtp {
		s.queue("HELO ", s.c.helo)
		if r, t = s.answer(s.c.conf.Remote.CommandTime, nil); t != nil || r.code/100 == 2 {
			return t
		}
	}
	return s.unwelcome(verb, r)
}

// add notes one line of the EHLO reply.
func (e *extensions) add(line []byte) {
	words := strings.Fields(strings.ToUpper(string(line)))
	if len(words) == 0 {
		return
	}
	switch words[0] {
	case "PIPELINING":
		e.pipelining = true
	case "CHUNKING":
		e.chunking = true
	case "8BITMIME":
		e.eightBit = true
	case "BINARYMIME":
		e.binary = true
	case "SMTPUTF8":
		e.utf8 = true
	case "DSN":
		e.dsn = true
	case "STARTTLS":
		e.starttls = true
	case "REQUIRETLS":
		e.requireTLS = true
	case "SIZE":
		e.size = true
		if len(words) > 1 {
			e.maxSize, _ = strconv.ParseInt(words[1], 10, 64)
		}
	case "LIMITS":
		for _, word := range words[1:] {
			key, value, _ := strings.Cut(word, "=")
			n, err := strconv.Atoi(value)
			switch {
			case err != nil || n < 1 || n > 999999: // RFC 9422 section 4: six digits
			case key == "RCPTMAX":
				e.rcptMax = n
			case key == "MAILMAX":
				e.mailMax = n
			case key == "RCPTDOMAINMAX":
				e.domainMax = n
			}
		}
	default:
		if rest, ok := strings.CutPrefix(words[0], "AUTH="); ok { // as some old servers write it
			words = append(words, rest)
		} else if words[0] != "AUTH" {
			return
		}
		for _, mechanism := range words[1:] {
			if !slices.Contains(e.auth, mechanism) && len(e.auth) < 20 {
				e.auth = append(e.auth, mechanism)
			}
		}
	}
}

// queue adds a command; it is sent with others before the next reply is read.
func (s *session) queue(words ...string) {
	for _, word := range words {
		s.out = append(s.out, word...)
	}
	s.endCommand()
}

func (s *session) endCommand() {
	s.out = append(s.out, '\r', '\n')
	s.ends = append(s.ends, len(s.out))
}

// answer reads the reply to the oldest command that has none yet. With PIPELINING all commands go out first, in one write
// (RFC 2920), else this one.
func (s *session) answer(wait time.Duration, line func([]byte)) (reply, *trouble) {
	end := s.ends[s.next]
	if s.ext.pipelining {
		end = len(s.out)
	}
	if s.sent < end {
		if t := s.write(s.out[s.sent:end]); t != nil {
			return reply{}, t
		}
		s.sent = end
	}
	if s.next++; s.next == len(s.ends) && s.sent == len(s.out) {
		s.forget()
	}
	return s.replyLines(wait, line)
}

// forget drops commands that are not to be sent any more.
func (s *session) forget() { s.out, s.ends, s.sent, s.next = s.out[:0], s.ends[:0], 0, 0 }

// write sends b, waiting at most three minutes for the peer to take a block (RFC 5321 section 4.5.3.2.5).
func (s *session) write(b []byte) *trouble {
	s.conn.SetWriteDeadline(time.Now().Add(3 * time.Minute))
	if _, err := s.conn.Write(b); err != nil {
		s.broken = true
		// The peer may have told us why before it hung up.
		s.conn.SetReadDeadline(time.Now().Add(2 * time.Second))
		if r, err := readReply(s.r, nil); err == nil && r.code/100 >= 4 {
			return s.said(r)
		}
		return s.lost(err)
	}
	return nil
}

func (s *session) reply(wait time.Duration) (reply, *trouble) { return s.replyLines(wait, nil) }

// replyLines reads one reply within wait. The time is for all of it, so that a peer that sends an octet a second gains nothing.
func (s *session) replyLines(wait time.Duration, line func([]byte)) (reply, *trouble) {
	until := time.Now().Add(wait)
	if !s.limit.IsZero() && s.limit.Before(until) {
		until = s.limit
	}
	s.conn.SetReadDeadline(until)
	r, err := readReply(s.r, line)
	if err != nil {
		s.broken = true
		return r, s.lost(err)
	}
	if r.code == 421 { // RFC 5321 section 3.8: whatever was asked, this host is closing
		s.broken = true
		return r, s.said(r)
	}
	return r, nil
}

// said makes trouble of a reply that ends the session.
func (s *session) said(r reply) *trouble {
	t := &trouble{Result: judge(r), said: true, host: s.label, site: true, other: true, stale: s.again}
	if r.code/100 == 5 {
		t.Result = later(451, "4.4.2", "hung up after: "+r.text)
	}
	return t
}

// lost makes trouble of a connection that broke.
func (s *session) lost(err error) *trouble {
	why := cause(err)
	switch {
	case errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF):
		why = "closed the connection"
	case errors.Is(err, errLongReply), errors.Is(err, errNoReply):
		return &trouble{Result: later(451, "4.5.0", why), host: s.label, site: true, other: true}
	}
	return &trouble{Result: later(451, "4.4.2", why), host: s.label, site: true, other: true, stale: s.again}
}

// quit ends the session politely, but does not wait long for the answer.
func (s *session) quit() {
	s.conn.SetDeadline(time.Now().Add(2 * time.Second))
	if _, err := io.WriteString(s.conn, "QUIT\r\n"); err == nil {
		readReply(s.r, nil)
	}
	s.close()
}

func (s *session) close() {
	s.broken = true
	if s.conn != s.tcp {
		// A close_notify that the peer does not take must not hold us.
		s.conn.SetDeadline(time.Now().Add(time.Second))
		s.conn.(*tls.Conn).Close()
	}
	s.tcp.Close()
}

// protocol is the TLS version as answers name it.
func protocol(version uint16) string {
	switch version {
	case tls.VersionTLS12:
		return "TLSv1.2"
	case tls.VersionTLS13:
		return "TLSv1.3"
	}
	return fmt.Sprintf("TLS %#04x", version)
}
