package msgauth

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
)

// counting counts the questions a resolver is asked.
type counting struct {
	zone
	n atomic.Int64
}

func (c *counting) TXT(ctx context.Context, name string) ([]string, bool, error) {
	c.n.Add(1)
	return c.zone.TXT(ctx, name)
}

// S049: whatever a record says, it costs little, and what costs too much is permerror.
func TestS049SPFLimits(t *testing.T) {
	z := make(zone)
	for i := range 12 {
		z.set(fmt.Sprintf("chain%d.example", i), "TXT", fmt.Sprintf("v=spf1 include:chain%d.example -all", i+1))
	}
	z.set("loop.example", "TXT", "v=spf1 include:loop.example -all")
	z.set("turn.example", "TXT", "v=spf1 redirect=turn.example")
	z.set("void.example", "TXT", "v=spf1 a:n1.example a:n2.example a:n3.example -all")
	exchanges := make([]string, 11)
	for i := range exchanges {
		exchanges[i] = fmt.Sprintf("mx%d.example", i)
		z.set(exchanges[i], "A", "203.0.113.9")
	}
	z.set("mx11.example", "TXT", "v=spf1 mx -all")
	z.set("mx11.example", "MX", exchanges...)
	z.set("many.example", "TXT", "v=spf1 mx:m1.example mx:m2.example mx:m3.example mx:m4.example mx:m5.example -all")
	for i := range 6 {
		z.set(fmt.Sprintf("m%d.example", i), "MX", exchanges[:10]...)
	}
	z.set("wide.example", "TXT", "v=spf1 exists:"+strings.Repeat("%{l}.", 20)+"example -all")
	z.set("two.example", "TXT", "v=spf1 -all", "v=spf1 +all")
	z.set("late.example", "TXT", "v=spf1 ip4:198.51.100.0/24 nonsense -all") // a mistake after the match still counts
	z.set("exp.example", "TXT", "v=spf1 exp=why.example -all")
	for domain, why := range map[string]string{"chain0.example": "10 lookups", "loop.example": "10 lookups", "turn.example": "10 lookups", "void.example": "2 names",
		"mx11.example": "10 exchanges", "many.example": "40 questions", "wide.example": "512 octets", "two.example": "more than one", "late.example": "nonsense"} {
		client := stranger
		client.From.Local, client.From.Domain = strings.Repeat("x", 60), domain
		c := &Checker{DNS: z}
		_, from, records := c.SPF(background, client)
		if from.Result != PermError || !strings.Contains(from.Why, why) {
			t.Errorf("%s: %s (%s)", domain, from.Result, from.Why)
		}
		if len(records) > spfQueries {
			t.Errorf("%s: %d questions", domain, len(records))
		}
	}
	client := stranger // exp= is never asked for: a stranger's words have no place in our answers
	client.From.Domain = "exp.example"
	_, from, records := (&Checker{DNS: z}).SPF(background, client)
	if from.Result != Fail || len(records) != 2 {
		t.Errorf("exp=: %s %v", from.Result, records)
	}
}

// S050: l= is worth nothing, and we never write it.
func TestS050Length(t *testing.T) {
	text := signed(t, letter, testKeys()...)
	head, _, _ := strings.Cut(text, "\nReceived:")
	if strings.Contains(head, "l=") {
		t.Errorf("we wrote l=:\n%s", head)
	}
	for _, l := range []string{"l=0", "l=26", "l=99999"} {
		with := strings.Replace(text, "c=relaxed/relaxed;", "c=relaxed/relaxed; "+l+";", 1)
		r := judge(t, exampleZone(), stranger, with+"appended\n")
		if r.DKIM[0].Result != Neutral || r.DMARC.Result != Fail {
			t.Errorf("%s: %+v %+v", l, r.DKIM, r.DMARC)
		}
	}
}

// S051: adding another of these breaks the signature, whether there was one or not.
func TestS051Oversigned(t *testing.T) {
	text := signed(t, letter, testKeys()...)
	for _, name := range []string{"From", "To", "Cc", "Subject", "Date", "Reply-To", "Message-ID", "MIME-Version", "Content-Type", "List-Unsubscribe", "List-Unsubscribe-Post"} {
		for _, forged := range []string{name + ": x@evil.example\n" + text, strings.Replace(text, "\n\n", "\n"+name+": x@evil.example\n\n", 1)} {
			if r := judge(t, exampleZone(), stranger, forged); results(r) != "fail fail" {
				t.Errorf("%s added: %s", name, results(r))
			}
		}
	}
	if r := judge(t, exampleZone(), stranger, "Received: later\n"+text); results(r) != "pass pass" {
		t.Errorf("a trace line added: %s", results(r))
	}
	// what was there is signed, each of it
	for old, with := range map[string]string{"Subject: hello": "Subject: bye", "bob@example.net": "eve@example.net", "a line": "a lie"} {
		if r := judge(t, exampleZone(), stranger, strings.Replace(text, old, with, 1)); results(r) != "fail fail" {
			t.Errorf("%s changed: %s", old, results(r))
		}
	}
}

// S052: what a signature may not be.
func TestS052Bombs(t *testing.T) {
	good := signed(t, letter, testKeys()[0])
	_, rest, _ := strings.Cut(good, "\nReceived:")
	rest = "Received:" + rest
	field := strings.TrimSuffix(good, rest)
	edit := func(old, with string) string {
		if !strings.Contains(field, old) {
			t.Fatalf("no %s in %s", old, field)
		}
		return strings.Replace(field, old, with, 1) + rest
	}
	z := exampleZone()
	z.set("small._domainkey.example.org", "TXT", fakeRSA(512))
	z.set("large._domainkey.example.org", "TXT", fakeRSA(16384))
	z.set("bit._domainkey.example.org", "TXT", fakeRSA(4104))
	z.set("gone._domainkey.example.org", "TXT", "v=DKIM1; p=")
	z.set("text._domainkey.example.org", "TXT", "hello")
	z.set("none._domainkey.example.org", "TXT", "v=DKIM1; k=dsa; p=AAAA")
	z.set("web._domainkey.example.org", "TXT", keyRecord(testKeys()[0])+"; s=web")
	z.set("sha1._domainkey.example.org", "TXT", keyRecord(testKeys()[0])+"; h=sha1")
	z.set("strict._domainkey.example.org", "TXT", keyRecord(testKeys()[0])+"; t=s")
	for _, test := range []struct {
		what, text string
		want       Result
		why        string
	}{
		{"as it is", good, Pass, "2048 bits"},
		{"512 bits", edit("s=rsa", "s=small"), Fail, "512 bits"},
		{"16384 bits", edit("s=rsa", "s=large"), Fail, "more than 4096"},
		{"4104 bits", edit("s=rsa", "s=bit"), Fail, "more than 4096"},
		{"revoked", edit("s=rsa", "s=gone"), Fail, "revoked"},
		{"another text", edit("s=rsa", "s=text"), PermError, "is no key"},
		{"another kind", edit("s=rsa", "s=none"), PermError, "kind"},
		{"key for web", edit("s=rsa", "s=web"), PermError, "not for mail"},
		{"key for sha1", edit("s=rsa", "s=sha1"), PermError, "sha256"},
		{"no key", edit("s=rsa", "s=nobody"), PermError, "no key at"},
		{"expired", edit("x=", "x=1; y="), PermError, "before t="},
		{"no From", edit("h=from:from:", "h="), PermError, "without From"},
		{"selector ../", edit("s=rsa", "s=../../etc"), PermError, "selector"},
		{"selector empty label", edit("s=rsa", "s=a..b"), PermError, "selector"},
		{"selector with a space", edit("s=rsa", "s=a b"), PermError, "selector"},
		{"domain of one label", edit("d=example.org", "d=org"), PermError, "domain"},
		{"rsa-sha1", edit("a=rsa-sha256", "a=rsa-sha1"), PermError, "rsa-sha1"},
		{"unknown algorithm", edit("a=rsa-sha256", "a=rsa-md5"), PermError, "do not know"},
		{"a tag twice", edit("v=1;", "v=1; v=1;"), PermError, "twice"},
		{"version 2", edit("v=1;", "v=2;"), PermError, "v= is not 1"},
		{"i= elsewhere", edit("v=1;", "v=1; i=@evil.example;"), PermError, "not in d="},
		{"i= that only ends so", edit("v=1;", "v=1; i=@evilexample.org;"), PermError, "not in d="},
		{"i= below, strict key", edit("s=rsa", "i=@sub.example.org; s=strict"), PermError, "t=s"},
		{"b= broken", edit("b=", "b=!"), PermError, "base64"},
		{"b= changed", edit("t=", "z=x; t="), Fail, "does not fit"},
		{"other query", edit("v=1;", "v=1; q=http;"), PermError, "dns/txt"},
		{"many names", edit("h=from:", "h="+strings.Repeat("x:", 2000)+"from:"), PermError, "1000"},
	} {
		r := judge(t, z, stranger, test.text)
		if d := r.DKIM[0]; d.Result != test.want || !strings.Contains(d.Why, test.why) {
			t.Errorf("%s: %s (%s)", test.what, d.Result, d.Why)
		}
	}
	c := &counting{zone: z}
	var bomb strings.Builder
	for i := range 1000 {
		bomb.WriteString(strings.Replace(field, "s=rsa", fmt.Sprintf("s=s%d", i), 1))
	}
	r := judge(t, c, Client{}, bomb.String()+rest)
	if len(r.DKIM) != maxSignatures || r.Skipped != 1000-maxSignatures || c.n.Load() > 8+8 {
		t.Errorf("1000 signatures: %d looked at, %d not, %d questions", len(r.DKIM), r.Skipped, c.n.Load())
	}
}

// S053: what we sign expires.
func TestS053Expires(t *testing.T) {
	text := signed(t, letter, testKeys()...)
	c := &Checker{DNS: exampleZone()}
	c.Now = noonPlus(Lifetime + 1e9)
	r, err := c.Check(background, Client{}, strings.NewReader(text))
	if err != nil || results(r) != "fail fail" || !strings.Contains(r.DKIM[0].Why, "expired") {
		t.Errorf("%v %+v", err, r.DKIM)
	}
}

// S054: a From with two readings has none. The forms are those with which one mail reader shows another author than
// the one that was judged.
func TestS054Author(t *testing.T) {
	for _, test := range []struct{ head, want string }{
		{"From: alice@example.org\n", "example.org"},
		{"From: Alice <alice@example.org>\n", "example.org"},
		{"From: \"Alice, of <x>\" <alice@example.org>\n", "example.org"},
		{"from:\n alice@EXAMPLE.org (Alice (her)self)\n", "example.org"},
		{"From: =?utf-8?q?Alice?= J. <alice@example.org>\n", "example.org"},
		{"From: alice@bücher.example\n", "xn--bcher-kva.example"},
		{"From: \"a b\"@example.org\n", "example.org"},
		// evasions
		{"To: x@example.org\n", ""},
		{"From: a@example.org\nFrom: b@evil.example\n", ""},
		{"From: a@example.org\nfrom: b@evil.example\n", ""},
		{"From : a@example.org\n", ""},
		{"From\t: a@example.org\n", ""},
		{"From: a@example.org\nFrom : b@evil.example\n", ""},
		{"From: a@example.org, b@evil.example\n", ""},
		{"From: a@example.org,\n", ""},
		{"From: <a@example.org> <b@evil.example>\n", ""},
		{"From: <a@example.org>b@evil.example\n", ""},
		{"From: team: a@example.org;\n", ""},
		{"From: team:;\n", ""},
		{"From: a@example.org (b@evil.example\n", ""},
		{"From: a@(evil.example)example.org\n", ""},
		{"From: <a@example.org(>b@evil.example)>\n", ""},
		{"From: a(x)@example.org\n", ""},
		{"From: a@example.org\x00.evil.example\n", ""},
		{"From: a@example.org\x0b\n", ""},
		{"From: =?utf-8?q?a=40example.org?=\n", ""},
		{"From: <=?utf-8?q?admin=40example.org=00?=@evil.example>\n", ""},
		{"From: <@example.org:b@evil.example>\n", ""},
		{"From: <@example.org,@b.example:b@evil.example>\n", ""},
		{"From: <a@example.org\n", ""},
		{"From: a@example.org>\n", ""},
		{"From: \"a@example.org\n", ""},
		{"From: a @example.org\n", ""},
		{"From: a@example. org\n", ""},
		{"From: <a@example.org@evil.example>\n", ""},
		{"From: a@[192.0.2.1]\n", ""},
		{"From: a\n", ""},
		{"From: <>\n", ""},
		{"From:\n", ""},
		{"From: a@localhost\n", ""},
		{"From: a@example..org\n", ""},
		{"From: a@example.org; b@evil.example\n", ""},
		{"From: a\\@example.org <b\n", ""},
		{"Subject: x\nno field\nFrom: a@example.org\n", ""},
	} {
		r := judge(t, exampleZone(), stranger, test.head+"\nbody\n")
		if r.Author.Domain != test.want || (test.want == "") != (r.Author.Why != "") {
			t.Errorf("%q: %+v", test.head, r.Author)
		}
		if test.want == "" && r.DMARC.Result != PermError {
			t.Errorf("%q: %+v", test.head, r.DMARC)
		}
	}
}

// Old bounces have such a From. Nobody can be taken for another by it.
func TestNobody(t *testing.T) {
	for from, nobody := range map[string]bool{"MAILER-DAEMON": true, "Mail Delivery <MAILER-DAEMON>": true, "MAILER-DAEMON <>": true, "root@localhost": true,
		"<>": true, "a@bank.example <>": false, "<> a@bank.example": false, "a, b": false, "a@b@c": false, "x (a@bank.example": false} {
		if r := judge(t, zone{}, stranger, "From: "+from+"\n\n"); r.Author.Nobody != nobody || r.Author.Why == "" || r.DMARC.Result != PermError {
			t.Errorf("%s: %+v", from, r.Author)
		}
	}
}

// S056: another address in the display name is told, and decides nothing.
func TestS056DisplayName(t *testing.T) {
	r := judge(t, exampleZone(), alice, "From: \"boss@bank.example\" <alice@example.org>\n\n")
	if r.Author.Claims != "boss@bank.example" || r.DMARC.Result != Pass {
		t.Errorf("%+v %+v", r.Author, r.DMARC)
	}
}

// S057: a field that bears our name is forged, however it is written.
func TestS057Forged(t *testing.T) {
	for _, test := range []struct {
		value  string
		forged bool
	}{
		{" mx.example.net; spf=pass", true},
		{" MX.Example.NET; spf=pass", true},
		{"\n\tmx.example.net 1; none", true},
		{" (comment (nested)) mx.example.net; none", true},
		{" \"mx.example.net\"; none", true},
		{" \"mx.\"example.net; none", true},
		{" mx.example.net(x); none", true},
		{" mx.example.net", true},
		{" mx.example.net/1; none", true},
		{" mx.example.net.; none", true},
		{" mx.example.net;;; broken", true},
		{" mx2.example.net; spf=pass", false},
		{" example.net; spf=pass", false},
		{" other; x=mx.example.net", false},
		{"", false},
	} {
		if got := Claims(test.value, "smtp.example.net", "mx.example.net"); got != test.forged {
			t.Errorf("%q: %v", test.value, got)
		}
	}
}

// S058: who is not listed has no effect, nor has a chain that is broken.
func TestS058Sealers(t *testing.T) {
	z := exampleZone()
	list := Key{"lists.example", "s", testKeys()[1].Signer}
	relay := Key{"relay.example", "s", testKeys()[1].Signer}
	z.set("s._domainkey.lists.example", "TXT", keyRecord(list))
	z.set("s._domainkey.relay.example", "TXT", keyRecord(relay))
	first := "Authentication-Results: lists.example; dkim=pass header.d=example.org;\n\tdmarc=pass header.from=example.org\n" +
		strings.Replace(letter, "Subject: hello", "Subject: [list] hello", 1)
	one := addSeal(t, first, list, "lists.example")
	two := addSeal(t, "Authentication-Results: relay.example; arc=pass; dmarc=fail header.from=example.org\n"+one, relay, "relay.example")
	for _, test := range []struct {
		what, text, listed string
		arc                Result
		do                 Policy
		trusted            string
	}{
		{"not listed", one, "", Pass, PolicyReject, ""},
		{"listed", one, "lists.example", Pass, PolicyNone, "lists.example"},
		{"both listed", two, "lists.example relay.example", Pass, PolicyNone, "lists.example"},
		{"the nearer not listed", two, "lists.example", Pass, PolicyReject, ""},
		{"only the nearer listed", two, "relay.example", Pass, PolicyReject, "relay.example"},
		{"changed since", strings.Replace(two, "a line", "a lie", 1), "lists.example relay.example", Fail, PolicyReject, ""},
		{"a seal removed", strings.Replace(two, "ARC-Seal:", "X-Seal:", 1), "lists.example relay.example", Fail, PolicyReject, ""},
		{"a set removed", strings.ReplaceAll(two, "i=1;", "i=3;"), "lists.example relay.example", Fail, PolicyReject, ""},
		{"another author", strings.Replace(one, "header.from=example.org", "header.from=evil.example", 2), "lists.example", Fail, PolicyReject, ""},
	} {
		c := &Checker{DNS: z, Name: "mx.example.net", Now: noonPlus(0)}
		c.Sealers = func(d string) bool { return strings.Contains(" "+test.listed+" ", " "+d+" ") }
		r, err := c.Check(background, stranger, strings.NewReader(test.text))
		if err != nil {
			t.Fatal(err)
		}
		if r.ARC.Result != test.arc || r.DMARC.Do != test.do || r.ARC.Trusted != test.trusted {
			t.Errorf("%s: arc=%s (%s) trusted=%q do=%s", test.what, r.ARC.Result, r.ARC.Why, r.ARC.Trusted, r.DMARC.Do)
		}
	}
	var many strings.Builder
	for i := range 60 {
		fmt.Fprintf(&many, "ARC-Seal: i=%d; a=rsa-sha256; cv=pass; d=lists.example; s=s; b=AAAA\nARC-Message-Signature: i=%d\nARC-Authentication-Results: i=%d; x\n", i+1, i+1, i+1)
	}
	if r := judge(t, z, stranger, many.String()+letter); r.ARC.Result != Fail {
		t.Errorf("60 sets: %+v", r.ARC)
	}
}

func addSeal(t testing.TB, text string, k Key, host string) string {
	t.Helper()
	d, err := ReadDigest(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	set, err := Seal(d, k, host, noon)
	if err != nil {
		t.Fatal(err)
	}
	return string(set) + text
}

// S060: what a client says of itself is escaped and capped wherever we write it.
func TestS060Names(t *testing.T) {
	for _, helo := range []string{"a\r\nX-Spam: no", "\x1b[31m", strings.Repeat("x", 1000) + ".example", "\x00", "a;dmarc=pass", "é.example", "\xff"} {
		client := stranger
		client.HELO, client.From.Local = helo, helo
		r := judge(t, exampleZone(), client, letter)
		text := r.Header()
		back, err := ParseResults(strings.TrimPrefix(text, "Authentication-Results:"))
		if err != nil || len(back.Methods) != 5 || strings.ContainsAny(text, "\r\x00\x1b") || strings.Contains(text, "\nX") {
			t.Errorf("%q: %v\n%q", helo, err, text)
		}
		for line := range strings.Lines(text) {
			if len(line) > 500 {
				t.Errorf("%.20q: a line of %d octets", helo, len(line))
			}
		}
		if line := r.Checks(); strings.ContainsAny(line, "\r\n\x00\x1b;") {
			t.Errorf("%q", line)
		}
	}
}

// Memory does not grow with the body, and a header beyond the bounds proves nothing.
func TestBounds(t *testing.T) {
	m := &message{headed: func(m *message) { m.want(true); m.want(false) }}
	m.Write([]byte("From: a@example.org\n\n"))
	piece := []byte(strings.Repeat("x  y\t\n", 1000))
	for range 2000 {
		m.Write(piece)
	}
	m.Close()
	if n := cap(m.head) + cap(m.bodies[0].out) + cap(m.bodies[1].out); n > 100<<10 {
		t.Errorf("%d octets are kept of a body of %d", n, 2000*len(piece))
	}
	for _, head := range []string{strings.Repeat("X: y\n", 3000), "X: " + strings.Repeat("y", 70000) + "\n", strings.Repeat("X: "+strings.Repeat("y", 60000)+"\n", 40), strings.Repeat("x", 3<<20)} {
		r := judge(t, exampleZone(), stranger, head+signed(t, letter, testKeys()...))
		for _, d := range r.DKIM {
			if d.Result == Pass {
				t.Errorf("%.10q: %+v", head, d)
			}
		}
		if r.DMARC.Result != PermError {
			t.Errorf("%.10q: %+v", head, r.DMARC)
		}
	}
}
