package sendmail

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"mime"
	"os"
	"os/user"
	"strconv"
	"strings"
	"time"

	"pennypost/internal/address"
	"pennypost/queue"
	"pennypost/queue/control"
	"pennypost/queue/drop"
)

// Exit codes of sysexits(3), which callers of sendmail know.
const (
	exUsage  = 64
	exData   = 65
	exTemp   = 75
	exNoPerm = 77
)

// Command is sendmail with what it needs of the configuration.
type Command struct {
	Spool    *queue.Spool
	Hostname string
	Origin   string
	MaxSize  int64         // octets of a message
	Wait     time.Duration // for queue-pickup; 0 not at all
	In       io.Reader
	Out      io.Writer
}

// Error is an error with its exit code.
type Error struct {
	Code int
	Err  error
}

func (e *Error) Error() string { return e.Err.Error() }
func (e *Error) Unwrap() error { return e.Err }

func exit(code int, format string, args ...any) error {
	return &Error{code, fmt.Errorf(format, args...)}
}

// Code is the exit code for an error.
func Code(err error) int {
	var e *Error
	switch {
	case err == nil:
		return 0
	case errors.As(err, &e):
		return e.Code
	case errors.Is(err, ErrUsage):
		return exUsage
	case errors.Is(err, os.ErrPermission):
		return exNoPerm
	}
	return exTemp // a disk's: the same call may succeed later
}

// Run does what the flags say. -bp is mailq's, and not done here.
func (c *Command) Run(f *Flags) error {
	switch f.Mode {
	case 'i': // aliases are read where they are used; there is nothing to rebuild
		return nil
	case 'q':
		return c.kick(f.Queue)
	case 's':
		return c.serve(f)
	}
	return c.send(f)
}

// kick asks queue-run to try again: one message, or all.
func (c *Command) kick(what string) error {
	if id, ok := strings.CutPrefix(what, "I"); ok {
		return control.Ask(c.Spool, control.Kick{Verb: "try", Name: id})
	}
	return control.Ask(c.Spool, control.Kick{Verb: "all"})
}

// send takes one message from standard input.
func (c *Command) send(f *Flags) error {
	env, err := c.envelope(f)
	if err != nil {
		return err
	}
	if !f.Header && len(env.Rcpts) == 0 {
		return exit(exUsage, "no recipients: name them, or give -t")
	}
	r := bufio.NewReaderSize(c.input(f), 16<<10)
	h, err := readHead(r)
	if err != nil {
		return inputError(err)
	}
	if f.Header {
		list, err := h.recipients()
		if err != nil {
			return exit(exData, "recipients in the header: %v", err)
		}
		if env.Rcpts, err = c.rcpts(env.Rcpts, list, f); err != nil {
			return err
		}
		if len(env.Rcpts) == 0 {
			return exit(exUsage, "no recipients in the header")
		}
	}
	utf8(env)
	file, err := drop.Create(c.Spool, env)
	if err != nil {
		return err
	}
	if f.Name != "" && !h.from {
		fmt.Fprintf(file, "From: %s <%s>\n", phrase(f.Name), env.From)
	}
	if err := c.copy(file, h.text, r, f); err != nil {
		file.Abort()
		return err
	}
	return c.commit(file)
}

// commit hands the message over, and waits where that is wanted.
func (c *Command) commit(file *drop.File) error {
	if err := file.Commit(); err != nil {
		return err
	}
	defer file.Close()
	if c.Wait <= 0 {
		return nil
	}
	err := file.Wait(c.Wait)
	if errors.Is(err, drop.ErrRefused) {
		return &Error{exData, err}
	}
	return err
}

// copy writes header and the rest.
func (c *Command) copy(w io.Writer, head []byte, r *bufio.Reader, f *Flags) error {
	if _, err := w.Write(head); err != nil {
		return err
	}
	left := c.MaxSize - int64(len(head))
	if c.MaxSize <= 0 {
		left = 1 << 62
	}
	n, err := io.CopyN(w, r, left+1)
	if err == io.EOF {
		return nil
	}
	if err == nil && n > left {
		return exit(exData, "message larger than max_size, %d octets", c.MaxSize)
	}
	return inputError(err)
}

// inputError tells a fault of the input from one of the disk.
func inputError(err error) error {
	if errors.Is(err, errHeader) {
		return &Error{exData, err}
	}
	return err
}

// input is standard input with LF line ends, up to a line of one dot where that ends it.
func (c *Command) input(f *Flags) io.Reader {
	r := &clean{in: c.In, raw: make([]byte, 16<<10)}
	r.text.Out = &r.out
	if f.Dots {
		return r
	}
	return &dotted{r: bufio.NewReader(r), bol: true}
}

// clean reads through a drop.Text.
type clean struct {
	in   io.Reader
	text drop.Text
	out  bytes.Buffer
	raw  []byte
	err  error
}

func (r *clean) Read(p []byte) (int, error) {
	for r.out.Len() == 0 {
		if r.err != nil {
			return 0, r.err
		}
		var n int
		n, r.err = r.in.Read(r.raw)
		r.text.Write(r.raw[:n])
		if r.err == io.EOF {
			r.text.Close()
		}
	}
	return r.out.Read(p)
}

// dotted ends at a line of one dot.
type dotted struct {
	r    *bufio.Reader
	line []byte
	bol  bool // at the beginning of a line
}

func (d *dotted) Read(p []byte) (int, error) {
	if len(d.line) == 0 {
		line, err := d.r.ReadSlice('\n')
		if d.bol && (bytes.Equal(line, []byte(".\n")) || bytes.Equal(line, []byte(".")) && err == io.EOF) {
			return 0, io.EOF
		}
		if len(line) == 0 {
			return 0, err
		}
		d.bol = line[len(line)-1] == '\n'
		d.line = line
	}
	n := copy(p, d.line)
	d.line = d.line[n:]
	return n, nil
}

// envelope is what the command line says.
func (c *Command) envelope(f *Flags) (*queue.Envelope, error) {
	env := &queue.Envelope{From: c.sender()}
	if f.FromSet {
		p, err := parse(f.From)
		if err != nil {
			return nil, exit(exUsage, "-f %.100q: %v", f.From, err)
		}
		env.From = c.whole(p)
	}
	var mail []string
	if f.Body != "" {
		mail = append(mail, "BODY="+f.Body)
	}
	if f.Return != "" {
		mail = append(mail, "RET="+f.Return)
	}
	if f.Envid != "" {
		mail = append(mail, "ENVID="+f.Envid)
	}
	env.Mail = strings.Join(mail, " ")
	for _, a := range f.Rcpts {
		list, err := parseList(a) // "a, b" in one argument is an old habit
		if err == nil {
			env.Rcpts, err = c.rcpts(env.Rcpts, list, f)
		}
		if err != nil {
			return nil, exit(exUsage, "recipient %.100q: %v", a, err)
		}
	}
	return env, nil
}

// parse reads an address with or without angle brackets; "<>" and "" are the null sender.
func parse(s string) (address.Path, error) {
	if s == "" || s == "<>" {
		return address.Path{}, nil
	}
	list, err := parseList(s)
	if err == nil && len(list) != 1 {
		err = errors.New("want one address")
	}
	if err != nil {
		return address.Path{}, err
	}
	return list[0], nil
}

// rcpts adds addresses to a list, each once.
func (c *Command) rcpts(have []queue.Rcpt, list []address.Path, f *Flags) ([]queue.Rcpt, error) {
next:
	for _, p := range list {
		p = c.whole(p)
		if p.IsNull() {
			continue
		}
		for i := range have {
			if have[i].To == p {
				continue next
			}
		}
		if len(have) == queue.MaxRcpts {
			return nil, exit(exUsage, "more than %d recipients", queue.MaxRcpts)
		}
		r := queue.Rcpt{N: len(have) + 1, To: p}
		if f.Notify != "" {
			r.Params = "NOTIFY=" + f.Notify
		}
		have = append(have, r)
	}
	return have, nil
}

// whole completes a bare name.
func (c *Command) whole(p address.Path) address.Path {
	if !p.IsNull() && p.Domain == "" {
		p.Domain = c.Origin
	}
	return p
}

// sender is the caller's own address.
func (c *Command) sender() address.Path {
	name := "uid" + strconv.Itoa(os.Getuid())
	if u, err := user.Current(); err == nil && u.Username != "" {
		name = u.Username
	} else if env := os.Getenv("LOGNAME"); env != "" {
		name = env
	}
	p, err := address.Parse(name + "@" + c.Origin)
	if err != nil {
		p = address.Path{Local: "uid" + strconv.Itoa(os.Getuid()), Domain: c.Origin}
	}
	return p
}

// utf8 says SMTPUTF8 where an address needs it (RFC 6531).
func utf8(env *queue.Envelope) {
	plain := env.From.ASCII()
	for i := range env.Rcpts {
		plain = plain && env.Rcpts[i].To.ASCII()
	}
	if !plain && !strings.Contains(strings.ToUpper(env.Mail), "SMTPUTF8") {
		env.Mail = strings.TrimSpace(env.Mail + " SMTPUTF8")
	}
}

// phrase is a display name as a header field has it.
func phrase(name string) string {
	for i := range len(name) {
		if name[i] >= 0x80 {
			return mime.QEncoding.Encode("utf-8", name)
		}
	}
	name = strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(name)
	return `"` + name + `"`
}
