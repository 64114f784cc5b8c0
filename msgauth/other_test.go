package msgauth

import (
	"bytes"
	"crypto"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"strings"
	"testing"

	"github.com/emersion/go-msgauth/authres"
	"github.com/emersion/go-msgauth/dkim"
	"github.com/google/go-cmp/cmp"
)

// bodies are messages whose canonical forms differ from what is written.
func bodies() []string {
	list := []string{"", "\n", "\n\n\n", "x", "x\n", "x\n\n\n", " \n", " \t \nx  y\t\tz \n \n", "\t\n", "a \n b\n\n", strings.Repeat("word  ", 30000) + "\n"}
	rng := mathrand.New(mathrand.NewPCG(1, 2))
	for range 40 {
		var b strings.Builder
		for range rng.IntN(400) {
			b.WriteByte("ab \t\n\n."[rng.IntN(7)])
		}
		list = append(list, b.String())
	}
	return list
}

func otherLookup(z zone) func(string) ([]string, error) {
	return func(name string) ([]string, error) {
		texts, _, err := z.TXT(background, name)
		return texts, err
	}
}

// Our signatures verify with go-msgauth.
func TestOursWithOther(t *testing.T) {
	for _, body := range bodies() {
		head, _, _ := strings.Cut(letter, "\n\n")
		text := signed(t, head+"\nCc:\t a@x.example,\n  b@x.example \n\n"+body, testKeys()...)
		wire := strings.ReplaceAll(text, "\n", "\r\n")
		if !strings.HasSuffix(wire, "\r\n") {
			wire += "\r\n" // as SMTP carries it
		}
		found, err := dkim.VerifyWithOptions(strings.NewReader(wire), &dkim.VerifyOptions{LookupTXT: otherLookup(exampleZone())})
		if err != nil || len(found) != 2 {
			t.Fatalf("%q: %v %v", body, err, found)
		}
		for _, v := range found {
			if v.Err != nil && !strings.Contains(v.Err.Error(), "expired") {
				t.Errorf("%.40q: %v", body, v.Err)
			}
		}
	}
}

// Theirs verify with us, in each pair of canonical forms and with both kinds of key.
func TestOthersWithUs(t *testing.T) {
	for i, body := range bodies() {
		for _, k := range testKeys() {
			for n, form := range []dkim.Canonicalization{dkim.CanonicalizationSimple, dkim.CanonicalizationRelaxed} {
				options := &dkim.SignOptions{Domain: k.Domain, Selector: k.Selector, Signer: k.Signer, Hash: crypto.SHA256,
					HeaderCanonicalization: form, BodyCanonicalization: dkim.CanonicalizationSimple}
				if (i+n)%2 == 0 {
					options.BodyCanonicalization = dkim.CanonicalizationRelaxed
				}
				head, _, _ := strings.Cut(letter, "\n\n")
				text := head + "\nX-Odd :  a\t b \nCc:\t a@x.example,\n  b@x.example \n\n" + body
				if !strings.HasSuffix(text, "\n") {
					text += "\n"
				}
				var out bytes.Buffer
				if err := dkim.Sign(&out, strings.NewReader(strings.ReplaceAll(text, "\n", "\r\n")), options); err != nil {
					t.Fatal(err)
				}
				for _, got := range []string{out.String(), strings.ReplaceAll(out.String(), "\r\n", "\n")} {
					if r := judge(t, exampleZone(), stranger, got); results(r) != "pass" {
						t.Errorf("%s %s %s %.40q: %+v", k.Selector, options.HeaderCanonicalization, options.BodyCanonicalization, body, r.DKIM)
					}
				}
			}
		}
	}
}

// Both read what we write, and what they write, alike.
func TestResultsWithOther(t *testing.T) {
	r := judge(t, exampleZone(), stranger, signed(t, strings.Replace(letter, "hello", "h\"i\\", 1), testKeys()...)+"changed\n")
	r.Client.HELO, r.HELO.Sender = "odd name; x=y (\"\x1b", "odd name; x=y (\"\x1b" // S060
	ours := strings.TrimPrefix(r.Header(), "Authentication-Results:")
	host, theirs, err := authres.Parse(strings.Join(strings.Fields(ours), " "))
	if err != nil || host != "mx.example.net" || len(theirs) == 0 {
		t.Fatalf("%v %q\n%s", err, host, ours)
	}
	back, err := ParseResults(ours)
	if err != nil {
		t.Fatalf("%v\n%s", err, ours)
	}
	if len(back.Methods) != len(theirs) || strings.ContainsRune(ours, '\x1b') {
		t.Errorf("%d results, they see %d:\n%s", len(back.Methods), len(theirs), ours)
	}
	written := authres.Format("mx.other.example", []authres.Result{
		&authres.SPFResult{Value: authres.ResultPass, From: "a@example.org", Helo: "c.example.org"},
		&authres.DKIMResult{Value: authres.ResultFail, Reason: "bad (very)", Domain: "example.org", Identifier: "@example.org"},
		&authres.DMARCResult{Value: authres.ResultPass, From: "example.org"},
	})
	got, err := ParseResults(written)
	want := Results{"mx.other.example", []Method{
		{"spf", Pass, "", []Prop{{"smtp", "mailfrom", "a@example.org"}, {"smtp", "helo", "c.example.org"}}},
		{"dkim", Fail, "bad (very)", []Prop{{"header", "d", "example.org"}, {"header", "i", "@example.org"}}},
		{"dmarc", Pass, "", []Prop{{"header", "from", "example.org"}}},
	}}
	sortProps := func(m []Method) {
		for i := range m {
			if len(m[i].Props) == 2 && m[i].Props[0].Property > m[i].Props[1].Property {
				m[i].Props[0], m[i].Props[1] = m[i].Props[1], m[i].Props[0]
			}
		}
	}
	sortProps(got.Methods)
	sortProps(want.Methods)
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("%v\n%s\n%s", err, written, diff)
	}
}

// Sealed by us, from hop to hop, it stays whole.
func TestSealSeveralHops(t *testing.T) {
	z := exampleZone()
	text := signed(t, letter, testKeys()...)
	for hop := range 4 {
		host := fmt.Sprintf("hop%d.example", hop)
		k := Key{host, "s", testKeys()[hop%2].Signer}
		z.set("s._domainkey."+host, "TXT", keyRecord(k))
		c := &Checker{DNS: z, Name: host, Now: noonPlus(0)}
		r, err := c.Check(background, alice, strings.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		want := Pass
		if hop == 0 {
			want = None
		}
		if r.ARC.Result != want || results(r) != "pass pass" {
			t.Fatalf("hop %d: %s (%s) %+v", hop, r.ARC.Result, r.ARC.Why, r.DKIM)
		}
		text = addSeal(t, r.Header()+"Received: by "+host+"\n"+text, k, host)
	}
	d, err := ReadDigest(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Seal(d, testKeys()[0], "stranger.example", noon); !errors.Is(err, ErrUnsealed) {
		t.Errorf("sealed without having looked: %v", err)
	}
}
