package sts

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"strconv"
	"strings"
	"time"

	"pennypost/internal/durable"
)

// stored is what a file says: a head of KEY: VALUE lines, a blank line, the policy as it was served.
//
//	pennypost-sts: 1
//	id: 20261125T010000
//	fetched: 1795321401
//
//	version: STSv1
//	mode: enforce
//	mx: mx.example.org
//	max_age: 604800
type stored struct {
	id      string
	fetched time.Time
	policy  *Policy
}

func (s *stored) until() time.Time { return s.fetched.Add(s.policy.MaxAge) }

// format makes the file.
func (s *stored) format() string {
	return fmt.Sprintf("pennypost-sts: 1\nid: %s\nfetched: %d\n\n%s", s.id, s.fetched.Unix(), s.policy.Text)
}

// parseFile reads it. A time in the future is now: the clock was wrong then, or is now.
func parseFile(text string, now time.Time) (*stored, error) {
	head, policy, ok := strings.Cut(text, "\n\n")
	keys := map[string]string{}
	for line := range strings.Lines(head + "\n") {
		key, value, colon := strings.Cut(strings.TrimSuffix(line, "\n"), ": ")
		if ok = ok && colon; ok {
			keys[key] = value
		}
	}
	seconds, err := strconv.ParseInt(keys["fetched"], 10, 64)
	if !ok || keys["pennypost-sts"] != "1" || err != nil || seconds < 0 || seconds > math.MaxInt32*4 {
		return nil, errors.New("not a policy of ours")
	}
	s := &stored{id: keys["id"], fetched: time.Unix(seconds, 0)}
	if s.fetched.After(now) {
		s.fetched = now
	}
	s.policy, err = Parse(policy)
	return s, err
}

// mark tells one state of a file from another without reading it.
type mark struct {
	inode uint64
	size  int64
	time  int64 // nanoseconds
}

// look is the mark of the domain's file; the zero mark is none.
func (c *Cache) look(domain string) mark {
	if c.disk == nil {
		return mark{}
	}
	info, err := c.disk.Stat(domain)
	if err != nil || !info.Mode.IsRegular() {
		return mark{}
	}
	return mark{info.Inode, info.Size, info.ModTime.UnixNano()}
}

// load reads the domain's file; nil where there is none.
func (c *Cache) load(domain string, now time.Time) (*stored, error) {
	f, err := c.disk.Open(domain)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, MaxPolicy+1024))
	if err != nil {
		return nil, err
	}
	s, err := parseFile(string(text), now)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", domain, err)
	}
	return s, nil
}

// newName begins the name of a file that is being written; the number of the process follows.
const newName = ".new-"

// save replaces the domain's file.
func (c *Cache) save(domain string, s *stored) error {
	c.writing.Lock()
	defer c.writing.Unlock()
	temp := newName + strconv.Itoa(os.Getpid())
	f, err := c.disk.Create(temp, 0o644)
	if errors.Is(err, fs.ErrExist) { // of one who died
		if err = c.disk.Remove(temp); err == nil {
			f, err = c.disk.Create(temp, 0o644)
		}
	}
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err = io.Copy(f, bytes.NewReader([]byte(s.format()))); err == nil {
		err = durable.Replace(c.disk, f, temp, domain)
	}
	return err
}

// touch notes that the policy is in use: the time of the file says so.
func (c *Cache) touch(domain string, now time.Time) {
	if f, err := c.disk.Open(domain); err == nil {
		durable.SetModTime(f, now)
		f.Close()
	}
}
