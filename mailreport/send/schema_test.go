package send

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
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
	if out, err := exec.Command(xmllint, "--noout", "--nonet", "--schema", "testdata/aggregate.xsd", file).CombinedOutput(); err != nil {
		t.Errorf("%s\n%s", out, &b)
	}
}
