package remote

import (
	"net/netip"
	"sync"
	"time"
)

const (
	deadFirst   = 10 * time.Minute // an address that did not answer comes last so long, doubled each time
	deadLongest = 2 * time.Hour
	deadFresh   = 15 * time.Second // and within this is not tried at all: another order is paying for the knowledge
	plainFor    = time.Hour        // no STARTTLS after a failed handshake (opportunistic only)
	dataFor     = 24 * time.Hour   // no BDAT after it failed
	maxMemory   = 50000            // addresses
)

// memory is what this process knows of addresses. It is no more than advice: everything is tried again in the end.
type memory struct {
	mu    sync.Mutex
	hosts map[netip.AddrPort]*health
}

type health struct {
	until  time.Time     // dead
	span   time.Duration // of the last sentence
	failed time.Time
	plain  time.Time // no STARTTLS before
	data   time.Time // no BDAT before
	four   bool      // IPv4 won against this IPv6 address
}

// of finds or makes the entry; m.mu is held.
func (m *memory) of(a netip.AddrPort) *health {
	h := m.hosts[a]
	if h == nil {
		if m.hosts == nil {
			m.hosts = make(map[netip.AddrPort]*health)
		}
		if len(m.hosts) >= maxMemory {
			forget := maxMemory / 8
			for key := range m.hosts {
				if delete(m.hosts, key); forget <= 0 {
					break
				}
				forget--
			}
		}
		h = new(health)
		m.hosts[a] = h
	}
	return h
}

func (m *memory) dead(a netip.AddrPort, now time.Time) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	h := m.hosts[a]
	return h != nil && now.Before(h.until)
}

// fresh reports that a timed out just now.
func (m *memory) fresh(a netip.AddrPort, now time.Time) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	h := m.hosts[a]
	return h != nil && now.Before(h.until) && now.Sub(h.failed) < deadFresh
}

// timedOut and answered are the outcomes of connecting.
func (m *memory) timedOut(a netip.AddrPort, now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	h := m.of(a)
	if !now.Before(h.until) { // several orders that time out together count once
		h.span = min(max(2*h.span, deadFirst), deadLongest)
		h.until = now.Add(h.span)
	}
	h.failed = now
}

func (m *memory) answered(a netip.AddrPort) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if h := m.hosts[a]; h != nil {
		h.until, h.span = time.Time{}, 0
	}
}

// won remembers which family was faster, for the order of the next time.
func (m *memory) won(winner netip.AddrPort, all []netip.AddrPort) {
	m.mu.Lock()
	defer m.mu.Unlock()
	four := winner.Addr().Is4()
	for _, a := range all {
		if a.Addr().Is6() && (four || m.hosts[a] != nil) {
			m.of(a).four = four
		}
	}
}

func (m *memory) fourWon(six []netip.AddrPort) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, a := range six {
		if h := m.hosts[a]; h != nil && h.four {
			return true
		}
	}
	return false
}

func (m *memory) noTLS(a netip.AddrPort) {
	m.mu.Lock()
	m.of(a).plain = time.Now().Add(plainFor)
	m.mu.Unlock()
}
func (m *memory) noBDAT(a netip.AddrPort) {
	m.mu.Lock()
	m.of(a).data = time.Now().Add(dataFor)
	m.mu.Unlock()
}

// quirks says what a host cannot do although it says it can.
func (m *memory) quirks(a netip.AddrPort) (plain, data bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	h := m.hosts[a]
	if h == nil {
		return false, false
	}
	now := time.Now()
	return now.Before(h.plain), now.Before(h.data)
}
