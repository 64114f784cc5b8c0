package smtpd

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pennypost/internal/dns"
	"pennypost/internal/dns/fixture"
	"pennypost/msgauth"
	"pennypost/queue"
)

// key signs for example.net; the client of these tests is 192.0.2.7.
func key(domain string) msgauth.Key {
	seed := sha256.Sum256([]byte("key of a test"))
	return msgauth.Key{Domain: domain, Selector: "s", Signer: ed25519.NewKeyFromSeed(seed[:])}
}

func keyRecord() string {
	k := key("").Signer.Public().(ed25519.PublicKey)
	return `TXT "v=DKIM1; k=ed25519; p=` + base64.StdEncoding.EncodeToString(k) + `"`
}

func zone() string {
	return `
192.0.2.7                PTR  mx.example.net
mx.example.net           A    192.0.2.7
example.net              MX   10 mx.example.net
example.net              TXT  "v=spf1 ip4:192.0.2.7 -all"
_dmarc.example.net       TXT  "v=DMARC1; p=reject; rua=mailto:d@example.net"
s._domainkey.example.net ` + keyRecord() + `
bank.test                MX   10 mx.bank.test
bank.test                TXT  "v=spf1 -all"
_dmarc.bank.test         TXT  "v=DMARC1; p=reject; rua=mailto:d@bank.test"
s._domainkey.bank.test   ` + keyRecord() + `
soft.test                MX   10 mx.soft.test
soft.test                TXT  "v=spf1 -all"
_dmarc.soft.test         TXT  "v=DMARC1; p=quarantine"
testing.test             MX   10 mx.testing.test
_dmarc.testing.test      TXT  "v=DMARC1; p=reject; t=y"
strict.test              MX   10 mx.strict.test
strict.test              TXT  "v=spf1 ip4:198.51.100.1 -all"
s._domainkey.strict.test ` + keyRecord() + `
plain.test               MX   10 mx.plain.test
nomail.test              MX   0 .
addr.test                A    192.0.2.9
dead.test                TXT  "nothing but text"
sick.test                !servfail
sickmx.test              TXT  "v=spf1 ip4:192.0.2.7 -all"
badkey.test              MX   10 mx.badkey.test
_dmarc.badkey.test       TXT  "v=DMARC1; p=reject"
s._domainkey.badkey.test !servfail
badrec.test              MX   10 mx.badrec.test
_dmarc.badrec.test       !servfail
list.test                MX   10 mx.list.test
s._domainkey.list.test   ` + keyRecord() + `
`
}

// judge gives srv a checker, with a name server of its own.
func judge(t testing.TB, srv *Server) *fixture.Server {
	t.Helper()
	s, err := fixture.Start("127.0.0.1:0", zone())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	dir := t.TempDir()
	srv.Settings.Trust = filepath.Join(dir, "trust")
	srv.Trust = &Trust{Dir: srv.Settings.Trust, Warn: func(err error) { srv.Log.Warn("trust", err) }}
	srv.Reports = filepath.Join(dir, "reports")
	for _, d := range []string{srv.Trust.Dir, srv.Reports} {
		if err := os.Mkdir(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	srv.Checker = &msgauth.Checker{DNS: &dns.Resolver{Servers: []string{s.Addr()}, Timeout: time.Second}, Name: srv.Hostname, Sealers: srv.Trust.Sealer}
	return s
}

// write makes a file of exceptions, older than now, so that it is read at once.
func (t *Trust) write(tb testing.TB, name, text string) {
	tb.Helper()
	if err := os.WriteFile(filepath.Join(t.Dir, name), []byte(text), 0o644); err != nil {
		tb.Fatal(err)
	}
	t.mu.Lock()
	t.checked = time.Time{}
	t.mu.Unlock()
}

// signedBy is a message with a signature of each domain on top.
func signedBy(t testing.TB, text string, domains ...string) string {
	t.Helper()
	for _, domain := range domains {
		d, err := msgauth.ReadDigest(strings.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		b, err := msgauth.Sign(d, []msgauth.Key{key(domain)}, time.Now(), time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		text = string(b) + text
	}
	return text
}

func letterFrom(from string) string {
	return "From: " + from + "\nTo: bob@example.org\nSubject: hi\nDate: Tue, 3 Mar 2026 10:11:12 +0000\nMessage-ID: <1@example.net>\n\nhello\n"
}

// sends is a session that brings one message, and what the client hears last.
func sends(t testing.TB, srv *Server, from, text string, rcpts ...string) string {
	t.Helper()
	if len(rcpts) == 0 {
		rcpts = []string{"bob@example.org"}
	}
	say := []string{"EHLO mx.example.net\r\n", "MAIL FROM:<" + from + ">\r\n"}
	for _, r := range rcpts {
		say = append(say, "RCPT TO:<"+r+">\r\n")
	}
	say = append(say, "DATA\r\n", strings.ReplaceAll(text, "\n", "\r\n")+".\r\n", "QUIT\r\n")
	lines := strings.Split(strings.TrimSuffix(play(t, srv, "mx", say...), "\r\n"), "\r\n")
	if len(lines) < 2 {
		t.Fatal(lines)
	}
	return lines[len(lines)-2]
}

// only is the one file of a spool.
func only(t testing.TB, m *memory) (name, text string) {
	t.Helper()
	for name, text = range m.files {
	}
	if len(m.files) != 1 {
		t.Fatalf("%d files", len(m.files))
	}
	return name, text
}

// Each row is a message, what the client hears, and what checks: says.
func TestVerdicts(t *testing.T) {
	for _, c := range []struct {
		name, from, author string
		sign               string
		heard, checks      string
	}{
		{"all well", "a@example.net", "a@example.net", "example.net", "250", "spf=pass:example.net dkim=pass:example.net dmarc=pass:example.net iprev=pass"},
		{"SPF alone", "a@example.net", "a@example.net", "", "250", "spf=pass:example.net dkim=none dmarc=pass:example.net iprev=pass"},
		{"forwarded", "fwd@example.net", "a@bank.test", "bank.test", "250", "spf=pass:example.net dkim=pass:bank.test dmarc=pass:bank.test iprev=pass"},
		{"null sender", "", "a@example.net", "example.net", "250", "dkim=pass:example.net dmarc=pass:example.net iprev=pass"},
		{"spoofed", "x@example.net", "boss@bank.test", "", "550 5.7.1 bank.test wants mail refused", ""},
		{"spoofed, signed by another", "x@example.net", "boss@bank.test", "example.net", "550 5.7.1 bank.test", ""},
		{"spoofed, reverse-path too", "boss@bank.test", "boss@bank.test", "", "550 5.7.1 bank.test", ""},
		{"quarantine", "x@example.net", "boss@soft.test", "", "250", "dmarc=fail:soft.test do=quarantine"},
		{"t=y", "x@example.net", "boss@testing.test", "", "250", "dmarc=fail:testing.test do=quarantine"},
		{"no DMARC, SPF fails", "a@strict.test", "a@strict.test", "", "250", "spf=fail:strict.test dkim=none dmarc=none:strict.test do=quarantine"},
		{"no DMARC, SPF fails, signed", "a@strict.test", "a@strict.test", "strict.test", "250", "spf=fail:strict.test dkim=pass:strict.test dmarc=none:strict.test iprev"},
		{"nothing published", "a@plain.test", "a@plain.test", "", "250", "spf=none:plain.test dkim=none dmarc=none:plain.test iprev=pass"},
		{"null MX", "a@nomail.test", "a@nomail.test", "", "550 5.7.27 ", ""},
		{"address alone", "a@addr.test", "a@addr.test", "", "250", "dmarc=none"},
		{"no address", "a@dead.test", "a@dead.test", "", "550 5.1.8 ", ""},
		{"no such domain", "a@nosuch.test", "a@plain.test", "", "550 5.1.8 the sender's domain nosuch.test", ""},
		{"no answer about the domain", "a@sick.test", "a@plain.test", "", "451 4.1.8 ", ""},
		{"no answer about the domain, but it is from there", "a@sick.test", "a@example.net", "example.net", "250", "spf=temperror:sick.test dkim=pass:example.net dmarc=pass"},
		{"no answer about the key, and a policy", "x@example.net", "a@badkey.test", "badkey.test", "451 4.7.0 ", ""},
		{"no answer about the policy", "x@example.net", "a@badrec.test", "", "250", "dmarc=temperror:badrec.test iprev"},
	} {
		t.Run(c.name, func(t *testing.T) {
			srv, spool, log := newServer(t)
			judge(t, srv)
			text := letterFrom(c.author)
			if c.sign != "" {
				text = signedBy(t, text, c.sign)
			}
			heard := sends(t, srv, c.from, text)
			if !strings.HasPrefix(heard, c.heard) {
				t.Fatalf("%s\n%s", heard, log)
			}
			if c.checks == "" {
				if len(spool.files) != 0 {
					t.Error("refused, and kept")
				}
				return
			}
			_, kept := only(t, spool)
			if !strings.Contains(kept, "\nchecks: ") || !strings.Contains(kept[strings.Index(kept, "\nchecks: "):], c.checks) || !strings.Contains(log.String(), `checks="`) {
				t.Errorf("%s\n%s", kept, log)
			}
			if !strings.Contains(kept, "\n\nAuthentication-Results: mx.example.org;") {
				t.Error(kept)
			}
			if !strings.HasSuffix(kept, text) {
				t.Error("the message was changed")
			}
		})
	}
}

// A message in the link-ready form has its checks in a field that queue reads.
func TestVerdictReady(t *testing.T) {
	srv, spool, _ := newServer(t)
	judge(t, srv)
	srv.Ready = true
	text := signedBy(t, letterFrom("a@example.net"), "example.net")
	forged := "X-Pennypost-Checks: spf=pass do=quarantine\nAuthentication-Results: mx.example.org; dmarc=pass\n"
	if heard := sends(t, srv, "a@example.net", forged+text); heard[:3] != "250" {
		t.Fatal(heard)
	}
	name, kept := only(t, spool)
	want := "Return-Path: <a@example.net>\nDelivered-To: bob@example.org\n" + queue.ChecksField + "spf=pass:example.net dkim=pass:example.net dmarc=pass:example.net iprev=pass\nAuthentication-Results: mx.example.org;\n\tspf=pass"
	if !strings.HasSuffix(name, ".m") || !strings.HasPrefix(kept, want) || strings.Count(kept, "Pennypost-Checks") != 1 || strings.Count(kept, "mx.example.org;") != 1 {
		t.Errorf("%s\n%s", name, kept)
	}
	if !strings.HasSuffix(kept, text) {
		t.Error("the message was changed")
	}
}

// onSpool gives srv a spool on a disk.
func onSpool(t testing.TB, srv *Server) *queue.Spool {
	t.Helper()
	root := filepath.Join(t.TempDir(), "spool")
	if err := queue.Make(root, "a"); err != nil {
		t.Fatal(err)
	}
	spool, err := queue.Open(root)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { spool.Close() })
	srv.Spool = OnDisk(spool)
	return spool
}

// Whatever the size and the form of a message and the way it comes, its verdict stands on top of it, the file proves itself, and nothing
// else of it is changed.
func TestVerdictSizes(t *testing.T) {
	for _, size := range []int{100, 60 << 10, 64 << 10, 66 << 10, 300 << 10} {
		for _, ready := range []bool{false, true} {
			for _, chunks := range []bool{false, true} {
				srv, _, log := newServer(t)
				judge(t, srv)
				srv.Ready = ready
				spool := onSpool(t, srv)
				text := signedBy(t, letterFrom("a@example.net")+strings.Repeat(strings.Repeat("x", 70)+"\n", size/71), "example.net", "example.net")
				wire := strings.ReplaceAll(text, "\n", "\r\n")
				say := []string{"EHLO mx.example.net\r\n", "MAIL FROM:<a@example.net>\r\n", "RCPT TO:<bob@example.org>\r\n"}
				if chunks {
					half := len(wire) / 2
					say = append(say, fmt.Sprintf("BDAT %d\r\n%s", half, wire[:half]), fmt.Sprintf("BDAT %d LAST\r\n%s", len(wire)-half, wire[half:]))
				} else {
					say = append(say, "DATA\r\n", wire+".\r\n")
				}
				heard := play(t, srv, "mx", append(say, "QUIT\r\n")...)
				if !strings.Contains(heard, " accepted\r\n221") {
					t.Fatal(heard, log)
				}
				n := 0
				err := spool.Scan(func(f queue.Found) error {
					n++
					m, err := spool.Load(f.Name, true)
					if err != nil {
						return err
					}
					defer m.Close()
					kept := make([]byte, m.Size-(m.Bare-m.Header))
					m.File.ReadAt(kept, m.Bare)
					if m.Ready != ready || m.Env.Checks != "spf=pass:example.net dkim=pass:example.net dkim=pass:example.net dmarc=pass:example.net iprev=pass" {
						t.Errorf("%d: %q", size, m.Env.Checks)
					}
					if !strings.HasPrefix(string(kept), "Authentication-Results: mx.example.org;\n\tspf=pass") || !strings.HasSuffix(string(kept), text) {
						t.Errorf("%d: %.2000s", size, kept)
					}
					whole := make([]byte, m.Size)
					m.File.ReadAt(whole, m.Header)
					if want := m.Size + int64(strings.Count(string(whole), "\n")); m.Wire != want {
						t.Errorf("%d: wire %d, not %d", size, m.Wire, want)
					}
					return nil
				}, "in/mx/new")
				if n != 1 || err != nil {
					t.Fatal(n, err)
				}
			}
		}
	}
}

// What mail.toml says is done in place of the defaults.
func TestVerdictSettings(t *testing.T) {
	for _, c := range []struct {
		does         string
		from, author string
		heard        string
		marked       bool
	}{
		{"mark", "x@example.net", "boss@bank.test", "250", true},
		{"ignore", "x@example.net", "boss@bank.test", "250", false},
		{"ignore", "x@example.net", "boss@soft.test", "250", false},
		{"refuse", "x@example.net", "boss@soft.test", "250", true},
		{"refuse", "a@strict.test", "a@strict.test", "550 5.7.23 SPF: strict.test says that 192.0.2.7 may not send for it", false},
		{"ignore", "a@strict.test", "a@strict.test", "250", false},
		{"mark", "a@nomail.test", "a@plain.test", "250", true},
		{"ignore", "a@sick.test", "a@plain.test", "250", false},
		{"mark", "a@plain.test", "a@plain.test>, <b@plain.test", "250", true},
		{"ignore", "x@example.net", "a@badkey.test", "250", false},
	} {
		srv, spool, log := newServer(t)
		judge(t, srv)
		set := srv.Settings
		set.SPF, set.DMARC, set.From, set.SenderDomain = c.does, c.does, c.does, c.does
		text := letterFrom("<" + c.author + ">")
		if c.author == "a@badkey.test" {
			text = signedBy(t, text, "badkey.test")
		}
		heard := sends(t, srv, c.from, text)
		if !strings.HasPrefix(heard, c.heard) {
			t.Errorf("%+v: %s\n%s", c, heard, log)
			continue
		}
		if c.heard == "250" {
			if _, kept := only(t, spool); strings.Contains(kept, "do=quarantine") != c.marked {
				t.Errorf("%+v: %s", c, kept)
			}
		}
	}
	srv, spool, _ := newServer(t)
	judge(t, srv)
	srv.Settings.Verify = false
	if heard := sends(t, srv, "x@nomail.test", letterFrom("boss@bank.test")); heard[:3] != "250" {
		t.Error(heard)
	}
	if _, kept := only(t, spool); strings.Contains(kept, "Authentication-Results") || strings.Contains(kept, "checks:") {
		t.Error(kept)
	}
}

// Exceptions are files, read again when they change; while nobody can read them nothing is refused for good.
func TestTrust(t *testing.T) {
	srv, spool, log := newServer(t)
	judge(t, srv)
	try := func(want string) {
		t.Helper()
		clear(spool.files)
		if heard := sends(t, srv, "x@example.net", letterFrom("boss@bank.test")); !strings.HasPrefix(heard, want) {
			t.Errorf("%s\n%s", heard, log)
		}
	}
	kept := func() string {
		_, text := only(t, spool)
		return text
	}
	try("550 5.7.1")
	srv.Trust.write(t, "senders", "# ours\nBANK.test 198.51.100.0/24\n")
	try("550 5.7.1")
	srv.Trust.write(t, "senders", "bank.test 198.51.100.0/24 192.0.2.7  # their other server\n")
	try("250")
	if !strings.Contains(kept(), "dmarc=fail:bank.test iprev") {
		t.Error(kept())
	}
	srv.Trust.write(t, "senders", "nonsense\n")
	try("250") // what it said before
	if !strings.Contains(log.String(), "senders:1: ") {
		t.Error(log)
	}
	srv.Trust.write(t, "senders", "other.test\nnonsense\n")
	srv.Trust.now = nil // as after a start
	try("451 4.3.0")
	srv.Trust.write(t, "senders", ".test\n")
	try("250")
	srv.Trust.write(t, "senders", ".bank.test\n")
	try("550")
	srv.Trust.write(t, "senders", "example.net\n") // whose reverse-path it is
	try("250")
	srv.Trust.write(t, "senders", "")
	srv.Trust.write(t, "networks", "192.0.2.0/28\n")
	try("250")
	if strings.Contains(kept(), "checks:") {
		t.Error("judged all the same")
	}
	os.Chmod(filepath.Join(srv.Trust.Dir, "networks"), 0o666)
	srv.Trust.write(t, "networks", "192.0.2.0/24\n")
	try("250")
}

func TestTrustedDomains(t *testing.T) {
	said := map[string]bool{"example.org": true, ".example.net": true}
	for domain, want := range map[string]bool{"example.org": true, "a.example.org": false, "example.net": false, "a.example.net": true, "a.b.example.net": true,
		"badexample.net": false, "org": false, "": false} {
		if _, got := under(said, domain); got != want {
			t.Errorf("%s: %v", domain, got)
		}
	}
	for _, bad := range []string{"org", ".", "a b", "[192.0.2.1]", "..example.org", "a..b"} {
		if name, err := trustedDomain(bad); err == nil {
			t.Errorf("%q is taken for %q", bad, name)
		}
	}
}
