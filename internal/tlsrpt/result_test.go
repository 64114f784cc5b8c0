package tlsrpt

import (
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"pennypost/internal/dayfile"
)

func sample() Result {
	return Result{Domain: "example.org", Type: STS, Policy: []string{"version: STSv1", "mode: enforce", "max_age: 86400"}, Hosts: []string{"*.example.org"},
		Failure: CertificateExpired, MX: "mx1.example.org", HELO: "mx", Local: netip.MustParseAddr("192.0.2.1"), Remote: netip.MustParseAddr("2001:db8::1"), Reason: "certificate has expired"}
}

func TestResult(t *testing.T) {
	want := sample()
	got, ok := parse(string(want.words()))
	if !ok || !reflect.DeepEqual(got, want) {
		t.Errorf("%v\n%+v\n%+v", ok, got, want)
	}
	good := sample()
	good.Failure = OK
	if text := string(good.words()); strings.Contains(text, "mx1") {
		t.Errorf("what went well says where: %s", text)
	}
}

// Whatever a host says, its result fits into one line.
func TestS092LongResult(t *testing.T) {
	r := sample()
	r.MX, r.HELO, r.Reason = strings.Repeat("\x00", 9000), strings.Repeat("é", 9000), strings.Repeat("\x1b", 9000)
	for range 1000 {
		r.Policy = append(r.Policy, strings.Repeat("\x02", 500))
		r.Hosts = append(r.Hosts, strings.Repeat("\x02", 500))
	}
	if err := Append(t.TempDir(), time.Unix(1764072000, 0), r); err != nil {
		t.Error(err)
	}
}

func FuzzResult(f *testing.F) {
	r := sample()
	f.Add(string(r.words()))
	f.Fuzz(func(t *testing.T, words string) {
		if r, ok := parse(words); ok {
			line := r.words()
			if _, ok := parse(string(line)); !ok || len(line) > dayfile.MaxLine-16 {
				t.Errorf("%q becomes %q", words, line)
			}
		}
	})
}
