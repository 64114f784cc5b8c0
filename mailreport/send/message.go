package send

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"strings"
	"time"
)

// message is the mail with a report in it: RFC 9990 section 3.5.2, RFC 8460 section 5.3. Nothing in it is of strangers but domains that DNS had,
// and an address that has been parsed. A report that is sent again has the same Message-ID
// and file name, so who gets it twice knows it.
func (s *Sender) message(r *report, t target, packed []byte) []byte {
	var b bytes.Buffer
	p := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	domain := s.From[strings.LastIndexByte(s.From, '@')+1:]
	boundary := "=_" + r.id
	p("From: %s", s.From)
	p("To: %s", t.address)
	p("Subject: Report Domain: %s\n Submitter: %s\n Report-ID: <%s@%s>", r.domain, s.Host, r.id, s.Host)
	p("Date: %s", s.Now().UTC().Format("Mon, 2 Jan 2006 15:04:05 +0000"))
	p("Message-ID: <%s.%s@%s>", r.kind, r.id, domain)
	p("Auto-Submitted: auto-generated")
	what, media, file := "what we found by DMARC of mail from "+r.domain, "application/gzip", r.fileName(s.Host)+".xml.gz"
	if r.kind == "tls" {
		what, media, file = "how TLS with the mail hosts of "+r.domain+" went", "application/tlsrpt+gzip", r.fileName(s.Host)+".json.gz"
		p("TLS-Report-Domain: %s\nTLS-Report-Submitter: %s", r.domain, s.Host)
		p("TLS-Required: No") // it may be about the very TLS that would stop it: RFC 8460 section 3, RFC 8689 section 5
	}
	p("MIME-Version: 1.0")
	if r.kind == "tls" {
		p("Content-Type: multipart/report; report-type=\"tlsrpt\";\n boundary=\"%s\"", boundary)
	} else {
		p("Content-Type: multipart/mixed;\n boundary=\"%s\"", boundary)
	}
	p("\n--%s\nContent-Type: text/plain; charset=us-ascii\n", boundary)
	p("Attached is %s,\non %s (UTC), for programs to read.", what, r.day.Format(time.DateOnly))
	p("DNS of %s asks for such reports to be sent to this address.", r.domain)
	p("\n--%s\nContent-Type: %s;\n name=\"%s\"\nContent-Disposition: attachment;\n filename=\"%s\"\nContent-Transfer-Encoding: base64\n", boundary, media, file, file)
	text := base64.StdEncoding.EncodeToString(packed)
	for len(text) > 76 {
		p("%s", text[:76])
		text = text[76:]
	}
	p("%s", text)
	p("--%s--", boundary)
	return b.Bytes()
}

// fileName is the name of the file, less its end: a report that is sent again has the same.
func (r *report) fileName(submitter string) string {
	return fmt.Sprintf("%s!%s!%d!%d!%s", submitter, r.domain, r.day.Unix(), r.end().Unix(), r.id)
}
