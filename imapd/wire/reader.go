package wire

import (
	"bytes"
	"io"
)

// Reader reads commands from a client through one buffer, which it gets when there is something to read and gives
// back when everything read was used.
type Reader struct {
	r      io.Reader
	Limits Limits
	// Continue is called before a synchronising literal is read: it sends "+ " and flushes.
	Continue func() error

	buf   []byte // what was read and not used yet: buf[at:]
	at    int
	free  func([]byte) // gives a buffer back
	first [256]byte
	get   func() []byte
}

// NewReader reads from r; buffers come from get and go back to put, so that idle connections need none.
func NewReader(r io.Reader, limits Limits, get func() []byte, put func([]byte)) *Reader {
	return &Reader{r: r, Limits: limits, get: get, free: put}
}

// Command is a command as it was read.
type Command struct {
	Text []byte // the line with its literals, without the last CRLF; valid until the next call of the Reader
	// Pending is the length of a last literal that was left on the connection because of its size; -1 when there is none. It
	// is taken with Reader.Literal, and the rest of the command (a MULTIAPPEND goes on after it) with Reader.More.
	Pending int64
	Sync    bool // the pending literal waits for "+"
	Binary  bool // it is a literal8, ~{n}
}

// Buffered is the number of octets that are there already.
func (r *Reader) Buffered() int { return len(r.buf) - r.at }

// fill reads more; it drops what was used.
func (r *Reader) fill() error {
	if r.buf == nil { // whoever waits long has room for a command, and a buffer when there is something to put into it
		n, err := r.r.Read(r.first[:])
		if n > 0 {
			r.buf, r.at = append(r.get()[:0], r.first[:n]...), 0
			return nil
		}
		if err == nil {
			err = io.ErrNoProgress
		}
		return err
	}
	if r.at > 0 && r.at == len(r.buf) {
		r.buf, r.at = r.buf[:0], 0
	}
	if len(r.buf) == cap(r.buf) {
		n := copy(r.buf[:cap(r.buf)], r.buf[r.at:])
		r.buf, r.at = r.buf[:n], 0
		if n == cap(r.buf) {
			return ErrTooBig
		}
	}
	n, err := r.r.Read(r.buf[len(r.buf):cap(r.buf)])
	r.buf = r.buf[:len(r.buf)+n]
	if n > 0 {
		return nil
	}
	if err == nil {
		err = io.ErrNoProgress
	}
	return err
}

// Peek reads what is there, without taking it. Its error is the connection's; a timeout says that nothing came, and nothing else.
func (r *Reader) Peek() error {
	if len(r.buf) > 0 && r.at == 0 && len(r.buf) == cap(r.buf) {
		return nil // no room for more: somebody is there
	}
	return r.fill()
}

// Rest gives the buffer back if it is empty; call it before waiting long.
func (r *Reader) Rest() {
	if r.buf != nil && r.at == len(r.buf) {
		r.free(r.buf)
		r.buf, r.at = nil, 0
	}
}

// Taken is what is there already, for another reader. The buffer it was in is given back.
func (r *Reader) Taken() []byte {
	early := bytes.Clone(r.buf[r.at:])
	r.at = len(r.buf)
	r.Rest()
	return early
}

// Untake has b read before what the connection brings. It is no more than a buffer holds.
func (r *Reader) Untake(b []byte) {
	if len(b) > 0 {
		r.buf, r.at = append(r.get()[:0], b...), 0
	}
}

// line appends the next line without CRLF to b, which may hold at most max octets more.
func (r *Reader) line(b []byte, max int) ([]byte, error) {
	start := len(b)
	for {
		if i := bytes.IndexByte(r.buf[r.at:], '\n'); i >= 0 {
			text := r.buf[r.at : r.at+i]
			r.at += i + 1
			if len(b)-start+len(text) > max+1 {
				return b, ErrTooBig
			}
			b = append(b, text...)
			if len(b) == start || b[len(b)-1] != '\r' || bytes.IndexByte(b[start:len(b)-1], '\r') >= 0 {
				return b, ErrBareLine
			}
			return b[:len(b)-1], nil
		}
		if len(b)-start+r.Buffered() > max+1 {
			return b, r.skipLine()
		}
		b = append(b, r.buf[r.at:]...)
		r.at = len(r.buf)
		if err := r.fill(); err != nil {
			return b, err
		}
	}
}

// skipLine reads to the end of a line that is too long; beyond 64 KiB more it gives up.
func (r *Reader) skipLine() error {
	for skipped := 0; skipped < 64<<10; {
		if i := bytes.IndexByte(r.buf[r.at:], '\n'); i >= 0 {
			literal := i > 1 && r.buf[r.at+i-1] == '\r' && r.buf[r.at+i-2] == '}'
			r.at += i + 1
			if literal { // what follows could be data or a command
				return ErrDesync
			}
			return ErrTooBig
		}
		skipped += r.Buffered()
		r.at = len(r.buf)
		if err := r.fill(); err != nil {
			return err
		}
	}
	return ErrDesync
}

// Line is one line that is no command: the answer to a SASL challenge, or DONE.
func (r *Reader) Line(max int) ([]byte, error) { return r.line(nil, max) }

// Next reads a command into b (b[:0] of an earlier one may be given). long decides by what was read so far whether the
// literal that comes now may stay on the connection.
func (r *Reader) Next(b []byte, long func(text []byte) bool) (Command, error) {
	return r.more(b[:0], 0, long)
}

// More goes on with a command after its pending literal was taken.
func (r *Reader) More(b []byte, long func(text []byte) bool) (Command, error) {
	return r.more(b[:0], 0, long)
}

func (r *Reader) more(b []byte, literals int, long func([]byte) bool) (Command, error) {
	lines := 0
	for {
		start := len(b)
		var err error
		b, err = r.line(b, r.Limits.Line-lines)
		if err != nil {
			return Command{Text: b, Pending: -1}, err
		}
		lines += len(b) - start
		n, sync, binary, ok := literalAt(b[start:])
		if !ok {
			return Command{Text: b, Pending: -1}, nil
		}
		if long != nil && long(b) {
			return Command{Text: b, Pending: n, Sync: sync, Binary: binary}, nil
		}
		literals++
		if n > r.Limits.Literal || int64(len(b))+n > r.Limits.Command || literals > r.Limits.Literals {
			return Command{Text: b, Pending: -1}, r.refuse(n, sync)
		}
		if sync {
			if err := r.Continue(); err != nil {
				return Command{Text: b, Pending: -1}, err
			}
		}
		b = append(b, '\r', '\n')
		if b, err = r.take(b, n); err != nil {
			return Command{Text: b, Pending: -1}, err
		}
	}
}

// refuse deals with a literal that is too big: a client that waits for "+" hears NO instead, and its command has ended
// (RFC 9051 section 4.3); what another sends anyway is skipped when it is not too much (RFC 7888 section 4).
func (r *Reader) refuse(n int64, sync bool) error {
	if sync {
		return ErrTooBig
	}
	if n > 1<<20 {
		return ErrDesync
	}
	if err := r.discard(n); err != nil {
		return err
	}
	for i := 0; i < 100; i++ { // the rest of the command, which may have more literals
		text, err := r.line(nil, r.Limits.Line)
		if err != nil {
			return ErrDesync
		}
		n, sync, _, ok := literalAt(text)
		if !ok || sync {
			return ErrTooBig
		}
		if n > 1<<20 || r.discard(n) != nil {
			return ErrDesync
		}
	}
	return ErrDesync
}

func (r *Reader) discard(n int64) error {
	_, err := r.Literal(io.Discard, n)
	return err
}

// take appends n octets.
func (r *Reader) take(b []byte, n int64) ([]byte, error) {
	for n > 0 {
		if r.Buffered() == 0 {
			if err := r.fill(); err != nil {
				return b, err
			}
		}
		k := min(int64(r.Buffered()), n)
		b = append(b, r.buf[r.at:r.at+int(k)]...)
		r.at += int(k)
		n -= k
	}
	return b, nil
}

// Literal copies the n octets of a pending literal to w. An error of w does not stop the reading: it is returned when
// all was read.
func (r *Reader) Literal(w io.Writer, n int64) (werr, err error) {
	for n > 0 {
		if r.Buffered() == 0 {
			if err := r.fill(); err != nil {
				return werr, err
			}
		}
		k := int(min(int64(r.Buffered()), n))
		if werr == nil {
			_, werr = w.Write(r.buf[r.at : r.at+k])
		}
		r.at += k
		n -= int64(k)
	}
	return werr, nil
}

// literalAt is the {n}, {n+} or ~{n} at the end of a line (RFC 9051 section 4.3, RFC 7888, RFC 3516).
func literalAt(line []byte) (n int64, sync, binary, ok bool) {
	end := len(line) - 1
	if end < 2 || line[end] != '}' {
		return 0, false, false, false
	}
	open := bytes.LastIndexByte(line, '{')
	if open < 0 {
		return 0, false, false, false
	}
	digits := line[open+1 : end]
	sync = true
	if k := len(digits) - 1; k >= 0 && (digits[k] == '+' || digits[k] == '-') {
		digits, sync = digits[:k], false
	}
	if len(digits) == 0 {
		return 0, false, false, false
	}
	for _, c := range digits {
		if c < '0' || c > '9' {
			return 0, false, false, false
		}
		if n = n*10 + int64(c-'0'); n > 1<<53 {
			n = 1 << 53 // too big whatever follows
		}
	}
	return n, sync, open > 0 && line[open-1] == '~', true
}
