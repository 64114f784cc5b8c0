package queue

import (
	"bytes"
	"io"
	"strings"
	"sync"
	"time"

	"pennypost/internal/durable"
)

// Journal appends events to results/HOUR, shared by all messages, and syncs it at most every 20 ms.
// It is safe for concurrent use.
type Journal struct {
	spool   *Spool
	onError func(error)

	mu    sync.Mutex // of everything below
	file  durable.File
	hour  int64 // file's, in hours since 1970
	buf   []byte
	dirty bool // something is not on disk
	timer *time.Timer
	armed bool // timer is running
	torn  bool // a write failed: the next begins with LF

	syncing sync.Mutex // one Sync at a time
	old     []durable.File
}

const results = "results/"

// OpenJournal starts appending. Sync errors are given to onError.
func (s *Spool) OpenJournal(onError func(error)) *Journal {
	return &Journal{spool: s, onError: onError}
}

// Add appends the event. It is in the page cache on return, on disk 20 ms later.
func (j *Journal) Add(ev *Event) error { return j.AddAll([]*Event{ev}) }

// AddAll appends events with one write.
func (j *Journal) AddAll(events []*Event) error {
	if len(events) == 0 {
		return nil
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if err := j.turn(time.Now()); err != nil {
		return err
	}
	j.buf = j.buf[:0]
	if j.torn {
		j.buf = append(j.buf, '\n')
	}
	for _, ev := range events {
		j.buf = ev.Append(j.buf)
	}
	if n, err := j.file.Write(j.buf); err != nil {
		j.torn = j.torn || n > 0
		return err
	}
	j.torn = false
	if cap(j.buf) > 1<<20 {
		j.buf = nil
	}
	j.dirty = true
	j.arm()
	return nil
}

// arm starts the timer of the next sync. j.mu is held.
func (j *Journal) arm() {
	if j.armed {
		return
	}
	j.armed = true
	every := j.spool.SyncEvery
	if every <= 0 {
		every = 20 * time.Millisecond
	}
	if j.timer == nil {
		j.timer = time.AfterFunc(every, j.tick)
	} else {
		j.timer.Reset(every)
	}
}

func (j *Journal) tick() {
	if err := j.Sync(); err != nil && j.onError != nil {
		j.onError(err)
	}
}

// turn opens the file of the hour. j.mu is held.
func (j *Journal) turn(now time.Time) error {
	hour := now.Unix() / 3600
	if j.file != nil && hour <= j.hour { // a clock that steps back finds its lines in a later file
		return nil
	}
	name := results + hourName(now)
	f, err := j.spool.Disk.Append(name, 0o640)
	if err != nil {
		return err
	}
	st, err := f.Stat()
	if err == nil && st.Size > 0 { // a crash may have left half a line
		var last [1]byte
		if _, err = f.ReadAt(last[:], st.Size-1); err == nil && last[0] != '\n' {
			j.torn = true
		}
	} else if err == nil && !j.spool.Disk.SyncsRename() {
		err = j.spool.Disk.SyncDir("results")
	}
	if err != nil {
		f.Close()
		return err
	}
	if j.file != nil {
		j.old = append(j.old, j.file)
	}
	j.file, j.hour = f, hour
	return nil
}

func hourName(t time.Time) string { return t.UTC().Format(hourForm) }

// Sync puts everything added so far on disk.
func (j *Journal) Sync() error {
	j.syncing.Lock()
	defer j.syncing.Unlock()
	j.mu.Lock()
	f, old, dirty := j.file, j.old, j.dirty
	j.old, j.dirty, j.armed = nil, false, false
	j.mu.Unlock()
	var err error
	for _, o := range old {
		if e := o.Sync(); e != nil {
			err = e
		}
		o.Close()
	}
	if dirty && f != nil {
		if e := f.Sync(); e != nil {
			err = e
		}
	}
	return err
}

// Close syncs and closes the journal.
func (j *Journal) Close() error {
	err := j.Sync()
	j.syncing.Lock()
	defer j.syncing.Unlock()
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.timer != nil {
		j.timer.Stop()
	}
	if j.file != nil {
		if e := j.file.Close(); err == nil {
			err = e
		}
		j.file = nil
	}
	return err
}

// longest is the longest line of ID.s, ID.r and results/ that is read; a longer one is damage.
const longest = 1 << 20

// eachLine calls each for every whole line of a file, without its LF. Lines longer than longest are skipped.
func (s *Spool) eachLine(name string, each func(line []byte) error) error {
	f, err := s.Disk.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	return linesOf(f, 0, func(line []byte, _ int64) error { return each(line) })
}

// linesOf is eachLine for an open file from an offset on; each also gets the offset behind the line.
func linesOf(f io.ReaderAt, off int64, each func(line []byte, next int64) error) error {
	buf := make([]byte, 64<<10)
	start, end := 0, 0 // of what is not used yet
	skipping := false
	for {
		n, err := f.ReadAt(buf[end:], off+int64(end))
		end += n
		for {
			i := bytes.IndexByte(buf[start:end], '\n')
			if i < 0 {
				break
			}
			line := buf[start : start+i]
			start += i + 1
			if !skipping {
				if err := each(line, off+int64(start)); err != nil {
					return err
				}
			}
			skipping = false
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		off += int64(start)
		end = copy(buf, buf[start:end])
		start = 0
		if end == len(buf) {
			if len(buf) >= longest {
				off, end, skipping = off+int64(end), 0, true
				continue
			}
			buf = append(buf, make([]byte, len(buf))...)
		}
	}
}

// AppendState appends events to the message's ID.s beside the file name; durable if sync.
func (s *Spool) AppendState(name string, sync bool, events ...*Event) error {
	id, ok := idOf(name)
	if !ok {
		return bad("%.100q is not the name of a message", name)
	}
	dir, _ := split(name)
	if strings.HasPrefix(name, "in/") {
		s.sides.Store(id, struct{}{})
	}
	f, err := s.Disk.Append(dir+"/"+id+".s", 0o640)
	if err != nil {
		return err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return err
	}
	var b []byte
	if st.Size > 0 {
		var last [1]byte
		if _, err := f.ReadAt(last[:], st.Size-1); err != nil {
			return err
		}
		if last[0] != '\n' {
			b = append(b, '\n')
		}
	}
	for _, ev := range events {
		b = ev.Append(b)
	}
	if _, err := f.Write(b); err != nil || !sync {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if st.Size == 0 && !s.Disk.SyncsRename() {
		return s.Disk.SyncDir(dir)
	}
	return nil
}

// ReadState reads ID.s of the message in the file name; none is no error. It is looked for beside
// the message and, as several files cannot be moved at once, where it may have been before.
func (s *Spool) ReadState(name string) ([]Event, error) {
	id, ok := idOf(name)
	if !ok {
		return nil, bad("%.100q is not the name of a message", name)
	}
	dir, _ := split(name)
	for _, d := range []string{dir, QPath(id), "hold", "in/adopt/new"} {
		events, err := s.readState(d + "/" + id + ".s")
		if err == nil || !gone(err) {
			return events, err
		}
	}
	return nil, nil
}

func (s *Spool) readState(file string) ([]Event, error) {
	f, err := s.Disk.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return readEvents(f)
}

// readEvents reads the lines that are events.
func readEvents(r io.ReaderAt) (events []Event, err error) {
	err = linesOf(r, 0, func(line []byte, _ int64) error {
		if ev, err := ParseEvent(line); err == nil {
			events = append(events, ev)
		}
		return nil
	})
	return events, err
}
