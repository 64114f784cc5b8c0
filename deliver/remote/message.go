package remote

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"pennypost/internal/address"
	"pennypost/internal/header"
	"pennypost/internal/order"
	"pennypost/internal/status"
	"pennypost/queue"
)

// block is how much of a message is in memory at once.
const block = 64 << 10

// blocks are buffers of block octets, and of what becomes of them on the wire.
var blocks = sync.Pool{New: func() any { b := make([]byte, 0, block); return &b }}

// message is a message on its way out.
type message struct {
	fd         int
	start, end int64 // of the message in the file
	from       address.Path
	rcpts      []*recipient
	declared   string // BODY= of MAIL: "", 7BIT, 8BITMIME or BINARYMIME
	ret, envid string // parameters of MAIL for the next hop, RFC 3461
	asksUTF8   bool   // MAIL came with SMTPUTF8
	require    bool   // MAIL came with REQUIRETLS (RFC 8689)
	raw        bool   // the file has the line ends of the wire
	id         string // "" in the one-shot form
	via        string // where it came from, as its envelope says

	gone *atomic.Bool // queue-run has: start no transaction; nil in the one-shot form

	head     *[]byte // the first block
	long     []byte  // the header, where it is longer
	optional *bool   // tlsOptional, once it was asked for
	measured bool
	wire     int64 // octets on the wire, without stuffing
	eight    bool  // has octets above 127
	clean    bool  // raw only: every CR and LF is half of a CRLF, no NUL

	signed  bool   // top is what it should be
	top     []byte // signatures, whole lines ending in LF
	topWire int64  // its octets on the wire
}

// recipient is one of them.
type recipient struct {
	num    queue.Num
	to     address.Path
	params string // of RCPT, as the envelope has them

	done   bool
	result status.Result
	host   string
	tls    string // verdict on the session with the host
	passed bool   // the host took the DSN parameters and reports itself
}

func (r *recipient) answer(host string, result status.Result) {
	r.done, r.host, r.result = true, host, result
}

// openMessage reads the envelope of the order's file.
func openMessage(o *order.Order, fd int) (*message, error) {
	if fd < 0 {
		return nil, errors.New("order came without a descriptor")
	}
	m := &message{fd: fd, start: o.Header, end: o.Header + o.Size, wire: o.Wire, id: o.ID}
	for _, r := range o.Rcpts {
		m.rcpts = append(m.rcpts, &recipient{num: r.Num, to: r.To})
	}
	m.head = blocks.Get().(*[]byte)
	var err error
	if o.Ready {
		err = m.openReady()
	} else {
		err = m.openEnvelope()
	}
	if err == nil && o.Sender != nil {
		m.from = *o.Sender
	}
	if err != nil {
		m.close()
	}
	return m, err
}

func (m *message) close() {
	if m.head != nil {
		blocks.Put(m.head)
		m.head = nil
	}
}

// openEnvelope reads the envelope in front of the message, and with the same pread the message's first block if it fits.
func (m *message) openEnvelope() error {
	if m.start > queue.MaxEnvelope {
		return fmt.Errorf("envelope of %d octets", m.start)
	}
	text := (*m.head)[:0]
	if int64(cap(text)) < m.start {
		text = make([]byte, 0, m.start)
	}
	n, err := pread(m.fd, text[:min(m.end, int64(cap(text)))], 0)
	text = text[:n]
	if err != nil || int64(n) < m.start {
		return errors.Join(err, io.ErrUnexpectedEOF)
	}
	env, header, more, err := queue.Parse(text)
	if err != nil || more || int64(header) != m.start {
		return errors.Join(errors.New("envelope does not end where the order says"), err)
	}
	m.take(env)
	if m.end <= int64(n) { // small: the whole message is here
		*m.head = append((*m.head)[:0], text[header:m.end]...)
		return nil
	}
	return m.readHead()
}

// take keeps what of an envelope concerns the next hop.
func (m *message) take(env *queue.Envelope) {
	m.from, m.raw, m.via = env.From, env.Body.Raw, env.Via
	if m.wire == 0 {
		m.wire = env.Body.Wire
	}
	for word := range strings.FieldsSeq(env.Mail) {
		key, value, _ := strings.Cut(word, "=")
		switch strings.ToUpper(key) {
		case "BODY":
			m.declared = strings.ToUpper(value)
		case "RET":
			m.ret = value
		case "ENVID":
			m.envid = value
		case "SMTPUTF8":
			m.asksUTF8 = true
		case "REQUIRETLS":
			m.require = true
		}
	}
	at := 0
	for _, r := range m.rcpts { // both are in ascending order
		for at < len(env.Rcpts) && env.Rcpts[at].N < r.num.N {
			at++
		}
		if at < len(env.Rcpts) && env.Rcpts[at].N == r.num.N {
			r.params = env.Rcpts[at].Params
			continue
		}
		for _, e := range env.Rcpts { // or were not
			if e.N == r.num.N {
				r.params, at = e.Params, 0
			}
		}
	}
}

// openReady takes off the Return-Path and Delivered-To that a link-ready message starts with: they are for a Maildir, and
// Return-Path is added at final delivery only (RFC 5321 section 4.4).
func (m *message) openReady() error {
	if err := m.readHead(); err != nil {
		return err
	}
	line, rest, ok := bytes.Cut(*m.head, []byte("\n"))
	path, isPath := strings.CutPrefix(string(line), "Return-Path: <")
	if !ok || !isPath || !strings.HasSuffix(path, ">") {
		return errors.New("link-ready message without Return-Path")
	}
	var err error
	if m.from, err = address.Parse(strings.TrimSuffix(path, ">")); err != nil {
		return err
	}
	if bytes.HasPrefix(rest, []byte("Delivered-To: ")) {
		_, rest, _ = bytes.Cut(rest, []byte("\n"))
	}
	m.via = "submit"
	if bytes.HasPrefix(rest, []byte(queue.ChecksField)) { // for our own programs; and only what came from outside was judged
		_, rest, _ = bytes.Cut(rest, []byte("\n"))
		m.via = "mx"
	} else if !loggedIn(rest) {
		m.via = "mx"
	}
	m.start += int64(len(*m.head) - len(rest))
	m.wire = 0
	return m.readHead()
}

// loggedIn reports whether the first field, which is our own Received, says that the message came from one of our users (RFC 3848).
func loggedIn(header []byte) bool {
	var received []byte
	for line := range bytes.Lines(header) {
		if len(received) > 0 && line[0] != ' ' && line[0] != '\t' {
			break
		}
		received = header[:len(received)+len(line)]
	}
	_, with, ok := strings.Cut(string(received), " with ")
	protocol, _, _ := strings.Cut(with, " ")
	return ok && bytes.HasPrefix(received, []byte("Received: ")) && strings.HasSuffix(strings.TrimRight(protocol, "S"), "A")
}

func (m *message) readHead() error {
	buf := (*m.head)[:min(int64(cap(*m.head)), m.end-m.start)]
	n, err := pread(m.fd, buf, m.start)
	*m.head = buf[:n]
	if err == nil && n < len(buf) {
		err = io.ErrUnexpectedEOF
	}
	return err
}

// each calls f for the message block by block, with top in front of the first. A file that has become shorter is an error.
func (m *message) each(top []byte, f func(part []byte, last bool) error) error {
	size := m.end - m.start
	at := int64(len(*m.head))
	first := *m.head
	if len(top) > 0 {
		buf := blocks.Get().(*[]byte)
		defer blocks.Put(buf)
		*buf = append(append((*buf)[:0], top...), first...)
		first = *buf
	}
	if err := f(first, at >= size); err != nil || at >= size {
		return err
	}
	buf := blocks.Get().(*[]byte)
	defer blocks.Put(buf)
	for at < size {
		part := (*buf)[:min(block, size-at)]
		n, err := pread(m.fd, part, m.start+at)
		if err == nil && n < len(part) {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			return &fileError{err}
		}
		at += int64(n)
		if err := f(part, at >= size); err != nil {
			return err
		}
	}
	return nil
}

// fileError is trouble with our own file, not with the peer.
type fileError struct{ err error }

func (e *fileError) Error() string { return "message file: " + e.err.Error() }

// measure finds out what the envelope did not say.
func (m *message) measure() error {
	if m.measured {
		return nil
	}
	return m.pass(func([]byte) {})
}

// pass calls f for the message block by block, and measures it.
func (m *message) pass(f func(part []byte)) error {
	var wired int64
	m.eight, m.clean = false, true
	last := byte('\n')
	err := m.each(nil, func(part []byte, _ bool) error {
		f(part)
		m.eight = m.eight || eightBit(part)
		if m.raw {
			m.clean = m.clean && cleanCRLF(part, &last)
		}
		wired += int64(len(part) + bytes.Count(part, []byte{'\n'}) - bytes.Count(part, []byte("\r\n")))
		return nil
	})
	if err == nil {
		m.measured = true
		if m.raw {
			m.wire = m.end - m.start
			m.clean = m.clean && last != '\r'
		} else {
			m.wire = wired
		}
	}
	return err
}

// cleanCRLF reports whether the part, after an octet last, could go as DATA unchanged.
func cleanCRLF(part []byte, last *byte) bool {
	for _, c := range part {
		if c == 0 || (c == '\n') != (*last == '\r') {
			return false
		}
		*last = c
	}
	return true
}

// header is the header of the message: that which is in the first block, and of a longer one as much as smtpd takes.
func (m *message) header() []byte {
	if m.long != nil {
		return m.long
	}
	text, whole := headerOf(*m.head)
	size := m.end - m.start
	if whole || size <= int64(len(*m.head)) {
		return text
	}
	more := make([]byte, min(size, header.MaxHeader+header.MaxField))
	if n, err := pread(m.fd, more, m.start); err != nil || n < len(more) {
		return text // who reads the message will see what is wrong with the file
	}
	text, _ = headerOf(more)
	m.long = bytes.Clone(text)
	return m.long
}

// headerOf is what is in front of the first empty line; whole is that there is one.
func headerOf(text []byte) (header []byte, whole bool) {
	for at := 0; ; {
		i := bytes.IndexByte(text[at:], '\n')
		if i < 0 {
			return text, false
		}
		if line := text[at : at+i]; len(line) == 0 || len(line) == 1 && line[0] == '\r' {
			return text[:at], true
		}
		at += i + 1
	}
}

// header8 reports whether the header section has octets above 127.
func (m *message) header8() bool { return eightBit(m.header()) }

// tlsOptional reports whether the message says TLS-Required: No, once, and did not come with REQUIRETLS (RFC 8689 section 4.1).
func (m *message) tlsOptional() bool {
	if m.optional == nil {
		found := 0
		yes := false
		for line := range bytes.Lines(m.header()) {
			line = bytes.TrimRight(line, "\r\n")
			if name, value, ok := bytes.Cut(line, []byte(":")); ok && bytes.EqualFold(bytes.TrimRight(name, " \t"), []byte("TLS-Required")) {
				found++
				yes = bytes.EqualFold(bytes.Trim(value, " \t"), []byte("No"))
			}
		}
		yes = yes && found == 1 && !m.require
		m.optional = &yes
	}
	return *m.optional
}

// pread fills b from offset at as far as the file goes.
func pread(fd int, b []byte, at int64) (n int, err error) {
	for n < len(b) {
		got, err := unix.Pread(fd, b[n:], at+int64(n))
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return n, os.NewSyscallError("pread", err)
		}
		if got == 0 {
			return n, nil
		}
		n += got
	}
	return n, nil
}
