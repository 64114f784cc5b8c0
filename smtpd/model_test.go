package smtpd

import (
	"io"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"testing"

	"pennypost/internal/line"
	"pennypost/internal/maillog"
)

// model is a second, simpler opinion about the state of a session: which class of reply each step gets.
type model struct {
	hello, mail bool
	rcpts       int
	chunks      bool
	bad         bool // a chunk had a bare LF
	kept        int
}

// step is one thing a client does: a command, and the content that follows it where the server asks for it.
type step struct {
	name    string
	line    string
	content string
	answer  func(m *model) int
}

func (m *model) end() { *m = model{hello: m.hello, kept: m.kept} }

var steps = []step{
	{"hello", "EHLO client.example.net", "", func(m *model) int { m.hello = true; m.end(); return 250 }},
	{"old hello", "HELO client.example.net", "", func(m *model) int { m.hello = true; m.end(); return 250 }},
	{"no name", "EHLO", "", func(m *model) int { return 501 }},
	{"rset", "RSET", "", func(m *model) int { m.end(); return 250 }},
	{"noop", "NOOP", "", func(m *model) int { return 250 }},
	{"vrfy", "VRFY bob", "", func(m *model) int { return 252 }},
	{"junk", "FOO", "", func(m *model) int { return 500 }},
	{"mail", "MAIL FROM:<a@example.net>", "", (*model).mailFrom},
	{"mail again", "MAIL FROM:<>", "", (*model).mailFrom},
	{"bad mail", "MAIL FROM:<a@example.net> FOO=1", "", func(m *model) int {
		if !m.hello || m.mail {
			return 503
		}
		return 555
	}},
	{"rcpt", "RCPT TO:<bob@example.org>", "", func(m *model) int { return m.rcpt(250) }},
	{"second rcpt", "RCPT TO:<carol@example.org>", "", func(m *model) int { return m.rcpt(250) }},
	{"unknown rcpt", "RCPT TO:<nobody@example.org>", "", func(m *model) int { return m.rcpt(550) }},
	{"foreign rcpt", "RCPT TO:<u@elsewhere.example>", "", func(m *model) int { return m.rcpt(550) }},
	{"data", "DATA", "Subject: x\r\n\r\nx\r\n.\r\n", func(m *model) int { return m.data(250) }},
	{"empty data", "DATA", ".\r\n", func(m *model) int { return m.data(250) }},
	{"bad data", "DATA", "Subject: x\r\n\r\nx\n.\r\n\r\n.\r\n", func(m *model) int { return m.data(550) }},
	{"big data", "DATA", strings.Repeat("x", 2000) + "\r\n.\r\n", func(m *model) int { return m.data(552) }},
	{"data with more", "DATA now", "", func(m *model) int {
		if m.rcpts == 0 || m.chunks {
			return 503
		}
		return 501
	}},
	{"chunk", "BDAT 3", "x\r\n", func(m *model) int { return m.bdat(false, false) }},
	{"last chunk", "BDAT 3 LAST", "x\r\n", func(m *model) int { return m.bdat(true, false) }},
	{"bad chunk", "BDAT 3", "xy\n", func(m *model) int { return m.bdat(false, true) }},
	{"empty chunk", "BDAT 0 LAST", "", func(m *model) int { return m.bdat(true, false) }},
	{"starttls in vain", "STARTTLS now", "", func(m *model) int {
		if !m.hello || m.mail {
			return 503
		}
		return 501
	}},
	{"auth", "AUTH PLAIN", "", func(m *model) int {
		if !m.hello || m.mail {
			return 503
		}
		return 502
	}},
}

// onward is a step that leads to a message: a random walk alone seldom gets to one.
func (m *model) onward(rnd *rand.Rand) *step {
	name := []string{"data", "bad data", "big data", "chunk", "last chunk", "bad chunk"}[rnd.IntN(6)]
	switch {
	case !m.hello:
		name = "hello"
	case !m.mail:
		name = "mail"
	case m.rcpts == 0:
		name = "rcpt"
	case m.chunks:
		name = []string{"chunk", "last chunk", "empty chunk"}[rnd.IntN(3)]
	}
	for i := range steps {
		if steps[i].name == name {
			return &steps[i]
		}
	}
	panic(name)
}

func (m *model) mailFrom() int {
	if !m.hello || m.mail {
		return 503
	}
	m.mail = true
	return 250
}

func (m *model) rcpt(code int) int {
	if !m.mail || m.chunks {
		return 503
	}
	if code == 250 {
		m.rcpts++
	}
	return code
}

func (m *model) data(code int) int {
	if m.rcpts == 0 || m.chunks {
		return 503
	}
	if code == 250 {
		m.kept++
	}
	m.end()
	return code
}

func (m *model) bdat(last, bad bool) int {
	if m.rcpts == 0 {
		m.end()
		return 503
	}
	m.chunks = true
	m.bad = m.bad || bad
	if !last {
		return 250
	}
	code := 250
	if m.bad {
		code = 550
	} else {
		m.kept++
	}
	m.end()
	return code
}

// Random sequences of commands: the session and the model agree about every reply, and after a message, refused or
// not, nothing of its transaction is left (S014, S015). PENNYPOST_SEQUENCES=1000000 for the long run.
func TestS014Model(t *testing.T) {
	sequences := 100_000
	if n, err := strconv.Atoi(os.Getenv("PENNYPOST_SEQUENCES")); err == nil {
		sequences = n
	}
	srv, spool, _ := newServer(t)
	spool.none = true
	srv.Log = &maillog.Log{Out: io.Discard}
	srv.Settings.MaxErrors, srv.Settings.MaxCommands, srv.Settings.MaxMessages = 1<<60, 1<<60, 1<<60
	srv.Settings.MaxSize, srv.Settings.UnknownLimit = 1000, 0
	srv.prepare()
	svc, _ := serviceNamed("mx")
	c := &script{mute: true}
	rnd := rand.New(rand.NewPCG(1, 2))
	var did []string
	kept := 0
	s := &session{service: svc, srv: srv, set: srv.settings.Load(), raw: c, conn: c, state: fresh, ip: "192.0.2.7"}
	s.in = line.NewReader(s, bufferSize)
	for range sequences {
		s.state = fresh
		s.reset()
		m := model{}
		did = did[:0]
		for range 3 + rnd.IntN(8) {
			next := &steps[rnd.IntN(len(steps))]
			if rnd.IntN(2) == 0 {
				next = m.onward(rnd)
			}
			want := next.answer(&m)
			c.say = append(c.say[:0], next.content)
			if next.name != "data with more" && strings.HasPrefix(next.line, "DATA") && want == 503 {
				c.say = c.say[:0] // nobody asked for it
			}
			did = append(did, next.name)
			got := s.command([]byte(next.line))
			if got.code != want {
				t.Fatalf("%v: %d %s, want %d", did, got.code, got.text, want)
			}
			if len(c.say) > 0 && c.say[0] != "" || s.in.Buffered() > 0 {
				t.Fatalf("%v: content was left unread", did)
			}
			if s.closing {
				t.Fatalf("%v: closing", did)
			}
			s.out, s.sent = s.out[:0], s.sent[:0]
		}
		if rest := s.tx; !m.mail && (rest.mail != "" || !rest.from.IsNull() || len(rest.rcpts) > 0 || rest.w != nil) {
			t.Fatalf("%v: left over: %+v", did, rest)
		}
		kept += m.kept
		s.reset()
		if spool.open != 0 {
			t.Fatalf("%v: %d messages left open", did, spool.open)
		}
	}
	if kept < sequences/100 {
		t.Errorf("only %d messages in %d sequences: the walk does not get far", kept, sequences)
	}
}
