package mailreport

import (
	"archive/zip"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
)

// maxEntries is how many files of an archive are looked at: a report comes alone.
const maxEntries = 10

// unpack yields the reports in data, which is one, or a gzip or zip file of it. Together they have at most MaxReport octets,
// whatever the archive says of itself, and what comes out is not unpacked again.
func unpack(data []byte, each func(text []byte) error) error {
	switch {
	case bytes.HasPrefix(data, []byte{0x1f, 0x8b}):
		r, err := gzip.NewReader(bytes.NewReader(data))
		if err != nil {
			return fmt.Errorf("gzip: %w", err)
		}
		text, err := inflate(r, MaxReport)
		if err != nil {
			return fmt.Errorf("gzip: %w", err)
		}
		return each(text)
	case bytes.HasPrefix(data, []byte("PK\x03\x04")):
		return unzip(data, each)
	case len(data) > MaxReport:
		return errLarge
	}
	return each(data)
}

func unzip(data []byte, each func([]byte) error) error {
	r, err := zip.NewReader(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		return fmt.Errorf("zip: %w", err)
	}
	if len(r.File) > maxEntries {
		return fmt.Errorf("zip: more than %d files", maxEntries)
	}
	room, found := MaxReport, false
	for _, f := range r.File { // names are not looked at, and nothing is written
		if f.FileInfo().IsDir() {
			continue
		}
		in, err := f.Open()
		if err != nil {
			return fmt.Errorf("zip: %w", err)
		}
		text, err := inflate(in, room)
		in.Close()
		if err != nil {
			return fmt.Errorf("zip: %w", err)
		}
		room -= len(text)
		if err = each(text); err != nil && !errors.Is(err, ErrNone) {
			return err
		}
		found = found || err == nil
	}
	if !found {
		return ErrNone
	}
	return nil
}

// inflate reads at most limit octets, and one more is an error.
func inflate(r io.Reader, limit int) ([]byte, error) {
	text, err := io.ReadAll(io.LimitReader(r, int64(limit)+1))
	if err == nil && len(text) > limit {
		err = errLarge
	}
	return text, err
}
