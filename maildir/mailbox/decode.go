package mailbox

import (
	"bytes"
	"io"
)

// unbased undoes base64 (RFC 2045 section 6.8). What stands between its letters is passed over; padding ends it.
type unbased struct {
	r    io.Reader
	bits uint32 // read and not given yet
	n    int    // how many
	err  error
	buf  [3 << 10]byte
}

func (u *unbased) reset(r io.Reader) { u.r, u.bits, u.n, u.err = r, 0, 0, nil }

func (u *unbased) Read(p []byte) (int, error) {
	for u.err == nil {
		got, err := u.r.Read(u.buf[:min(len(u.buf), len(p))]) // three octets come of four
		u.err = err
		if n := u.decode(p, u.buf[:got]); n > 0 {
			return n, nil
		}
	}
	return 0, u.err
}

// decode writes what the letters of b say to p, which has room.
func (u *unbased) decode(p, b []byte) (n int) {
	bits, have := u.bits, u.n
	for len(b) > 0 {
		if have == 0 { // four letters in a row, as they mostly are
			for len(b) >= 4 {
				x := uint32(letterBits[b[0]])<<18 | uint32(letterBits[b[1]])<<12 | uint32(letterBits[b[2]])<<6 | uint32(letterBits[b[3]])
				if (letterBits[b[0]]|letterBits[b[1]]|letterBits[b[2]]|letterBits[b[3]])&noLetter != 0 {
					break
				}
				p[n], p[n+1], p[n+2] = byte(x>>16), byte(x>>8), byte(x)
				n += 3
				b = b[4:]
			}
			if len(b) == 0 {
				break
			}
		}
		c := b[0]
		b = b[1:]
		v := letterBits[c]
		if v&noLetter != 0 {
			if c == '=' {
				u.err = io.EOF
				break
			}
			continue
		}
		bits, have = bits<<6|uint32(v), have+6
		if have >= 8 {
			have -= 8
			p[n] = byte(bits >> have)
			n++
		}
	}
	u.bits, u.n = bits&0xff, have
	return n
}

const noLetter = 0x80

var letterBits = func() (t [256]byte) {
	for i := range t {
		t[i] = noLetter
	}
	for i, c := range []byte("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/") {
		t[c] = byte(i)
	}
	return t
}()

// unquoted undoes quoted-printable (RFC 2045 section 6.7). What is wrong in it stays as it is.
type unquoted struct {
	r    io.Reader
	have []byte // of buf, read and not used yet
	err  error
	buf  [4 << 10]byte
}

func (u *unquoted) reset(r io.Reader) { u.r, u.have, u.err = r, nil, nil }

func (u *unquoted) Read(p []byte) (n int, err error) {
	for n == 0 {
		if len(u.have) < 80 && u.err == nil {
			k := copy(u.buf[:], u.have)
			got, err := u.r.Read(u.buf[k:])
			u.have, u.err = u.buf[:k+got], err
			if got == 0 && err == nil {
				continue
			}
		}
		if len(u.have) == 0 {
			return 0, u.err
		}
		n, u.have = unquote(p, u.have, u.err != nil)
	}
	return n, nil
}

// unquote decodes b into p as far as that has room. When more comes behind b, what is near its end is left, unless it is plain.
func unquote(p, b []byte, last bool) (n int, rest []byte) {
	for n < len(p) && len(b) > 0 {
		c := b[0]
		if c != '=' {
			k := bytes.IndexByte(b, '=')
			if k < 0 {
				k = len(b)
			}
			k = copy(p[n:], b[:k])
			n, b = n+k, b[k:]
			continue
		}
		if len(b) < 80 && !last {
			break // what follows may not be here yet
		}
		if k := softBreak(b); k > 0 {
			b = b[k:]
			continue
		}
		p[n] = c
		k := 1
		if len(b) >= 3 {
			if hi, lo := hexDigit(b[1]), hexDigit(b[2]); hi >= 0 && lo >= 0 {
				p[n], k = byte(hi<<4|lo), 3
			}
		}
		n, b = n+1, b[k:]
	}
	return n, b
}

// softBreak is the length of a soft line break: "=", white space, a line end.
func softBreak(b []byte) int {
	for i := 1; i < len(b); i++ {
		switch b[i] {
		case ' ', '\t', '\r':
		case '\n':
			return i + 1
		default:
			return 0
		}
	}
	return len(b)
}

func hexDigit(c byte) int {
	switch {
	case c >= '0' && c <= '9':
		return int(c - '0')
	case c >= 'A' && c <= 'F':
		return int(c-'A') + 10
	case c >= 'a' && c <= 'f':
		return int(c-'a') + 10
	}
	return -1
}

// unwire appends b with LF line ends.
func unwire(to, b []byte) []byte {
	for {
		i := bytes.IndexByte(b, '\r')
		if i < 0 {
			return append(to, b...)
		}
		to = append(to, b[:i]...)
		if i+1 == len(b) || b[i+1] != '\n' {
			to = append(to, '\r')
		}
		b = b[i+1:]
	}
}
