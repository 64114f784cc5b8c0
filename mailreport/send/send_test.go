package send

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pennypost/internal/dns"
	"pennypost/internal/dns/fixture"
	"pennypost/internal/durable/faultdisk"
	"pennypost/internal/tlsrpt"
	"pennypost/mailreport"
	"pennypost/msgauth"
	"pennypost/msgauth/aggregate"
)

var (
	yesterday = time.Date(2026, 11, 24, 9, 0, 0, 0, time.UTC)
	today     = time.Date(2026, 11, 25, 0, 10, 0, 0, time.UTC)
)

// desk is a sender whose mail and posts are kept.
type desk struct {
	*Sender
	dir  string
	mail []string // RCPT, newline, message
	post []string
	fail error // of the next hand-over
}

func newDesk(t *testing.T, zone string) *desk {
	t.Helper()
	server, err := fixture.Start("127.0.0.1:0", zone)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Close)
	resolver := &dns.Resolver{Servers: []string{server.Addr()}, Timeout: time.Second}
	d := &desk{dir: t.TempDir()}
	for _, sub := range []string{aggregate.Dir, tlsrpt.Dir, sentDir} {
		if err := os.MkdirAll(filepath.Join(d.dir, sub), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	d.Sender = &Sender{State: d.dir, Host: "mx.we.test", Organization: "We & Co", From: "postmaster@we.test", NoReport: filepath.Join(d.dir, "noreport"),
		DMARC: true, TLS: true, Delay: 4 * time.Hour, Now: func() time.Time { return today }, DNS: resolver,
		Organizer: (&msgauth.Checker{DNS: resolver}).Organization}
	d.Mail = func(_ context.Context, from, rcpt string, message []byte) error {
		if d.fail != nil {
			return d.fail
		}
		d.mail = append(d.mail, rcpt+"\n"+string(message))
		return nil
	}
	d.Post = func(_ context.Context, url, _ string, _ []byte) error {
		if d.fail != nil {
			return d.fail
		}
		d.post = append(d.post, url)
		return nil
	}
	return d
}

func (d *desk) run(t *testing.T) (all []Outcome, later bool) {
	t.Helper()
	later, err := d.Run(context.Background(), func(o Outcome) { all = append(all, o) })
	if err != nil {
		t.Fatal(err)
	}
	return all, later
}

func row(domain, source string) aggregate.Row {
	return aggregate.Row{Policy: aggregate.Policy{Domain: domain, P: "reject", NP: "quarantine", ADKIM: "r", ASPF: "s", Testing: true, FO: "1"},
		From: "www." + domain, Envelope: domain, Source: netip.MustParseAddr(source), Do: "quarantine", SPF: false,
		Reasons: []aggregate.Reason{{Type: "policy_test_mode"}, {Type: "local_policy", Comment: "a <friend> & \x1b"}},
		Signed:  []aggregate.Signed{{Domain: domain, Selector: "s1", Result: "fail"}, {Domain: "list.test", Selector: "s2", Result: "pass"}},
		Sent:    aggregate.Sent{Domain: domain, Result: "softfail"}}
}

func (d *desk) seen(t *testing.T, rows ...aggregate.Row) {
	t.Helper()
	for _, r := range rows {
		if err := aggregate.Append(filepath.Join(d.dir, aggregate.Dir), yesterday, r); err != nil {
			t.Fatal(err)
		}
	}
}

func (d *desk) session(t *testing.T, at time.Time, domain string, failure tlsrpt.Failure) {
	t.Helper()
	err := tlsrpt.Append(filepath.Join(d.dir, tlsrpt.Dir), at, tlsrpt.Result{Domain: domain, Type: tlsrpt.STS, Policy: []string{"version: STSv1", "mode: enforce"},
		Hosts: []string{"*." + domain}, Failure: failure, MX: "mx." + domain, Local: netip.MustParseAddr("192.0.2.1"), Remote: netip.MustParseAddr("2001:db8::1"), Reason: "expired"})
	if err != nil {
		t.Fatal(err)
	}
}

const example = `
	_dmarc.example.test TXT "v=DMARC1; p=reject; rua=mailto:d@example.test"
	_smtp._tls.example.test TXT "v=TLSRPTv1; rua=mailto:t@example.test,https://reports.example.test/v1"
`

// readBack has mailreport read what was sent, and gives its files.
func readBack(t *testing.T, messages []string) string {
	t.Helper()
	dir := t.TempDir()
	store, err := mailreport.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	r := &mailreport.Reader{Store: store, Now: func() time.Time { return today }, Bad: func(name string, err error) { t.Errorf("%s: %v", name, err) }}
	for _, m := range messages {
		_, text, _ := strings.Cut(m, "\n")
		if err := r.Message("sent", strings.NewReader(text)); err != nil {
			t.Fatal(err)
		}
	}
	if err := r.Flush(); err != nil {
		t.Fatal(err)
	}
	var all strings.Builder
	files, _ := filepath.Glob(dir + "/*/*.tsv")
	for _, file := range files {
		text, _ := os.ReadFile(file)
		all.Write(text)
	}
	return all.String()
}

// What we send, we read.
func TestRoundTrip(t *testing.T) {
	d := newDesk(t, example)
	d.seen(t, row("example.test", "192.0.2.7"), row("example.test", "192.0.2.7"), row("example.test", "2001:db8::7"))
	good := row("example.test", "192.0.2.8")
	good.Do, good.DKIM, good.SPF, good.Reasons, good.Envelope = "none", true, true, nil, ""
	d.seen(t, good)
	for range 3 {
		d.session(t, yesterday, "example.test", tlsrpt.OK)
	}
	d.session(t, yesterday, "example.test", tlsrpt.CertificateExpired)
	d.session(t, yesterday, "example.test", tlsrpt.CertificateExpired)
	all, later := d.run(t)
	if len(all) != 3 || later || len(d.mail) != 2 || len(d.post) != 1 || d.post[0] != "https://reports.example.test/v1" {
		t.Fatalf("%+v %v %d %q", all, later, len(d.mail), d.post)
	}
	got := readBack(t, d.mail)
	for _, want := range []string{
		"\tWe & Co\texample.test\treject\treject\tt=y\t192.0.2.7\t2\tquarantine\tfail\tfail\t",
		"\t2001:db8::7\t1\t", "\t192.0.2.8\t1\tnone\tpass\tpass\t-\twww.example.test\t-\texample.test:s1:fail list.test:s2:pass\texample.test:mfrom:softfail\n",
		"\tWe & Co\texample.test\tsts\tenforce\t3\t2\t-\t0\t",
		"\tcertificate-expired\t2\tmx.example.test\t192.0.2.1\t2001:db8::1\texpired\n",
		"2026-11-24T00:00:00Z\t2026-11-24T23:59:59Z",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
	for _, dir := range []string{aggregate.Dir, tlsrpt.Dir} {
		if left, _ := os.ReadDir(filepath.Join(d.dir, dir)); len(left) > 0 {
			t.Errorf("%s is left", left)
		}
	}
}

// Today is not over, and is not told.
func TestToday(t *testing.T) {
	d := newDesk(t, example)
	aggregate.Append(filepath.Join(d.dir, aggregate.Dir), today, row("example.test", "192.0.2.7"))
	if all, _ := d.run(t); len(all) != 0 || len(d.mail) != 0 {
		t.Errorf("%+v", all)
	}
	if left, _ := os.ReadDir(filepath.Join(d.dir, aggregate.Dir)); len(left) != 1 {
		t.Error("today was removed")
	}
}

// Strangers cannot have our reports flood a victim (RFC 9990 section 4), nor send them to what is none of an address.
func TestS092Targets(t *testing.T) {
	for rua, want := range map[string]string{
		"mailto:d@example.test":                               "sent mailto:d@example.test",
		"mailto:d@sub.example.test":                           "sent mailto:d@sub.example.test",
		"mailto:d@victim.test":                                "never mailto:d@victim.test",
		"mailto:d@agreed.test":                                "sent mailto:d@agreed.test",
		"mailto:d@any.test":                                   "sent mailto:d@any.test",
		"mailto:d@other.test":                                 "sent mailto:reports@other.test",
		"mailto:d@loop.test":                                  "never mailto:d@loop.test",
		"mailto:d@example.test!10m":                           "sent mailto:d@example.test",
		"mailto:d@example.test!1":                             "never mailto:d@example.test",
		"mailto:d@example.test!1k,mailto:e@example.test":      "never mailto:d@example.test, sent mailto:e@example.test",
		"https://example.test/d":                              "never https://example.test/d",
		"mailto:":                                             "never mailto:",
		"mailto:d@example.test%0d%0aBcc:victim@example.test":  "never mailto:d@example.test%0d%0aBcc:victim@example.test",
		"mailto:d@noreport.test":                              "never mailto:d@noreport.test",
		"mailto:dns@servfail.test":                            "later ",
		strings.Repeat("mailto:d@example.test,", 100) + "x:y": strings.TrimSuffix(strings.Repeat("sent mailto:d@example.test, ", 1), ", "),
		"": "never ",
	} {
		t.Run(rua[:min(len(rua), 40)], func(t *testing.T) {
			d := newDesk(t, `
				example.test._report._dmarc.agreed.test TXT "v=DMARC1"
				*._report._dmarc.any.test TXT "v=DMARC1;"
				example.test._report._dmarc.other.test TXT "v=DMARC1; rua=mailto:reports@other.test"
				example.test._report._dmarc.loop.test TXT "v=DMARC1; rua=mailto:d@victim.test"
				servfail.test !servfail
				example.test._report._dmarc.servfail.test !servfail
				_dmarc.example.test TXT "v=DMARC1; p=none; rua=`+rua[:min(len(rua), 230)]+`"`)
			os.WriteFile(d.NoReport, []byte("# asked us\nnoreport.test # by mail\n.below.test\n"), 0o644)
			d.seen(t, row("example.test", "192.0.2.7"))
			all, _ := d.run(t)
			var got []string
			for _, o := range all {
				got = append(got, o.State+" "+o.To)
			}
			if strings.Join(got, ", ") != want {
				t.Errorf("%q, want %q\n%+v", got, want, all)
			}
			for _, m := range d.mail {
				if head, _, _ := strings.Cut(m, "\n\n"); strings.Contains(head, "Bcc") {
					t.Errorf("%s", head)
				}
			}
		})
	}
}

func TestNoReport(t *testing.T) {
	d := newDesk(t, example+"\n_dmarc.a.below.test TXT \"v=DMARC1; p=none; rua=mailto:d@a.below.test\"")
	os.WriteFile(d.NoReport, []byte(".below.test\nExample.TEST\n"), 0o644)
	d.seen(t, row("example.test", "192.0.2.7"), row("a.below.test", "192.0.2.7"))
	if all, _ := d.run(t); len(all) != 2 || all[0].State != Never || all[1].State != Never || len(d.mail) > 0 {
		t.Errorf("%+v", all)
	}
	os.WriteFile(d.NoReport, []byte("not a domain\n"), 0o644)
	if _, err := d.Run(context.Background(), nil); err == nil || !strings.Contains(err.Error(), "noreport:1") {
		t.Error(err)
	}
}

// Who is interrupted, or fails, begins again: nothing is sent twice, and what is sent again has the same name.
func TestAgain(t *testing.T) {
	d := newDesk(t, example+`
		_dmarc.second.test TXT "v=DMARC1; p=none; rua=mailto:a@second.test,mailto:b@second.test"`)
	d.seen(t, row("example.test", "192.0.2.7"), row("second.test", "192.0.2.7"))
	mail := d.Mail
	n := 0
	var ids []string
	d.Mail = func(ctx context.Context, from, rcpt string, message []byte) error {
		ids = append(ids, rcpt+" "+string(message[bytes.Index(message, []byte("Message-ID:")):][:60]))
		if n++; n == 2 {
			return errors.New("power cut")
		}
		return mail(ctx, from, rcpt, message)
	}
	if all, later := d.run(t); !later || len(all) != 3 || len(d.mail) != 2 {
		t.Fatalf("%+v", all)
	}
	d.session(t, yesterday, "nobody.test", tlsrpt.OK)
	if all, later := d.run(t); later || len(all) != 2 || len(d.mail) != 3 || all[0].State == Later {
		t.Fatalf("%+v", all)
	}
	if ids[1] != ids[3] {
		t.Errorf("%q", ids)
	}
	if all, _ := d.run(t); len(all) != 0 || len(d.mail) != 3 {
		t.Errorf("%+v", all)
	}
}

// A report that nobody takes is given up, and its file with it.
func TestGivenUp(t *testing.T) {
	d := newDesk(t, example)
	d.seen(t, row("example.test", "192.0.2.7"))
	d.fail = errors.New("no")
	if _, later := d.run(t); !later {
		t.Error("not tried again")
	}
	d.Now = func() time.Time { return today.AddDate(0, 0, 3) }
	if all, later := d.run(t); later || len(all) > 0 {
		t.Errorf("%+v", all)
	}
	if left, _ := os.ReadDir(filepath.Join(d.dir, aggregate.Dir)); len(left) > 0 {
		t.Error("the file is left")
	}
}

func TestDryRun(t *testing.T) {
	d := newDesk(t, example)
	d.seen(t, row("example.test", "192.0.2.7"))
	d.DryRun = true
	if all, _ := d.run(t); len(all) != 1 || all[0].State != WouldSend || len(d.mail) > 0 || all[0].Bytes == 0 {
		t.Errorf("%+v", all)
	}
	d.DryRun = false
	if all, _ := d.run(t); len(all) != 1 || all[0].State != Sent {
		t.Errorf("%+v", all)
	}
}

// Two hosts that report to each other do not do it for ever.
func TestNoReportsAboutReports(t *testing.T) {
	d := newDesk(t, strings.ReplaceAll(example, ",https://reports.example.test/v1", ""))
	d.session(t, yesterday, "example.test", tlsrpt.OK)
	if all, _ := d.run(t); len(all) != 1 || all[0].State != Sent {
		t.Fatalf("%+v", all)
	}
	d.session(t, today, "example.test", tlsrpt.OK) // our report went there
	tomorrow := today.AddDate(0, 0, 1)
	d.Now = func() time.Time { return tomorrow }
	if all, _ := d.run(t); len(all) != 0 || len(d.mail) != 1 {
		t.Errorf("%+v", all)
	}
}

// A report is due at a moment of its own, and always the same.
func TestDue(t *testing.T) {
	d := newDesk(t, "")
	seen := map[time.Time]bool{}
	for _, domain := range []string{"a.test", "b.test", "c.test"} {
		r := d.newReport("dmarc", domain, yesterday.Truncate(24*time.Hour), 1)
		if r.due != d.newReport("dmarc", domain, yesterday.Truncate(24*time.Hour), 1).due || r.due.Before(today.Truncate(24*time.Hour)) || r.due.After(today.Add(4*time.Hour)) || seen[r.due] {
			t.Error(r.due)
		}
		seen[r.due] = true
	}
}

// S041: reports go to the place that was named, under a certificate that fits, and to no address of ours.
func TestS041Post(t *testing.T) {
	got := ""
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/ok":
			body, _ := io.ReadAll(r.Body)
			got = r.Method + " " + r.Header.Get("Content-Type") + " " + string(body)
			w.WriteHeader(http.StatusCreated)
		case "/away":
			http.Redirect(w, r, "/ok", http.StatusTemporaryRedirect)
		case "/endless":
			for range 1000 {
				if _, err := w.Write(make([]byte, 64<<10)); err != nil {
					return
				}
			}
		default:
			w.WriteHeader(http.StatusInternalServerError)
		}
	}))
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	defer server.Close()
	pool := x509.NewCertPool()
	pool.AddCert(server.Certificate())
	host := "https://example.com" + server.URL[strings.LastIndexByte(server.URL, ':'):]
	zone, err := fixture.Start("127.0.0.1:0", "example.com A 127.0.0.1\nwrong.test A 127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	defer zone.Close()
	resolver := &dns.Resolver{Servers: []string{zone.Addr()}, Timeout: time.Second}
	nobody := func(netip.Addr) bool { return false }
	post := Post(resolver, nobody, pool)
	if err := post(context.Background(), host+"/ok", "application/tlsrpt+gzip", []byte("report")); err != nil || got != "POST application/tlsrpt+gzip report" {
		t.Errorf("%v %q", err, got)
	}
	got = ""
	for name, do := range map[string]func() error{
		"redirect": func() error { return post(context.Background(), host+"/away", "x/y", nil) },
		"error":    func() error { return post(context.Background(), host+"/error", "x/y", nil) },
		"certificate": func() error {
			return post(context.Background(), strings.Replace(host, "example.com", "wrong.test", 1)+"/ok", "x/y", nil)
		},
		"no trust": func() error { return Post(resolver, nobody, nil)(context.Background(), host+"/ok", "x/y", nil) },
		"our network": func() error {
			return Post(resolver, netip.Addr.IsLoopback, pool)(context.Background(), host+"/ok", "x/y", nil)
		},
		"our address": func() error {
			return Post(resolver, netip.Addr.IsLoopback, pool)(context.Background(), server.URL+"/ok", "x/y", nil)
		},
	} {
		if err := do(); err == nil || got != "" {
			t.Errorf("%s: %v %q", name, err, got)
		}
	}
	if err := post(context.Background(), host+"/endless", "x/y", nil); err != nil {
		t.Error(err)
	}
}

// S092: who has a thousand names does not have us write a million letters.
func TestS092ManyDomains(t *testing.T) {
	d := newDesk(t, "*.example.test TXT \"v=DMARC1; p=none; rua=mailto:d@example.test\"")
	for i := range maxPerHost + 5 {
		d.seen(t, row(fmt.Sprintf("d%d.example.test", i), "192.0.2.7"))
	}
	all, later := d.run(t)
	n := 0
	for _, o := range all {
		if o.State == Never {
			n++
		}
	}
	if later || n != 5 || len(d.mail) != maxPerHost {
		t.Errorf("%d letters, %d refused, %v", len(d.mail), n, later)
	}
}

// S092: the largest report that we send is one that we would read.
func TestS092LargestReport(t *testing.T) {
	d := newDesk(t, example)
	var b bytes.Buffer
	for i := range 30_000 {
		long := strings.Repeat("x", 200)
		fmt.Fprintf(&b, "1795510000 policy=example.test p=reject adkim=r aspf=r from=example.test envelope=%s.example.test source=2001:db8::%x do=none dkim=fail spf=fail"+
			" signed=%s:s%d:fail signed=%s.test:s:fail sent=%s:fail\n", long, i, long, i, long, long)
	}
	if err := os.WriteFile(filepath.Join(d.dir, aggregate.Dir, "2026-11-24"), b.Bytes(), 0o640); err != nil {
		t.Fatal(err)
	}
	if all, _ := d.run(t); len(all) != 1 || all[0].State != Sent || all[0].Rows < 3000 {
		t.Fatalf("%+v", all)
	}
	_, text, _ := strings.Cut(d.mail[0], "\n")
	list, err := mailreport.Read(strings.NewReader(text), today)
	if err != nil || len(list) != 1 || list[0].Rows() < 3000 {
		t.Errorf("%v %v", len(list), err)
	}
}

// What was sent is on disk before the next is sent, wherever the power goes.
func TestSentSurvives(t *testing.T) {
	for n := 1; ; n++ {
		disk := faultdisk.New().CrashAt(n)
		s := &sent{disk: disk, done: map[string]bool{}, days: map[string]int{}}
		err := s.add(today, &report{kind: "dmarc", id: "abc", domain: "example.test"}, target{uri: "mailto:d@example.test", host: "example.test"})
		found := disk.Reboot()
		if err == nil && !strings.Contains(string(found["2026-11-25"]), "id=abc domain=example.test to=mailto:d@example.test") {
			t.Errorf("cut at step %d (%s): said to be sent, and forgotten", n, disk.LastStep())
		}
		if !disk.Crashed() {
			return
		}
	}
}

func FuzzTargets(f *testing.F) {
	f.Add("v=DMARC1; rua=mailto:a@b.test!10m,https://b.test/x", true)
	f.Fuzz(func(t *testing.T, text string, https bool) {
		for _, version := range []string{"DMARC1", "TLSRPTv1"} {
			list := parseTargets(parseTags(text, version)["rua"], https)
			if len(list) > maxTargets {
				t.Errorf("%d targets", len(list))
			}
			for _, l := range list {
				if l.why == "" && (l.host == "" || strings.ContainsAny(l.address, "\r\n\x00 ,")) {
					t.Errorf("%+v", l)
				}
			}
		}
	})
}
