package mailbox

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"pennypost/internal/durable"
	"pennypost/maildir"
)

// Message is an open message file. It stays readable though others rename or remove it.
type Message struct {
	io.ReaderAt
	Size int64 // octets in the file
	Wire int64 // octets with CRLF
	file durable.File
	last int16 // the last octet, -1 before it was looked at
}

// Ended reports whether the last line has its end, as that of a message that is empty has.
func (m *Message) Ended() (bool, error) {
	if m.last < 0 && m.Size > 0 {
		var b [1]byte
		if n, err := m.ReadAt(b[:], m.Size-1); n == 0 {
			return false, err
		}
		m.last = int16(b[0])
	}
	return m.Size == 0 || m.last == '\n', nil
}

func (m *Message) Close() error { return m.file.Close() }

// Descriptor is the file's, for those who can send from it directly.
func (m *Message) Descriptor() uintptr { return m.file.Fd() }

// Open opens the message's file. ErrExpunged when it is gone.
func (v *View) Open(i int) (*Message, error) {
	m, err := v.open(i)
	if err != nil || m.Wire >= 0 {
		return m, err
	}
	if m.Wire, m.last, err = countWire(m.file, m.Size); err != nil {
		m.Close()
		return nil, err
	}
	v.counted(i, m.Wire)
	return m, nil
}

// counted remembers the octets with CRLF.
func (v *View) counted(i int, wire int64) {
	c, j := v.at(i)
	atomic.StoreInt64(&c.wire[j], wire)
}

// open is Open without counting: Wire is -1 where nothing says it.
func (v *View) open(i int) (*Message, error) {
	c, j := v.at(i)
	e := c.entry(j)
	f := v.folder
	file, err := f.disk.Open(e.path())
	for try := 0; errors.Is(err, fs.ErrNotExist) && try < 3; try++ { // renamed since the view was taken
		if !f.find(&e) {
			return nil, ErrExpunged
		}
		file, err = f.disk.Open(e.path())
	}
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil, ErrExpunged
		}
		return nil, err
	}
	info, err := file.Stat()
	if err != nil {
		file.Close()
		return nil, err
	}
	m := &Message{ReaderAt: file, Size: info.Size, Wire: -1, file: file, last: -1}
	if atomic.LoadInt64(&c.received[j]) == 0 {
		atomic.StoreInt64(&c.received[j], info.ModTime.Unix())
	}
	wire := atomic.LoadInt64(&c.wire[j])
	if size := sizeOf(e.key); wire >= 0 && (size < 0 || size == info.Size) {
		m.Wire = wire // the name, or an earlier count, says it
	}
	return m, nil
}

// Stat is the message's file as it is now, and its key.
func (v *View) Stat(i int) (info durable.Info, key string, err error) {
	c, j := v.at(i)
	e := c.entry(j)
	info, err = v.folder.disk.Stat(e.path())
	for try := 0; errors.Is(err, fs.ErrNotExist) && try < 3; try++ {
		if !v.folder.find(&e) {
			return info, e.key, ErrExpunged
		}
		info, err = v.folder.disk.Stat(e.path())
	}
	if errors.Is(err, fs.ErrNotExist) {
		err = ErrExpunged
	}
	if err == nil && !info.Mode.IsRegular() {
		err = durable.ErrNotRegular
	}
	return info, e.key, err
}

// Counted reports whether Size knows the answer without a look at the file.
func (v *View) Counted(i int) bool {
	c, j := v.at(i)
	return atomic.LoadInt64(&c.wire[j]) >= 0
}

// Sizes are what the message's key says of its size and that on the wire, -1 where it does not.
func (v *View) Sizes(i int) (size, wire int64) {
	c, j := v.at(i)
	return maildir.Sizes(string(c.key(j)))
}

// Size is RFC822.SIZE: from the name, the index, or counted once.
func (v *View) Size(i int) (int64, error) {
	c, j := v.at(i)
	if wire := atomic.LoadInt64(&c.wire[j]); wire >= 0 {
		return wire, nil
	}
	m, err := v.Open(i)
	if err != nil {
		return 0, err
	}
	defer m.Close()
	return m.Wire, nil
}

// Received is INTERNALDATE, to the second: the file's time.
func (v *View) Received(i int) (time.Time, error) {
	c, j := v.at(i)
	if t := atomic.LoadInt64(&c.received[j]); t != 0 {
		return time.Unix(t, 0), nil
	}
	e := c.entry(j)
	info, err := v.folder.disk.Stat(e.path())
	if errors.Is(err, fs.ErrNotExist) {
		if !v.folder.find(&e) {
			return time.Time{}, ErrExpunged
		}
		info, err = v.folder.disk.Stat(e.path())
	}
	if err != nil {
		return time.Time{}, err
	}
	atomic.StoreInt64(&c.received[j], info.ModTime.Unix())
	return time.Unix(info.ModTime.Unix(), 0), nil
}

// windows are what messages are read through.
var windows = sync.Pool{New: func() any { return new([64 << 10]byte) }}

func window() *[64 << 10]byte { return windows.Get().(*[64 << 10]byte) }

// countWire is the octets of a file with CRLF line ends, and its last octet.
func countWire(file io.ReaderAt, size int64) (wire int64, end int16, err error) {
	buf := window()
	defer windows.Put(buf)
	wire = size
	last := byte(0)
	for at := int64(0); at < size; {
		n, err := file.ReadAt(buf[:min(int64(len(buf)), size-at)], at)
		if n == 0 {
			return 0, -1, err
		}
		b := buf[:n]
		wire += int64(bytes.Count(b, []byte{'\n'}))
		if bytes.IndexByte(b, '\r') >= 0 || last == '\r' {
			wire -= int64(bytes.Count(b, []byte("\r\n")))
			if last == '\r' && b[0] == '\n' {
				wire--
			}
		}
		last = b[n-1]
		at += int64(n)
	}
	return wire, int16(last), nil
}

func (f *Folder) countWire(path string) (int64, error) {
	file, err := f.disk.Open(path)
	if err != nil {
		return 0, err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return 0, err
	}
	wire, _, err := countWire(file, info.Size)
	return wire, err
}

// sizeOf and wireOf are what the key says, -1 when it does not.
func sizeOf(key string) int64 {
	size, _ := maildir.Sizes(key)
	return size
}

func wireOf(key string) int64 {
	_, wire := maildir.Sizes(key)
	return wire
}

// cutSizes is a key without its sizes: where they are not known they must not be said.
func cutSizes(key string) string {
	head, _, _ := strings.Cut(key, ",")
	return head
}
