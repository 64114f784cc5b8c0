/*
Package line reads what comes from a peer line by line, without copying and within bounds, and knows the end of a message:
only CRLF.CRLF is. Shared by every server that speaks in lines.
*/
package line

import (
	"errors"
	"io"
)

var (
	ErrTooLong = errors.New("line too long")
	ErrBare    = errors.New("bare CR or LF")
	ErrNUL     = errors.New("NUL octet")
)

// Reader reads lines from a connection through one buffer.
type Reader struct {
	// …
}

// NewReader reads from r; the buffer has size octets and is got when the first octet comes.
func NewReader(r io.Reader, size int) *Reader { panic("unwritten") }

// Line is the next line without CRLF, valid until the next call. ErrTooLong: the line was skipped to its end (or, after 64 KiB
// more, the connection is beyond hope: io.ErrUnexpectedEOF). ErrBare and ErrNUL likewise describe a line that was consumed.
func (r *Reader) Line(max int) ([]byte, error) { panic("unwritten") }

// Buffered is how many octets are there already: answers need not be flushed while there are some.
func (r *Reader) Buffered() int { panic("unwritten") }

// Data copies a message that ends with CRLF.CRLF to w with LF line ends and dots unstuffed. It always reads to the true end; what was wrong
// (bare CR or LF, NUL, a line over 998 octets where max says so, more than limit octets) is found in the verdict.
func (r *Reader) Data(w io.Writer, limit int64) (Verdict, error) { panic("unwritten") }

// Chunk copies the n octets of a BDAT chunk to w, CRLF made LF across chunk borders when text is set.
func (r *Reader) Chunk(w io.Writer, n int64, text bool) (Verdict, error) { panic("unwritten") }

// Verdict is what was found in content.
type Verdict struct {
	Size     int64 // octets as the wire had them, without the terminator and stuffing
	Bare     bool  // bare CR or LF
	NUL      bool
	Long     bool // a line over 998 octets
	EightBit bool
	TooBig   bool
	Write    error // first error of w; the rest was read and thrown away
}
