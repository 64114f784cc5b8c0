package queue

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"sync"
	"syscall"
	"time"

	"pennypost/internal/durable"
)

// A trigger FIFO carries one file name a line from a producer to queue-run, so that new mail is
// seen at once and known to be durable. Hints may get lost: the scan finds everything.

// trigger is the writing end, kept open.
type trigger struct {
	mu      sync.Mutex
	pipe    io.WriteCloser
	dropped bool // a hint found the pipe full: "look yourself" is owed
	next    time.Time
}

func (t *trigger) close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.pipe != nil {
		t.pipe.Close()
		t.pipe = nil
	}
}

// hint writes one line into the FIFO fifo, if somebody reads it.
func (s *Spool) hint(fifo, word string) {
	disk, ok := s.Disk.(durable.Piper)
	if !ok {
		return
	}
	v, ok := s.hints.Load(fifo)
	if !ok {
		v, _ = s.hints.LoadOrStore(fifo, new(trigger))
	}
	t := v.(*trigger)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.write(disk, fifo, word)
}

// write sends the line. t.mu is held.
func (t *trigger) write(disk durable.Piper, fifo, word string) {
	if t.pipe == nil {
		p, err := disk.WritePipe(fifo)
		if err != nil {
			return // nobody reads: queue-run scans when it starts
		}
		t.pipe = p
	}
	var room [256]byte
	line := room[:0]
	if t.dropped {
		line = append(line, "*\n"...) // no name: queue-run looks itself
	}
	line = append(append(line, word...), '\n')
	_, err := t.pipe.Write(line)
	switch {
	case err == nil:
		t.dropped = false
	case errors.Is(err, syscall.EAGAIN):
		if !t.dropped {
			t.dropped = true
			time.AfterFunc(100*time.Millisecond, func() { t.owe(disk, fifo) })
		}
	default: // the reader is gone
		t.pipe.Close()
		t.pipe = nil
	}
}

// owe tries again to say that hints were dropped.
func (t *trigger) owe(disk durable.Piper, fifo string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.dropped {
		t.dropped = false
		t.write(disk, fifo, "*")
	}
}

// Poke wakes queue-pickup: a byte in drop/trigger means "look at drop/new".
func (s *Spool) Poke() { s.hint("drop/trigger", "") }

// Watch calls poked for every reading of drop/trigger until closed.
func (s *Spool) Watch(poked func()) (io.Closer, error) {
	disk, ok := s.Disk.(durable.Piper)
	if !ok {
		return nil, errors.ErrUnsupported
	}
	r, err := disk.ReadPipe("drop/trigger")
	if err != nil {
		return nil, err
	}
	go func() {
		buf := make([]byte, 4096)
		for {
			if _, err := r.Read(buf); err != nil {
				return
			}
			poked()
		}
	}()
	return r, nil
}

// Hints reads the producers' FIFOs until closed and sends batches of what they announce; a nil batch means "look yourself".
// Lines that are no names are dropped and make it a nil batch.
func (s *Spool) Hints(batches chan<- []Found) (io.Closer, error) {
	disk, ok := s.Disk.(durable.Piper)
	if !ok {
		return nil, errors.ErrUnsupported
	}
	if err := s.Disk.Hold(NewDirs()...); err != nil { // who reads hints opens and removes there
		return nil, err
	}
	h := &hints{stop: make(chan struct{})}
	for _, p := range Producers {
		r, err := disk.ReadPipe("in/" + p + "/trigger")
		if err != nil {
			h.Close()
			return nil, err
		}
		h.pipes = append(h.pipes, r)
		go h.read(r, "in/"+p+"/new/", batches)
	}
	return h, nil
}

// hints are the reading ends.
type hints struct {
	pipes []io.ReadCloser
	stop  chan struct{}
	once  sync.Once
}

func (h *hints) Close() error {
	h.once.Do(func() {
		close(h.stop)
		for _, p := range h.pipes {
			p.Close()
		}
	})
	return nil
}

// read sends what one FIFO says, in batches of what is there.
func (h *hints) read(r io.Reader, dir string, batches chan<- []Found) {
	buf := make([]byte, 64<<10)
	kept := 0 // octets of a line whose end has not come yet
	for {
		n, err := r.Read(buf[kept:])
		if err != nil {
			return
		}
		batch, rest, ok := parseHints(buf[:kept+n], dir)
		if len(rest) > 512 { // no name of ours is that long
			ok, rest = false, nil
		}
		kept = copy(buf, rest)
		if len(batch) > 0 && !h.send(batches, batch) || !ok && !h.send(batches, nil) {
			return
		}
	}
}

func (h *hints) send(batches chan<- []Found, batch []Found) bool {
	select {
	case batches <- batch:
		return true
	case <-h.stop:
		return false
	}
}

// parseHints reads whole lines; rest is the beginning of the next. ok is false when a line was no name.
func parseHints(b []byte, dir string) (batch []Found, rest []byte, ok bool) {
	ok = true
	batch = make([]Found, 0, bytes.Count(b, lf))
	for {
		i := bytes.IndexByte(b, '\n')
		if i < 0 {
			return batch, b, ok
		}
		name := strings.Join([]string{dir, string(b[:i])}, "")
		b = b[i+1:]
		if id, _, _, _, _, valid := ParseName(name[len(dir):]); valid {
			batch = append(batch, Found{Name: name, ID: id, Hint: true})
		} else {
			ok = false
		}
	}
}
