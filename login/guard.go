package login

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"io"
	"math"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"time"

	"pennypost/internal/listen"
)

/*
guard makes guessing slow, whichever of our processes is asked (S110).

Three counts grow by one with every attempt, before it is checked, and shrink again when it was right: of the address (the /64 of IPv6),
of the account, and of all. Each leaks with time. What they say is how long the next attempt waits; nothing is ever refused for
it, so nobody can lock another out. From a network that the account has logged in from, the counts of the account and of all make no
difference, and that of the address little: there others may share it.

The counts are in state/auth/counts, a table that all processes share and that does not grow with the number of attackers:

	row 0, row 1    a slot of 16 octets for each of 32768 hashes: when it was last changed, and the count then

A key has one slot in each row and counts what the lesser one says. The file may be removed at any time: then counting starts again.
*/
type guard struct {
	mu    sync.Mutex
	state *State
	table table
	retry time.Time // when the file is tried again
	key   [32]byte
	now   func() time.Time
	warn  func(string, error)
	wait  chan struct{} // who waits
	sleep func(context.Context, time.Duration) error
}

type table interface {
	io.ReaderAt
	io.WriterAt
}

// A limit is how one count makes attempts wait.
type limit struct {
	free    float64       // attempts without waiting
	first   time.Duration // for the one after; doubled for each further one
	longest time.Duration
	leak    time.Duration // one is forgotten in
	most    float64       // that are counted: how long it takes until all is forgotten
}

var (
	ofSource  = limit{5, 500 * time.Millisecond, 20 * time.Second, 2 * time.Minute, 40}
	ofAccount = limit{10, 250 * time.Millisecond, 10 * time.Second, time.Minute, 40}
	ofAll     = limit{1000, time.Millisecond, 2 * time.Second, 200 * time.Millisecond, 5000}
	ofKnown   = limit{5, 500 * time.Millisecond, 2 * time.Second, 2 * time.Minute, 40} // in place of ofSource, from a known network
)

const (
	guardSlots  = 1 << 15
	guardSlot   = 16
	guardRow    = guardSlots * guardSlot
	mostWaiting = 2000 // attempts that wait at once; more are told to come later
)

func (l limit) delay(count float64) time.Duration {
	if count <= l.free {
		return 0
	}
	d := float64(l.first) * math.Exp2(math.Ceil(count-l.free)-1)
	return min(l.longest, time.Duration(min(d, float64(l.longest))))
}

// charge is one attempt that is being made.
type charge struct {
	g    *guard
	keys []charged
}

type charged struct {
	key string
	limit
}

// attempt counts one and waits as long as the counts want. known: the account has logged in from there.
func (g *guard) attempt(ctx context.Context, remote netip.Addr, account string, known bool) (charge, error) {
	source := ofSource
	if known {
		source = ofKnown
	}
	if g.state == nil {
		return charge{}, nil
	}
	c := charge{g, []charged{{"source " + listen.Source(remote).String(), source}, {"account " + account, ofAccount}, {"all", ofAll}}}
	var wait time.Duration
	for i, count := range g.add(c.keys, 1) {
		if i == 0 || !known {
			wait = max(wait, c.keys[i].delay(count))
		}
	}
	if wait == 0 {
		return c, nil
	}
	select {
	case g.wait <- struct{}{}:
		defer func() { <-g.wait }()
	default:
		c.back()
		return c, ErrBusy
	}
	return c, g.sleep(ctx, wait) // who does not wait has tried all the same
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// back takes the attempt back: it was right, or could not be checked.
func (c charge) back() {
	if c.g != nil {
		c.g.add(c.keys, -1)
	}
}

// add adds to the counts of the keys, and gives what they are then.
func (g *guard) add(keys []charged, n float64) []float64 {
	g.mu.Lock()
	defer g.mu.Unlock()
	defer g.open()()
	now := g.now()
	counts := make([]float64, len(keys))
	for i, k := range keys {
		counts[i] = g.add1(k, n, now)
	}
	return counts
}

func (g *guard) add1(k charged, n float64, now time.Time) float64 {
	mac := hmac.New(sha256.New, g.key[:])
	mac.Write([]byte(k.key))
	hash := mac.Sum(nil)
	least := math.MaxFloat64
	for row := range int64(2) {
		at := row*guardRow + int64(binary.BigEndian.Uint32(hash[4*row:])%guardSlots)*guardSlot
		var slot [guardSlot]byte
		g.table.ReadAt(slot[:], at) // beyond the end there is nothing yet
		count := math.Float64frombits(binary.LittleEndian.Uint64(slot[8:]))
		if math.IsNaN(count) || count < 0 || count > 1e6 {
			count = 0
		}
		since := now.Sub(time.UnixMilli(int64(binary.LittleEndian.Uint64(slot[:]))))
		count = max(0, count-float64(max(0, since))/float64(k.leak)) // a clock set back forgets nothing
		count = min(max(0, count+n), k.most)
		binary.LittleEndian.PutUint64(slot[:], uint64(now.UnixMilli()))
		binary.LittleEndian.PutUint64(slot[8:], math.Float64bits(count))
		if _, err := g.table.WriteAt(slot[:], at); err != nil {
			g.lose(err)
		}
		least = min(least, count)
	}
	return least
}

// open takes the table for us alone. Where the file cannot be had, this process counts for itself.
func (g *guard) open() (close func()) {
	if _, shared := g.table.(*os.File); !shared && g.state != nil && !g.now().Before(g.retry) {
		f, err := g.state.table("counts")
		if err != nil {
			g.lose(err)
		} else {
			g.table = f
		}
	}
	if g.table == nil {
		g.table = new(memory)
	}
	f, shared := g.table.(*os.File)
	if !shared {
		return func() {}
	}
	if err := flock(f, syscall.LOCK_EX); err != nil {
		g.lose(err)
		return func() {}
	}
	var st syscall.Stat_t
	if syscall.Fstat(int(f.Fd()), &st) == nil && st.Nlink == 0 { // removed: start again
		f.Close()
		g.table = nil
		return g.open()
	}
	return func() { flock(f, syscall.LOCK_UN) }
}

// lose gives the file up for a minute.
func (g *guard) lose(err error) {
	g.warn("logins are counted by each process for itself", err)
	if f, ok := g.table.(*os.File); ok {
		f.Close()
	}
	g.table, g.retry = new(memory), g.now().Add(time.Minute)
}

func flock(f *os.File, how int) error {
	for {
		if err := syscall.Flock(int(f.Fd()), how); err != syscall.EINTR {
			return err
		}
	}
}

// memory is a table of this process.
type memory [2 * guardRow]byte

func (m *memory) ReadAt(p []byte, at int64) (int, error)  { return copy(p, m[at:]), nil }
func (m *memory) WriteAt(p []byte, at int64) (int, error) { return copy(m[at:], p), nil }

// table is a file of fixed size that all processes write into.
func (s *State) table(name string) (*os.File, error) {
	if _, err := s.make(); err != nil {
		return nil, err
	}
	return os.OpenFile(s.dir+"/"+name, os.O_RDWR|os.O_CREATE|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0o660)
}
