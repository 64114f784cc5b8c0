package queue

import (
	"bytes"
	"fmt"
	"strings"

	"pennypost/internal/address"
)

// Parse reads an envelope at the start of b; header is where the message's first octet is. more
// is set when b ends before the envelope does: read on (an envelope has at most MaxEnvelope octets).
// With ErrCritical the envelope is given all the same.
func Parse(b []byte) (e *Envelope, header int, more bool, err error) {
	if err := checkMagic(b); err != nil {
		return nil, 0, false, err
	}
	if len(b) < len(magic) {
		return nil, 0, true, nil
	}
	e = &Envelope{Body: Body{Length: -1}}
	p := parser{e: e}
	for at := len(magic); ; {
		n := bytes.IndexByte(b[at:], '\n')
		if n < 0 || at+n >= MaxEnvelope {
			if len(b) >= MaxEnvelope {
				return nil, 0, false, bad("envelope of more than %d octets", MaxEnvelope)
			}
			return nil, 0, true, nil
		}
		if n == 0 {
			return e, at + 1, false, p.end()
		}
		if err := p.line(b[at : at+n]); err != nil {
			return nil, 0, false, err
		}
		at += n + 1
	}
}

// checkMagic refuses what cannot become an envelope of this version, however little there is of it.
func checkMagic(b []byte) error {
	n := min(len(b), len(magic))
	if string(b[:n]) == magic[:n] {
		return nil
	}
	if word := "pennypost: "; bytes.HasPrefix(b, []byte(word)) {
		version, _, _ := bytes.Cut(b[len(word):], []byte("\n"))
		if _, err := decimal(string(version)); err == nil {
			return fmt.Errorf("%w: format version %s", ErrCritical, version)
		}
	}
	return bad("it does not begin with %q", strings.TrimSpace(magic))
}

// parser fills an envelope in line by line.
type parser struct {
	e        *Envelope
	seen     [len(keys)]bool
	critical string
}

// keys are the keys of an envelope that may stand once.
var keys = [...]struct {
	name string
	set  func(e *Envelope, v string) error
}{
	{"id", func(e *Envelope, v string) error {
		e.ID = v
		if !ValidID(v) {
			return errNotID
		}
		return nil
	}},
	{"time", func(e *Envelope, v string) (err error) { e.Time, err = parseTime(v); return err }},
	{"via", func(e *Envelope, v string) error { e.Via = v; return nil }},
	{"auth", func(e *Envelope, v string) error {
		if v != "-" {
			e.Auth = v
		}
		return nil
	}},
	{"checks", func(e *Envelope, v string) error { e.Checks = strings.TrimRight(v, " "); return nil }}, // of a large message, it stands in more room than it needs
	{"from", func(e *Envelope, v string) (err error) { e.From, err = address.Parse(v); return err }},
	{"mail", func(e *Envelope, v string) error { e.Mail = v; return nil }},
	{"class", func(e *Envelope, v string) error {
		switch v {
		case "urgent", "normal", "bulk", "dsn":
			e.Class = v
			return nil
		}
		return fmt.Errorf("want urgent, normal, bulk or dsn")
	}},
	{"flow", func(e *Envelope, v string) error { e.Flow = v; return nil }},
	{"hold-until", func(e *Envelope, v string) (err error) { e.HoldUntil, err = parseTime(v); return err }},
	{"drop", func(e *Envelope, v string) error { e.Drop = v; return nil }},
	{"rcpt-file", func(e *Envelope, v string) error { return e.RcptFile.parse(v) }},
	{"body", func(e *Envelope, v string) error { return e.Body.parse(v) }},
}

func (p *parser) line(l []byte) error {
	k, raw, ok := bytes.Cut(l, []byte(":"))
	if !ok || !validKey(k) {
		return bad("envelope line %.60q is not \"key: value\"", l)
	}
	key := string(k)
	v := parseValue(bytes.TrimPrefix(raw, []byte(" ")))
	if key == "rcpt" {
		return p.rcpt(v)
	}
	for i := range keys {
		if keys[i].name != key {
			continue
		}
		if p.seen[i] {
			return bad("%s: stands twice", key)
		}
		p.seen[i] = true
		if err := keys[i].set(p.e, v); err != nil {
			return bad("%s: %.100q: %v", key, v, err)
		}
		return nil
	}
	if key[0] == '!' && p.critical == "" {
		p.critical = key
	}
	p.e.Other = append(p.e.Other, Field{key, v})
	return nil
}

func (p *parser) rcpt(v string) error {
	r, err := parseRcpt(v)
	if err != nil {
		return bad("rcpt: %.100q: %v", v, err)
	}
	if n := len(p.e.Rcpts); n > 0 && r.N <= p.e.Rcpts[n-1].N {
		return bad("rcpt: number %d does not rise", r.N)
	} else if n >= MaxRcpts {
		return bad("more than %d recipients, and no rcpt-file:", MaxRcpts)
	}
	p.e.Rcpts = append(p.e.Rcpts, r)
	return nil
}

// end checks what can be judged only when all lines are there.
func (p *parser) end() error {
	switch {
	case p.critical != "":
		return fmt.Errorf("%w %.60q", ErrCritical, p.critical)
	case len(p.e.Rcpts) == 0 && p.e.RcptFile.Count == 0:
		return bad("no recipient")
	}
	for i := range keys {
		if keys[i].name == "from" && !p.seen[i] {
			return bad("no from: line")
		}
	}
	return nil
}

func validKey(k []byte) bool {
	if len(k) > 0 && k[0] == '!' {
		k = k[1:]
	}
	if len(k) == 0 || len(k) > 40 || k[0] < 'a' || k[0] > 'z' {
		return false
	}
	for _, c := range k {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
			return false
		}
	}
	return true
}

// parseRcpt reads "N ADDRESS PARAMS". The address may be quoted and hold spaces.
func parseRcpt(v string) (r Rcpt, err error) {
	number, rest, ok := strings.Cut(v, " ")
	n, err := decimal(number)
	if !ok || err != nil || n < 1 || n > 1<<30 {
		return r, fmt.Errorf("want a number and an address")
	}
	end, quoted := len(rest), false
	for i := 0; i < len(rest); i++ {
		switch c := rest[i]; {
		case c == '\\' && quoted:
			i++
			continue
		case c == '"':
			quoted = !quoted
			continue
		case c != ' ' || quoted:
			continue
		}
		end = i
		break
	}
	r.N = int(n)
	if r.To, err = address.Parse(rest[:end]); err == nil && r.To.IsNull() {
		err = fmt.Errorf("the null sender is no recipient")
	}
	if end < len(rest) {
		r.Params = rest[end+1:]
	}
	return r, err
}

func (f *RcptFile) parse(v string) error {
	words := strings.Fields(v)
	if len(words) != 3 || !validHash(words[2]) {
		return fmt.Errorf("want COUNT BYTES HASH")
	}
	count, err := decimal(words[0])
	if err == nil {
		f.Bytes, err = decimal(words[1])
	}
	if err != nil || count < 1 || count > 1<<30 {
		return fmt.Errorf("want COUNT BYTES HASH")
	}
	f.Count, f.Hash = int(count), words[2]
	return nil
}

func (body *Body) parse(v string) (err error) {
	words := strings.Fields(v)
	if len(words) < 3 || words[1] != "lf" && words[1] != "raw" || !validHash(words[2]) {
		return fmt.Errorf("want LENGTH lf|raw HASH")
	}
	body.Raw, body.Hash = words[1] == "raw", words[2]
	if body.Length, err = decimal(words[0]); err != nil {
		return err
	}
	for _, w := range words[3:] { // more facts may follow one day
		if strings.HasPrefix(w, "wire=") {
			if body.Wire, err = field(w, "wire="); err != nil {
				return err
			}
		}
	}
	return nil
}
