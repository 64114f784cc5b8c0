package line

import (
	"bytes"
	"encoding/binary"
	"io"
)

// longest is a text line without CRLF, RFC 5322 section 2.1.1.
const longest = 998

// Verdict is what was found in content.
type Verdict struct {
	Size     int64 // octets as the wire had them, without the terminator and stuffing
	Bare     bool  // bare CR or LF
	BareCR   bool  // among them a CR, which nobody may normalise
	NUL      bool
	Long     bool // a line over 998 octets
	EightBit bool
	TooBig   bool
	Write    error // first error of w; the rest was read and thrown away
}

// Add joins the verdicts of two pieces of one content.
func (v *Verdict) Add(next Verdict) {
	v.Size += next.Size
	v.Bare = v.Bare || next.Bare
	v.BareCR = v.BareCR || next.BareCR
	v.NUL = v.NUL || next.NUL
	v.Long = v.Long || next.Long
	v.EightBit = v.EightBit || next.EightBit
	v.TooBig = v.TooBig || next.TooBig
	if v.Write == nil {
		v.Write = next.Write
	}
}

// give writes a piece, unless the content is lost already.
func (v *Verdict) give(w io.Writer, p []byte) {
	if v.Write == nil && !v.TooBig && w != nil && len(p) > 0 {
		_, v.Write = w.Write(p)
	}
}

// octets looks at text whose line ends are LF already, many octets at a time: a CR left in it was no part of a CRLF.
func (v *Verdict) octets(p []byte) {
	if bytes.IndexByte(p, '\r') >= 0 {
		v.Bare, v.BareCR = true, true
	}
	if !v.NUL && bytes.IndexByte(p, 0) >= 0 {
		v.NUL = true
	}
	if !v.EightBit {
		v.EightBit = eightBit(p)
	}
}

func eightBit(p []byte) bool {
	var all uint64
	for len(p) >= 8 {
		all |= binary.LittleEndian.Uint64(p)
		p = p[8:]
	}
	for _, c := range p {
		all |= uint64(c)
	}
	return all&0x8080808080808080 != 0
}

// Data copies a message that ends with CRLF.CRLF to w with LF line ends and dots unstuffed. It always reads to the true end; what was wrong
// (bare CR or LF, NUL, a line over 998 octets, more than limit octets) is found in the verdict. An error is the connection's.
func (r *Reader) Data(w io.Writer, limit int64) (Verdict, error) {
	var v Verdict
	d := dots{fresh: true}
	for {
		if r.at == r.end || !d.done && d.wait {
			if err := r.fill(); err != nil {
				if err == io.EOF {
					err = io.ErrUnexpectedEOF
				}
				return v, err
			}
		}
		block := r.buf[r.at:r.end]
		used, text := d.take(block, &v, len(block) == len(r.buf))
		r.at += used
		if v.Size > limit {
			v.TooBig = true
		}
		v.give(w, text)
		if d.done {
			return v, nil
		}
	}
}

// dots is where Data is in a message.
type dots struct {
	fresh bool // at the start of the message or behind CRLF: a dot here is a stuffed one or the end
	wait  bool // what is left in the buffer decides nothing yet
	done  bool // CRLF.CRLF was read
	col   int  // octets of the current line taken already, when it was longer than the buffer
}

// take reads lines of block as far as they are whole, or as far as it can when full says that the buffer holds no
// more. It writes them with LF ends over the start of block and returns how much it used, and that text.
func (d *dots) take(block []byte, v *Verdict, full bool) (used int, text []byte) {
	out := 0
	for used < len(block) && !d.done {
		i := bytes.IndexByte(block[used:], '\n')
		if i < 0 {
			break
		}
		raw := block[used : used+i+1]
		used += i + 1
		n := i // octets before the line end
		crlf := i > 0 && raw[i-1] == '\r'
		if crlf {
			n--
		} else {
			v.Bare = true
		}
		if d.fresh && i > 0 && raw[0] == '.' {
			if n == 1 && crlf {
				d.done = true
				break
			}
			raw = raw[1:]
			n--
		}
		v.Size += int64(len(raw))
		if d.col+n > longest {
			v.Long = true
		}
		d.fresh, d.col = crlf, 0
		out += copy(block[out:], raw[:n])
		block[out] = '\n'
		out++
	}
	v.octets(block[:out])
	d.wait = used < len(block)
	if !d.done && d.wait && full && used == 0 {
		return d.part(block, v)
	}
	return used, block[:out]
}

// part takes the start of a line that is longer than the buffer, all but its last octet, which may be the CR of a CRLF.
func (d *dots) part(block []byte, v *Verdict) (used int, text []byte) {
	used = len(block) - 1
	text = block[:used]
	if d.fresh && text[0] == '.' {
		text = text[1:]
	}
	d.fresh = false
	d.col += len(text)
	v.Size += int64(len(text))
	v.Long = v.Long || d.col > longest
	v.octets(text)
	return used, text
}
