package sendmail

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"

	"pennypost/internal/address"
	"pennypost/queue"
	"pennypost/queue/drop"
)

// session is SMTP on standard input and output (-bs): one user, no network, no TLS. Lines may end
// in LF, as a script's do.
type session struct {
	*Command
	flags *Flags
	in    *bufio.Reader
	out   *bufio.Writer
	env   *queue.Envelope // nil: no transaction
}

// verbs is who answers which command.
var verbs = []struct {
	name string
	do   func(s *session, arg string) string
}{
	{"HELO", (*session).hello},
	{"EHLO", (*session).hello},
	{"MAIL", (*session).mail},
	{"RCPT", (*session).rcpt},
	{"DATA", (*session).data},
	{"RSET", (*session).rset},
	{"NOOP", func(*session, string) string { return "250 2.0.0 nothing done" }},
	{"VRFY", func(*session, string) string { return "252 2.1.5 send and see" }},
	{"HELP", func(*session, string) string { return "214 2.0.0 see sendmail(8)" }},
}

const longestLine = 4096

// serve talks until QUIT or the end of input.
func (c *Command) serve(f *Flags) error {
	s := &session{Command: c, flags: f, in: bufio.NewReaderSize(c.In, 64<<10), out: bufio.NewWriter(c.Out)}
	s.reply("220 " + c.Hostname + " ESMTP")
	for {
		if s.in.Buffered() == 0 {
			if err := s.out.Flush(); err != nil {
				return err
			}
		}
		line, err := s.line()
		switch {
		case err == io.EOF:
			return s.out.Flush()
		case err == errLong:
			s.reply("500 5.5.6 line too long")
			continue
		case err != nil:
			return err
		}
		verb, arg, _ := strings.Cut(line, " ")
		if verb = strings.ToUpper(verb); verb == "QUIT" {
			s.reply("221 2.0.0 goodbye")
			return s.out.Flush()
		}
		s.reply(s.answer(verb, strings.TrimSpace(arg)))
	}
}

func (s *session) answer(verb, arg string) string {
	if strings.ContainsAny(arg, "\r\n\x00") { // S024
		return "501 5.5.2 a control character in a command"
	}
	for i := range verbs {
		if verbs[i].name == verb {
			return verbs[i].do(s, arg)
		}
	}
	return "500 5.5.1 no such command"
}

func (s *session) reply(text string) { s.out.WriteString(text + "\r\n") }

var errLong = errors.New("line too long")

// line reads a command without its line end.
func (s *session) line() (string, error) {
	line, err := s.in.ReadSlice('\n')
	long := err == bufio.ErrBufferFull
	for err == bufio.ErrBufferFull {
		line, err = s.in.ReadSlice('\n')
	}
	if err == io.EOF && len(line) > 0 {
		err = nil
	}
	if err != nil {
		return "", err
	}
	if long || len(line) > longestLine {
		return "", errLong
	}
	return string(bytes.TrimSuffix(bytes.TrimSuffix(line, []byte("\n")), []byte("\r"))), nil
}

func (s *session) hello(arg string) string {
	s.env = nil
	return "250-" + s.Hostname + "\r\n250-PIPELINING\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250-DSN\r\n250-ENHANCEDSTATUSCODES\r\n250 SIZE " + fmt.Sprint(s.MaxSize)
}

func (s *session) rset(string) string {
	s.env = nil
	return "250 2.0.0 forgotten"
}

// path reads "FROM:<a@b> PARAMS".
func path(word, arg string) (p address.Path, params string, err error) {
	if len(arg) < len(word) || !strings.EqualFold(arg[:len(word)], word) {
		return p, "", fmt.Errorf("want %s<address>", word)
	}
	arg = strings.TrimSpace(arg[len(word):])
	end, quoted := -1, false
	for i := 0; i < len(arg) && end < 0; i++ {
		switch arg[i] {
		case '\\':
			i++
		case '"':
			quoted = !quoted
		case '>':
			if !quoted {
				end = i
			}
		}
	}
	if !strings.HasPrefix(arg, "<") || end < 0 {
		return p, "", fmt.Errorf("want %s<address>", word)
	}
	p, err = address.Parse(arg[1:end])
	return p, strings.TrimSpace(arg[end+1:]), err
}

func (s *session) mail(arg string) string {
	from, params, err := path("FROM:", arg)
	if err != nil {
		return "501 5.1.7 " + err.Error()
	}
	if s.env != nil {
		return "503 5.5.1 one MAIL per message"
	}
	var keep []string // SIZE says nothing about the message itself
	for _, p := range strings.Fields(params) {
		name, _, _ := strings.Cut(strings.ToUpper(p), "=")
		switch name {
		case "BODY", "RET", "ENVID", "SMTPUTF8":
			keep = append(keep, p)
		case "SIZE":
		default:
			return "555 5.5.4 no such parameter of MAIL"
		}
	}
	s.env = &queue.Envelope{From: s.whole(from), Mail: strings.Join(keep, " ")}
	return "250 2.1.0 sender accepted"
}

func (s *session) rcpt(arg string) string {
	if s.env == nil {
		return "503 5.5.1 say MAIL first"
	}
	to, params, err := path("TO:", arg)
	if err == nil && to.IsNull() {
		err = errors.New("<> is a sender, not a recipient")
	}
	if err != nil {
		return "501 5.1.3 " + err.Error()
	}
	for _, p := range strings.Fields(params) {
		if name, _, _ := strings.Cut(strings.ToUpper(p), "="); name != "NOTIFY" && name != "ORCPT" {
			return "555 5.5.4 no such parameter of RCPT"
		}
	}
	if len(s.env.Rcpts) == queue.MaxRcpts {
		return "452 4.5.3 enough recipients for one message"
	}
	s.env.Rcpts = append(s.env.Rcpts, queue.Rcpt{N: len(s.env.Rcpts) + 1, To: s.whole(to), Params: strings.Join(strings.Fields(params), " ")})
	return "250 2.1.5 recipient accepted"
}

func (s *session) data(string) string {
	if s.env == nil || len(s.env.Rcpts) == 0 {
		return "503 5.5.1 say RCPT first"
	}
	env := s.env
	s.env = nil
	utf8(env)
	file, err := drop.Create(s.Spool, env)
	if err != nil {
		return "452 4.3.0 cannot keep the message now, try later"
	}
	s.reply("354 end with a line of one dot")
	if s.out.Flush() != nil {
		file.Abort()
		return ""
	}
	switch err := s.text(file); {
	case err == errSize:
		file.Abort()
		return "552 5.3.4 message too large"
	case err != nil:
		file.Abort()
		return "452 4.3.0 cannot keep the message now, try later"
	}
	if err := s.commit(file); err != nil {
		if Code(err) == exData {
			return "554 5.6.0 the message was refused"
		}
		return "452 4.3.0 cannot keep the message now, try later"
	}
	return "250 2.0.0 accepted"
}

var errSize = errors.New("too large")

// text reads up to the dot, whatever happens to what it reads, so that commands stay commands.
func (s *session) text(w io.Writer) error {
	text := drop.Text{Out: w}
	var size int64
	var failed error
	for bol := true; ; {
		line, err := s.in.ReadSlice('\n')
		if err != nil && err != bufio.ErrBufferFull {
			return io.ErrUnexpectedEOF // no dot: no message
		}
		whole := err == nil
		if bol && len(line) > 0 && line[0] == '.' {
			if rest := bytes.TrimRight(line[1:], "\r\n"); len(rest) == 0 && whole {
				if failed == nil {
					failed = text.Close()
				}
				return failed
			}
			line = line[1:]
		}
		bol = whole
		if size += int64(len(line)); s.MaxSize > 0 && size > s.MaxSize {
			failed = errSize
		}
		if failed == nil {
			_, failed = text.Write(line)
		}
	}
}
