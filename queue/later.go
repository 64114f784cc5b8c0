package queue

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"slices"
)

// MaxChecks is the longest value of checks: that Fill takes.
const MaxChecks = 512

// late is a place in a message that was left open, and the line checks: of its envelope. While all of the message
// is in the buffer they take no room at all; when it goes out they get as much as there may be, filled with spaces.
//
// A hash is made from front to back, so that of such a message is made at the end: from the buffer, or by reading
// the file once more, which is in memory still.
type late struct {
	checks int // offset in the file, of the line; -1 where there is no envelope
	at     int // offset in the file, of the open place
	room   int // octets of it, at most
	filled bool
}

var errOpen = errors.New("a place in the message was left open and is not filled")

// Later leaves a place open where the message stands now, for Fill: what is to be written there, at most room octets, is known only
// when all of the message is there. It comes before anything that does not fit into memory.
func (w *Writer) Later(room int) {
	w.late = &late{checks: w.at, at: len(*w.buf), room: room}
	if w.ready {
		w.late.checks = -1
	}
}

// Fill says what goes into the open place, whole lines ending in LF, and into checks: of the envelope. The place has size
// octets that must all be written; size 0 is as many as text has.
func (w *Writer) Fill(checks string, text func(size int) []byte) error {
	l := w.late
	if w.err != nil {
		return w.err
	}
	if w.done || l == nil || l.filled {
		return errOpen
	}
	l.filled = true
	line := line(nil, "checks", checks)
	if !w.flushed {
		b := text(0)
		*w.buf = slices.Insert(*w.buf, l.at, b...)
		if l.checks >= 0 {
			w.insert(l.checks, line)
		}
		w.counted(b)
		return nil
	}
	b := text(l.room)
	if len(b) != l.room || l.checks >= 0 && len(line) > checksRoom {
		w.err = errors.New("what was to be filled in does not fit")
		return w.err
	}
	if _, w.err = w.file.WriteAt(b, int64(l.at)); w.err == nil && l.checks >= 0 && checks != "" {
		_, w.err = w.file.WriteAt(line[:len(line)-1], int64(l.checks))
	}
	w.counted(b)
	return w.err
}

// insert puts a line into the envelope in the buffer.
func (w *Writer) insert(at int, line []byte) {
	*w.buf = slices.Insert(*w.buf, at, line...)
	w.at += len(line)
	w.off += int64(len(line))
}

// counted takes what was filled in into account; it has no CR.
func (w *Writer) counted(b []byte) {
	n := int64(len(b))
	w.body.Length += n
	w.body.Wire += n
	if !w.body.Raw {
		w.body.Wire += int64(bytes.Count(b, lf))
	}
}

// checksRoom is the length of the line checks: that is left open in a file.
const checksRoom = len("checks: ") + MaxChecks + len("\n")

// makeRoom spreads the buffer before it goes out for the first time.
func (w *Writer) makeRoom() {
	l := w.late
	if l == nil || l.filled || w.flushed {
		return
	}
	*w.buf = slices.Insert(*w.buf, l.at, bytes.Repeat([]byte{' '}, l.room)...)
	if l.checks >= 0 {
		line := append([]byte("checks: "), bytes.Repeat([]byte{' '}, MaxChecks)...)
		w.insert(l.checks, append(line, '\n'))
		l.at += checksRoom
	}
}

// hash is body.Hash, when all is written or in the buffer.
func (w *Writer) hash() (err error) {
	var sum [sha256.Size]byte
	switch l := w.late; {
	case l == nil:
		w.body.Hash = hex.EncodeToString(w.sum.Sum(sum[:0])[:16])
	case !l.filled:
		return errOpen
	case !w.flushed:
		sum = sha256.Sum256((*w.buf)[w.off:])
		w.body.Hash = hex.EncodeToString(sum[:16])
	default:
		if len(*w.buf) > 0 {
			if err = w.flush(); err != nil {
				return err
			}
		}
		w.body.Hash, err = sumFile(w.file, w.off)
	}
	return err
}
