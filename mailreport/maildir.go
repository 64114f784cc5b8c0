package mailreport

import (
	"errors"
	"io"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"pennypost/internal/durable"
)

// batch is how many rows are held before they are written.
const batch = 100_000

// Reading is what came of reading messages.
type Reading struct {
	Messages int `json:"messages"`
	Reports  int `json:"reports"`
	Added    int `json:"added"`    // of the reports: not there before
	Others   int `json:"others"`   // messages without a report
	Unread   int `json:"unread"`   // messages whose report could not be read
	Vanished int `json:"vanished"` // files that were moved or removed meanwhile
}

// Reader reads messages into a store.
type Reader struct {
	Store *Store
	Now   func() time.Time
	Bad   func(name string, err error) // told of each message that could not be read

	Reading
	held []*Report
	rows int
}

// Maildir reads all messages of new and cur. Nothing in it is changed: a report that is read again is not added again.
func (r *Reader) Maildir(dir string) error {
	disk, err := durable.Open(dir)
	if err != nil {
		return err
	}
	defer disk.Close()
	for _, sub := range []string{"new", "cur"} {
		names, err := disk.ReadDir(sub)
		if err != nil {
			return &fs.PathError{Op: "open", Path: filepath.Join(dir, sub), Err: errors.Unwrap(err)}
		}
		slices.Sort(names) // so that what is told comes in an order
		for _, name := range names {
			if strings.HasPrefix(name, ".") {
				continue
			}
			f, err := disk.Open(sub + "/" + name)
			switch {
			case errors.Is(err, fs.ErrNotExist): // a mail program moved it from new to cur
				r.Vanished++
				continue
			case err != nil:
				r.bad(filepath.Join(dir, sub, name), err)
				continue
			}
			now := r.Now()
			if info, err := f.Stat(); err == nil {
				now = info.ModTime // when it came, for what bears no date
			}
			err = r.message(filepath.Join(dir, sub, name), f, now)
			f.Close()
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// Message reads one message.
func (r *Reader) Message(name string, in io.Reader) error {
	return r.message(name, in, r.Now())
}

func (r *Reader) message(name string, in io.Reader, now time.Time) error {
	r.Messages++
	list, err := Read(in, now)
	switch {
	case errors.Is(err, ErrNone):
		r.Others++
	case err != nil:
		r.bad(name, err)
	}
	r.Reports += len(list)
	for _, report := range list {
		r.rows += report.Rows()
	}
	if r.held = append(r.held, list...); r.rows > batch {
		return r.Flush()
	}
	return nil
}

func (r *Reader) bad(name string, err error) {
	r.Unread++
	if r.Bad != nil {
		r.Bad(name, err)
	}
}

// Flush writes what is held.
func (r *Reader) Flush() error {
	if len(r.held) == 0 {
		return nil
	}
	n, err := r.Store.Add(r.held)
	r.Added += n
	r.held, r.rows = nil, 0
	return err
}
