package mailbox

import (
	"hash/fnv"
	"mime"
	"net/mail"
	"regexp"
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

var (
	refwd   = regexp.MustCompile(`(?i)^(?:re|fwd?)\s*(?:\[[^\[\]]*\]\s*)?:`)
	blob    = regexp.MustCompile(`^\[[^\[\]]*\]\s*`)
	trailer = regexp.MustCompile(`(?i)(?:\(fwd\)|\s)$`)
)

// BaseSubject is the subject without what replies and forwards add to it (RFC 5256 section 2.1), and whether they did.
func BaseSubject(s string) (base string, reply bool) {
	s = strings.Join(strings.FieldsFunc(s, isSpace), " ")
	for {
		if !mayHaveMore(s) { // most subjects, and all that are done
			return s, reply
		}
		for trailer.MatchString(s) {
			if strings.HasSuffix(strings.ToLower(s), "(fwd)") {
				reply = true
			}
			s = trailer.ReplaceAllString(s, "")
		}
		for {
			before := s
			if m := leader(s); m > 0 {
				s, reply = strings.TrimLeft(s[m:], " "), true
			}
			if m := blob.FindString(s); m != "" && len(m) < len(s) {
				s = s[len(m):]
			}
			if s == before {
				break
			}
		}
		lower := strings.ToLower(s)
		if !strings.HasPrefix(lower, "[fwd:") || !strings.HasSuffix(s, "]") {
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

// leader is the length of a subj-leader: blobs and then re: or fwd:.
func leader(s string) int {
	at := 0
	for {
		if m := refwd.FindString(s[at:]); m != "" {
			return at + len(m)
		}
		m := blob.FindString(s[at:])
		if m == "" {
			return 0
		}
		at += len(m)
	}
}
