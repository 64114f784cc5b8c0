package msgauth

import (
	"bytes"
	"errors"
	"strings"

	"pennypost/internal/address"
	"pennypost/internal/part"
)

// Author is who a message says it is from: the one address of its one From field.
type Author struct {
	Address string `json:"address,omitempty"`
	Domain  string `json:"domain,omitempty"` // as an A-label; what DMARC is about
	Why     string `json:"why,omitempty"`    // what is wrong with From, and there is no Domain. Such a message should be refused
	Nobody  bool   `json:"nobody,omitempty"` // but for this: From can be read in one way only and names no domain, as old bounces do (MAILER-DAEMON)
	Display string `json:"display,omitempty"`
	Claims  string `json:"claims,omitempty"` // another address, in the display name (S056)
}

// author reads From so that nobody can read it another way (S054). Each mail reader has its own idea of a From that is twice there, a
// list, a group, or cut by comments; who wants to pass for another writes just that. So what has two readings has none.
func (m *message) author() Author {
	fields := m.find("from")
	switch {
	case m.err != nil:
		return Author{Why: m.err.Error()}
	case len(fields) == 0:
		return Author{Why: "there is no From"}
	case len(fields) > 1:
		return Author{Why: "there is more than one From"}
	}
	f := fields[0]
	if f.odd {
		return Author{Why: "a line before From is no field, so From may be text"}
	}
	if len(f.written) != len("From") {
		return Author{Why: "there is white space before the colon of From"}
	}
	display, p, err := parseAuthor(f.value)
	if err != nil {
		return Author{Why: "From " + err.Error(), Nobody: errors.Is(err, errNobody)}
	}
	domain, err := p.DomainASCII()
	if err == nil {
		domain, err = dnsName(domain)
	}
	if err != nil || !strings.Contains(domain, ".") {
		return Author{Why: "the address in From has no domain that DNS could know", Nobody: err == nil}
	}
	if seen := part.Addresses(f.value); len(seen) != 1 || seen[0].Group != 0 || !strings.EqualFold(seen[0].Host, p.Domain) && !sameDomain(seen[0].Host, p.Domain) {
		return Author{Why: "From can be read in more than one way"} // IMAP's envelope would show another
	}
	return Author{Address: p.String(), Domain: domain, Display: display, Claims: claims(display, p)}
}

func sameDomain(a, b string) bool {
	p, err := address.ParseDomain(a)
	return err == nil && address.Unicode(p) == address.Unicode(b)
}

// claims finds an address in a display name that is not p.
func claims(display string, p address.Path) string {
	for word := range strings.FieldsSeq(display) {
		word = strings.Trim(word, `"'<>(),;:`)
		if q, err := address.Parse(word); err == nil && strings.Contains(q.Domain, ".") && !q.Same(p) {
			return q.String()
		}
	}
	return ""
}

// parseAuthor reads the one mailbox of RFC 5322 section 3.4, without the obsolete forms of section 4.4.
func parseAuthor(value []byte) (display string, p address.Path, err error) {
	for _, c := range value {
		if c < ' ' && !isFWS(c) || c == 0x7f {
			return "", p, errors.New("has a control character")
		}
	}
	words, addr, err := splitAuthor(part.Unfold(value))
	if err != nil {
		return "", p, err
	}
	if addr == "" {
		if len(words) != 1 {
			return "", p, errors.New("has no address in < >, and more than one word")
		}
		addr, words = words[0], nil
	}
	if strings.ContainsAny(addr, "() \t") && !strings.HasPrefix(addr, `"`) || strings.Contains(addr, "=?") {
		return "", p, errors.New("has a comment, white space or an encoded word in its address")
	}
	p, err = address.Parse(addr)
	switch {
	case err != nil:
		return "", p, errors.New("has no address: " + err.Error())
	case p.Domain == "":
		return "", p, errNobody
	case p.IsLiteral():
		return "", p, errors.New("has an address literal")
	}
	return strings.Join(words, " "), p, nil
}

// errNobody is a From without a domain, in which no domain can be seen either.
var errNobody = errors.New("has an address without a domain")

// splitAuthor takes the words before the angle brackets, and what is in them, apart.
func splitAuthor(rest []byte) (words []string, addr string, err error) {
	for len(rest) > 0 {
		switch c := rest[0]; c {
		case ' ', '\t':
			rest = rest[1:]
		case '(':
			if rest, err = skipComment(rest); err != nil {
				return nil, "", err
			}
		case ',':
			return nil, "", errors.New("has more than one address")
		case ':', ';':
			return nil, "", errors.New("has a group")
		case '>', ')', '[', ']', '\\':
			return nil, "", errors.New("has a " + string(c) + " that does not belong there")
		case '<':
			end := bytes.IndexByte(rest, '>')
			if end == 1 && addr == "" && len(bytes.TrimSpace(rest)) == 2 && !strings.Contains(strings.Join(words, ""), "@") {
				return nil, "", errNobody // MAILER-DAEMON <>
			}
			if addr != "" || end < 2 {
				return nil, "", errors.New("has not one address in < >")
			}
			if bytes.HasPrefix(rest[1:], []byte("@")) {
				return nil, "", errors.New("has a route")
			}
			addr, rest = string(rest[1:end]), rest[end+1:]
		default:
			if addr != "" {
				return nil, "", errors.New("has something after its address")
			}
			var word string
			if word, rest, err = authorWord(rest); err != nil {
				return nil, "", err
			}
			words = append(words, word)
		}
	}
	return words, addr, nil
}

// authorWord is a run of atoms, quoted strings, dots and at signs without white space between them: a word of a
// phrase, or an address.
func authorWord(rest []byte) (word string, left []byte, err error) {
	i := 0
	for i < len(rest) {
		switch c := rest[i]; c {
		case '"':
			end := i + 1
			for end < len(rest) && rest[end] != '"' {
				if rest[end] == '\\' {
					end++
				}
				end++
			}
			if end >= len(rest) {
				return "", nil, errors.New("has a quoted string that does not end")
			}
			i = end + 1
			continue
		case '[': // only in a domain, where it makes a literal
			if end := bytes.IndexByte(rest[i:], ']'); end > 0 && i > 0 && rest[i-1] == '@' {
				i += end + 1
				continue
			}
		}
		if strings.IndexByte(" \t(),:;<>[]\\", rest[i]) >= 0 {
			break
		}
		i++
	}
	return string(rest[:i]), rest[i:], nil
}

func skipComment(rest []byte) ([]byte, error) {
	depth := 0
	for i := 0; i < len(rest); i++ {
		switch rest[i] {
		case '\\':
			i++
		case '(':
			depth++
		case ')':
			if depth--; depth == 0 {
				return rest[i+1:], nil
			}
		}
	}
	return nil, errors.New("has a comment that does not end")
}
