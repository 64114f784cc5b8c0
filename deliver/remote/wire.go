package remote

import (
	"bytes"
	"encoding/binary"
)

// wire turns a message as the spool keeps it, LF line ends, into what SMTP carries: every line ends in CRLF and no CR or LF
// stands alone (S009), and with stuff a line that starts with a dot gets a second one (RFC 5321 section 4.5.2).
//
// A CR LF that stands in the file stays one line end. A CR that ends no line is no character of Internet mail (RFC 5322
// section 2.2) and becomes a space: sent as it is, it could end a line at the next relay. The zero wire is at the start
// of a message; it works on blocks of any size.
type wire struct {
	stuff  bool
	inside bool // the last octet was not a line end
	cr     bool // the last octet was a CR that is not written yet
}

// append writes src to dst.
func (w *wire) append(dst, src []byte) []byte {
	if w.cr || bytes.IndexByte(src, '\r') >= 0 {
		return w.slowly(dst, src)
	}
	for len(src) > 0 {
		if !w.inside && w.stuff && src[0] == '.' {
			dst = append(dst, '.')
		}
		end := bytes.IndexByte(src, '\n')
		if end < 0 {
			w.inside = true
			return append(dst, src...)
		}
		dst = append(append(dst, src[:end]...), '\r', '\n')
		src, w.inside = src[end+1:], false
	}
	return dst
}

// slowly is append for a block with CRs.
func (w *wire) slowly(dst, src []byte) []byte {
	for _, c := range src {
		if w.cr && c != '\n' {
			dst, w.inside = append(dst, ' '), true
		}
		if w.cr = c == '\r'; w.cr {
			continue
		}
		if c == '\n' {
			dst, w.inside = append(dst, '\r', '\n'), false
			continue
		}
		if !w.inside && w.stuff && c == '.' {
			dst = append(dst, '.')
		}
		dst, w.inside = append(dst, c), true
	}
	return dst
}

// end completes the last line.
func (w *wire) end(dst []byte) []byte {
	if w.cr || w.inside {
		dst = append(dst, '\r', '\n')
	}
	w.cr, w.inside = false, false
	return dst
}

// eightBit reports whether b has an octet above 127.
func eightBit(b []byte) bool {
	for ; len(b) >= 8; b = b[8:] {
		if binary.LittleEndian.Uint64(b)&0x8080808080808080 != 0 {
			return true
		}
	}
	for _, c := range b {
		if c >= 0x80 {
			return true
		}
	}
	return false
}
