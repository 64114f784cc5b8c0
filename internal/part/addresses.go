package part

import "bytes"

// Address is one mailbox or group mark of an address field, as RFC 9051's envelope has it.
type Address struct {
	Name    string // display name, encoded words as written; of a group its name with Mailbox set and Host empty
	Route   string // obsolete source route
	Mailbox string // local part without quotes; empty at the end of a group
	Host    string
	Group   byte // '{' begins a group, '}' ends it, 0 is a mailbox
}

// maxAddresses bounds what one field yields (S085).
const maxAddresses = 10000

// Addresses reads an address list (RFC 5322 section 3.4), tolerantly: it always yields what can be made out, semicolons
// as commas, missing brackets and commas as mail has them.
func Addresses(value []byte) []Address {
	p := lexer{rest: Unfold(value)}
	var out []Address
	group := false
	for len(out) < maxAddresses {
		a, stop, ok := p.address()
		if ok {
			out = append(out, a)
		}
		switch {
		case stop == ':' && !group:
			group = true
		case stop == ';' && group:
			group = false
			out = append(out, Address{Group: '}'})
		case stop == 0:
			if group {
				out = append(out, Address{Group: '}'})
			}
			return out
		}
	}
	return out
}

// lexer takes an address field apart.
type lexer struct{ rest []byte }

// address reads up to a comma, semicolon, the colon of a group, or the end, and says which it was (0 is the end).
func (l *lexer) address() (a Address, stop byte, ok bool) {
	var words []string // of the phrase, or of a bare address
	var comment string // the last one: an old way to give a name
	var spaced []bool  // white space stood before words[i]
	space := false
	for {
		if len(l.rest) == 0 {
			break
		}
		c := l.rest[0]
		switch c {
		case ' ', '\t':
			l.rest, space = l.rest[1:], true
			continue
		case '(':
			comment = l.comment()
			space = true
			continue
		case ',', ';', ':':
			l.rest = l.rest[1:]
			if c == ':' {
				return Address{Mailbox: join(words, spaced), Group: '{'}, ':', true
			}
			a, ok = bare(words, spaced, comment)
			return a, c, ok
		case '<':
			a = l.angle()
			a.Name = join(words, spaced)
			if a.Name == "" {
				a.Name = comment
			}
			stop = l.skip()
			return a, stop, a.Mailbox != "" || a.Host != ""
		}
		w := l.word()
		words, spaced, space = append(words, w), append(spaced, space), false
	}
	a, ok = bare(words, spaced, comment)
	return a, 0, ok
}

// skip goes to the end of an address after its angle brackets.
func (l *lexer) skip() byte {
	for len(l.rest) > 0 {
		c := l.rest[0]
		switch c {
		case '(':
			l.comment()
			continue
		case '"':
			l.word()
			continue
		case ',', ';':
			l.rest = l.rest[1:]
			return c
		case '<', ':':
			return ',' // the comma was forgotten
		}
		l.rest = l.rest[1:]
	}
	return 0
}

// angle reads <route:local@host>.
func (l *lexer) angle() (a Address) {
	l.rest = l.rest[1:]
	var local []byte
	at := -1
	for len(l.rest) > 0 {
		c := l.rest[0]
		if c == '>' {
			l.rest = l.rest[1:]
			break
		}
		switch {
		case c == '"':
			local = append(local, l.word()...)
			continue
		case c == '(':
			l.comment()
			continue
		case c == ':' && len(local) > 0 && local[0] == '@':
			a.Route, local, at = string(local), local[:0], -1
			l.rest = l.rest[1:]
			continue
		case c == '@':
			at = len(local)
		case c == ' ' || c == '\t':
			l.rest = l.rest[1:]
			continue
		}
		local = append(local, c)
		l.rest = l.rest[1:]
	}
	if at < 0 {
		a.Mailbox = string(local)
	} else {
		a.Mailbox, a.Host = string(local[:at]), string(local[at+1:])
	}
	return a
}

// word is a quoted string without its quotes, or a run of other characters.
func (l *lexer) word() string {
	if l.rest[0] == '"' {
		var s string
		s, l.rest = word(l.rest)
		return s
	}
	i := bytes.IndexAny(l.rest, " \t()<>,;:\"")
	if i < 0 {
		i = len(l.rest)
	}
	if i == 0 { // a lone ) or >
		i = 1
	}
	s := string(l.rest[:i])
	l.rest = l.rest[i:]
	return s
}

// comment is the text of a comment, nested ones included.
func (l *lexer) comment() string {
	depth, i := 0, 0
	var out []byte
	for ; i < len(l.rest); i++ {
		c := l.rest[i]
		switch {
		case c == '\\' && i+1 < len(l.rest):
			i++
			c = l.rest[i]
		case c == '(':
			depth++
			if depth == 1 {
				continue
			}
		case c == ')':
			depth--
			if depth == 0 {
				l.rest = l.rest[i+1:]
				return string(out)
			}
		}
		out = append(out, c)
	}
	l.rest = nil
	return string(out)
}

// bare is an address without angle brackets: the words up to the last at sign belong together.
func bare(words []string, spaced []bool, comment string) (Address, bool) {
	if len(words) == 0 {
		return Address{}, false
	}
	text := ""
	for _, w := range words {
		text += w
	}
	for i := len(text) - 1; i >= 0; i-- {
		if text[i] == '@' {
			if len(words) > 1 { // words in front of the address are its name
				if last := words[len(words)-1]; bytes.IndexByte([]byte(last), '@') > 0 && spaced[len(spaced)-1] {
					n := bytes.LastIndexByte([]byte(last), '@')
					return Address{Name: join(words[:len(words)-1], spaced), Mailbox: last[:n], Host: last[n+1:]}, true
				}
			}
			return Address{Name: comment, Mailbox: text[:i], Host: text[i+1:]}, true
		}
	}
	return Address{Name: comment, Mailbox: join(words, spaced)}, true
}

func join(words []string, spaced []bool) string {
	out := ""
	for i, w := range words {
		if i > 0 && spaced[i] {
			out += " "
		}
		out += w
	}
	return out
}
