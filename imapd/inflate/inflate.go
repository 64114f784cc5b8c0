/*
Package inflate undoes DEFLATE (RFC 1951) for a connection on which people talk (RFC 4978): whatever can be told from the octets that have
come is given out before more are asked for, an error of the connection (a deadline, too) loses nothing, and between two commands only what the other
side may still refer to is kept: at most 32 KiB, less where less has come.

The package of the standard library fills its own buffer first, keeps 40 KiB and more, and is of no use after an error.
*/
package inflate

import (
	"errors"
	"io"
	"sync"
)

// ErrCorrupt is input that is no DEFLATE.
var ErrCorrupt = errors.New("inflate: corrupt input")

const (
	windowSize  = 32 << 10
	firstWindow = 1 << 10
	longest     = 258 // octets of one match
)

// Reader gives out what is inflated of another.
type Reader struct {
	r    io.Reader
	in   []byte // what has come and is not used: in[at:]
	at   int
	bits uint64 // taken from in, not used; the next bit is the lowest
	n    uint   // of them

	window []byte // ring: the last octets given out, and those still to be
	total  uint64 // octets inflated so far
	given  uint64 // of them given out

	step    func(*Reader) error // what comes next in the stream
	last    bool                // the block is the last one
	stored  int                 // octets left of a stored block
	codes   *codes              // of the block, nil between blocks
	lengths *lengths            // of a dynamic block whose head is being read
	err     error
	first   [512]byte
}

// NewReader inflates what r gives.
func NewReader(r io.Reader) *Reader { return &Reader{r: r, step: (*Reader).blockHead} }

// errMore is not an error: the next step needs more input.
var errMore = errors.New("more")

// Read gives what there is. Only when there is nothing does it ask for more.
func (z *Reader) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	for {
		if z.given < z.total {
			return z.take(p), nil
		}
		if z.err != nil {
			return 0, z.err
		}
		err := z.inflate()
		if z.given < z.total {
			if err != errMore {
				z.err = err
			}
			continue
		}
		switch err {
		case nil:
		case errMore:
			if err := z.fill(); err != nil {
				return 0, err
			}
		default:
			z.err = err
		}
	}
}

// take gives out of the window.
func (z *Reader) take(p []byte) (n int) {
	for n < len(p) && z.given < z.total {
		at := int(z.given % uint64(len(z.window)))
		k := copy(p[n:], z.window[at:min(len(z.window), at+int(z.total-z.given))])
		n += k
		z.given += uint64(k)
	}
	return n
}

// fill asks for more. What is there and not used is moved to the front.
func (z *Reader) fill() error {
	left := copy(z.first[:], z.in[z.at:])
	z.in, z.at = z.first[:left], 0
	n, err := z.r.Read(z.first[left:])
	z.in = z.first[:left+n]
	switch {
	case n > 0:
		return nil
	case err == io.EOF:
		return io.ErrUnexpectedEOF
	case err == nil:
		return io.ErrNoProgress
	}
	return err
}

// inflate goes on until the window has no more room before something is given out, or input is needed.
func (z *Reader) inflate() error {
	for z.room() >= longest {
		if err := z.step(z); err != nil {
			return err
		}
	}
	return nil
}

// room is how many octets may be inflated before some must be given out. The window grows to what has been said.
func (z *Reader) room() int {
	if len(z.window) < windowSize && z.total+longest > uint64(len(z.window)) {
		size := max(firstWindow, len(z.window))
		for uint64(size) < z.total+longest && size < windowSize {
			size *= 2
		}
		window := make([]byte, size)
		copy(window, z.window) // it has not turned round yet
		z.window = window
	}
	return len(z.window) - int(z.total-z.given)
}

func (z *Reader) put(c byte) {
	z.window[z.total%uint64(len(z.window))] = c
	z.total++
}

// need wants n bits, at most 56.
func (z *Reader) need(n uint) bool {
	for z.n < n && z.at < len(z.in) {
		z.bits |= uint64(z.in[z.at]) << z.n
		z.at++
		z.n += 8
	}
	return z.n >= n
}

func (z *Reader) get(n uint) uint {
	v := uint(z.bits & (1<<n - 1))
	z.bits >>= n
	z.n -= n
	return v
}

// blockHead is section 3.2.3.
func (z *Reader) blockHead() error {
	if z.last {
		return io.EOF
	}
	if !z.need(3) {
		return errMore
	}
	z.last = z.get(1) == 1
	switch z.get(2) {
	case 0:
		z.get(z.n % 8) // to the next octet
		z.step = (*Reader).storedHead
	case 1:
		z.codes = codePool.Get().(*codes)
		*z.codes = *fixed()
		z.step = (*Reader).compressed
	case 2:
		z.step = (*Reader).dynamicHead
	default:
		return ErrCorrupt
	}
	return nil
}

// storedHead is section 3.2.4.
func (z *Reader) storedHead() error {
	if !z.need(32) {
		return errMore
	}
	n := z.get(16)
	if n != ^z.get(16)&0xffff {
		return ErrCorrupt
	}
	z.stored = int(n)
	z.step = (*Reader).storedBody
	return nil
}

func (z *Reader) storedBody() error {
	for z.stored > 0 && z.room() > 0 {
		if !z.need(8) {
			return errMore
		}
		z.put(byte(z.get(8)))
		z.stored--
	}
	if z.stored == 0 {
		z.step = (*Reader).blockHead
	}
	return nil
}

// lengths are the code lengths of a dynamic block as they come (section 3.2.7).
type lengths struct {
	hlit, hdist, hclen int
	n                  int // read so far, of hclen and then of the rest
	small              bool
	meta               [19]uint8
	all                [286 + 32]uint8
	code               table
}

var order = [19]int{16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15}

func (z *Reader) dynamicHead() error {
	if !z.need(14) {
		return errMore
	}
	l := lengthPool.Get().(*lengths)
	*l = lengths{hlit: int(z.get(5)) + 257, hdist: int(z.get(5)) + 1, hclen: int(z.get(4)) + 4, small: true}
	z.lengths = l
	if l.hlit > 286 || l.hdist > 30 {
		return ErrCorrupt
	}
	z.step = (*Reader).dynamicLengths
	return nil
}

func (z *Reader) dynamicLengths() error {
	l := z.lengths
	for ; l.small && l.n < l.hclen; l.n++ {
		if !z.need(3) {
			return errMore
		}
		l.meta[order[l.n]] = uint8(z.get(3))
	}
	if l.small {
		if !l.code.build(l.meta[:]) {
			return ErrCorrupt
		}
		l.small, l.n = false, 0
	}
	for l.n < l.hlit+l.hdist {
		z.need(7 + 7)
		bits, n := z.bits, z.n
		symbol, err := z.symbol(&l.code)
		if err != nil {
			return err
		}
		if symbol < 16 {
			l.all[l.n] = uint8(symbol)
			l.n++
			continue
		}
		var value uint8
		extra, base := uint(7), 11
		switch symbol {
		case 16:
			if l.n == 0 {
				return ErrCorrupt
			}
			extra, base, value = 2, 3, l.all[l.n-1]
		case 17:
			extra, base = 3, 3
		}
		if !z.need(extra) {
			z.bits, z.n = bits, n
			return errMore
		}
		count := base + int(z.get(extra))
		if l.n+count > l.hlit+l.hdist {
			return ErrCorrupt
		}
		for range count {
			l.all[l.n] = value
			l.n++
		}
	}
	z.codes = codePool.Get().(*codes)
	ok := z.codes.literal.build(l.all[:l.hlit]) && z.codes.distance.build(l.all[l.hlit:l.hlit+l.hdist])
	z.lengths = nil
	lengthPool.Put(l)
	if !ok {
		return ErrCorrupt
	}
	z.step = (*Reader).compressed
	return nil
}

var (
	lengthBase  = [29]uint16{3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 15, 17, 19, 23, 27, 31, 35, 43, 51, 59, 67, 83, 99, 115, 131, 163, 195, 227, 258}
	lengthExtra = [29]uint8{0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 0}
	distBase    = [30]uint16{1, 2, 3, 4, 5, 7, 9, 13, 17, 25, 33, 49, 65, 97, 129, 193, 257, 385, 513, 769, 1025, 1537, 2049, 3073, 4097, 6145, 8193, 12289, 16385, 24577}
	distExtra   = [30]uint8{0, 0, 0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7, 8, 8, 9, 9, 10, 10, 11, 11, 12, 12, 13, 13}
)

// compressed is the data of a block (section 3.2.5): one literal or match at a time, whole or not at all.
func (z *Reader) compressed() error {
	for z.room() >= longest {
		z.need(48)
		bits, n := z.bits, z.n
		symbol, err := z.symbol(&z.codes.literal)
		if err != nil {
			return err
		}
		switch {
		case symbol < 256:
			z.put(byte(symbol))
			continue
		case symbol == 256:
			codePool.Put(z.codes)
			z.codes = nil
			z.step = (*Reader).blockHead
			return nil
		case symbol > 285:
			return ErrCorrupt
		}
		length, distance, err := z.match(symbol - 257)
		if err == errMore {
			z.bits, z.n = bits, n
		}
		if err != nil {
			return err
		}
		if uint64(distance) > z.total || distance > len(z.window) {
			return ErrCorrupt
		}
		for range length {
			z.put(z.window[(z.total-uint64(distance))%uint64(len(z.window))])
		}
	}
	return nil
}

// match reads what follows a length symbol.
func (z *Reader) match(symbol int) (length, distance int, err error) {
	if !z.need(uint(lengthExtra[symbol])) {
		return 0, 0, errMore
	}
	length = int(lengthBase[symbol]) + int(z.get(uint(lengthExtra[symbol])))
	d, err := z.symbol(&z.codes.distance)
	if err != nil {
		return 0, 0, err
	}
	if d > 29 {
		return 0, 0, ErrCorrupt
	}
	if !z.need(uint(distExtra[d])) {
		return 0, 0, errMore
	}
	return length, int(distBase[d]) + int(z.get(uint(distExtra[d]))), nil
}

// codes are the two codes of a block.
type codes struct{ literal, distance table }

var (
	codePool   = sync.Pool{New: func() any { return new(codes) }}
	lengthPool = sync.Pool{New: func() any { return new(lengths) }}
)

// fixed is section 3.2.6.
var fixed = sync.OnceValue(func() *codes {
	var l [288]uint8
	for i := range l {
		switch {
		case i < 144:
			l[i] = 8
		case i < 256:
			l[i] = 9
		case i < 280:
			l[i] = 7
		default:
			l[i] = 8
		}
	}
	var d [32]uint8
	for i := range d {
		d[i] = 5
	}
	c := new(codes)
	c.literal.build(l[:])
	c.distance.build(d[:])
	return c
})

const fast = 9 // bits that are looked up at once

// table is a canonical code (section 3.2.2).
type table struct {
	quick  [1 << fast]uint16 // symbol<<4 | length, by the next bits as they come; 0: longer, or none
	count  [16]uint16        // codes of each length
	symbol [288]uint16       // in the order of their codes
}

// build makes the code of these lengths. ok is false where there are too many codes or too few, one of a single bit excepted.
func (t *table) build(lengths []uint8) (ok bool) {
	*t = table{}
	for _, n := range lengths {
		t.count[n]++
	}
	t.count[0] = 0
	left, most := 1, 0
	for n := 1; n < 16; n++ {
		left = left<<1 - int(t.count[n])
		if left < 0 {
			return false
		}
		if t.count[n] > 0 {
			most = n
		}
	}
	if most > 0 && left > 0 && !(most == 1 && t.count[1] == 1) {
		return false
	}
	var next, at [16]uint16
	for n := 1; n < 15; n++ {
		at[n+1] = at[n] + t.count[n]
		next[n+1] = (next[n] + t.count[n]) << 1
	}
	for s, n := range lengths {
		if n == 0 {
			continue
		}
		t.symbol[at[n]] = uint16(s)
		at[n]++
		code := next[n]
		next[n]++
		if n <= fast {
			for bits := uint(reverse(code, n)); bits < 1<<fast; bits += 1 << n {
				t.quick[bits] = uint16(s)<<4 | uint16(n)
			}
		}
	}
	return true
}

func reverse(code uint16, n uint8) (out uint16) {
	for range n {
		out = out<<1 | code&1
		code >>= 1
	}
	return out
}

// symbol takes one symbol off the bits, if it is there whole.
func (z *Reader) symbol(t *table) (int, error) {
	z.need(15)
	if q := t.quick[z.bits&(1<<fast-1)]; q != 0 {
		if n := uint(q & 15); n <= z.n {
			z.get(n)
			return int(q >> 4), nil
		}
		return 0, errMore
	}
	code, first, index := 0, 0, 0
	for n := uint(1); n < 16; n++ {
		if n > z.n {
			return 0, errMore
		}
		code |= int(z.bits >> (n - 1) & 1)
		count := int(t.count[n])
		if code-count < first {
			z.get(n)
			return int(t.symbol[index+code-first]), nil
		}
		index += count
		first = (first + count) << 1
		code <<= 1
	}
	return 0, ErrCorrupt
}
