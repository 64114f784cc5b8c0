package msgauth

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"math/big"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"pennypost/internal/address"
)

var background = context.Background()

const letter = `Received: from client.example.org by mx.example.net; Tue, 24 Nov 2026 10:00:00 +0000
From: Alice <alice@example.org>
To: bob@example.net
Subject: hello
Date: Tue, 24 Nov 2026 10:00:00 +0000
Message-ID: <1@example.org>

Hello  Bob,

a line
`

var noon = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)

// testKeys are an RSA and an Ed25519 key of example.org.
var testKeys = sync.OnceValue(func() []Key {
	r, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	_, e, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		panic(err)
	}
	return []Key{{"example.org", "rsa", r}, {"example.org", "ed", e}}
})

// keyRecord is what DNS has for a key.
func keyRecord(k Key) string {
	switch pub := k.Signer.Public().(type) {
	case ed25519.PublicKey:
		return "v=DKIM1; k=ed25519; p=" + base64.StdEncoding.EncodeToString(pub)
	default:
		der, err := x509.MarshalPKIXPublicKey(pub)
		if err != nil {
			panic(err)
		}
		return "v=DKIM1; k=rsa; p=" + base64.StdEncoding.EncodeToString(der)
	}
}

// fakeRSA is a key record of so many bits.
func fakeRSA(bits int) string {
	n := new(big.Int).Lsh(big.NewInt(1), uint(bits-1))
	n.Add(n, big.NewInt(1))
	der, _ := x509.MarshalPKIXPublicKey(&rsa.PublicKey{N: n, E: 65537})
	return "v=DKIM1; p=" + base64.StdEncoding.EncodeToString(der)
}

// exampleZone has example.org with all its records.
func exampleZone() zone {
	z := make(zone)
	for _, k := range testKeys() {
		z.set(k.Selector+"._domainkey."+k.Domain, "TXT", keyRecord(k))
	}
	z.set("example.org", "TXT", "v=spf1 ip4:192.0.2.0/24 -all")
	z.set("_dmarc.example.org", "TXT", "v=DMARC1; p=reject; rua=mailto:r@example.org")
	z.set("192.0.2.1", "PTR", "client.example.org")
	z.set("client.example.org", "A", "192.0.2.1")
	return z
}

var alice = Client{Addr: netip.MustParseAddr("192.0.2.1"), HELO: "client.example.org", From: address.Path{Local: "alice", Domain: "example.org"}}
var stranger = Client{Addr: netip.MustParseAddr("198.51.100.7"), HELO: "stranger.example", From: address.Path{Local: "x", Domain: "stranger.example"}}

func signed(t testing.TB, text string, keys ...Key) string {
	t.Helper()
	d, err := ReadDigest(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	fields, err := Sign(d, keys, noon, Lifetime)
	if err != nil {
		t.Fatal(err)
	}
	return string(fields) + text
}

func judge(t testing.TB, z Resolver, client Client, text string) *Report {
	t.Helper()
	c := &Checker{DNS: z, Name: "mx.example.net", Now: func() time.Time { return noon }}
	r, err := c.Check(background, client, strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func results(r *Report) string {
	var list []string
	for _, d := range r.DKIM {
		list = append(list, string(d.Result))
	}
	return strings.Join(list, " ")
}

// What issue 5 wants to see: spf=pass, dkim=pass twice, dmarc=pass; and of somebody else, refused with a reason.
func TestGoodAndSpoofed(t *testing.T) {
	z := exampleZone()
	r := judge(t, z, alice, signed(t, letter, testKeys()...))
	want := "spf=pass:example.org dkim=pass:example.org dkim=pass:example.org dmarc=pass:example.org iprev=pass"
	if got := r.Checks(); got != want {
		t.Errorf("got %s\nwant %s\n%+v", got, want, r)
	}
	back, err := ParseResults(strings.TrimPrefix(r.Header(), "Authentication-Results:"))
	if err != nil || back.Host != "mx.example.net" || len(back.Methods) != 6 {
		t.Errorf("%v\n%s%+v", err, r.Header(), back)
	}
	for line := range strings.Lines(r.Header()) {
		if len(line) > 79 {
			t.Errorf("a line of %d octets: %s", len(line), line)
		}
	}
	r = judge(t, z, stranger, letter)
	if r.DMARC.Result != Fail || r.DMARC.Do != PolicyReject || !strings.Contains(r.DMARC.Why, "example.org asks for reject") {
		t.Errorf("spoofed: %+v", r.DMARC)
	}
}

// In pieces of any size, with LF and with CRLF, the verdict is one.
func TestPieces(t *testing.T) {
	z := exampleZone()
	text := signed(t, letter+"\ttab \t \n  x  \n\n\n", testKeys()...)
	c := &Checker{DNS: z, Now: func() time.Time { return noon }}
	for _, form := range []string{text, strings.ReplaceAll(text, "\n", "\r\n")} {
		for size := 1; size < 80; size++ {
			k := c.Begin(background, Client{})
			for rest := form; rest != ""; {
				n := min(size, len(rest))
				k.Write([]byte(rest[:n]))
				rest = rest[n:]
			}
			if r := k.End(); results(r) != "pass pass" {
				t.Fatalf("pieces of %d: %+v", size, r.DKIM)
			}
		}
	}
}

func TestShapes(t *testing.T) {
	z := exampleZone()
	for _, text := range []string{"", "\n", "\r\n", "x", "no header at all\n", "From: a@b.example", "From: a@b.example\n", "\n\n\n", ": x\n\n", "DKIM-Signature:\n\n",
		"DKIM-Signature: v=1\n\nx", "From x Mon\nFrom: a@example.org\n\n", "ARC-Seal: i=1\n\n", " folded\nFrom: a@example.org\n\n"} {
		judge(t, z, stranger, text) // nothing but that it returns
	}
}

// A temporary error of DNS is never a failure.
func TestTemporary(t *testing.T) {
	text := signed(t, letter, testKeys()...)
	for _, name := range []string{"rsa._domainkey.example.org", "_dmarc.example.org", "example.org"} {
		z := exampleZone()
		z[name] = map[string][]string{"ANY": {"TIMEOUT"}}
		r := judge(t, z, stranger, text)
		switch name {
		case "_dmarc.example.org":
			if r.DMARC.Result != TempError || r.DMARC.Do != PolicyNone {
				t.Errorf("%s: %+v", name, r.DMARC)
			}
		case "rsa._domainkey.example.org":
			if results(r) != "temperror pass" || r.DMARC.Result != Pass {
				t.Errorf("%s: %+v", name, r)
			}
			if r := judge(t, z, stranger, signed(t, letter, testKeys()[0])); r.DMARC.Result != TempError {
				t.Errorf("%s alone: %+v", name, r.DMARC)
			}
		case "example.org":
			if r := judge(t, z, alice, letter); r.From.Result != TempError || r.DMARC.Result != TempError {
				t.Errorf("%s: %+v %+v", name, r.From, r.DMARC)
			}
		}
	}
}

func noonPlus(d time.Duration) func() time.Time {
	return func() time.Time { return noon.Add(d) }
}
