package msgauth

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"io"
	"strings"
	"testing"

	"pennypost/internal/dns"
	"pennypost/internal/dns/fixture"
)

// bulk is a message with a body of n octets, half of it text and half base64.
func bulk(n int) string {
	var b strings.Builder
	head, _, _ := strings.Cut(letter, "\n\n")
	b.WriteString(head + "\n\n")
	line := base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{1, 200, 7}, 19)) + "\n"
	for i := 0; b.Len() < n; i++ {
		if i%2 == 0 {
			b.WriteString(line)
		} else {
			b.WriteString("The quick brown fox jumps over the lazy dog, and then over the others too.\n")
		}
	}
	return b.String()
}

// BenchmarkVerify is SPF, DKIM (RSA-2048 and Ed25519) and DMARC of 4 KiB with DNS at hand.
func BenchmarkVerify(b *testing.B) {
	text := signed(b, bulk(4096), testKeys()...)
	c := &Checker{DNS: exampleZone(), Name: "mx.example.net", Now: noonPlus(0)}
	b.ReportAllocs()
	for b.Loop() {
		r, err := c.Check(background, alice, strings.NewReader(text))
		if err != nil || r.DMARC.Result != Pass {
			b.Fatalf("%v %+v", err, r)
		}
		io.Discard.Write([]byte(r.Header()))
	}
}

func BenchmarkSign(b *testing.B) {
	text := bulk(4096)
	for _, which := range []struct {
		name string
		keys []Key
	}{{"both", testKeys()}, {"rsa2048", testKeys()[:1]}, {"ed25519", testKeys()[1:]}} {
		b.Run(which.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				d, err := ReadDigest(strings.NewReader(text))
				if err != nil {
					b.Fatal(err)
				}
				if _, err := Sign(d, which.keys, noon, Lifetime); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkBody is how fast 25 MB pass, for each canonical form and for both at once.
func BenchmarkBody(b *testing.B) {
	text := bulk(25 << 20)
	for name, forms := range map[string][]bool{"simple": {false}, "relaxed": {true}, "both": {false, true}} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(text)))
			b.ReportAllocs()
			for b.Loop() {
				m := &message{headed: func(m *message) {
					for _, relaxed := range forms {
						m.want(relaxed)
					}
				}}
				if err := copyTo(m, strings.NewReader(text)); err != nil {
					b.Fatal(err)
				}
				m.Close()
			}
		})
	}
}

func BenchmarkSeal(b *testing.B) {
	d, err := ReadDigest(strings.NewReader(fmt.Sprintf("Authentication-Results: mx.example.net; dmarc=pass header.from=example.org\n%s", letter)))
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := Seal(d, testKeys()[1], "mx.example.net", noon); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkVerifyResolver is BenchmarkVerify with the resolver and its cache in place of a map.
func BenchmarkVerifyResolver(b *testing.B) {
	text := signed(b, bulk(4096), testKeys()...)
	var lines strings.Builder
	for name, types := range exampleZone() {
		for typ, values := range types {
			for _, v := range values {
				if typ == "TXT" {
					v = `"` + v + `"`
				}
				fmt.Fprintf(&lines, "%s %s %s\n", name, typ, v)
			}
		}
	}
	s, err := fixture.Start("127.0.0.1:0", "$TTL 3600\n"+lines.String())
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	c := &Checker{DNS: &dns.Resolver{Servers: []string{s.Addr()}}, Name: "mx.example.net", Now: noonPlus(0)}
	b.ReportAllocs()
	for b.Loop() {
		r, err := c.Check(background, alice, strings.NewReader(text))
		if err != nil || r.DMARC.Result != Pass || r.IPRev.Result != Pass {
			b.Fatalf("%v %+v", err, r)
		}
	}
}
