package pop3d

import (
	"bytes"
	"io"
	"sync"
)

var blocks = sync.Pool{New: func() any { return new([32 << 10]byte) }}

// copy sends a message as RFC 1939 section 3 wants it, with its final dot. lines < 0 is all of it,
// else the header and so many lines of the text.
func (s *session) copy(r io.Reader, lines int) error {
	block := blocks.Get().(*[32 << 10]byte)
	defer blocks.Put(block)
	w := wire{atStart: true, header: true, lines: lines}
	for !w.done {
		n, err := r.Read(block[:])
		s.out = w.append(s.out, block[:n])
		if len(s.out) > mostPending {
			if ferr := s.flush(); ferr != nil {
				return ferr
			}
		}
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
	}
	s.out = w.end(s.out)
	return nil
}

// wire turns a message of LF lines into CRLF lines with dots stuffed, block by block. Lines that
// have CRLF already stay as they are.
type wire struct {
	atStart bool // of a line
	cr      bool // the last octet was CR
	header  bool // the empty line is still to come
	empty   bool // the line so far is empty
	lines   int  // text lines still to send; < 0 no limit
	done    bool
}

func (w *wire) append(out, b []byte) []byte {
	for len(b) > 0 && !w.done {
		if w.atStart {
			if !w.header && w.lines == 0 {
				w.done = true
				return out
			}
			if b[0] == '.' {
				out = append(out, '.')
			}
			w.atStart, w.empty = false, true
		}
		i := bytes.IndexByte(b, '\n')
		if i < 0 {
			w.part(b)
			return append(out, b...)
		}
		w.part(b[:i])
		out = append(out, b[:i]...)
		if !w.cr {
			out = append(out, '\r')
		}
		out = append(out, '\n')
		b = b[i+1:]
		w.line()
	}
	return out
}

// part looks at a piece of a line.
func (w *wire) part(b []byte) {
	if len(b) == 0 {
		return
	}
	w.empty = w.empty && len(b) == 1 && b[0] == '\r' && !w.cr
	w.cr = b[len(b)-1] == '\r'
}

// line ends a line.
func (w *wire) line() {
	switch {
	case w.header && w.empty:
		w.header = false
	case !w.header && w.lines > 0:
		w.lines--
	}
	w.atStart, w.cr = true, false
}

// end ends the last line, and the message.
func (w *wire) end(out []byte) []byte {
	if !w.atStart {
		out = append(out, "\r\n"...)
	}
	return append(out, ".\r\n"...)
}
