/*
Package control is how people steer the queue: by files, which work with queue-run running or not.

	pause/all                        nothing is tried
	pause/site:mx1.example.org+0a1b  nothing goes to that site; also site:example.org, from:, list:, transport:
	limit/site:mx1.example.org       "conns=2 rate=10/m until=2026-11-22T12:00:00Z"
	kick/try:ID                      try now; also hold: release: bounce: remove:
	kick/site:mx1.example.org        try everything of that site; kick/all everything

A pause lasts as long as its file: touch makes it, rm ends it. What is in it is for people, as in
"their disk is full, until=2026-11-22T12:00:00Z", but until= is kept. Names after the colon are
percent-escaped where they need it (package escape). A kick is removed by queue-run when it is
obeyed. mailq only does these file operations.
*/
package control

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strconv"
	"strings"
	"time"

	"pennypost/internal/durable"
	"pennypost/internal/escape"
	"pennypost/queue"
)

// Kinds are what a pause or limit may be about.
var Kinds = []string{"site", "from", "list", "transport", "all"}

// Pause is one file in pause/.
type Pause struct {
	Kind   string // one of Kinds
	Name   string // "" for all
	Reason string
	Until  time.Time // zero: until the file is removed
	Since  time.Time // the file's time
}

// Limit is one file in limit/.
type Limit struct {
	Kind  string
	Name  string
	Conns int     // connections at once; 0 no limit of this file
	Rate  float64 // messages a second; 0 no limit of this file
	Until time.Time
	Text  string // what the file says
}

// State is what the control files say now. What is over by its until= is left out.
type State struct {
	Pauses []Pause
	Limits []Limit
	Bad    []error // files that say nothing we understand
}

// Read reads pause/ and limit/.
func Read(s *queue.Spool) (*State, error) { return ReadAt(s, time.Now()) }

// ReadAt is Read at another time.
func ReadAt(s *queue.Spool, now time.Time) (*State, error) {
	st := new(State)
	err := each(s, "pause", func(kind, name, text string, info durable.Info) error {
		p := Pause{Kind: kind, Name: name, Since: info.ModTime}
		var err error
		if p.Reason, p.Until, err = parsePause(text); err != nil {
			st.Bad = append(st.Bad, fmt.Errorf("pause/%s: %w", file(kind, name), err)) // and it stands, without an end
		}
		if p.Until.IsZero() || now.Before(p.Until) {
			st.Pauses = append(st.Pauses, p)
		}
		return nil
	}, &st.Bad)
	if err != nil {
		return nil, err
	}
	err = each(s, "limit", func(kind, name, text string, _ durable.Info) error {
		l, err := parseLimit(text)
		if err != nil {
			return fmt.Errorf("limit/%s: %w", file(kind, name), err)
		}
		l.Kind, l.Name = kind, name
		if l.Until.IsZero() || now.Before(l.Until) {
			st.Limits = append(st.Limits, l)
		}
		return nil
	}, &st.Bad)
	if err != nil {
		return nil, err
	}
	return st, nil
}

// most is how much of a control file is read.
const most = 4096

// each calls do for every control file of a directory, in order of names.
func each(s *queue.Spool, dir string, do func(kind, name, text string, info durable.Info) error, bad *[]error) error {
	names, err := s.Disk.ReadDir(dir)
	if err != nil {
		return err
	}
	slices.Sort(names)
	for _, base := range names {
		if strings.HasPrefix(base, ".") { // an editor's
			continue
		}
		kind, name, err := parseName(base)
		var text string
		var info durable.Info
		if err == nil {
			text, info, err = read(s, dir+"/"+base)
		}
		if errors.Is(err, fs.ErrNotExist) {
			continue // ended meanwhile
		}
		if err == nil {
			err = do(kind, name, text, info)
		}
		if err != nil {
			*bad = append(*bad, err)
		}
	}
	return nil
}

func read(s *queue.Spool, name string) (string, durable.Info, error) {
	f, err := s.Disk.Open(name)
	if err != nil {
		return "", durable.Info{}, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return "", info, err
	}
	text, err := io.ReadAll(io.LimitReader(f, most))
	return strings.TrimSpace(string(text)), info, err
}

// parseName takes "site:NAME" or "all" apart.
func parseName(base string) (kind, name string, err error) {
	kind, word, ok := strings.Cut(base, ":")
	if !slices.Contains(Kinds, kind) || ok != (kind != "all") {
		return "", "", fmt.Errorf("%.100q: want all, or %s: and a name", base, strings.Join(Kinds[:len(Kinds)-1], ":, "))
	}
	if ok {
		name, err = escape.Parse(word)
	}
	return kind, name, err
}

// file is the file name of a pause, limit or kick.
func file(kind, name string) string {
	if kind == "all" {
		return kind
	}
	return kind + ":" + escape.File(name)
}

// parsePause reads "REASON, until=TIME".
func parsePause(text string) (reason string, until time.Time, err error) {
	var words []string
	for part := range strings.SplitSeq(text, ",") {
		part = strings.TrimSpace(part)
		if v, ok := strings.CutPrefix(part, "until="); ok {
			if until, err = ParseTime(v); err != nil {
				return text, time.Time{}, err
			}
		} else if part != "" {
			words = append(words, part)
		}
	}
	return strings.Join(words, ", "), until, nil
}

// parseLimit reads "conns=2 rate=10/m until=TIME".
func parseLimit(text string) (l Limit, err error) {
	l.Text = text
	for _, word := range strings.FieldsFunc(text, func(r rune) bool { return r == ' ' || r == ',' || r == '\n' || r == '\t' }) {
		key, v, _ := strings.Cut(word, "=")
		switch key {
		case "conns":
			l.Conns, err = strconv.Atoi(v)
			if err == nil && (l.Conns < 1 || l.Conns > 10000) {
				err = fmt.Errorf("conns=%d: want 1 to 10000", l.Conns)
			}
		case "rate":
			l.Rate, err = ParseRate(v)
		case "until":
			l.Until, err = ParseTime(v)
		default:
			err = fmt.Errorf("unknown word %.40q: want conns= rate= until=", word)
		}
		if err != nil {
			return l, err
		}
	}
	return l, nil
}

// ParseRate reads a number "/s", "/m", "/h" or "/d" as events a second.
func ParseRate(s string) (float64, error) {
	n, unit, _ := strings.Cut(s, "/")
	count, err := strconv.ParseUint(n, 10, 31)
	per := map[string]float64{"s": 1, "m": 60, "h": 3600, "d": 86400}[unit]
	if err != nil || count == 0 || per == 0 {
		return 0, fmt.Errorf("rate %.40q: want a number and /s /m /h or /d", s)
	}
	return float64(count) / per, nil
}

// ParseTime reads RFC 3339, also without seconds or zone, which is then UTC; and seconds since 1970.
func ParseTime(s string) (time.Time, error) {
	for _, layout := range []string{time.RFC3339, "2006-01-02T15:04:05", "2006-01-02T15:04Z07:00", "2006-01-02T15:04", "2006-01-02"} {
		if t, err := time.Parse(layout, s); err == nil {
			return t.UTC(), nil
		}
	}
	if n, err := strconv.ParseInt(s, 10, 40); err == nil && n > 1e8 {
		return time.Unix(n, 0).UTC(), nil
	}
	return time.Time{}, fmt.Errorf("time %.40q: want 2026-11-22T12:00:00Z", s)
}

// Paused is the pause that keeps name from being tried, if there is one. Kind all is asked with every kind.
func (st *State) Paused(kind, name string) (Pause, bool) {
	for _, p := range st.Pauses {
		if p.Kind == "all" || p.Kind == kind && strings.EqualFold(p.Name, name) {
			return p, true
		}
	}
	return Pause{}, false
}

// Limited is the limit of name, if there is one.
func (st *State) Limited(kind, name string) (Limit, bool) {
	for _, l := range st.Limits {
		if l.Kind == "all" || l.Kind == kind && strings.EqualFold(l.Name, name) {
			return l, true
		}
	}
	return Limit{}, false
}
