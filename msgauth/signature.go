package msgauth

import (
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"pennypost/internal/address"
)

// signature is a DKIM-Signature (RFC 6376 section 3.5), an ARC-Message-Signature or an ARC-Seal (RFC 8617 section 4.1).
type signature struct {
	field *field

	algorithm   string // rsa-sha256 or ed25519-sha256
	domain      string // d=, as an A-label, lower case
	selector    string // s=, likewise
	identity    string // i= of DKIM, as written
	value       []byte // b=
	b           string // b= as base64, for header.b
	bodyHash    []byte // bh=
	headers     []string
	headRelaxed bool
	bodyRelaxed bool
	length      bool  // there is an l=
	signed      int64 // t=, 0 is none
	expires     int64 // x=, 0 is none

	instance int    // i= of ARC
	chain    string // cv= of ARC-Seal
}

// kinds of signature.
type kind int

const (
	dkimSignature kind = iota
	arcMessage
	arcSeal
)

// maxHeaders is how many names an h= may have.
const maxHeaders = 1000

// parseSignature reads the value of a field. What could be made out is returned with an error, too, so that it can be named.
func parseSignature(f *field, k kind) (*signature, error) {
	s := &signature{field: f}
	if strings.Contains(noFWS(string(f.value)), ";;") {
		return s, errTags // records are read more kindly
	}
	list, err := parseTags(string(f.value))
	if err != nil {
		return s, err
	}
	s.algorithm = strings.ToLower(value(list, "a"))
	domain, domainErr := dnsName(value(list, "d"))
	selector, selectorErr := dnsName(value(list, "s"))
	s.domain, s.selector, s.b = domain, selector, noFWS(value(list, "b"))
	if v, ok := list.get("v"); k == dkimSignature && (!ok || v != "1") {
		return s, errors.New("v= is not 1")
	}
	need := []string{"a", "b", "d", "s"}
	if k != arcSeal {
		need = append(need, "bh", "h")
	}
	for _, name := range need {
		if v, ok := list.get(name); !ok || v == "" {
			return s, fmt.Errorf("no %s=", name)
		}
	}
	if domainErr != nil || !strings.Contains(domain, ".") {
		return s, errors.New("d= is no domain")
	}
	if selectorErr != nil || strings.Contains(selector, "..") {
		return s, errors.New("s= is no selector")
	}
	if s.value, err = base64.StdEncoding.DecodeString(s.b); err != nil {
		return s, errors.New("b= is not base64")
	}
	if err := s.times(list); err != nil {
		return s, err
	}
	switch k {
	case dkimSignature:
		err = s.identify(list)
	default:
		err = s.number(list, k)
	}
	if err != nil || k == arcSeal {
		return s, err
	}
	return s, s.coverage(list, k)
}

func value(list tags, name string) string {
	v, _ := list.get(name)
	return v
}

// dnsName is a domain or selector as DNS knows it: letters, digits, hyphens, underscores and dots (S052: never ../).
func dnsName(s string) (string, error) {
	if i := strings.IndexFunc(s, func(r rune) bool { return r >= 0x80 }); i >= 0 { // RFC 8616
		p := address.Path{Local: "x", Domain: s}
		ascii, err := p.DomainASCII()
		if err != nil {
			return "", err
		}
		s = ascii
	}
	s = strings.ToLower(s)
	if len(s) > 253 {
		return "", errors.New("too long")
	}
	for label := range strings.SplitSeq(s, ".") {
		if label == "" || len(label) > 63 || strings.IndexFunc(label, notInLabel) >= 0 {
			return "", errors.New("no name of DNS")
		}
	}
	return s, nil
}

func notInLabel(r rune) bool {
	return !('a' <= r && r <= 'z' || '0' <= r && r <= '9' || r == '-' || r == '_')
}

func (s *signature) times(list tags) (err error) {
	for _, t := range []struct {
		name string
		to   *int64
	}{{"t", &s.signed}, {"x", &s.expires}} {
		if v, ok := list.get(t.name); ok {
			if *t.to, err = strconv.ParseInt(v, 10, 63); err != nil || *t.to < 0 || len(v) > 12 || v[0] == '+' {
				return fmt.Errorf("%s= is no time", t.name)
			}
		}
	}
	if s.expires != 0 && s.signed != 0 && s.expires < s.signed {
		return errors.New("x= is before t=")
	}
	return nil
}

// identify reads i=, which is in d= or below it (section 3.5).
func (s *signature) identify(list tags) error {
	s.identity = "@" + s.domain
	v, ok := list.get("i")
	if !ok {
		return nil
	}
	s.identity = noFWS(v)
	at := strings.LastIndexByte(s.identity, '@')
	if at < 0 {
		return errors.New("i= has no @")
	}
	domain, err := dnsName(s.identity[at+1:])
	if err != nil || !within(domain, s.domain) {
		return errors.New("i= is not in d=")
	}
	return nil
}

// number reads i= and cv= of ARC (RFC 8617 section 4.2.1).
func (s *signature) number(list tags, k kind) error {
	v, _ := list.get("i")
	n, err := strconv.Atoi(v)
	if err != nil || n < 1 || n > maxSets || strconv.Itoa(n) != v {
		return errors.New("i= is no number from 1 to 50")
	}
	s.instance = n
	if k == arcMessage {
		return nil
	}
	if list.has("h") { // section 4.1.3
		return errors.New("a seal with h=")
	}
	s.headRelaxed = true // section 4.1.3: relaxed, whatever c= would say
	s.chain = strings.ToLower(value(list, "cv"))
	if s.chain != "none" && s.chain != "pass" && s.chain != "fail" {
		return errors.New("cv= is none of none, pass, fail")
	}
	return nil
}

// coverage reads what is signed, and how it was written down.
func (s *signature) coverage(list tags, k kind) (err error) {
	if s.bodyHash, err = base64.StdEncoding.DecodeString(noFWS(value(list, "bh"))); err != nil {
		return errors.New("bh= is not base64")
	}
	if q, ok := list.get("q"); ok && !slices.Contains(colons(strings.ToLower(q)), "dns/txt") {
		return errors.New("q= does not know dns/txt")
	}
	form, ok := list.get("c")
	if !ok {
		form = "simple" // also of ARC: RFC 8617 section 4.1.2 changes no default
	}
	head, bod, two := strings.Cut(strings.ToLower(noFWS(form)), "/")
	if !two {
		bod = "simple"
	}
	for _, f := range []struct {
		word string
		to   *bool
	}{{head, &s.headRelaxed}, {bod, &s.bodyRelaxed}} {
		if f.word != "simple" && f.word != "relaxed" {
			return errors.New("c= is neither simple nor relaxed")
		}
		*f.to = f.word == "relaxed"
	}
	if l, ok := list.get("l"); ok {
		if strings.Trim(l, "0123456789") != "" || l == "" {
			return errors.New("l= is no number")
		}
		s.length = true
	}
	s.headers = colons(strings.ToLower(value(list, "h")))
	switch {
	case len(s.headers) > maxHeaders:
		return errors.New("h= has more than 1000 names")
	case !slices.Contains(s.headers, "from"):
		return errors.New("h= is without From")
	case k == arcMessage && slices.Contains(s.headers, "arc-seal"): // RFC 8617 section 4.1.2
		return errors.New("h= has ARC-Seal")
	}
	return nil
}

// within reports whether domain is parent or below it.
func within(domain, parent string) bool {
	return domain == parent || strings.HasSuffix(domain, "."+parent)
}

// expired reports whether x= is over.
func (s *signature) expired(now time.Time) bool {
	return s.expires != 0 && now.Unix() > s.expires
}

// covered is what the signature signs of the header, with the signature itself at its end, less the value of b= (section 3.7).
func (s *signature) covered(m *message) []byte {
	var text []byte
	for _, f := range m.pick(s.headers) {
		text = append(appendField(text, f, f.value, s.headRelaxed), crlf...)
	}
	return appendField(text, s.field, withoutB(s.field.value), s.headRelaxed)
}
