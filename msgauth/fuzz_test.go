package msgauth

import (
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"pennypost/internal/address"
)

// seedFields adds the fields of a name from the vectors, where they are.
func seedFields(f *testing.F, name string) {
	text, _ := os.ReadFile(filepath.Join("../test/suites/arc/arc-draft-validation-tests.yml"))
	for i, m := range regexp.MustCompile(`(?m)^      `+name+`:((?:.*\n)(?:          .*\n)*)`).FindAllSubmatch(text, 200) {
		if i%10 == 0 {
			f.Add(strings.ReplaceAll(string(m[1]), "\n          ", "\n\t"))
		}
	}
}

func FuzzSignature(f *testing.F) {
	f.Add(" v=1; a=rsa-sha256; c=relaxed/simple; d=example.org; s=a; t=1; x=2; l=0; i=x@a.example.org; q=dns/txt; h=from : to; bh=AAAA; b=AA\n\tAA")
	seedFields(f, "ARC-Message-Signature")
	seedFields(f, "ARC-Seal")
	f.Fuzz(func(t *testing.T, text string) {
		fl := &field{name: "dkim-signature", written: []byte("DKIM-Signature"), value: []byte(text)}
		for _, k := range []kind{dkimSignature, arcMessage, arcSeal} {
			s, err := parseSignature(fl, k)
			if err != nil {
				continue
			}
			if d, err := dnsName(s.domain); err != nil || d != s.domain || strings.ContainsAny(s.selector, "/ \x00") {
				t.Errorf("%q %q", s.domain, s.selector)
			}
			// the text without b= signs the same whatever b= is
			if again := withoutB(withoutB(fl.value)); string(again) != string(withoutB(fl.value)) {
				t.Errorf("b= is taken out of %q twice", text)
			}
			s.covered(&message{fields: []field{*fl}})
		}
	})
}

func FuzzKey(f *testing.F) {
	for _, s := range []string{"v=DKIM1; k=rsa; h=sha256; s=email; t=y:s; n=x; p=", "p=AAAA", "v=DKIM1; p=MCowBQYDK2VwAyEA", "k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=", fakeRSA(1024), fakeRSA(4096)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		k, err := parseKey(text)
		if err == nil && (k.rsa == nil) == (k.ed25519 == nil) {
			t.Errorf("%q: %+v", text, k)
		}
		if err == nil && k.rsa != nil && (k.bits < minBits || k.bits > maxBits) {
			t.Errorf("%d bits", k.bits)
		}
		if err == nil {
			for _, a := range []string{"rsa-sha256", "ed25519-sha256"} {
				if k.verify(a, []byte("x"), []byte("y")) == nil {
					t.Error("a signature of nothing fits")
				}
			}
		}
	})
}

func FuzzSPF(f *testing.F) {
	for _, s := range []string{"v=spf1 a mx/24//64 ip4:192.0.2.0/24 ip6:2001:db8::/32 include:b.example -all", "v=spf1 exists:%{ir}.%{v}._spf.%{d2} redirect=b.example",
		"v=spf1 ptr:%{o} ?all exp=%{l1r-}.example", "v=spf1 a:%%%_%-", "v=spf1 mx mx mx mx mx mx mx mx mx mx mx", "V=SPF1  +all"} {
		f.Add(s, "x@y", "helo.example")
	}
	f.Fuzz(func(t *testing.T, record, local, helo string) {
		z := make(zone)
		z.set("a.example", "TXT", record)
		z.set("b.example", "TXT", record)
		z.set("a.example", "A", "192.0.2.1")
		c := &Checker{DNS: z}
		_, from, records := c.SPF(background, Client{Addr: netip.MustParseAddr("192.0.2.9"), HELO: helo, From: address.Path{Local: local, Domain: "a.example"}})
		switch from.Result {
		case None, Neutral, Pass, Fail, SoftFail, PermError, TempError:
		default:
			t.Errorf("%q", from.Result)
		}
		if len(records) > spfQueries || from.Why == "" {
			t.Errorf("%d questions, why %q", len(records), from.Why)
		}
	})
}

func FuzzDMARC(f *testing.F) {
	for _, s := range []string{"v=DMARC1; p=reject; sp=none; np=quarantine; adkim=s; aspf=r; t=y; psd=n; rua=mailto:a@b.example!10m,https://c.example; ruf=mailto:x@y.example; fo=1:d:s",
		"v=DMARC1;p=none", "v=DMARC1; pct=0; p=x; rua=mailto:a@b", "v = DMARC1 ;;;"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		r, err := parseDMARC(text)
		if r != nil && (err != nil || policy(string(r.p)) == "" || !isDMARC(text)) {
			t.Errorf("%q: %+v %v", text, r, err)
		}
	})
}

func FuzzARC(f *testing.F) {
	f.Add("ARC-Seal: i=1; cv=none; a=rsa-sha256; d=a.example; s=s; b=AAAA\nARC-Message-Signature: i=1; a=rsa-sha256; d=a.example; s=s; h=from; bh=AAAA; b=AAAA\nARC-Authentication-Results: i=1; a.example; none\nFrom: a@a.example\n\nx\n")
	f.Add("ARC-Authentication-Results: i=50; x\nARC-Seal: i=2\n\n")
	f.Fuzz(func(t *testing.T, text string) {
		r := judge(t, zone{}, Client{}, text)
		if r.ARC.Result == Pass {
			t.Error("passes without a key")
		}
		d, err := ReadDigest(strings.NewReader(text))
		if err != nil {
			return
		}
		m, err := d.parse()
		if err != nil {
			return
		}
		if c := collect(m); c.err == nil && len(c.sets) > maxSets || c.most > maxSets {
			t.Errorf("%d sets", c.most)
		}
	})
}

func FuzzResults(f *testing.F) {
	for _, s := range []string{" mx.example.net; none", " mx.example.net 1; spf=pass (ok) reason=\"x;y\" smtp.mailfrom=\"a b\"@c.example; dkim/1 = fail header.b=\"a/b\" header.i=@x",
		" (c(d)) \"m\\\"x\";;", " x; a=b c.d=e", " x=y"} {
		f.Add(s)
	}
	seedFields(f, "Authentication-Results")
	f.Fuzz(func(t *testing.T, text string) {
		Claims(text, "mx.example.net")
		r, err := ParseResults(text)
		if err != nil {
			return
		}
		again, err := ParseResults(strings.TrimPrefix(r.String(), "Authentication-Results:"))
		if err != nil || len(again.Methods) != len(r.Methods) {
			t.Errorf("%q becomes %q: %v", text, r.String(), err)
		}
		for line := range strings.Lines(r.String()) {
			if len(line) > 998 {
				t.Errorf("a line of %d octets", len(line))
			}
		}
	})
}

func FuzzAuthor(f *testing.F) {
	f.Add(" \"A, B\" <a@example.org> (c (d))")
	f.Add(" a@example.org")
	f.Add(" =?utf-8?q?x?= <\"a b\"@bücher.example>")
	f.Fuzz(func(t *testing.T, value string) {
		_, p, err := parseAuthor([]byte(value))
		if err == nil && (p.Domain == "" || !strings.Contains(value, "@")) {
			t.Errorf("%q: %v", value, p)
		}
	})
}
