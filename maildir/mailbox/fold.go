package mailbox

import (
	"bytes"
	"encoding/binary"
	"sync"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// Fold is s in the form two strings are compared in: i;unicode-casemap (RFC 5051).
func Fold(s string) string { return string(foldTo(nil, []byte(s))) }

// foldTo appends the fold of text: upper case, compatibility decomposition. ASCII stands for itself, and what begins with a character that
// combines with nothing before it can be folded apart from that; so that only what is rare needs norm.
func foldTo(b, text []byte) []byte {
	b, _ = foldValid(b, text)
	return b
}

// foldValid says besides whether the text was UTF-8.
func foldValid(b, text []byte) (folded []byte, valid bool) {
	valid = true
	for len(text) > 0 {
		n := asciiRun(text)
		at := len(b)
		b = append(b, text[:n]...)
		upperASCII(b[at:])
		if text = text[n:]; len(text) > 0 {
			b, text = foldOther(b, text, &valid)
		}
	}
	return b, valid
}

// foldOther appends the fold of the characters at the beginning of text that are not ASCII.
func foldOther(b, text []byte, valid *bool) (folded, rest []byte) {
	table := foldTable()
	if r, n := utf8.DecodeRune(text); n > 1 && (n == len(text) || text[n] < utf8.RuneSelf) { // one among ASCII, as they mostly are
		if fold := table.of(r, text[:n]); fold != nil {
			return append(b, fold...), text[n:]
		}
	}
	held, i := 0, 0   // text[held:i] is not folded yet
	var single []byte // its fold, when it is one character that the table has
	flush := func() {
		switch {
		case single != nil:
			b = append(b, single...)
		case held < i:
			b = norm.NFKD.Append(b, bytes.ToUpper(text[held:i])...)
		}
	}
	for i < len(text) && text[i] >= utf8.RuneSelf {
		r, n := utf8.DecodeRune(text[i:])
		if n == 1 {
			*valid = false
		}
		fold := table.of(r, text[i:i+n])
		if fold != nil {
			flush()
			held = i
		}
		single = fold
		i += n
	}
	flush()
	return b, text[i:]
}

// folds is a table of the folds of single characters.
type folds struct {
	end  [foldsMost]uint32
	text []byte
}

const (
	foldsMost   = 0x3100 // up to the kana
	ideographs  = 0x4e00 // stand for themselves
	ideographsN = 0xa000
)

// of is the fold of a character; nil when it combines with the one before, or is not in the table.
func (t *folds) of(r rune, as []byte) []byte {
	switch {
	case r < foldsMost:
		if b := t.text[t.end[r-1]:t.end[r]]; len(b) > 0 {
			return b
		}
	case r >= ideographs && r < ideographsN:
		return as
	case r == utf8.RuneError:
		return invalid
	}
	return nil
}

var invalid = []byte("\uFFFD")

var foldTable = sync.OnceValue(func() *folds {
	t := &folds{text: make([]byte, 0, 64<<10)}
	for r := rune(0); r < foldsMost; r++ {
		up := utf8.AppendRune(nil, unicode.ToUpper(r))
		if r >= utf8.RuneSelf && norm.NFKD.Properties(up).LeadCCC() == 0 {
			t.text = append(t.text, norm.NFKD.Bytes(up)...)
		}
		t.end[r] = uint32(len(t.text))
	}
	return t
})

const (
	ones  = 0x0101010101010101
	highs = ones * 0x80
)

// asciiRun is the length of the ASCII at the beginning of b.
func asciiRun(b []byte) int {
	n := 0
	for len(b)-n >= 8 && binary.LittleEndian.Uint64(b[n:])&highs == 0 {
		n += 8
	}
	for n < len(b) && b[n] < utf8.RuneSelf {
		n++
	}
	return n
}

// upperASCII makes b upper case in place, eight octets at a time, and reports whether all of it is ASCII.
func upperASCII(b []byte) bool {
	high := uint64(0)
	for len(b) >= 8 {
		x := binary.LittleEndian.Uint64(b)
		low := x &^ highs
		from := low + ones*(0x80-'a') // the high bit is set from a on
		past := low + ones*(0x7f-'z') // and here after z
		x ^= (from &^ past &^ x & highs) >> 2
		high |= x
		binary.LittleEndian.PutUint64(b, x)
		b = b[8:]
	}
	for i, c := range b {
		if c >= 'a' && c <= 'z' {
			b[i] = c - 0x20
		}
		high |= uint64(c)
	}
	return high&highs == 0
}
