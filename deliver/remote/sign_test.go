package remote

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/emersion/go-msgauth/dkim"

	"pennypost/internal/config"
	"pennypost/internal/dns"
	"pennypost/internal/dns/fixture"
	"pennypost/mailkey"
	"pennypost/msgauth"
	"pennypost/msgauth/signer"
)

// keyring is a process that signs, with keys for we.test, and what DNS would say of them.
type keyring struct {
	store  *mailkey.Store
	socket string
	zone   strings.Builder
	asked  atomic.Int32 // for signatures and seals
	stop   func()
}

func newKeyring(t testing.TB) *keyring {
	k := &keyring{socket: filepath.Join(t.TempDir(), "sign")}
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "we.test/users"), 0o755); err != nil {
		t.Fatal(err)
	}
	var err error
	if k.store, err = mailkey.Open(dir); err != nil {
		t.Fatal(err)
	}
	name, err := k.store.Domain("we.test")
	if err != nil {
		t.Fatal(err)
	}
	for _, algorithm := range mailkey.Algorithms {
		key, err := k.store.Create(name, algorithm, "")
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&k.zone, "%s._domainkey.we.test TXT %s\n", key.Selector, mailkey.ZoneText(key.Record))
	}
	k.start(t)
	t.Cleanup(func() { k.stop() })
	return k
}

func (k *keyring) start(t testing.TB) {
	l, err := net.Listen("unix", k.socket)
	if err != nil {
		t.Fatal(err)
	}
	s := &mailkey.Signer{Store: k.store}
	var mu sync.Mutex
	var open []net.Conn
	k.stop = func() {
		l.Close()
		mu.Lock()
		defer mu.Unlock()
		for _, conn := range open {
			conn.Close()
		}
	}
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			open = append(open, conn)
			mu.Unlock()
			go func() {
				defer conn.Close()
				signer.Serve(conn, conn, func(r signer.Request) ([]byte, error) {
					if !r.Keys {
						k.asked.Add(1)
					}
					return s.Answer(r)
				})
			}()
		}
	}()
}

// signing is a client that signs, and a host that keeps what it gets.
func signing(t *testing.T, k *keyring, ext []string) (*Client, *peer, func() []string) {
	var mu sync.Mutex
	var got []string
	p := newPeer(t, "tcp", "127.0.0.1:0", func(d *dialogue) {
		messages := d.smtp(ext, nil)
		mu.Lock()
		got = append(got, messages...)
		mu.Unlock()
	})
	c, _ := newClient(t, zone, p.port, func(conf *config.Config) {
		conf.Remote.Sign, conf.Hostname = "unix:"+k.socket, "mx.we.test"
		conf.Remote.Idle = 0
	})
	return c, p, func() []string { // when the host has seen the end of the connection
		c.pool.close()
		for range 200 {
			mu.Lock()
			if len(got) > 0 {
				defer mu.Unlock()
				return got
			}
			mu.Unlock()
			time.Sleep(10 * time.Millisecond)
		}
		return nil
	}
}

// verify counts the signatures that an implementation not ours finds good.
func (k *keyring) verify(t *testing.T, message string) (good int) {
	t.Helper()
	server, err := fixture.Start("127.0.0.1:0", k.zone.String())
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	r := &dns.Resolver{Servers: []string{server.Addr()}}
	list, err := dkim.VerifyWithOptions(strings.NewReader(message), &dkim.VerifyOptions{LookupTXT: func(name string) ([]string, error) {
		texts, _, err := r.TXT(context.Background(), name)
		return texts, err
	}})
	if err != nil {
		t.Error(err)
	}
	for _, v := range list {
		if v.Err != nil || v.Domain != "we.test" {
			t.Errorf("%s: %v", v.Domain, v.Err)
			continue
		}
		good++
	}
	return good
}

const fromAlice = "From: Alice <alice@we.test>\nTo: bob@example.test\nSubject: hi\nDate: Wed, 25 Nov 2026 10:00:00 +0000\nMessage-ID: <1@we.test>\n"

// What is sent is what was signed, whatever the file has and however it is sent.
func TestSigned(t *testing.T) {
	k := newKeyring(t)
	for _, ext := range [][]string{modern, without(modern, "CHUNKING"), without(modern, "PIPELINING"), nil} {
		for name, l := range map[string]letter{
			"plain":             {text: fromAlice + "\nhi\n"},
			"8-bit":             {text: fromAlice + "\nhé\n", mail: "BODY=8BITMIME"},
			"dots":              {text: fromAlice + "\n.\n..\n.a\n"},
			"no end":            {text: fromAlice + "\nhi"},
			"no body":           {text: fromAlice + "\n"},
			"lone CRs":          {text: fromAlice + "\na\rb\r\nc\r\r\nd\r"},
			"spaces at the end": {text: fromAlice + "\na  \t \n\n\n \n\n"},
			"wire ends":         {text: strings.ReplaceAll(fromAlice+"\n.hi\n", "\n", "\r\n"), raw: true},
			"a long header":     {text: strings.Repeat("X-Pad: "+strings.Repeat("x", 60)+"\n", 1500) + fromAlice + "\nhi\n"},
			"large":             {text: fromAlice + "\n" + strings.Repeat(strings.Repeat("x", 70)+"\n.\n", 9000)},
			"the host's":        {text: strings.Replace(fromAlice, "alice@we.test", "MAILER-DAEMON@mx.we.test", 1) + "\nhi\n", via: "bounce"},
			"a bounce":          {text: strings.Replace(fromAlice, "alice@we.test", "postmaster@we.test", 1) + "\nhi\n", via: "bounce", from: "<>"},
			"a list's":          {text: strings.Replace(fromAlice, "alice@we.test", "carol@far.test", 1) + "\nhi\n", via: "list", from: "list-bounces@we.test"},
			"a script's":        {text: fromAlice + "\nhi\n", via: "pickup uid=1000"},
		} {
			if name == "8-bit" && ext == nil {
				continue
			}
			t.Run(fmt.Sprintf("%s/%d", name, len(ext)), func(t *testing.T) {
				c, p, got := signing(t, k, ext)
				l.rcpts = []string{"bob@example.test"}
				if said := deliver(t, c, site, l); !strings.HasPrefix(said, "K 1 250") {
					t.Fatal(said)
				}
				messages := got()
				if len(messages) != 1 || k.verify(t, messages[0]) != 2 {
					t.Fatalf("%.1500q", messages)
				}
				if size := regexp.MustCompile(` SIZE=(\d+)`).FindStringSubmatch(p.transcript()); size != nil && name != "no end" && name != "lone CRs" && size[1] != fmt.Sprint(len(messages[0])) {
					t.Errorf("%s, and %d octets were sent", size[0], len(messages[0]))
				}
			})
		}
	}
}

// Nobody signs for others, nor what others wrote.
func TestNotSigned(t *testing.T) {
	k := newKeyring(t)
	for name, l := range map[string]letter{
		"another's":        {text: strings.Replace(fromAlice, "alice@we.test", "alice@far.test", 1) + "\nhi\n"},
		"from outside":     {text: fromAlice + "\nhi\n", via: "mx esmtp ip=192.0.2.1"},
		"by LMTP":          {text: fromAlice + "\nhi\n", via: "lmtp"},
		"two authors":      {text: strings.Replace(fromAlice, "Alice <alice@we.test>", "alice@we.test, bob@we.test", 1) + "\nhi\n"},
		"no author":        {text: "Subject: hi\n\nhi\n"},
		"above we.test":    {text: strings.Replace(fromAlice, "alice@we.test", "alice@test", 1) + "\nhi\n"},
		"not below it":     {text: strings.Replace(fromAlice, "alice@we.test", "alice@notwe.test", 1) + "\nhi\n"},
		"a list's foreign": {text: strings.Replace(fromAlice, "alice@we.test", "carol@far.test", 1) + "\nhi\n", via: "list", from: "list@far.test"},
	} {
		c, _, got := signing(t, k, modern)
		l.rcpts = []string{"bob@example.test"}
		if said := deliver(t, c, site, l); !strings.HasPrefix(said, "K 1 250") {
			t.Error(name, said)
		}
		if messages := got(); len(messages) != 1 || messages[0] != wired(l.text) {
			t.Errorf("%s: %q", name, messages)
		}
	}
	if n := k.asked.Load(); n != 0 {
		t.Errorf("%d messages were hashed in vain", n)
	}
}

func wired(text string) string { return strings.ReplaceAll(text, "\n", "\r\n") }

// What came from one of our networks without login is ours.
func TestRelayNetworkIsSigned(t *testing.T) {
	k := newKeyring(t)
	c, _, got := signing(t, k, modern)
	c.signs.near = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}
	deliver(t, c, site, letter{text: fromAlice + "\nhi\n", via: "mx esmtp ip=192.0.2.9 helo=printer", rcpts: []string{"bob@example.test"}})
	if messages := got(); len(messages) != 1 || k.verify(t, messages[0]) != 2 {
		t.Errorf("%q", messages)
	}
}

// A signer that is not there makes mail wait, and the host is not blamed; when it is back the mail goes.
func TestSignerDies(t *testing.T) {
	k := newKeyring(t)
	c, p, got := signing(t, k, modern)
	l := letter{text: fromAlice + "\nhi\n", rcpts: []string{"bob@example.test"}}
	k.stop()
	if said := deliver(t, c, site, l); said != "Z 1 451 4.3.0 the message could not be signed\nE" {
		t.Error(said)
	}
	if strings.Contains(p.transcript(), "MAIL") {
		t.Error(p.transcript())
	}
	k.start(t)
	if said := deliver(t, c, site, l); !strings.HasPrefix(said, "K 1 250") {
		t.Error(said)
	}
	k.stop() // the connection breaks between two messages, and the next one gets a new one
	k.start(t)
	c.signs.lines = map[string]fields{}
	if said := deliver(t, c, site, l); !strings.HasPrefix(said, "K 1 250") {
		t.Error(said)
	}
	for _, m := range got() {
		if k.verify(t, m) != 2 {
			t.Errorf("%q", m)
		}
	}
	c.signs.ask = &signer.Client{Path: "/nowhere/mailkey"}
	c.signs.keys = map[string]keyed{}
	if said := deliver(t, c, site, l); !strings.HasPrefix(said, "Z 1 451 4.3.0") {
		t.Error(said)
	}
}

// A message for several sites is signed once.
func TestSignedOnce(t *testing.T) {
	k := newKeyring(t)
	c, _, _ := signing(t, k, modern)
	for range 3 {
		deliver(t, c, site, letter{text: fromAlice + "\nhi\n", rcpts: []string{"bob@example.test"}})
	}
	if n := k.asked.Load(); n != 1 {
		t.Errorf("asked %d times", n)
	}
}

// What came from outside and goes on is sealed with what smtpd found, over and over, and its own signatures stay whole.
func TestSealed(t *testing.T) {
	k := newKeyring(t)
	server, err := fixture.Start("127.0.0.1:0", k.zone.String())
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	checker := &msgauth.Checker{DNS: &dns.Resolver{Servers: []string{server.Addr()}}, Name: "mx.we.test"}
	text := strings.Replace(fromAlice, "alice@we.test", "carol@far.test", 1) + "\nhi\n"
	for n := 1; n <= 3; n++ {
		results := "Authentication-Results: mx.we.test; dmarc=pass header.from=far.test\n"
		if n > 1 {
			results = "Authentication-Results: mx.we.test; dmarc=fail header.from=far.test; arc=pass\n"
		}
		c, _, got := signing(t, k, modern)
		if said := deliver(t, c, site, letter{text: results + text, via: "mx esmtps ip=192.0.2.1", rcpts: []string{"bob@example.test"}}); !strings.HasPrefix(said, "K 1 250") {
			t.Fatal(said)
		}
		messages := got()
		if len(messages) != 1 {
			t.Fatal(len(messages))
		}
		report, err := checker.ARC(context.Background(), strings.NewReader(messages[0]))
		if err != nil || report.ARC.Result != msgauth.Pass || strings.Count(messages[0], "ARC-Seal: ") != n {
			t.Fatalf("%d: %+v\n%s", n, report.ARC, messages[0])
		}
		text = strings.ReplaceAll(messages[0], "\r\n", "\n")
	}
	// A chain that smtpd did not judge is not continued.
	c, _, got := signing(t, k, modern)
	deliver(t, c, site, letter{text: text, via: "mx", rcpts: []string{"bob@example.test"}})
	c.signs.host = "another.test"
	if messages := got(); len(messages) != 1 {
		t.Errorf("%q", messages)
	}
}

// A link-ready message has no envelope: what was judged came from outside, and whose Received says A came from a user.
func TestReadyIsOurs(t *testing.T) {
	for head, want := range map[string]string{
		"Received: from [192.0.2.1] by mx.we.test with ESMTPSA id 1;\n\tWed\n":               "submit",
		"Received: from x\n\tby mx.we.test (Pennypost) with UTF8SMTPSA id 1\n":               "submit",
		"Received: from x by mx.we.test with ESMTPS id 1\n":                                  "mx",
		"X-Pennypost-Checks: spf=pass\nReceived: from x by mx with ESMTPSA id 1\n":           "mx",
		"Received: from x by mx.we.test with ESMTP id 1\nReceived: by y with ESMTPSA id 1\n": "mx",
		"Subject: with ESMTPSA\n": "mx",
	} {
		text := "Return-Path: <alice@we.test>\nDelivered-To: bob@example.test\n" + head + fromAlice + "\nhi\n"
		name := filepath.Join(t.TempDir(), "m")
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		f, _ := os.Open(name)
		m := &message{fd: int(f.Fd()), end: int64(len(text)), head: blocks.Get().(*[]byte)}
		if err := m.openReady(); err != nil || m.via != want || bytes.Contains(*m.head, []byte("X-Pennypost")) {
			t.Errorf("%q: %q %v", head, m.via, err)
		}
		m.close()
		f.Close()
	}
}

// A header longer than smtpd takes is sent as it is.
func TestEndlessHeader(t *testing.T) {
	k := newKeyring(t)
	c, _, got := signing(t, k, without(modern, "SIZE"))
	text := strings.Repeat("X-A: "+strings.Repeat("x", 900)+"\n", 1300) + fromAlice + "\nhi\n"
	if said := deliver(t, c, site, letter{text: text, rcpts: []string{"bob@example.test"}}); !strings.HasPrefix(said, "K 1 250") {
		t.Error(said)
	}
	if messages := got(); len(messages) != 1 || messages[0] != wired(text) {
		t.Errorf("%d messages", len(messages))
	}
}

// A message of 25 MiB is hashed in the memory that one of 1 MiB takes.
func TestSignsInConstantMemory(t *testing.T) {
	k := newKeyring(t)
	c, _ := newClient(t, zone, 25, func(conf *config.Config) { conf.Remote.Sign = "unix:" + k.socket })
	text := fromAlice + "\n" + strings.Repeat(strings.Repeat("x", 70)+"\n", 25<<20/71)
	f, o := benchOrder(t, text, "alice@we.test", site)
	m, err := openMessage(o, int(f.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	defer m.close()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	trouble := c.sign(m)
	runtime.ReadMemStats(&after)
	if used := after.TotalAlloc - before.TotalAlloc; trouble != nil || len(m.top) == 0 || used > 2<<20 {
		t.Errorf("%v, %d octets of memory", trouble, used)
	}
}
