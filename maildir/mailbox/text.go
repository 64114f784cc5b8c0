package mailbox

import (
	"bytes"
	"io"
	"slices"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/emersion/go-message/charset"

	"pennypost/internal/part"
)

// Needle is what a search looks for: without regard to case, in decoded text (RFC 9051 section 6.4.4), compared as Fold does.
type Needle struct{ folded []byte }

// NewNeedle is the needle for a text in UTF-8. Line ends in it are single LFs, as in what is searched.
func NewNeedle(text string) *Needle {
	return &Needle{[]byte(Fold(strings.ReplaceAll(text, "\r\n", "\n")))}
}

// Empty reports whether it is found in everything.
func (n *Needle) Empty() bool { return len(n.folded) == 0 }

// In reports whether the needle is in text, which is decoded and not folded.
func (n *Needle) In(text []byte) bool {
	if len(n.folded) == 0 {
		return true
	}
	var room [512]byte
	return bytes.Contains(foldTo(room[:0], text), n.folded)
}

// InField reports whether a header field of that name in header (line ends as they come) has the needle in its value.
func (n *Needle) InField(header []byte, name string) bool {
	found := false
	eachField(header, func(field, value []byte) bool {
		if len(field) == len(name) && equalFold(string(field), name) {
			found = n.Empty() || n.In(decoded(value))
		}
		return !found
	})
	return found
}

// decoded is a header value on one line, with its encoded words decoded.
func decoded(value []byte) []byte {
	if bytes.IndexByte(value, '\n') >= 0 {
		value = part.Unfold(value)
	}
	value = bytes.TrimSpace(value)
	if bytes.Contains(value, []byte("=?")) || !utf8.Valid(value) {
		return []byte(DecodeHeader(string(value)))
	}
	return value
}

// eachField yields the fields of a header, values with their folding, until visit says no.
func eachField(header []byte, visit func(name, value []byte) bool) {
	for len(header) > 0 {
		end := 0
		for {
			i := bytes.IndexByte(header[end:], '\n')
			if i < 0 {
				end = len(header)
				break
			}
			end += i + 1
			if end == len(header) || header[end] != ' ' && header[end] != '\t' {
				break
			}
		}
		field := header[:end]
		header = header[end:]
		if i := bytes.IndexByte(field, ':'); i > 0 {
			if !visit(bytes.TrimRight(field[:i], " \t"), field[i+1:]) {
				return
			}
		}
	}
}

// textBlock is how much of a body is decoded at a time.
const textBlock = 32 << 10

// texts is the room one message after the other is searched in.
type texts struct {
	raw, plain, folded []byte
	based              unbased
	quoted             unquoted
}

var textRooms = sync.Pool{New: func() any { return &texts{} }}

// EachText gives what a search in the message looks at, folded: the bodies of its text parts, decoded, and with headers its header and those
// of its parts, field by field. A long body comes in pieces; more says that the piece goes on from the one before. visit says whether to
// go on. The same text is what the filter mb-fts is made of.
func (m *Message) EachText(parts []Part, headers bool, visit func(text []byte, more bool) bool) error {
	return m.eachText(parts, headers, visit, nil)
}

// eachText gives the headers as they are besides, each whole, where they are not wanted folded and raw is not nil.
func (m *Message) eachText(parts []Part, headers bool, visit func(text []byte, more bool) bool, raw func(header []byte)) error {
	room := textRooms.Get().(*texts)
	defer textRooms.Put(room)
	if buf := window(); m.Size <= int64(len(buf)) { // one read for all of its parts
		defer windows.Put(buf)
		if n, _ := m.ReadAt(buf[:m.Size], 0); int64(n) == m.Size {
			m = &Message{ReaderAt: bytes.NewReader(buf[:n]), Size: m.Size}
		}
	} else {
		windows.Put(buf)
	}
	for i := range parts {
		p := &parts[i]
		if headers || raw != nil {
			if err := room.header(m, p); err != nil {
				return err
			}
		}
		if headers {
			if !room.eachHeader(room.raw, func(text []byte) bool { return visit(text, false) }) {
				return nil
			}
		} else if raw != nil {
			raw(room.raw)
		}
		if !p.searched() {
			continue
		}
		if on, err := room.body(m, p, visit); !on || err != nil {
			return err
		}
	}
	return nil
}

// searched reports whether a part's body is text a person could look for.
func (p *Part) searched() bool {
	if p.Message {
		return false // what is inside is a part of its own
	}
	typ, _, _ := strings.Cut(p.Type, "/")
	return typ == "" || equalFold(typ, "text") || equalFold(typ, "message")
}

// header reads the header of a part.
func (t *texts) header(m *Message, p *Part) error {
	n := int(min(p.Body-p.Header, part.MaxHeader))
	t.raw = slices.Grow(t.raw[:0], n)[:n]
	got, err := m.ReadAt(t.raw, p.Header)
	if got == n {
		return nil
	}
	if err == nil || err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return err
}

// eachHeader gives the fields of a header as they are searched, and reports whether visit wants to go on.
func (t *texts) eachHeader(header []byte, visit func(text []byte) bool) (on bool) {
	on = true
	eachField(header, func(name, value []byte) bool {
		t.plain = append(append(append(t.plain[:0], name...), ": "...), decoded(value)...)
		t.folded = foldTo(t.folded[:0], t.plain)
		on = visit(t.folded)
		return on
	})
	return on
}

// body decodes and folds a part piece by piece.
func (t *texts) body(m *Message, p *Part, visit func(text []byte, more bool) bool) (on bool, err error) {
	raw := io.Reader(io.NewSectionReader(m, p.Body, p.End-p.Body))
	switch {
	case equalFold(p.Encoding, "base64"):
		t.based.reset(raw)
		raw = &t.based
	case equalFold(p.Encoding, "quoted-printable"):
		t.quoted.reset(raw)
		raw = &t.quoted
	}
	known := p.Charset == "" || equalFold(p.Charset, "utf-8") || equalFold(p.Charset, "us-ascii")
	if !known {
		if r, err := charset.Reader(p.Charset, raw); err == nil {
			raw = r
		}
	}
	if cap(t.raw) < textBlock {
		t.raw = make([]byte, textBlock)
	}
	t.raw = t.raw[:textBlock]
	have := 0
	for more := false; ; more = true {
		n, err := io.ReadFull(raw, t.raw[have:])
		n += have
		end := n
		if err == nil {
			end = cutText(t.raw[:n])
		}
		if end > 0 && !visit(t.fold(t.raw[:end], p.Charset), more) {
			return false, nil
		}
		if err != nil { // the end, or something that cannot be decoded: the rest is no text
			return true, diskError(err)
		}
		have = copy(t.raw, t.raw[end:n])
	}
}

// diskError is err if reading failed, and the text is not merely at its end.
func diskError(err error) error {
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		return nil
	}
	return err
}

// cutText is where a block can end without breaking a word or, if there is none, a character.
func cutText(b []byte) int {
	if i := bytes.LastIndexAny(b[len(b)-1000:], " \n"); i >= 0 {
		return len(b) - 1000 + i + 1
	}
	end := len(b)
	for k := 1; k < utf8.UTFMax; k++ {
		if c := b[len(b)-k]; utf8.RuneStart(c) {
			if !utf8.FullRune(b[len(b)-k:]) {
				end = len(b) - k
			}
			break
		}
	}
	return end
}

// fold is a block as it is compared: valid UTF-8, LF line ends, folded.
func (t *texts) fold(b []byte, set string) []byte {
	if bytes.IndexByte(b, '\r') >= 0 {
		t.plain = unwire(t.plain[:0], b)
		b = t.plain
	}
	folded, valid := foldValid(t.folded[:0], b)
	if t.folded = folded; valid {
		return folded
	}
	if set == "" { // what such mail mostly is
		if r, err := charset.Reader("windows-1252", bytes.NewReader(b)); err == nil {
			b, _ = io.ReadAll(r)
		}
	} else {
		b = bytes.ToValidUTF8(b, invalid)
	}
	t.folded = foldTo(t.folded[:0], b)
	return t.folded
}

// Contains reports whether the needle is in what EachText gives.
func (m *Message) Contains(parts []Part, headers bool, n *Needle) (found bool, err error) {
	if n.Empty() {
		return true, nil
	}
	l := looking{needle: n.folded}
	err = m.EachText(parts, headers, func(text []byte, more bool) bool { return !l.in(text, more) })
	return l.found, err
}

// looking is for a needle in text that comes in pieces.
type looking struct {
	needle []byte
	tail   []byte // the end of the piece before
	found  bool
}

func (l *looking) in(text []byte, more bool) bool {
	if !more {
		l.tail = l.tail[:0]
	}
	keep := len(l.needle) - 1
	if len(l.tail) > 0 {
		was := len(l.tail)
		l.tail = append(l.tail, text[:min(keep, len(text))]...)
		if l.found = bytes.Contains(l.tail, l.needle); l.found {
			return true
		}
		l.tail = l.tail[:was]
	}
	if l.found = bytes.Contains(text, l.needle); l.found {
		return true
	}
	l.tail = append(l.tail, text[max(0, len(text)-keep):]...)
	l.tail = l.tail[max(0, len(l.tail)-keep):]
	return false
}
