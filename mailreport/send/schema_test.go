package send

import (
	"bytes"
	"encoding/base64"
	"io"
	"mime"
	"mime/multipart"
	"net/mail"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"pennypost/internal/dayfile"
	"pennypost/msgauth/aggregate"
)

// Whatever strangers write, the report is one by RFC 9990: xmllint, of libxml2-utils, says so.
func TestSchema(t *testing.T) {
	xmllint, err := exec.LookPath("xmllint")
	if err != nil {
		t.Skip("needs xmllint")
	}
	d := newDesk(t, example)
	odd := row("example.test", "192.0.2.9")
	odd.From, odd.Envelope, odd.Sent.Domain, odd.Policy.FO = "]]><x>&amp;", "\x00\ufffe\xff", "</spf>", "\x01<"
	odd.Reasons[1].Type, odd.Signed[0].Selector, odd.Policy.NP, odd.Policy.SP = "nobody's", "\x7f\"'", "", "none"
	plain := row("example.test", "2001:db8::1")
	plain.Signed, plain.Reasons, plain.Sent.Domain, plain.Envelope, plain.DKIM = nil, nil, "", "", true
	d.seen(t, row("example.test", "192.0.2.7"), odd, plain)
	days, err := dayfile.Days(filepath.Join(d.dir, aggregate.Dir))
	if err != nil || len(days) != 1 {
		t.Fatal(days, err)
	}
	days[0].Full = true
	all, err := aggregate.Collect(days[0])
	if err != nil || len(all["example.test"].Rows) != 3 {
		t.Fatal(all, err)
	}
	var b bytes.Buffer
	meta := aggregate.Meta{Organization: "<We>", Email: "a@b.test", Contact: "https://we.test/?a&b", ID: "1", Begin: yesterday, End: yesterday.Add(time.Hour), Generator: "Pennypost"}
	if err := all["example.test"].WriteXML(&b, meta); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "report.xml")
	if err := os.WriteFile(file, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(b.String(), "<scope>mfrom</scope>"); n != 3 {
		t.Errorf("%d rows with SPF: a stranger without HELO and reverse-path spoils the report for readers by RFC 7489", n)
	}
	if out, err := exec.Command(xmllint, "--noout", "--nonet", "--schema", "testdata/aggregate.xsd", file).CombinedOutput(); err != nil {
		t.Errorf("%s\n%s", out, &b)
	}
}

// A reader of reports by RFC 7489, whom nobody told of RFC 9990, reads ours: dmarc-cat.
func TestOldReader(t *testing.T) {
	reader, err := exec.LookPath("dmarc-cat")
	if err != nil {
		t.Skip("needs dmarc-cat")
	}
	d := newDesk(t, example)
	d.seen(t, row("example.test", "192.0.2.7"), row("example.test", "192.0.2.7"), row("example.test", "2001:db8::7"))
	d.run(t)
	if len(d.mail) != 1 {
		t.Fatal(d.mail)
	}
	_, text, _ := strings.Cut(d.mail[0], "\n")
	m, err := mail.ReadMessage(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	_, params, err := mime.ParseMediaType(m.Header.Get("Content-Type"))
	if err != nil {
		t.Fatal(err)
	}
	parts := multipart.NewReader(m.Body, params["boundary"])
	parts.NextPart()
	part, err := parts.NextPart()
	if err != nil {
		t.Fatal(err)
	}
	if want := "mx.we.test!example.test!1795478400!1795564799!"; !strings.HasPrefix(part.FileName(), want) || !strings.HasSuffix(part.FileName(), ".xml.gz") {
		t.Errorf("%s, want %s", part.FileName(), want)
	}
	packed, err := io.ReadAll(base64.NewDecoder(base64.StdEncoding, part))
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), part.FileName())
	if err := os.WriteFile(file, packed, 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(reader, "-N", file).CombinedOutput()
	if err != nil || !regexp.MustCompile(`(?m)^192\.0\.2\.7 +2 `).Match(out) || !bytes.Contains(out, []byte("2001:db8::7")) {
		t.Errorf("%v\n%s", err, out)
	}
}
