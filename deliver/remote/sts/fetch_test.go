package sts

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"pennypost/internal/dns"
	"pennypost/internal/dns/fixture"
)

// S041: a policy is never fetched from where no mail is brought, and a server that does not speak does not hold us for ever.
func TestS041Fetch(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	var came atomic.Int32
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			came.Add(1)
			go func() { // says nothing, and is in no hurry
				defer conn.Close()
				conn.Read(make([]byte, 4096))
				conn.Read(make([]byte, 4096))
			}()
		}
	}()
	server, err := fixture.Start("127.0.0.1:0", "mta-sts.inside.test A 127.0.0.1\nmta-sts.meta.test A 169.254.169.254\nmta-sts.broken.test !servfail")
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	f := &Fetcher{DNS: &dns.Resolver{Servers: []string{server.Addr()}, Timeout: 300 * time.Millisecond}, Port: l.Addr().(*net.TCPAddr).Port,
		Refused: func(a netip.Addr) bool { return a.IsLoopback() || a.IsLinkLocalUnicast() }}
	for domain, want := range map[string]string{"inside.test": "never connect", "meta.test": "never connect", "nothing.test": "no such domain", "broken.test": "SERVFAIL"} {
		if _, err := f.Get(context.Background(), domain); !errors.Is(err, ErrNotFetched) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", domain, err)
		}
	}
	if came.Load() != 0 {
		t.Errorf("%d connections", came.Load())
	}
	f.Refused = func(netip.Addr) bool { return false }
	ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
	defer cancel()
	if _, err := f.Get(ctx, "inside.test"); err == nil || came.Load() != 1 {
		t.Errorf("a server that says nothing: %v, %d connections", err, came.Load())
	}
}
