package queue

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io/fs"
	"sync"
	"time"

	"pennypost/internal/durable"
)

// bufSize is how much of a message is kept back. A message that fits, and most do, is one
// write(2) with its body: line right from the start.
const bufSize = 64 << 10

var buffers = sync.Pool{New: func() any { b := make([]byte, 0, bufSize); return &b }}

// A Writer is one message on its way into in/PRODUCER. Write takes the message in the form the
// spool keeps, LF line ends. Small messages cost one write(2); large ones stream. It makes no file
// before it has to.
type Writer struct {
	spool *Spool
	dir   string // in/PRODUCER
	id    string
	ready bool

	body Body  // grows with Write
	late *late // what is known only when all of the message is there; see Later
	at   int   // where the body: line is, in the file
	off  int64 // where the message starts, in the file

	buf     *[]byte
	sum     hash.Hash
	file    durable.File // nil until something is written
	flushed bool         // the buffer went out once: the body: line needs a pwrite
	cr      bool         // the last octet was CR
	err     error        // the first that went wrong
	name    string       // after Commit
	done    bool
}

// Begin starts a message of producer with id env.ID (made if empty, as is env.Time). env is not changed after.
func (s *Spool) Begin(producer string, env *Envelope) (*Writer, error) {
	if env.ID == "" {
		env.ID = s.NewID()
	}
	if env.Time.IsZero() {
		env.Time = time.Now().UTC().Truncate(time.Microsecond)
	}
	w, err := s.begin(producer, env.ID)
	if err != nil {
		return nil, err
	}
	if len(env.Rcpts) > MaxRcpts {
		w.Abort()
		return nil, fmt.Errorf("%s: %d recipients do not fit an envelope", env.ID, len(env.Rcpts))
	}
	w.body.Raw = env.Body.Raw
	e := *env
	e.Body = Body{Raw: env.Body.Raw, Hash: zeroHash, Wire: 1} // room for the real one
	*w.buf, w.at = e.append((*w.buf)[:0])
	w.off = int64(len(*w.buf))
	return w, nil
}

const zeroHash = "00000000000000000000000000000000"

// BeginReady starts a message in the link-ready form: the caller writes Return-Path, Delivered-To
// and Received itself, and the file is named ID.m,S=bytes,W=crlf-bytes,H=hash, so that it proves itself.
func (s *Spool) BeginReady(producer, id string) (*Writer, error) {
	if id == "" {
		id = s.NewID()
	}
	w, err := s.begin(producer, id)
	if err != nil {
		return nil, err
	}
	w.ready = true
	return w, nil
}

func (s *Spool) begin(p, id string) (*Writer, error) {
	if !producer(p) || !ValidID(id) {
		return nil, fmt.Errorf("begin %q in %q: %w", id, p, fs.ErrInvalid)
	}
	dir := "in/" + p
	if err := s.Disk.Hold(dir+"/tmp", dir+"/new"); err != nil {
		return nil, err
	}
	buf := buffers.Get().(*[]byte)
	*buf = (*buf)[:0]
	return &Writer{spool: s, dir: dir, id: id, buf: buf, sum: sha256.New()}, nil
}

// ID is the message's id.
func (w *Writer) ID() string { return w.id }

// Name is the file's name below the spool, after Commit.
func (w *Writer) Name() string { return w.name }

// Size is how many octets of message were written so far, in the file and with CRLF line ends.
func (w *Writer) Size() (octets, wire int64) { return w.body.Length, w.body.Wire }

func (w *Writer) tmp() string { return w.dir + "/tmp/" + w.id }

func (w *Writer) Write(p []byte) (int, error) {
	if w.err != nil {
		return 0, w.err
	}
	if w.done {
		return 0, fs.ErrClosed
	}
	w.count(p)
	if w.late == nil {
		w.sum.Write(p)
	}
	total := len(p)
	if len(*w.buf)+len(p) > cap(*w.buf) {
		if w.err = w.flush(); w.err != nil {
			return 0, w.err
		}
		if len(p) >= cap(*w.buf) {
			if _, w.err = w.file.Write(p); w.err != nil {
				return 0, w.err
			}
			return total, nil
		}
	}
	*w.buf = append(*w.buf, p...)
	return total, nil
}

// count keeps Length and Wire: every LF not preceded by CR gets one on the wire.
func (w *Writer) count(p []byte) {
	if len(p) == 0 {
		return
	}
	w.body.Length += int64(len(p))
	w.body.Wire += int64(len(p))
	if w.body.Raw {
		return
	}
	w.body.Wire += int64(bytes.Count(p, lf))
	if w.cr && p[0] == '\n' {
		w.body.Wire--
	}
	if bytes.IndexByte(p, '\r') >= 0 {
		w.body.Wire -= int64(bytes.Count(p, crlf))
	}
	w.cr = p[len(p)-1] == '\r'
}

var (
	lf   = []byte("\n")
	crlf = []byte("\r\n")
)

// create makes the file in tmp/. Only a derived id can be there already: a crash left it.
func (w *Writer) create() error {
	if w.file != nil {
		return nil
	}
	f, err := w.spool.Disk.Create(w.tmp(), 0o660)
	if errors.Is(err, fs.ErrExist) {
		if err = w.spool.Disk.Remove(w.tmp()); err == nil {
			f, err = w.spool.Disk.Create(w.tmp(), 0o660)
		}
	}
	if err == nil {
		w.file = f
	}
	return err
}

func (w *Writer) flush() error {
	if err := w.create(); err != nil {
		return err
	}
	w.makeRoom()
	_, err := w.file.Write(*w.buf)
	*w.buf, w.flushed = (*w.buf)[:0], true
	return err
}

// Commit makes the message durable in in/PRODUCER/new: rename, fsync, fsync of the directory where
// needed. After nil the message is ours. After an error it is not, and nothing of it is left.
func (w *Writer) Commit() error {
	if w.done {
		return fs.ErrClosed
	}
	err := w.err
	if err == nil {
		err = w.commit()
	}
	if err != nil {
		w.Abort()
		return err
	}
	w.done = true
	w.free()
	return nil
}

func (w *Writer) commit() error {
	if err := w.hash(); err != nil {
		return err
	}
	base := w.id
	var patch []byte
	if w.ready {
		base = readyName(w.id, w.body.Length, w.body.Wire, w.body.Hash)
	} else {
		var room [80]byte
		body := w.body
		if body.Wire == 0 {
			body.Wire = body.Length // of an empty message; keeps the line's length
		}
		patch = appendBody(room[:0], &body)
	}
	if !w.flushed && patch != nil {
		copy((*w.buf)[w.at:], patch)
	}
	if len(*w.buf) > 0 || w.file == nil {
		patchLater := w.flushed
		if err := w.flush(); err != nil {
			return err
		}
		w.flushed = patchLater
	}
	if w.flushed && patch != nil {
		if _, err := w.file.WriteAt(patch, int64(w.at)); err != nil {
			return err
		}
	}
	name := w.dir + "/new/" + base
	if err := w.spool.Disk.Rename(w.tmp(), name); err != nil {
		return err
	}
	w.name = name // from here on Abort takes it away from new/
	return w.spool.settle(w.file, w.dir+"/new")
}

// appendBody is Body.append, with room for wire= also where there is nothing to send.
func appendBody(b []byte, body *Body) []byte {
	if body.Wire > 0 {
		return body.append(b)
	}
	return append(body.append(b), " wire=000000000000"...)
}

// settle makes a file and its newest name durable. A failed fsync is never repeated on the same
// file: the kernel has forgotten what it could not write (S136).
func (s *Spool) settle(f durable.File, dir string) error {
	if err := f.Sync(); err != nil {
		return err
	}
	if s.Disk.SyncsRename() {
		return nil
	}
	return s.Disk.SyncDir(dir)
}

// Abort forgets the message. After Commit it does nothing.
func (w *Writer) Abort() {
	if w.done {
		return
	}
	w.done = true
	if w.file != nil {
		if w.name != "" {
			w.spool.Disk.Remove(w.name)
			w.name = ""
		} else {
			w.spool.Disk.Remove(w.tmp())
		}
	}
	w.free()
}

// free gives back descriptor and buffer.
func (w *Writer) free() {
	if w.file != nil {
		w.file.Close()
		w.file = nil
	}
	if w.buf != nil && cap(*w.buf) <= 2*bufSize {
		buffers.Put(w.buf)
	}
	w.buf, w.sum = nil, nil
}

// Hint tells queue-run of the committed message. It never blocks; call it after the answer is on its way.
func (w *Writer) Hint() {
	if w.name != "" {
		_, base := split(w.name)
		w.spool.hint(w.dir+"/trigger", base)
	}
}
