package msgauth

import (
	"context"
	"errors"
	"net/url"
	"strings"

	"pennypost/internal/dns"
)

// Policy is what a domain asks for mail that fails: "none", "quarantine", "reject", or "" where it says nothing.
type Policy string

const (
	PolicyNone       Policy = "none"
	PolicyQuarantine Policy = "quarantine"
	PolicyReject     Policy = "reject"
)

// dmarcRecord is a DMARC policy record (RFC 9989 section 4.7). Tags of RFC 7489 that are gone (pct, rf, ri) are read past, but for
// pct=0, which said what t=y says now.
type dmarcRecord struct {
	domain     string // where it stands
	text       string
	p, sp, np  Policy
	strictDKIM bool   // adkim=s
	strictSPF  bool   // aspf=s
	testing    bool   // t=y
	psd        byte   // y, n, or u
	fo         string // when a failure is to be told
	rua        []string
}

// maxDMARC is longer than any record (S055).
const maxDMARC = 4096

// parseDMARC reads a TXT record; nil is none of DMARC. What is wrong after the version counts as not there (section 4.7), and
// a record with an invalid policy asks for none, or is worth nothing if nobody would read reports (section 4.10.1).
func parseDMARC(text string) (*dmarcRecord, error) {
	if !isDMARC(text) {
		return nil, nil
	}
	if len(text) > maxDMARC {
		return nil, errors.New("a record of more than 4096 octets")
	}
	r := &dmarcRecord{text: text, psd: 'u'}
	seen := make(map[string]bool)
	invalid, zero := false, false
	for spec := range strings.SplitSeq(text, ";") {
		name, value, ok := strings.Cut(spec, "=")
		name, value = strings.ToLower(trimFWS(name)), trimFWS(value)
		if !ok || seen[name] || len(seen) == maxTags {
			continue
		}
		seen[name] = true
		word := strings.ToLower(value)
		switch name {
		case "p":
			r.p = policy(word)
		case "sp":
			r.sp = policy(word)
			invalid = invalid || r.sp == ""
		case "np":
			r.np = policy(word)
			invalid = invalid || r.np == ""
		case "adkim":
			r.strictDKIM = word == "s"
		case "aspf":
			r.strictSPF = word == "s"
		case "t":
			r.testing = word == "y"
		case "pct":
			zero = word == "0"
		case "psd":
			if word == "y" || word == "n" {
				r.psd = word[0]
			}
		case "fo":
			r.fo = word
		case "rua":
			r.rua = reporters(value)
		}
	}
	if zero && !seen["t"] {
		r.testing = true
	}
	if !seen["p"] { // section 4.7: as if it were p=none
		r.p = PolicyNone
	}
	if r.p == "" || invalid {
		if len(r.rua) == 0 {
			return nil, errors.New("a record with an invalid policy")
		}
		r.p, r.sp, r.np = PolicyNone, "", ""
	}
	return r, nil
}

// isDMARC reports whether the record begins with the version.
func isDMARC(text string) bool {
	first, _, _ := strings.Cut(text, ";")
	name, value, ok := strings.Cut(first, "=")
	return ok && strings.EqualFold(trimFWS(name), "v") && trimFWS(value) == "DMARC1"
}

func policy(word string) Policy {
	switch p := Policy(word); p {
	case PolicyNone, PolicyQuarantine, PolicyReject:
		return p
	}
	return ""
}

// reporters lists the URIs of rua=, without the size limits of RFC 7489.
func reporters(value string) (list []string) {
	for word := range strings.SplitSeq(value, ",") {
		word = trimFWS(word)
		if i := strings.LastIndexByte(word, '!'); i >= 0 {
			word = word[:i]
		}
		if u, err := url.Parse(word); err == nil && u.Scheme != "" && (u.Opaque != "" || u.Host != "") && len(list) < 20 {
			list = append(list, word)
		}
	}
	return list
}

// dmarcAt asks for the record of one name. None is nil; several are none (section 4.10).
func (l *lookup) dmarcAt(ctx context.Context, domain string) (*dmarcRecord, error) {
	texts, err := l.TXT(ctx, "_dmarc."+domain)
	if dns.Absent(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var found *dmarcRecord
	n := 0
	for _, text := range texts {
		if !isDMARC(text) {
			continue
		}
		n++
		found, _ = parseDMARC(text)
	}
	if n != 1 || found == nil {
		return nil, nil
	}
	found.domain = domain
	return found, nil
}
