/*
Package drop is the way in for everybody: the directory where any user puts a finished message,
and the adoption of what lies there.

	drop/tmp/NAME   being written by a user; removed after 36 hours        3733: anybody adds, nobody lists
	drop/new/NAME   handed over: envelope, blank line, message             3733
	drop/trigger    FIFO: any octet means "look at drop/new"

The user's kernel-given uid is all we believe of it. As its owner may still hold the file open, it is
copied, never moved: checked, completed with what a message needs, made durable in in/pickup, and only
then removed. The copy's id is a function of the file, so that a crash between the two makes no
second message.

What is refused goes to bad/ with its reason, and its writer sees that: the file has a name still,
where an adopted one has none.

Nothing here needs a privilege, and a shell script of five lines does the same (spool(5)).
*/
package drop

import (
	"crypto/rand"
	"errors"
	"io/fs"
	"time"

	"pennypost/internal/durable"
	"pennypost/queue"
)

// File is a message on its way into drop/new. Write takes LF line ends.
type File struct {
	spool *queue.Spool
	base  string
	file  durable.File
	buf   []byte
	err   error
	moved bool
}

// Create starts a message in drop/tmp under a name nobody can guess (S128), with its envelope.
func Create(s *queue.Spool, env *queue.Envelope) (*File, error) {
	e := *env
	e.Body.Length = -1 // filled in by nobody: the reader takes what is there
	return create(s, e.Append(make([]byte, 0, bufSize)))
}

const bufSize = 64 << 10

func create(s *queue.Spool, head []byte) (*File, error) {
	if err := s.Disk.Hold("drop/tmp", "drop/new"); err != nil {
		return nil, err
	}
	base := "s." + rand.Text()
	f, err := s.Disk.Create("drop/tmp/"+base, 0o640) // the directory's group reads it
	if err != nil {
		return nil, err
	}
	return &File{spool: s, base: base, file: f, buf: head}, nil
}

func (f *File) Write(p []byte) (int, error) {
	if f.err != nil {
		return 0, f.err
	}
	if len(f.buf)+len(p) > bufSize {
		f.flush()
	}
	f.buf = append(f.buf, p...)
	if len(f.buf) > bufSize {
		f.flush()
	}
	return len(p), f.err
}

func (f *File) flush() {
	if f.err == nil && len(f.buf) > 0 {
		_, f.err = f.file.Write(f.buf)
	}
	f.buf = f.buf[:0]
}

// Commit hands the message over: rename, fsync, trigger. The open descriptor syncs it also when it was taken already.
func (f *File) Commit() error {
	f.flush()
	if f.err == nil {
		f.err = f.spool.Disk.Rename("drop/tmp/"+f.base, "drop/new/"+f.base)
		f.moved = f.err == nil
	}
	if f.err == nil {
		f.err = f.file.Sync()
	}
	if f.err == nil && !f.spool.Disk.SyncsRename() {
		// Who may not list the directory may not sync it either; then queue-pickup is the guarantor (Wait).
		if err := f.spool.Disk.SyncDir("drop/new"); err != nil && !errors.Is(err, fs.ErrPermission) {
			f.err = err
		}
	}
	if f.err != nil {
		err := f.err
		f.Abort()
		return err
	}
	f.spool.Poke()
	return nil
}

// Abort forgets the message, if it can still be had.
func (f *File) Abort() {
	if f.moved {
		f.spool.Disk.Remove("drop/new/" + f.base)
	} else {
		f.spool.Disk.Remove("drop/tmp/" + f.base)
	}
	f.file.Close()
	f.err = fs.ErrClosed
}

// Close ends the use of a committed message.
func (f *File) Close() error { return f.file.Close() }

// ErrRefused is what Wait says when queue-pickup did not take the message; its log and bad/ say why.
var ErrRefused = errors.New("the message was refused, see bad/ in the spool")

// ErrWaited is what Wait says when queue-pickup did not come; the message was taken back.
var ErrWaited = errors.New("queue-pickup does not take the message now")

// Wait waits until the message is adopted and so durable on every file system.
func (f *File) Wait(most time.Duration) error {
	name := "drop/new/" + f.base
	for end := time.Now().Add(most); ; {
		st, err := f.file.Stat()
		if err != nil {
			return err
		}
		if st.Links == 0 {
			return nil
		}
		if _, err := f.spool.Disk.Stat(name); errors.Is(err, fs.ErrNotExist) {
			if st, err := f.file.Stat(); err == nil && st.Links == 0 {
				return nil
			}
			return ErrRefused
		}
		if !time.Now().Before(end) {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	if err := f.spool.Disk.Remove(name); errors.Is(err, fs.ErrNotExist) {
		return nil // taken in the last instant
	}
	return ErrWaited
}
