package msgauth

import (
	"context"
	"net/netip"
	"regexp"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/idna"

	"pennypost/internal/dns"
)

// suffixes is a DNS in which each public suffix of the list says so as RFC 9989 has it: psd=y at _dmarc.SUFFIX. Nobody else has a record.
type suffixes map[string]bool // rule

// has follows the algorithm of the list: the rules are names, "*." stands for one label, "!" is an exception, and a top-level domain that is not
// listed is a suffix.
func (s suffixes) has(name string) bool {
	_, parent, below := strings.Cut(name, ".")
	return s[name] || !below || s["*."+parent] && !s["!"+name]
}

func (s suffixes) TXT(_ context.Context, name string) ([]string, bool, error) {
	domain, ok := strings.CutPrefix(name, "_dmarc.")
	if !ok || !s.has(domain) {
		return nil, false, dns.ErrNone
	}
	return []string{"v=DMARC1; p=none; psd=y"}, false, nil
}

func (suffixes) MX(context.Context, string) ([]dns.MX, bool, time.Duration, error) {
	return nil, false, 0, dns.ErrNone
}

func (suffixes) Addresses(context.Context, string) ([]netip.Addr, bool, time.Duration, error) {
	return nil, false, 0, dns.ErrNone
}

func (suffixes) PTR(context.Context, netip.Addr) ([]string, error) { return nil, dns.ErrNone }

// RFC 9989 has no list: the organizational domain is what the tree walk finds. Where suffixes say that they are suffixes, both must find the
// same. Names that begin with a dot are none in DNS, and are not asked for.
func TestPublicSuffixSuite(t *testing.T) {
	s := suffixes{}
	for line := range strings.Lines(suite(t, "publicsuffix/public_suffix_list.dat")) {
		if rule, _, _ := strings.Cut(strings.TrimSpace(line), " "); rule != "" && !strings.HasPrefix(rule, "//") {
			kind, name := "", rule
			for _, k := range []string{"!", "*."} {
				if strings.HasPrefix(rule, k) {
					kind, name = k, strings.TrimPrefix(rule, k)
				}
			}
			s[kind+ascii(t, name)] = true
			if kind == "!" { // what is above an exception is a suffix
				_, above, _ := strings.Cut(ascii(t, name), ".")
				s[above] = true
			}
		}
	}
	c := &Checker{DNS: s}
	passed := 0
	for _, m := range regexp.MustCompile(`(?m)^checkPublicSuffix\('([^']+)', (?:null|'([^']+)')\);`).FindAllStringSubmatch(suite(t, "publicsuffix/test_psl.txt"), -1) {
		if strings.HasPrefix(m[1], ".") {
			continue
		}
		name, want := ascii(t, m[1]), ascii(t, m[2])
		if want == "" { // a suffix, which stands for itself
			want = name
		}
		got, err := c.Organization(background, name)
		if err != nil || got != want || m[2] == "" != s.has(name) {
			t.Errorf("%s: %s %v, want %s", m[1], got, err, want)
			continue
		}
		passed++
	}
	if t.Logf("%d passed", passed); passed < 70 {
		t.Error("where are the others?")
	}
}

func ascii(t *testing.T, name string) string {
	t.Helper()
	a, err := idna.ToASCII(strings.ToLower(name))
	if err != nil {
		t.Fatal(err)
	}
	return a
}
