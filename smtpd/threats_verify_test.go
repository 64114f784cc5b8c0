package smtpd

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"pennypost/internal/address"
	"pennypost/internal/dns"
	"pennypost/msgauth"
	"pennypost/queue"
)

// silent is DNS that answers nothing about names below slow.test, and otherwise what Resolver does.
type silent struct{ msgauth.Resolver }

func (r silent) wait(ctx context.Context, name string) error {
	if !strings.HasSuffix(name, "slow.test") {
		return nil
	}
	<-ctx.Done()
	return &dns.Error{Name: name, Why: "no answer in time"}
}

func (r silent) TXT(ctx context.Context, name string) ([]string, bool, error) {
	if err := r.wait(ctx, name); err != nil {
		return nil, false, err
	}
	return r.Resolver.TXT(ctx, name)
}

func (r silent) MX(ctx context.Context, name string) ([]dns.MX, bool, time.Duration, error) {
	if err := r.wait(ctx, name); err != nil {
		return nil, false, 0, err
	}
	return r.Resolver.MX(ctx, name)
}

func (r silent) Addresses(ctx context.Context, name string) ([]netip.Addr, bool, time.Duration, error) {
	if err := r.wait(ctx, name); err != nil {
		return nil, false, 0, err
	}
	return r.Resolver.Addresses(ctx, name)
}

// TestS048SilentDNS: no command waits for DNS, others are served while the end of a message waits, and what did not come is
// a temporary error that passes nothing.
func TestS048SilentDNS(t *testing.T) {
	srv, spool, log := newServer(t)
	judge(t, srv)
	srv.Checker.DNS = silent{srv.Checker.DNS}
	srv.prepare()
	started := make(chan struct{})
	ended := make(chan string)
	old := verdictTime
	verdictTime = time.Hour // until the other is through
	defer func() { verdictTime = old }()
	release := make(chan struct{})
	go func() {
		c := &script{say: []string{"EHLO mx.example.net\r\n", "MAIL FROM:<a@slow.test>\r\nRCPT TO:<bob@example.org>\r\nDATA\r\n"}}
		svc, _ := serviceNamed("mx")
		srv.serve(svc, &pausing{script: c, started: started, release: release, rest: strings.ReplaceAll(letterFrom("a@slow.test"), "\n", "\r\n") + ".\r\nQUIT\r\n"})
		ended <- c.heard.String()
	}()
	<-started // MAIL, RCPT and DATA have been answered
	if heard := sends(t, srv, "a@example.net", letterFrom("a@example.net")); heard[:3] != "250" {
		t.Error(heard)
	}
	verdictTime = time.Millisecond
	close(release)
	if heard := <-ended; !strings.Contains(heard, "\r\n451 4.1.8 cannot look up slow.test now") {
		t.Errorf("%s\n%s", heard, log)
	}
	if len(spool.files) != 1 {
		t.Error(spool.files)
	}
}

// pausing is a script that stops before the message.
type pausing struct {
	*script
	started, release chan struct{}
	rest             string
}

func (p *pausing) Read(b []byte) (int, error) {
	if p.rest != "" && strings.Join(p.say, "") == "" {
		close(p.started)
		<-p.release
		p.say, p.rest = []string{p.rest}, ""
	}
	return p.script.Read(b)
}

// TestS049Bomb: a record that costs too much is permerror, and the message is judged without it.
func TestS049Bomb(t *testing.T) {
	srv, spool, _ := newServer(t)
	zone := judge(t, srv)
	lines := "bomb.test MX 10 mx.bomb.test\nbomb.test TXT \"v=spf1 include:i0.bomb.test -all\"\n"
	for i := range 30 {
		lines += fmt.Sprintf("i%d.bomb.test TXT \"v=spf1 include:i%d.bomb.test include:j%d.bomb.test a:%%{l}.k%d.bomb.test -all\"\n", i, i+1, i, i)
	}
	if err := zone.Load(lines); err != nil {
		t.Fatal(err)
	}
	if heard := sends(t, srv, "a@bomb.test", letterFrom("a@bomb.test")); heard[:3] != "250" {
		t.Error(heard)
	}
	if _, kept := only(t, spool); !strings.Contains(kept, "spf=permerror:bomb.test") {
		t.Error(kept)
	}
}

// TestS050Appended: a signature with l= vouches for nothing, so what was appended is refused as any other spoofed message.
func TestS050Appended(t *testing.T) {
	srv, _, _ := newServer(t)
	judge(t, srv)
	text := signedBy(t, letterFrom("a@bank.test"), "bank.test")
	short := strings.Replace(text, "; h=", "; l=6; h=", 1)
	if short == text {
		t.Fatal(text)
	}
	for _, text := range []string{short + "more\n", text + "more\n"} {
		if heard := sends(t, srv, "x@example.net", text); !strings.HasPrefix(heard, "550 5.7.1 bank.test") {
			t.Error(heard)
		}
	}
}

// TestS052Many: a thousand signatures cost eight, and the message is judged by those.
func TestS052Many(t *testing.T) {
	srv, spool, _ := newServer(t)
	judge(t, srv)
	text := signedBy(t, letterFrom("a@example.net"), "example.net")
	bad := "DKIM-Signature: v=1; a=rsa-sha256; d=example.net; s=../s; h=from; bh=AAAA; b=AAAA\n"
	if heard := sends(t, srv, "a@example.net", strings.Repeat(bad, 1000)+text); heard[:3] != "250" {
		t.Error(heard)
	}
	if _, kept := only(t, spool); strings.Count(kept[:strings.Index(kept, "Received:")], "dkim=") > 20 || !strings.Contains(kept, "more, not looked at") {
		t.Errorf("%.3000s", kept)
	}
}

// TestS054Authors: a message that does not say in one way who it is from is refused, whatever else is true of it.
func TestS054Authors(t *testing.T) {
	rest := "To: bob@example.org\n\nhello\n"
	for name, head := range map[string]string{
		"none":             "",
		"two":              "From: a@example.net\nFrom: boss@bank.test\n",
		"two cases":        "FROM: a@example.net\nfrom: boss@bank.test\n",
		"list":             "From: a@example.net, boss@bank.test\n",
		"group":            "From: us: a@example.net, boss@bank.test;\n",
		"empty group":      "From: us:;\n",
		"space":            "From : a@example.net\n",
		"two brackets":     "From: <a@example.net> <boss@bank.test>\n",
		"route":            "From: <@bank.test:a@example.net>\n",
		"encoded address":  "From: =?utf-8?q?boss=40bank.test?= <=?utf-8?q?a=40example.net?=>\n",
		"after":            "From: <a@example.net> boss@bank.test\n",
		"after odd line":   "X: y\nnot a field\nFrom: a@example.net\n",
		"literal":          "From: a@[192.0.2.7]\n",
		"two at signs":     "From: boss@bank.test@example.net\n",
		"unfinished":       "From: \"boss@bank.test <a@example.net>\n",
		"control":          "From: a@example.net\x01\n",
		"empty":            "From:\n",
		"only white space": "From: \n \n",
	} {
		t.Run(name, func(t *testing.T) {
			srv, spool, _ := newServer(t)
			judge(t, srv)
			heard := sends(t, srv, "a@example.net", head+rest)
			if !strings.HasPrefix(heard, "550 5.6.0 not taken: ") || heard[:3] == "550" && len(spool.files) > 0 {
				t.Error(heard)
			}
		})
	}
	for _, head := range []string{"From: MAILER-DAEMON\n", "From: Mail Delivery System <>\n", "From: =?utf-8?q?=C3=84?= <a@example.net>\n", "From:\n a@example.net\n", "From: \"a, b\" <a@example.net>\n"} {
		srv, _, _ := newServer(t)
		judge(t, srv)
		if heard := sends(t, srv, "a@example.net", head+rest); heard[:3] != "250" {
			t.Errorf("%q: %s", head, heard)
		}
	}
}

// TestS056Display: an address in the display name decides nothing, and can be seen.
func TestS056Display(t *testing.T) {
	srv, spool, _ := newServer(t)
	judge(t, srv)
	if heard := sends(t, srv, "a@example.net", "From: \"boss@bank.test\" <a@example.net>\n\nhello\n"); heard[:3] != "250" {
		t.Error(heard)
	}
	if _, kept := only(t, spool); !strings.Contains(kept, "dmarc=pass") || !strings.Contains(kept, "policy.display=boss@bank.test") {
		t.Error(kept)
	}
}

// TestS057Removed: results with our name are removed from what comes from outside and from our users, judged or not; those of others
// stay, as does what loops and chains are known by.
func TestS057Removed(t *testing.T) {
	forged := "Authentication-Results: mx.example.org; dmarc=pass\nAuthentication-Results:\n\tMX.example.org (really)\n\t1; spf=pass\nauthentication-results : \"mx.example.org\"; spf=pass\n"
	stays := "Authentication-Results: mx.example.net; spf=pass\nDelivered-To: alice@example.net\nARC-Seal: i=1; a=x\n"
	for _, verify := range []bool{true, false} {
		srv, spool, _ := newServer(t)
		judge(t, srv)
		srv.Settings.Verify = verify
		if heard := sends(t, srv, "a@example.net", forged+stays+letterFrom("a@example.net"), "bob@example.org", "carol@example.org"); heard[:3] != "250" {
			t.Error(heard)
		}
		_, kept := only(t, spool)
		ours := strings.Count(strings.ToLower(kept), "mx.example.org;") + strings.Count(kept, "(really)") + strings.Count(kept, `"mx.example.org"`)
		if want := map[bool]int{true: 1, false: 0}[verify]; ours != want || !strings.HasSuffix(kept, stays+letterFrom("a@example.net")) {
			t.Errorf("%d of ours\n%s", ours, kept)
		}
	}
	srv, spool, _ := newServer(t)
	judge(t, srv)
	tlsPlay(t, srv, "EHLO c\r\n", "AUTH PLAIN AGFsaWNlQGV4YW1wbGUub3JnAHNlY3JldA==\r\n", "MAIL FROM:<alice@example.org>\r\n", "RCPT TO:<x@example.net>\r\n", "DATA\r\n",
		strings.ReplaceAll(forged+letterFrom("alice@example.org"), "\n", "\r\n")+".\r\n", "QUIT\r\n")
	if _, kept := only(t, spool); strings.Contains(strings.ToLower(kept), "authentication-results") {
		t.Error(kept)
	}
}

// TestS058Sealed: what a list did to a message is forgiven where its seal is believed, and only there.
func TestS058Sealed(t *testing.T) {
	srv, spool, log := newServer(t)
	judge(t, srv)
	sealed := func(found string) string {
		changed := "Authentication-Results: mx.list.test; " + found + "\n" + signedBy(t, letterFrom("a@bank.test"), "bank.test") + "-- \nthe list\n"
		d, err := msgauth.ReadDigest(strings.NewReader(changed))
		if err != nil {
			t.Fatal(err)
		}
		b, err := msgauth.Seal(d, key("list.test"), "mx.list.test", time.Now())
		if err != nil {
			t.Fatal(err)
		}
		return string(b) + changed
	}
	good := sealed("dmarc=pass header.from=bank.test")
	refused := func(text string) {
		t.Helper()
		if heard := sends(t, srv, "bounces@list.test", text); !strings.HasPrefix(heard, "550 5.7.1 bank.test") {
			t.Errorf("%s\n%s", heard, log)
		}
	}
	refused(good)
	srv.Trust.write(t, "sealers", "other.test\n")
	refused(good)
	srv.Trust.write(t, "sealers", "list.test\n")
	refused(sealed("dmarc=fail header.from=bank.test"))
	refused(sealed("dmarc=pass header.from=example.net"))
	refused(strings.Replace(good, "the list", "the lost", 1))
	if heard := sends(t, srv, "bounces@list.test", good); heard[:3] != "250" {
		t.Errorf("%s\n%s", heard, log)
	}
	if _, kept := only(t, spool); !strings.Contains(kept, "arc=pass:list.test dmarc=fail:bank.test iprev") {
		t.Error(kept)
	}
}

// TestS061Judged: who is judged. A user's mail, that of relay networks, of programs beside us and of this host is not.
func TestS061Judged(t *testing.T) {
	srv, _, _ := newServer(t)
	judge(t, srv)
	srv.prepare()
	judged := func(service, peer string, change func(*session)) bool {
		svc, _ := serviceNamed(service)
		s := &session{service: svc, srv: srv, set: srv.settings.Load(), state: greeted}
		s.peer, _ = netip.ParseAddr(peer)
		if change != nil {
			change(s)
		}
		return s.verifies()
	}
	set := *srv.Settings
	set.RelayNetworks = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}
	for _, c := range []struct {
		service, peer string
		change        func(*session)
		want          bool
	}{
		{"mx", "192.0.2.7", nil, true},
		{"mx", "2001:db8::1", nil, true},
		{"mx", "127.0.0.1", nil, false},
		{"mx", "::1", nil, false},
		{"mx", "", nil, false},
		{"mx", "192.0.2.7", func(s *session) { s.set = &set }, false},
		{"lmtp", "192.0.2.7", nil, false},
		{"submission", "192.0.2.7", nil, false},
		{"submissions", "192.0.2.7", nil, false},
	} {
		if got := judged(c.service, c.peer, c.change); got != c.want {
			t.Errorf("%s from %s: %v", c.service, c.peer, got)
		}
	}
}

// What the author's domain wants to be told is counted for what was taken and what was refused, not for what comes again.
func TestReports(t *testing.T) {
	srv, _, log := newServer(t)
	judge(t, srv)
	sends(t, srv, "a@example.net", letterFrom("a@example.net"))
	sends(t, srv, "x@example.net", letterFrom("boss@bank.test"))
	sends(t, srv, "x@example.net", letterFrom("a@plain.test"))
	sends(t, srv, "a@sick.test", letterFrom("a@plain.test"))
	srv.Trust.write(t, "senders", "bank.test\n")
	sends(t, srv, "x@example.net", letterFrom("boss@bank.test"))
	files, _ := filepath.Glob(srv.Reports + "/*")
	if len(files) != 1 {
		t.Fatal(files, log)
	}
	text, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	for i, want := range []string{"policy=example.net p=reject|do=none|spf=pass", "policy=bank.test p=reject|do=reject|spf=fail", "policy=bank.test p=reject|do=none|reason=local_policy"} {
		for _, word := range strings.Split(want, "|") {
			if i >= len(lines) || !strings.Contains(lines[i], word) {
				t.Errorf("no %q in line %d of\n%s", word, i, text)
			}
		}
	}
	if len(lines) != 3 {
		t.Errorf("%s", text)
	}
}

// Each domain is one that takes mail, or why it is none.
func TestTakesMail(t *testing.T) {
	srv, _, _ := newServer(t)
	judge(t, srv)
	for domain, want := range map[string]string{
		"example.net": "", "addr.test": "", "nomail.test": "takes no mail", "dead.test": "no mail server", "nosuch.test": "no mail server", "sick.test": "error",
		"EXAMPLE.net": "", "b\u00fccher.test": "no mail server",
	} {
		p := address.Path{Local: "x", Domain: domain}
		got := takesMail(context.Background(), srv.Checker.DNS, p.Domain)
		said := got.dead
		if got.err != nil {
			said = "error"
		}
		if !strings.Contains(said, want) || want == "" && said != "" || got.null != (domain == "nomail.test") {
			t.Errorf("%s: %+v", domain, got)
		}
	}
}

// A verdict that cannot be written is a failure of the disk: the message is not taken, and nothing is left of it. A report that cannot be
// kept is only logged, once.
func TestVerdictFaults(t *testing.T) {
	srv, spool, log := newServer(t)
	judge(t, srv)
	spool.fail = func(step string) error {
		if step == "fill" {
			return unix.ENOSPC
		}
		return nil
	}
	if heard := sends(t, srv, "a@example.net", letterFrom("a@example.net")); !strings.HasPrefix(heard, "452 4.3.1") {
		t.Error(heard)
	}
	if len(spool.files) > 0 || spool.open != 0 {
		t.Errorf("%d files, %d open", len(spool.files), spool.open)
	}
	spool.fail, srv.Reports = nil, "/dev/null/reports"
	for range 3 {
		if heard := sends(t, srv, "a@example.net", letterFrom("a@example.net")); heard[:3] != "250" {
			t.Error(heard)
		}
	}
	if n := strings.Count(log.String(), "dmarc report"); n != 1 {
		t.Errorf("%d warnings\n%s", n, log)
	}
}

// Whatever a report says, its one line fits where it is kept, and is words and nothing else.
func TestChecksFit(t *testing.T) {
	long := strings.Repeat(strings.Repeat("a", 60)+".", 4) + "test"
	r := &msgauth.Report{From: msgauth.SPF{Result: msgauth.PermError, Domain: long}, ARC: msgauth.ARC{Result: msgauth.TempError, Trusted: long},
		DMARC: msgauth.DMARC{Result: msgauth.TempError, Domain: long, Do: msgauth.PolicyQuarantine}, IPRev: msgauth.IPRev{Result: msgauth.TempError}}
	for i := range 20 {
		r.DKIM = append(r.DKIM, msgauth.DKIM{Result: msgauth.TempError, Domain: long[i*10:]})
	}
	if text := r.Checks(); len(text) > queue.MaxChecks || !strings.HasSuffix(text, " do=quarantine iprev=temperror") {
		t.Errorf("%d: %s", len(text), text)
	}
}
