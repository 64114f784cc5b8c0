/*
Package sources is the file in which all processes that serve something count who is connected to it, and how often they came:
RUN/sources/PROGRAM/SERVICE, of fixed size, mapped by each process (package listen) and read by people (mailq sources).

	word 0        what it is
	words 1-4     a secret, so that nobody can choose whose rate he shares
	word 5        blocks in use so far
	words 8-      1024 words, one for each block: which of its 64 places are taken
	then          1024 blocks of 64 words: the source at each place
	then          two rows of 16384 words: a time and a level, for each hash of a source and a kind of event

A process owns the blocks whose octet of the file it holds a lock on (fcntl(2), F_OFD_SETLK). The lock ends with the process, however that
ends: what such a process had open does not count, and the next who needs a place takes the block. The file may be removed at
any time: processes that start afterwards begin to count again.
*/
package sources

import (
	"encoding/binary"
	"errors"
	"io"
	"math/bits"
	"net/netip"
	"os"

	"golang.org/x/sys/unix"
)

// The layout, in words of 64 bits.
const (
	Magic     = 0x3173656372756f73 // "sources1"
	Blocks    = 1024
	BlockSize = 64
	Rates     = 1 << 14 // of a row
	BitmapsAt = 8
	KeysAt    = BitmapsAt + Blocks
	RatesAt   = KeysAt + Blocks*BlockSize
	Words     = RatesAt + 2*Rates
	Size      = Words * 8
)

// Key is a source as a word: the network of IPv6, and the address of IPv4 where no network of IPv6 is. 0 is no source.
func Key(a netip.Addr) uint64 {
	switch a = a.Unmap(); {
	case !a.IsValid():
		return 0
	case a.Is4():
		b := a.As4()
		return 0xffff<<32 | uint64(binary.BigEndian.Uint32(b[:]))
	}
	b := a.As16()
	return max(1, binary.BigEndian.Uint64(b[:8]))
}

// Addr is the source of a key.
func Addr(k uint64) netip.Addr {
	if k == 0 {
		return netip.Addr{}
	}
	if k>>32 == 0xffff {
		var b [4]byte
		binary.BigEndian.PutUint32(b[:], uint32(k))
		return netip.AddrFrom4(b)
	}
	var b [16]byte
	if k != 1 {
		binary.BigEndian.PutUint64(b[:], k)
	}
	return netip.AddrFrom16(b)
}

// Look is who is connected to a service by its file, without taking part: for people. Processes that have ended are left out.
func Look(path string) (map[netip.Addr]int, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b := make([]byte, RatesAt*8)
	if _, err := io.ReadFull(f, b); err != nil {
		return nil, &os.PathError{Op: "read", Path: path, Err: err}
	}
	word := func(i int) uint64 { return binary.NativeEndian.Uint64(b[8*i:]) }
	if word(0) != Magic {
		return nil, &os.PathError{Op: "read", Path: path, Err: errors.New("is no table of sources")}
	}
	all := map[netip.Addr]int{}
	for block := range int(min(word(5), Blocks)) {
		taken := word(BitmapsAt + block)
		if taken == 0 {
			continue
		}
		l := unix.Flock_t{Type: unix.F_WRLCK, Start: int64(block), Len: 1}
		if unix.FcntlFlock(f.Fd(), unix.F_OFD_GETLK, &l) == nil && l.Type == unix.F_UNLCK {
			continue
		}
		for ; taken != 0; taken &= taken - 1 {
			all[Addr(word(KeysAt+block*BlockSize+bits.TrailingZeros64(taken)))]++
		}
	}
	return all, nil
}
