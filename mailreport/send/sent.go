package send

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"pennypost/internal/address"
	"pennypost/internal/dayfile"
	"pennypost/internal/durable"
)

// sent is what was sent: the directory STATE/reports/sent.
type sent struct {
	disk durable.Disk // nil: a dry run without the directory
	lock io.Closer
	done map[string]bool // id and URI
	days map[string]int  // day and host → reports mailed there
}

const sentDir = "reports/sent"

// keepSent is how many days of it are kept: longer than any report is tried.
const keepSent = 10

// openSent reads what was sent lately, and keeps others from sending.
func openSent(state string, dry bool) (*sent, error) {
	s := &sent{done: map[string]bool{}, days: map[string]int{}}
	dir := filepath.Join(state, sentDir)
	disk, err := durable.Open(dir)
	if err != nil {
		if dry && errors.Is(err, fs.ErrNotExist) {
			return s, nil
		}
		return nil, err
	}
	s.disk = disk
	if l, ok := disk.(durable.Locker); ok && !dry {
		if s.lock, err = l.TryLock("lock"); errors.Is(err, durable.ErrLocked) {
			err = fmt.Errorf("%s: another mailreport is sending", dir)
		}
	}
	if err == nil {
		err = s.read(dir)
	}
	if err != nil {
		s.close()
	}
	return s, err
}

func (s *sent) close() {
	if s.lock != nil {
		s.lock.Close()
	}
	if s.disk != nil {
		s.disk.Close()
	}
}

func (s *sent) read(dir string) error {
	days, err := dayfile.Days(dir)
	if err != nil {
		return err
	}
	for _, d := range days {
		err := d.Lines(func(words string) {
			var id, to, host string
			for name, value := range dayfile.Words(words) {
				switch name {
				case "id":
					id = value
				case "to":
					to = value
				case "host":
					host = value
				}
			}
			s.note(d.Date.Format(time.DateOnly), id, to, host)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (s *sent) note(day, id, to, host string) {
	s.done[id+" "+to] = true
	if strings.HasPrefix(to, "mailto:") {
		s.days[day+" "+host]++
	}
}

func (s *sent) has(r *report, uri string) bool { return s.done[r.id+" "+uri] }

// mailed is how many reports went to the domain by mail on a day.
func (s *sent) mailed(day time.Time, domain string) int64 {
	return int64(s.days[day.Format(time.DateOnly)+" "+domain])
}

// add writes down that a report was sent, and it is on disk when it returns.
func (s *sent) add(now time.Time, r *report, t target) error {
	line := fmt.Appendf(nil, "%d", now.Unix())
	for _, w := range [][2]string{{"kind", r.kind}, {"id", r.id}, {"domain", r.domain}, {"to", t.uri}, {"host", t.host}} {
		line = dayfile.Add(line, w[0], w[1])
	}
	day := now.UTC().Format(time.DateOnly)
	f, err := s.disk.Append(day, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(append(line, '\n'))
	if err = errors.Join(err, durable.Sync(f), f.Close(), s.disk.SyncDir(".")); err == nil {
		s.note(day, r.id, t.uri, t.host)
	}
	return err
}

// sweep removes what is old.
func (s *sent) sweep(now time.Time) error {
	names, err := s.disk.ReadDir(".")
	if err != nil {
		return err
	}
	for _, name := range names {
		if day, err := time.Parse(time.DateOnly, name); err == nil && now.Sub(day) > keepSent*24*time.Hour {
			if err := s.disk.Remove(name); err != nil {
				return err
			}
		}
	}
	return nil
}

// remove takes away a day that is told.
func remove(file string) error {
	if err := os.Remove(file); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// readOff reads noreport; where there is none everybody is told.
func readOff(file string) (list []string, err error) {
	text, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	in := bufio.NewScanner(bytes.NewReader(text))
	for n := 1; in.Scan(); n++ {
		line, _, _ := strings.Cut(in.Text(), "#")
		line = strings.TrimSpace(line)
		if line == "" {
			continue
		}
		below, isBelow := strings.CutPrefix(line, ".")
		p, e := address.Parse("x@" + below)
		var domain string
		if e == nil {
			domain, e = p.DomainASCII()
		}
		if e != nil {
			return nil, fmt.Errorf("%s:%d: %q is no domain", file, n, line)
		}
		if domain = strings.ToLower(domain); isBelow {
			domain = "." + domain
		}
		list = append(list, domain)
	}
	slices.Sort(list)
	return list, err
}
