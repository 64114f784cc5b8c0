/*
Package downgrade remembers which domains took mail under TLS, so that one that suddenly does not is noticed: somebody in
between may have removed STARTTLS from what the host offered.

	STATE/tls/DOMAIN    written by deliver-remote, not synced: after a crash the old one, the new one, or an
	                    empty one, which is as none; .new-… is rubbish

	pennypost-tls: 1
	level: verified          or encrypted, where the certificate proved nothing
	seen: 1795321401         when that was last so, to the day
	lost: 1795400000         since when it is not; absent where all is well

A domain is remembered for a month. When TLS is gone its mail waits for a while (remote.downgrade_wait), so that whoever removes
it must do so for long; after that the memory is given up, with a line in the log, and mail goes in clear. Who knows better
removes the file. A certificate that was good and is not any more is told, once, and nothing waits for it. Policies of the domain
itself, DANE and MTA-STS, are stricter and come first.
*/
package downgrade

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"pennypost/internal/durable"
)

const (
	remembered = 30 * 24 * time.Hour
	fresh      = 24 * time.Hour // a file younger than this is not written again
	lookAgain  = 10 * time.Second
	maxEntries = 20000 // in memory
	maxFile    = 1024
)

// Memory is safe for concurrent use.
type Memory struct {
	Wait time.Duration // how long mail waits where TLS is gone; 0: not at all, and nothing is written
	Warn func(what string, err error)

	disk    durable.Disk
	mu      sync.Mutex
	domains map[string]*record
	pending map[string]record // to be written
	writing bool
	idle    sync.WaitGroup
}

// record is what a file says; level "" is a domain without one.
type record struct {
	level      string
	seen, lost time.Time
	looked     time.Time
}

// Open uses the directory for files; without it there is no memory.
func (m *Memory) Open(disk durable.Disk) { m.disk = disk }

func (m *Memory) off() bool { return m.disk == nil || m.Wait == 0 }

// Saw notes that a host of the domain was spoken to under TLS. Where its certificate was good until a day ago or more, and is not now, lost
// is when it was so last.
func (m *Memory) Saw(domain string, verified bool) (lost time.Time) {
	if m.off() {
		return lost
	}
	level := "encrypted"
	if verified {
		level = "verified"
	}
	now := time.Now()
	m.mu.Lock()
	defer m.mu.Unlock()
	r := m.of(domain, now)
	if r.lost.IsZero() && now.Sub(r.seen) < fresh && (r.level == level || r.level == "verified") { // some of its hosts may have good ones, others not
		return lost
	}
	if r.level == "verified" && !verified && now.Sub(r.seen) <= remembered {
		lost = r.seen
	}
	*r = record{level: level, seen: now, looked: now}
	m.save(domain, *r)
	return lost
}

// Lost says how long mail for a domain must still wait because TLS, which it had, is gone; 0 is not at all. since is when it was
// had last. forgotten: the wait is over just now.
func (m *Memory) Lost(domain string) (wait time.Duration, since time.Time, forgotten bool) {
	if m.off() {
		return 0, time.Time{}, false
	}
	now := time.Now()
	m.mu.Lock()
	defer m.mu.Unlock()
	r := m.of(domain, now)
	switch {
	case r.level == "" || now.Sub(r.seen) > remembered:
		return 0, time.Time{}, false
	case r.lost.IsZero():
		r.lost = now
		m.save(domain, *r)
	}
	if wait = r.lost.Add(m.Wait).Sub(now); wait > 0 {
		return wait, r.seen, false
	}
	since = r.seen
	delete(m.pending, domain)
	*r = record{looked: now}
	if err := m.disk.Remove(domain); err != nil && !errors.Is(err, fs.ErrNotExist) {
		m.warn(domain, err)
	}
	return 0, since, true
}

// of is the record of a domain, from the file where that may have changed; m.mu is held.
func (m *Memory) of(domain string, now time.Time) *record {
	r := m.domains[domain]
	if r == nil {
		if m.domains == nil {
			m.domains = make(map[string]*record)
		}
		for other := range m.domains {
			if len(m.domains) < maxEntries {
				break
			}
			delete(m.domains, other)
		}
		r = &record{}
		m.domains[domain] = r
	}
	if now.Sub(r.looked) > lookAgain {
		read, err := m.load(domain, now)
		if err != nil {
			m.warn(domain, err)
		}
		*r = read
		r.looked = now
	}
	return r
}

func (m *Memory) load(domain string, now time.Time) (r record, err error) {
	f, err := m.disk.Open(domain)
	if errors.Is(err, fs.ErrNotExist) {
		return r, nil
	}
	if err != nil {
		return r, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxFile))
	if err != nil || len(text) == 0 {
		return r, err
	}
	return parse(string(text), now)
}

// parse reads a file. A time in the future is now.
func parse(text string, now time.Time) (r record, err error) {
	keys := map[string]string{}
	for line := range strings.Lines(text) {
		key, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ": ")
		keys[key] = value
	}
	when := func(key string) (t time.Time) {
		if n, bad := strconv.ParseInt(keys[key], 10, 40); bad == nil && n > 0 {
			t = time.Unix(n, 0)
			if t.After(now) {
				t = now
			}
		}
		return t
	}
	r = record{level: keys["level"], seen: when("seen"), lost: when("lost")}
	if keys["pennypost-tls"] != "1" || r.level != "verified" && r.level != "encrypted" || r.seen.IsZero() {
		return record{}, errors.New("not what it should be")
	}
	return r, nil
}

func (r *record) format() string {
	text := fmt.Sprintf("pennypost-tls: 1\nlevel: %s\nseen: %d\n", r.level, r.seen.Unix())
	if !r.lost.IsZero() {
		text += fmt.Sprintf("lost: %d\n", r.lost.Unix())
	}
	return text
}

// save has the file written beside deliveries: none waits for it. m.mu is held.
func (m *Memory) save(domain string, r record) {
	if m.pending == nil {
		m.pending = make(map[string]record)
	}
	m.pending[domain] = r
	if !m.writing {
		m.writing = true
		m.idle.Add(1)
		go m.write()
	}
}

// write writes what is pending.
func (m *Memory) write() {
	defer m.idle.Done()
	for {
		m.mu.Lock()
		pending := m.pending
		if m.pending = nil; len(pending) == 0 {
			m.writing = false
			m.mu.Unlock()
			return
		}
		m.mu.Unlock()
		for domain, r := range pending {
			if err := write(m.disk, domain, r.format()); err != nil {
				m.warn(domain, err)
			}
		}
	}
}

// Close waits for what is being written.
func (m *Memory) Close() { m.idle.Wait() }

func write(disk durable.Disk, domain, text string) error {
	temp := ".new-" + strconv.Itoa(os.Getpid())
	f, err := disk.Create(temp, 0o644)
	if errors.Is(err, fs.ErrExist) { // of one who died and had our number
		if err = disk.Remove(temp); err == nil {
			f, err = disk.Create(temp, 0o644)
		}
	}
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err = io.WriteString(f, text); err == nil {
		err = disk.Rename(temp, domain)
	}
	return err
}

func (m *Memory) warn(domain string, err error) {
	if m.Warn != nil {
		m.Warn("what is remembered of "+domain, err)
	}
}
