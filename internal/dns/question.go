package dns

import (
	"context"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync/atomic"
	"time"
)

// maxAliases is how many CNAMEs are followed.
const maxAliases = 8

// server is one recursive resolver.
type server struct {
	addr  string
	trust bool          // its AD bit is believed
	plain *atomic.Bool  // it does not know EDNS
	skip  *atomic.Int64 // not asked first before this time (Unix seconds): it did not answer
}

func newServer(addr string, trust bool) server {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		host, addr = strings.Trim(addr, "[]"), net.JoinHostPort(strings.Trim(addr, "[]"), "53")
	}
	ip, err := netip.ParseAddr(host)
	return server{addr: addr, trust: trust || err == nil && ip.IsLoopback(), plain: new(atomic.Bool), skip: new(atomic.Int64)}
}

// resolvConf reads the nameserver lines of resolv.conf(5); none means the one on this host.
func resolvConf(file string) (servers []string) {
	text, _ := os.ReadFile(file)
	for line := range strings.Lines(string(text)) {
		words := strings.Fields(line)
		if len(words) >= 2 && words[0] == "nameserver" && len(servers) < 3 {
			servers = append(servers, net.JoinHostPort(words[1], "53"))
		}
	}
	if len(servers) == 0 {
		servers = []string{"127.0.0.1:53"}
	}
	return servers
}

// resolve asks until there is an answer, absence, or no time left, and says how long to keep the outcome.
// An alias that the servers did not follow to its end is followed here.
func (r *Resolver) resolve(q question) (a answer, keep time.Duration) {
	r.busy <- struct{}{}
	defer func() { <-r.busy }()
	ctx, cancel := context.WithTimeout(context.Background(), r.Timeout)
	defer cancel()
	name, secure, ttl := q.name, true, longest
	for hops := 0; ; {
		got, err := r.query(ctx, question{name, q.typ})
		if err != nil {
			return answer{err: &Error{q.name, typeName(q.typ), err.Error()}}, failure
		}
		secure, ttl = secure && got.secure, min(ttl, got.ttl)
		hops += got.aliases
		if got.next == "" {
			got.secure = secure
			return got, ttl
		}
		if hops > maxAliases {
			return answer{err: &Error{q.name, typeName(q.typ), "too many aliases"}}, failure
		}
		name = got.next
	}
}

// query puts the question to each server twice, those first that answered lately.
func (r *Resolver) query(ctx context.Context, q question) (answer, error) {
	deadline, _ := ctx.Deadline()
	rounds := 2 * len(r.servers)
	var last error = context.DeadlineExceeded
	for i, s := range r.inTurn() {
		left := time.Until(deadline)
		if left <= 0 {
			break
		}
		// Each try gets an equal share of what is left; a resolver that is slow the first time has the answer the second.
		got, err := s.exchange(ctx, q, left/time.Duration(rounds-i))
		if err == nil {
			s.skip.Store(0)
			return got, nil
		}
		if last = err; isTimeout(err) {
			s.skip.Store(time.Now().Unix() + 30)
		}
	}
	return answer{}, describe(last)
}

// inTurn is the order of the servers for one question, twice over.
func (r *Resolver) inTurn() []server {
	turn := make([]server, 0, 2*len(r.servers))
	now := time.Now().Unix()
	for _, s := range r.servers {
		if s.skip.Load() <= now {
			turn = append(turn, s)
		}
	}
	for _, s := range r.servers {
		if s.skip.Load() > now {
			turn = append(turn, s)
		}
	}
	turn = turn[:min(len(turn), len(r.servers))]
	return append(turn, turn...)
}
