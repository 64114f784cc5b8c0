/*
Package mbox reads mbox files, of all kinds there are:

	mboxo    a line of a message that begins with "From " is written ">From "
	mboxrd   and one that begins with ">From " is written ">>From ", so that it can be undone
	mboxcl   as mboxo, and Content-Length says where the message ends
	mboxcl2  nothing is quoted, Content-Length alone says where the message ends

What a mail reader noted in the header (Status, X-Status, X-Keywords) comes as flags, and goes from the message.
*/
package mbox

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
)

// Kind is how lines that look like the beginning of a message are written.
type Kind string

const (
	Guess Kind = ""
	O     Kind = "mboxo"
	RD    Kind = "mboxrd"
	CL    Kind = "mboxcl"
	CL2   Kind = "mboxcl2"
)

// Kinds are all of them.
var Kinds = []Kind{O, RD, CL, CL2}

// Message is one message: LF line ends, without the "From " line and the notes of mail readers.
type Message struct {
	Sender                                              string
	Received                                            time.Time // zero: not known
	Seen, Answered, Flagged, Deleted, Draft, Old, Inner bool      // Inner: not mail, but what Pine and c-client keep for themselves
	Keywords                                            []string
	Text                                                []byte
}

// Longest bounds a message.
const Longest = 1 << 30

var errNotMbox = errors.New("no mbox: it does not begin with a From line")

// Reader reads messages one after the other.
type Reader struct {
	Kind Kind

	in      *bufio.Reader
	started bool
	from    []byte // the "From " line of the message that comes
	line    int
}

// NewReader reads mbox from r.
func NewReader(r io.Reader, kind Kind) *Reader {
	return &Reader{Kind: kind, in: bufio.NewReaderSize(r, 1<<20)}
}

// readLine is the next line with LF at its end, whatever it had; the last may lack it.
func (r *Reader) readLine() ([]byte, error) {
	var line []byte
	for {
		part, err := r.in.ReadSlice('\n')
		line = append(line, part...)
		if err == bufio.ErrBufferFull {
			if len(line) > Longest {
				return nil, fmt.Errorf("line %d is too long", r.line)
			}
			continue
		}
		if err == io.EOF && len(line) > 0 {
			err = nil
		}
		r.line++
		if n := len(line); n >= 2 && line[n-2] == '\r' && line[n-1] == '\n' {
			line = append(line[:n-2], '\n')
		}
		return line, err
	}
}

// Next is the next message, io.EOF behind the last.
func (r *Reader) Next() (*Message, error) {
	for !r.started {
		line, err := r.readLine()
		if err != nil {
			return nil, err
		}
		if len(bytes.TrimSpace(line)) == 0 {
			continue
		}
		if !isFrom(line) {
			return nil, errNotMbox
		}
		r.started, r.from = true, line
	}
	if r.from == nil {
		return nil, io.EOF
	}
	m := &Message{}
	m.Sender, m.Received = parseFrom(r.from)
	r.from = nil
	length, err := r.header(m)
	if err != nil {
		return nil, err
	}
	body, err := r.body(length)
	if err != nil {
		return nil, err
	}
	m.Text = append(m.Text, body...)
	return m, nil
}

// isFrom reports whether a line can begin a message: "From SENDER DATE".
func isFrom(line []byte) bool {
	if !bytes.HasPrefix(line, []byte("From ")) {
		return false
	}
	_, received := parseFrom(line)
	return !received.IsZero()
}

// dates are the forms of dates in From lines.
var dates = []string{
	"Mon Jan _2 15:04:05 2006", "Mon Jan _2 15:04:05 MST 2006", "Mon Jan _2 15:04:05 -0700 2006", "Mon Jan _2 15:04:05 2006 -0700",
	"Mon Jan _2 15:04 2006", "Mon Jan _2 15:04:05 2006 MST", "Mon, _2 Jan 2006 15:04:05 -0700", "2006-01-02 15:04:05",
}

func parseFrom(line []byte) (sender string, received time.Time) {
	text := strings.TrimSpace(strings.TrimPrefix(string(line), "From "))
	for rest := text; ; { // the sender may have spaces, or be missing
		for _, form := range dates {
			if t, err := time.Parse(form, strings.Join(strings.Fields(rest), " ")); err == nil {
				return strings.TrimSpace(strings.TrimSuffix(text, rest)), t
			}
		}
		_, after, ok := strings.Cut(rest, " ")
		if !ok {
			return text, time.Time{}
		}
		rest = strings.TrimLeft(after, " ")
	}
}

// header reads the header into m, and gives the Content-Length, -1 without one.
func (r *Reader) header(m *Message) (length int, err error) {
	length = -1
	note, words := false, false // the line before was one that goes, was X-Keywords
	for {
		line, err := r.readLine()
		if err == io.EOF {
			return length, nil
		}
		if err != nil {
			return length, err
		}
		if isFrom(line) { // a message without a body, or without the empty line before it
			r.from = line
			return -1, nil
		}
		if line[0] == ' ' || line[0] == '\t' {
			switch {
			case !note:
				m.Text = append(m.Text, line...)
			case words:
				m.Keywords = append(m.Keywords, strings.Fields(string(line))...)
			}
			continue
		}
		name, value, _ := bytes.Cut(line, []byte(":"))
		text := strings.TrimSpace(string(value))
		note, words = true, false
		switch strings.ToLower(strings.TrimSpace(string(name))) {
		case "content-length":
			if n, err := strconv.Atoi(text); err == nil && n >= 0 && n < Longest {
				length = n
			}
		case "status":
			m.Seen = m.Seen || strings.Contains(text, "R")
			m.Old = m.Old || strings.Contains(text, "O")
		case "x-status":
			m.Answered = m.Answered || strings.Contains(text, "A")
			m.Flagged = m.Flagged || strings.Contains(text, "F")
			m.Draft = m.Draft || strings.Contains(text, "T")
			m.Deleted = m.Deleted || strings.Contains(text, "D")
		case "x-keywords":
			words = true
			m.Keywords = append(m.Keywords, strings.Fields(text)...)
		case "x-uid":
		case "x-imap", "x-imapbase":
			m.Inner = m.Inner || bytes.Contains(m.Text, []byte("FOLDER INTERNAL DATA")) || bytes.Contains(m.Text, []byte("FOLDER-DATA"))
		default:
			note = false
			m.Text = append(m.Text, line...)
			if bytes.HasPrefix(line, []byte("Subject: DON'T DELETE THIS MESSAGE")) {
				m.Inner = true
			}
		}
		if len(line) == 1 {
			return length, nil
		}
	}
}

// body reads what stands between the header and the next From line.
func (r *Reader) body(length int) ([]byte, error) {
	if r.from != nil {
		return nil, nil
	}
	if length >= 0 && r.Kind != O && r.Kind != RD {
		if body, ok := r.measured(length); ok {
			quoted := r.Kind == CL || r.Kind == Guess && !hasFrom(body)
			if quoted {
				body = unquote(body, false)
			}
			return body, r.gap()
		}
	}
	var body []byte
	empty := true // the line before was
	for {
		line, err := r.readLine()
		if err != nil && err != io.EOF {
			return nil, err
		}
		if err == io.EOF {
			break
		}
		if empty && isFrom(line) {
			r.from = line
			break
		}
		empty = len(line) == 1
		if body = append(body, line...); len(body) > Longest {
			return nil, fmt.Errorf("the message before line %d is too long", r.line)
		}
	}
	if n := len(body); n >= 2 && body[n-1] == '\n' && body[n-2] == '\n' || n == 1 && body[0] == '\n' { // the empty line before From is no part of it
		body = body[:n-1]
	}
	return unquote(body, r.Kind == RD || r.Kind == Guess), nil
}

// measured is the body that Content-Length says, if the file goes on behind it as it must.
func (r *Reader) measured(length int) ([]byte, bool) {
	peek, err := r.in.Peek(length + 7)
	if len(peek) < length || err != nil && err != io.EOF {
		return nil, false // longer than the buffer, or than the file: the From lines decide
	}
	after := bytes.TrimLeft(peek[length:], "\r\n")
	if len(after) > 0 && !bytes.HasPrefix(after, []byte("From ")[:min(5, len(after))]) {
		return nil, false
	}
	body := bytes.ReplaceAll(peek[:length], []byte("\r\n"), []byte("\n"))
	r.in.Discard(length)
	r.line += bytes.Count(body, []byte("\n"))
	return bytes.Clone(body), true
}

// gap reads on to the next From line.
func (r *Reader) gap() error {
	for {
		line, err := r.readLine()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if isFrom(line) {
			r.from = line
			return nil
		}
	}
}

func hasFrom(body []byte) bool {
	return bytes.HasPrefix(body, []byte("From ")) || bytes.Contains(body, []byte("\nFrom "))
}

// unquote takes the ">" from "From " lines; with all, one from each of ">>From " too.
func unquote(body []byte, all bool) []byte {
	if !bytes.Contains(body, []byte(">From ")) {
		return body
	}
	var out []byte
	for line := range bytes.Lines(body) {
		rest := bytes.TrimLeft(line, ">")
		if n := len(line) - len(rest); bytes.HasPrefix(rest, []byte("From ")) && (n == 1 || n > 1 && all) {
			line = line[1:]
		}
		out = append(out, line...)
	}
	return out
}
