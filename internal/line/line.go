/*
Package line reads what comes from a peer line by line, without copying and within bounds, and knows the end of a message:
only CRLF.CRLF is. Shared by every server that speaks in lines.

Three readings share one buffer: a command line (Line), a message that ends with CRLF.CRLF (Data) and a counted
chunk (Chunk). What was wrong with content is a Verdict and not an error: the reader always gets to the true end of
the content, so that what follows is never taken for something else (threats.md, S001–S007).
*/
package line

import (
	"errors"
	"fmt"
	"io"
	"sync"
)

var (
	ErrTooLong = errors.New("line too long")
	ErrBare    = errors.New("bare CR or LF")
	ErrNUL     = errors.New("NUL octet")
)

// ErrEndless is an io.ErrUnexpectedEOF of our own making: the line was too long by far, and no more is read.
var ErrEndless = fmt.Errorf("line without end: %w", io.ErrUnexpectedEOF)

// patience is how much of an endless line is read before the connection is given up (S020).
const patience = 64 << 10

// usual is the buffer size that is kept for reuse.
const usual = 16 << 10

var buffers = sync.Pool{New: func() any { return new([usual]byte) }}

// Reader reads lines from a connection through one buffer.
type Reader struct {
	src   io.Reader
	size  int
	buf   []byte       // nil until the first octet is there
	whole *[usual]byte // buf, when it came from the pool
	at    int          // buf[at:end] is unread
	end   int
	held  bool      // a chunk ended in CR and what follows decides whether it was a bare one
	col   int       // octets of the line that chunks have begun
	first [256]byte // what a silent connection costs
}

// NewReader reads from r; the buffer has size octets and is got when the first octet comes.
func NewReader(r io.Reader, size int) *Reader { return &Reader{src: r, size: max(size, 1024)} }

// Release gives the buffer back; the next octet gets a new one. What was unread is forgotten.
func (r *Reader) Release() {
	if r.whole != nil {
		buffers.Put(r.whole)
	}
	r.buf, r.whole, r.at, r.end = nil, nil, 0, 0
}

// Taken is what is there already, for another reader; the buffer it was in is given back.
func (r *Reader) Taken() []byte {
	early := append([]byte(nil), r.buf[r.at:r.end]...)
	r.Release()
	return early
}

// Buffered is how many octets are there already: answers need not be flushed while there are some.
func (r *Reader) Buffered() int { return r.end - r.at }

// fill reads once, behind what is unread. The buffer must not be full of it.
func (r *Reader) fill() error {
	if r.buf == nil {
		return r.fillFirst()
	}
	if r.at == r.end {
		r.at, r.end = 0, 0
	} else if r.at > 0 && r.end > len(r.buf)/2 {
		r.end = copy(r.buf, r.buf[r.at:r.end])
		r.at = 0
	}
	return r.read(r.buf[r.end:])
}

// fillFirst waits in a few octets, so that a silent connection holds no buffer.
func (r *Reader) fillFirst() error {
	if err := r.read(r.first[:]); err != nil {
		return err
	}
	if r.size == usual {
		r.whole = buffers.Get().(*[usual]byte)
		r.buf = r.whole[:]
	} else {
		r.buf = make([]byte, r.size)
	}
	copy(r.buf, r.first[:r.end])
	return nil
}

func (r *Reader) read(p []byte) error {
	for range 100 {
		n, err := r.src.Read(p)
		r.end += n
		if n > 0 {
			return nil
		}
		if err != nil {
			return err
		}
	}
	return io.ErrNoProgress
}
