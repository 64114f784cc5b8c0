package mailbox

import (
	"bytes"
	"io"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/emersion/go-message/charset"

	"pennypost/internal/part"
)

// previewLen is RFC 8970's limit, in characters; previewRead is how much of a part is looked at for it.
const (
	previewLen  = 200
	previewRead = 16 << 10
)

// preview is the beginning of what a person would read, on one line (RFC 8970 section 3).
func preview(p *part.Part, m io.ReaderAt) []byte {
	text, html := readable(p)
	at := text
	if at == nil {
		at = html
	}
	if at == nil {
		return nil
	}
	buf := window()
	defer windows.Put(buf)
	for most := int64(2 << 10); ; most = previewRead { // the first lines are enough as a rule
		whole := most >= min(previewRead, at.End-at.Body)
		n, _ := m.ReadAt(buf[:min(most, at.End-at.Body)], at.Body)
		s := decodeText(buf[:n], at.Encoding, at.Param("charset"), int64(n) < at.End-at.Body)
		if text == nil {
			s = []byte(stripTags(string(s)))
		}
		short := shorten(s)
		if whole || utf8.RuneCount(short) >= previewLen {
			return short
		}
	}
}

// readable is the first text/plain and the first text/html part that is no attachment.
func readable(p *part.Part) (text, html *part.Part) {
	if strings.EqualFold(p.Disposition, "attachment") {
		return nil, nil
	}
	if len(p.Parts) == 0 {
		switch {
		case p.Is("text", "html"):
			return nil, p
		case p.Is("text", ""):
			return p, nil
		}
		return nil, nil
	}
	for _, child := range p.Parts {
		t, h := readable(child)
		if text == nil {
			text = t
		}
		if html == nil {
			html = h
		}
	}
	return text, html
}

// decodeText is a part's octets as UTF-8: transfer encoding and character set undone as far as that is possible. It may be raw
// itself. cut says that the part goes on.
func decodeText(raw []byte, encoding, set string, cut bool) []byte {
	switch {
	case equalFold(encoding, "base64"):
		var u unbased
		out := make([]byte, len(raw))
		raw = out[:u.decode(out, raw)]
	case equalFold(encoding, "quoted-printable"):
		out := make([]byte, len(raw))
		n, _ := unquote(out, raw, true)
		raw = out[:n]
	}
	if set != "" && !equalFold(set, "utf-8") && !equalFold(set, "us-ascii") {
		if r, err := charset.Reader(set, bytes.NewReader(raw)); err == nil {
			if out, err := io.ReadAll(r); err == nil || len(out) > 0 {
				raw = out
			}
		}
	}
	if !utf8.Valid(raw) {
		if whole := wholeRunes(raw); len(whole) < len(raw) && utf8.Valid(whole) && (cut || set != "") {
			return whole
		}
		if set == "" {
			if r, err := charset.Reader("windows-1252", bytes.NewReader(raw)); err == nil {
				if out, err := io.ReadAll(r); err == nil {
					return out
				}
			}
		}
		return bytes.ToValidUTF8(raw, invalid)
	}
	return raw
}

// wholeRunes is b without a character at its end that is not all there.
func wholeRunes(b []byte) []byte {
	for k := 1; k < utf8.UTFMax && k <= len(b); k++ {
		if c := b[len(b)-k]; utf8.RuneStart(c) {
			if !utf8.FullRune(b[len(b)-k:]) {
				return b[:len(b)-k]
			}
			break
		}
	}
	return b
}

// stripTags is the text of HTML, roughly: enough for a preview and a search.
func stripTags(s string) string {
	var b strings.Builder
	for {
		i := strings.IndexByte(s, '<')
		if i < 0 {
			b.WriteString(s)
			break
		}
		b.WriteString(s[:i])
		s = s[i:]
		lower := strings.ToLower(s[:min(len(s), 8)])
		skip := ""
		switch {
		case strings.HasPrefix(lower, "<style"):
			skip = "</style"
		case strings.HasPrefix(lower, "<script"):
			skip = "</script"
		}
		if skip != "" {
			k := strings.Index(strings.ToLower(s), skip)
			if k < 0 {
				break
			}
			s = s[k:]
		}
		j := strings.IndexByte(s, '>')
		if j < 0 {
			break
		}
		s = s[j+1:]
		b.WriteByte(' ')
	}
	return entities.Replace(b.String())
}

var entities = strings.NewReplacer("&nbsp;", " ", "&lt;", "<", "&gt;", ">", "&amp;", "&", "&quot;", `"`, "&#39;", "'")

// shorten is the first characters of s with white space made single spaces, and controls left out.
func shorten(s []byte) []byte {
	b := make([]byte, 0, min(len(s), previewLen+56))
	n, space := 0, false
	for len(s) > 0 {
		r, size := rune(s[0]), 1
		if r >= utf8.RuneSelf {
			r, size = utf8.DecodeRune(s)
		}
		s = s[size:]
		if unicode.IsSpace(r) {
			space = n > 0
			continue
		}
		if unicode.IsControl(r) || r == utf8.RuneError {
			continue
		}
		if space {
			b = append(b, ' ')
			n, space = n+1, false
		}
		if n >= previewLen {
			break
		}
		b = utf8.AppendRune(b, r)
		n++
	}
	return b
}
