package part

import "strings"

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
func Addresses(value []byte) (out []Address) {
	eachAddress(value, func(a Address) { out = append(out, a) })
	return out
}

// eachAddress calls visit with what Addresses gives.
func eachAddress(value []byte, visit func(Address)) {
	p := lexer{string(Unfold(value))}
	group := false
	for n := 0; n < maxAddresses; n++ {
		a, stop, ok := p.address()
		if ok {
			visit(a)
		}
		switch {
		case stop == ':' && !group:
			group = true
		case group && (stop == ';' || stop == 0):
			group = false
			visit(Address{Group: '}'})
		}
		if stop == 0 {
			return
		}
	}
}

// FirstAddress is the first mailbox or group of an address field.
func FirstAddress(value []byte) (a Address, ok bool) {
	p := lexer{string(Unfold(value))}
	for {
		a, stop, ok := p.address()
		if ok || stop == 0 {
			return a, ok
		}
	}
}

// lexer takes an address field apart.
type lexer struct{ rest string }

// address reads up to a comma, semicolon, the colon of a group, or the end, and says which it was (0 is the end).
func (l *lexer) address() (a Address, stop byte, ok bool) {
	var wordRoom [8]string
	var spacedRoom [8]bool
	words := wordRoom[:0]    // of the phrase, or of a bare address
	spaced := spacedRoom[:0] // white space stood before words[i]
	var comment string       // the last one: an old way to give a name
	var phrase string        // from the first word on
	after := 0               // octets behind the last word
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
			if a.Name = phrase[:len(phrase)-after]; !plainly(a.Name, words, spaced) {
				a.Name = join(words, spaced)
			}
			if a.Name == "" {
				a.Name = comment
			}
			stop = l.skip()
			return a, stop, a.Mailbox != "" || a.Host != ""
		}
		if len(words) == 0 {
			phrase = l.rest
		}
		w := l.word()
		words, spaced, space, after = append(words, w), append(spaced, space), false, len(l.rest)
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
	if end := strings.IndexAny(l.rest, ">\"(: \t"); end >= 0 && l.rest[end] == '>' { // as it mostly is
		text := l.rest[:end]
		l.rest = l.rest[end+1:]
		a.Mailbox, a.Host = cutHost(text)
		return a
	}
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

// cutHost cuts an address at its last at sign.
func cutHost(text string) (mailbox, host string) {
	if at := strings.LastIndexByte(text, '@'); at >= 0 {
		return text[:at], text[at+1:]
	}
	return text, ""
}

// word is a quoted string without its quotes, or a run of other characters.
func (l *lexer) word() string {
	if l.rest[0] == '"' {
		if end := strings.IndexAny(l.rest[1:], "\"\\"); end >= 0 && l.rest[1+end] == '"' {
			s := l.rest[1 : 1+end]
			l.rest = l.rest[end+2:]
			return s
		}
		s, rest := word([]byte(l.rest))
		l.rest = l.rest[len(l.rest)-len(rest):]
		return s
	}
	i := 0
	for i < len(l.rest) && !ends[l.rest[i]] {
		i++
	}
	if i == 0 { // a lone ) or >
		i = 1
	}
	s := l.rest[:i]
	l.rest = l.rest[i:]
	return s
}

// ends are the characters that end a word.
var ends = func() (t [256]bool) {
	for _, c := range []byte(" \t()<>,;:\"") {
		t[c] = true
	}
	return t
}()

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
	l.rest = ""
	return string(out)
}

// bare is an address without angle brackets: the words up to the last at sign belong together.
func bare(words []string, spaced []bool, comment string) (Address, bool) {
	if len(words) == 0 {
		return Address{}, false
	}
	text := words[0]
	if len(words) > 1 {
		text = strings.Join(words, "")
	}
	for i := len(text) - 1; i >= 0; i-- {
		if text[i] == '@' {
			if len(words) > 1 { // words in front of the address are its name
				if last := words[len(words)-1]; strings.IndexByte(last, '@') > 0 && spaced[len(spaced)-1] {
					mailbox, host := cutHost(last)
					return Address{Name: join(words[:len(words)-1], spaced), Mailbox: mailbox, Host: host}, true
				}
			}
			return Address{Name: comment, Mailbox: text[:i], Host: text[i+1:]}, true
		}
	}
	return Address{Name: comment, Mailbox: join(words, spaced)}, true
}

// plainly reports whether text, which words are made of, is what join gives: all else that may stand between or around them makes it longer,
// but for a tab.
func plainly(text string, words []string, spaced []bool) bool {
	n := 0
	for i, w := range words {
		n += len(w)
		if i > 0 && spaced[i] {
			n++
		}
	}
	return n == len(text) && strings.IndexByte(text, '\t') < 0
}

func join(words []string, spaced []bool) string {
	switch len(words) {
	case 0:
		return ""
	case 1:
		return words[0]
	}
	var room [128]byte
	out := room[:0]
	for i, w := range words {
		if i > 0 && spaced[i] {
			out = append(out, ' ')
		}
		out = append(out, w...)
	}
	return string(out)
}
