package listen

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"io/fs"
	"math/bits"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"pennypost/internal/sources"
)

// Table is who is connected to a service and how often they came, for all processes that serve it: the file of package sources, mapped by
// each, so that counting costs no system call. Whoever is about to refuse a connection looks first whether those he counted still live.
type Table struct {
	mu     sync.Mutex
	file   *os.File // nil: this process counts for itself
	words  []uint64 // the file
	levels []uint64 // its last part, or our own, made when it is needed
	once   sync.Once
	blocks []int          // ours, in the order they came
	own    map[uint64]int // our connections, by source
	sites  map[uint64]int // and by /48
	total  int            // and all of them
	open   atomic.Int64   // connections of all processes, as last counted
	stress atomic.Bool
	seed   [32]byte
	now    func() time.Time
}

// NewTable is a table of this process alone.
func NewTable() *Table {
	t := &Table{own: map[uint64]int{}, sites: map[uint64]int{}, now: time.Now}
	rand.Read(t.seed[:])
	return t
}

// OpenTable maps the file of a service, and makes it if it is not there.
func OpenTable(path string) (*Table, error) {
	t := &Table{own: map[uint64]int{}, sites: map[uint64]int{}, now: time.Now}
	for range 3 {
		f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0o640)
		if err != nil {
			return nil, err
		}
		again, err := t.attach(f)
		if err == nil && !again {
			return t, nil
		}
		f.Close()
		if err != nil {
			return nil, &os.PathError{Op: "map", Path: path, Err: err}
		}
		os.Remove(path) // of another version
	}
	return nil, &os.PathError{Op: "map", Path: path, Err: errors.New("another program makes it as well")}
}

// attach maps f. again: it is not what it should be.
func (t *Table) attach(f *os.File) (again bool, err error) {
	fd := int(f.Fd())
	if err := unix.Flock(fd, unix.LOCK_EX); err != nil {
		return false, err
	}
	defer unix.Flock(fd, unix.LOCK_UN)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return false, err
	}
	switch {
	case st.Mode&unix.S_IFMT != unix.S_IFREG:
		return false, errors.New("is not a file")
	case st.Nlink == 0 || st.Size != 0 && st.Size != sources.Size:
		return true, nil // never cut: another process may have it mapped
	}
	// All of it now: a page that could not be had later would end the process.
	if err := unix.Fallocate(fd, 0, 0, sources.Size); err != nil && err != unix.EOPNOTSUPP {
		return false, err
	}
	b, err := unix.Mmap(fd, 0, sources.Size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return false, err
	}
	t.words = unsafe.Slice((*uint64)(unsafe.Pointer(&b[0])), sources.Words)
	switch atomic.LoadUint64(&t.words[0]) {
	case sources.Magic:
	case 0:
		rand.Read(b[8:40])
		atomic.StoreUint64(&t.words[0], sources.Magic)
	default:
		unix.Munmap(b)
		return true, nil
	}
	copy(t.seed[:], b[8:40])
	t.file, t.levels = f, t.words[sources.RatesAt:]
	return false, nil
}

// Tables are the tables of a program's services.
type Tables struct {
	Dir  string // RUN/sources/PROGRAM; "": each process counts for itself
	Warn func(what string, err error)

	mu   sync.Mutex
	open map[string]*Table
}

// Of is the table of a service. Where the file cannot be had, this process counts for itself.
func (ts *Tables) Of(service string) *Table {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	if t := ts.open[service]; t != nil {
		return t
	}
	var t *Table
	if ts.Dir != "" {
		path := filepath.Join(ts.Dir, service)
		var err error
		if t, err = OpenTable(path); errors.Is(err, fs.ErrNotExist) && os.MkdirAll(ts.Dir, 0o750) == nil {
			t, err = OpenTable(path)
		}
		if err != nil && ts.Warn != nil {
			ts.Warn("connections are counted by each process for itself", err)
		}
	}
	if t == nil {
		t = NewTable()
	}
	if ts.open == nil {
		ts.open = map[string]*Table{}
	}
	ts.open[service] = t
	return t
}

// Patience is d, or little where connections are scarce: for clients that have shown no right to be here.
func (ts *Tables) Patience(d time.Duration) time.Duration {
	if ts == nil {
		return d
	}
	ts.mu.Lock()
	defer ts.mu.Unlock()
	for _, t := range ts.open {
		if t.Scarce() {
			return min(d, scarceTime)
		}
	}
	return d
}

// scarceTime is enough for a client that knows what it wants.
const scarceTime = 10 * time.Second

// Welcome notes that somebody has logged in from a: all services keep some room for it.
func (ts *Tables) Welcome(a netip.Addr) {
	if ts == nil {
		return
	}
	ts.mu.Lock()
	defer ts.mu.Unlock()
	for _, t := range ts.open {
		t.Welcome(a)
	}
}

// site is the /48 of a key; 0 for IPv4.
func site(k uint64) uint64 {
	if k>>32 == 0xffff {
		return 0
	}
	return k >> 16
}

// lock takes, or with F_UNLCK gives back, the lock of a block. It does not wait.
func (t *Table) lock(block int, how int16) bool {
	l := unix.Flock_t{Type: how, Whence: 0, Start: int64(block), Len: 1}
	return unix.FcntlFlock(t.file.Fd(), unix.F_OFD_SETLK, &l) == nil
}

// take makes a place for a connection; -1 where there is none. t.mu is held.
func (t *Table) take(k uint64) int {
	if t.file == nil {
		return -1
	}
	for _, b := range t.blocks {
		if taken := atomic.LoadUint64(&t.words[sources.BitmapsAt+b]); taken != ^uint64(0) {
			return t.put(b, bits.TrailingZeros64(^taken), k)
		}
	}
	for _, stale := range []bool{false, true} { // where nobody is before those that somebody may have left
		for b := range sources.Blocks {
			if (atomic.LoadUint64(&t.words[sources.BitmapsAt+b]) != 0) != stale || t.owns(b) || !t.lock(b, unix.F_WRLCK) {
				continue
			}
			atomic.StoreUint64(&t.words[sources.BitmapsAt+b], 0)
			t.blocks = append(t.blocks, b)
			for high := atomic.LoadUint64(&t.words[5]); uint64(b) >= high; high = atomic.LoadUint64(&t.words[5]) {
				atomic.CompareAndSwapUint64(&t.words[5], high, uint64(b)+1)
			}
			return t.put(b, 0, k)
		}
	}
	return -1
}

func (t *Table) put(block, i int, k uint64) int {
	atomic.StoreUint64(&t.words[sources.KeysAt+block*sources.BlockSize+i], k)
	atomic.OrUint64(&t.words[sources.BitmapsAt+block], 1<<i)
	return block*sources.BlockSize + i
}

// clear makes a place free again.
func (t *Table) clear(place int) {
	atomic.AndUint64(&t.words[sources.BitmapsAt+place/sources.BlockSize], ^(uint64(1) << (place % sources.BlockSize)))
}

func (t *Table) owns(block int) bool {
	for _, b := range t.blocks {
		if b == block {
			return true
		}
	}
	return false
}

// others counts the connections of other processes: of a source, of its /48, and all. With sure, those of processes that have ended are
// taken away first.
func (t *Table) others(k uint64, sure bool) (source, network, all int) {
	if t.file == nil {
		return 0, 0, 0
	}
	high := int(min(atomic.LoadUint64(&t.words[5]), sources.Blocks))
	if high <= len(t.blocks) {
		return 0, 0, 0 // nobody else was ever there
	}
	for b := range high {
		taken := atomic.LoadUint64(&t.words[sources.BitmapsAt+b])
		if taken == 0 || t.owns(b) {
			continue
		}
		if sure && t.lock(b, unix.F_WRLCK) {
			atomic.StoreUint64(&t.words[sources.BitmapsAt+b], 0)
			t.lock(b, unix.F_UNLCK)
			continue
		}
		all += bits.OnesCount64(taken)
		for ; taken != 0; taken &= taken - 1 {
			switch o := atomic.LoadUint64(&t.words[sources.KeysAt+b*sources.BlockSize+bits.TrailingZeros64(taken)]); {
			case k == 0:
			case o == k:
				source++
				network++
			case site(k) != 0 && site(o) == site(k):
				network++
			}
		}
	}
	return source, network, all
}

// Open is how many connections there are, of all processes, as last counted.
func (t *Table) Open() int { return int(t.open.Load()) }

// Sources are the connections by source, of all processes that live.
func (t *Table) Sources() map[netip.Addr]int {
	t.mu.Lock()
	defer t.mu.Unlock()
	all := map[netip.Addr]int{}
	if t.file == nil {
		for k, n := range t.own {
			all[sources.Addr(k)] = n
		}
		return all
	}
	t.others(0, true)
	for b := range int(min(atomic.LoadUint64(&t.words[5]), sources.Blocks)) {
		for taken := atomic.LoadUint64(&t.words[sources.BitmapsAt+b]); taken != 0; taken &= taken - 1 {
			all[sources.Addr(atomic.LoadUint64(&t.words[sources.KeysAt+b*sources.BlockSize+bits.TrailingZeros64(taken)]))]++
		}
	}
	return all
}

// hash is where a key's level is, in each row.
func (t *Table) hash(kind Kind, k uint64) [2]int {
	var b [41]byte
	copy(b[:], t.seed[:])
	b[32] = byte(kind)
	binary.LittleEndian.PutUint64(b[33:], k)
	sum := sha256.Sum256(b[:])
	return [2]int{
		int(binary.LittleEndian.Uint64(sum[:]) % sources.Rates),
		sources.Rates + int(binary.LittleEndian.Uint64(sum[8:])%sources.Rates),
	}
}
