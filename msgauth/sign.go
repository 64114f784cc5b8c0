package msgauth

import (
	"bytes"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Digest is what a signer has to know of a message: its header, and the hash of its body in relaxed form. The body itself
// need not go through the process that has the keys.
type Digest struct {
	Header []byte // lines ending in LF or CRLF, without the blank line
	Body   []byte // SHA-256
}

// Digester makes a Digest of a message that is written to it.
type Digester struct{ m message }

// NewDigester is an empty one.
func NewDigester() *Digester {
	d := &Digester{}
	d.m.headed = func(m *message) { m.want(true) }
	return d
}

// Write takes the next piece of the message.
func (d *Digester) Write(p []byte) (int, error) { return d.m.Write(p) }

// Digest ends the message.
func (d *Digester) Digest() (Digest, error) {
	d.m.Close()
	if d.m.err != nil {
		return Digest{}, d.m.err
	}
	return Digest{Header: d.m.head[:d.m.end], Body: d.m.bodyHash(true)}, nil
}

// ReadDigest makes the digest of the message in r.
func ReadDigest(r io.Reader) (Digest, error) {
	d := NewDigester()
	if err := copyTo(d, r); err != nil {
		return Digest{}, err
	}
	return d.Digest()
}

// parse reads the header of a digest again.
func (d Digest) parse() (*message, error) {
	m := &message{}
	m.head = d.Header
	m.endHeader(len(d.Header))
	return m, m.err
}

// Author is who the message says it is from.
func (d Digest) Author() (Author, error) {
	m, err := d.parse()
	if err != nil {
		return Author{}, err
	}
	a := m.author()
	if a.Why != "" {
		return a, errors.New(a.Why)
	}
	return a, nil
}

// Key signs for a domain.
type Key struct {
	Domain   string // d=, an A-label
	Selector string // s=
	Signer   crypto.Signer
}

// Algorithm is a= for the key, "" where DKIM knows none.
func (k Key) Algorithm() string {
	switch k.Signer.Public().(type) {
	case *rsa.PublicKey:
		return "rsa-sha256"
	case ed25519.PublicKey:
		return "ed25519-sha256"
	}
	return ""
}

// sign is b= over text.
func (k Key) sign(text []byte) (string, error) {
	sum := sha256.Sum256(text)
	hash := crypto.SHA256
	if k.Algorithm() == "ed25519-sha256" {
		hash = 0 // RFC 8463 section 3: the hash is the message
	}
	sig, err := k.Signer.Sign(rand.Reader, sum[:], hash)
	return base64.StdEncoding.EncodeToString(sig), err
}

// oversigned are named once more than they are there, so that nobody adds another (S051).
var oversigned = []string{"from", "to", "cc", "subject", "date", "reply-to", "message-id", "mime-version", "content-type",
	"list-unsubscribe", "list-unsubscribe-post"}

// signedToo are named as often as they are there.
var signedToo = []string{"sender", "in-reply-to", "references", "content-transfer-encoding", "auto-submitted", "tls-required", "feedback-id",
	"list-id", "list-help", "list-post", "list-subscribe", "list-owner", "list-archive"}

// names is h= for a message.
func (m *message) names(more ...string) (list []string) {
	count := make(map[string]int, len(m.fields))
	for i := range m.fields {
		count[m.fields[i].name]++
	}
	for _, name := range oversigned {
		for range count[name] + 1 {
			list = append(list, name)
		}
	}
	for _, name := range append(more, signedToo...) {
		for range count[name] {
			list = append(list, name)
		}
	}
	return list
}

// Lifetime is how long a signature is good by default: longer than a message waits in a queue, and not long enough to be worth
// sending again and again (S053).
const Lifetime = 7 * 24 * time.Hour

// Sign makes a DKIM-Signature for each key, in their order, whole lines ending in LF, to stand on top of the message.
// With lifetime 0 they do not expire. What is signed never has an l= (S050).
func Sign(d Digest, keys []Key, now time.Time, lifetime time.Duration) ([]byte, error) {
	m, err := d.parse()
	if err != nil {
		return nil, err
	}
	if n := len(m.find("from")); n != 1 {
		return nil, fmt.Errorf("%d From fields: nothing to sign for", n)
	}
	names := m.names()
	if len(names) > maxHeaders {
		return nil, errors.New("too many fields to sign")
	}
	picked := m.pick(names)
	var text []byte
	for _, f := range picked {
		text = append(appendField(text, f, f.value, true), crlf...)
	}
	var out []byte
	for _, k := range keys {
		list := tags{{"v", "1"}, {"a", k.Algorithm()}, {"c", "relaxed/relaxed"}, {"d", k.Domain}, {"s", k.Selector},
			{"t", strconv.FormatInt(now.Unix(), 10)}}
		if lifetime > 0 {
			list = append(list, tag{"x", strconv.FormatInt(now.Add(lifetime).Unix(), 10)})
		}
		list = append(list, tag{"h", strings.Join(names, ":")}, tag{"bh", base64.StdEncoding.EncodeToString(d.Body)}, tag{"b", ""})
		field, err := k.field("DKIM-Signature", list, text)
		if err != nil {
			return nil, fmt.Errorf("%s._domainkey.%s: %w", k.Selector, k.Domain, err)
		}
		out = append(out, field...)
	}
	return out, nil
}

// field writes a signature field over before and itself, and puts b= in.
func (k Key) field(name string, list tags, before []byte) ([]byte, error) {
	if k.Algorithm() == "" {
		return nil, errors.New("neither an RSA nor an Ed25519 key")
	}
	written := writeTags(name, list, "")
	whole := field{name: strings.ToLower(name), written: []byte(name), value: written[len(name)+1:]}
	b, err := k.sign(appendField(before[:len(before):len(before)], &whole, whole.value, true))
	if err != nil {
		return nil, err
	}
	return append(writeTags(name, list, b), '\n'), nil
}

// writeTags writes a field in folded lines. Where the lines of b= are folded does not matter; its place and that of all else must
// not depend on its length.
func writeTags(name string, list tags, b string) []byte {
	var f fold
	f.begin(name)
	for i, t := range list {
		semicolon := ";"
		if i == len(list)-1 {
			semicolon = ""
		}
		switch t.name {
		case "h":
			f.list("h="+t.value, ":", semicolon)
		case "b":
			f.word("b=", true)
			for len(b) > 64 {
				f.b = append(append(f.b, b[:64]...), "\n\t "...)
				b = b[64:]
			}
			f.b = append(append(f.b, b...), semicolon...)
			f.col = width // what follows begins a line
		case "bh":
			f.word("bh="+t.value+semicolon, true)
		default:
			f.word(t.name+"="+t.value+semicolon, false)
		}
	}
	return f.b
}

// list writes a list that may be folded after its separators.
func (f *fold) list(s, separator, end string) {
	first := true
	for piece := range strings.SplitAfterSeq(s+end, separator) {
		if first || f.col+len(piece) > width {
			f.word(piece, f.col+len(piece)+1 > width || !first)
		} else {
			f.b = append(f.b, piece...)
			f.col += len(piece)
		}
		first = false
	}
}

// ErrUnsealed is that the chain cannot be continued, and the message goes as it is.
var ErrUnsealed = errors.New("not sealed")

var errUnseen = fmt.Errorf("%w: what was found when the message came is not in it", ErrUnsealed)

// Seal makes the three fields of the next ARC set for a message that came to host and is passed on (RFC 8617 section 5.1); they stand on
// top of it. What was found when it came is read from the Authentication-Results of host, so it must be there, and
// forged ones must have been removed.
func Seal(d Digest, k Key, host string, now time.Time) ([]byte, error) {
	m, err := d.parse()
	if err != nil {
		return nil, err
	}
	results, found := m.results(host)
	if results == "" {
		return nil, errUnseen
	}
	c := collect(m)
	chain := "none"
	if arc, ok := found.Find("arc"); c.found {
		if !ok || arc.Result != Pass && arc.Result != Fail {
			return nil, errUnseen
		}
		chain = string(arc.Result)
	}
	return seal(m, d.Body, c, k, chain, results, m.names("dkim-signature"), now)
}

// results joins what host wrote to one value.
func (m *message) results(host string) (text string, all Results) {
	for _, f := range m.find("authentication-results") {
		value := string(f.value)
		if !Claims(value, host) {
			continue
		}
		r, err := ParseResults(value)
		if err != nil {
			continue
		}
		all.Methods = append(all.Methods, r.Methods...)
		if text == "" {
			text = value
		} else if _, rest, ok := strings.Cut(value, ";"); ok && len(r.Methods) > 0 {
			text += ";" + rest
		}
	}
	return strings.ReplaceAll(text, "\r\n", "\n"), all
}

// seal writes the set.
func seal(m *message, body []byte, c *chain, k Key, cv, results string, names []string, now time.Time) ([]byte, error) {
	n := c.most + 1
	switch {
	case n > maxSets:
		return nil, fmt.Errorf("%w: it has %d ARC sets already", ErrUnsealed, c.most)
	case c.err == nil && len(c.sets) > 0 && c.sets[len(c.sets)-1].seal.chain == "fail":
		return nil, fmt.Errorf("%w: the chain was found broken before (RFC 8617 section 5.1)", ErrUnsealed)
	case c.err != nil:
		cv = "fail"
	}
	i, t := strconv.Itoa(n), strconv.FormatInt(now.Unix(), 10)
	aar := []byte("ARC-Authentication-Results: i=" + i + ";" + results)

	var text []byte
	for _, f := range m.pick(names) {
		text = append(appendField(text, f, f.value, true), crlf...)
	}
	ams, err := k.field("ARC-Message-Signature", tags{{"a", k.Algorithm()}, {"b", ""}, {"bh", base64.StdEncoding.EncodeToString(body)},
		{"c", "relaxed/relaxed"}, {"d", k.Domain}, {"h", strings.Join(names, ":")}, {"i", i}, {"s", k.Selector}, {"t", t}}, text)
	if err != nil {
		return nil, err
	}
	var before []byte
	if cv != "fail" { // section 5.1.2: a seal of a broken chain covers itself alone
		for _, s := range c.sets {
			for _, f := range []*field{s.results, s.message.field, s.seal.field} {
				before = append(appendField(before, f, f.value, true), crlf...)
			}
		}
	}
	for _, written := range [][]byte{aar, bytes.TrimSuffix(ams, crlf[1:])} {
		name, value, _ := bytes.Cut(written, []byte(":"))
		before = append(appendField(before, &field{name: lower(name)}, value, true), crlf...)
	}
	as, err := k.field("ARC-Seal", tags{{"a", k.Algorithm()}, {"b", ""}, {"cv", cv}, {"d", k.Domain}, {"i", i}, {"s", k.Selector}, {"t", t}}, before)
	if err != nil {
		return nil, err
	}
	return slices.Concat(as, ams, aar, crlf[1:]), nil
}
