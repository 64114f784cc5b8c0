package mailreport

import (
	"archive/zip"
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pennypost/internal/durable/faultdisk"
)

var now = time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)

// aggregateOf is a report of RFC 9990, from the day, with rows as given.
func aggregateOf(day time.Time, id string, rows ...string) string {
	return fmt.Sprintf(`<?xml version="1.0" encoding="UTF-8"?>
<feedback xmlns="urn:ietf:params:xml:ns:dmarc-2.0"><version>1.0</version>
<report_metadata><org_name>Big &amp; Co</org_name><email>dmarc@big.example</email><report_id>%s</report_id>
<date_range><begin>%d</begin><end>%d</end></date_range><generator>g 1</generator></report_metadata>
<policy_published><domain>Example.ORG</domain><discovery_method>treewalk</discovery_method><p>none</p><sp>none</sp><np>reject</np><fo>1</fo><testing>n</testing></policy_published>
%s</feedback>`, id, day.Unix(), day.Unix()+86399, strings.Join(rows, "\n"))
}

func record(source string, count int, dkim, spf string) string {
	return fmt.Sprintf(`<record><row><source_ip>%s</source_ip><count>%d</count><policy_evaluated><disposition>none</disposition><dkim>%s</dkim><spf>%s</spf></policy_evaluated></row>
<identifiers><header_from>example.org</header_from><envelope_from>bounce.example.org</envelope_from></identifiers>
<auth_results><dkim><domain>example.org</domain><selector>r1</selector><result>%s</result></dkim><spf><domain>bounce.example.org</domain><scope>mfrom</scope><result>%s</result></spf></auth_results>
<ext:row xmlns:ext="urn:x"><ext:count>99</ext:count><ext:source_ip>none</ext:source_ip></ext:row></record>`,
		source, count, dkim, spf, dkim, spf)
}

func gz(t testing.TB, text string) string {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := w.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
	w.Close()
	return b.String()
}

func zipped(t testing.TB, names []string, text string) string {
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for _, name := range names {
		f, err := w.Create(name)
		if err != nil {
			t.Fatal(err)
		}
		f.Write([]byte(text))
	}
	w.Close()
	return b.String()
}

// mail is a message with an attachment.
func mail(kind, name, body string) string {
	return "From: noreply@big.example\r\nSubject: Report Domain: example.org\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n" +
		"Content-Type: text/plain\r\n\r\nsee attachment\r\n--b\r\nContent-Type: " + kind + "\r\nContent-Disposition: attachment; filename=\"" + name + "\"\r\n" +
		"Content-Transfer-Encoding: base64\r\n\r\n" + base64.StdEncoding.EncodeToString([]byte(body)) + "\r\n--b--\r\n"
}

func TestDMARC(t *testing.T) {
	xml := aggregateOf(now, "1", record("192.0.2.1", 7, "pass", "fail"), record("2001:DB8::1", 1, "fail", "fail"))
	forms := map[string]string{"plain": xml, "gzip": gz(t, xml), "zip": zipped(t, []string{"a/b.xml"}, xml), "mail": mail("text/xml", "r.xml", xml),
		"gzip by mail": mail("application/gzip", "r.xml.gz", gz(t, xml)), "zip as octets": mail("application/octet-stream", "r.zip", zipped(t, []string{"r.xml"}, xml))}
	var first string
	for name, text := range forms {
		list, err := Read(strings.NewReader(text), now)
		if err != nil || len(list) != 1 || list[0].Kind != "dmarc" || list[0].Rows() != 2 {
			t.Fatalf("%s: %v %v", name, list, err)
		}
		r := *list[0].rows[0].(*DMARC)
		if first == "" {
			first = r.Report
		}
		want := DMARC{first, "2026-11-25T12:00:00Z", "2026-11-26T11:59:59Z", "Big & Co", "example.org", "none", "none", "", "192.0.2.1", 7, "none",
			"pass", "fail", "", "example.org", "bounce.example.org", "example.org:r1:pass", "bounce.example.org:mfrom:fail"}
		if r != want {
			t.Errorf("%s:\n%+v, want\n%+v", name, r, want)
		}
		if list[0].rows[1].(*DMARC).Source != "2001:db8::1" {
			t.Errorf("%+v", list[0].rows[1])
		}
	}
}

// What an older or careless reporter writes is read, too.
func TestOldDMARC(t *testing.T) {
	text := `<?xml version="1.0" encoding="windows-1252"?><feedback><report_metadata><org_name>Caf` + "\xe9" + ` & Co</org_name><report_id>2</report_id>
<date_range><begin> 1764072000.0 </begin><end>1764158399</end></date_range></report_metadata>
<policy_published><domain>example.org</domain><p>Quarantine</p><pct>50</pct></policy_published>
<record><row><source_ip>::ffff:192.0.2.9</source_ip><count>3</count><policy_evaluated><disposition>none</disposition><dkim>fail</dkim><spf>fail</spf>
<reason><type>mailing_list</type><comment>the list</comment></reason></policy_evaluated></row><identifiers><header_from>example.org</header_from></identifiers><auth_results/></record></feedback>`
	list, err := Read(strings.NewReader(text), now)
	if err != nil {
		t.Fatal(err)
	}
	r := list[0].rows[0].(*DMARC)
	if r.Reporter != "Café & Co" || r.Testing != "pct=50" || r.Policy != "quarantine" || r.Source != "192.0.2.9" || r.Reason != "mailing_list" {
		t.Errorf("%+v", r)
	}
}

const tlsText = `{"organization-name":"Big \u001b[2J Co","date-range":{"start-datetime":"2026-11-24T00:00:00Z","end-datetime":"2026-11-24T23:59:59Z"},
"contact-info":"x@big.example","report-id":"9","extra":[{"a":[1,{"b":null}]}],"policies":[{"policy":{"policy-type":"sts","policy-domain":"Example.org.",
"policy-string":["version: STSv1","mode: testing","mx: mx.example.org"],"mx-host":["mx.example.org"]},"summary":{"total-successful-session-count":90,"total-failure-session-count":"10"},
"failure-details":[{"result-type":"certificate-expired","receiving-mx-hostname":"mx.example.org","failed-session-count":10,"sending-mta-ip":"192.0.2.3"}]},
{"policy":{"policy-type":"no-policy-found","policy-domain":"example.org"},"summary":{"total-successful-session-count":5}}]}`

func TestTLS(t *testing.T) {
	for name, text := range map[string]string{"plain": tlsText, "mail": mail("application/tlsrpt+gzip", "r.json.gz", gz(t, tlsText))} {
		list, err := Read(strings.NewReader(text), now)
		if err != nil || len(list) != 1 || list[0].Rows() != 3 {
			t.Fatalf("%s: %v %v", name, list, err)
		}
		total, failed := list[0].rows[0].(*TLS), list[0].rows[1].(*TLS)
		if total.Successes != 90 || total.Failures != 10 || total.Mode != "testing" || total.Domain != "example.org" || total.Reporter != `Big \x1b[2J Co` {
			t.Errorf("%s: %+v", name, total)
		}
		if failed.Result != "certificate-expired" || failed.Count != 10 || failed.Policy != "sts" || failed.MX != "mx.example.org" {
			t.Errorf("%s: %+v", name, failed)
		}
	}
}

const arfText = "From: fbl@big.example\nDate: Tue, 24 Nov 2026 10:00:00 +0000\nMessage-ID: <1@big.example>\nMIME-Version: 1.0\n" +
	"Content-Type: multipart/report; report-type=feedback-report; boundary=b\n\n--b\nContent-Type: text/plain\n\na complaint\n--b\n" +
	"Content-Type: message/feedback-report\n\nFeedback-Type: abuse\nUser-Agent: FBL/1\nVersion: 1\nOriginal-Mail-From: <news@example.org>\n" +
	"Original-Rcpt-To: <bob@big.example>\nArrival-Date: Tue, 24 Nov 2026 09:00:00 +0000 (UTC)\nSource-IP: 192.0.2.1\nIncidents: 2\n\n--b\n" +
	"Content-Type: text/rfc822-headers\n\nFrom: News <news@example.org>\nList-ID: <news.example.org>\nMessage-ID: <n1@example.org>\nFeedback-ID: 1:news\n\n--b--\n"

func TestARF(t *testing.T) {
	list, err := Read(strings.NewReader(arfText), now)
	if err != nil || len(list) != 1 {
		t.Fatal(list, err)
	}
	a := *list[0].rows[0].(*ARF)
	want := ARF{a.Report, "2026-11-24T09:00:00Z", "big.example", "abuse", 2, "example.org", "192.0.2.1", "news@example.org", "bob@big.example", "",
		"1:news", "<news.example.org>", "n1@example.org", "FBL/1"}
	if a != want {
		t.Errorf("%+v, want\n%+v", a, want)
	}
}

const dsnText = "From: MAILER-DAEMON@mx.big.example\nDate: Tue, 24 Nov 2026 10:00:00 +0000\nMIME-Version: 1.0\n" +
	"Content-Type: multipart/report; report-type=delivery-status; boundary=b\n\n--b\n\nSorry.\n--b\nContent-Type: message/delivery-status\n\n" +
	"Reporting-MTA: dns; mx.big.example\nOriginal-Envelope-Id: e1\n\nFinal-Recipient: rfc822; bob@big.example\nAction: failed\nStatus: 5.1.1 (no such user)\n" +
	"Remote-MTA: dns; in.big.example\nDiagnostic-Code: smtp; 550 5.1.1\n  nobody; here\n\nFinal-Recipient: rfc822;eve@big.example\nAction: delayed\nStatus: 4.2.2\n\n--b\n" +
	"Content-Type: message/rfc822\n\nMessage-ID: <o1@example.org>\n\nhello\n--b--\n"

func TestDSN(t *testing.T) {
	list, err := Read(strings.NewReader(dsnText), now)
	if err != nil || len(list) != 1 || list[0].Rows() != 2 {
		t.Fatal(list, err)
	}
	d := *list[0].rows[0].(*DSN)
	want := DSN{d.Report, "2026-11-24T10:00:00Z", "mx.big.example", "bob@big.example", "", "failed", "5.1.1", "in.big.example", "550 5.1.1 nobody; here", "e1", "o1@example.org"}
	if d != want {
		t.Errorf("%+v, want\n%+v", d, want)
	}
}

// A report, and what a program makes of it, are bounded whatever is in it.
func TestS092Bounds(t *testing.T) {
	day := now
	head := `{"date-range":{"start-datetime":"2026-11-24T00:00:00Z"},"policies":[`
	lots := strings.Repeat(record("192.0.2.1", 1, "pass", "pass"), 1000)
	for name, text := range map[string]string{
		"entity":               `<!DOCTYPE f [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]>` + aggregateOf(day, "&b;", record("192.0.2.1", 1, "pass", "pass")),
		"external entity":      `<!DOCTYPE f SYSTEM "file:///etc/passwd"><feedback/>`,
		"gzip 1000:1":          gz(t, "<feedback>"+strings.Repeat(" ", 4*MaxReport)),
		"zip 1000:1":           zipped(t, []string{"a"}, "<feedback>"+strings.Repeat(" ", 2*MaxReport)),
		"zip of many":          zipped(t, []string{"a", "b", "c"}, "<feedback>"+strings.Repeat(" ", MaxReport/2)+"</feedback>"),
		"zip of very many":     zipped(t, strings.Split(strings.Repeat("x ", 100), " "), "{}"),
		"no archive":           "PK\x03\x04zzzz",
		"half a gzip":          gz(t, lots)[:2000],
		"many rows":            aggregateOf(day, "1", strings.Repeat("<record><row><source_ip>::1</source_ip></row></record>", MaxRows+1)),
		"deep XML":             "<feedback>" + strings.Repeat("<a>", 1000),
		"large XML":            "<feedback>" + strings.Repeat("<a/>", MaxReport),
		"many policies":        head + strings.Repeat("{},", MaxRows+1) + "{}]}",
		"many failures":        head + `{"failure-details":[` + strings.Repeat("{},", MaxRows+1) + "{}]}]}",
		"deep JSON":            `{"x":` + strings.Repeat("[", 100_000),
		"JSON of wrong types":  head + `{"policy":7}]}`,
		"a count below 0":      head + `{"summary":{"total-successful-session-count":-1}}]}`,
		"a count beyond all":   head + `{"summary":{"total-successful-session-count":1e300}}]}`,
		"half a JSON":          head,
		"a year beyond all":    `{"date-range":{"start-datetime":"9999-11-24T00:00:00Z"},"policies":[{}]}`,
		"no address":           aggregateOf(day, "1", record("example.org", 1, "pass", "pass")),
		"a count that is none": aggregateOf(day, "1", record("192.0.2.1", -5, "pass", "pass")),
		"no time":              strings.ReplaceAll(aggregateOf(day, "1"), "<begin>", "<begin>x"),
		"a large message":      "Subject: x\n\n" + strings.Repeat("x", MaxMessage),
	} {
		if list, err := Read(strings.NewReader(text), now); err == nil || errors.Is(err, ErrNone) || len(list) > 0 {
			t.Errorf("%s: %d reports, %v", name, len(list), err)
		}
	}
	if list, err := Read(strings.NewReader(aggregateOf(day, "1", lots, lots, lots)), now); err != nil || list[0].Rows() != 3000 {
		t.Error(err)
	}
}

func open(t *testing.T) *Store {
	t.Helper()
	s, err := Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func read(t testing.TB, texts ...string) (list []*Report) {
	t.Helper()
	for _, text := range texts {
		r, err := Read(strings.NewReader(text), now)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, r...)
	}
	return list
}

func TestOnce(t *testing.T) {
	s := open(t)
	list := read(t, aggregateOf(now, "1", record("192.0.2.1", 7, "pass", "fail")), tlsText, arfText, dsnText)
	for i, want := range []int{4, 0} {
		if n, err := s.Add(append(list, list...)); n != want || err != nil {
			t.Errorf("call %d: %d added, %v", i, n, err)
		}
	}
	// Whoever borrows the id of a report hides nothing.
	if n, err := s.Add(read(t, aggregateOf(now, "1", record("192.0.2.1", 8, "pass", "fail")))); n != 1 || err != nil {
		t.Error(n, err)
	}
	text, err := os.ReadFile(filepath.Join(s.Dir, "dmarc/2026-11-25.tsv"))
	if err != nil || bytes.Count(text, []byte("\n")) != 3 || !bytes.HasPrefix(text, []byte("report\tbegin\tend\treporter\tdomain\t")) {
		t.Errorf("%v\n%s", err, text)
	}
}

// A power cut leaves the reports of before, or those and all new ones.
func TestPowerCut(t *testing.T) {
	first := read(t, aggregateOf(now, "1", record("192.0.2.1", 7, "pass", "fail")))
	second := read(t, aggregateOf(now, "2", record("192.0.2.1", 7, "pass", "fail"), record("192.0.2.2", 7, "pass", "fail")))
	for n := 1; ; n++ {
		disk := faultdisk.New()
		s := &Store{disk: disk}
		if _, err := s.Add(first); err != nil {
			t.Fatal(err)
		}
		disk.CrashAt(n)
		added, err := s.Add(second)
		text := disk.Reboot()["dmarc/2026-11-25.tsv"]
		switch lines := strings.Count(text, "\n"); {
		case lines != 2 && lines != 4:
			t.Fatalf("cut at step %d (%s): %d lines", n, disk.LastStep(), lines)
		case err == nil && added == 1 && lines != 4:
			t.Fatalf("cut at step %d (%s): said to be written, and is not", n, disk.LastStep())
		}
		if !disk.Crashed() {
			return
		}
	}
}

func TestMaildir(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{"new/1.a": mail("text/xml", "r.xml", aggregateOf(now, "1", record("192.0.2.1", 7, "pass", "fail"))),
		"cur/2.b:2,S": arfText, "cur/3.c:2,": "Subject: hello\n\nhello\n", "cur/4.d:2,": mail("application/gzip", "x.gz", "\x1f\x8bnothing"), "cur/.hidden": "x"} {
		os.Mkdir(filepath.Join(dir, filepath.Dir(name)), 0o700)
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("/etc/passwd", filepath.Join(dir, "new/5.e")); err != nil {
		t.Fatal(err)
	}
	var bad []string
	r := &Reader{Store: open(t), Now: func() time.Time { return now }, Bad: func(name string, err error) { bad = append(bad, filepath.Base(name)) }}
	if err := errors.Join(r.Maildir(dir), r.Flush()); err != nil {
		t.Fatal(err)
	}
	if r.Reading != (Reading{Messages: 4, Reports: 2, Added: 2, Others: 1, Unread: 2}) || strings.Join(bad, " ") != "5.e 4.d:2," {
		t.Errorf("%+v %v", r.Reading, bad)
	}
	if err := r.Maildir(filepath.Join(dir, "nowhere")); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
}
