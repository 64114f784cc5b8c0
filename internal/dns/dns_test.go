package dns

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"pennypost/internal/dns/fixture"
)

const zone = `
	demo.test       MX    20 mx2.demo.test
	demo.test       MX    10 MX1.demo.test
	demo.test       TXT   "v=spf1 " "-all"
	mx1.demo.test   A     127.0.0.1
	mx1.demo.test   AAAA  ::1
	mx2.demo.test   A     127.0.0.2
	www.demo.test   CNAME alias.demo.test
	alias.demo.test CNAME mx1.demo.test
	loop1.test      CNAME loop2.test
	loop2.test      CNAME loop1.test
	dangling.test   CNAME nothing.test
	null.test       MX    0 .
	odd.test        MX    10 ../etc/passwd
	secure.test     A     127.0.0.3
	secure.test     !ad
	127.0.0.1       PTR   mx1.demo.test
	::1             PTR   mx1.demo.test
	four.test       A     127.0.0.4
	$TTL 0
	fleeting.test   A     127.0.0.5
`

func start(t testing.TB, change func(*Resolver)) (*Resolver, *fixture.Server) {
	t.Helper()
	s, err := fixture.Start("127.0.0.1:0", zone)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	r := &Resolver{Servers: []string{s.Addr()}, Timeout: 2 * time.Second}
	if change != nil {
		change(r)
	}
	return r, s
}

var background = context.Background()

func TestLookups(t *testing.T) {
	r, s := start(t, nil)
	for _, test := range []struct {
		what string
		want string
		get  func() (any, error)
	}{
		{"MX sorted, lower case", "[{10 mx1.demo.test} {20 mx2.demo.test}]", func() (any, error) { m, _, _, err := r.MX(background, "demo.test"); return m, err }},
		{"MX with dot and capitals", "[{10 mx1.demo.test} {20 mx2.demo.test}]", func() (any, error) { m, _, _, err := r.MX(background, "Demo.Test."); return m, err }},
		{"null MX", "[{0 }]", func() (any, error) { m, _, _, err := r.MX(background, "null.test"); return m, err }},
		{"no MX", "no such record", func() (any, error) { m, _, _, err := r.MX(background, "four.test"); return m, err }},
		{"no domain", "no such domain", func() (any, error) { m, _, _, err := r.MX(background, "none.test"); return m, err }},
		{"A and AAAA", "[127.0.0.1 ::1]", func() (any, error) { a, _, _, err := r.Addresses(background, "mx1.demo.test"); return a, err }},
		{"A only", "[127.0.0.4]", func() (any, error) { a, _, _, err := r.Addresses(background, "four.test"); return a, err }},
		{"aliases", "[127.0.0.1 ::1]", func() (any, error) { a, _, _, err := r.Addresses(background, "www.demo.test"); return a, err }},
		{"dangling alias", "no such domain", func() (any, error) { a, _, _, err := r.Addresses(background, "dangling.test"); return a, err }},
		{"TXT joined", "[v=spf1 -all]", func() (any, error) { a, _, err := r.TXT(background, "demo.test"); return a, err }},
		{"PTR", "[mx1.demo.test]", func() (any, error) { return r.PTR(background, netip.MustParseAddr("127.0.0.1")) }},
		{"PTR of IPv6", "[mx1.demo.test]", func() (any, error) { return r.PTR(background, netip.MustParseAddr("::1")) }},
		{"empty name", "no such domain", func() (any, error) { a, _, _, err := r.Addresses(background, ""); return a, err }},
		{"TTL 0", "[127.0.0.5]", func() (any, error) { a, _, _, err := r.Addresses(background, "fleeting.test"); return a, err }},
	} {
		got, err := test.get()
		text := fmt.Sprint(got)
		if err != nil {
			text = err.Error()
		}
		if text != test.want {
			t.Errorf("%s: got %s, want %s", test.what, text, test.want)
		}
	}
	if n := s.Asked("demo.test", "MX"); n != 1 {
		t.Errorf("demo.test MX was asked %d times, the cache should have it", n)
	}
	if n := s.Asked("none.test", "MX"); n != 1 {
		t.Errorf("absence was asked for %d times", n)
	}
	r.Addresses(background, "fleeting.test")
	if n := s.Asked("fleeting.test", "A"); n != 2 {
		t.Errorf("an answer with TTL 0 was asked for %d times, not twice", n)
	}
}

// Neither a server's failure nor a silent one is absence.
func TestErrorIsNotAbsence(t *testing.T) {
	for _, how := range []string{"!servfail", "!refused", "!drop", "!garbage"} {
		r, s := start(t, func(r *Resolver) { r.Timeout = 200 * time.Millisecond })
		s.Misbehave("*", how)
		_, _, _, err := r.MX(background, "demo.test")
		var failure *Error
		if !errors.As(err, &failure) || Absent(err) {
			t.Errorf("%s: %v", how, err)
		}
	}
}

func TestLoopIsAnError(t *testing.T) {
	r, _ := start(t, nil)
	if _, _, _, err := r.Addresses(background, "loop1.test"); err == nil || Absent(err) {
		t.Errorf("a loop of aliases: %v", err)
	}
}

// A name in DNS becomes a file name of the spool's site/ and a word of the log.
func TestOddHost(t *testing.T) {
	r, _ := start(t, nil)
	if mx, _, _, err := r.MX(background, "odd.test"); err == nil || Absent(err) {
		t.Errorf("%v %v", mx, err)
	}
}

// S037: AD counts from loopback or where mail.toml says so, and only if all of the chain has it.
func TestS037SecureOnlyWhenTrusted(t *testing.T) {
	r, _ := start(t, nil)
	if _, secure, _, err := r.Addresses(background, "secure.test"); err != nil || !secure {
		t.Errorf("AD from loopback is not believed: %v", err)
	}
	if _, secure, _, _ := r.Addresses(background, "mx1.demo.test"); secure {
		t.Error("secure without AD")
	}
	for _, trust := range []bool{false, true} {
		if s := newServer("192.0.2.1:53", trust); s.trust != trust {
			t.Errorf("trust %v of a server elsewhere is %v", trust, s.trust)
		}
	}
}

func TestTruncatedGoesToTCP(t *testing.T) {
	r, s := start(t, nil)
	s.Misbehave("demo.test", "!truncate")
	if mx, _, _, err := r.MX(background, "demo.test"); err != nil || len(mx) != 2 {
		t.Errorf("%v %v", mx, err)
	}
	var many []string
	for i := range 200 {
		many = append(many, fmt.Sprintf("%d host%d.demo.test", i, i))
	}
	s.Set("big.test", "MX", many...)
	if mx, _, _, err := r.MX(background, "big.test"); err != nil || len(mx) != 200 {
		t.Errorf("%d %v", len(mx), err)
	}
}

func TestSecondServerHelps(t *testing.T) {
	dead, err := fixture.Start("127.0.0.1:0", "* !drop")
	if err != nil {
		t.Fatal(err)
	}
	defer dead.Close()
	r, _ := start(t, func(r *Resolver) { r.Servers = append([]string{dead.Addr()}, r.Servers...) })
	if _, _, _, err := r.MX(background, "demo.test"); err != nil {
		t.Error(err)
	}
	asked := dead.Asked("demo.test", "MX")
	if _, _, err := r.TXT(background, "demo.test"); err != nil || asked != 1 || dead.Asked("demo.test", "TXT") != 0 {
		t.Errorf("a dead server is asked first again: %v", err)
	}
}

// Many who ask the same at once are one question.
func TestSingleFlight(t *testing.T) {
	r, s := start(t, nil)
	s.Misbehave("demo.test", "!slow 50ms")
	var wait sync.WaitGroup
	for range 50 {
		wait.Add(1)
		go func() {
			defer wait.Done()
			if _, _, _, err := r.MX(background, "demo.test"); err != nil {
				t.Error(err)
			}
		}()
	}
	wait.Wait()
	if n := s.Asked("demo.test", "MX"); n != 1 {
		t.Errorf("%d questions", n)
	}
}

func TestCacheIsBounded(t *testing.T) {
	r, s := start(t, func(r *Resolver) { r.Entries = 50 })
	s.Set("*.wild.test", "A", "127.0.0.9")
	for i := range 200 {
		r.Addresses(background, fmt.Sprintf("h%d.wild.test", i))
	}
	if n := len(r.cache.calls); n > 52 {
		t.Errorf("%d answers are kept", n)
	}
}

// S048: whoever waits for a resolver that never answers is told in time, and others are not held up.
func TestS048SlowResolver(t *testing.T) {
	r, s := start(t, func(r *Resolver) { r.Timeout = 300 * time.Millisecond })
	s.Misbehave("demo.test", "!drop")
	ctx, cancel := context.WithTimeout(background, 50*time.Millisecond)
	defer cancel()
	if _, _, _, err := r.MX(ctx, "demo.test"); err == nil || Absent(err) {
		t.Errorf("caller's context: %v", err)
	}
	if _, _, _, err := r.Addresses(background, "four.test"); err != nil {
		t.Errorf("another name: %v", err)
	}
	if _, _, _, err := r.MX(background, "demo.test"); err == nil || Absent(err) {
		t.Errorf("timeout: %v", err)
	}
	s.Misbehave("demo.test", "")
}

// S047: what a hostile server can send costs an error within the timeout.
func TestS047HostileAnswers(t *testing.T) {
	q := dnsmessage.Question{Name: dnsmessage.MustNewName("demo.test."), Type: dnsmessage.TypeMX, Class: dnsmessage.ClassINET}
	good := dnsmessage.Message{Header: dnsmessage.Header{Response: true}, Questions: []dnsmessage.Question{q}}
	packed, err := good.Pack()
	if err != nil {
		t.Fatal(err)
	}
	with := func(count int, tail string) func([]byte) []byte {
		return func(question []byte) []byte {
			b := append([]byte(nil), packed...)
			copy(b, question[:2])
			copy(b[12:], question[12:12+len("\x04demo\x04test\x00")]) // the letters as they were asked
			binary.BigEndian.PutUint16(b[6:], uint16(count))
			return append(b, tail...)
		}
	}
	for name, answer := range map[string]func([]byte) []byte{
		"compression loop":       with(1, "\xc0\x1b\x00\x0f\x00\x01\x00\x00\x00\x01\x00\x04\x00\x01\xc0\x1b"),
		"pointer beyond the end": with(1, "\xff\xff\x00\x0f\x00\x01\x00\x00\x00\x01\x00\x04\x00\x01\xc0\x0c"),
		"record cut short":       with(1, "\xc0\x0c\x00\x0f\x00\x01\x00\x00\x00\x01\x00\x40\x00\x01\xc0\x0c"),
		"65535 records promised": with(65535, "\xc0\x0c\x00\x0f\x00\x01\x00\x00\x00\x01\x00\x04\x00\x01\xc0\x0c"),
		"label of 64 octets":     with(1, "\x40"+strings.Repeat("a", 64)+"\x00\x00\x0f\x00\x01\x00\x00\x00\x01\x00\x04\x00\x01\xc0\x0c"),
		"name of 300 octets":     with(1, strings.Repeat("\x3f"+strings.Repeat("a", 63), 5)+"\x00\x00\x0f\x00\x01\x00\x00\x00\x01\x00\x04\x00\x01\xc0\x0c"),
		"only a header": func(question []byte) []byte {
			return append(question[:2:2], "\x81\x80\x00\x00\x00\x00\x00\x00\x00\x00"...)
		},
		"nothing":                    func([]byte) []byte { return nil },
		"the question, sent back":    func(question []byte) []byte { return question },
		"another id":                 func(question []byte) []byte { b := with(0, "")(question); b[0] ^= 1; return b },
		"other letters and dead TCP": func(question []byte) []byte { b := with(0, "")(question); b[13] ^= 0x20; return b },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			conn, err := net.ListenPacket("udp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			go func() {
				buf := make([]byte, 512)
				for {
					n, from, err := conn.ReadFrom(buf)
					if err != nil {
						return
					}
					for range 40 {
						conn.WriteTo(answer(buf[:n]), from)
					}
				}
			}()
			r := &Resolver{Servers: []string{conn.LocalAddr().String()}, Timeout: 300 * time.Millisecond}
			if mx, _, _, err := r.MX(background, "demo.test"); err == nil || Absent(err) {
				t.Errorf("%v %v", mx, err)
			}
		})
	}
	t.Run("TCP stalls", func(t *testing.T) {
		r, s := start(t, func(r *Resolver) { r.Timeout = 200 * time.Millisecond })
		s.Misbehave("demo.test", "!stall")
		if _, _, _, err := r.MX(background, "demo.test"); err == nil || Absent(err) {
			t.Error(err)
		}
	})
	t.Run("long TXT", func(t *testing.T) {
		r, s := start(t, nil)
		s.Set("long.test", "TXT", strings.Repeat("x", 5000))
		if texts, _, err := r.TXT(background, "long.test"); err != nil || len(texts) != 1 || len(texts[0]) != 5000 {
			t.Errorf("%d %v", len(texts), err)
		}
		s.Set("longer.test", "TXT", strings.Repeat("x", 20000))
		if texts, _, err := r.TXT(background, "longer.test"); len(texts) != 0 {
			t.Errorf("a text of 20000 octets: %v", err)
		}
	})
}

// A server that knows no EDNS is asked without (RFC 6891 section 7).
func TestServerWithoutEDNS(t *testing.T) {
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	go func() {
		buf := make([]byte, 512)
		for {
			n, from, err := conn.ReadFrom(buf)
			if err != nil {
				return
			}
			var m dnsmessage.Message
			if m.Unpack(buf[:n]) != nil {
				continue
			}
			m.Response = true
			if len(m.Additionals) > 0 {
				m.Additionals, m.RCode = nil, dnsmessage.RCodeFormatError
			} else {
				m.Answers = []dnsmessage.Resource{{Header: dnsmessage.ResourceHeader{Name: m.Questions[0].Name, Class: dnsmessage.ClassINET, TTL: 9},
					Body: &dnsmessage.MXResource{Pref: 1, MX: dnsmessage.MustNewName("mx.demo.test.")}}}
			}
			b, _ := m.Pack()
			conn.WriteTo(b, from)
		}
	}()
	r := &Resolver{Servers: []string{conn.LocalAddr().String()}, Timeout: time.Second}
	if mx, _, _, err := r.MX(background, "demo.test"); err != nil || len(mx) != 1 {
		t.Errorf("%v %v", mx, err)
	}
}

func FuzzDNSAnswer(f *testing.F) {
	for _, m := range []dnsmessage.Message{
		{Header: dnsmessage.Header{ID: 7, Response: true}},
		{Header: dnsmessage.Header{ID: 7, Response: true, Truncated: true}},
		{Header: dnsmessage.Header{ID: 7, Response: true}, Answers: []dnsmessage.Resource{{Header: dnsmessage.ResourceHeader{Name: dnsmessage.MustNewName("demo.test."), Class: dnsmessage.ClassINET, TTL: 9},
			Body: &dnsmessage.MXResource{Pref: 1, MX: dnsmessage.MustNewName("mx.demo.test.")}}}},
		{Header: dnsmessage.Header{ID: 7, Response: true}, Answers: []dnsmessage.Resource{{Header: dnsmessage.ResourceHeader{Name: dnsmessage.MustNewName("demo.test."), Class: dnsmessage.ClassINET, TTL: 9},
			Body: &dnsmessage.CNAMEResource{CNAME: dnsmessage.MustNewName("demo.test.")}}}},
	} {
		m.Questions = []dnsmessage.Question{{Name: dnsmessage.MustNewName("demo.test."), Type: dnsmessage.TypeMX, Class: dnsmessage.ClassINET}}
		b, err := m.Pack()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, packet []byte) {
		a, err := parse(packet, 7, "demo.test", question{"demo.test", dnsmessage.TypeMX}, true)
		if err == nil && a.err == nil && !a.truncated && a.next == "" && len(a.mx) == 0 {
			t.Error("an answer that says nothing")
		}
		if len(a.mx) > maxRecords || a.ttl > longest || a.ttl < 0 {
			t.Errorf("beyond the bounds: %d records, ttl %s", len(a.mx), a.ttl)
		}
	})
}

// A broken AAAA costs no timeout while A is there.
func TestBrokenFamily(t *testing.T) {
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	go func() {
		buf := make([]byte, 512)
		for {
			n, from, err := conn.ReadFrom(buf)
			if err != nil {
				return
			}
			var m dnsmessage.Message
			if m.Unpack(buf[:n]) != nil || m.Questions[0].Type != dnsmessage.TypeA {
				continue
			}
			m.Response, m.Additionals = true, nil
			m.Answers = []dnsmessage.Resource{{Header: dnsmessage.ResourceHeader{Name: m.Questions[0].Name, Class: dnsmessage.ClassINET, TTL: 9},
				Body: &dnsmessage.AResource{A: [4]byte{127, 0, 0, 1}}}}
			b, _ := m.Pack()
			conn.WriteTo(b, from)
		}
	}()
	r := &Resolver{Servers: []string{conn.LocalAddr().String()}, Timeout: time.Minute}
	if addrs, secure, _, err := r.Addresses(background, "mx1.demo.test"); err != nil || len(addrs) != 1 || !secure { // the AD bit of the question came back
		t.Errorf("%v %v %v", addrs, secure, err)
	}
}
