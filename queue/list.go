package queue

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"

	"pennypost/internal/durable"
)

// errEnough ends a reading that has what it came for.
var errEnough = errors.New("enough")

// Recipients reads ID.r of a list message, n at a time from recipient number first on. A message
// without ID.r has those of its envelope.
func (s *Spool) Recipients(m *Message, first, n int) ([]Rcpt, error) {
	var rcpts []Rcpt
	take := func(r Rcpt) error {
		if r.N >= first && len(rcpts) < n {
			rcpts = append(rcpts, r)
		}
		if len(rcpts) >= n {
			return errEnough
		}
		return nil
	}
	for _, r := range m.Env.Rcpts {
		take(r)
	}
	if m.Env.RcptFile.Count == 0 || len(rcpts) >= n {
		return rcpts, nil
	}
	f, file, err := s.openRecipients(m)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	last := 0
	err = linesOf(f, 0, func(line []byte, _ int64) error {
		r, err := parseRcpt(parseValue(line))
		if err == nil && r.N <= last {
			err = fmt.Errorf("number %d does not rise", r.N)
		}
		if err != nil {
			return bad("%s: %.100q: %v", file, line, err)
		}
		last = r.N
		return take(r)
	})
	if err == errEnough {
		err = nil
	}
	return rcpts, err
}

// CheckRecipients compares ID.r with what the envelope says of it: its length and hash.
func (s *Spool) CheckRecipients(m *Message) error {
	if m.Env.RcptFile.Count == 0 {
		return nil
	}
	f, file, err := s.openRecipients(m)
	if err != nil {
		return err
	}
	defer f.Close()
	sum, err := sumFile(f, 0)
	if err == nil && sum != m.Env.RcptFile.Hash {
		err = bad("%s: hash %s, should be %s", file, sum, m.Env.RcptFile.Hash)
	}
	return err
}

// openRecipients opens ID.r, beside its message or where both were before. It is bad that it is nowhere while its message is
// where it was, or that it is not as long as the envelope says.
func (s *Spool) openRecipients(m *Message) (f durable.File, file string, err error) {
	dir, _ := split(m.Name)
	for range 2 { // both may move while we look
		for _, d := range []string{dir, QPath(m.ID), "hold", "in/adopt/new"} {
			file = d + "/" + m.ID + ".r"
			if f, err = s.Disk.Open(file); !gone(err) {
				return s.asLong(f, file, m, err)
			}
		}
		if _, err := s.Disk.Stat(m.Name); err != nil {
			return nil, "", err
		}
	}
	return nil, "", bad("%s.r is nowhere, and who was to get the message stood there", m.ID)
}

func (s *Spool) asLong(f durable.File, file string, m *Message, err error) (durable.File, string, error) {
	if errors.Is(err, durable.ErrNotRegular) {
		return nil, "", bad("%s: %v", file, durable.ErrNotRegular)
	}
	if err != nil {
		return nil, "", err
	}
	st, err := f.Stat()
	if err == nil && st.Size != m.Env.RcptFile.Bytes {
		err = bad("%s of %d octets, rcpt-file: says %d", file, st.Size, m.Env.RcptFile.Bytes)
	}
	if err != nil {
		f.Close()
		return nil, "", err
	}
	return f, file, nil
}

// WriteRecipients makes ID.r of a list message and puts it, durable, into in/PRODUCER/new, where it
// waits for its message. Sweep removes it if none comes. What it returns belongs into the envelope.
func (s *Spool) WriteRecipients(p, id string, rcpts []Rcpt) (RcptFile, error) {
	if !producer(p) || !ValidID(id) {
		return RcptFile{}, bad("recipients of %.60q from %.20q", id, p)
	}
	var b []byte
	for i := range rcpts {
		b = append(rcpts[i].append(b), '\n')
	}
	tmp, to := "in/"+p+"/tmp/"+id+".r", "in/"+p+"/new/"+id+".r"
	f, err := s.Disk.Create(tmp, 0o660)
	if err != nil {
		return RcptFile{}, err
	}
	defer f.Close()
	at := tmp
	if _, err = f.Write(b); err == nil {
		if err = s.Disk.Rename(tmp, to); err == nil {
			at = to
			err = s.settle(f, "in/"+p+"/new")
		}
	}
	if err != nil {
		s.Disk.Remove(at)
		return RcptFile{}, err
	}
	sum := sha256.Sum256(b)
	return RcptFile{Count: len(rcpts), Bytes: int64(len(b)), Hash: hex.EncodeToString(sum[:16])}, nil
}
