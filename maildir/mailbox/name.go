package mailbox

import (
	"encoding/binary"
	"math"
	"math/bits"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// systemLetters are the letters of the system flags, in the order in which they stand in a name.
const systemLetters = "DFPRST"

var systemFlags = [...]Flags{Draft, Flagged, Forwarded, Answered, Seen, Deleted}

// letters is how flags stand in a name: sorted, keywords beyond z left out.
func letters(b []byte, f Flags, m *letterMap) []byte {
	for i, flag := range systemFlags {
		if f&flag != 0 {
			b = append(b, systemLetters[i])
		}
	}
	at := len(b)
	for k := f / keywords; k != 0; k &= k - 1 {
		if l := m.of(bits.TrailingZeros64(uint64(k))); l >= 0 {
			b = append(b, byte('a'+l))
		}
	}
	if m != nil {
		slices.Sort(b[at:])
	}
	return b
}

// letterFlags is what the letters of a name stand for. Capitals we do not know are no flags of ours.
func letterFlags(s string, m *letterMap) (f Flags) {
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c >= 'a' && c <= 'z':
			f |= m.flag(int(c - 'a'))
		case c >= 'A' && c <= 'Z':
			if k := strings.IndexByte(systemLetters, c); k >= 0 {
				f |= systemFlags[k]
			}
		}
	}
	return f
}

// letterMask is the flags a file name can say in a folder without a letterMap.
const letterMask = Seen | Answered | Flagged | Deleted | Draft | Forwarded | (keywords<<26 - keywords)

// unknownLetters are the capitals of an info that are no flags of ours: they are kept in every name.
func unknownLetters(info string) string {
	rest, ok := strings.CutPrefix(info, ":2,")
	if !ok {
		return ""
	}
	out := ""
	for i := 0; i < len(rest); i++ {
		if c := rest[i]; c >= 'A' && c <= 'Z' && strings.IndexByte(systemLetters, c) < 0 && strings.IndexByte(out, c) < 0 {
			out += string(c)
		}
	}
	return out
}

// infoFor is the end of the name of a message with these flags: the canonical one, with the unknown capitals of before.
func infoFor(before string, f Flags, m *letterMap) string {
	b := letters([]byte(":2,"), f, m)
	for _, c := range []byte(unknownLetters(before)) {
		at := len(b)
		for at > 3 && b[at-1] > c {
			at--
		}
		b = append(b[:at], append([]byte{c}, b[at:]...)...)
	}
	return string(b)
}

// path is where the file is, below the folder.
func (e *entry) path() string {
	dir := "cur/"
	if e.state&inNew != 0 {
		dir = "new/"
	}
	return dir + e.key + e.ending()
}

func (e *entry) ending() string {
	switch {
	case e.state&irregular != 0:
		return e.info
	case e.state&inNew != 0:
		return ""
	}
	return string(letters([]byte(":2,"), e.flags, e.letters))
}

// setName puts what a scan found into the entry: flags from the letters (keywords beyond them stay), place, form.
func (e *entry) setName(isNew bool, info string) {
	e.flags = e.flags&^e.letters.mask() | letterFlags(strings.TrimPrefix(info, ":2,"), e.letters)
	e.state &^= inNew | irregular
	e.info = ""
	if isNew {
		e.state |= inNew
	}
	if e.ending() != info {
		e.state |= irregular
		e.info = info
	}
}

// newEntry is a message that has no UID yet, as its file's name shows it.
func (f *Folder) newEntry(key string, isNew bool, info string, inode uint32) entry {
	e := entry{key: key, wire: wireOf(key), inode: inode, letters: f.letters}
	if isNew { // what lies in cur/ has been looked at by some program: it is not recent
		e.state = recent
	}
	e.setName(isNew, info)
	return e
}

// stampOf is when a name says its message was delivered: for the order of UIDs in one batch.
func stampOf[T string | []byte](key T) (sec, usec, seq int64) {
	sec, i := digits(key, 0)
	if i < len(key) && key[i] != '.' { // not a number
		for sec, i = 0, 0; i < len(key) && key[i] != '.'; i++ {
		}
	}
	if i == len(key) {
		return sec, 0, 0
	}
	hadM, hadQ := false, false
	for i++; i < len(key) && key[i] != '.' && key[i] != ','; {
		switch c := key[i]; {
		case c == 'M' && !hadM:
			hadM = true
			usec, i = digits(key, i+1)
		case c == 'Q' && !hadQ:
			hadQ = true
			seq, i = digits(key, i+1)
		default:
			i++
		}
	}
	return sec, usec, seq
}

// digits is the number at s[i:] and where it ends; one that is too large is the largest.
func digits[T string | []byte](s T, i int) (n int64, end int) {
	for ; i < len(s) && s[i] >= '0' && s[i] <= '9'; i++ {
		if n > (math.MaxInt64-9)/10 {
			n = (math.MaxInt64 - 9) / 10
			continue
		}
		n = 10*n + int64(s[i]-'0')
	}
	return n, i
}

var names atomic.Uint32

// newKey is a key for a message that IMAP brings.
func newKey(now time.Time, host string, size, wire int64) string {
	b := strconv.AppendInt(nil, now.Unix(), 10)
	b = strconv.AppendInt(append(b, ".M"...), int64(now.Nanosecond()/1000), 10)
	b = strconv.AppendInt(append(b, 'P'), int64(os.Getpid()), 10)
	b = strconv.AppendUint(append(b, 'Q'), uint64(names.Add(1)), 10)
	b = strconv.AppendUint(append(b, 'R'), chance()>>32, 16)
	b = append(append(b, '.'), host...)
	b = strconv.AppendInt(append(b, ",S="...), size, 10)
	return string(strconv.AppendInt(append(b, ",W="...), wire, 10))
}

// hashName is the keyed hash of a name or key: what directories are summed up from, and messages found by.
func hashName[T string | []byte](name T) uint64 {
	const prime = 0x9E3779B97F4A7C15
	h := hashSeed ^ uint64(len(name))*prime
	i := 0
	for ; i+8 <= len(name); i += 8 {
		w := uint64(name[i]) | uint64(name[i+1])<<8 | uint64(name[i+2])<<16 | uint64(name[i+3])<<24 |
			uint64(name[i+4])<<32 | uint64(name[i+5])<<40 | uint64(name[i+6])<<48 | uint64(name[i+7])<<56
		hi, lo := bits.Mul64(h^w, prime)
		h = hi ^ lo
	}
	var tail [8]byte
	copy(tail[:], name[i:])
	hi, lo := bits.Mul64(h^binary.LittleEndian.Uint64(tail[:]), 0xD6E8FEB86659FD93)
	return hi ^ lo
}

// hashSeed is fixed: sums of names are compared between processes.
const hashSeed = 0x243F6A8885A308D3
