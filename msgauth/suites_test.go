package msgauth

import (
	"context"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gopkg.in/yaml.v3"

	"pennypost/internal/dns"
)

// suite opens a file of the vectors in test/suites.
func suite(t testing.TB, name string) string {
	t.Helper()
	path := filepath.Join("../test/suites", name)
	text, err := os.ReadFile(path)
	if err != nil {
		t.Skipf("the vectors %s are not here", name)
	}
	return string(text)
}

// documents reads the documents of a YAML file into values of T.
func documents[T any](t testing.TB, text string) (list []T) {
	t.Helper()
	for d := yaml.NewDecoder(strings.NewReader(text)); ; {
		var v T
		err := d.Decode(&v)
		if err == io.EOF {
			return list
		}
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, v)
	}
}

// zone answers from memory. A name that is missing does not exist; "TIMEOUT" among the values of a type is an error.
type zone map[string]map[string][]string

func (z zone) set(name, typ string, values ...string) {
	name = strings.ToLower(strings.TrimSuffix(name, "."))
	if z[name] == nil {
		z[name] = make(map[string][]string)
	}
	z[name][typ] = append(z[name][typ], values...)
}

func (z zone) get(name, typ string, hops int) ([]string, error) {
	name = strings.ToLower(strings.TrimSuffix(name, "."))
	types, ok := z[name]
	if alias := types["CNAME"]; len(alias) > 0 && hops < 8 {
		return z.get(alias[0], typ, hops+1)
	}
	values := types[typ]
	for _, v := range append(values, types["ANY"]...) {
		if v == "TIMEOUT" {
			return nil, &dns.Error{Name: name, Type: typ, Why: "no answer in time"}
		}
	}
	switch {
	case !ok:
		for other := range z {
			if strings.HasSuffix(other, "."+name) {
				return nil, dns.ErrNone
			}
		}
		return nil, dns.ErrNoName
	case len(values) == 0:
		return nil, dns.ErrNone
	}
	return values, nil
}

func (z zone) TXT(_ context.Context, name string) ([]string, bool, error) {
	texts, err := z.get(name, "TXT", 0)
	return texts, false, err
}

func (z zone) MX(_ context.Context, name string) (list []dns.MX, secure bool, ttl time.Duration, err error) {
	values, err := z.get(name, "MX", 0)
	for i, v := range values {
		list = append(list, dns.MX{Preference: uint16(i), Host: v})
	}
	return list, false, 0, err
}

func (z zone) Addresses(_ context.Context, name string) (list []netip.Addr, secure bool, ttl time.Duration, err error) {
	fours, four := z.get(name, "A", 0)
	sixes, six := z.get(name, "AAAA", 0)
	for _, v := range append(append([]string(nil), fours...), sixes...) {
		list = append(list, netip.MustParseAddr(v).Unmap())
	}
	if len(list) == 0 {
		if err = four; dns.Absent(err) {
			err = six
		}
	}
	return list, false, 0, err
}

func (z zone) PTR(_ context.Context, addr netip.Addr) ([]string, error) {
	return z.get(addr.String(), "PTR", 0)
}
