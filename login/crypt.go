package login

import (
	"crypto/md5"
	"crypto/sha256"
	"crypto/sha512"
	"errors"
	"hash"
	"strconv"
	"strings"
)

// The hashes of crypt(3) that passwd files of twenty years hold; comparison only.

const maxRounds = 1_000_000 // of SHA-crypt

var errCrypt = errors.New("imported: not $5$SALT$HASH or $6$SALT$HASH, with up to a million rounds")

// shaCryptFits compares with $5$ and $6$: https://www.akkadia.org/drepper/SHA-crypt.txt.
func shaCryptFits(text, password string) (bool, error) {
	part := strings.Split(text, "$")
	if len(part) < 4 || part[0] != "" || part[1] != "5" && part[1] != "6" {
		return false, errCrypt
	}
	rounds, prefix, rest := 5000, "$"+part[1]+"$", part[2:]
	if digits, ok := strings.CutPrefix(rest[0], "rounds="); ok {
		n, err := strconv.Atoi(digits)
		if err != nil || n > maxRounds || n < 0 {
			return false, errCrypt
		}
		rounds, rest = max(n, 1000), rest[1:]
	}
	if len(rest) != 2 || len(rest[1]) != map[string]int{"5": 43, "6": 86}[part[1]] {
		return false, errCrypt
	}
	if password == "" {
		return false, nil
	}
	salt := rest[0][:min(16, len(rest[0]))]
	of := sha256.New
	if prefix == "$6$" {
		of = sha512.New
	}
	return same([]byte(shaCrypt(of, password, salt, rounds)), []byte(rest[1])), nil
}

// shaCrypt is the algorithm; its letters are those of the specification.
func shaCrypt(of func() hash.Hash, password, salt string, rounds int) string {
	sum := func(parts ...[]byte) []byte {
		h := of()
		for _, p := range parts {
			h.Write(p)
		}
		return h.Sum(nil)
	}
	fill := func(b []byte, n int) (long []byte) {
		for len(long) < n {
			long = append(long, b...)
		}
		return long[:n]
	}
	key, s := []byte(password), []byte(salt)
	b := sum(key, s, key)
	h := of()
	h.Write(key)
	h.Write(s)
	h.Write(fill(b, len(key)))
	for n := len(key); n > 0; n >>= 1 {
		if n&1 != 0 {
			h.Write(b)
		} else {
			h.Write(key)
		}
	}
	a := h.Sum(nil)
	p := fill(sum([]byte(strings.Repeat(password, len(key)))), len(key))
	ds := sum([]byte(strings.Repeat(salt, 16+int(a[0]))))
	s = fill(ds, len(s))
	c := a
	for i := range rounds {
		h := of()
		first, last := c, p
		if i&1 != 0 {
			first, last = p, c
		}
		h.Write(first)
		if i%3 != 0 {
			h.Write(s)
		}
		if i%7 != 0 {
			h.Write(p)
		}
		h.Write(last)
		c = h.Sum(nil)
	}
	return shaDigits(c)
}

// shaDigits writes the octets in the order of the specification: each group is the last one rotated, a third of the hash apart.
func shaDigits(c []byte) string {
	var b strings.Builder
	third := len(c) / 3 // 10 of 32, 21 of 64
	x, y, z := 0, third, 2*third
	for range third {
		digits64(&b, 4, c[x], c[y], c[z])
		if len(c) == 32 {
			x, y, z = z+1, x+1, y+1
		} else {
			x, y, z = y+1, z+1, x+1
		}
	}
	if len(c) == 32 {
		digits64(&b, 3, 0, c[31], c[30])
	} else {
		digits64(&b, 2, 0, 0, c[63])
	}
	return b.String()
}

// md5CryptFits compares with $1$SALT$HASH.
func md5CryptFits(text, password string) (bool, error) {
	part := strings.Split(text, "$")
	if len(part) != 4 || part[0] != "" || part[1] != "1" || len(part[3]) != 22 {
		return false, errors.New("imported: not $1$SALT$HASH")
	}
	if password == "" {
		return false, nil
	}
	return same([]byte(md5Crypt(password, part[2][:min(8, len(part[2]))])), []byte(part[3])), nil
}

func md5Crypt(password, salt string) string {
	final := md5.Sum([]byte(password + salt + password))
	text := password + "$1$" + salt
	for n := len(password); n > 0; n -= 16 {
		text += string(final[:min(16, n)])
	}
	for n := len(password); n > 0; n >>= 1 {
		if n&1 != 0 {
			text += "\x00"
		} else {
			text += password[:1]
		}
	}
	final = md5.Sum([]byte(text))
	for i := range 1000 {
		first, last := string(final[:]), password
		if i&1 != 0 {
			first, last = last, first
		}
		middle := ""
		if i%3 != 0 {
			middle += salt
		}
		if i%7 != 0 {
			middle += password
		}
		final = md5.Sum([]byte(first + middle + last))
	}
	var b strings.Builder
	for i := range 5 {
		last := i + 12
		if i == 4 {
			last = 5
		}
		digits64(&b, 4, final[i], final[i+6], final[last])
	}
	digits64(&b, 2, 0, 0, final[11])
	return b.String()
}
