package mailbox

import (
	"hash/fnv"
	"mime"
	"net/mail"
	"strings"
	"time"

	"github.com/emersion/go-message/charset"

	"pennypost/internal/part"
)

var encodedWords = mime.WordDecoder{CharsetReader: charset.Reader}

// DecodeHeader is a header value with its encoded words decoded (RFC 2047); what cannot be decoded stays as it is.
func DecodeHeader(s string) string {
	if strings.Contains(s, "=?") {
		if text, err := encodedWords.DecodeHeader(s); err == nil {
			s = text
		}
	}
	return strings.ToValidUTF8(s, "\uFFFD")
}

// sortKeys fills in what SORT and THREAD compare (RFC 5256 section 2).
func (r *Record) sortKeys(f part.Fields) {
	subject, reply := BaseSubject(DecodeHeader(f.Get("Subject")))
	r.Subject, r.Reply = []byte(Fold(subject)), reply
	r.From, r.DisplayFrom = firstAddress(f, "From")
	r.To, r.DisplayTo = firstAddress(f, "To")
	r.Cc, _ = firstAddress(f, "Cc")
	r.Sent = NoDate
	if t, err := parseDate(f.Get("Date")); err == nil {
		_, zone := t.Zone()
		r.Sent, r.SentZone = t.Unix(), int32(zone)
	}
	if ids := messageIDs(f.Get("Message-ID")); len(ids) > 0 {
		r.MessageID = hashID(ids[0])
	}
	refs := messageIDs(f.Get("References"))
	if len(refs) == 0 {
		if refs = messageIDs(f.Get("In-Reply-To")); len(refs) > 1 {
			refs = refs[:1]
		}
	}
	for _, id := range refs[max(0, len(refs)-200):] {
		h := hashID(id)
		for k := range 8 {
			r.References = append(r.References, byte(h>>(8*k)))
		}
	}
}

// fields is the record's header fields.
func (r *Record) fields() (f part.Fields) {
	eachField(r.Header, func(name, value []byte) bool {
		f = append(f, part.Field{Name: string(name), Value: value})
		return true
	})
	return f
}

// parseDate is mail.ParseDate, which tries one layout after the other; most write what RFC 5322 prints.
func parseDate(s string) (time.Time, error) {
	s = strings.TrimSpace(s)
	if n := len(time.RFC1123Z); len(s) >= n && (len(s) == n || s[n] == ' ') {
		if t, err := time.Parse(time.RFC1123Z, s[:n]); err == nil {
			return t, nil
		}
	}
	return mail.ParseDate(s)
}

// firstAddress is the mailbox part of the first address of a field, and its display name or else its address (RFC 5957).
func firstAddress(f part.Fields, name string) (mailbox, display []byte) {
	for i := range f {
		if !strings.EqualFold(f[i].Name, name) {
			continue
		}
		a, ok := part.FirstAddress(f[i].Value)
		if !ok {
			continue
		}
		shown := DecodeHeader(a.Name)
		if shown == "" { // also of a group, whose name stands where the mailbox does
			if shown = DecodeHeader(a.Mailbox); a.Host != "" {
				shown += "@" + a.Host
			}
		}
		return []byte(Fold(DecodeHeader(a.Mailbox))), []byte(Fold(shown))
	}
	return nil, nil
}

// messageIDs are the ids in a header field, with angle brackets or, as some write them, without.
func messageIDs(s string) []string {
	var out []string
	for len(s) > 0 && len(out) < 1000 {
		i := strings.IndexByte(s, '<')
		if i < 0 {
			break
		}
		j := strings.IndexByte(s[i:], '>')
		if j < 0 {
			break
		}
		if id := strings.Map(noSpace, s[i+1:i+j]); id != "" {
			out = append(out, id)
		}
		s = s[i+j+1:]
	}
	if len(out) == 0 && strings.Contains(s, "@") {
		if fields := strings.Fields(s); len(fields) > 0 {
			out = append(out, fields[0])
		}
	}
	return out
}

func noSpace(r rune) rune {
	if r == ' ' || r == '\t' {
		return -1
	}
	return r
}

// hashID is never 0.
func hashID(id string) uint64 {
	h := fnv.New64a()
	h.Write([]byte(id))
	return max(h.Sum64(), 1)
}

// BaseSubject is the subject without what replies and forwards add to it (RFC 5256 section 2.1), and whether they did.
func BaseSubject(s string) (base string, reply bool) {
	s = singleSpaces(s)
	for {
		if !mayHaveMore(s) { // most subjects, and all that are done
			return s, reply
		}
		for {
			if n := len(s) - len("(fwd)"); n >= 0 && equalFold(s[n:], "(fwd)") {
				s, reply = s[:n], true
			} else if s != "" && isSpace(rune(s[len(s)-1])) {
				s = s[:len(s)-1]
			} else {
				break
			}
		}
		for {
			before := s
			if m := leader(s); m > 0 {
				s, reply = strings.TrimLeft(s[m:], " "), true
			}
			if m := blob(s); m > 0 && m < len(s) {
				s = s[m:]
			}
			if s == before {
				break
			}
		}
		if len(s) < 5 || !equalFold(s[:5], "[fwd:") || !strings.HasSuffix(s, "]") {
			return s, reply
		}
		s, reply = strings.TrimSpace(s[5:len(s)-1]), true
	}
}

func isSpace(r rune) bool { return r == ' ' || r == '\t' || r == '\n' || r == '\f' || r == '\r' }

// mayHaveMore reports whether s may begin or end with something that is no part of the base subject.
func mayHaveMore(s string) bool {
	if s == "" {
		return false
	}
	switch s[0] {
	case '[', 'r', 'R', 'f', 'F':
		return true
	}
	return s[len(s)-1] == ')' || s[len(s)-1] == ' '
}

// singleSpaces is s with each run of white space made one space, and none at its ends.
func singleSpaces(s string) string {
	clean := s == "" || s[0] != ' ' && s[len(s)-1] != ' '
	for i := 0; i < len(s) && clean; i++ {
		if s[i] < ' ' || s[i] == ' ' && s[i+1] == ' ' {
			clean = false
		}
	}
	if clean {
		return s
	}
	return strings.Join(strings.FieldsFunc(s, isSpace), " ")
}

// leader is the length of a subj-leader: blobs and then re: or fwd:.
func leader(s string) int {
	at := 0
	for {
		if m := refwd(s[at:]); m > 0 {
			return at + m
		}
		m := blob(s[at:])
		if m == 0 {
			return 0
		}
		at += m
	}
}

// refwd is the length of subj-refwd: "re", "fw" or "fwd", perhaps a blob, a colon; 0 when s does not begin with one.
func refwd(s string) int {
	n := 0
	switch {
	case len(s) >= 2 && equalFold(s[:2], "re"):
		n = 2
	case len(s) >= 3 && equalFold(s[:3], "fwd"):
		n = 3
	case len(s) >= 2 && equalFold(s[:2], "fw"):
		n = 2
	default:
		return 0
	}
	n += spaces(s[n:])
	n += blob(s[n:])
	if n < len(s) && s[n] == ':' {
		return n + 1
	}
	return 0
}

// blob is the length of a subj-blob: brackets without brackets in them, and the white space behind; 0 when s does not begin with one.
func blob(s string) int {
	if s == "" || s[0] != '[' {
		return 0
	}
	n := strings.IndexAny(s[1:], "[]") + 1
	if n == 0 || s[n] != ']' {
		return 0
	}
	return n + 1 + spaces(s[n+1:])
}

func spaces(s string) (n int) {
	for n < len(s) && isSpace(rune(s[n])) {
		n++
	}
	return n
}
