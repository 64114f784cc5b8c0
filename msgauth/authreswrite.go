package msgauth

import "strings"

// fold writes a field in lines of at most width octets where there is white space to fold at.
type fold struct {
	b   []byte
	col int
}

const width = 76

func (f *fold) begin(name string) {
	f.b = append(append(f.b, name...), ':')
	f.col = len(name) + 1
}

// word adds a word after a space, or after a new line if it would not fit or must have one.
func (f *fold) word(s string, line bool) {
	if line || f.col+1+len(s) > width {
		f.b = append(f.b, "\n\t"...)
		f.col = 8
	} else {
		f.b = append(f.b, ' ')
		f.col++
	}
	f.b = append(f.b, s...)
	f.col += len(s)
}

// maxValue is how much of a value is written.
const maxValue = 256

// quoted is a value as RFC 8601 has it: a token, an address or a domain as it is, anything else in quotes, without control characters.
func quoted(s string) string {
	if len(s) > maxValue {
		s = s[:maxValue]
	}
	plain := s != ""
	for i := range len(s) {
		if c := s[i]; c <= ' ' || c >= 0x7f || strings.IndexByte(`()<>,;:\"/[]?=`, c) >= 0 {
			plain = false
		}
	}
	if plain {
		return s
	}
	b := []byte{'"'}
	for i := range len(s) {
		c := s[i]
		switch {
		case c == '"' || c == '\\':
			b = append(b, '\\', c)
		case c < ' ' || c == 0x7f:
			b = append(b, '?')
		case c == ';': // some readers cut there, quotes or not
			b = append(b, ',')
		default:
			b = append(b, c)
		}
	}
	return strings.ToValidUTF8(string(append(b, '"')), "?")
}

// String is the whole field with folding, lines ending in LF.
func (r Results) String() string {
	var f fold
	f.begin("Authentication-Results")
	host := quoted(r.Host)
	if len(r.Methods) == 0 {
		f.word(host+"; none", false)
	} else {
		f.word(host+";", false)
		r.write(&f)
	}
	return string(append(f.b, '\n'))
}

func (r Results) write(f *fold) {
	for i, m := range r.Methods {
		words := []string{m.Name + "=" + string(m.Result)}
		if m.Reason != "" {
			words = append(words, "reason="+always(m.Reason))
		}
		for _, p := range m.Props {
			words = append(words, p.Type+"."+p.Property+"="+quoted(p.Value))
		}
		for j, w := range words {
			if j == len(words)-1 && i < len(r.Methods)-1 {
				w += ";"
			}
			f.word(w, j == 0)
		}
	}
}

// always is quoted, in quotes even where none are needed.
func always(s string) string {
	if q := quoted(s); q[0] == '"' {
		return q
	}
	return `"` + s[:min(len(s), maxValue)] + `"`
}
