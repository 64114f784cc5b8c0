package mailverify

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pennypost/internal/dns"
	"pennypost/internal/dns/fixture"
	"pennypost/msgauth"
)

const records = `
	example.org          TXT "v=spf1 ip4:192.0.2.0/24 -all"
	client.example.org   TXT "v=spf1 a -all"
	client.example.org   A   192.0.2.1
	192.0.2.1            PTR client.example.org
	_dmarc.example.org   TXT "v=DMARC1; p=reject"
	_dmarc.odd.example   TXT "v=DMARC1; p=reject; x=\` + "\x1b" + `[31m"
	broken.example       TXT "v=spf1 nonsense"
	soft.example         TXT "v=spf1 ~all"
	open.example         TXT "v=spf1 ?all"
	down.example         !servfail
	brisbane._domainkey.football.example.com TXT "v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="
`

// football is the message of RFC 8463 appendix A with its Ed25519 signature.
const football = `DKIM-Signature: v=1; a=ed25519-sha256; c=relaxed/relaxed;
 d=football.example.com; i=@football.example.com;
 q=dns/txt; s=brisbane; t=1528637909; h=from : to :
 subject : date : message-id : from : subject : date;
 bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=;
 b=/gCrinpcQOoIfuHNQIbq4pgh9kyIK3AQUdt9OdqQehSwhEIug4D11Bus
 Fa3bT3FY5OsU7ZbnKELq+eXdp1Q1Dw==
From: Joe SixPack <joe@football.example.com>
To: Suzie Q <suzie@shopping.example.net>
Subject: Is dinner ready?
Date: Fri, 11 Jul 2003 21:00:37 -0700 (PDT)
Message-ID: <20030712040037.46341.5F8J@football.example.com>

Hi.

We lost the game.  Are you hungry yet?

Joe.
`

func run(t *testing.T, change func(*Tool), message string, args ...string) (out string, code int) {
	t.Helper()
	s, err := fixture.Start("127.0.0.1:0", records)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	var b bytes.Buffer
	tool := &Tool{Checker: &msgauth.Checker{DNS: &dns.Resolver{Servers: []string{s.Addr()}, Timeout: 2 * time.Second}, Name: "mx.example.net"},
		In: strings.NewReader(message), Out: &b}
	if change != nil {
		change(tool)
	}
	verdict, err := tool.Run(context.Background(), args)
	if err != nil {
		b.WriteString(err.Error())
	}
	return b.String(), ExitCode(verdict, err)
}

func TestVerdictFirst(t *testing.T) {
	spoofed := "From: alice@example.org\n\nx\n"
	client := func(t *Tool) { t.IP, t.HELO, t.From = "192.0.2.1", "client.example.org", "alice@example.org" }
	for _, test := range []struct {
		change  func(*Tool)
		message string
		args    []string
		want    string // the beginning
		also    string
		code    int
	}{
		{nil, "", []string{"spf", "192.0.2.1", "client.example.org", "alice@example.org"}, "pass 192.0.2.1 may send", `record: example.org TXT "v=spf1 ip4:192.0.2.0/24 -all"`, 0},
		{nil, "", []string{"spf", "192.0.2.1", "client.example.org", "<>"}, "pass ", "helo: pass: ", 0},
		{nil, "", []string{"spf", "198.51.100.1", "x", "alice@example.org"}, "fail example.org says that 198.51.100.1 may not", "helo: none", 1},
		{nil, "", []string{"spf", "198.51.100.1", "x", "soft.example"}, "softfail ", "", 1},
		{nil, "", []string{"spf", "198.51.100.1", "x", "a@open.example"}, "neutral ", "", 1},
		{nil, "", []string{"spf", "2001:db8::1", "x", "a@nothing.example"}, "none ", "no such domain", 1},
		{nil, "", []string{"spf", "198.51.100.1", "x", "a@broken.example"}, "permerror the record of broken.example is wrong: \"nonsense\"", "", 1},
		{nil, "", []string{"spf", "198.51.100.1", "x", "a@down.example"}, "temperror ", "SERVFAIL", 75},
		{nil, football, []string{"dkim"}, "pass signed by football.example.com", "dkim 1: pass: d=football.example.com s=brisbane", 0},
		{nil, strings.Replace(football, "lost", "won", 1), []string{"dkim"}, "fail the body is not", "", 1},
		{nil, spoofed, []string{"dkim"}, "none ", "", 1},
		{nil, spoofed, []string{"arc"}, "none ", "", 1},
		{nil, spoofed, []string{"dmarc"}, "fail nothing that passed is of example.org", "do: reject", 1},
		{client, spoofed, []string{"dmarc"}, "pass for example.org speaks spf example.org", "do: none", 0},
		{client, spoofed, []string{"all"}, "pass ", "header: Authentication-Results: mx.example.net; spf=pass smtp.mailfrom=alice@example.org", 0},
		{nil, "From: a@example.org\nFrom: b@example.org\n\n", []string{"all"}, "permerror there is more than one From", "", 1},
		{nil, "From: a@odd.example\n\n", []string{"dmarc"}, "fail ", `\x1b`, 1},
		{nil, "", nil, "say what to verify", "", 64},
		{nil, "", []string{"spf", "1.2.3", "x", "y"}, `"1.2.3" is no address`, "", 64},
		{nil, "", []string{"spf", "192.0.2.1"}, "spf takes", "", 64},
		{nil, "", []string{"hello"}, `"hello" is none of`, "", 64},
		{nil, "", []string{"dkim", "/nowhere/at/all"}, "open /nowhere", "", 74},
	} {
		out, code := run(t, test.change, test.message, test.args...)
		if !strings.HasPrefix(out, test.want) || !strings.Contains(out, test.also) || code != test.code || strings.ContainsRune(out, '\x1b') {
			t.Errorf("%v: exit %d, want %d\n%s", test.args, code, test.code, out)
		}
	}
}

func TestJSON(t *testing.T) {
	asJSON := func(t *Tool) {
		t.JSON = true
		t.IP, t.HELO, t.From = "192.0.2.1", "client.example.org", "alice@example.org"
	}
	for _, args := range [][]string{{"spf", "192.0.2.1", "client.example.org", "alice@example.org"}, {"dkim"}, {"arc"}, {"dmarc"}, {"all"}} {
		out, _ := run(t, asJSON, "From: alice@example.org\n\nx\n", args...)
		var got struct {
			Verdict, Why string
			Records      []msgauth.Record
		}
		if err := json.Unmarshal([]byte(out), &got); err != nil || got.Verdict == "" || got.Why == "" || got.Records == nil {
			t.Errorf("%v: %v\n%s", args, err, out)
		}
	}
}

func TestFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "message")
	if err := os.WriteFile(path, []byte(football), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, code := run(t, nil, "", "dkim", path); code != 0 {
		t.Error(out)
	}
}
