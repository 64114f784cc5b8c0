package sendmail

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"strings"

	"pennypost/internal/address"
	"pennypost/internal/header"
)

// head is the header of a message that has not ended yet: what -t must know before the first octet goes out.
type head struct {
	text []byte   // all of it, LF line ends, with the blank line
	to   []string // fields of recipients, unfolded: To, Cc, Bcc
	re   []string // Resent-To, Resent-Cc, Resent-Bcc of the newest resending
	from bool     // there is a From field
}

var errHeader = errors.New("header of more than 1 MiB")

// readHead reads up to the end of the header. A first line that is no field begins the body.
func readHead(r *bufio.Reader) (*head, error) {
	h := new(head)
	var field []byte // the current one, folded
	resent, seen := false, false
	end := func() {
		name, value, ok := bytes.Cut(field, []byte(":"))
		field = nil
		if !ok {
			return
		}
		n := strings.ToLower(strings.TrimSpace(string(name)))
		v := strings.ReplaceAll(string(value), "\n", " ")
		switch n {
		case "to", "cc", "bcc":
			h.to = append(h.to, v)
		case "resent-to", "resent-cc", "resent-bcc":
			if !seen || resent { // older resendings stand further down, after another field of the trace
				h.re = append(h.re, v)
			}
			resent, seen = true, true
		case "from":
			h.from = true
		case "received", "return-path":
			resent = false
		}
	}
	for {
		line, err := r.ReadSlice('\n')
		if err == bufio.ErrBufferFull {
			line = append([]byte(nil), line...)
			var more []byte
			for err == bufio.ErrBufferFull && len(line) <= header.MaxHeader {
				more, err = r.ReadSlice('\n')
				line = append(line, more...)
			}
		}
		if err != nil && err != io.EOF {
			return nil, err
		}
		if len(h.text)+len(line) > header.MaxHeader {
			return nil, errHeader
		}
		bare := bytes.TrimRight(line, "\n")
		switch {
		case len(bare) == 0:
			end()
			h.text = append(h.text, line...)
			return h, nil
		case bare[0] == ' ' || bare[0] == '\t':
			if field == nil {
				return h.bodyless(line), nil
			}
			field = append(append(field, '\n'), bare...)
		default:
			if field == nil && (bytes.HasPrefix(bare, []byte("From ")) || bytes.HasPrefix(bare, []byte(">From "))) {
				continue // an mbox line
			}
			end()
			if i := bytes.IndexByte(bare, ':'); i < 1 || bytes.ContainsAny(bytes.TrimRight(bare[:i], " \t"), " \t") {
				return h.bodyless(line), nil
			}
			field = append([]byte(nil), bare...)
		}
		h.text = append(h.text, line...)
		if err == io.EOF {
			end()
			return h, nil
		}
	}
}

// bodyless ends a header before a line that belongs to the body.
func (h *head) bodyless(line []byte) *head {
	h.text = append(append(h.text, '\n'), line...)
	return h
}

// recipients are the addresses -t sends to: those of the resending if there is one (RFC 5322 section 3.6.6).
func (h *head) recipients() ([]address.Path, error) {
	fields := h.to
	if len(h.re) > 0 {
		fields = h.re
	}
	var all []address.Path
	for _, f := range fields {
		list, err := parseList(f)
		if err != nil {
			return nil, err
		}
		all = append(all, list...)
	}
	return all, nil
}

// parseList reads the addresses of a field: names, <addresses>, (comments), groups, and bare local
// names as cron writes them.
func parseList(s string) ([]address.Path, error) {
	var list []address.Path
	var words strings.Builder // outside brackets
	angle, hasAngle := "", false
	add := func() error {
		text := strings.TrimSpace(words.String())
		if hasAngle {
			text = angle
		}
		words.Reset()
		angle, hasAngle = "", false
		if text == "" {
			return nil
		}
		p, err := address.Parse(text)
		if err != nil {
			return err
		}
		list = append(list, p)
		return nil
	}
	for i := 0; i < len(s); i++ {
		switch c := s[i]; c {
		case '"':
			j := i + 1
			for j < len(s) && s[j] != '"' {
				if s[j] == '\\' {
					j++
				}
				j++
			}
			if j >= len(s) {
				return nil, errors.New("a quote does not end")
			}
			words.WriteString(s[i : j+1])
			i = j
		case '(':
			depth := 0
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
			if i >= len(s) {
				return nil, errors.New("a comment does not end")
			}
		case '<':
			j := i + 1
			for quoted := false; j < len(s) && (quoted || s[j] != '>'); j++ {
				if s[j] == '\\' {
					j++
				} else if s[j] == '"' {
					quoted = !quoted
				}
			}
			if j >= len(s) {
				return nil, errors.New("an angle bracket does not end")
			}
			angle, hasAngle = strings.TrimSpace(s[i+1:j]), true
			i = j
		case ':': // the name of a group
			words.Reset()
		case ',', ';':
			if err := add(); err != nil {
				return nil, err
			}
		default:
			words.WriteByte(c)
		}
	}
	return list, add()
}
