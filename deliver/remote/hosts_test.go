package remote

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"pennypost/internal/config"
	"pennypost/internal/order"
)

func TestResolve(t *testing.T) {
	c, s := newClient(t, zone+`
		same.test     MX 10 mx.example.test
		two.test      MX 10 b.test
		two.test      MX 10 a.test
		two.test      MX 5  z.test
		swapped.test  MX 1  z.test
		swapped.test  MX 2  a.test
		swapped.test  MX 2  b.test
		implicit.test A 127.0.0.1
		null.test     MX 0 .
		both.test     MX 0 .
		both.test     MX 10 mx.example.test
		text.test     TXT "no mail"
		xn--bcher-kva.test MX 10 mx.example.test
	`, 25, nil)
	s.Misbehave("broken.test", "!servfail")
	resolve := func(domain string) string {
		return show([]order.Answer{c.Resolve(context.Background(), &order.Order{Verb: "resolve", Seq: 1, Domain: domain})})
	}
	for domain, want := range map[string]string{
		"example.test":  "site mx.example.test+",
		"implicit.test": "site implicit.test+",
		"two.test":      "site z.test+",
		"both.test":     "site mx.example.test+",
		"bücher.test":   "site mx.example.test+",
		"[192.0.2.1]":   "site [192.0.2.1]+",
		"null.test":     "D 0 556 5.1.10 null.test takes no mail (null MX)",
		"text.test":     "D 0 550 5.1.2 text.test has neither MX nor address",
		"none.test":     "D 0 550 5.1.2 none.test does not exist",
		"broken.test":   "Z 0 451 4.4.3 DNS broken.test MX: SERVFAIL",
	} {
		if got := resolve(domain); !strings.HasPrefix(got, want) {
			t.Errorf("%s: %s, want %s", domain, got, want)
		}
	}
	if resolve("example.test") != resolve("same.test") || resolve("two.test") != resolve("swapped.test") || resolve("example.test") == resolve("two.test") {
		t.Error("the same set of hosts is not one site")
	}
}

// lab has hosts a.test to d.test at 127.0.1.1 to .4.
const lab = `
	a.test A 127.0.1.1
	b.test A 127.0.1.2
	c.test A 127.0.1.3
	d.test A 127.0.1.4
`

func TestOrderOfHosts(t *testing.T) {
	c, _ := newClient(t, lab+"x.test MX 20 d.test\nx.test MX 10 a.test\nx.test MX 10 b.test\nx.test MX 10 c.test", 25, nil)
	first := map[string]int{}
	for range 200 {
		x, _ := c.lookup(context.Background(), "x.test")
		k := c.candidates(&destination{}, x, "x.test")
		var names []string
		for h := k.next(context.Background()); h != nil; h = k.next(context.Background()) {
			names = append(names, h.name)
		}
		if len(names) != 4 || names[3] != "d.test" {
			t.Fatal(names)
		}
		first[names[0]]++
	}
	if len(first) != 3 {
		t.Errorf("equal preference is not by chance: %v", first)
	}
}

// S042: no connection is made to where mail for others cannot be.
func TestS042NoConnection(t *testing.T) {
	p := newPeer(t, "tcp", "127.0.1.1:0", func(d *dialogue) { d.smtp(nil, nil) })
	others := lab + `
		loop.test    MX 10 a.test
		named.test   MX 10 we.test
		we.test      A 127.0.9.9
		worse.test   MX 10 d.test
		worse.test   MX 20 a.test
		worse.test   MX 30 c.test
		equal.test   MX 10 a.test
		equal.test   MX 10 b.test
		private.test MX 10 p.test
		p.test       A 10.1.2.3
		p.test       A 192.168.1.1
		p.test       A 169.254.169.254
		p.test       AAAA ::1
		p.test       AAAA ::ffff:127.0.0.1
		p.test       AAAA fe80::1
		p.test       AAAA fd00::1
		p.test       A 0.0.0.0
		p.test       AAAA ::
		null.test    MX 0 .
	`
	c, _ := newClient(t, others, p.port, func(conf *config.Config) {
		conf.SMTPD.MX = []string{fmt.Sprintf("127.0.1.1:%d", p.port)}
		conf.Remote.RefuseNetworks = config.Default().Remote.RefuseNetworks
		conf.Remote.RefuseNetworks = append(conf.Remote.RefuseNetworks[:0:0], conf.Remote.RefuseNetworks...)
	})
	lenient, _ := newClient(t, others, p.port, func(conf *config.Config) { conf.SMTPD.MX = []string{fmt.Sprintf("127.0.1.1:%d", p.port)} })
	for _, test := range []struct {
		c            *Client
		domain, want string
	}{
		{lenient, "loop.test", "D 1 554 5.4.6"},
		{lenient, "named.test", "D 1 554 5.4.6"},
		{lenient, "equal.test", "D 1 554 5.4.6"},
		{lenient, "worse.test", "S "}, // d.test is before us and does not answer
		{c, "private.test", "D 1 550 5.4.4 host p.test has only addresses we never connect to"},
		{c, "[127.0.0.1]", "D 1 550 5.4.4"},
		{c, "[IPv6:::1]", "D 1 550 5.4.4"},
		{c, "null.test", "D 1 556 5.1.10"},
	} {
		if got := deliver(t, test.c, "x+1", letter{rcpts: []string{"bob@" + test.domain}}); !strings.HasPrefix(got, test.want) {
			t.Errorf("%s: %s", test.domain, got)
		}
	}
	if p.connections() != 0 {
		t.Errorf("%d connections to ourselves", p.connections())
	}
}

// S043: a domain cannot send us to more than ten hosts, or more than six addresses of one.
func TestS043ManyHosts(t *testing.T) {
	var many strings.Builder
	for i := range 50 {
		fmt.Fprintf(&many, "many.test MX %d h%d.test\n", i/5, i)
		for j := range 20 {
			fmt.Fprintf(&many, "h%d.test A 127.1.%d.%d\n", i, i, j+1)
		}
	}
	c, s := newClient(t, many.String(), 1, nil)
	x, _ := c.lookup(context.Background(), "many.test")
	k := c.candidates(&destination{}, x, "many.test")
	hosts := 0
	for h := k.next(context.Background()); h != nil; h = k.next(context.Background()) {
		if hosts++; len(h.addrs) > maxAddresses {
			t.Errorf("%d addresses of one host", len(h.addrs))
		}
	}
	asked := 0
	for i := range 50 {
		asked += s.Asked(fmt.Sprintf("h%d.test", i), "A")
	}
	if hosts != maxHosts || asked != maxHosts {
		t.Errorf("%d hosts of 50 tried, %d looked up", hosts, asked)
	}
	if got := deliver(t, c, "h0.test+1", letter{rcpts: []string{"bob@many.test"}}); !strings.Contains(got, "connection refused") || got[0] != 'S' {
		t.Error(got)
	}
}

func TestNextHost(t *testing.T) {
	for _, test := range []struct {
		name  string
		first map[string]string
		want  string
		conns int // to the second host
	}{
		{"busy greeting", map[string]string{"greeting": "421 busy"}, "K", 1},
		{"no mail here", map[string]string{"greeting": "554 no"}, "K", 1},
		{"EHLO refused", map[string]string{"EHLO": "550 no", "HELO": "550 no"}, "K", 1},
		{"MAIL deferred", map[string]string{"MAIL": "451 no"}, "K", 1},
		{"MAIL refused", map[string]string{"MAIL": "550 no"}, "D 1 550", 0},
		{"RCPT deferred", map[string]string{"RCPT": "451 no"}, "Z 1 451", 0},
		{"hung up at the end", map[string]string{".": "bye"}, "Z 1 451", 0},
	} {
		one := newPeer(t, "tcp", "127.0.1.1:0", func(d *dialogue) { d.smtp(without(modern, "CHUNKING"), test.first) })
		two := newPeer(t, "tcp", fmt.Sprintf("127.0.1.2:%d", one.port), func(d *dialogue) { d.smtp(modern, nil) })
		c, _ := newClient(t, lab+"x.test MX 10 a.test\nx.test MX 20 b.test", one.port, nil)
		got := deliver(t, c, "a.test+1", letter{rcpts: []string{"bob@x.test"}})
		got, _ = strings.CutPrefix(got, "S a.test[127.0.1.1]: not an SMTP reply\n")
		if !strings.HasPrefix(got, test.want) || two.connections() != test.conns {
			t.Errorf("%s: %s, %d connections to the second host", test.name, got, two.connections())
		}
	}
}

// A family that does not answer costs 250 ms, and the next time nothing.
func TestHappyEyeballs(t *testing.T) {
	var m memory
	c := &Client{conf: config.Default()}
	six, four := netip.MustParseAddrPort("[2001:db8::1]:25"), netip.MustParseAddrPort("192.0.2.1:25")
	both := func() [2][]netip.AddrPort { return [2][]netip.AddrPort{{four}, {six}} }
	if got := c.interleave(both(), "prefer"); got[0] != six {
		t.Error(got)
	}
	if got := c.interleave(both(), "avoid"); got[0] != four {
		t.Error(got)
	}
	c.memory.won(four, []netip.AddrPort{six, four})
	if got := c.interleave(both(), "prefer"); got[0] != four {
		t.Error("the family that won is not tried first")
	}
	now := time.Now()
	m.timedOut(six, now)
	if !m.dead(six, now.Add(9*time.Minute)) || m.dead(six, now.Add(11*time.Minute)) || !m.fresh(six, now.Add(10*time.Second)) || m.fresh(six, now.Add(20*time.Second)) {
		t.Error("an address that timed out is forgotten too soon or too late")
	}
	m.timedOut(six, now.Add(11*time.Minute))
	if !m.dead(six, now.Add(30*time.Minute)) {
		t.Error("the second time does not count double")
	}
	m.answered(six)
	if m.dead(six, now.Add(12*time.Minute)) {
		t.Error("an address that answered is dead")
	}
}

// Behind an address we do not know, but greeting with our name: it is us.
func TestOwnName(t *testing.T) {
	p := newPeer(t, "tcp", "127.0.0.1:0", func(d *dialogue) { d.smtp(nil, map[string]string{"EHLO": "250 WE.test at your service"}) })
	c, _ := newClient(t, zone, p.port, nil)
	if got := deliver(t, c, site, letter{rcpts: []string{"bob@example.test"}}); !strings.HasPrefix(got, "D 1 554 5.4.6") {
		t.Error(got)
	}
	if got := deliver(t, c, fmt.Sprintf("smtp://127.0.0.1:%d", p.port), letter{rcpts: []string{"bob@example.test"}}); !strings.HasPrefix(got, "K") {
		t.Errorf("a filter of ours: %s", got)
	}
}

func TestOwnAddresses(t *testing.T) {
	loop := netip.MustParseAddr("127.0.0.1")
	for _, test := range []struct {
		listen string
		ours   bool
	}{
		{"127.0.0.1:25", true}, {"127.0.0.1:2525", false}, {"127.0.0.2:25", false}, {"0.0.0.0:25", true}, {"[::]:25", true}, {":25", true}, {":26", false}, {"unix:/run/x", false},
	} {
		conf := config.Default()
		conf.SMTPD.MX = []string{test.listen}
		if got := ownAddresses(conf)[loop]; got != test.ours {
			t.Errorf("%s: %v", test.listen, got)
		}
	}
}
