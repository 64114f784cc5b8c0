package msgauth

import (
	"strings"
	"testing"

	"pennypost/msgauth/aggregate"
)

// What a domain that asks is told, and that others, and reports, are told nothing.
func TestRow(t *testing.T) {
	c := &Checker{DNS: exampleZone(), Name: "mx.example.net", Now: noonPlus(0)}
	row := func(text string) (aggregate.Row, bool) {
		r, err := c.Check(background, alice, strings.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		return r.Row()
	}
	text := signed(t, letter, testKeys()...)
	r, ok := row(text)
	if !ok || !r.DKIM || !r.SPF || r.Do != "none" || r.From != "example.org" || r.Envelope != "example.org" || len(r.Signed) != 2 ||
		r.Policy != (aggregate.Policy{Domain: "example.org", P: "reject", ADKIM: "r", ASPF: "r"}) || r.Sent != (aggregate.Sent{Domain: "example.org", Result: "pass"}) {
		t.Errorf("%v %+v", ok, r)
	}
	if r, ok := row(strings.ReplaceAll(letter, "example.org", "nobody.test")); ok {
		t.Errorf("nobody asked: %+v", r)
	}
	for _, head := range []string{"TLS-Report-Domain: example.net\n", "Subject: Report Domain: example.net\n Submitter: example.org Report-ID: <1>\n"} {
		if r, ok := row(head + letter); ok {
			t.Errorf("a report about a report: %+v", r)
		}
	}
}

func TestOrganization(t *testing.T) {
	c := &Checker{DNS: exampleZone()}
	for domain, want := range map[string]string{"example.org": "example.org", "a.b.example.org": "example.org", "other.test": "other.test"} {
		if got, err := c.Organization(background, domain); err != nil || got != want {
			t.Errorf("%s: %s %v", domain, got, err)
		}
	}
}
