package queue

import (
	"crypto/sha256"
	"encoding/binary"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"time"
)

// An id is 52 bits of microseconds and 32 of chance in 17 letters of Crockford's base32, which
// sort like numbers and cannot be misread, then a dash and the node's letters.
const (
	letters  = "0123456789abcdefghjkmnpqrstvwxyz"
	idLength = 17
)

// value is a letter's number, or 0xff.
var value = func() (v [256]byte) {
	for i := range v {
		v[i] = 0xff
	}
	for i := range letters {
		v[letters[i]] = byte(i)
	}
	return v
}()

// clock gives every id a microsecond of its own.
type clock struct {
	sync.Mutex
	last uint64
}

func (c *clock) tick() uint64 {
	now := uint64(time.Now().UnixMicro())
	c.Lock()
	defer c.Unlock()
	if now <= c.last { // the clock stepped back, or two at once
		now = c.last + 1
	}
	c.last = now
	return now
}

// NewID is a new message id: 17 letters of time and chance, a dash, the node. Ids of one
// process always rise, also when the clock steps back.
func (s *Spool) NewID() string {
	var buf [idLength + 1 + 8]byte
	encodeID(buf[:idLength], s.ids.tick(), rand.Uint32())
	buf[idLength] = '-'
	return string(append(buf[:idLength+1], s.Node...))
}

// encodeID writes the 84 bits micros<<32 | chance, right-aligned in 85.
func encodeID(b []byte, micros uint64, chance uint32) {
	lo := micros<<32 | uint64(chance)
	hi := micros >> 32
	for i := idLength - 1; i >= 0; i-- {
		b[i] = letters[lo&31]
		lo = lo>>5 | hi<<59
		hi >>= 5
	}
}

// TimeOf is when the id was made.
func TimeOf(id string) time.Time {
	if len(id) < idLength {
		return time.Time{}
	}
	var lo, hi uint64
	for i := range idLength {
		hi = hi<<5 | lo>>59
		lo = lo<<5 | uint64(value[id[i]]&31)
	}
	return time.UnixMicro(int64(hi<<32 | lo>>32)).UTC()
}

// ValidID reports whether id is an id: also those of messages made from a message
// (0fk2v9qk3x7m2c000-a.b1, its first bounce; .v1, a vacation answer).
func ValidID(id string) bool {
	if len(id) < idLength+2 || len(id) > 64 || id[idLength] != '-' || value[id[0]] > 15 {
		return false
	}
	for i := range idLength {
		if value[id[i]] == 0xff {
			return false
		}
	}
	node, kinds, derived := strings.Cut(id[idLength+1:], ".")
	if !validNode(node) {
		return false
	}
	for derived {
		var kind string
		kind, kinds, derived = strings.Cut(kinds, ".")
		if len(kind) < 2 || len(kind) > 10 || kind[0] < 'a' || kind[0] > 'z' || kind[1] == '0' || strings.Trim(kind[1:], "0123456789") != "" {
			return false
		}
	}
	return true
}

func validNode(node string) bool {
	if len(node) < 1 || len(node) > 8 {
		return false
	}
	for i := range len(node) {
		if c := node[i]; (c < 'a' || c > 'z') && (c < '0' || c > '9') {
			return false
		}
	}
	return true
}

// Derived is the id of the n-th message of a kind made from id: 'b' bounces, 'v' answers.
// It is a function of its arguments, so that making it again after a crash makes no second one.
func Derived(id string, kind byte, n int) string {
	b := make([]byte, 0, len(id)+8)
	b = append(append(b, id...), '.', kind)
	return string(strconv.AppendInt(b, int64(n), 10))
}

// QPath is the directory of id in the queue: q/20261122/0430.
func QPath(id string) string {
	b := make([]byte, 0, 15)
	return string(TimeOf(id).AppendFormat(b, "q/20060102/1504"))
}

// IDFor is an id that is a function of its arguments: of a file that is copied into the spool, and is
// to be recognised when the copy is made again after a crash.
func (s *Spool) IDFor(t time.Time, key string) string {
	sum := sha256.Sum256([]byte(key))
	b := make([]byte, idLength, idLength+9)
	encodeID(b, uint64(max(t.UnixMicro(), 0)), binary.BigEndian.Uint32(sum[:]))
	return string(append(append(b, '-'), s.Node...))
}
