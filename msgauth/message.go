package msgauth

import (
	"bytes"
	"errors"

	"pennypost/internal/header"
)

var errBig = errors.New("the header is larger than we look at")

// field is one field of a header.
type field struct {
	name    string // lower case
	written []byte // the name as it is, with white space before the colon if there is some
	value   []byte // after the colon, folded as it came, without the last line end
	odd     bool   // a line before it is no field
}

// message is what one pass over a message keeps: its header, and a hash for each form of the body that was asked for.
type message struct {
	fields []field
	err    error // errBig: what is known is not all

	headed func(*message) // called when the header is over; says by want what is to become of the body
	bodies [2]*body       // simple, relaxed
	sums   [2][]byte

	head []byte
	done bool // with the header
	end  int  // of the header in head
	line int  // where the line begins that is not whole yet
}

// want asks for a hash of the body; it must come before the body does.
func (m *message) want(relaxed bool) {
	i := 0
	if relaxed {
		i = 1
	}
	if m.bodies[i] == nil {
		m.bodies[i] = newBody(relaxed)
	}
}

// bodyHash is the hash of the body, after Close.
func (m *message) bodyHash(relaxed bool) []byte {
	if relaxed {
		return m.sums[1]
	}
	return m.sums[0]
}

// Write takes the next piece of the message.
func (m *message) Write(p []byte) (int, error) {
	n := len(p)
	if !m.done {
		p = m.header(p)
	}
	for _, b := range m.bodies {
		if b != nil && len(p) > 0 {
			b.Write(p)
		}
	}
	return n, nil
}

// Close ends the message.
func (m *message) Close() error {
	if !m.done {
		m.endHeader(len(m.head))
	}
	for i, b := range m.bodies {
		if b != nil {
			m.sums[i] = b.sum()
		}
	}
	return nil
}

// header collects the header and returns what of p is body.
func (m *message) header(p []byte) []byte {
	old := len(m.head)
	m.head = append(m.head, p...)
	for {
		i := bytes.IndexByte(m.head[m.line:], '\n')
		if i < 0 {
			if len(m.head) > header.MaxHeader {
				m.err = errBig
				m.endHeader(len(m.head))
			}
			return nil
		}
		line := bytes.TrimSuffix(m.head[m.line:m.line+i], crlf[:1])
		next := m.line + i + 1
		switch {
		case len(line) == 0:
			m.endHeader(m.line)
			return p[next-old:]
		case m.line == 0 && !begins(line) && !mbox(line): // a message without a header
			m.endHeader(0)
			return m.head
		}
		m.line = next
	}
}

// begins reports whether a line is the first of a field.
func begins(line []byte) bool {
	colon := bytes.IndexByte(line, ':')
	if colon <= 0 {
		return false
	}
	name := bytes.TrimRight(line[:colon], " \t")
	for _, c := range name {
		if c <= ' ' || c == 0x7f {
			return false
		}
	}
	return len(name) > 0
}

func mbox(line []byte) bool {
	return bytes.HasPrefix(line, []byte("From ")) || bytes.HasPrefix(line, []byte(">From "))
}

// endHeader takes the header apart; it is the first end octets.
func (m *message) endHeader(end int) {
	m.done, m.end = true, end
	text := m.head[:min(end, header.MaxHeader)]
	odd := false
	for n := 0; len(text) > 0; n++ {
		whole, rest := cutField(text)
		text = rest
		switch {
		case begins(firstLine(whole)):
			if len(m.fields) == header.MaxFields || len(whole) > header.MaxField {
				m.err = errBig
				text = nil
				break
			}
			colon := bytes.IndexByte(whole, ':')
			f := field{written: whole[:colon], value: whole[colon+1:], odd: odd}
			f.name = lower(bytes.TrimRight(f.written, " \t"))
			m.fields = append(m.fields, f)
		case n == 0 && mbox(whole):
		default:
			odd = true
		}
	}
	if m.headed != nil {
		m.headed(m)
	}
}

// cutField cuts the first field with its continuation lines off, without its last line end.
func cutField(text []byte) (whole, rest []byte) {
	for at := 0; ; {
		i := bytes.IndexByte(text[at:], '\n')
		if i < 0 {
			return text, nil
		}
		at += i + 1
		if at == len(text) || text[at] != ' ' && text[at] != '\t' {
			return bytes.TrimSuffix(text[:at-1], crlf[:1]), text[at:]
		}
	}
}

func firstLine(b []byte) []byte {
	line, _, _ := bytes.Cut(b, crlf[1:])
	return line
}

// lower is ASCII in lower case.
func lower(name []byte) string {
	b := make([]byte, len(name))
	for i, c := range name {
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		b[i] = c
	}
	return string(b)
}

// pick chooses the fields of an h= list: each name takes the lowest that is not taken yet (RFC 6376 section 5.4.2).
func (m *message) pick(names []string) []*field {
	below := make(map[string][]int, 16)
	for i := range m.fields {
		below[m.fields[i].name] = append(below[m.fields[i].name], i)
	}
	var picked []*field
	for _, name := range names {
		if left := below[name]; len(left) > 0 {
			picked = append(picked, &m.fields[left[len(left)-1]])
			below[name] = left[:len(left)-1]
		}
	}
	return picked
}

// find lists the fields of a name, from the top.
func (m *message) find(name string) (list []*field) {
	for i := range m.fields {
		if m.fields[i].name == name {
			list = append(list, &m.fields[i])
		}
	}
	return list
}
