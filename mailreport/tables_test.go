package mailreport

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
)

// month fills a store with a report a day.
func month(t *testing.T, days int, rows ...string) *Store {
	t.Helper()
	s := open(t)
	var list []*Report
	for i := range days {
		list = append(list, read(t, aggregateOf(now.AddDate(0, 0, -i), fmt.Sprint(i), rows...))...)
	}
	if _, err := s.Add(list); err != nil {
		t.Fatal(err)
	}
	return s
}

func TestSenders(t *testing.T) {
	s := month(t, 20, record("192.0.2.1", 97, "pass", "fail"), record("192.0.2.1", 3, "fail", "fail"), record("203.0.113.5", 10, "fail", "fail"))
	list, err := s.Senders(Last(10, now), "")
	if err != nil || len(list) != 1 {
		t.Fatal(list, err)
	}
	var b bytes.Buffer
	if err := PrintSenders(&b, list); err != nil {
		t.Fatal(err)
	}
	want := `example.org: 1100 messages, 88.2% pass; policy none; 10 days, 1 reporters
  messages    pass    dkim     spf  stopped  source                    as
      1000   97.0%   97.0%    0.0%        0  192.0.2.1                 example.org
       100    0.0%    0.0%    0.0%        0  203.0.113.5               bounce.example.org
`
	if b.String() != want {
		t.Errorf("%s, want\n%s", b.String(), want)
	}
	if list, err = s.Senders(Last(10, now), "other.example"); err != nil || len(list) != 0 {
		t.Error(list, err)
	}
}

func TestReach(t *testing.T) {
	s := open(t)
	if _, err := s.Add(read(t, tlsText)); err != nil {
		t.Fatal(err)
	}
	list, err := s.Reach(Last(30, now), "example.org")
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := PrintReach(&b, list); err != nil {
		t.Fatal(err)
	}
	want := `example.org: 105 sessions, 10 failed (9.52%); 1 days, 1 reporters; policies no-policy-found, sts testing
        10  certificate-expired at mx.example.org, from Big \x1b[2J Co
            the certificate is out of date
`
	if b.String() != want {
		t.Errorf("%s, want\n%s", b.String(), want)
	}
}

func TestOthers(t *testing.T) {
	s := open(t)
	if _, err := s.Add(read(t, arfText, dsnText)); err != nil {
		t.Fatal(err)
	}
	c, err := s.Complaints(Last(30, now), "example.org")
	if err != nil || len(c) != 1 || c[0].Count != 2 || c[0].List != "<news.example.org>" {
		t.Error(c, err)
	}
	b, err := s.Bounces(Last(30, now))
	if err != nil || len(b) != 2 || b[0].Count != 1 {
		t.Error(b, err)
	}
	var out bytes.Buffer
	if PrintComplaints(&out, c); !strings.Contains(out.String(), "       2  2026-11-24 abuse ") {
		t.Error(out.String())
	}
	if PrintBounces(&out, b); !strings.Contains(out.String(), "failed    5.1.1   in.big.example ") {
		t.Error(out.String())
	}
	out.Reset()
	if PrintJSON(&out, b); strings.Count(out.String(), "\n") != 2 {
		t.Error(out.String())
	}
}

func TestAdvice(t *testing.T) {
	good, bad := record("192.0.2.1", 99, "pass", "fail"), record("192.0.2.1", 1, "fail", "fail")
	for _, c := range []struct {
		name  string
		days  int
		rows  []string
		state string
		why   string
	}{
		{"young", 13, []string{good}, Wait, "reports of 13 days on 1287 messages; it takes 14 days and 100 messages"},
		{"little", 20, []string{record("192.0.2.1", 1, "pass", "pass")}, Wait, "20 messages; it takes"},
		{"good", 20, []string{good, bad}, Ready, "99.0% of 2000 messages in 20 days pass"},
		{"forged", 20, []string{good, record("203.0.113.5", 50, "fail", "fail")}, Look, "100.0% pass of what comes from sources that ever do; 1000 messages come from 1 that never do"},
		{"half", 20, []string{good, record("192.0.2.1", 99, "fail", "fail")}, Wait, "50.0% of 3960 messages pass, it takes 98%; 192.0.2.1 fails most often, 1980 times of 3960"},
	} {
		list, err := month(t, c.days, c.rows...).Senders(Last(30, now), "")
		if err != nil {
			t.Fatal(err)
		}
		if a := list[0].Advice(DMARCBar); a.State != c.state || !strings.Contains(a.Why, c.why) || a.Next != "p=quarantine" {
			t.Errorf("%s: %+v", c.name, a)
		}
	}
	for policy, want := range map[string]string{"reject": Done, "quarantine": Wait} {
		if a := (&Domain{Policy: policy}).Advice(DMARCBar); a.State != want {
			t.Errorf("%+v", a)
		}
	}
	if a := (&Domain{Policy: "reject", Testing: "t=y", Days: 30, Messages: 500, Pass: 500}).Advice(DMARCBar); a.State != Ready || a.Next != "p=reject without t=y" {
		t.Errorf("%+v", a)
	}
}

func TestSTSAdvice(t *testing.T) {
	for _, c := range []struct {
		r    Reach
		want string
	}{
		{Reach{mode: "enforce"}, Done},
		{Reach{}, Ready},
		{Reach{Policies: []string{"tlsa"}}, Done},
		{Reach{mode: "testing", Days: 3, Successes: 1000}, Wait},
		{Reach{mode: "testing", Days: 20, Successes: 1000, Failures: 10}, Wait},
		{Reach{mode: "testing", Days: 20, Successes: 10000, Failures: 1}, Ready},
	} {
		a := c.r.Advice(STSBar)
		if a.State != c.want {
			t.Errorf("%+v: %+v", c.r, a)
		}
		var b bytes.Buffer
		if PrintAdvice(&b, []Advice{a}); !strings.HasPrefix(b.String(), c.want) {
			t.Error(b.String())
		}
	}
}

// A file of another version is read as far as it is understood.
func TestOtherColumns(t *testing.T) {
	var r ARF
	var got []string
	err := eachLine([]byte("report\tfuture\tcount\ttype\nx\ty\t3\tabuse\nx\ty\t4\t-\n"), &r, func() { got = append(got, fmt.Sprintf("%d%s", r.Count, r.Type)) })
	if err != nil || strings.Join(got, ";") != "3abuse;4" {
		t.Errorf("%q %v", got, err)
	}
	for _, bad := range []string{"report\tcount\nx\n", "report\tcount\nx\ty\n"} {
		if err := eachLine([]byte(bad), &r, func() {}); err == nil {
			t.Errorf("%q", bad)
		}
	}
}
