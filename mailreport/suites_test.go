package mailreport

import (
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// suite is a directory of test/suites, or, of those that are large, one beside the checkout.
func suite(t *testing.T, name string) string {
	for _, where := range []string{"../test/suites", "../../shared/suites"} {
		if dir := filepath.Join(where, name); exists(dir) {
			return dir
		}
	}
	t.Skipf("the suite %s is not here", name)
	return ""
}

func exists(file string) bool {
	_, err := os.Stat(file)
	return err == nil
}

func readFile(t *testing.T, file string) ([]*Report, error) {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	return Read(f, now)
}

// What another program made of the same aggregate reports.
func TestSuiteDMARC(t *testing.T) {
	files, _ := filepath.Glob(filepath.Join(suite(t, "reports"), "dmarc-feedback/*.json"))
	if len(files) == 0 {
		t.Fatal("the suite has no dmarc-feedback/*.json")
	}
	for _, file := range files {
		var want struct {
			Metadata struct {
				Org   string                `json:"org_name"`
				Range struct{ Begin int64 } `json:"date_range"`
			} `json:"report_metadata"`
			Policy struct{ Domain, P string } `json:"policy_published"`
			Record []struct {
				Row struct {
					Source    string `json:"source_ip"`
					Count     int64
					Evaluated struct{ Disposition, DKIM, SPF string } `json:"policy_evaluated"`
				}
				Identifiers struct {
					From string `json:"header_from"`
				}
			}
		}
		text, err := os.ReadFile(file)
		if err == nil {
			err = json.Unmarshal(text, &want)
		}
		if err != nil {
			t.Fatal(err)
		}
		in := strings.TrimSuffix(file, ".json") + ".xml"
		if _, err := os.Stat(in); err != nil {
			in = strings.TrimSuffix(file, ".json") + ".eml"
		}
		list, err := readFile(t, in)
		if err != nil || len(list) != 1 || len(list[0].rows) != len(want.Record) || list[0].Day.Unix() != want.Metadata.Range.Begin {
			t.Errorf("%s: %v %v", in, list, err)
			continue
		}
		for i, w := range want.Record {
			r := list[0].rows[i].(*DMARC)
			if r.Reporter != want.Metadata.Org || r.Domain != want.Policy.Domain || r.Policy != strings.ToLower(want.Policy.P) || r.Source != w.Row.Source ||
				r.Count != w.Row.Count || r.DKIM != strings.ToLower(w.Row.Evaluated.DKIM) || r.SPF != strings.ToLower(w.Row.Evaluated.SPF) ||
				r.Disposition != strings.ToLower(w.Row.Evaluated.Disposition) || r.From != w.Identifiers.From {
				t.Errorf("%s row %d: %+v, want %+v", in, i, r, w)
			}
		}
	}
}

func TestSuiteTLS(t *testing.T) {
	for name, rows := range map[string]int{"rpt01.json": 4, "rpt01.eml": 4, "rpt03.json": 2} {
		list, err := readFile(t, filepath.Join(suite(t, "reports"), "tlsrpt", name))
		if err != nil || len(list) != 1 || list[0].Rows() != rows {
			t.Errorf("%s: %v %v", name, list, err)
		}
	}
}

func TestSuiteARF(t *testing.T) {
	files, _ := filepath.Glob(filepath.Join(suite(t, "reports"), "arf/*.json"))
	if len(files) == 0 {
		t.Fatal("the suite has no arf/*.json")
	}
	for _, file := range files {
		var want struct {
			Type      string  `json:"feedback_type"`
			Incidents int64   `json:"incidents"`
			Source    *string `json:"source_ip"`
		}
		text, err := os.ReadFile(file)
		if err == nil {
			err = json.Unmarshal(text, &want)
		}
		if err != nil {
			t.Fatal(err)
		}
		list, err := readFile(t, strings.TrimSuffix(file, ".json")+".eml")
		if err != nil || len(list) != 1 {
			t.Errorf("%s: %v %v", file, list, err)
			continue
		}
		a := list[0].rows[0].(*ARF)
		if strings.ReplaceAll(a.Type, "-", "") != strings.ToLower(want.Type) || a.Count != want.Incidents || want.Source != nil && a.Source != *want.Source {
			t.Errorf("%s: %+v, want %+v", file, a, want)
		}
	}
}

// unread are bounces whose delivery status names no recipient.
var unread = []string{"lhost-googleworkspace-01.eml", "lhost-postfix-64.eml", "lhost-x3-05.eml"}

// Some 400 bounces of as many programs: what has a delivery status is read, and nothing of it can move a cursor.
func TestSuiteDSN(t *testing.T) {
	reports, rows := 0, 0
	err := filepath.WalkDir(filepath.Join(suite(t, "dsn"), "maildir"), func(file string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		list, err := readFile(t, file)
		if err != nil && err != ErrNone && !slices.Contains(unread, d.Name()) {
			t.Errorf("%s: %v", file, err)
		}
		for _, r := range list {
			reports++
			rows += r.Rows()
			for _, row := range r.rows {
				if d, ok := row.(*DSN); ok && (d.To == "" || d.Action == "") {
					t.Logf("%s: %+v", file, d)
				}
				for _, c := range row.columns() {
					if strings.ContainsAny(c.value(), "\t\n\r\x1b") {
						t.Errorf("%s: %s is %q", file, c.name, c.value())
					}
				}
			}
		}
		return nil
	})
	if err != nil || reports < 200 {
		t.Error(reports, rows, err)
	}
}
