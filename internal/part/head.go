package part

import (
	"bytes"
	"strings"
)

// line is a field in a header: where its name begins, its colon, and the end of its value.
type line struct{ name, colon, end int }

// usual takes a header apart that lies whole at the beginning of b and is as nearly all are: lines ending in LF, fields and their
// continuations, a blank line. It gives the fields, behind those in room, the offset behind the blank line and the lines up to there. ok is
// false when the header is of another kind or goes on behind b.
func usual(b []byte, room []line) (fields []line, body, lines int, ok bool) {
	for at := 0; ; lines++ {
		n := bytes.IndexByte(b[at:], '\n')
		if n < 0 || at+n > MaxLine || n > 0 && b[at+n-1] == '\r' {
			return room, 0, 0, false
		}
		switch {
		case n == 0:
			return room, at + 1, lines + 1, true
		case b[at] == ' ' || b[at] == '\t':
			if len(room) == 0 {
				return room, 0, 0, false
			}
			room[len(room)-1].end = at + n
			at += n + 1
			continue
		}
		colon := at
		for b[colon] > ' ' && b[colon] != ':' && b[colon] != 0x7f {
			colon++
		}
		if b[colon] != ':' || colon == at {
			return room, 0, 0, false
		}
		room = append(room, line{at, colon, at + n})
		at += n + 1
	}
}

// Head is the fields of a message that lies in b, or the beginning of it, as far as names has them (by their names as usually written), and
// the offset of its body. Values point into b. ok is false where that takes a Scanner to find out, or more of the message.
func Head(to Fields, b []byte, names Names) (fields Fields, body int, ok bool) {
	var room [64]line
	list, body, _, ok := usual(b, room[:0])
	for _, f := range list {
		if known := names.of(b[f.name:f.colon]); known != "" {
			to = append(to, Field{Name: known, Value: b[f.colon+1 : f.end]})
		}
	}
	return to, body, ok
}

// Names is a set of field names. What it says of a name is the name as it was given, or with what is usual in its place.
type Names map[string]string

// NamesOf makes a set; the spellings that mail has of them are in it, and that in small letters.
func NamesOf(list ...string) Names {
	set := Names{}
	for _, name := range list {
		set[name] = name
		small := strings.ToLower(name)
		set[small] = small
		for spelling := range names {
			if equalFold(spelling, name) {
				set[spelling] = spelling
			}
		}
	}
	return set
}

// of is the name, from the set where it is there so written; "" when it is not in the set at all.
func (set Names) of(name []byte) string {
	if known, ok := set[string(name)]; ok {
		return known
	}
	if _, ok := names[string(name)]; ok { // one of the usual, and not of these
		return ""
	}
	var room [64]byte // no name of ours is longer
	if len(name) > len(room) {
		return ""
	}
	small := append(room[:0], name...)
	for i, c := range small {
		if 'A' <= c && c <= 'Z' {
			small[i] = c | 0x20
		}
	}
	if _, ok := set[string(small)]; ok {
		return string(name)
	}
	return ""
}

// Has reports whether a name is in the set, however it is written.
func (set Names) Has(name string) bool { return set.of([]byte(name)) != "" }

// headerOf takes in a header that lies whole at the beginning of p and is a usual one, and says how many octets that was; 0 when
// it has to be read line by line. The scanner is at its first line.
func (s *Scanner) headerOf(p []byte) int {
	if s.now != s.in.header || s.kept > 0 || len(s.field) > 0 {
		return 0
	}
	list, body, lines, ok := usual(p, s.lines[:0])
	s.lines = list[:0]
	if !ok || body > MaxHeader || s.delimited(p[:body]) {
		return 0
	}
	at := s.in
	if at.Envelope != nil {
		p = s.hold(p[:body])
		if cap(at.Envelope) == 0 {
			at.Envelope = make(Fields, 0, len(list))
		}
	}
	for _, f := range list {
		name, value := p[f.name:f.colon], p[f.colon+1:f.end]
		if at.Envelope != nil {
			known, ok := names[string(name)]
			if !ok {
				known = string(name)
			}
			at.Envelope = append(at.Envelope, Field{Name: known, Value: value})
		}
		if len(name) > 8 && name[0]|0x20 == 'c' && equalFold(string(name[:8]), "Content-") {
			at.content(string(name[8:]), value)
		}
	}
	s.now = mark{at: s.now.at + int64(body), lf: s.now.lf + int64(lines), bare: s.now.bare + int64(lines)}
	s.last = mark{at: s.now.at - 1, lf: s.now.lf - 1, bare: s.now.bare - 1}
	s.kept = body
	s.endHeader(s.now)
	return body
}

// delimited reports whether a line may be a boundary.
func (s *Scanner) delimited(header []byte) bool {
	return len(s.open) > 0 && (bytes.HasPrefix(header, []byte("--")) || bytes.Contains(header, []byte("\n--")))
}
