package local

import (
	"bytes"
	"errors"
	"io"
	"sync"

	"pennypost/internal/address"
	"pennypost/internal/durable"
	"pennypost/internal/order"
	"pennypost/queue"
)

const (
	chunk = 64 << 10 // one pread: nearly every message with its envelope
	slack = 2 << 10  // room before it for Return-Path, Delivered-To and the checks

	mostHeader = 1 << 20 // a header is searched this far; what follows is opaque
)

// errShort is a spool file that ends before its envelope says. queue-run finds out what is wrong with it.
var errShort = errors.New("spool file is shorter than it says")

var chunks = sync.Pool{New: func() any { b := make([]byte, slack+chunk); return &b }}

// message is one spool file opened for delivery: its beginning in memory, the rest in the file.
type message struct {
	file  durable.File
	from  address.Path // reverse-path
	check string       // checks: of the envelope
	start int64        // offset of the message in the file
	size  int64        // octets of the message

	pooled *[]byte
	room   []byte // what is free in front of text, and may be overwritten
	text   []byte // the message as far as it was read; room and text are one array

	drop []span   // Return-Path and checks fields to leave out
	seen []string // values of Delivered-To
}

// span is octets from the start of the message.
type span struct{ from, to int }

// openMessage reads the beginning of the file of an order.
func openMessage(file durable.File, o *order.Order) (*message, error) {
	m := &message{file: file, start: o.Header, size: o.Size, pooled: chunks.Get().(*[]byte)}
	err := m.read(o)
	if err != nil {
		m.release()
		return nil, err
	}
	return m, nil
}

func (m *message) read(o *order.Order) error {
	buf := *m.pooled
	n, err := readAt(m.file, buf[slack:], 0)
	if err != nil {
		return err
	}
	at := slack
	if o.Sender == nil || m.start == 0 && bytes.HasPrefix(buf[slack:slack+n], []byte("pennypost: ")) {
		head := buf[slack : slack+n]
		env, header, more, err := queue.Parse(head)
		for size := 2 * chunk; err == nil && more && size <= 2*queue.MaxEnvelope; size *= 2 {
			buf = make([]byte, slack+size)
			if n, err = readAt(m.file, buf[slack:], 0); err == nil {
				env, header, more, err = queue.Parse(buf[slack : slack+n])
			}
		}
		if err == nil && more {
			err = errShort
		}
		if err != nil {
			return err
		}
		m.from, m.check, m.start = env.From, env.Checks, int64(header)
		if o.Size == 0 {
			m.size = env.Body.Length
		}
	}
	if o.Sender != nil {
		m.from = *o.Sender
	}
	if m.start > int64(n) {
		return errShort
	}
	at += int(m.start)
	m.room, m.text = buf[:at], buf[at:slack+n]
	if m.size <= 0 { // no body: line: the message is all the rest
		info, err := m.file.Stat()
		if err != nil {
			return err
		}
		m.size = info.Size - m.start
	}
	if int64(len(m.text)) > m.size {
		m.text = m.text[:m.size]
	} else if int64(len(m.text)) < m.size && n < chunk {
		return errShort
	}
	return m.header()
}

// readAt fills b from offset as far as the file goes.
func readAt(file durable.File, b []byte, offset int64) (n int, err error) {
	for n < len(b) {
		k, err := file.ReadAt(b[n:], offset+int64(n))
		n += k
		if err == io.EOF || err == nil && k == 0 {
			return n, nil
		}
		if err != nil {
			return n, err
		}
	}
	return n, nil
}

func (m *message) release() {
	if m.pooled != nil {
		chunks.Put(m.pooled)
	}
	m.pooled, m.room, m.text = nil, nil, nil
}

// header finds the fields that delivery looks at. A header that does not end within what was
// read is read on, up to mostHeader.
func (m *message) header() error {
	done := m.scan()
	for !done && int64(len(m.text)) < m.size && len(m.text) < mostHeader {
		more := make([]byte, slack+min(4*len(m.text)+chunk, mostHeader, int(min(m.size, mostHeader))))
		n, err := readAt(m.file, more[slack:], m.start)
		if err != nil {
			return err
		}
		if n <= len(m.text) {
			return errShort
		}
		m.room, m.text = more[:slack], more[slack:slack+n]
		done = m.scan()
	}
	return nil
}

// scan reports whether it met the end of the header.
func (m *message) scan() (done bool) {
	m.drop, m.seen = m.drop[:0], m.seen[:0]
	for at := 0; at < len(m.text); {
		rest := m.text[at:]
		if rest[0] == '\n' || rest[0] == '\r' && len(rest) > 1 && rest[1] == '\n' {
			return true
		}
		switch rest[0] {
		case 'R', 'r':
			if hasField(rest, "return-path:") {
				end := fieldEnd(m.text, at)
				m.drop = append(m.drop, span{at, end})
				at = end
				continue
			}
		case 'X', 'x':
			if hasField(rest, "x-pennypost-checks:") {
				end := fieldEnd(m.text, at)
				m.drop = append(m.drop, span{at, end})
				at = end
				continue
			}
		case 'D', 'd':
			if hasField(rest, "delivered-to:") {
				end := fieldEnd(m.text, at)
				value := m.text[at+len("delivered-to:") : end]
				m.seen = append(m.seen, string(bytes.Trim(value, " \t\r\n<>")))
				at = end
				continue
			}
		}
		i := bytes.IndexByte(rest, '\n')
		if i < 0 {
			return false
		}
		at += i + 1
	}
	return false
}

// hasField compares the beginning of b with a lower-case field name and its colon.
func hasField(b []byte, name string) bool {
	if len(b) < len(name) {
		return false
	}
	for i := 0; i < len(name); i++ {
		c := b[i]
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		if c != name[i] {
			return false
		}
	}
	return true
}

// fieldEnd is where the field that begins at ends: after its last folded line.
func fieldEnd(b []byte, at int) int {
	for {
		i := bytes.IndexByte(b[at:], '\n')
		if i < 0 {
			return len(b)
		}
		at += i + 1
		if at >= len(b) || b[at] != ' ' && b[at] != '\t' {
			return at
		}
	}
}

// looped reports whether the message was delivered to this address before.
func (m *message) looped(to address.Path) bool {
	for _, value := range m.seen {
		if p, err := address.Parse(value); err == nil && sameAddress(p, to) {
			return true
		}
	}
	return false
}

// sameAddress compares as our own local parts are compared: without case.
func sameAddress(a, b address.Path) bool {
	return equalFold(a.Local, b.Local) && a.DomainUnicode() == b.DomainUnicode()
}

// copyTo writes the message as to will find it: trace fields, then the message without
// older ones (RFC 5321 section 4.4). It returns how many octets and how many with CRLF that is.
func (m *message) copyTo(w io.Writer, to address.Path) (size, wire int64, err error) {
	trace := make([]byte, 0, 512)
	trace = append(append(append(trace, "Return-Path: <"...), m.from.String()...), ">\n"...)
	trace = append(append(append(trace, "Delivered-To: "...), to.String()...), '\n')
	if m.check != "" {
		trace = append(append(append(trace, queue.ChecksField...), m.check...), '\n')
	}

	count := counter{w: w}
	first := m.text
	if len(m.drop) > 0 {
		first = m.text[:m.drop[0].from]
	}
	if len(trace) <= len(m.room) { // in front of the text, so that one write does it
		at := len(m.room) - len(trace)
		copy(m.room[at:], trace)
		count.write(m.room[at : len(m.room)+len(first)])
	} else {
		count.write(trace)
		count.write(first)
	}
	for i, field := range m.drop {
		next := len(m.text)
		if i+1 < len(m.drop) {
			next = m.drop[i+1].from
		}
		count.write(m.text[field.to:next])
	}
	if rest := m.size - int64(len(m.text)); rest > 0 {
		err = m.copyRest(&count, m.start+int64(len(m.text)), rest)
	}
	if err == nil {
		err = count.err
	}
	return count.size, count.size + count.lone, err
}

// copyAll writes the file of a ready message as it is.
func copyAll(w io.Writer, file durable.File, length int64) error {
	m := message{file: file}
	count := counter{w: w}
	if err := m.copyRest(&count, 0, length); err != nil {
		return err
	}
	return count.err
}

// copyRest writes length octets of the file from offset.
func (m *message) copyRest(count *counter, offset, length int64) error {
	pooled := chunks.Get().(*[]byte)
	defer chunks.Put(pooled)
	for length > 0 && count.err == nil {
		b := *pooled
		b = b[:min(int64(len(b)), length)]
		n, err := readAt(m.file, b, offset)
		if err != nil {
			return err
		}
		if n == 0 {
			return errShort
		}
		count.write(b[:n])
		offset += int64(n)
		length -= int64(n)
	}
	return nil
}

// counter writes and counts octets, and LFs that no CR is in front of.
type counter struct {
	w    io.Writer
	size int64
	lone int64
	cr   bool // the last octet was CR
	err  error
}

func (c *counter) write(b []byte) {
	if len(b) == 0 || c.err != nil {
		return
	}
	c.lone += int64(bytes.Count(b, lf) - bytes.Count(b, crlf))
	if c.cr && b[0] == '\n' {
		c.lone--
	}
	c.cr = b[len(b)-1] == '\r'
	c.size += int64(len(b))
	_, c.err = c.w.Write(b)
}

var lf, crlf = []byte("\n"), []byte("\r\n")
