package smtpd

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
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
	srv.Trust = &Trust{Dir: srv.Settings.Trust}
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
