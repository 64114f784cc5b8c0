package dsn

import (
	"bytes"
	"fmt"
	"io"
	"mime/quotedprintable"
	"strings"
	"unicode/utf8"
)

// full is the largest message that comes back whole; of larger ones the header does.
const full = 64 << 10

// part is one part of the report, with its encoding done.
type part struct {
	kind     string // Content-Type
	encoding string // "" is 7bit
	about    string // Content-Description
	body     []byte
}

// text reads what the report may need of the message: all of a small one, else its start.
func (r *Report) text() (all []byte, whole bool, err error) {
	m := r.Message
	n := min(m.Size, full)
	all = make([]byte, n)
	got, err := m.File.ReadAt(all, m.Header)
	if err == io.EOF || err == nil {
		return all[:got], int64(got) == m.Size, nil
	}
	return nil, false, fmt.Errorf("%s: %w", m.Name, err)
}

// header is where the header of a message ends. A header larger than full is cut between fields.
func header(text []byte) []byte {
	if bytes.HasPrefix(text, []byte("\n")) {
		return nil
	}
	if i := bytes.Index(text, []byte("\n\n")); i >= 0 {
		return text[:i+1]
	}
	if len(text) < full {
		return text // a message without a body
	}
	for end := len(text); end > 0; {
		i := bytes.LastIndexByte(text[:end], '\n')
		if i < 0 {
			return nil
		}
		if i+1 < len(text) && text[i+1] != ' ' && text[i+1] != '\t' {
			return text[:i+1]
		}
		end = i
	}
	return nil
}

// original is the third part: the message where the sender asked for it, it failed, and is small;
// else its header (RFC 3461 section 4.3 and 6.2).
func (r *Report) original(text []byte, whole bool) part {
	head := header(text)
	global := !isASCII(head) && utf8.Valid(head)
	ret, _ := param(r.Message.Env.Mail, "RET")
	failed := false
	for _, to := range r.Recipients {
		failed = failed || to.Action == Failed
	}
	if strings.EqualFold(ret, "FULL") && whole && failed && !r.Message.Env.Body.Raw && bytes.IndexByte(text, 0) < 0 {
		p := part{"message/rfc822", "", "Your message", text}
		if global {
			p.kind = "message/global" // RFC 6532 section 3.7
		}
		if !isASCII(text) {
			p.encoding = "8bit" // a message is never encoded, RFC 2046 section 5.2.1
		}
		return p
	}
	p := part{"text/rfc822-headers", "", "Header of your message", head}
	switch {
	case global:
		p.kind, p.encoding = "message/global-headers", "quoted-printable"
	case !isASCII(head) || bytes.IndexByte(head, 0) >= 0:
		p.encoding = "quoted-printable"
	}
	return p
}

func isASCII(b []byte) bool {
	for _, c := range b {
		if c >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

// encode does the part's quoted-printable, with LF line ends.
func (p *part) encode() []byte {
	if p.encoding != "quoted-printable" {
		return p.body
	}
	var out bytes.Buffer
	w := quotedprintable.NewWriter(&out)
	w.Write(p.body)
	w.Close()
	return bytes.ReplaceAll(out.Bytes(), []byte("\r\n"), []byte("\n"))
}
