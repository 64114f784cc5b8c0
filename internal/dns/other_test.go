package dns

import (
	"fmt"
	"testing"
)

func TestOtherTypes(t *testing.T) {
	r, s := start(t, nil)
	s.Set("_imaps._tcp.demo.test", "SRV", "0 1 993 Mail.demo.test", "0 0 0 .")
	s.Set("_25._tcp.demo.test", "TLSA", "3 1 1 00ff")
	s.Set("demo.test", "TYPE257", "0005697373756563612e74657374")
	srv, _, err := r.SRV(background, "_imaps._tcp.demo.test")
	if got := fmt.Sprint(srv); err != nil || got != "[{0 1 993 mail.demo.test} {0 0 0 }]" {
		t.Errorf("%s %v", got, err)
	}
	tlsa, _, _, err := r.Raw(background, "_25._tcp.demo.test", TypeTLSA)
	if got := fmt.Sprintf("%x", tlsa); err != nil || got != "[03010100ff]" {
		t.Errorf("%s %v", got, err)
	}
	if caa, _, _, err := r.Raw(background, "demo.test", TypeCAA); err != nil || len(caa) != 1 {
		t.Errorf("%x %v", caa, err)
	}
	if _, _, _, err := r.Raw(background, "demo.test", TypeTLSA); err != ErrNone {
		t.Error(err)
	}
	s.Misbehave("_25._tcp.other.test", "!servfail") // an error is never absence
	if _, _, _, err := r.Raw(background, "_25._tcp.other.test", TypeTLSA); err == nil || Absent(err) {
		t.Error(err)
	}
}
