package msgauth

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// maxTags is more than any signature or record has; it bounds the search for duplicates.
const maxTags = 64

// tag is one NAME=VALUE of a tag list (RFC 6376 section 3.2); the value has no white space around it and may have folding inside.
type tag struct{ name, value string }

// tags is a tag list in the order of the text.
type tags []tag

var errTags = errors.New("no list of tags")

// parseTags reads a tag list. A tag twice, or what is no tag, spoils all of it.
func parseTags(text string) (tags, error) {
	if !utf8.ValidString(text) {
		return nil, errTags
	}
	var list tags
	for spec := range strings.SplitSeq(text, ";") {
		name, value, ok := strings.Cut(spec, "=")
		name, value = trimFWS(name), trimFWS(value)
		switch {
		case !ok && name == "": // after the last semicolon
			continue
		case !ok || !tagName(name) || !tagValue(value):
			return nil, errTags
		case list.has(name):
			return nil, fmt.Errorf("the tag %s= twice", name)
		case len(list) == maxTags:
			return nil, errTags
		}
		list = append(list, tag{name, value})
	}
	if len(list) == 0 {
		return nil, errTags
	}
	return list, nil
}

func (t tags) get(name string) (string, bool) {
	for i := range t {
		if t[i].name == name {
			return t[i].value, true
		}
	}
	return "", false
}

func (t tags) has(name string) bool {
	_, ok := t.get(name)
	return ok
}

func tagName(s string) bool {
	for i := range len(s) {
		c := s[i] | 0x20
		if !('a' <= c && c <= 'z') && (i == 0 || s[i] != '_' && (s[i] < '0' || s[i] > '9')) {
			return false
		}
	}
	return s != ""
}

// tagValue allows what section 3.2 does, and UTF-8 (RFC 8616 section 4).
func tagValue(s string) bool {
	for i := range len(s) {
		if c := s[i]; c < ' ' && c != '\t' && c != '\n' && c != '\r' || c == 0x7f {
			return false
		}
	}
	return true
}

func isFWS(c byte) bool { return c == ' ' || c == '\t' || c == '\n' || c == '\r' }

func trimFWS(s string) string { return strings.Trim(s, " \t\r\n") }

// noFWS is s without any white space: what base64 and lists may be folded with.
func noFWS(s string) string {
	if strings.IndexAny(s, " \t\r\n") < 0 {
		return s
	}
	b := make([]byte, 0, len(s))
	for i := range len(s) {
		if !isFWS(s[i]) {
			b = append(b, s[i])
		}
	}
	return string(b)
}

// colons splits a list such as h=from : to.
func colons(s string) (list []string) {
	for word := range strings.SplitSeq(s, ":") {
		list = append(list, trimFWS(word))
	}
	return list
}

// withoutB is the value of a signature field less the value of its b= tag (RFC 6376 section 3.7).
func withoutB(value []byte) []byte {
	out := make([]byte, 0, len(value))
	for {
		end := bytes.IndexByte(value, ';')
		spec := value
		if end >= 0 {
			spec = value[:end]
		}
		if name, _, ok := bytes.Cut(spec, []byte("=")); ok && trimFWS(string(name)) == "b" {
			out = append(append(out, name...), '=')
		} else {
			out = append(out, spec...)
		}
		if end < 0 {
			return out
		}
		out = append(out, ';')
		value = value[end+1:]
	}
}
