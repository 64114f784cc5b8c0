package aggregate

import (
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"pennypost/internal/dayfile"
)

func sample() Row {
	return Row{
		Policy: Policy{Domain: "example.org", P: "reject", SP: "none", ADKIM: "r", ASPF: "s", Testing: true, FO: "1:d"},
		From:   "www.example.org", Envelope: "example.org", Source: netip.MustParseAddr("192.0.2.7"), Do: "quarantine", SPF: true,
		Reasons: []Reason{{"policy_test_mode", ""}, {"local_policy", "a friend: of ours"}},
		Signed:  []Signed{{"example.org", "r202611", "pass"}, {"list.example", "s", "fail"}}, Sent: Sent{"example.org", "softfail"},
	}
}

func TestRow(t *testing.T) {
	want := sample()
	got, ok := parse(string(want.words()))
	if !ok || !reflect.DeepEqual(got, want) {
		t.Errorf("%v\n%+v\n%+v", ok, got, want)
	}
	if text := string(want.words()); strings.ContainsAny(text, "\n\t") {
		t.Errorf("%q", text)
	}
}

// Whatever a message says, its row fits into one line, and into one report.
func TestS092LongRow(t *testing.T) {
	long := strings.Repeat("ü", 5000)
	r := sample()
	r.Policy.Domain, r.From, r.Envelope, r.Policy.FO, r.Sent.Domain = long, long, long, long, long
	r.Reasons = make([]Reason, 100)
	for i := range r.Reasons {
		r.Reasons[i] = Reason{"other", strings.Repeat("\x00", 1000)}
	}
	r.Signed = nil
	for range 1000 {
		r.Signed = append(r.Signed, Signed{strings.Repeat("\x01", 200), "s", "pass"})
	}
	dir := t.TempDir()
	if err := Append(dir, time.Unix(1764072000, 0), r); err != nil {
		t.Fatal(err)
	}
	days, _ := dayfile.Days(dir)
	n := 0
	days[0].Lines(func(words string) {
		n++
		if _, ok := parse(words); !ok {
			t.Errorf("%q", words)
		}
	})
	if n != 1 {
		t.Errorf("%d lines", n)
	}
}

func FuzzRow(f *testing.F) {
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
