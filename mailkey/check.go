package mailkey

import (
	"context"
	"encoding/hex"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"pennypost/internal/dns"
)

// Finding is what DNS has of a record.
type Finding struct {
	Record
	State string   `json:"state"`          // ok, missing, wrong, unknown
	Found []string `json:"found"`          // what DNS has there
	Text  string   `json:"text,omitempty"` // in words, where it is not ok
}

// The states of a finding. Unknown is that DNS did not answer; it is never ok.
const (
	OK      = "ok"
	Missing = "missing"
	Wrong   = "wrong"
	Unknown = "unknown"
)

// Check compares records with what DNS says now.
func Check(ctx context.Context, resolver *dns.Resolver, list []Record) []Finding {
	found := make([]Finding, len(list))
	for i, r := range list {
		found[i] = check(ctx, resolver, list, r)
	}
	return found
}

func check(ctx context.Context, resolver *dns.Resolver, list []Record, r Record) Finding {
	f := Finding{Record: r, Found: []string{}}
	values, err := live(ctx, resolver, r)
	switch {
	case dns.Absent(err):
		f.State, f.Text = Missing, "not there"
		return f
	case err != nil:
		f.State, f.Text = Unknown, err.Error()
		return f
	}
	f.Found = append(f.Found, values...)
	want := sameSet(list, r)
	switch r.Type {
	case "TXT":
		f.State, f.Text = texts(r, values)
	case "CNAME": // an A record with the same addresses does as well
		f.State, f.Text = alias(ctx, resolver, r, values)
	case "PTR":
		f.State, f.Text = OK, ""
		if !slices.Contains(values, r.Value) {
			f.State, f.Text = Wrong, "the address has another name"
		}
	default:
		f.State, f.Text = set(want, values, r.Value)
	}
	if f.State == Wrong && f.Text == "" {
		f.Text = "something else is there"
	}
	return f
}

// sameSet are the values of all records with this name and type.
func sameSet(list []Record, r Record) (values []string) {
	for _, other := range list {
		if other.Name == r.Name && other.Type == r.Type {
			values = append(values, other.Value)
		}
	}
	return values
}

// set: the value is there, and nothing that we did not say.
func set(want, have []string, value string) (state, text string) {
	if !slices.Contains(have, value) {
		return Wrong, "something else is there"
	}
	for _, v := range have {
		if !slices.Contains(want, v) {
			return Wrong, "there is also " + v
		}
	}
	return OK, ""
}

// live is what DNS has for a record, written as we write values.
func live(ctx context.Context, resolver *dns.Resolver, r Record) (values []string, err error) {
	switch r.Type {
	case "TXT":
		values, _, err = resolver.TXT(ctx, r.Name)
	case "MX":
		mx, _, _, e := resolver.MX(ctx, r.Name)
		for _, m := range mx {
			values = append(values, fmt.Sprintf("%d %s", m.Preference, m.Host))
		}
		err = e
	case "SRV":
		srv, _, e := resolver.SRV(ctx, r.Name)
		for _, s := range srv {
			target := s.Target
			if target == "" {
				target = "."
			}
			values = append(values, fmt.Sprintf("%d %d %d %s", s.Priority, s.Weight, s.Port, target))
		}
		err = e
	case "TLSA":
		data, _, _, e := resolver.Raw(ctx, r.Name, dns.TypeTLSA)
		for _, d := range data {
			if len(d) > 3 {
				values = append(values, fmt.Sprintf("%d %d %d %s", d[0], d[1], d[2], hex.EncodeToString(d[3:])))
			}
		}
		err = e
	case "PTR":
		addr, e := forward(r.Name)
		if e != nil {
			return nil, e
		}
		values, err = resolver.PTR(ctx, addr)
	default: // A, AAAA, CNAME
		addrs, _, _, e := resolver.Addresses(ctx, r.Name)
		for _, a := range addrs {
			if r.Type == "CNAME" || a.Is4() == (r.Type == "A") {
				values = append(values, a.String())
			}
		}
		if err = e; err == nil && len(values) == 0 {
			err = dns.ErrNone
		}
	}
	return values, err
}

// forward is the address of a name in in-addr.arpa or ip6.arpa.
func forward(name string) (netip.Addr, error) {
	labels := strings.Split(name, ".")
	labels = labels[:max(0, len(labels)-2)]
	slices.Reverse(labels)
	if len(labels) == 4 {
		return netip.ParseAddr(strings.Join(labels, "."))
	}
	var b strings.Builder
	for i, l := range labels {
		if i > 0 && i%4 == 0 {
			b.WriteByte(':')
		}
		b.WriteString(l)
	}
	return netip.ParseAddr(b.String())
}

// alias: the name leads to the addresses of its target.
func alias(ctx context.Context, resolver *dns.Resolver, r Record, have []string) (state, text string) {
	addrs, _, _, err := resolver.Addresses(ctx, r.Value)
	if err != nil {
		return Unknown, r.Value + ": " + err.Error()
	}
	for _, h := range have {
		if !slices.ContainsFunc(addrs, func(a netip.Addr) bool { return a.String() == h }) {
			return Wrong, "it leads to " + h + ", where " + r.Value + " is not"
		}
	}
	return OK, ""
}

// texts: among the texts of a name is one of the same kind, and it says the same.
func texts(r Record, have []string) (state, text string) {
	kind := version(r.Value)
	var same []string
	for _, h := range have {
		if strings.EqualFold(version(h), kind) {
			same = append(same, h)
		}
	}
	switch {
	case len(same) == 0:
		return Missing, "there are texts, but none that begins with " + kind
	case len(same) > 1:
		return Wrong, "there is more than one text that begins with " + kind + ", which is as if there were none"
	case kind == "v=DKIM1" && sameTags(same[0], r.Value, "k", "p"), canonical(same[0]) == canonical(r.Value):
		return OK, ""
	}
	return Wrong, "it says something else"
}

// version is the first word of a text, such as v=spf1. A key record may be without.
func version(text string) string {
	if i := strings.IndexAny(text, " ;"); i >= 0 {
		text = text[:i]
	}
	if strings.HasPrefix(text, "k=") || strings.HasPrefix(text, "p=") {
		return "v=DKIM1"
	}
	return text
}

// canonical is a text without the white space that says nothing.
func canonical(text string) string {
	if strings.HasPrefix(strings.ToLower(text), "v=spf1") {
		return strings.Join(strings.Fields(text), " ")
	}
	var tags []string
	for tag := range strings.SplitSeq(text, ";") {
		name, value, _ := strings.Cut(tag, "=")
		if name = strings.TrimSpace(name); name != "" {
			tags = append(tags, strings.ToLower(name)+"="+strings.TrimSpace(value))
		}
	}
	return strings.Join(tags, ";")
}

// sameTags reports whether the tags have the same values; k= is rsa where it is not there.
func sameTags(a, b string, names ...string) bool {
	get := func(text, name string) string {
		for tag := range strings.SplitSeq(text, ";") {
			n, v, _ := strings.Cut(tag, "=")
			if strings.TrimSpace(n) == name {
				return strings.Join(strings.Fields(v), "")
			}
		}
		if name == "k" {
			return "rsa"
		}
		return ""
	}
	for _, name := range names {
		if get(a, name) != get(b, name) {
			return false
		}
	}
	return true
}
