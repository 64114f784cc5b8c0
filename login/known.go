package login

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"sync"
)

// known remembers which passwords have fitted which verifiers: a hash under a key of this process, for a small number of them.
// The verifier is part of the hash, so that a new password, or rm, counts at once.
type known struct {
	mu   sync.Mutex
	key  [32]byte
	fits map[[32]byte]struct{}
}

const maxKnown = 10_000

func (k *known) setup() {
	rand.Read(k.key[:])
	k.fits = map[[32]byte]struct{}{}
}

// hash has the lengths in it, so that no two pairs are the same text.
func (k *known) hash(phc, password string) [32]byte {
	b := make([]byte, 0, 256)
	b = append(b, k.key[:]...)
	b = binary.BigEndian.AppendUint32(b, uint32(len(phc)))
	b = append(append(b, phc...), password...)
	b = append(b, k.key[:]...)
	return sha256.Sum256(b)
}

func (k *known) has(phc, password string) bool {
	if phc == "" {
		return false
	}
	h := k.hash(phc, password)
	k.mu.Lock()
	defer k.mu.Unlock()
	_, ok := k.fits[h]
	return ok
}

func (k *known) add(phc, password string) {
	h := k.hash(phc, password)
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(k.fits) >= maxKnown {
		clear(k.fits)
	}
	k.fits[h] = struct{}{}
}
