package srs

import (
	"strings"
	"testing"
	"time"

	"pennypost/internal/address"
)

func path(s string) address.Path {
	p, err := address.Parse(s)
	if err != nil {
		panic(s + ": " + err.Error())
	}
	return p
}

var day0 = time.Date(2026, 11, 22, 4, 30, 0, 0, time.UTC)

func at(domain string, days int, secrets ...string) *Rewriter {
	r := &Rewriter{Domain: domain, Now: func() time.Time { return day0.AddDate(0, 0, days) }}
	for _, s := range secrets {
		r.Secrets = append(r.Secrets, []byte(s))
	}
	return r
}

var senders = []string{
	"alice@example.org", "Alice@example.org", `"a b"@example.org`, `"a\"b"@example.org`, `""@example.org`, "a=b@example.org", "SRS2=x@example.org",
	"bob@[192.0.2.1]", "bob@[IPv6:2001:db8::1]", "δ@παράδειγμα.test", "-@example.org", "a..b@example.org", "SRS1=x@example.org",
	"0102018f3a5b6c7d-8e9f0a1b-2c3d-4e5f-8a9b-0c1d2e3f4a5b-000000@eu-west-1.amazonses.com",
}

func TestThereAndBack(t *testing.T) {
	r := at("us.example", 0, "secret")
	for _, s := range senders {
		from := path(s)
		to, err := r.Forward(from)
		if err != nil {
			t.Errorf("%s: %v", s, err)
			continue
		}
		if to.Domain != "us.example" || !strings.HasPrefix(to.Unquoted(), "SRS0=") {
			t.Errorf("%s went out as %s", s, to)
		}
		if again, err := address.Parse(to.String()); again != to || err != nil {
			t.Errorf("%s is no address: %v", to, err)
		}
		if back, ok, err := r.Back(to); back != from || !ok || err != nil {
			t.Errorf("%s came back as %s, %v, %v", to, back, ok, err)
		}
	}
}

// TestForwarders sends a message through three hosts that forward it, and its bounce back.
func TestForwarders(t *testing.T) {
	alice := path("alice@example.org")
	one, two, three := at("one.example", 0, "1"), at("two.example", 0, "2"), at("three.example", 0, "3")
	a, _ := one.Forward(alice)
	b, err := two.Forward(a)
	if err != nil || !strings.HasPrefix(b.Local, "SRS1=") || !strings.Contains(b.Local, "=one.example==") {
		t.Fatalf("two: %s, %v", b, err)
	}
	c, err := three.Forward(b)
	if err != nil || !strings.Contains(c.Local, "=one.example==") || strings.Contains(c.Local, "two") {
		t.Fatalf("three: %s, %v", c, err)
	}
	if p, ok, err := three.Back(c); p != a || !ok || err != nil {
		t.Errorf("three: back to %s, %v, %v", p, ok, err)
	}
	if p, ok, err := two.Back(b); p != a || !ok || err != nil {
		t.Errorf("two: back to %s, %v, %v", p, ok, err)
	}
	if p, _, err := one.Back(a); p != alice || err != nil {
		t.Errorf("one: back to %s, %v", p, err)
	}
	// Other programs write + or - for the first separator.
	for _, s := range []string{"SRS0+abcd=zz=example.org=alice@one.example", "SRS0-abcd=zz=example.org=alice@one.example", "srs0=abcd=zz=example.org=alice@one.example"} {
		p, err := two.Forward(path(s))
		if err != nil {
			t.Fatal(err)
		}
		back, ok, err := two.Back(p)
		if !ok || err != nil || !strings.EqualFold(back.String(), s) {
			t.Errorf("%s as %s came back as %s, %v", s, p, back, err)
		}
	}
}

func TestLeftAlone(t *testing.T) {
	r := at("us.example", 0, "secret")
	for _, s := range []string{"", "alice@us.example", "alice@US.example", "postmaster"} {
		if to, err := r.Forward(path(s)); to != path(s) || err != nil {
			t.Errorf("%q became %s, %v", s, to, err)
		}
	}
	for _, s := range []string{"", "bob@us.example", "SRS0@us.example", "SRS0=@us.example", "SRS0=abcd=zz=example.org=alice@elsewhere.example", "postmaster"} {
		if _, ok, err := r.Back(path(s)); ok || err != nil {
			t.Errorf("Back(%q): %v, %v", s, ok, err)
		}
	}
	if _, err := at("us.example", 0).Forward(path("alice@example.org")); err == nil {
		t.Error("signed without a secret")
	}
	if _, err := r.Forward(path(strings.Repeat("a", 240) + "@example.org")); err == nil {
		t.Error("made an address that no server takes")
	}
}

func TestForged(t *testing.T) {
	r := at("us.example", 0, "secret")
	to, _ := r.Forward(path("alice@example.org"))
	one, _ := r.Forward(path("SRS0=abcd=zz=example.org=alice@one.example"))
	for _, s := range []string{
		strings.Replace(to.String(), "alice", "eve", 1),
		strings.Replace(to.String(), "example.org", "example.com", 1),
		strings.Replace(one.String(), "one.example", "two.example", 1),
		strings.Replace(one.String(), "alice", "eve", 1),
		strings.Replace(one.String(), "SRS1", "SRS0", 1),
		strings.Replace(to.String(), "SRS0", "SRS1", 1),
		"SRS0=x@us.example", "SRS0=x=y@us.example", "SRS0=" + sign([]byte("secret"), "") + "=@us.example",
		"SRS0=" + sign([]byte("secret"), "a=b") + "=a=b@us.example", "SRS1=" + sign([]byte("secret"), "ab") + "=a=b@us.example",
		`"SRS0=a=b c"@us.example`, "SRS1=a==b@us.example", "SRS1=a=@us.example",
	} {
		if p, ok, err := r.Back(path(s)); !ok || err == nil || !p.IsNull() {
			t.Errorf("Back(%s) = %s, %v, %v", s, p, ok, err)
		}
	}
	if p, _, err := at("us.example", 0, "other").Back(to); err != ErrForged || !p.IsNull() {
		t.Errorf("another's secret: %s, %v", p, err)
	}
}

func TestCase(t *testing.T) {
	r := at("us.example", 0, "secret")
	to, _ := r.Forward(path("Alice@example.org"))
	for _, s := range []string{strings.ToLower(to.String()), strings.ToUpper(to.String())} {
		if p, ok, err := r.Back(path(s)); !strings.EqualFold(p.String(), "alice@example.org") || !ok || err != nil {
			t.Errorf("Back(%s) = %s, %v", s, p, err)
		}
	}
}

func TestDaysAndSecrets(t *testing.T) {
	to, _ := at("us.example", 0, "old").Forward(path("alice@example.org"))
	for _, c := range []struct {
		days    int
		secrets []string
		err     error
	}{
		{0, []string{"old"}, nil},
		{21, []string{"old"}, nil},
		{22, []string{"old"}, ErrExpired},
		{400, []string{"old"}, ErrExpired},
		{-1, []string{"old"}, nil}, // made by a host whose day has begun already
		{-2, []string{"old"}, ErrExpired},
		{5, []string{"new", "old"}, nil},
		{5, []string{"newest", "new", "old"}, nil},
		{5, []string{"new"}, ErrForged},
		{5, nil, ErrForged},
	} {
		if _, ok, err := at("us.example", c.days, c.secrets...).Back(to); !ok || err != c.err {
			t.Errorf("after %d days with %v: %v, want %v", c.days, c.secrets, err, c.err)
		}
	}
	for day := range 1100 { // over the end of the stamps
		to, _ := at("us.example", day, "s").Forward(path("alice@example.org"))
		if _, _, err := at("us.example", day+21, "s").Back(to); err != nil {
			t.Fatalf("day %d: %v", day, err)
		}
		if _, _, err := at("us.example", day+22, "s").Back(to); err != ErrExpired {
			t.Fatalf("day %d: %v", day, err)
		}
	}
}

func FuzzBack(f *testing.F) {
	r := at("us.example", 0, "secret")
	for _, s := range senders {
		f.Add(s)
		if to, err := r.Forward(path(s)); err == nil {
			f.Add(to.String())
		}
	}
	f.Add("SRS1=abcd=one.example==abcd=zz=example.org=alice@us.example")
	f.Fuzz(func(t *testing.T, s string) {
		p, err := address.Parse(s)
		if err != nil {
			return
		}
		if back, ok, err := r.Back(p); ok && err == nil {
			if again, e := address.Parse(back.String()); e != nil || again != back || back.Domain == "" {
				t.Fatalf("%s leads to %q: %v", p, back, e)
			}
		}
		to, err := r.Forward(p)
		if err != nil || to == p {
			return
		}
		if back, ok, err := r.Back(to); !ok || err != nil {
			t.Fatalf("%s as %s: %v, %v", p, to, ok, err)
		} else if back != p && !strings.HasPrefix(to.Unquoted(), "SRS1") {
			t.Fatalf("%s as %s came back as %s", p, to, back)
		}
	})
}
