package send

import (
	"context"
	"fmt"
	"net/url"
	"strconv"
	"strings"

	"pennypost/internal/address"
	"pennypost/internal/dns"
)

// maxTargets is how many addresses of a record are served (RFC 7489 section 6.2 wants two at least).
const maxTargets = 5

// target is where a report goes.
type target struct {
	uri     string // without its size
	address string // of mailto:
	host    string // the domain of the address, or of the web server
	limit   int64  // octets; 0 none
	why     string // why it gets none
}

func (t target) mail() bool { return t.address != "" }

// targets are those of the record as DNS has it now.
func (s *Sender) targets(ctx context.Context, r *report) ([]target, error) {
	name, version := "_dmarc."+r.domain, "DMARC1"
	if r.kind == "tls" {
		name, version = "_smtp._tls."+r.domain, "TLSRPTv1"
	}
	record, err := s.record(ctx, name, version)
	if err != nil || record == nil {
		return nil, err
	}
	list := parseTargets(record["rua"], r.kind == "tls")
	if r.kind == "tls" { // whoever can write the record is the domain; RFC 8460 asks nobody else
		return list, nil
	}
	for i := range list {
		if list[i].why == "" {
			if err := s.agreed(ctx, r.domain, &list[i]); err != nil {
				return nil, err
			}
		}
	}
	return list, nil
}

// record is the one record of a version at a name: none and several are nil.
func (s *Sender) record(ctx context.Context, name, version string) (map[string]string, error) {
	texts, _, err := s.DNS.TXT(ctx, name)
	if dns.Absent(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var found map[string]string
	n := 0
	for _, text := range texts {
		if tags := parseTags(text, version); tags != nil {
			found = tags
			n++
		}
	}
	if n != 1 {
		return nil, nil
	}
	return found, nil
}

// parseTags reads NAME=VALUE; … that begins with v=VERSION; nil is another kind.
func parseTags(text, version string) map[string]string {
	tags := map[string]string{}
	for i, spec := range strings.SplitN(text, ";", 50) {
		name, value, ok := strings.Cut(spec, "=")
		name, value = strings.ToLower(strings.TrimSpace(name)), strings.TrimSpace(value)
		if i == 0 && (name != "v" || value != version) {
			return nil
		}
		if _, twice := tags[name]; ok && !twice {
			tags[name] = value
		}
	}
	return tags
}

// parseTargets reads a list of URIs. Of other schemes than ours there is nothing to say.
func parseTargets(list string, https bool) (all []target) {
	for word := range strings.SplitSeq(list, ",") {
		word = strings.TrimSpace(word)
		if word == "" || len(word) > 512 || len(all) == maxTargets {
			continue
		}
		t := target{uri: word}
		if i := strings.LastIndexByte(word, '!'); i >= 0 && !https {
			if limit, ok := parseLimit(word[i+1:]); ok {
				t.uri, t.limit = word[:i], limit
			}
		}
		t.parse(https)
		all = append(all, t)
	}
	return all
}

// parse takes the URI apart.
func (t *target) parse(https bool) {
	u, err := url.Parse(t.uri)
	switch {
	case err != nil:
		t.why = "no URI"
	case strings.EqualFold(u.Scheme, "mailto"):
		local, err := url.PathUnescape(u.Opaque)
		if err != nil {
			t.why = "no address"
			return
		}
		p, err := address.Parse(local)
		if err != nil || p.Domain == "" || !p.ASCII() || strings.ContainsAny(local, "\r\n\x00") {
			t.why = "no address we could write to"
			return
		}
		t.address = p.String()
		t.host, err = ascii(p.Domain)
		if err != nil {
			t.why = err.Error()
		}
	case https && strings.EqualFold(u.Scheme, "https") && u.Host != "" && u.User == nil:
		t.host = strings.ToLower(u.Hostname())
	default:
		t.why = "a scheme that is not used for reports"
	}
}

// parseLimit reads a size such as 10m (RFC 7489 section 6.4).
func parseLimit(s string) (int64, bool) {
	unit := int64(1)
	if n := len(s) - 1; n > 0 {
		if i := strings.IndexByte("kmgt", s[n]|0x20); i >= 0 {
			unit, s = 1<<(10*(i+1)), s[:n]
		}
	}
	n, err := strconv.ParseUint(s, 10, 31)
	return int64(n) * unit, err == nil
}

// agreed asks whether somebody outside of the domain's organization wants its reports (RFC 9990 section 4).
func (s *Sender) agreed(ctx context.Context, domain string, t *target) error {
	if t.host == domain {
		return nil
	}
	ours, err := s.Organizer(ctx, domain)
	if err != nil {
		return err
	}
	theirs, err := s.Organizer(ctx, t.host)
	if err != nil || ours == theirs {
		return err
	}
	name := domain + "._report._dmarc." + t.host
	if len(name) > 253 {
		t.why = "its name is too long to be asked for"
		return nil
	}
	texts, _, err := s.DNS.TXT(ctx, name)
	if err != nil && !dns.Absent(err) {
		return err
	}
	for _, text := range texts {
		tags := parseTags(text, "DMARC1")
		if tags == nil {
			continue
		}
		if other := parseTargets(tags["rua"], false); len(other) > 0 { // it may name another address of the same host
			if other[0].why != "" || other[0].host != t.host {
				t.why = fmt.Sprintf("%s sends its reports to another host", name)
				return nil
			}
			*t = other[0]
		}
		return nil
	}
	t.why = t.host + " has not agreed: there is no " + name
	return nil
}
