package msgauth

import (
	"strings"
	"testing"
)

// S055: the record and the tree walk of RFC 9989.
func TestS055DMARC(t *testing.T) {
	deep := "a.b.c.d.e.f.g.h.i.j.mail.example.com"
	for _, test := range []struct {
		what    string
		records string // NAME RECORD, one a line, under _dmarc
		from    string
		passing string // domains whose DKIM passes
		result  Result
		do      Policy
		org     string
	}{
		{"no record", "", "example.com", "example.com", None, PolicyNone, "example.com"},
		{"own record", "example.com v=DMARC1; p=reject", "example.com", "", Fail, PolicyReject, "example.com"},
		{"aligned", "example.com v=DMARC1; p=reject", "example.com", "example.com", Pass, PolicyNone, "example.com"},
		{"relaxed below", "example.com v=DMARC1; p=reject", "example.com", "mail.example.com", Pass, PolicyNone, "example.com"},
		{"relaxed above", "example.com v=DMARC1; p=reject", "mail.example.com", "example.com", Pass, PolicyNone, "example.com"},
		{"relaxed beside", "example.com v=DMARC1; p=reject", "a.example.com", "b.example.com", Pass, PolicyNone, "example.com"},
		{"strict below", "example.com v=DMARC1; p=reject; adkim=s", "example.com", "mail.example.com", Fail, PolicyReject, "example.com"},
		{"strict same", "example.com v=DMARC1; p=reject; adkim=s", "example.com", "example.com", Pass, PolicyNone, "example.com"},
		{"only ends so", "example.com v=DMARC1; p=reject", "example.com", "badexample.com", Fail, PolicyReject, "example.com"},
		{"sp", "example.com v=DMARC1; p=reject; sp=quarantine", "mail.example.com", "", Fail, PolicyQuarantine, "example.com"},
		{"sp not for itself", "example.com v=DMARC1; p=reject; sp=none", "example.com", "", Fail, PolicyReject, "example.com"},
		{"np of what does not exist", "example.com v=DMARC1; p=none; np=reject", "ghost.example.com", "", Fail, PolicyReject, "example.com"},
		{"np not of what exists", "example.com v=DMARC1; p=none; np=reject", "mail.example.com", "", Fail, PolicyNone, "example.com"},
		{"sp stands for np", "example.com v=DMARC1; p=none; sp=quarantine", "ghost.example.com", "", Fail, PolicyQuarantine, "example.com"},
		{"t=y", "example.com v=DMARC1; p=reject; t=y", "example.com", "", Fail, PolicyQuarantine, "example.com"},
		{"t=y, quarantine", "example.com v=DMARC1; p=quarantine; t=y", "example.com", "", Fail, PolicyNone, "example.com"},
		{"pct=0 of old", "example.com v=DMARC1; p=reject; pct=0", "example.com", "", Fail, PolicyQuarantine, "example.com"},
		{"pct=20 of old", "example.com v=DMARC1; p=reject; pct=20; rf=afrf; ri=3600; fo=1", "example.com", "", Fail, PolicyReject, "example.com"},
		{"psd=n cuts", "dept.example.com v=DMARC1; p=reject; psd=n\nexample.com v=DMARC1; p=none", "x.dept.example.com", "example.com", Fail, PolicyReject, "dept.example.com"},
		{"psd=n keeps siblings apart", "example.com v=DMARC1; p=reject; psd=n\nother.com v=DMARC1; p=none", "example.com", "other.com", Fail, PolicyReject, "example.com"},
		{"psd=y above", "gov.example v=DMARC1; p=reject; psd=y\ntax.gov.example v=DMARC1; p=quarantine", "mail.tax.gov.example", "", Fail, PolicyQuarantine, "tax.gov.example"},
		{"psd=y alone", "gov.example v=DMARC1; p=none; sp=reject; psd=y", "mail.tax.gov.example", "", Fail, PolicyReject, "tax.gov.example"},
		{"psd=y parts neighbours", "gov.example v=DMARC1; p=reject; psd=y", "tax.gov.example", "post.gov.example", Fail, PolicyReject, "tax.gov.example"},
		{"psd=y ends the walk where it starts", "gov.example v=DMARC1; p=reject; psd=y\nexample v=DMARC1; p=none", "gov.example", "tax.example", Fail, PolicyReject, "gov.example"},
		{"psd=y is the suffix itself", "gov.example v=DMARC1; p=reject; psd=y", "gov.example", "gov.example", Pass, PolicyNone, "gov.example"},
		{"record between is not skipped", "mail.example.com v=DMARC1; p=none\nexample.com v=DMARC1; p=reject", "a.mail.example.com", "", Fail, PolicyReject, "example.com"},
		{"deep", "example.com v=DMARC1; p=reject", deep, "example.com", Pass, PolicyNone, "example.com"},
		{"two records are none", "example.com v=DMARC1; p=reject\nexample.com v=DMARC1; p=none", "example.com", "", None, PolicyNone, "example.com"},
		{"a text beside is no record", "example.com v=DMARC1; p=reject\nexample.com hello", "example.com", "", Fail, PolicyReject, "example.com"},
		{"a later version is none", "example.com v=DMARC2; p=reject", "example.com", "", None, PolicyNone, "example.com"},
		{"lower case is none", "example.com v=dmarc1; p=reject", "example.com", "", None, PolicyNone, "example.com"},
		{"version not first", "example.com p=reject; v=DMARC1", "example.com", "", None, PolicyNone, "example.com"},
		{"capitals and spaces", "example.com V = DMARC1 ; P = Reject ;", "example.com", "", Fail, PolicyReject, "example.com"},
		{"no policy", "example.com v=DMARC1; sp=reject", "example.com", "", Fail, PolicyNone, "example.com"},
		{"no policy, but for subdomains", "example.com v=DMARC1; sp=reject", "mail.example.com", "", Fail, PolicyReject, "example.com"},
		{"wrong policy", "example.com v=DMARC1; p=refuse", "example.com", "", None, PolicyNone, "example.com"},
		{"wrong policy, reports", "example.com v=DMARC1; p=refuse; rua=mailto:a@example.com", "example.com", "", Fail, PolicyNone, "example.com"},
		{"wrong sp, reports", "example.com v=DMARC1; p=reject; sp=x; rua=mailto:a@example.com!10m", "example.com", "", Fail, PolicyNone, "example.com"},
		{"nonsense tags", "example.com v=DMARC1; ;; =x; p=reject; hello; a b=c", "example.com", "", Fail, PolicyReject, "example.com"},
		{"bomb", "example.com v=DMARC1; p=reject; " + strings.Repeat("x=y; ", 2000), "example.com", "", None, PolicyNone, "example.com"},
	} {
		z := make(zone)
		z.set("mail.example.com", "A", "192.0.2.1")
		z.set(deep, "A", "192.0.2.1")
		for line := range strings.Lines(test.records) {
			name, record, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
			z.set("_dmarc."+name, "TXT", record)
			z.set(name, "A", "192.0.2.1")
		}
		c := &counting{zone: z}
		l := &lookup{resolver: c}
		var signatures []DKIM
		for domain := range strings.FieldsSeq(test.passing) {
			signatures = append(signatures, DKIM{Result: Pass, Domain: domain})
		}
		d := l.dmarc(background, Author{Address: "x@" + test.from, Domain: test.from}, SPF{Result: None}, signatures)
		if d.Result != test.result || d.Do != test.do || d.Organization != test.org {
			t.Errorf("%s: %s do=%s org=%s (%s), want %s do=%s org=%s", test.what, d.Result, d.Do, d.Organization, d.Why, test.result, test.do, test.org)
		}
		if n := c.n.Load(); n > 2*maxWalk+1 {
			t.Errorf("%s: %d questions", test.what, n)
		}
	}
}

func TestTreeWalkIsBounded(t *testing.T) {
	c := &counting{zone: make(zone)}
	l := &lookup{resolver: c}
	for labels := 1; labels < 60; labels++ {
		c.n.Store(0)
		if _, err := l.treeWalk(background, strings.Repeat("a.", labels)+"example"); err != nil {
			t.Fatal(err)
		}
		if n := c.n.Load(); n > maxWalk || n != int64(min(labels+1, maxWalk)) {
			t.Errorf("%d labels: %d questions", labels+1, n)
		}
	}
	// the names, as section 4.10 has them
	var asked []string
	for target := "a.b.c.d.e.f.g.h.i.j.mail.example.com"; target != ""; {
		asked = append(asked, target)
		target = above("a.b.c.d.e.f.g.h.i.j.mail.example.com", target)
	}
	want := "a.b.c.d.e.f.g.h.i.j.mail.example.com g.h.i.j.mail.example.com h.i.j.mail.example.com i.j.mail.example.com j.mail.example.com mail.example.com example.com com"
	if got := strings.Join(asked, " "); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestSPFAlignment(t *testing.T) {
	z := make(zone)
	z.set("_dmarc.example.com", "TXT", "v=DMARC1; p=reject; aspf=s")
	z.set("_dmarc.example.org", "TXT", "v=DMARC1; p=reject")
	l := &lookup{resolver: z}
	for _, test := range []struct {
		from, spf string
		want      Result
	}{{"example.com", "example.com", Pass}, {"example.com", "bounce.example.com", Fail}, {"example.org", "bounce.example.org", Pass}, {"example.org", "example.com", Fail}} {
		d := l.dmarc(background, Author{Domain: test.from}, SPF{Result: Pass, Domain: test.spf}, nil)
		if d.Result != test.want {
			t.Errorf("%+v: %+v", test, d)
		}
	}
}
