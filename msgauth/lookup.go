package msgauth

import (
	"context"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"pennypost/internal/dns"
)

// Resolver is what is asked of DNS; internal/dns.Resolver is one.
type Resolver interface {
	TXT(ctx context.Context, name string) (texts []string, secure bool, err error)
	MX(ctx context.Context, domain string) (mx []dns.MX, secure bool, ttl time.Duration, err error)
	Addresses(ctx context.Context, host string) (addrs []netip.Addr, secure bool, ttl time.Duration, err error)
	PTR(ctx context.Context, addr netip.Addr) (names []string, err error)
}

// lookup asks for one message: it counts the questions, and writes down what came back.
type lookup struct {
	resolver Resolver
	limit    int // of questions; 0 is none

	mu      sync.Mutex
	asked   int
	over    string // why no more is asked: the limit was reached
	records []Record
}

// errOver is a question that is not asked any more.
var errOver = &dns.Error{Name: "", Type: "", Why: "too many questions for one message"}

// spend takes n questions from what is left.
func (l *lookup) spend(n int) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.limit > 0 && l.asked+n > l.limit {
		l.over = fmt.Sprintf("more than %d questions to DNS", l.limit)
		return false
	}
	l.asked += n
	return true
}

// maxRecords is how many questions are written down.
const maxRecords = 200

func (l *lookup) note(name, typ string, values []string, err error) {
	r := Record{Name: name, Type: typ, Values: values}
	if err != nil {
		r.Err = err.Error()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.records) < maxRecords {
		l.records = append(l.records, r)
	}
}

func (l *lookup) TXT(ctx context.Context, name string) ([]string, error) {
	if !l.spend(1) {
		return nil, errOver
	}
	texts, _, err := l.resolver.TXT(ctx, name)
	l.note(name, "TXT", texts, err)
	return texts, err
}

func (l *lookup) MX(ctx context.Context, name string) ([]dns.MX, error) {
	if !l.spend(1) {
		return nil, errOver
	}
	mx, _, _, err := l.resolver.MX(ctx, name)
	var values []string
	for _, m := range mx {
		values = append(values, fmt.Sprintf("%d %s", m.Preference, m.Host))
	}
	l.note(name, "MX", values, err)
	return mx, err
}

func (l *lookup) Addresses(ctx context.Context, name string) ([]netip.Addr, error) {
	if !l.spend(2) { // A and AAAA
		return nil, errOver
	}
	addrs, _, _, err := l.resolver.Addresses(ctx, name)
	var values []string
	for _, a := range addrs {
		values = append(values, a.String())
	}
	l.note(name, "A/AAAA", values, err)
	return addrs, err
}

func (l *lookup) PTR(ctx context.Context, addr netip.Addr) ([]string, error) {
	if !l.spend(1) {
		return nil, errOver
	}
	names, err := l.resolver.PTR(ctx, addr)
	l.note(addr.String(), "PTR", names, err)
	return names, err
}
