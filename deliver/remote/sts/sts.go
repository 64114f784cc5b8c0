/*
Package sts is the sending side of MTA-STS, RFC 8461: what the domain of a recipient says of the hosts that take its mail.

	_mta-sts.DOMAIN TXT "v=STSv1; id=1"                       record.go   says that there is a policy, and which
	https://mta-sts.DOMAIN/.well-known/mta-sts.txt            fetch.go    the policy
	STATE/sts/DOMAIN                                          file.go     the policy as it was fetched, until max_age is over
	what is in the file, and what DNS said in the last minutes  cache.go

The domain is that of the recipient, never what an alias of its leads to (S039). A policy that was fetched counts until its
max_age is over, whatever becomes of the record and the server meanwhile (S040). The files belong to deliver-remote: each is
one domain, readable, and may be removed or put there by hand; deliver-remote looks again within a minute. After a crash a file is
the old or the new one; a file named .new-… is rubbish.
*/
package sts

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Bounds of a policy.
const (
	MaxPolicy = 64 << 10 // octets, section 3.3 lets us choose
	maxMX     = 1000     // patterns
	maxAge    = 31557600 // seconds, section 3.2: a year
)

// Modes of a policy (section 5).
const (
	Enforce = "enforce" // no delivery to hosts that do not fit, or do not prove who they are
	Testing = "testing" // delivery all the same, but it is reported
	None    = "none"    // as without policy
)

// Policy is a policy that was fetched.
type Policy struct {
	Mode   string
	MX     []string // patterns, lower case
	MaxAge time.Duration
	Text   string // as it was served
}

// Parse reads a policy (section 3.2): lines of KEY: VALUE. Of a key that is there twice the first counts, but for mx; unknown
// keys are for others.
func Parse(text string) (*Policy, error) {
	if len(text) > MaxPolicy {
		return nil, fmt.Errorf("policy of %d octets", len(text))
	}
	p := &Policy{Text: text}
	seen := map[string]string{}
	for line := range strings.Lines(text) {
		key, value, ok := strings.Cut(strings.TrimRight(line, "\r\n"), ":")
		key, value = strings.Trim(key, " \t"), strings.Trim(value, " \t")
		switch {
		case key == "" && !ok:
			continue
		case !ok:
			return nil, fmt.Errorf("line %.60q is no KEY: VALUE", line)
		case key == "mx":
			pattern, err := pattern(value)
			if err != nil {
				return nil, err
			}
			if len(p.MX) == maxMX {
				return nil, fmt.Errorf("more than %d mx", maxMX)
			}
			p.MX = append(p.MX, pattern)
		case key == "version" || key == "mode" || key == "max_age":
			if _, twice := seen[key]; !twice {
				seen[key] = value
			}
		}
	}
	age, err := strconv.ParseUint(seen["max_age"], 10, 63)
	switch {
	case seen["version"] != "STSv1":
		return nil, fmt.Errorf("version %.20q", seen["version"])
	case seen["mode"] != Enforce && seen["mode"] != Testing && seen["mode"] != None:
		return nil, fmt.Errorf("mode %.20q", seen["mode"])
	case err != nil || len(seen["max_age"]) > 10:
		return nil, fmt.Errorf("max_age %.20q", seen["max_age"])
	case len(p.MX) == 0 && seen["mode"] != None:
		return nil, errors.New("no mx")
	}
	p.Mode, p.MaxAge = seen["mode"], time.Duration(min(age, maxAge))*time.Second
	return p, nil
}

// pattern reads mx: a host, or *.DOMAIN.
func pattern(value string) (string, error) {
	value = strings.ToLower(strings.TrimSuffix(value, "."))
	host := strings.TrimPrefix(value, "*.")
	if len(host) > 253 {
		return "", fmt.Errorf("mx %.60q is too long", value)
	}
	for label := range strings.SplitSeq(host, ".") {
		if label == "" || len(label) > 63 || strings.Trim(label, "abcdefghijklmnopqrstuvwxyz0123456789-_") != "" {
			return "", fmt.Errorf("mx %.60q is no host name", value)
		}
	}
	return value, nil
}

// Allows reports whether host fits one of the patterns: *. stands for one label (section 4.1).
func (p *Policy) Allows(host string) bool {
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	for _, pattern := range p.MX {
		if pattern == host {
			return true
		}
		if suffix, wild := strings.CutPrefix(pattern, "*"); wild {
			if label, ok := strings.CutSuffix(host, suffix); ok && label != "" && !strings.Contains(label, ".") {
				return true
			}
		}
	}
	return false
}
