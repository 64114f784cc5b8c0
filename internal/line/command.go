package line

import (
	"bytes"
	"io"
)

// Line is the next line without CRLF, of at most max octets without it, valid until the next call. ErrTooLong: the line
// was skipped to its end (or, after 64 KiB more, the connection is beyond hope: ErrEndless). ErrBare and ErrNUL
// likewise describe a line that was consumed.
func (r *Reader) Line(max int) ([]byte, error) {
	seen := 0 // octets of buf[at:end] known to hold no LF
	for {
		if i := bytes.IndexByte(r.buf[r.at+seen:r.end], '\n'); i >= 0 {
			raw := r.buf[r.at : r.at+seen+i+1]
			r.at += len(raw)
			return check(raw, max)
		}
		seen = r.end - r.at
		if seen > max+1 || r.buf != nil && seen == len(r.buf) {
			return nil, r.skip()
		}
		if err := r.fill(); err != nil {
			if err == io.EOF && seen > 0 {
				err = io.ErrUnexpectedEOF
			}
			return nil, err
		}
	}
}

// check takes the line end off a line and says what is wrong with it.
func check(raw []byte, max int) ([]byte, error) {
	n := len(raw) - 2
	if n < 0 || raw[n] != '\r' {
		return nil, ErrBare
	}
	text := raw[:n]
	switch {
	case n > max:
		return nil, ErrTooLong
	case bytes.IndexByte(text, '\r') >= 0:
		return nil, ErrBare
	case bytes.IndexByte(text, 0) >= 0:
		return nil, ErrNUL
	}
	return text, nil
}

// skip reads to the end of a line that is too long.
func (r *Reader) skip() error {
	for left := patience; left > 0; {
		if i := bytes.IndexByte(r.buf[r.at:r.end], '\n'); i >= 0 {
			r.at += i + 1
			return ErrTooLong
		}
		left -= r.end - r.at
		r.at = r.end
		if err := r.fill(); err != nil {
			return err
		}
	}
	return ErrEndless
}
