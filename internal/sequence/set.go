/*
Package sequence is the sequence set of IMAP (RFC 9051 section 9): ranges of message numbers or UIDs, as a client writes
them and as a store keeps them.
*/
package sequence

import (
	"slices"
	"strconv"
)

// Set is a set of message numbers or UIDs: ranges in ascending order that neither touch nor overlap, once Resolve or
// Add has made it so.
type Set []Range

// Range is Lo to Hi, both in it. In a set as a client wrote it 0 stands for "*".
type Range struct{ Lo, Hi uint32 }

// Last is the "*" of a set that was not resolved yet.
const Last = 0

// Resolve puts the largest number in use in place of "*" and puts the ranges in order (RFC 9051 section 9: 4:2 is 2:4, and * is
// in the set whatever it is, so that 9:* always holds the last message).
func (s Set) Resolve(largest uint32) Set {
	out := make(Set, 0, len(s))
	for _, r := range s {
		if r.Lo == Last {
			r.Lo = largest
		}
		if r.Hi == Last {
			r.Hi = largest
		}
		if r.Lo > r.Hi {
			r.Lo, r.Hi = r.Hi, r.Lo
		}
		if r.Hi > 0 {
			r.Lo = max(r.Lo, 1)
			out = append(out, r)
		}
	}
	slices.SortFunc(out, func(a, b Range) int {
		if a.Lo < b.Lo {
			return -1
		} else if a.Lo > b.Lo {
			return 1
		}
		return 0
	})
	merged := out[:0]
	for _, r := range out {
		if n := len(merged); n > 0 && (merged[n-1].Hi >= r.Lo || merged[n-1].Hi+1 == r.Lo) {
			merged[n-1].Hi = max(merged[n-1].Hi, r.Hi)
			continue
		}
		merged = append(merged, r)
	}
	return merged
}

// Add puts n into a set in order; n is usually larger than all of it, which is fast.
func (s *Set) Add(n uint32) {
	t := *s
	if last := len(t) - 1; last < 0 || n > t[last].Hi+1 {
		*s = append(t, Range{n, n})
		return
	} else if n == t[last].Hi+1 {
		t[last].Hi = n
		return
	}
	if !t.Has(n) {
		*s = append(t, Range{n, n}).Resolve(0)
	}
}

// Has reports whether n is in the resolved set.
func (s Set) Has(n uint32) bool {
	_, found := slices.BinarySearchFunc(s, n, func(r Range, n uint32) int {
		switch {
		case r.Hi < n:
			return -1
		case r.Lo > n:
			return 1
		}
		return 0
	})
	return found
}

// Count is how many numbers the resolved set has.
func (s Set) Count() uint64 {
	var n uint64
	for _, r := range s {
		n += uint64(r.Hi-r.Lo) + 1
	}
	return n
}

// Dynamic reports whether "*" is in a set that was not resolved.
func (s Set) Dynamic() bool {
	for _, r := range s {
		if r.Lo == Last || r.Hi == Last {
			return true
		}
	}
	return false
}

// Append writes the set: 1:3,5 with 0 as *.
func (s Set) Append(b []byte) []byte {
	for i, r := range s {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendNumber(b, r.Lo)
		if r.Hi != r.Lo {
			b = append(b, ':')
			b = appendNumber(b, r.Hi)
		}
	}
	return b
}

func (s Set) String() string { return string(s.Append(nil)) }

func appendNumber(b []byte, n uint32) []byte {
	if n == Last {
		return append(b, '*')
	}
	return strconv.AppendUint(b, uint64(n), 10)
}

// Parse reads a sequence set (RFC 9051 section 9, sequence-set, without "$").
func Parse(text []byte) (Set, bool) {
	if len(text) == 0 || len(text) > 64<<10 { // S096
		return nil, false
	}
	var s Set
	for len(text) > 0 {
		var r Range
		var ok bool
		if r.Lo, text, ok = setNumber(text); !ok {
			return nil, false
		}
		r.Hi = r.Lo
		if len(text) > 0 && text[0] == ':' {
			if r.Hi, text, ok = setNumber(text[1:]); !ok {
				return nil, false
			}
		}
		s = append(s, r)
		if len(text) == 0 {
			break
		}
		if text[0] != ',' || len(text) == 1 {
			return nil, false
		}
		text = text[1:]
	}
	return s, true
}

func setNumber(text []byte) (n uint32, rest []byte, ok bool) {
	if len(text) > 0 && text[0] == '*' {
		return Last, text[1:], true
	}
	v, i := uint64(0), 0
	for i < len(text) && text[i] >= '0' && text[i] <= '9' {
		v = v*10 + uint64(text[i]-'0')
		if i++; v > 1<<32-1 {
			return 0, nil, false
		}
	}
	return uint32(v), text[i:], v > 0
}

// Intersect is what is in both resolved sets.
func (s Set) Intersect(t Set) Set {
	var out Set
	for i, j := 0, 0; i < len(s) && j < len(t); {
		lo, hi := max(s[i].Lo, t[j].Lo), min(s[i].Hi, t[j].Hi)
		if lo <= hi {
			out = append(out, Range{lo, hi})
		}
		if s[i].Hi < t[j].Hi {
			i++
		} else {
			j++
		}
	}
	return out
}

// Without is what is in s and not in t, both resolved.
func (s Set) Without(t Set) Set {
	var out Set
	j := 0
	for _, r := range s {
		lo := r.Lo
		for j < len(t) && t[j].Hi < lo {
			j++
		}
		k := j
		for ; k < len(t) && t[k].Lo <= r.Hi; k++ {
			if t[k].Lo > lo {
				out = append(out, Range{lo, t[k].Lo - 1})
			}
			if t[k].Hi == 1<<32-1 {
				lo = 0
				break
			}
			lo = t[k].Hi + 1
		}
		if lo != 0 && lo <= r.Hi {
			out = append(out, Range{lo, r.Hi})
		}
	}
	return out
}

// All yields the numbers of the resolved set in order.
func (s Set) All(yield func(uint32) bool) {
	for _, r := range s {
		for n := uint64(r.Lo); n <= uint64(r.Hi); n++ {
			if !yield(uint32(n)) {
				return
			}
		}
	}
}
