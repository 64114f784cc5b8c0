package msgauth

import (
	"bytes"
	"crypto/sha256"
	"hash"
)

// body hashes one canonical form of a body while it passes (RFC 6376 section 3.4.3 and 3.4.4). The body comes with LF or
// CRLF at the end of its lines, in pieces of any size; what is hashed has CRLF. It keeps outSize octets, whatever passes.
type body struct {
	relaxed bool
	hash    hash.Hash
	out     []byte
	lines   int  // ends of empty lines that are held back: they may be the last ones
	begun   bool // the current line has something
	space   bool // white space is held back: it may be the last of its line
	cr      bool // a CR is held back: an LF may follow
	any     bool // the body is not empty
}

const outSize = 8 << 10

func newBody(relaxed bool) *body {
	return &body{relaxed: relaxed, hash: sha256.New(), out: make([]byte, 0, outSize)}
}

// Write takes the next piece.
func (b *body) Write(p []byte) (int, error) {
	n := len(p)
	for len(p) > 0 {
		end := bytes.IndexByte(p, '\n')
		if b.cr && end != 0 {
			b.text([]byte{'\r'}) // a CR of its own
		}
		b.cr = false
		piece := p
		if end >= 0 {
			piece = p[:end]
		}
		if len(piece) > 0 && piece[len(piece)-1] == '\r' {
			piece, b.cr = piece[:len(piece)-1], true
		}
		b.text(piece)
		if end < 0 {
			break
		}
		b.cr = false
		b.endLine()
		p = p[end+1:]
	}
	return n, nil
}

// text takes a piece of a line.
func (b *body) text(p []byte) {
	switch {
	case len(p) == 0:
	case b.relaxed:
		b.reduce(p)
	default:
		b.begin()
		b.put(p)
	}
}

// reduce makes one space of each run of white space, and holds the last one back.
func (b *body) reduce(p []byte) {
	last := p[len(p)-1]
	if !b.space && last != ' ' && bytes.IndexByte(p, '\t') < 0 && !bytes.Contains(p, twoSpaces) {
		b.begin() // nearly every line
		b.put(p)
		return
	}
	for len(p) > 0 {
		n := 0
		for n < len(p) && (p[n] == ' ' || p[n] == '\t') {
			n++
		}
		if n > 0 {
			b.space, p = true, p[n:]
			continue
		}
		for n < len(p) && p[n] != ' ' && p[n] != '\t' {
			n++
		}
		b.begin()
		if b.space {
			b.put(oneSpace)
			b.space = false
		}
		b.put(p[:n])
		p = p[n:]
	}
}

var (
	twoSpaces = []byte("  ")
	oneSpace  = []byte(" ")
	crlf      = []byte("\r\n")
)

// begin is before the first octet of a line: the empty lines before it were not the last ones.
func (b *body) begin() {
	for ; b.lines > 0; b.lines-- {
		b.put(crlf)
	}
	b.begun, b.any = true, true
}

func (b *body) endLine() {
	b.space = false
	if b.begun {
		b.put(crlf)
		b.begun = false
		return
	}
	b.lines++
}

func (b *body) put(p []byte) {
	if len(b.out)+len(p) > cap(b.out) {
		b.hash.Write(b.out)
		b.out = b.out[:0]
		if len(p) > cap(b.out) {
			b.hash.Write(p)
			return
		}
	}
	b.out = append(b.out, p...)
}

// sum ends the body.
func (b *body) sum() []byte {
	if b.cr {
		b.text([]byte{'\r'})
	}
	if b.begun { // a last line without an end is given one
		b.endLine()
	}
	if !b.any && !b.relaxed { // section 3.4.3: an empty body is one CRLF; 3.4.4: it is nothing
		b.put(crlf)
	}
	b.hash.Write(b.out)
	return b.hash.Sum(nil)
}

// appendField adds the canonical form of a field, without its last line end (sections 3.4.1 and 3.4.2).
func appendField(b []byte, f *field, value []byte, relaxed bool) []byte {
	if !relaxed {
		b = append(append(b, f.written...), ':')
		for len(value) > 0 {
			i := bytes.IndexByte(value, '\n')
			if i < 0 {
				return append(b, value...)
			}
			b = append(append(b, bytes.TrimSuffix(value[:i], crlf[:1])...), '\r', '\n')
			value = value[i+1:]
		}
		return b
	}
	b = append(append(b, f.name...), ':')
	start, space := len(b), false
	for _, c := range value {
		if isFWS(c) {
			space = true
			continue
		}
		if space && len(b) > start {
			b = append(b, ' ')
		}
		space = false
		b = append(b, c)
	}
	return b
}
