package drop

import (
	"bytes"
	"io"
)

// Text passes a message on with the line ends of the spool: CRLF and CR alone become LF, NULs are
// left out, and a last line without an end gets one.
type Text struct {
	Out  io.Writer
	cr   bool // the last octet was CR, and its LF is written
	last byte
	buf  []byte
}

func (t *Text) Write(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if !t.cr && bytes.IndexByte(p, '\r') < 0 && bytes.IndexByte(p, 0) < 0 {
		t.last = p[len(p)-1]
		return t.Out.Write(p)
	}
	t.buf = t.buf[:0]
	for _, c := range p {
		switch {
		case c == '\r':
			t.buf = append(t.buf, '\n')
		case c == '\n' && t.cr, c == 0:
		default:
			t.buf = append(t.buf, c)
		}
		if c != 0 {
			t.cr = c == '\r'
		}
	}
	if n := len(t.buf); n > 0 {
		t.last = t.buf[n-1]
	}
	if _, err := t.Out.Write(t.buf); err != nil {
		return 0, err
	}
	return len(p), nil
}

// Close ends the last line.
func (t *Text) Close() error {
	if t.last == '\n' || t.last == 0 {
		return nil
	}
	t.last = '\n'
	_, err := t.Out.Write([]byte{'\n'})
	return err
}
