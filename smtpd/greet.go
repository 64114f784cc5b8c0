package smtpd

import (
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"pennypost/login"
)

// banner is the first word, RFC 5321 section 4.3.1. Who speaks before it does not wait for what we say (S017): it counts
// as an error, and is told so.
func (s *session) banner() {
	if s.name == "mx" && s.counted() && s.early() { // machines of ours may
		s.errors++
		s.srv.Log.Refuse(s.name, s.ip, "client spoke before the banner")
	}
	if s.set.MaxErrors <= s.errors {
		s.say(reply{421, "4.7.0", "wait for the banner"})
		return
	}
	kind := " ESMTP"
	if s.lmtp {
		kind = " LMTP"
	}
	s.add(reply{220, "", s.srv.Hostname + kind}, ' ')
}

// early reports whether octets have come already.
func (s *session) early() bool {
	c, ok := s.raw.(syscall.Conn)
	if !ok {
		return false
	}
	raw, err := c.SyscallConn()
	if err != nil {
		return false
	}
	n := 0
	raw.Read(func(fd uintptr) bool {
		var b [1]byte
		n, _, _ = unix.Recvfrom(int(fd), b[:], unix.MSG_PEEK|unix.MSG_DONTWAIT)
		return true
	})
	return n > 0
}

// ehlo answers EHLO (section 4.1.1.1): a list of what we can do.
func (s *session) ehlo(arg string) reply {
	if s.lmtp {
		return reply{500, "5.5.1", "this is LMTP: say LHLO"}
	}
	return s.hello(arg, true)
}

// lhlo answers LHLO (RFC 2033 section 4.1).
func (s *session) lhlo(arg string) reply {
	if !s.lmtp {
		return reply{500, "5.5.1", "this is SMTP: say EHLO"}
	}
	return s.hello(arg, true)
}

// heloOld answers HELO.
func (s *session) heloOld(arg string) reply {
	if s.lmtp {
		return reply{500, "5.5.1", "this is LMTP: say LHLO"}
	}
	return s.hello(arg, false)
}

// hello takes the client's name. A name that is no domain or address literal is not held against it (section 4.1.4), one
// that could do harm in a header or a log is (S060).
func (s *session) hello(name string, extended bool) reply {
	if name == "" {
		return reply{501, "5.5.4", "say your name after it"}
	}
	if len(name) > 255 {
		return reply{501, "5.5.4", "no name is that long"}
	}
	for i := range len(name) {
		if c := name[i]; c <= ' ' || c >= 0x7f && !s.eightBitName(name) {
			return reply{501, "5.5.4", "that is no host name"}
		}
	}
	s.state = greeted
	s.reset()
	s.helo, s.esmtp = name, extended
	if !extended {
		return reply{250, "", s.srv.Hostname}
	}
	s.add(reply{250, "", s.srv.Hostname}, '-')
	s.extensions()
	return reply{250, "", "HELP"}
}

// eightBitName reports whether name is UTF-8, as RFC 6531 section 3.7.1 has it for clients with such a name.
func (s *session) eightBitName(name string) bool {
	for _, r := range name {
		if r == 0xfffd || r >= 0x7f && r < 0xa0 {
			return false
		}
	}
	return true
}

// extensions are the lines of EHLO between our name and the last one.
func (s *session) extensions() {
	has := func(text string) { s.add(reply{250, "", text}, '-') }
	num := func(name string, n int64) string { return name + strconv.FormatInt(n, 10) }
	has("PIPELINING")
	has(num("SIZE ", s.set.MaxSize))
	has("8BITMIME")
	has("SMTPUTF8")
	has("DSN")
	has("ENHANCEDSTATUSCODES")
	has("CHUNKING")
	if s.srv.TLS != nil && s.protocol == (secured{}) {
		has("STARTTLS")
	}
	if !s.lmtp && s.protocol != (secured{}) { // RFC 8689 section 2: under TLS only
		has("REQUIRETLS")
	}
	if s.mayLogin() && s.user == nil {
		has("AUTH " + strings.Join(login.Offer(s.srv.Login, s.conn), " "))
	}
	if s.future() > 0 {
		until := time.Now().Add(s.future()).UTC().Format(time.RFC3339)
		has(num("FUTURERELEASE ", int64(s.future()/time.Second)) + " " + until)
	}
	has(num("LIMITS RCPTMAX=", int64(s.mostRcpts())) + num(" MAILMAX=", int64(s.set.MaxMessages)))
}

// future is how long a message may be held for its sender, 0 for not at all.
func (s *session) future() time.Duration {
	if !s.login {
		return 0
	}
	return s.set.FutureRelease
}
