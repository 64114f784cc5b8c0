package dns

import (
	"errors"
	"strings"
	"testing"
)

// What a host is worth for DANE: secure only if all that was answered was, and a suppressed family does not make it less.
func TestHost(t *testing.T) {
	const secure = `
		* !ad
		both.test   A     127.0.0.1
		both.test   AAAA  ::1
		only4.test  A     127.0.0.1
		www.test    CNAME both.test
		plain.test  A     127.0.0.1
		plain.test  !noad
		mixed.test  CNAME plain.test
		broken.test A     127.0.0.1
		broken.test !servfail
	`
	for _, test := range []struct {
		name, canonical, addrs string
		secure                 bool
	}{
		{"both.test", "both.test", "127.0.0.1 ::1", true},
		{"only4.test", "only4.test", "127.0.0.1", true},
		{"www.test", "both.test", "127.0.0.1 ::1", true},
		{"plain.test", "plain.test", "127.0.0.1", false},
	} {
		r, s := start(t, nil)
		if err := s.Load(secure); err != nil {
			t.Fatal(err)
		}
		h, err := r.Host(background, test.name)
		var addrs []string
		for _, a := range h.Addrs {
			addrs = append(addrs, a.String())
		}
		if err != nil || h.Name != test.canonical || strings.Join(addrs, " ") != test.addrs || h.Secure != test.secure {
			t.Errorf("%s: %+v %v", test.name, h, err)
		}
	}
	r, s := start(t, nil)
	s.Load(secure)
	if _, err := r.Host(background, "broken.test"); err == nil || Absent(err) {
		t.Errorf("SERVFAIL: %v", err)
	}
	if h, err := r.Host(background, "nothing.test"); !errors.Is(err, ErrNoName) || !h.Secure {
		t.Errorf("proven absence: %+v %v", h, err)
	}
	if target, secure, err := r.Alias(background, "www.test"); target != "both.test" || !secure || err != nil {
		t.Errorf("alias: %s %v %v", target, secure, err)
	}
	if _, _, err := r.Alias(background, "both.test"); !errors.Is(err, ErrNone) {
		t.Errorf("no alias: %v", err)
	}
	// A family that does not answer counts neither way.
	if h := (half{answer: answer{secure: true}}).alone(half{err: &Error{}}); !h.Secure {
		t.Error("whoever suppresses AAAA makes a signed zone insecure")
	}
	if h := (half{answer: answer{secure: true}}).alone(half{err: ErrNone}); h.Secure {
		t.Error("an absence that is not proven is taken as secure")
	}
}

// S037: the AD bit counts only where it comes from this host, or mail.toml says so; one server elsewhere spoils it for all.
func TestS037WhoseWord(t *testing.T) {
	for _, test := range []struct {
		servers string
		trustAD bool
		want    bool
	}{
		{"127.0.0.1:53", false, true},
		{"[::1]:53", false, true},
		{"192.0.2.1:53", false, false},
		{"192.0.2.1:53", true, true},
		{"127.0.0.1:53 192.0.2.1:53", false, false},
	} {
		r := &Resolver{Servers: strings.Fields(test.servers), TrustAD: test.trustAD}
		if got := r.Trusted(); got != test.want {
			t.Errorf("%+v: %v", test, got)
		}
	}
}

// The start-up probe tells a resolver that validates from one that only forwards.
func TestS037Probe(t *testing.T) {
	r, s := start(t, nil)
	s.Load("bogus.test A 127.0.0.1\nrefused.test !servfail\ngone.test !refused")
	for name, want := range map[string]Validation{"bogus.test": Believes, "refused.test": Validates, "gone.test": Unknown, "nothing.test": Unknown} {
		if got := r.Probe(background, name); got != want {
			t.Errorf("%s: %v, want %v", name, got, want)
		}
	}
}
