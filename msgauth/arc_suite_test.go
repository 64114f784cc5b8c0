package msgauth

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"strings"
	"testing"
	"time"

	"gopkg.in/yaml.v3"
)

type arcTest struct {
	Message, CV string
	Description string
	// signing
	T          int64
	SigHeaders string `yaml:"sig-headers"`
	SrvID      string `yaml:"srv-id"`
	AS         string `yaml:"AS"`
	AMS        string `yaml:"AMS"`
	AAR        string `yaml:"AAR"`
}

type arcSuite struct {
	Description string
	Tests       yaml.Node // a mapping; some names are there twice
	Domain      string
	Selector    string            `yaml:"sel"`
	PrivateKey  string            `yaml:"privatekey"`
	Records     map[string]string `yaml:"txt-records"`
}

func (s *arcSuite) each(t *testing.T, do func(name string, test arcTest)) {
	for i := 0; i+1 < len(s.Tests.Content); i += 2 {
		var test arcTest
		if err := s.Tests.Content[i+1].Decode(&test); err != nil {
			t.Fatal(err)
		}
		do(s.Tests.Content[i].Value, test)
	}
}

func (s *arcSuite) zone() zone {
	z := make(zone)
	for name, text := range s.Records {
		z.set(name, "TXT", text)
	}
	return z
}

// arcApart is where we differ from the suite, and why.
var arcApart = map[string]string{
	"ams_fields_c_na":    "signed with relaxed/relaxed and without c=, which means simple/simple (RFC 6376 section 3.5; RFC 8617 section 4.1.2 does not change it)",
	"ams_fields_h_empty": "h= has at least one name, and From among them (RFC 6376 sections 3.5 and 5.4): a signature of no header would fit any message with this body",
}

func TestARCSuite(t *testing.T) {
	passed := 0
	for _, doc := range documents[arcSuite](t, suite(t, "arc/arc-draft-validation-tests.yml")) {
		c := &Checker{DNS: doc.zone(), Now: func() time.Time { return time.Unix(100000, 0) }}
		doc.each(t, func(name string, test arcTest) {
			r, err := c.Check(context.Background(), Client{}, strings.NewReader(test.Message))
			if err != nil {
				t.Fatal(err)
			}
			want := strings.ToLower(strings.TrimSpace(test.CV))
			if want == "" { // the chain was broken before, and no seal is to be added
				want = "fail"
			}
			same := string(r.ARC.Result) == want
			if apart := arcApart[name]; apart != "" {
				if same {
					t.Errorf("%s passes: it needs no excuse", name)
				}
				t.Logf("%s: %s: %s", name, r.ARC.Result, apart)
				return
			}
			if !same {
				t.Errorf("%s: %s (%s): got %s (%s), want %s", doc.Description, name, test.Description, r.ARC.Result, r.ARC.Why, test.CV)
				return
			}
			passed++
		})
	}
	t.Logf("%d passed", passed)
}

// TestARCSignSuite makes the sets of the suite and compares them with those wanted. The seal covers the white space inside b= of the
// signature beneath it, which every signer folds where he likes: of the seal the other tags are compared, and that it verifies.
func TestARCSignSuite(t *testing.T) {
	passed := 0
	for _, doc := range documents[arcSuite](t, suite(t, "arc/arc-draft-sign-tests.yml")) {
		block, _ := pem.Decode([]byte(doc.PrivateKey))
		key, err := x509.ParsePKCS1PrivateKey(block.Bytes)
		if err != nil {
			t.Fatal(err)
		}
		checker := &Checker{DNS: doc.zone()}
		doc.each(t, func(name string, test arcTest) {
			set, err := suiteSeal(test, Key{doc.Domain, doc.Selector, key})
			if strings.TrimSpace(test.AS) == "" && err != nil { // nothing is to be added
				passed++
				return
			}
			if err != nil {
				t.Errorf("%s: %v", name, err)
				return
			}
			made, _ := Digest{Header: set}.parse()
			want := map[string]string{"arc-seal": test.AS, "arc-message-signature": test.AMS, "arc-authentication-results": test.AAR}
			for _, f := range made.fields {
				got, want := string(f.value), want[f.name]
				if f.name == "arc-seal" {
					got, want = string(withoutB([]byte(got))), string(withoutB([]byte(want)))
				}
				if got, want := noFWS(got), noFWS(want); got != want {
					t.Errorf("%s: %s: %s\ngot  %s\nwant %s", doc.Description, name, f.name, got, want)
				}
			}
			r, _ := checker.Check(context.Background(), Client{}, strings.NewReader(string(set)+test.Message))
			if strings.Contains(test.AS, "cv=fail") == (r.ARC.Result == Pass) {
				t.Errorf("%s: our set: %s (%s)", name, r.ARC.Result, r.ARC.Why)
				return
			}
			passed++
		})
	}
	t.Logf("%d passed", passed)
}

func suiteSeal(test arcTest, k Key) ([]byte, error) {
	d, err := ReadDigest(strings.NewReader(test.Message))
	if err != nil {
		return nil, err
	}
	m, err := d.parse()
	if err != nil {
		return nil, err
	}
	results, found := m.results(test.SrvID)
	arc, _ := found.Find("arc")
	return seal(m, d.Body, collect(m), k, string(arc.Result), results, colons(test.SigHeaders), time.Unix(test.T, 0))
}
