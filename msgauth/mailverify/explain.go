package mailverify

import (
	"fmt"
	"slices"
	"strings"

	"pennypost/msgauth"
)

// explain makes an answer of a report.
func explain(command string, r *msgauth.Report) *answer {
	a := &answer{Records: r.Records}
	switch command {
	case "dkim":
		a.Verdict, a.Why = signatures(r)
		a.dkim(r)
	case "arc":
		a.Verdict, a.Why, a.ARC = r.ARC.Result, r.ARC.Why, &r.ARC
		a.arc(r)
	default:
		a.dmarc(r)
	}
	if command == "all" {
		a.HELO, a.IPRev, a.ARC, a.Header = &r.HELO, &r.IPRev, &r.ARC, r.Header()
		a.line("helo", "%s: %s", r.HELO.Result, r.HELO.Why)
		a.line("iprev", "%s: %s", r.IPRev.Result, r.IPRev.Why)
		a.line("arc", "%s: %s", r.ARC.Result, r.ARC.Why)
		a.arc(r)
	}
	return a
}

func (a *answer) dmarc(r *msgauth.Report) {
	a.Verdict, a.Why = r.DMARC.Result, r.DMARC.Why
	a.Author, a.DMARC, a.MailFrom = &r.Author, &r.DMARC, &r.From
	if a.line("do", "%s", r.DMARC.Do); r.DMARC.Override != "" {
		a.line("override", "%s", r.DMARC.Override)
	}
	if r.Author.Claims != "" {
		a.line("author", "%s, who shows %s for a name", r.Author.Address, r.Author.Claims)
	} else if r.Author.Address != "" {
		a.line("author", "%s", r.Author.Address)
	}
	if r.DMARC.PolicyDomain != "" {
		a.line("policy", "%s of %s; the organization is %s", r.DMARC.Policy, r.DMARC.PolicyDomain, r.DMARC.Organization)
	}
	a.line("spf", "%s: %s", r.From.Result, r.From.Why)
	a.dkim(r)
}

func (a *answer) dkim(r *msgauth.Report) {
	a.DKIM, a.Skipped = r.DKIM, r.Skipped
	if len(r.DKIM) == 0 {
		a.line("dkim", "none: the message has no signature")
	}
	for i, d := range r.DKIM {
		name, testing := "?", ""
		if d.Domain != "" {
			name = fmt.Sprintf("d=%s s=%s a=%s", d.Domain, d.Selector, d.Algorithm)
		}
		if d.Testing {
			testing = " (the key is being tested, t=y)"
		}
		a.line(fmt.Sprintf("dkim %d", i+1), "%s: %s: %s%s", d.Result, name, d.Why, testing)
	}
	if r.Skipped > 0 {
		a.line("dkim", "neutral: %d more signatures were not looked at", r.Skipped)
	}
}

func (a *answer) arc(r *msgauth.Report) {
	if len(r.ARC.Sealers) > 0 {
		a.line("sealers", "%s", strings.Join(r.ARC.Sealers, ", "))
	}
	if r.ARC.Trusted != "" {
		a.line("trusted", "%s found %s", r.ARC.Trusted, strings.Join(strings.Fields(r.ARC.Results), " "))
	}
}

// signatures is one verdict on several: one that passes is enough, and what may still pass is no failure.
func signatures(r *msgauth.Report) (msgauth.Result, string) {
	for _, result := range []msgauth.Result{msgauth.Pass, msgauth.TempError, msgauth.Fail, msgauth.PermError, msgauth.Neutral} {
		if i := slices.IndexFunc(r.DKIM, func(d msgauth.DKIM) bool { return d.Result == result }); i >= 0 {
			return result, r.DKIM[i].Why
		}
	}
	return msgauth.None, "the message has no signature"
}
