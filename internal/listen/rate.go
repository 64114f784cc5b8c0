package listen

import (
	"math"
	"net/netip"
	"sync/atomic"
	"time"

	"pennypost/internal/sources"
)

// Rate is so many events of one source at once, and forgotten evenly in a time. The zero Rate is no limit.
type Rate struct {
	N   int
	Per time.Duration
}

// Kind is what is counted of a source over time.
type Kind byte

// The kinds. Each has its own level.
const (
	Connections Kind = 1 + iota
	Messages
	Recipients
	Errors
	Unknown // recipients that do not exist
	Logins  // good ones: their sources keep some room
)

// A level is kept as a word: the upper half is when it was last changed, in 64ths of a second; the lower half the level then, in 256ths.
const (
	ticks = 64
	parts = 256
)

// Add counts n events of a source and gives the level after them: above r.N they are too many. A level leaks evenly, r.N in r.Per; it goes up to
// twice r.N, so that who goes on all the same waits for twice as long at most. Sources that share both their places count together;
// the lesser of two levels is what counts.
func (t *Table) Add(kind Kind, a netip.Addr, n int, r Rate) int {
	return t.count(kind, sources.Key(a), n, r)
}

// Level is the level of a source now.
func (t *Table) Level(kind Kind, a netip.Addr, r Rate) int {
	return t.count(kind, sources.Key(a), 0, r)
}

func (t *Table) count(kind Kind, k uint64, n int, r Rate) int {
	if k == 0 || r.N <= 0 || r.Per <= 0 {
		return 0
	}
	t.once.Do(func() {
		if t.levels == nil {
			t.levels = make([]uint64, 2*sources.Rates)
		}
	})
	at := uint32(t.now().UnixMilli() * ticks / 1000)
	least := math.MaxInt
	for _, i := range t.hash(kind, k) {
		least = min(least, t.rise(&t.levels[i], at, n, r))
	}
	return least
}

func (t *Table) rise(word *uint64, at uint32, n int, r Rate) int {
	for {
		old := atomic.LoadUint64(word)
		level := float64(uint32(old)) / parts
		if since := int32(at - uint32(old>>32)); since > 0 { // a clock set back forgets nothing
			level -= float64(since) / ticks * float64(r.N) / r.Per.Seconds()
		}
		level = min(max(0, level)+float64(n), 2*float64(r.N)+1, math.MaxUint32/parts)
		up := int(math.Ceil(level))
		if n == 0 || atomic.CompareAndSwapUint64(word, old, uint64(at)<<32|uint64(uint32(level*parts))) {
			return up
		}
	}
}

// knownFor is how long a source of good logins keeps its room.
var knownFor = Rate{N: 30, Per: 30 * 24 * time.Hour}

// Welcome notes that somebody has logged in from a.
func (t *Table) Welcome(a netip.Addr) {
	if t.Level(Logins, a, knownFor) < knownFor.N {
		t.Add(Logins, a, knownFor.N, knownFor)
	}
}

// Known reports whether somebody has logged in from a within the month.
func (t *Table) Known(a netip.Addr) bool { return t.Level(Logins, a, knownFor) > 0 }
