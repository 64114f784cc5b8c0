package msgauth

import (
	"context"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"pennypost/internal/address"
	"pennypost/internal/dns"
	"pennypost/internal/dns/fixture"
)

// unwritten are tests whose names or values cannot be written in the text of the name server; TestSPFSuite has them.
var unwritten = map[string]string{"badip4": "a value with a line end", "macro-mania-in-domain": "a name with a space"}

// load puts a zone into a name server, as far as its names and values can be written there.
func (z zone) load(f *fixture.Server) {
	for name, types := range z {
		if strings.ContainsAny(name, " \t") || name == "" {
			continue
		}
		silent := 0
		for typ, values := range types {
			for _, v := range values {
				switch {
				case v == "TIMEOUT":
					silent++
					continue
				case typ == "TXT":
					if strings.ContainsAny(v, "\"") {
						continue
					}
					v = `"` + v + `"`
				case typ == "MX":
					v = "10 " + v + "."
				}
				if v != "" && typ != "" {
					f.Load(name + " " + typ + " " + v) // what it cannot read is not there
				}
			}
		}
		if silent > 0 && silent == len(types)-1 { // of no type is there anything
			f.Misbehave(name, "!servfail")
		}
	}
}

// The suite again, with the resolver in place of a map: what it makes of odd names and answers is part of the verdict.
func TestSPFSuiteWithResolver(t *testing.T) {
	passed := 0
	for _, doc := range documents[spfSuite](t, suite(t, "spf/rfc7208-tests.yml")) {
		f, err := fixture.Start("127.0.0.1:0", "")
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		spfZone(t, doc.ZoneData).load(f)
		c := &Checker{DNS: &dns.Resolver{Servers: []string{f.Addr()}}}
		for name, test := range doc.Tests {
			local, domain, ok := cutLast(test.MailFrom, '@')
			if !ok && test.MailFrom != "" {
				local, domain = "postmaster", test.MailFrom
			}
			client := Client{Addr: netip.MustParseAddr(test.Host), HELO: test.Helo, From: address.Path{Local: local, Domain: domain}}
			_, from, records := c.SPF(context.Background(), client)
			if slices.Contains(test.Result, string(from.Result)) {
				passed++
				continue
			}
			if spfApart[name] == "" && unwritten[name] == "" {
				t.Errorf("%s: %s: got %s (%s), want %v\n%v", doc.Description, name, from.Result, from.Why, test.Result, records)
			}
		}
	}
	t.Logf("%d passed", passed)
}
