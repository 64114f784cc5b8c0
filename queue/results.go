package queue

import (
	"bufio"
	"compress/gzip"
	"io"
	"runtime"
	"slices"
	"strings"
	"time"

	"pennypost/internal/durable"
)

const (
	hourForm = "2006-01-02T15"
	packed   = ".gz"
)

// hourOf is the hour a file of results/ is about.
func hourOf(name string) (hour time.Time, gz, ok bool) {
	plain, gz := strings.CutSuffix(name, packed)
	hour, err := time.Parse(hourForm, plain)
	return hour, gz, err == nil
}

// Results reads the events of the journal since a time, oldest first, of hours that are compressed too. Lines that are none
// are skipped. The event is each's until it returns.
func (s *Spool) Results(since time.Time, each func(*Event) error) error {
	names, err := s.Disk.ReadDir("results")
	if err != nil {
		return err
	}
	// HOUR.gz comes before HOUR: what is in both was written later, when the clock had been put back.
	slices.SortFunc(names, func(a, b string) int {
		if n := strings.Compare(strings.TrimSuffix(a, packed), strings.TrimSuffix(b, packed)); n != 0 {
			return n
		}
		return strings.Compare(b, a)
	})
	first := hourName(since)
	if since.IsZero() {
		first = ""
	}
	for _, name := range names {
		_, gz, ok := hourOf(name)
		if !ok || strings.TrimSuffix(name, packed) < first {
			continue
		}
		read := s.eachLine
		if gz {
			read = s.eachPackedLine
		}
		err := read(results+name, func(line []byte) error {
			ev, err := ParseEvent(line)
			if err != nil || ev.Time.Before(since) {
				return nil
			}
			return each(&ev)
		})
		if err != nil && !gone(err) {
			return err
		}
	}
	return nil
}

// eachPackedLine is eachLine for a file that gzip made. Where it is damaged it ends.
func (s *Spool) eachPackedLine(name string, each func(line []byte) error) error {
	f, err := s.Disk.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		return nil
	}
	return linesOf(&forward{r: z}, 0, func(line []byte, _ int64) error { return each(line) })
}

// forward is a reader as linesOf wants one: it asks for what comes next and for nothing else.
type forward struct{ r io.Reader }

func (f *forward) ReadAt(p []byte, _ int64) (int, error) {
	n, err := io.ReadFull(f.r, p)
	if err != nil && n > 0 {
		return n, nil // and the next call says io.EOF
	}
	if err != nil && !durable.IsDisk(err) {
		err = io.EOF // cut or damaged
	}
	return n, err
}

// mostForgotten is how many files of results/ one call removes: two for every hour that comes. When a clock jumps by
// years, the journal is not gone before somebody has seen it (S140).
const mostForgotten = 2

// SweepResults compresses the hours of the journal that have been over for an hour, and removes those older than keep.
//
//	results/HOUR        read, compressed into
//	results/HOUR.gz.new synced and renamed to
//	results/HOUR.gz     and then the first is removed
func (s *Spool) SweepResults(now time.Time, keep time.Duration) error {
	names, err := s.Disk.ReadDir("results")
	if err != nil {
		return err
	}
	slices.Sort(names)
	forgotten := 0
	for _, name := range names {
		hour, gz, ok := hourOf(name)
		switch age := now.Sub(hour); {
		case !ok:
		case keep > 0 && age > keep+time.Hour && forgotten < mostForgotten:
			forgotten++
			err = s.Disk.Remove(results + name)
		case !gz && age > 2*time.Hour:
			err = s.pack(results + name)
		}
		if err != nil && !gone(err) {
			return err
		}
	}
	return nil
}

// pack compresses one file of results/. What HOUR.gz has already stays in front.
func (s *Spool) pack(name string) error {
	plain, err := s.Disk.Open(name)
	if err != nil {
		return err
	}
	defer plain.Close()
	sum, err := sumFile(plain, 0)
	if err != nil {
		return err
	}
	to, tmp := name+packed, name+packed+".new"
	old, err := s.Disk.Open(to)
	switch {
	case err == nil:
		defer old.Close()
		if lastMember(old) == sum { // the power went before the last step
			return s.Disk.Remove(name)
		}
	case !gone(err):
		return err
	}
	s.Disk.Remove(tmp)
	f, err := s.Disk.Create(tmp, 0o640)
	if err != nil {
		return err
	}
	defer f.Close()
	if old != nil {
		_, err = io.Copy(f, io.NewSectionReader(old, 0, 1<<62))
	}
	if err == nil {
		err = packMember(f, plain, sum)
	}
	if err == nil {
		err = f.Sync()
	}
	if err == nil {
		err = s.Disk.Rename(tmp, to)
	}
	if err == nil {
		err = s.Disk.SyncDir("results")
	}
	if err != nil {
		s.Disk.Remove(tmp)
		return err
	}
	return s.Disk.Remove(name)
}

// packMember writes a file as one member of a gzip file (RFC 1952), with its hash for a comment.
func packMember(w io.Writer, plain io.ReaderAt, sum string) error {
	z, err := gzip.NewWriterLevel(w, gzip.BestSpeed)
	if err != nil {
		return err
	}
	z.Comment = sum
	b := make([]byte, 64<<10)
	last := byte('\n')
	for off := int64(0); ; {
		n, err := plain.ReadAt(b, off)
		if n > 0 {
			last = b[n-1]
			off += int64(n)
			if _, werr := z.Write(b[:n]); werr != nil {
				return werr
			}
		}
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
		runtime.Gosched() // the loop has better things to do with the processor
	}
	if last != '\n' { // half a line must not become one with the first of the next member
		if _, err := z.Write([]byte{'\n'}); err != nil {
			return err
		}
	}
	return z.Close()
}

// lastMember is the comment of the last whole member of a gzip file, "" if there is none.
func lastMember(f io.ReaderAt) (comment string) {
	r := bufio.NewReader(io.NewSectionReader(f, 0, 1<<62)) // gzip then reads no further than a member goes
	z, err := gzip.NewReader(r)
	for err == nil {
		z.Multistream(false)
		c := z.Comment
		if _, err = io.Copy(io.Discard, z); err == nil {
			comment = c
			err = z.Reset(r)
		}
	}
	return comment
}
