package msgauth

import (
	"errors"
	"strings"
)

// Results is an Authentication-Results field (RFC 8601 section 2.2).
type Results struct {
	Host    string // authserv-id
	Methods []Method
}

// Method is one method=result with what belongs to it.
type Method struct {
	Name   string
	Result Result
	Reason string
	Props  []Prop
}

// Prop is ptype.property=value.
type Prop struct{ Type, Property, Value string }

// Get is the value of a property such as header.from, "" when there is none.
func (m Method) Get(name string) string {
	for _, p := range m.Props {
		if strings.EqualFold(p.Type+"."+p.Property, name) {
			return p.Value
		}
	}
	return ""
}

// Find is the first result of a method.
func (r Results) Find(name string) (Method, bool) {
	for _, m := range r.Methods {
		if m.Name == name {
			return m, true
		}
	}
	return Method{}, false
}

var errResults = errors.New("no Authentication-Results")

// maxMethods bounds what is read of one field.
const maxMethods = 200

// ParseResults reads the value of Authentication-Results, or of ARC-Authentication-Results after its i=N;.
func ParseResults(value string) (r Results, err error) {
	p := resParser{rest: value}
	if r.Host = p.word(); r.Host == "" {
		return r, errResults
	}
	if p.skip(); p.rest != "" && p.rest[0] != ';' {
		if version := p.word(); strings.Trim(version, "0123456789") != "" {
			return r, errResults
		}
	}
	for p.take(';') {
		if p.skip(); p.rest == "" { // after the last semicolon
			break
		}
		m, none, err := p.method()
		if err != nil || len(r.Methods) == maxMethods {
			return r, errResults
		}
		if !none {
			r.Methods = append(r.Methods, m)
		}
	}
	if p.skip(); p.rest != "" {
		return r, errResults
	}
	return r, nil
}

// resParser takes a field apart; comments and white space may stand nearly everywhere.
type resParser struct{ rest string }

func (p *resParser) skip() { p.rest = skipCFWS(p.rest) }

func (p *resParser) take(c byte) bool {
	if p.skip(); p.rest == "" || p.rest[0] != c {
		return false
	}
	p.rest = p.rest[1:]
	return true
}

// method reads one resinfo; none is the word of a field without results.
func (p *resParser) method() (m Method, none bool, err error) {
	m.Name = strings.ToLower(p.key())
	if m.Name == "none" {
		if p.skip(); p.rest == "" || p.rest[0] == ';' {
			return m, true, nil
		}
	}
	if p.take('/') { // the version of the method
		p.key()
	}
	if m.Name == "" || !p.take('=') {
		return m, false, errResults
	}
	if m.Result = Result(strings.ToLower(p.key())); m.Result == "" {
		return m, false, errResults
	}
	for {
		if p.skip(); p.rest == "" || p.rest[0] == ';' {
			return m, false, nil
		}
		typ := p.key()
		if p.take('.') {
			prop := Prop{Type: typ, Property: p.key()}
			if typ == "" || prop.Property == "" || !p.take('=') {
				return m, false, errResults
			}
			prop.Value = p.word()
			m.Props = append(m.Props, prop)
			continue
		}
		if typ == "" || !p.take('=') {
			return m, false, errResults
		}
		if v := p.word(); strings.EqualFold(typ, "reason") {
			m.Reason = v
		}
	}
}

// key is a run of letters, digits, hyphens and underscores.
func (p *resParser) key() string {
	p.skip()
	i := 0
	for i < len(p.rest) {
		c := p.rest[i]
		if !('a' <= c|0x20 && c|0x20 <= 'z' || '0' <= c && c <= '9' || c == '-' || c == '_') {
			break
		}
		i++
	}
	word := p.rest[:i]
	p.rest = p.rest[i:]
	return word
}

// word is a value: quoted, or up to white space, a comment or a semicolon; local parts may be quoted before an @.
func (p *resParser) word() string {
	p.skip()
	var b strings.Builder
	for p.rest != "" {
		c := p.rest[0]
		switch {
		case c == '"':
			text, left := unquote(p.rest)
			b.WriteString(text)
			p.rest = left
			continue
		case isFWS(c) || c == '(' || c == ';':
			return b.String()
		}
		b.WriteByte(c)
		p.rest = p.rest[1:]
	}
	return b.String()
}

func unquote(s string) (text, rest string) {
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		switch s[i] {
		case '"':
			return b.String(), s[i+1:]
		case '\\':
			if i++; i == len(s) {
				return b.String(), ""
			}
		}
		b.WriteByte(s[i])
	}
	return b.String(), ""
}

// skipCFWS skips white space and comments.
func skipCFWS(s string) string {
	for s != "" {
		switch {
		case isFWS(s[0]):
			s = s[1:]
		case s[0] == '(':
			depth, i := 0, 0
			for ; i < len(s); i++ {
				if s[i] == '\\' {
					i++
				} else if s[i] == '(' {
					depth++
				} else if s[i] == ')' {
					if depth--; depth == 0 {
						break
					}
				}
			}
			s = s[min(i+1, len(s)):]
		default:
			return s
		}
	}
	return s
}

// Claims reports whether the value of an Authentication-Results field says that it was written by one of names, our own: where it did
// not come from us it is forged, and nobody may see it (section 5, S057). What cannot be read counts by its beginning.
func Claims(value string, names ...string) bool {
	p := resParser{rest: value}
	id := p.word()
	if i := strings.IndexAny(id, "/="); i >= 0 {
		id = id[:i]
	}
	id = strings.TrimSuffix(id, ".")
	for _, name := range names {
		if strings.EqualFold(id, name) {
			return true
		}
	}
	return false
}
