package smtpd

import (
	"encoding/base64"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pennypost/internal/address"
	"pennypost/internal/domains"
	"pennypost/internal/srs"
)

// forms are the relay tricks of threats.md section F: local parts and domains, each with each.
func forms() (all []string) {
	locals := []string{"u", "u%x.example", "x.example!u", `"u@x.example"`, `"u%x.example"`, `"u\"@x.example"`, "u+tag", `""`, `"a b"`, ".u", "u.",
		strings.Repeat("l", 65), "u\xc3\xbc", "@us.example:u", "@us.example,@x.example:u"}
	domains := []string{"us.example", "US.example", "us.example.", "[192.0.2.1]", "[IPv6:2001:db8::1]", "x.us.example", "us.example.x.example",
		"b\xc3\xbccher.example", "xn--bcher-kva.example", "x.example", "", "us.example>@x.example", "us.example@x.example"}
	for _, l := range locals {
		for _, d := range domains {
			all = append(all, "<"+l+"@"+d+">")
		}
		all = append(all, "<"+l+">")
	}
	return
}

// ours says whether a form names a recipient of ours: the oracle knows nothing of our parser, but that what is ours ends
// in our domain, whatever stands before the last @ or behind the first bracket.
func ours(form string) bool {
	form = strings.TrimSuffix(strings.TrimPrefix(form, "<"), ">")
	if form == "postmaster" {
		return true
	}
	i := strings.LastIndexByte(form, '@')
	return i > 0 && strings.EqualFold(strings.TrimSuffix(form[i+1:], "."), "us.example")
}

func TestS061RelayForms(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"us.example/users/u", "us.example/users/alice"} {
		if err := os.MkdirAll(filepath.Join(dir, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	real := domains.Open(dir, domains.Settings{Separators: "+", MailPath: "/nowhere/%d/%n/Maildir", Layout: "maildir++"})
	for _, sender := range []string{"<>", "<alice@us.example>", "<a@x.example>"} {
		for _, form := range forms() {
			srv, spool, _ := newServer(t)
			srv.Domains, srv.Origin = real, "us.example"
			heard := play(t, srv, "mx", "EHLO c\r\nMAIL FROM:"+sender+" SMTPUTF8\r\nRCPT TO:"+form+"\r\nDATA\r\n", "\r\n.\r\n")
			taken := strings.Contains(heard, "250 2.1.5")
			if taken && !ours(form) {
				t.Errorf("relayed %s from %s", form, sender)
			}
			if len(spool.files) > 0 != taken {
				t.Errorf("%s from %s: %q", form, sender, heard)
			}
			// Networks that may relay, and nobody else, get the rest through if it is an address at all.
			srv.Settings.RelayNetworks = []netip.Prefix{netip.MustParsePrefix("192.0.2.7/32")}
			srv.Reload(srv.Settings)
			heard = play(t, srv, "mx", "EHLO c\r\nMAIL FROM:"+sender+" SMTPUTF8\r\nRCPT TO:"+form+"\r\n")
			if form == "<u@x.example>" && !strings.Contains(heard, "250 2.1.5") {
				t.Errorf("relay_networks: %q", heard)
			}
		}
	}
}

// Who logged in may send anywhere, from his own address.
func TestS061UsersMayRelay(t *testing.T) {
	srv, _, _ := newServer(t)
	heard := tlsPlay(t, srv, "EHLO c\r\n", "AUTH PLAIN "+base64.StdEncoding.EncodeToString([]byte("\x00alice@example.org\x00secret"))+"\r\n",
		"MAIL FROM:<Alice+x@EXAMPLE.org>\r\n", "RCPT TO:<u@x.example>\r\n", "RCPT TO:<nobody@example.org>\r\n", "QUIT\r\n")
	if got := codes(heard); got != "220 250 235 250 250 550 221" {
		t.Error(got)
	}
}

// relay_domains (S24): we take mail for them from anybody, and know nothing of their users.
func TestRelayDomains(t *testing.T) {
	srv, _, _ := newServer(t)
	srv.Settings.RelayDomains = []string{"Backup.example", "b\xc3\xbccher.example"}
	heard := play(t, srv, "mx", "EHLO c\r\nMAIL FROM:<>\r\nRCPT TO:<u@backup.example>\r\nRCPT TO:<u@xn--bcher-kva.example>\r\nRCPT TO:<u@x.backup.example>\r\n")
	if got := codes(heard); got != "220 250 250 250 250 550" {
		t.Error(got)
	}
	srv, _, _ = newServer(t)
	srv.Settings.RelayDomains = []string{".Backup.example", ".b\xc3\xbccher.example"}
	for domain, want := range map[string]string{
		"backup.example": "550", "x.backup.example": "250", "a.x.BACKUP.example": "250", "xbackup.example": "550", "example": "550",
		"x.xn--bcher-kva.example": "250", "xn--bcher-kva.example": "550", "[192.0.2.1]": "550",
	} {
		heard := play(t, srv, "mx", "EHLO c\r\nMAIL FROM:<>\r\nRCPT TO:<u@"+domain+">\r\n")
		if got := codes(heard); got != "220 250 250 "+want {
			t.Error(domain, got)
		}
	}
	srv.Settings.RelayDomains = []string{"backup.example"}
	if heard := play(t, srv, "lmtp", "LHLO c\r\nMAIL FROM:<>\r\nRCPT TO:<u@backup.example>\r\n"); codes(heard) != "220 250 250 550" {
		t.Error(heard)
	}
}

// What a user may write into From and Sender, by a user alice@example.org (S059).
func TestS059From(t *testing.T) {
	for header, want := range map[string]string{
		"From: alice@example.org":                                                           "250",
		"From: ALICE@Example.ORG":                                                           "250",
		"From: \"Alice, of us\" <alice+x@example.org>":                                      "250",
		"From: =?utf-8?q?Al=C3=ADce?= <alice@example.org> (home)":                           "250",
		"FROM : alice@example.org":                                                          "250",
		"Subject: no From at all":                                                           "250",
		"From: bob@example.org":                                                             "550",
		"From: alice@example.org, bob@example.org":                                          "550",
		"From: \"alice@example.org\" <bob@example.org>":                                     "550",
		"From: alice@example.org\r\nFrom: bob@example.org":                                  "550",
		"From: alice@example.org\r\n  , bob@example.org":                                    "550",
		"From: group: alice@example.org, bob@example.org;":                                  "550",
		"From: alice@example.org <bob@example.org>":                                         "550",
		"From: <alice@example.org> <bob@example.org>":                                       "550",
		"From: undisclosed-recipients:;":                                                    "550",
		"From: alice@example.org.evil.example":                                              "550",
		"From: \"bob@example.org\"@example.org":                                             "550",
		"From:":                                                                             "550",
		"From: alice@example.org\r\nSender: bob@example.org":                                "550",
		"From: alice@example.org\r\nSender: alice@example.org":                              "250",
		"From: alice@example.org\r\nSender: alice@example.org\r\nSender: alice@example.org": "550",
		"Received: x\r\nX: " + strings.Repeat("y", 30000) + "\r\nfrom:\r\n bob@example.org": "550",
	} {
		srv, _, _ := newServer(t)
		heard := tlsPlay(t, srv, "EHLO c\r\n", "AUTH PLAIN "+base64.StdEncoding.EncodeToString([]byte("\x00alice@example.org\x00secret"))+"\r\n",
			"MAIL FROM:<alice@example.org>\r\n", "RCPT TO:<u@x.example>\r\n", "DATA\r\n", header+"\r\n\r\n.\r\n", "QUIT\r\n")
		if got := codes(heard); got != "220 250 235 250 250 354 "+want+" 221" {
			t.Errorf("%.80q: %s, want %s", header, got, want)
		}
	}
}

// Return addresses we made for mail we forwarded take bounces, and nothing else; forged and old ones take nothing.
func TestSRSBounces(t *testing.T) {
	srv, spool, _ := newServer(t)
	now := time.Now()
	srv.SRS = &srs.Rewriter{Domain: "srs.example.org", Secrets: [][]byte{[]byte("a secret")}, Now: func() time.Time { return now }}
	back, err := srv.SRS.Forward(address.Path{Local: "alice", Domain: "example.net"})
	if err != nil {
		t.Fatal(err)
	}
	forged := strings.Replace(back.String(), "alice", "mallory", 1)
	heard := play(t, srv, "mx", "EHLO c\r\nMAIL FROM:<a@example.net>\r\nRCPT TO:<"+back.String()+">\r\nRSET\r\nMAIL FROM:<>\r\nRCPT TO:<"+forged+">\r\nRCPT TO:<"+back.String()+">\r\nDATA\r\n", body)
	if got := codes(heard); got != "220 250 250 550 250 250 550 250 354 250" || len(spool.files) != 1 {
		t.Error(heard)
	}
	now = now.Add(30 * 24 * time.Hour)
	if got := codes(play(t, srv, "mx", "EHLO c\r\nMAIL FROM:<>\r\nRCPT TO:<"+back.String()+">\r\n")); got != "220 250 250 550" {
		t.Errorf("a month later: %s", got)
	}
}

// Printers whose lines end with LF are listed; what they send is kept with line ends like any other's, and ends where others' does.
func TestS007BareLFNetworks(t *testing.T) {
	srv, spool, _ := newServer(t)
	srv.Settings.BareLFNetworks = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}
	heard := play(t, srv, "mx", letter, "Subject: x\n\nline\n.\nline\r\n.\r\n", "MAIL FROM:<>\r\nRCPT TO:<bob@example.org>\r\nDATA\r\n", "a\rb\r\n.\r\n")
	if got := codes(heard); got != "220 250 250 250 354 250 250 250 354 550" {
		t.Error(got)
	}
	for _, text := range spool.files {
		if !strings.HasSuffix(text, "Subject: x\n\nline\n.\nline\n") {
			t.Errorf("%q", text)
		}
	}
}

// writes counts the writes of a server.
type writes struct {
	*script
	n int
}

func (w *writes) Write(p []byte) (int, error) {
	w.n++
	return w.script.Write(p)
}

// Replies wait until the input is drained: one write for each batch of commands.
func TestRepliesAreBatched(t *testing.T) {
	srv, _, _ := newServer(t)
	srv.prepare()
	svc, _ := serviceNamed("mx")
	c := &writes{script: &script{say: []string{"EHLO c\r\n", "MAIL FROM:<>\r\nRCPT TO:<bob@example.org>\r\nRCPT TO:<carol@example.org>\r\nDATA\r\n", body + "NOOP\r\nQUIT\r\n"}}}
	srv.serve(svc, c)
	if got := codes(c.heard.String()); c.n != 4 || got != "220 250 250 250 250 354 250 250 221" {
		t.Errorf("%d writes: %s", c.n, got)
	}
}
