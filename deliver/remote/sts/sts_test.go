package sts

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"pennypost/internal/dns"
	"pennypost/internal/dns/fixture"
	"pennypost/internal/durable"
	"pennypost/internal/durable/faultdisk"
)

const good = "version: STSv1\r\nmode: enforce\r\nmx: mx.example.org\r\nmx: *.mail.example.org\r\nmax_age: 604800\r\n"

func TestParse(t *testing.T) {
	for _, test := range []struct{ text, want string }{
		{good, "enforce [mx.example.org *.mail.example.org] 168h0m0s"},
		{strings.ReplaceAll(good, "\r", ""), "enforce [mx.example.org *.mail.example.org] 168h0m0s"},
		{strings.TrimSuffix(good, "\r\n"), "enforce [mx.example.org *.mail.example.org] 168h0m0s"},
		{"version: STSv1\nmode: testing\nmx: MX.Example.ORG.\nmax_age: 86400\nx-new: a: b\n", "testing [mx.example.org] 24h0m0s"},
		{"version: STSv1\nmode: none\nmax_age: 0\n", "none [] 0s"},
		{"mode: none\nmode: enforce\nmax_age: 1\nmax_age: 2\nversion: STSv1\nversion: STSv2\n", "none [] 1s"}, // section 3.2: the first counts
		{"version: STSv1\nmode: none\nmax_age: 9999999999\n", "none [] 8766h0m0s"},
		{"version:STSv1\n\nmode :none \nmax_age:\t5\n", "none [] 5s"},
		{"", "version"},
		{"version: STSv2\nmode: none\nmax_age: 1\n", "version"},
		{"version: STSv1\nmode: Enforce\nmx: a.b\nmax_age: 1\n", "mode"},
		{"version: STSv1\nmode: enforce\nmax_age: 1\n", "no mx"},
		{"version: STSv1\nmode: enforce\nmx: a.b\n", "max_age"},
		{"version: STSv1\nmode: enforce\nmx: a.b\nmax_age: -1\n", "max_age"},
		{"version: STSv1\nmode: enforce\nmx: a.b\nmax_age: 00000000001\n", "max_age"},
		{"version: STSv1\nmode: enforce\nmx: a.*.b\nmax_age: 1\n", "mx"},
		{"version: STSv1\nmode: enforce\nmx: *\nmax_age: 1\n", "mx"},
		{"version: STSv1\nmode: enforce\nmx: ../etc\nmax_age: 1\n", "mx"},
		{"<html>\n", "is no KEY: VALUE"},
		{"version: STSv1\nmode: enforce\n" + strings.Repeat("mx: a.b\n", maxMX+1) + "max_age: 1\n", "more than"},
		{strings.Repeat("x", MaxPolicy+1), "octets"},
	} {
		p, err := Parse(test.text)
		got := fmt.Sprint(err)
		if err == nil {
			got = fmt.Sprintf("%s %v %v", p.Mode, p.MX, p.MaxAge)
		}
		if err == nil && got != test.want || err != nil && !strings.Contains(got, test.want) {
			t.Errorf("%.60q: %s", test.text, got)
		}
	}
}

// S039: the host must be in the policy; a wildcard is one label (RFC 8461 section 4.1).
func TestS039Allows(t *testing.T) {
	p, _ := Parse(good)
	for host, want := range map[string]bool{
		"mx.example.org": true, "MX.Example.Org.": true, "a.mail.example.org": true,
		"mail.example.org": false, "a.b.mail.example.org": false, "xmx.example.org": false, "example.org": false, ".mail.example.org": false, "": false,
	} {
		if got := p.Allows(host); got != want {
			t.Errorf("%s: %v", host, got)
		}
	}
}

func TestID(t *testing.T) {
	for _, test := range []struct {
		texts string
		id    string
		ok    bool
	}{
		{"v=STSv1; id=20160831085700Z;", "20160831085700Z", true},
		{"v=STSv1;id=1", "1", true},
		{"v=STSv1 ; x=y; id=1 ;", "1", true},
		{"v=spf1 -all|v=STSv1; id=1", "1", true},
		{"v=STSv1; id=1|v=STSv1; id=2", "2", false},
		{"v=STSv10; id=1", "", false},
		{"v=STSv1; id=", "", false},
		{"v=STSv1; id=a-b", "", false},
		{"v=STSv1; id=" + strings.Repeat("1", 33), "", false},
		{"v=STSv1", "", false},
		{" v=STSv1; id=1", "", false},
		{"id=1; v=STSv1", "", false},
		{"", "", false},
	} {
		id, ok := ID(strings.Split(test.texts, "|"))
		if ok != test.ok || ok && id != test.id {
			t.Errorf("%q: %q %v", test.texts, id, ok)
		}
	}
}

func TestResponse(t *testing.T) {
	const ok, text = "HTTP/1.1 200 OK\r\nContent-Type: text/plain", "version: STSv1\r\n"
	for _, test := range []struct{ name, in, want string }{
		{"with its length", ok + "; charset=utf-8\r\nContent-Length: 16\r\n\r\n" + text + "rubbish", text},
		{"up to the end", ok + "\r\n\r\n" + text, text},
		{"in chunks", ok + "\r\nTransfer-Encoding: chunked\r\n\r\n8;x=y\r\nversion:\r\n8\r\n STSv1\r\n\r\n0\r\n\r\n", text},
		{"after an interim answer", "HTTP/1.1 103 Early\r\nLink: x\r\n\r\n" + ok + "\r\n\r\n" + text, text},
		{"redirect", "HTTP/1.1 301 There\r\nLocation: https://127.0.0.1/\r\n\r\n", "status"},
		{"not found", "HTTP/1.1 404 No\r\nContent-Type: text/plain\r\n\r\n" + text, "status"},
		{"HTML", "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n" + text, "text/plain"},
		{"no type", "HTTP/1.1 200 OK\r\n\r\n" + text, "text/plain"},
		{"compressed", ok + "\r\nContent-Encoding: gzip\r\n\r\n" + text, "Content-Encoding"},
		{"too long by its length", ok + "\r\nContent-Length: 65537\r\n\r\n", "Content-Length"},
		{"too long", ok + "\r\n\r\n" + strings.Repeat("x", MaxPolicy+1), "more than"},
		{"too long in chunks", ok + "\r\nTransfer-Encoding: chunked\r\n\r\n" + strings.Repeat("1\r\nx\r\n", MaxPolicy+1), ""},
		{"cut", ok + "\r\nContent-Length: 16\r\n\r\nversion", "EOF"},
		{"chunk cut", ok + "\r\nTransfer-Encoding: chunked\r\n\r\n10\r\nversion", "EOF"},
		{"chunk without size", ok + "\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\nversion", "chunk"},
		{"chunk of gigabytes", ok + "\r\nTransfer-Encoding: chunked\r\n\r\nffffffffff\r\nversion", "chunk"},
		{"an endless header", ok + "\r\nX: " + strings.Repeat("x", 1<<20), ""},
		{"interim without end", strings.Repeat("HTTP/1.1 100 Continue\r\n\r\n", 100), "status"},
		{"no HTTP", "220 mx ESMTP\r\n", "HTTP"},
		{"nothing", "", "EOF"},
	} {
		got, err := response(strings.NewReader(test.in))
		switch {
		case err == nil && got != test.want, err == nil && test.want != text:
			t.Errorf("%s: %.40q", test.name, got)
		case err != nil && (test.want == text || !strings.Contains(err.Error(), test.want)):
			t.Errorf("%s: %v", test.name, err)
		}
	}
}

// web is a domain with a policy, as Cache sees it.
type web struct {
	*Cache
	dns    *fixture.Server
	mu     sync.Mutex
	policy string // "" cannot be had
	asked  int
	failed []string
	time   time.Time
}

func newWeb(t *testing.T, disk durable.Disk) *web {
	t.Helper()
	server, err := fixture.Start("127.0.0.1:0", "$TTL 0\n_mta-sts.example.org TXT \"v=STSv1; id=1\"")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Close)
	w := &web{dns: server, policy: good, time: time.Now()}
	w.Cache = &Cache{DNS: &dns.Resolver{Servers: []string{server.Addr()}, Timeout: 300 * time.Millisecond}, clock: func() time.Time {
		w.mu.Lock()
		defer w.mu.Unlock()
		return w.time
	}}
	w.Fetch = func(context.Context, string) (string, error) {
		w.mu.Lock()
		defer w.mu.Unlock()
		if w.asked++; w.policy == "" {
			return "", ErrNotFetched
		}
		return w.policy, nil
	}
	w.Failed = func(domain string, err error) { w.failed = append(w.failed, domain+": "+err.Error()) }
	w.Warn = func(what string, err error) { t.Logf("%s: %v", what, err) }
	if disk != nil {
		w.Open(disk)
	}
	return w
}

// after lets time pass.
func (w *web) after(d time.Duration) {
	w.mu.Lock()
	w.time = w.time.Add(d)
	w.mu.Unlock()
}

func (w *web) serve(policy string) {
	w.mu.Lock()
	w.policy = policy
	w.mu.Unlock()
}

// mode is that of the policy in force; refreshes are waited for.
func (w *web) mode(t *testing.T) string {
	t.Helper()
	p, err := w.Policy(context.Background(), "Example.ORG")
	for busy := true; busy; {
		e, _ := w.take(context.Background(), "example.org")
		busy = e.refreshing
		e.release()
	}
	switch {
	case err != nil:
		return "error"
	case p == nil:
		return "-"
	}
	return p.Mode
}

func (w *web) want(t *testing.T, what, mode string, asked int) {
	t.Helper()
	if got := w.mode(t); got != mode || w.asked != asked {
		t.Errorf("%s: %s, fetched %d times", what, got, w.asked)
	}
}

// S040: who removes the record, blocks the web server or DNS does not remove the policy before max_age is over.
func TestS040PolicyHolds(t *testing.T) {
	dir := t.TempDir()
	disk, err := durable.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	w := newWeb(t, disk)
	w.want(t, "first", Enforce, 1)
	w.want(t, "again", Enforce, 1)
	w.dns.Set("_mta-sts.example.org", "TXT")
	w.after(25 * time.Hour)
	w.want(t, "record removed", Enforce, 1)
	w.dns.Set("_mta-sts.example.org", "TXT", `"v=STSv1; id=2"`)
	w.serve("")
	w.after(time.Hour)
	w.want(t, "web server blocked", Enforce, 2)
	w.after(time.Second)
	w.want(t, "not asked again at once", Enforce, 2)
	// another process, or this one after a restart
	other := newWeb(t, disk)
	other.time = w.time
	other.serve("")
	other.dns.Misbehave("_mta-sts.example.org", "!servfail")
	other.want(t, "after a restart, DNS broken", Enforce, 0)
	other.after(time.Hour)
	other.want(t, "and still", Enforce, 0)
	other.after(7 * 24 * time.Hour)
	other.want(t, "after max_age, and DNS cannot say whether there is a new one", "error", 0)
	w.dns.Set("_mta-sts.example.org", "TXT")
	w.after(7 * 24 * time.Hour)
	w.want(t, "after max_age", "-", 2)
}

// A new id brings a new policy, and a policy that is a day old is fetched anew.
func TestRefresh(t *testing.T) {
	disk, err := durable.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	w := newWeb(t, disk)
	w.want(t, "first", Enforce, 1)
	w.serve(strings.Replace(good, Enforce, None, 1))
	w.after(time.Hour)
	w.want(t, "same id", Enforce, 1)
	w.dns.Set("_mta-sts.example.org", "TXT", `"v=STSv1; id=2"`)
	w.after(time.Hour)
	w.mode(t) // starts the refresh, and goes by the old one
	w.want(t, "new id", None, 2)
	w.serve(good)
	w.after(25 * time.Hour)
	w.mode(t)
	w.want(t, "old", Enforce, 3)
	w.after(4 * 24 * time.Hour)
	w.Tidy(context.Background())
	if w.asked != 4 {
		t.Errorf("Tidy: fetched %d times", w.asked)
	}
	w.after(40 * 24 * time.Hour)
	w.Tidy(context.Background())
	if names, _ := disk.ReadDir("."); len(names) != 0 || w.asked != 4 {
		t.Errorf("after max_age: %v, fetched %d times", names, w.asked)
	}
}

// What cannot be had is as if there were none, is told, and is not asked for at every message.
func TestNotFetched(t *testing.T) {
	w := newWeb(t, nil)
	w.serve("")
	w.want(t, "first", "-", 1)
	w.after(2 * time.Minute)
	w.want(t, "2 minutes later", "-", 1)
	w.after(10 * time.Minute)
	w.want(t, "12 minutes later", "-", 2)
	w.serve("version: STSv9")
	w.after(10 * time.Minute)
	w.want(t, "not a policy", "-", 3)
	w.serve(good)
	w.dns.Set("_mta-sts.example.org", "TXT", `"v=STSv1; id=2"`)
	w.after(2 * time.Minute)
	w.want(t, "another id", Enforce, 4)
	if len(w.failed) != 3 || !strings.HasPrefix(w.failed[0], "example.org: ") {
		t.Error(w.failed)
	}
}

// The files are anybody's who may write the directory: rm and mv are seen.
func TestFilesByHand(t *testing.T) {
	dir := t.TempDir()
	disk, err := durable.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "example.org")
	w := newWeb(t, disk)
	w.want(t, "first", Enforce, 1)
	text, err := os.ReadFile(file)
	if want := fmt.Sprintf("pennypost-sts: 1\nid: 1\nfetched: %d\n\n%s", w.time.Unix(), good); err != nil || string(text) != want {
		t.Errorf("%q %v", text, err)
	}
	w.dns.Set("_mta-sts.example.org", "TXT")
	if err := os.Rename(file, file+".off"); err != nil {
		t.Fatal(err)
	}
	w.after(time.Minute)
	w.want(t, "moved away", "-", 1)
	if err := os.Rename(file+".off", file); err != nil {
		t.Fatal(err)
	}
	w.after(2 * time.Minute)
	w.want(t, "moved back", Enforce, 1)
	os.WriteFile(file, []byte(strings.Replace(string(text), "enforce", "testing", 1)), 0o644)
	w.after(2 * time.Minute)
	w.want(t, "edited", Testing, 1)
	os.WriteFile(file, []byte("rubbish"), 0o644)
	w.after(2 * time.Minute)
	w.want(t, "broken", "-", 1)
}

// Whatever step the power goes at, the file is the old one or the new one, or there is none.
func TestSaveCut(t *testing.T) {
	p, _ := Parse(good)
	old := &stored{"1", time.Unix(1800000000, 0), p}
	fresh := &stored{"2", time.Unix(1800000001, 0), p}
	for n := 1; ; n++ {
		disk := faultdisk.New().Put("example.org", old.format()).CrashAt(n)
		c := &Cache{disk: disk}
		err := c.save("example.org", fresh)
		text := disk.Reboot()["example.org"]
		if text != old.format() && text != fresh.format() || err == nil && text != fresh.format() {
			t.Errorf("cut at step %d (%s): %q", n, disk.LastStep(), text)
		}
		if !disk.Crashed() {
			break
		}
	}
	for n := 1; ; n++ { // a disk that fails takes no policy away
		disk := faultdisk.New().Put("example.org", old.format()).FailAt(n, errors.New("no space left"))
		c := &Cache{disk: disk}
		err := c.save("example.org", fresh)
		if text := disk.Files()["example.org"]; text != old.format() && text != fresh.format() {
			t.Errorf("step %d (%s) fails: %q, %v", n, disk.LastStep(), text, err)
		}
		if !disk.Failed() {
			return
		}
	}
}

func FuzzPolicy(f *testing.F) {
	f.Add(good)
	f.Add("version: STSv1\nmode: none\nmax_age: 1")
	f.Fuzz(func(t *testing.T, text string) {
		p, err := Parse(text)
		if err != nil {
			return
		}
		if p.MaxAge < 0 || p.MaxAge > maxAge*time.Second || len(p.MX) > maxMX || p.Allows("") {
			t.Errorf("%+v", p)
		}
		s := &stored{"1", time.Unix(1800000000, 0), p}
		back, err := parseFile(s.format(), time.Unix(1800000001, 0))
		if err != nil || back.policy.Text != text || back.id != "1" || !back.fetched.Equal(s.fetched) {
			t.Errorf("as a file: %v", err)
		}
	})
}

func FuzzRecord(f *testing.F) {
	f.Add("v=STSv1; id=1;")
	f.Fuzz(func(t *testing.T, text string) {
		if id, ok := ID([]string{text, "v=spf1"}); ok && (!validID(id) || !strings.HasPrefix(text, "v=STSv1")) {
			t.Errorf("%q: %q", text, id)
		}
	})
}

func FuzzResponse(f *testing.F) {
	f.Add("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n8;x=y\r\nversion:\r\n0\r\n\r\n")
	f.Add("HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 3\r\n\r\nabc")
	f.Fuzz(func(t *testing.T, text string) {
		if got, err := response(strings.NewReader(text)); err == nil && len(got) > MaxPolicy {
			t.Errorf("%d octets", len(got))
		}
	})
}
