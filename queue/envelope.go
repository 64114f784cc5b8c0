package queue

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"pennypost/internal/address"
)

// Envelope is what the sender said, and what we know of him: the lines in front of a message.
type Envelope struct {
	ID        string
	Time      time.Time    // of acceptance
	Via       string       // producer, then facts: "mx esmtps tls=… ip=… helo=… ptr=…"
	Auth      string       // login name, "" when nobody logged in
	Checks    string       // "spf=pass dkim=pass:example.net dmarc=pass", "" when nothing was checked
	From      address.Path // null for a bounce
	Mail      string       // ESMTP parameters of MAIL as received: "BODY=8BITMIME RET=HDRS ENVID=QQ"
	Class     string       // urgent normal bulk dsn; "" is normal
	Flow      string       // whose share of a site this uses; "" = Auth, else the sender's domain, else the client's network
	HoldUntil time.Time    // RFC 4865, or a script's hold-until:
	Drop      string       // inode and mtime of the drop file this was copied from
	Rcpts     []Rcpt       // in ascending N; at most MaxRcpts, more are in ID.r
	RcptFile  RcptFile
	Body      Body
	Other     []Field // keys this version does not know, kept
}

// Marked reports whether the message was found to be not what it says, and belongs into Junk.
func (e *Envelope) Marked() bool {
	return e.Checks != "" && slices.Contains(strings.Fields(e.Checks), "do=quarantine")
}

// MaxRcpts is how many recipients stand in the envelope itself.
const MaxRcpts = 1000

// Rcpt is one forward-path as RCPT gave it.
type Rcpt struct {
	N      int
	To     address.Path
	Params string // "NOTIFY=FAILURE,DELAY ORCPT=rfc822;bob@example.org"
}

// RcptFile describes ID.r, the recipients of a list message: one line each, "N ADDRESS [PARAMS]".
type RcptFile struct {
	Count int
	Bytes int64
	Hash  string
}

// Body describes what follows the envelope's blank line; Length < 0 when no body: line was there.
type Body struct {
	Length int64  // octets in the file
	Raw    bool   // line ends are what they are (BINARYMIME), else LF
	Hash   string // 32 hex digits: the first half of SHA-256
	Wire   int64  // octets with CRLF line ends; 0 when not known
}

// Field is one unknown line of an envelope.
type Field struct{ Key, Value string }

// ErrBad marks a spool file that is not what it says; the file belongs into bad/ with the error as reason.
var ErrBad = errors.New("bad spool file")

// ErrCritical is the reason for a file whose envelope has a !key we do not know, or a version: it goes to hold/.
var ErrCritical = errors.New("unknown critical key")

// MaxEnvelope bounds an envelope, in octets.
const MaxEnvelope = 1 << 20

const magic = "pennypost: 1\n"

// Append writes e with its blank line to b. Parse reads it back: Parse(Append(e)) = e.
func (e *Envelope) Append(b []byte) []byte {
	b, _ = e.append(b)
	return b
}

// append also says where the body: line starts, so that a writer can fill it in later.
func (e *Envelope) append(b []byte) (text []byte, body int) {
	b = append(b, magic...)
	b = line(b, "id", e.ID)
	if !e.Time.IsZero() {
		b = append(appendTime(append(b, "time: "...), e.Time), '\n')
	}
	b = line(b, "via", e.Via)
	b = line(b, "auth", e.Auth)
	b = line(b, "checks", e.Checks)
	b = append(b, "from:"...) // with nothing behind it for the null sender
	if !e.From.IsNull() {
		b = appendPath(append(b, ' '), e.From)
	}
	b = append(b, '\n')
	b = line(b, "mail", e.Mail)
	b = line(b, "class", e.Class)
	b = line(b, "flow", e.Flow)
	if !e.HoldUntil.IsZero() {
		b = append(b, "hold-until: "...)
		b = append(e.HoldUntil.UTC().AppendFormat(b, time.RFC3339Nano), '\n')
	}
	b = line(b, "drop", e.Drop)
	for i := range e.Rcpts {
		b = append(e.Rcpts[i].append(append(b, "rcpt: "...)), '\n')
	}
	if e.RcptFile.Count > 0 {
		b = strconv.AppendInt(append(b, "rcpt-file: "...), int64(e.RcptFile.Count), 10)
		b = strconv.AppendInt(append(b, ' '), e.RcptFile.Bytes, 10)
		b = append(append(append(b, ' '), e.RcptFile.Hash...), '\n')
	}
	for _, f := range e.Other {
		b = line(b, f.Key, f.Value)
	}
	body = len(b)
	if e.Body.Length >= 0 {
		b = append(e.Body.append(b), '\n')
	}
	return append(b, '\n'), body
}

// append writes "N ADDRESS PARAMS", a line of ID.r and the value of rcpt:.
func (r *Rcpt) append(b []byte) []byte {
	b = appendPath(append(strconv.AppendInt(b, int64(r.N), 10), ' '), r.To)
	if r.Params != "" {
		b = appendValue(append(b, ' '), r.Params)
	}
	return b
}

// append writes the body: line without LF; its length depends on Raw and Wire only, so that it can be patched.
func (body *Body) append(b []byte) []byte {
	b = append(b, "body: "...)
	b = appendFixed(b, body.Length)
	if body.Raw {
		b = append(b, " raw "...)
	} else {
		b = append(b, " lf "...)
	}
	b = append(b, body.Hash...)
	if body.Wire > 0 {
		b = appendFixed(append(b, " wire="...), body.Wire)
	}
	return b
}

// appendFixed writes n in 12 digits.
func appendFixed(b []byte, n int64) []byte {
	var d [12]byte
	for i := len(d) - 1; i >= 0; i-- {
		d[i] = byte('0' + n%10)
		n /= 10
	}
	return append(b, d[:]...)
}

func line(b []byte, key, value string) []byte {
	if value == "" && (key[0] >= 'a' && known(key)) {
		return b
	}
	b = append(append(b, key...), ':', ' ')
	return append(appendValue(b, value), '\n')
}

// known reports whether key is one of ours, which is left out when empty.
func known(key string) bool {
	switch key {
	case "id", "via", "auth", "checks", "mail", "class", "flow", "drop":
		return true
	}
	return false
}

// appendTime writes seconds since 1970 with microseconds.
func appendTime(b []byte, t time.Time) []byte {
	us := t.UnixMicro()
	if us < 0 {
		us = 0
	}
	b = strconv.AppendInt(b, us/1e6, 10)
	frac := us % 1e6
	b = append(b, '.')
	for div := int64(1e5); div > 0; div /= 10 {
		b = append(b, byte('0'+frac/div%10))
	}
	return b
}

// parseTime reads seconds with a fraction, or RFC 3339 as a person types it.
func parseTime(s string) (time.Time, error) {
	sec, frac, _ := strings.Cut(s, ".")
	if n, err := decimal(sec); err == nil && n < 1<<37 {
		var us int64
		if frac != "" {
			if len(frac) > 6 {
				frac = frac[:6]
			}
			if us, err = decimal(frac); err != nil {
				return time.Time{}, err
			}
			for i := len(frac); i < 6; i++ {
				us *= 10
			}
		}
		return time.UnixMicro(n*1e6 + us).UTC(), nil
	}
	t, err := time.Parse(time.RFC3339, s)
	return t.UTC(), err
}

func appendPath(b []byte, p address.Path) []byte { return appendValue(b, p.String()) }

// appendValue writes a value in one line: LF, other controls and the backslash are escaped.
func appendValue(b []byte, s string) []byte {
	for i := range len(s) {
		switch c := s[i]; {
		case c == '\\':
			b = append(b, `\\`...)
		case c == '\n':
			b = append(b, `\n`...)
		case c == '\t':
			b = append(b, `\t`...)
		case c < ' ' || c == 0x7f:
			b = append(b, '\\', 'x', "0123456789abcdef"[c>>4], "0123456789abcdef"[c&15])
		case c == ' ' && (i == 0 || i == len(s)-1):
			b = append(b, `\x20`...)
		default:
			b = append(b, c)
		}
	}
	return b
}

// parseValue undoes appendValue. A backslash that begins nothing stands for itself: people write envelopes.
func parseValue(b []byte) string {
	if bytes.IndexByte(b, '\\') < 0 {
		return string(b)
	}
	out := make([]byte, 0, len(b))
	for i := 0; i < len(b); i++ {
		c := b[i]
		if c == '\\' && i+1 < len(b) {
			switch b[i+1] {
			case '\\':
				i++
			case 'n':
				c = '\n'
				i++
			case 't':
				c = '\t'
				i++
			case 'x':
				if i+3 < len(b) && unhex(b[i+2]) < 16 && unhex(b[i+3]) < 16 {
					c = unhex(b[i+2])<<4 | unhex(b[i+3])
					i += 3
				}
			}
		}
		out = append(out, c)
	}
	return string(out)
}

func unhex(c byte) byte {
	switch {
	case '0' <= c && c <= '9':
		return c - '0'
	case 'a' <= c && c <= 'f':
		return c - 'a' + 10
	}
	return 0xff
}

// bad is an ErrBad that says why.
func bad(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{ErrBad}, args...)...)
}
