/*
Package dayfile keeps what is counted day by day and told once: a directory with one text file for each day (UTC), to which
several programs at once add lines.

	DIR/2026-11-25     one line for each event, append only: "1764038400 name=value name=value …"

A line is written with one write(2) to a descriptor opened O_APPEND, at most 4 KiB, so that lines of several writers never mix. It begins with
the second it is about; the rest is the same for like events, so that this counts them:

	cut -d' ' -f2- 2026-11-25 | sort | uniq -c

Values are escaped as words of the spool are (internal/escape). Nothing is synced: a crash costs the last lines, and may leave half of one, which
readers pass over. Who may write removes nothing; the one who tells removes days that are told.

Whoever makes events could fill the disk with them. So a file that has reached MaxFile takes no more lines that day, and no error is made of it:
what is told is then less than all, and the reader knows (Day.Full). A directory that is not there is how an admin says that nothing is to be counted.
*/
package dayfile

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"pennypost/internal/escape"
)

const (
	MaxFile = 64 << 20 // octets of a day
	MaxLine = 4 << 10  // octets of a line, with its LF
)

// Add appends the word name=value to a line; an empty value is left out.
func Add(line []byte, name, value string) []byte {
	if value == "" {
		return line
	}
	line = append(append(append(line, ' '), name...), '=')
	return escape.Append(line, value)
}

// Append writes one line of words, as Add makes it, into the file of at's day.
func Append(dir string, at time.Time, words []byte) error {
	line := strconv.AppendInt(make([]byte, 0, len(words)+16), at.Unix(), 10)
	line = append(append(line, words...), '\n')
	if len(line) > MaxLine {
		return fmt.Errorf("%s: a line of %d octets", dir, len(line))
	}
	name := filepath.Join(dir, at.UTC().Format(time.DateOnly))
	fd, err := unix.Open(name, unix.O_WRONLY|unix.O_APPEND|unix.O_CREAT|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0o640)
	if err == unix.ENOENT {
		return nil
	}
	if err != nil {
		return &fs.PathError{Op: "open", Path: name, Err: err}
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return &fs.PathError{Op: "stat", Path: name, Err: err}
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return &fs.PathError{Op: "open", Path: name, Err: errors.New("not a regular file")}
	}
	if st.Size+int64(len(line)) > MaxFile {
		return nil
	}
	n, err := unix.Write(fd, line)
	if err == nil && n < len(line) {
		err = io.ErrShortWrite
	}
	if err != nil {
		return &fs.PathError{Op: "write", Path: name, Err: err}
	}
	return nil
}

// Day is one file.
type Day struct {
	File string
	Date time.Time // its midnight, UTC
	Full bool      // lines are missing
}

// Days lists the files of a directory, the oldest first. One that is not there has none.
func Days(dir string) (list []Day, err error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	for _, e := range entries { // in the order of their names
		date, err := time.Parse(time.DateOnly, e.Name())
		if err != nil || !e.Type().IsRegular() {
			continue
		}
		info, err := e.Info()
		if err != nil {
			continue // gone since
		}
		list = append(list, Day{filepath.Join(dir, e.Name()), date, info.Size() > MaxFile-MaxLine})
	}
	return list, nil
}

// Lines calls do for each line that is whole: its words, without the time.
func (d Day) Lines(do func(words string)) error {
	fd, err := unix.Open(d.File, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return &fs.PathError{Op: "open", Path: d.File, Err: err}
	}
	f := os.NewFile(uintptr(fd), d.File)
	defer f.Close()
	in := bufio.NewReaderSize(io.LimitReader(f, MaxFile), 2*MaxLine)
	for {
		line, err := in.ReadSlice('\n')
		switch {
		case err == io.EOF:
			return nil
		case err == bufio.ErrBufferFull: // nobody of ours wrote that
			for err == bufio.ErrBufferFull {
				_, err = in.ReadSlice('\n')
			}
			continue
		case err != nil:
			return err
		}
		at, words, ok := strings.Cut(string(line[:len(line)-1]), " ")
		if _, err := strconv.ParseInt(at, 10, 64); ok && err == nil {
			do(words)
		}
	}
}

// Words reads a line as Add wrote it: names and values. A word that is none is passed over.
func Words(line string) iter.Seq2[string, string] {
	return func(yield func(name, value string) bool) {
		for word := range strings.FieldsSeq(line) {
			name, value, ok := strings.Cut(word, "=")
			if value, err := escape.Parse(value); ok && err == nil && !yield(name, value) {
				return
			}
		}
	}
}
