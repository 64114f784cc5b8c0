package mailreport

import (
	"bytes"
	"strings"
	"testing"
)

// fuzz reads a text, and what was read must come back from a file as it was.
func fuzz(t *testing.T, text []byte) {
	list, err := Read(bytes.NewReader(text), now)
	if err != nil {
		return
	}
	for _, r := range list {
		if r.Rows() == 0 || r.Rows() > MaxRows {
			t.Errorf("%d rows", r.Rows())
		}
		for _, row := range r.rows {
			var b bytes.Buffer
			writeLine(&b, row.columns(), func(c column) string { return c.name })
			writeLine(&b, row.columns(), column.value)
			if strings.Count(b.String(), "\n") != 2 || len(b.String()) > 1<<14 {
				t.Fatalf("%q", b.String())
			}
			before := b.String()
			if err := eachLine([]byte(before), row, func() {}); err != nil {
				t.Fatalf("%v: %q", err, before)
			}
			b.Reset()
			writeLine(&b, row.columns(), func(c column) string { return c.name })
			writeLine(&b, row.columns(), column.value)
			if b.String() != before {
				t.Errorf("%q became %q", before, b.String())
			}
		}
	}
}

func FuzzDMARC(f *testing.F) {
	f.Add(aggregateOf(now, "1", record("192.0.2.1", 7, "pass", "fail")))
	f.Add("<feedback><record><auth_results><dkim><domain>a</domain></dkim></auth_results></record></feedback></x>")
	f.Add("<feedback><a:b xmlns:a='x'>&lt;&nope;</a:b><![CDATA[x]]></feedback>")
	f.Fuzz(func(t *testing.T, text string) { fuzz(t, []byte("<feedback>"+text)); fuzz(t, []byte(text)) })
}

func FuzzTLS(f *testing.F) {
	f.Add(tlsText)
	f.Add(`{"policies":[{"policy":{"policy-string":"mode: x\nmode: y"},"summary":null}],"date-range":null}`)
	f.Fuzz(func(t *testing.T, text string) { fuzz(t, []byte(text)) })
}

func FuzzARF(f *testing.F) {
	f.Add(arfText)
	f.Add(dsnText)
	f.Add(mail("application/zip", "x.zip", "PK\x03\x04"))
	f.Fuzz(func(t *testing.T, text string) { fuzz(t, []byte(text)) })
}
